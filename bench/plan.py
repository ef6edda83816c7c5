"""What is measured: the cases of wrk, with what is asked, in which shape, and what is to be reached.

Data only: a new row is a new entry here. Nothing in this module starts or measures anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .apps import BODY, CHUNKS, LARGE, file_bytes
from .servers import Shape
from .targets import BEST, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .servers import Certificate

__all__ = ["CASES", "QUICK_CASES", "QUICK_SERVERS", "SECTIONS", "Case"]

# What else a run can hold, by the name that ONLY= chooses it with.
SECTIONS = ("footprint", "mix", "micro")

QUICK_CASES = ("hello", "browser", "flask")
QUICK_SERVERS = ("floor", "fastwsgi", "fastpysgi", "bjoern", "granian", "gunicorn-gthread")

_PAGE = "/shop/item/123456"
_FORM = b"0123456789abcdef" * 640
_NO_FLOOR: Mapping[str, str] = {"floor": "it knows no application"}
_NO_PIPELINE: Mapping[str, str] = {
    "bjoern": "of requests that arrive at once it does not answer all",
    "gunicorn-sync": "it closes every connection after one response",
    "uwsgi": "its router takes one request at a time from a connection",
}


def _get(path: str, *fields: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields)
    return "\r\n".join((*lines, "", "")).encode()


@dataclass(frozen=True)
class Case:
    """One load: which application is asked, by which wrk script, in which shape, and what must come back."""

    name: str
    title: str
    group: str
    app: str = "bench.apps:hello"
    script: str = "hello.lua"
    path: str = "/"
    request: bytes = _get("/")  # what is asked on one connection before and after wrk
    responses: int = 1  # how many come back to that
    closes: bool = False  # the connection ends with the response, as the request asks
    closing: frozenset[str] = frozenset()  # servers with which it does so unasked
    body: Callable[[], bytes] = field(default=lambda: BODY)
    workers: int = 1
    threads: int = 1
    access_log: bool = False
    tls: bool = False
    connections: int = 50
    without: Mapping[str, str] = field(default_factory=lambda: _NO_FLOOR)  # servers, and why
    targets: tuple[Target, ...] = ()

    def shape(self, access_log: Path, certificate: Certificate) -> Shape:
        """Return the shape that the servers have in this case."""
        return Shape(
            workers=self.workers,
            threads=self.threads,
            access_log=access_log if self.access_log else None,
            tls=certificate if self.tls else None,
        )


CASES = (
    Case(
        "hello",
        "hello, Host only",
        "small responses",
        without={},
        targets=(Target(0.80, "fastpysgi"), Target(1.30, "floor"), Target(1.0, BEST)),
    ),
    Case(
        "browser",
        "hello, a browser's 12 header fields, varied",
        "small responses",
        script="browser.lua",
        path=_PAGE,
        request=_get(_PAGE),
        without={},
        targets=(Target(0.75, "fastpysgi"), Target(1.60, "floor"), Target(1.0, BEST)),
    ),
    Case(
        "pipeline",
        "hello, 16 requests at once on each connection",
        "small responses",
        script="pipeline.lua",
        request=_get("/") * 16,
        responses=16,
        without=_NO_PIPELINE,
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "close",
        "hello, a new connection for each request",
        "small responses",
        script="close.lua",
        request=_get("/", "Connection: close"),
        closes=True,
        without={"uwsgi": "its router ends no connection when a client asks it to"},
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "connections",
        "hello, 1,000 connections",
        "small responses",
        connections=1000,
        without={},
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "flask",
        "Flask, a browser's 12 header fields, varied",
        "frameworks",
        app="bench.flask_app:app",
        script="browser.lua",
        path=_PAGE,
        request=_get(_PAGE),
        targets=(Target(0.90, "bjoern"), Target(0.75, "granian"), Target(0.40, "gunicorn-gthread")),
    ),
    Case(
        "django",
        "Django, a browser's 12 header fields, varied",
        "frameworks",
        app="bench.django_app:app",
        script="browser.lua",
        path=_PAGE,
        request=_get(_PAGE),
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "post",
        "a form of 10 KB, which the app reads",
        "bodies",
        app="bench.apps:post",
        script="post.lua",
        request=b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10240\r\n\r\n" + _FORM,
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "large",
        "a response of 1 MB",
        "bodies",
        app="bench.apps:large",
        body=lambda: LARGE,
        connections=10,
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "sendfile",
        "a file of 10 MB, by wsgi.file_wrapper where the server has one",
        "bodies",
        app="bench.apps:send_file",
        body=file_bytes,
        connections=10,
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "chunks",
        "a generator of 16 pieces, of no declared length",
        "bodies",
        app="bench.apps:chunks",
        body=lambda: b"".join(CHUNKS),
        closing=frozenset({"waitress"}),
        without={
            **_NO_FLOOR,
            "uwsgi": "its router cuts the pieces anew, each time otherwise: their sizes say nothing",
        },
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "access-log",
        "hello, with an access log in a file",
        "features",
        access_log=True,
        targets=(Target(1.0, case="hello", added=True), Target(1.0, BEST)),
    ),
    Case("tls", "hello over TLS, kept alive", "features", tls=True, targets=(Target(1.0, BEST),)),
    Case(
        "threads-hello",
        "hello, 32 threads",
        "threads",
        threads=32,
        targets=(Target(1.10, case="hello"), Target(1.0, BEST)),
    ),
    Case(
        "threads-flask",
        "Flask, a browser's 12 header fields, 32 threads",
        "threads",
        app="bench.flask_app:app",
        script="browser.lua",
        path=_PAGE,
        request=_get(_PAGE),
        threads=32,
        targets=(
            Target(1.10, case="flask"),
            Target(1.50, case="flask", figure="p99_us"),
            Target(1.0, BEST),
        ),
    ),
    Case(
        "threads-sleep",
        "an app that sleeps 10 ms, 32 threads, asked by 32 clients",
        "threads",
        app="bench.apps:sleep",
        threads=32,
        connections=32,
        targets=(Target(2900, figure="requests_per_second"), Target(0.80, "granian"), Target(1.0, BEST)),
    ),
    Case(
        "workers-hello",
        "hello, 2 workers on the one CPU of the server",
        "workers",
        workers=2,
        targets=(Target(1.0, BEST),),
    ),
    Case(
        "workers-flask",
        "Flask, a browser's 12 header fields, 2 workers on the one CPU of the server",
        "workers",
        app="bench.flask_app:app",
        script="browser.lua",
        path=_PAGE,
        request=_get(_PAGE),
        workers=2,
        targets=(Target(1.0, BEST),),
    ),
)
