"""Request heads read by httptools, which is llhttp: those that the scanner of `_parser.pyx` declines.

The pure build has the strict reader of `policy.py` in its place. What llhttp accepts is judged by
`policy.build`, as everywhere, and what it refuses is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools

from . import http11, policy
from .errors import HTTPError

if TYPE_CHECKING:
    from .forwarding import Forwarding
    from .request import Limits, Request

__all__ = ["read"]


class _Fields:
    """What httptools tells of one head."""

    __slots__ = ("found", "url")

    def __init__(self) -> None:
        self.url = b""
        self.found: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name, value.strip(b" \t")))


def read(
    data: bytes,
    start: int,
    base: dict[str, Any],
    peer: tuple[str, str],
    limits: Limits,
    forwarding: Forwarding | None,
) -> Request | None:
    """Parse the request head at `data[start:]`, as Parser.parse does; raises HTTPError."""
    begin, end = policy.frame(data, start, 0, limits)
    if end == 0:
        return None
    head = data[begin:end]
    line_end = head.find(b"\r\n")
    match = http11.REQUEST_LINE.fullmatch(head, 0, line_end)
    if match is None:
        raise HTTPError(400, "malformed request line")
    method, target, major, minor = match.groups()
    found = _Fields()
    refusal = None
    try:
        # llhttp knows some methods and two versions; any token may be a method (RFC 9110 §9.1), and a
        # later 1.x is read as 1.1 (§2.5). It is fed exactly one head, since it cannot be paused after it.
        line = b"GET %b HTTP/1.%b" % (target, b"0" if minor == b"0" else b"1")
        httptools.HttpRequestParser(found).feed_data(line + head[line_end:])
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserCallbackError:  # what else is there that a callback could meet
        raise MemoryError from None
    except httptools.HttpParserError as error:
        refusal = error
    # Of what llhttp refuses, the strict reader tells the status; it accepts nothing that llhttp does not.
    fields = found.found if refusal is None else policy.read(head)[4]
    request = policy.build(method, target, (major, minor), fields, end, limits, base, peer, forwarding)
    if refusal is not None:
        raise HTTPError(400, f"refused by llhttp: {refusal}")
    return request
