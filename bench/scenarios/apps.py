"""The applications of the scenarios, one for each, named after it."""

from __future__ import annotations

import gc
import os
import random
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    StartResponse = Callable[[str, list[tuple[str, str]]], object]

__all__ = ["EVENT_SECONDS", "LARGE_SIZE", "fair", "load_heavy", "overload", "slow", "streams"]

LARGE_SIZE = 5_000_000
EVENT_SECONDS = 0.5

# One object for all answers: two hundred copies would measure the machine's memory, not the server.
_LARGE = bytes(LARGE_SIZE)
_HELLO = b"Hello, world!"


def slow(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer `/large` with five megabytes, all else with a few bytes; read the body if there is one."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return _answer(start_response, _LARGE if environ["PATH_INFO"] == "/large" else _HELLO)


def fair(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the pid of the worker, after as many seconds as the query says."""
    seconds = float(environ["QUERY_STRING"] or 0)
    if seconds:
        time.sleep(seconds)
    return _answer(start_response, str(os.getpid()).encode())


def overload(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Burn as many milliseconds of CPU as the query says, however long that takes by the clock."""
    end = time.thread_time_ns() + int(1e6 * float(environ["QUERY_STRING"]))
    while time.thread_time_ns() < end:
        pass
    return _answer(start_response, _HELLO)


def streams(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer `/events` with server-sent events for as long as the client stays, all else with a few bytes."""
    if environ["PATH_INFO"] != "/events":
        return _answer(start_response, _HELLO)
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])
    return _events()


def _events() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b"data: %d\n\n" % number
        time.sleep(EVENT_SECONDS)


def load_heavy() -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Return an app that keeps some 50 MB of small objects, as models, templates and tables are."""
    items = [{"id": n, "name": f"item {n}", "tags": [f"{n}/{t}" for t in range(4)]} for n in range(80_000)]

    def heavy(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Look at a few of them; `/collect` has the collector of cycles look through everything."""
        if environ["PATH_INFO"] == "/collect":
            gc.collect()
        found = [str(item["name"]) for item in random.sample(items, 20)]
        return _answer(start_response, " ".join(found).encode())

    return heavy


def _answer(start_response: StartResponse, body: bytes) -> list[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
