"""Requests that do not end when they should, each in its own way."""

from __future__ import annotations

import collections
import itertools
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOCK = threading.Lock()
COUNTS: dict[str, int] = {}
MEETINGS: dict[str, threading.Barrier] = {}
LONGEST = 20.0  # seconds for which anything here waits


def count(name: str) -> None:
    with LOCK:
        COUNTS[name] = COUNTS.get(name, 0) + 1


def wait_at(gate: str) -> None:
    """Wait until the test opens the other end of a FIFO."""
    Path(gate).read_bytes()


def spin() -> None:
    """Spin in C for ever, with the GIL held: nothing of this is a step of the interpreter."""
    collections.deque(itertools.repeat(None), maxlen=0)


def compute() -> None:
    while True:
        pass


def meet(size: str) -> None:
    with LOCK:
        barrier = MEETINGS.setdefault(size, threading.Barrier(int(size)))
    barrier.wait(LONGEST)


class Closing:
    """An iterable of which is counted how often it gave something, and how often it was closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        count("pulled")
        return piece

    def close(self) -> None:
        count("closed")


class HangingClose(Closing):
    """An iterable whose close() waits."""

    def __init__(self, gate: str) -> None:
        super().__init__([b"all"])
        self._gate = gate

    def close(self) -> None:
        wait_at(self._gate)
        super().close()


def before_and_after(gate: str) -> Iterator[bytes]:
    yield b"before"
    wait_at(gate)
    yield b"after"


def ticks() -> Iterator[bytes]:
    for number in range(12):
        time.sleep(0.15)
        yield b"%d " % number


def write(start_response: StartResponse, gate: str, environ: WSGIEnvironment) -> list[bytes]:
    wait_at(gate)
    put = start_response("200 OK", [])
    try:
        put(b"late")
    except BrokenPipeError:
        count("broken")
        raise
    return []


def take(environ: WSGIEnvironment) -> list[bytes]:
    """Take the connection over, and answer with what comes."""
    client: Any = environ["gunicorn.socket"]
    client.send(b"hello")
    client.send(client.recv(100))
    client.close()
    raise StopIteration  # as Flask-Sock does it


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do as the path says, with the query as its argument."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body: Iterable[bytes] = [b"ok"]
    if path == "/write":
        return write(start_response, query, environ)
    if path == "/take":
        return take(environ)
    if path == "/write-much":
        put = start_response("200 OK", [])
        for _ in range(int(query)):
            put(b"x" * 100_000)
        return []
    if path == "/body":
        body = [environ["wsgi.input"].read()]
        wait_at(query)
    elif path == "/block":
        wait_at(query)
    elif path == "/spin":
        spin()
    elif path == "/compute":
        compute()
    elif path == "/sleep":
        time.sleep(LONGEST * 100)
    elif path == "/meet":
        meet(query)
    elif path == "/late":
        wait_at(query)
        body = Closing([b"late"])
    elif path == "/stream":
        body = Closing(before_and_after(query))
    elif path == "/ticks":
        body = ticks()
    elif path == "/hanging-close":
        body = HangingClose(query)
    elif path == "/counts":
        body = [" ".join(f"{name}={COUNTS[name]}" for name in sorted(COUNTS)).encode()]
    elif path == "/pid":
        body = [str(os.getpid()).encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body
