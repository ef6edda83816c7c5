"""Readers of request heads, each as a function from bytes to an environ, or to what else it makes of them.

Every reader does what its server does for each request of a connection that is kept alive.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .heads import CLIENT, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[bytes], dict[str, Any]]

__all__ = ["fastwsgi", "gunicorn", "httptools"]


def fastwsgi() -> Reader:
    """Return our own parser, compiled or pure as this process is."""
    from fastwsgi import _impl
    from fastwsgi.config.settings import Config
    from fastwsgi.forwarding import Forwarding
    from fastwsgi.request import Limits
    from fastwsgi.wsgi import base_environ

    cfg = Config()
    parse = _impl.Parser(Limits(), Forwarding.of(cfg.secure_scheme_headers, cfg.forwarder_headers)).parse
    host, port = CLIENT[0], str(CLIENT[1])
    base = base_environ(
        server_name=SERVER[0],
        server_port=str(SERVER[1]),
        url_scheme="http",
        errors=sys.stderr,
        multithread=False,
        multiprocess=False,
    )

    def read(head: bytes) -> dict[str, Any]:
        request = parse(head, 0, base, host, port, True)
        if request is None:
            raise ValueError("fastwsgi takes the head for incomplete")
        return request.environ

    return read


def httptools() -> Reader:
    """Return httptools with callbacks that only collect: the least that any user needs, and no environ."""
    import httptools as package

    fields: list[tuple[bytes, bytes]] = []
    found: dict[str, Any] = {"fields": fields}

    class Collector:
        def on_message_begin(self) -> None:
            fields.clear()

        def on_url(self, url: bytes) -> None:
            found["url"] = url

        def on_header(self, name: bytes, value: bytes) -> None:
            fields.append((name, value))

    feed = package.HttpRequestParser(Collector()).feed_data

    def read(head: bytes) -> dict[str, Any]:
        feed(head)
        return found

    return read


def gunicorn(parser: str) -> Reader:
    """Return gunicorn's way to an environ; `parser` is its setting: "python", or "fast" for gunicorn_h1c."""
    from gunicorn.config import Config
    from gunicorn.http.message import Request
    from gunicorn.http.unreader import IterUnreader
    from gunicorn.http.wsgi import create

    cfg = Config()
    cfg.set("http_parser", parser)

    def read(head: bytes) -> dict[str, Any]:
        request = Request(cfg, IterUnreader([head]), CLIENT, 2)
        _, environ = create(request, None, CLIENT, SERVER, cfg)
        return environ  # type: ignore[no-any-return]

    return read
