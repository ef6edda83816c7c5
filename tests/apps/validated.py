"""wsgiref's validator around an application that uses all that PEP 3333 offers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from wsgiref.validate import validator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Everything:
    """The iterable of one response."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ

    def __iter__(self) -> Iterator[bytes]:
        source = self.environ["wsgi.input"]
        # The validator allows read(size), readline(), readlines(hint) and iteration.
        yield b"read(2): " + source.read(2) + b"\n"
        yield b"readline: " + source.readline()
        yield b""
        yield b"readlines: " + b"|".join(source.readlines(1)) + b"\n"
        yield b"rest: " + b"|".join(source) + b"\n"

    def close(self) -> None:
        self.environ["wsgi.errors"].write("closed by the server\n")
        self.environ["wsgi.errors"].flush()


def everything(environ: WSGIEnvironment, start_response: StartResponse) -> Everything:
    try:
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        msg = "a second head, with exc_info"
        raise ValueError(msg)
    except ValueError:
        write = start_response(
            "202 Accepted", [("Content-Type", "text/plain"), ("X-Second", "yes")], sys.exc_info()
        )
    write(b"written\n")
    return Everything(environ)


def simple(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"simple"]


def empty(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("204 No Content", [])
    return []


VALIDATED = {
    "/everything": validator(everything),
    "/simple": validator(simple),
    "/empty": validator(empty),
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> object:
    return VALIDATED[environ["PATH_INFO"]](environ, start_response)
