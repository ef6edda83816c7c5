"""Request head to environ: our parser, and httptools alone with callbacks that only collect."""

from __future__ import annotations

import random
import sys
from functools import partial

import httptools

from fastwsgi import _impl
from fastwsgi.config.settings import Config
from fastwsgi.forwarding import Forwarding
from fastwsgi.request import Limits
from fastwsgi.wsgi import base_environ

from .clock import show

_HELLO = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
_VARIED = 1021
_BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
_BASE = base_environ(
    server_name="127.0.0.1",
    server_port="8000",
    url_scheme="http",
    errors=sys.stderr,
    multithread=False,
    multiprocess=False,
)


def browser_heads() -> list[bytes]:
    """Return heads like those of bench/wrk/browser.lua: path, Referer and Cookie differ."""
    chance = random.Random(20)
    heads = []
    for _ in range(_VARIED):
        number, other, session = (
            chance.randrange(10**6),
            chance.randrange(10**6),
            f"{chance.getrandbits(128):032x}",
        )
        lines = (
            f"GET /shop/item/{number}?page=12&ref={session[:8]} HTTP/1.1",
            "Host: 127.0.0.1:8000",
            "Connection: keep-alive",
            "Upgrade-Insecure-Requests: 1",
            f"User-Agent: {_BROWSER}",
            f"Accept: {_ACCEPT}",
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
            f"Referer: http://127.0.0.1:8000/shop/list/{other}",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "Accept-Language: en-GB,en;q=0.9,de;q=0.7",
            f"Cookie: session={session}; theme=dark; seen={other}",
            "",
            "",
        )
        heads.append("\r\n".join(lines).encode())
    return heads


class _Collector:
    """What httptools calls back: the least that any user of it needs."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def main() -> None:
    print(_impl.describe())
    cfg = Config()
    parser = _impl.Parser(Limits(), Forwarding.of(cfg.secure_scheme_headers, cfg.forwarder_headers))

    def ours(heads: list[bytes]) -> None:
        for head in heads:
            parser.parse(head, 0, _BASE, "127.0.0.1", "50000", True)

    def alone(heads: list[bytes]) -> None:
        for head in heads:
            httptools.HttpRequestParser(_Collector()).feed_data(head)

    for name, heads in (("Host only", [_HELLO] * _VARIED), ("browser's 12, varied", browser_heads())):
        show(f"parse + environ, {name}", partial(ours, heads), _VARIED)
        show(f"httptools and Python callbacks, {name}", partial(alone, heads), _VARIED)


if __name__ == "__main__":
    main()
