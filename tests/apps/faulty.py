"""An app that does to its worker what no app should: closes its descriptors, forks, ends the process."""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LASTS = 30.0  # seconds that a child runs for
CHILDREN: list[int] = []
TRUE_TIME = time.time
CALLS = {"app": 0, "close": 0, "made": 0}


def _number_of(address: str) -> int:
    """Return the descriptor of the connection from a client's port."""
    port = f":{int(address):04X} "
    inodes = {
        line.split()[9]
        for line in open("/proc/net/tcp").read().splitlines()  # noqa: SIM115
        if port in line.split()[2] + " "
    }
    for fd in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if link.startswith("socket:[") and link[8:-1] in inodes:
            return int(fd)
    raise LookupError(address)


def _close_kind(kind: str) -> None:
    """Close all descriptors of a kind, as /proc names them."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith(kind) and int(fd) > 2:
                os.close(int(fd))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBADF):
                raise


def close_some(query: str, port: str) -> None:
    if query == "all":
        os.closerange(3, 1000)
    elif query == "sockets":
        _close_kind("socket:")
    elif query == "poller":
        _close_kind("anon_inode:[eventpoll]")
    elif query == "pipes":
        _close_kind("pipe:")
    elif query == "mine":
        os.close(_number_of(port))
    elif query == "over-mine":
        read, write = os.pipe()
        os.dup2(write, _number_of(port))
        os.close(write)
        os.close(read)


def fork(query: str) -> None:
    """Fork a child that goes on as `query` says; the parent returns."""
    if query == "subprocess":
        CHILDREN.append(subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LASTS})"]).pid)
    elif query == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LASTS,))
        process.start()
        CHILDREN.append(process.pid or 0)
    elif (pid := os.fork()) != 0:
        CHILDREN.append(pid)
    elif query == "lasts":
        time.sleep(LASTS)
        os._exit(0)
    elif query == "_exit":
        os._exit(0)
    elif query == "exit":
        sys.exit(3)
    elif query == "raises":
        raise RuntimeError("in the child")
    # else it returns, as its parent does


def end(query: str) -> None:
    if query == "exit":
        sys.exit(3)
    elif query == "interrupt":
        raise KeyboardInterrupt
    elif query == "_exit":
        os._exit(7)
    elif query == "abort":
        os.abort()
    elif query == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif query == "segv":
        faulthandler._sigsegv()  # type: ignore[attr-defined]


def set_clock(query: str) -> None:
    """Have the clock of this process tell a time that is so many seconds off."""
    time.time = lambda: TRUE_TIME() + float(query)


class Pieces:
    """A body that does something in the middle, or at its end."""

    def __init__(self, do: Callable[[str], Any], query: str, *, at_end: bool) -> None:
        self._do, self._query, self._at_end = do, query, at_end
        CALLS["made"] += 1

    def __iter__(self) -> Iterator[bytes]:
        yield b"x" * 10
        if not self._at_end:
            self._do(self._query)
        yield b"y" * 10

    def close(self) -> None:
        CALLS["close"] += 1
        if self._at_end:
            self._do(self._query)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    way, _, what = path[1:].partition("/")
    actions = {
        "close": lambda query: close_some(query, environ["REMOTE_PORT"]),
        "fork": fork,
        "end": end,
        "clock": set_clock,
    }
    CALLS["app"] += 1
    if way == "in-app":
        actions[what](query)
    elif way == "in-thread":
        thread = threading.Thread(target=actions[what], args=(query,))
        thread.start()
        thread.join()
    body = b"ok"
    if way == "pid":
        body = str(os.getpid()).encode()
    elif way == "calls":
        body = repr(CALLS).encode()
    elif way == "children":
        body = " ".join(map(str, CHILDREN)).encode()
    elif way == "echo":
        body = environ["wsgi.input"].read()
    elif way == "sleep":
        time.sleep(float(query))
    start_response("200 OK", [("Content-Type", "text/plain")])
    if way == "pieces":
        return Pieces(str, query, at_end=False)
    if way in ("in-body", "in-close"):
        return Pieces(actions[what], query, at_end=way == "in-close")
    return [body]
