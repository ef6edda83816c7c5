"""Blocks, computes, counts: what threads of one worker do to each other."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastwsgi import gil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LONGEST = 20.0  # seconds for which anything here waits
MEETINGS: dict[str, threading.Barrier] = {}
LOCK = threading.Lock()
COUNTS: dict[str, int] = {}
MET: dict[str, int] = {}


def _meeting(size: str) -> threading.Barrier:
    with LOCK:
        return MEETINGS.setdefault(size, threading.Barrier(int(size)))


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _stream(gate: str) -> Iterator[bytes]:
    yield b"before "
    Path(gate).read_bytes()
    yield b"after"


def _flood() -> Iterator[bytes]:
    """Yield for ever, and count how often."""
    while True:
        with LOCK:
            COUNTS["flood"] = COUNTS.get("flood", 0) + 1
        yield b"x" * 100_000


class _Closing:
    """An endless stream that counts how often it was closed."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b"x" * 1000

    def close(self) -> None:
        with LOCK:
            COUNTS["closed"] = COUNTS.get("closed", 0) + 1


def _hand_over(mine: str, other: str) -> int:
    """Count to 100 together with another request, by turns, computing all the time; return the last number."""
    with LOCK:
        COUNTS[mine] = COUNTS[other] = 0
        MET[mine] = MET.get(mine, 0) + 1
    while MET[mine] != MET.get(other, 0):
        pass
    for number in range(1, 101):
        COUNTS[mine] = number
        while COUNTS[other] < number:
            pass
    return COUNTS[mine]


def _inside() -> None:
    """Count who is here at the same time."""
    with LOCK:
        COUNTS["inside"] = COUNTS.get("inside", 0) + 1
        COUNTS["most inside"] = max(COUNTS.get("most inside", 0), COUNTS["inside"])
    time.sleep(0.002)
    with LOCK:
        COUNTS["inside"] -= 1


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do as the path says, with the query as its argument."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = b"ok"
    if path == "/block":
        Path(query).read_bytes()  # until someone opens the other end of this FIFO
    elif path == "/meet":
        _meeting(query).wait(LONGEST)
    elif path == "/compute":
        _compute(float(query))
    elif path == "/sleep":
        time.sleep(float(query))
    elif path == "/count":
        with LOCK:
            COUNTS[query] = COUNTS.get(query, 0) + 1
    elif path == "/counted":
        body = str(COUNTS.get(query, 0)).encode()
    elif path == "/gil":
        body = str(gil.has_gil()).encode()
    elif path == "/hand-over":
        body = str(_hand_over(*query.split("-"))).encode()
    elif path == "/inside":
        _inside()
    elif path == "/most-inside":
        body = str(COUNTS.get("most inside", 0)).encode()
    elif path == "/threads":
        body = str(len(os.listdir("/proc/self/task"))).encode()
    elif path == "/pid":
        body = str(os.getpid()).encode()
    elif path == "/multithread":
        body = str(environ["wsgi.multithread"]).encode()
    elif path == "/echo":
        body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/stream":
        return _stream(query)
    if path == "/flood":
        return _flood()
    if path == "/endless":
        return _Closing()
    return [b"x" * int(query)] if path == "/big" else [body]
