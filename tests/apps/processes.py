"""Shows which process answers, and does to it what its path says."""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOADED_BY = os.getpid()


def garble() -> None:
    """Write what means nothing to every socket pair of this process: the one with the master is among them."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family == socket.AF_UNIX:
                    sock.send(b"garbage\n")
        except OSError:
            pass  # no socket, or one that only listens


def flood() -> None:
    """Leave a child that reports to the master without end, and exit."""
    if os.fork() == 0:
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                with socket.socket(fileno=os.dup(fd)) as sock:
                    if sock.family == socket.AF_UNIX:
                        sock.setblocking(True)
                        while True:
                            sock.sendall(b'[-1, "", ""]\n' * 1000)
            except OSError:
                pass  # no socket; or the master has hung up
    os._exit(0)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = str(os.getpid())
    if path == "/block":
        # Until someone opens the other end of this FIFO, and as long as it is open.
        Path(query).read_bytes()
    elif path == "/hold-the-gil":
        ctypes.PyDLL(None).pause()
    elif path == "/abort":
        os.abort()
    elif path == "/exit":
        os._exit(int(query))
    elif path == "/garble":
        garble()
    elif path == "/flood":
        flood()
    elif path == "/loaded-by":
        body = str(LOADED_BY)
    elif path == "/environ":
        body = f"{environ['SERVER_NAME']} {environ['SERVER_PORT']} {environ['wsgi.multiprocess']}"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]
