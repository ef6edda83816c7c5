"""Blocks, waits and computes in greenlets: for the tests of gevent, and of nothing else."""

from __future__ import annotations

import contextvars
import functools
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import gevent
import gevent.local
from gevent import monkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATCHED = [name for name in ("socket", "threading", "time", "select") if monkey.is_module_patched(name)]
LONGEST = 20.0  # seconds for which anything here waits
COUNTS: dict[str, int] = {}
LOCAL = gevent.local.local()
THREAD_LOCAL = threading.local()
CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("name")


@functools.cache
def barrier(size: str) -> threading.Barrier:
    return threading.Barrier(int(size))


def count(name: str) -> None:
    COUNTS[name] = COUNTS.get(name, 0) + 1


def wait_at(port: str) -> None:
    """Wait until the test closes the connection that this makes to it."""
    with socket.create_connection(("127.0.0.1", int(port)), LONGEST) as gate:
        gate.recv(1)


def blocked(query: str) -> str:
    wait_at(query)
    return "ok"


def meet(query: str) -> str:
    """Wait until as many requests are here as the query says."""
    barrier(query).wait(LONGEST)
    return "ok"


def remember(query: str) -> str:
    """Set what is each request's own, let all others do the same, and tell what is left of it."""
    size, name = query.split("-")
    LOCAL.name = THREAD_LOCAL.name = name
    CONTEXT.set(name)
    barrier(size).wait(LONGEST)
    return f"{LOCAL.name} {THREAD_LOCAL.name} {CONTEXT.get()}"


def patched(query: str) -> str:
    return " ".join(PATCHED)


def spawned(query: str) -> str:
    """Run a child process, whose end gevent learns of by SIGCHLD."""
    return subprocess.run(
        [sys.executable, "-c", "print(6 * 7)"], stdout=subprocess.PIPE, check=True
    ).stdout.decode()


def compute(query: str) -> str:
    while True:
        pass


def leave_a_timeout(query: str) -> str:
    """Leave a timeout and a kill to whatever the greenlet does when this request is over."""
    wait_at(query)
    gevent.Timeout(0.05).start()
    gevent.spawn_later(0.1, gevent.kill, gevent.getcurrent())
    gevent.spawn_later(0.15, count, "after")
    return "ok"


def later(query: str) -> str:
    """Leave work to a greenlet of the app's own."""
    gevent.spawn_later(0.01, count, "later")
    return "ok"


def time_out(query: str) -> str:
    with gevent.Timeout(0.01):
        gevent.sleep(LONGEST)
    return "not reached"


def counted(query: str) -> str:
    return str(COUNTS.get(query, 0))


ANSWERS: dict[str, Callable[[str], str]] = {
    "/": lambda _: "ok",
    "/block": blocked,
    "/meet": meet,
    "/remember": remember,
    "/patched": patched,
    "/spawned": spawned,
    "/compute": compute,
    "/leave-a-timeout": leave_a_timeout,
    "/later": later,
    "/time-out": time_out,
    "/counted": counted,
    "/pid": lambda _: str(os.getpid()),
}


def stream(port: str) -> Iterator[bytes]:
    yield b"before "
    wait_at(port)
    yield b"after"


def ticks(size: str) -> Iterator[bytes]:
    for number in range(int(size)):
        gevent.sleep(0.01)
        yield b"%d " % number


class Endless:
    """A stream that counts how often it was closed."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            gevent.sleep(0.01)
            yield b"x" * 1000

    def close(self) -> None:
        count("closed")


STREAMS: dict[str, Callable[[str], Iterable[bytes]]] = {
    "/stream": stream,
    "/ticks": ticks,
    "/endless": lambda _: Endless(),
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do as the path says, with the query as its argument."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    plain = [("Content-Type", "text/plain")]
    if path in STREAMS:
        start_response("200 OK", plain)
        return STREAMS[path](query)
    if path == "/write":
        write = start_response("200 OK", plain)
        for _ in range(int(query)):
            write(b"x" * 100_000)
        return []
    body = str(environ["wsgi.multithread"]) if path == "/multithread" else ANSWERS[path](query)
    start_response("200 OK", plain)
    return [body.encode()]
