"""Reads its request's body while that is on its way, and answers meanwhile."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SEEN: list[str] = []
STRAYS: list[threading.Thread] = []
LATER: list[WSGIEnvironment] = []
TAKES: list[Any] = []


def _echo(environ: WSGIEnvironment) -> Iterator[bytes]:
    """Give each line back as soon as it has come."""
    yield from environ["wsgi.input"]


def _stray(environ: WSGIEnvironment) -> None:
    try:
        while piece := environ["wsgi.input"].read1(100):
            SEEN.append(f"read {len(piece)}")
        SEEN.append("end")
    except (OSError, ValueError) as error:
        SEEN.append(type(error).__name__)


def _hints(environ: WSGIEnvironment) -> bytes:
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style"), ("Link", "</a.js>")])
    environ["wsgi.early_hints"]([(b"X-More", b"1"), ("Content-Length", "5"), ("Connection", "close")])
    return b"after hints"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do as the path says, with the query as its argument."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    stream = environ["wsgi.input"]
    body = b"ok"
    if path == "/read":
        body = b"%d %s" % (len(stream.read()), environ.get("CONTENT_LENGTH", "-").encode())
    elif path == "/read-some":
        body = stream.read(int(query))
    elif path == "/caught":
        try:
            stream.read()
        except OSError as error:
            body = f"{type(error).__name__}: {error.strerror}".encode()
    elif path == "/caught-late":
        try:
            stream.read()
        except OSError as error:
            Path(query).read_bytes()  # a FIFO, until the test lets it go
            body = type(error).__name__.encode()
    elif path == "/seen":
        body = " ".join(SEEN).encode()
        SEEN.clear()
    elif path == "/noted":
        try:
            stream.read()
        except OSError as error:
            SEEN.append(type(error).__name__)
            raise
    elif path == "/stray":
        STRAYS.append(threading.Thread(target=_stray, args=(environ,)))
        STRAYS[-1].start()
    elif path == "/join":
        STRAYS.pop().join()
    elif path == "/keep":
        LATER.append(environ)
    elif path == "/later":
        _stray(LATER.pop())
    elif path == "/keep-socket":
        TAKES.append(environ["gunicorn.socket"]._take)
    elif path == "/take-socket":
        try:
            TAKES.pop()()
        except OSError as error:
            body = f"{error.strerror}".encode()
    elif path == "/hints":
        body = _hints(environ)
    elif path == "/bad-hint":
        environ["wsgi.early_hints"]([("Link", "a\r\nEvil: b")])
    elif path == "/stray-hint":
        thread = threading.Thread(target=environ["wsgi.early_hints"], args=([("X-Stray", "1")],))
        thread.start()
        thread.join()
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/echo":
        return _echo(environ)
    if path == "/stray-endless":
        STRAYS.append(threading.Thread(target=_stray, args=(environ,)))
        STRAYS[-1].start()
        return itertools.repeat(bytes(65536))
    if path == "/late-read":
        write(b"head ")
        return [stream.read()]
    if path == "/late-hint":
        write(b"head ")
        _hints(environ)
    return [body]
