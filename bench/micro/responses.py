"""What an app returns to bytes for the socket: start_response, the head, and a short body behind it."""

from __future__ import annotations

import contextvars
import io
import random
from typing import TYPE_CHECKING, Any

from .heads import CLIENT, HEADS, SERVER, VARIED

if TYPE_CHECKING:
    from collections.abc import Callable

    Fields = list[tuple[str, str]]
    Answerer = Callable[[Fields], bytes]

__all__ = ["BODY", "FIELDS", "STATUS", "fastwsgi", "gunicorn"]

BODY = b"Hello, world!"
STATUS = "200 OK"
_KINDS = ("text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8")


def _plain(chance: random.Random) -> Fields:
    return [("Content-Type", _fresh(chance.choice(_KINDS))), ("Content-Length", _fresh(str(len(BODY))))]


def _cookie(chance: random.Random) -> Fields:
    session = f"session={chance.getrandbits(160):040x}; Path=/; HttpOnly; SameSite=Lax"
    return [*_plain(chance), ("Vary", "Cookie"), ("Set-Cookie", session)]


def _eight(chance: random.Random) -> Fields:
    return [
        *_cookie(chance),
        ("Cache-Control", "private, max-age=0"),
        ("ETag", f'"{chance.getrandbits(64):016x}"'),
        ("Last-Modified", f"Sat, 03 Jan 2026 10:{chance.randrange(60):02}:00 GMT"),
        ("X-Frame-Options", "DENY"),
    ]


def _fresh(text: str) -> str:
    """Return an equal str that is another object, as one that an app has just formatted."""
    return text.encode().decode()


def _made(fields: Callable[[random.Random], Fields]) -> list[Fields]:
    chance = random.Random(21)
    return [fields(chance) for _ in range(VARIED)]


FIELDS: dict[str, Callable[[], list[Fields]]] = {
    "2 fields": lambda: _made(_plain),
    "4 fields, Set-Cookie": lambda: _made(_cookie),
    "8 fields": lambda: _made(_eight),
}


def fastwsgi() -> Answerer:
    """Return our own Response with the app that it runs, compiled or pure as this process is."""
    from fastwsgi import _impl
    from fastwsgi.endpoint import Endpoint
    from fastwsgi.request import Limits, Request
    from fastwsgi.response import Response

    endpoint = Endpoint(None, _impl.Serializer("fastwsgi"), {}, Limits(), open_spool=io.BytesIO)  # type: ignore[arg-type]
    request = Request({}, 1, 0)
    context = contextvars.Context()
    out: list[bytes] = []
    fields: Fields = []

    def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(STATUS, fields)
        return [BODY]

    def answer(wanted: Fields) -> bytes:
        nonlocal fields
        fields = wanted
        response = Response.__new__(Response)
        response.begin(endpoint, request, out, None, context)
        response.run(app)
        return out.pop()

    return answer


def gunicorn() -> Answerer:
    """Return gunicorn's Response with the app, and a socket that keeps what is sent."""
    from gunicorn.config import Config
    from gunicorn.http.message import Request
    from gunicorn.http.unreader import IterUnreader
    from gunicorn.http.wsgi import create

    sent: list[bytes] = []

    class Socket:
        def sendall(self, data: bytes) -> None:
            sent.append(data)

    cfg = Config()
    cfg.set("http_parser", "python")
    socket = Socket()
    request = Request(cfg, IterUnreader([HEADS["Host only"]()[0]]), CLIENT, 2)
    response_class = type(create(request, socket, CLIENT, SERVER, cfg)[0])

    def answer(fields: Fields) -> bytes:
        sent.clear()
        response = response_class(request, socket, cfg)
        response.start_response(STATUS, fields)
        for piece in (BODY,):
            response.write(piece)
        response.close()
        return b"".join(sent)

    return answer
