"""Request heads to be parsed: many of a kind, and different where those of clients differ."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLIENT", "HEADS", "SERVER", "VARIED"]

VARIED = 1021
"""Heads of a kind: a prime, so that nothing falls into step with them, and more than the parser remembers."""

SERVER = ("127.0.0.1", 8000)
CLIENT = ("127.0.0.1", 50000)

_HOST = f"Host: {SERVER[0]}:{SERVER[1]}"
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/18.6 Mobile/15E148 Safari/604.1",
)
_LANGUAGES = ("en-GB,en;q=0.9,de;q=0.7", "fr-FR,fr;q=0.9,en-US;q=0.8,en;q=0.7", "en-US,en;q=0.5")
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


def _host_only(chance: random.Random) -> list[str]:
    return [f"GET /item/{chance.randrange(10**6)} HTTP/1.1", _HOST]


def _browser(chance: random.Random) -> list[str]:
    """Return what bench/wrk/browser.lua sends, from several browsers: path, Referer, Cookie always differ."""
    session = f"{chance.getrandbits(128):032x}"
    list_number = chance.randrange(10**6)
    return [
        f"GET /shop/item/{chance.randrange(10**6)}?page=12&ref={session[:8]} HTTP/1.1",
        _HOST,
        "Connection: keep-alive",
        "Upgrade-Insecure-Requests: 1",
        f"User-Agent: {chance.choice(_AGENTS)}",
        f"Accept: {_ACCEPT}",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
        f"Referer: http://{SERVER[0]}:{SERVER[1]}/shop/list/{list_number}",
        "Accept-Encoding: gzip, deflate, br, zstd",
        f"Accept-Language: {chance.choice(_LANGUAGES)}",
        f"Cookie: session={session}; theme=dark; seen={list_number}",
    ]


def _cookies(chance: random.Random) -> list[str]:
    """Return that of a browser that many scripts have left cookies with: 4 KB of head."""
    *lines, cookie = _browser(chance)
    for number in range(26):
        cookie += f"; _track{number}={chance.getrandbits(512):0128x}"
    return [*lines, cookie]


def _post(chance: random.Random) -> list[str]:
    """Return that of a script's call of an API; its body of two digits follows the head."""
    return [
        f"POST /api/orders/{chance.randrange(10**6)}/lines HTTP/1.1",
        _HOST,
        f"User-Agent: shop-client/2.{chance.randrange(8)}",
        "Accept: application/json",
        "Accept-Encoding: gzip, deflate",
        "Content-Type: application/json",
        "Content-Length: 2",
        f"Authorization: Bearer {chance.getrandbits(256):064x}",
        f"X-Request-Id: {chance.getrandbits(128):032x}",
    ]


def _made(lines: Callable[[random.Random], list[str]], body: bytes = b"") -> list[bytes]:
    chance = random.Random(20)
    return ["\r\n".join([*lines(chance), "", ""]).encode() + body for _ in range(VARIED)]


HEADS: dict[str, Callable[[], list[bytes]]] = {
    "Host only": lambda: _made(_host_only),
    "browser, 12 fields": lambda: _made(_browser),
    "browser, 4 KB of cookies": lambda: _made(_cookies),
    "POST, 8 fields": lambda: _made(_post, b"42"),
}
