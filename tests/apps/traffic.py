"""Every way to answer, with bodies that a client can foretell, and counts of what the worker holds."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LEAK: list[bytes] = []
PIECES = 5
BIG = 100_000


def expected(path: str, token: bytes) -> bytes:
    """Return the body with which `path?token` is answered."""
    if path == "/stream":
        return token * PIECES
    if path == "/big":
        return (token * BIG)[:BIG]
    if path == "/write":
        return token * 2
    return token


class Fails(Exception):  # noqa: N818 - it is what the application does
    """Raised where an application is asked to fail."""


def _pieces(token: bytes, fails_after: int = PIECES) -> Iterator[bytes]:
    for number in range(PIECES):
        if number == fails_after:
            raise Fails
        yield token


def _write(write: Callable[[bytes], object], token: bytes, times: int) -> Iterable[bytes]:
    for _ in range(times):
        write(token)
    return []


def _answer_after_an_error(start_response: StartResponse, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    start_response("500 Oh No", headers)
    try:
        raise Fails
    except Fails:
        start_response("200 OK", headers, sys.exc_info())
    return [b"mended"]


def _links() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one of this look
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return found


class _FailsToClose(list[bytes]):
    def close(self) -> None:
        raise Fails


def _echo_upgraded(sock: Any) -> None:
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    sock.sendall(sock.recv(5))
    sock.close()


def counts() -> dict[str, int]:
    """Return what this process holds: objects the collector knows, blocks of memory, bytes in RAM."""
    # A collection empties Python's lists of free objects, which look like a leak; frozen, nothing is collected.
    gc.freeze()
    gc.collect()
    gc.unfreeze()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "resident": resident,
        "descriptors": len(links := _links()),
        "sockets": sum(link.startswith("socket:") for link in links),
    }


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the path says, with the query or the body of the request."""
    path = environ["PATH_INFO"]
    token = environ["QUERY_STRING"].encode("latin-1")
    headers = [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))]
    if path == "/error":
        raise Fails
    if path == "/echo":
        token = environ["wsgi.input"].read()
    elif path == "/pause":
        time.sleep(0.05)
    elif path == "/counts":
        token = json.dumps(counts()).encode()
    elif path == "/grow":
        LEAK.append(b"x" * (int(token) << 20))
    elif path == "/no-gc":
        gc.collect()
        gc.disable()
    elif path == "/mends":
        return _answer_after_an_error(start_response, headers)
    elif path == "/hints":
        environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    elif path == "/upgrade":
        _echo_upgraded(environ["gunicorn.socket"])
        return []
    write = start_response("200 OK", headers)
    if path == "/close-fails":
        return _FailsToClose([token])
    if path == "/stream":
        return _pieces(token)
    if path == "/fails-late":
        return _pieces(token, fails_after=2)
    if path == "/write":
        return _write(write, token, 2)
    if path == "/write-much":
        return _write(write, expected("/big", token), 50)
    if path == "/file":
        wrapper = environ["wsgi.file_wrapper"]
        wrapped: Iterable[bytes] = wrapper(Path(__file__).open("rb"))  # noqa: SIM115 - the server closes it
        return wrapped
    return [expected(path, token)]
