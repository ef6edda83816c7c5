"""The hops of a request: what each proxy on its way has written down of whoever it had it from.

Both forms of writing: `Forwarded` (RFC 7239), of strict grammar, and the list of X-Forwarded-For, which has
none. Must not know whom to believe: `outermost` is told which addresses are proxies'.

- The last hop of a list was written by whoever has connected to us, each before by whom the next one names.
- What cannot be read as an address names nobody, and nothing before it is believed: nobody vouches for it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from . import http11
from .errors import HTTPError
from .networks import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Hop", "outermost", "read_addresses", "read_forwarded"]

_TOKEN: Final = f"[{re.escape(http11.TOKEN_CHARS.decode())}]+"
_PAIR: Final = re.compile(
    rf'(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?(;|[ \t]*,[ \t]*|[ \t]*\Z)', re.DOTALL
)
"""RFC 7239 §4: a pair, which may be left out, and what comes behind it."""

_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)

_NODE: Final = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?")
"""RFC 7239 §6: address, and port if it is told; `unknown` and names that hide an address are none."""

_LONGEST: Final = 64  # characters of a node that is an address
_MOST_PAIRS: Final = 256  # more would be a loop of proxies, or meant to cost time


class Hop(NamedTuple):
    """What one proxy tells."""

    client: tuple[str, str] | None
    """Address and port ('' if that is not told) of whom it had the request from; None if it names nobody."""

    host: str | None = None
    proto: str | None = None


def read_forwarded(value: str) -> Iterator[Hop]:
    """Read the values of all `Forwarded` fields, joined, from us on; raises HTTPError."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    for _ in range(_MOST_PAIRS):
        match = _PAIR.match(value, at)
        if match is None:
            raise HTTPError(400, "malformed Forwarded")
        name, token, quoted, end = match.groups()
        if name is not None:
            name = name.lower()
            if name in elements[-1]:
                raise HTTPError(
                    400, f"{name} is repeated in an element of Forwarded"
                )  # RFC 7239 §4: MUST NOT
            elements[-1][name] = token if token is not None else _QUOTED_PAIR.sub(r"\1", quoted)
        at = match.end()
        if "," in end:
            elements.append({})
        elif end != ";":
            return (
                Hop(_client(pairs.get("for", "")), pairs.get("host"), pairs.get("proto"))
                for pairs in reversed(elements)
            )
    raise HTTPError(400, f"more than {_MOST_PAIRS} pairs in Forwarded")


def read_addresses(value: str) -> Iterator[Hop]:
    """Read the values of all X-Forwarded-For fields, joined, from us on."""
    return (Hop(_client(text) or _bare(text)) for text in map(_stripped, reversed(value.split(","))))


def outermost(hops: Iterator[Hop], is_proxy: Callable[[str], bool]) -> Hop:
    """Return what the outermost proxy tells that is vouched for, with the farthest client that is known."""
    client = None
    for hop in hops:
        if hop.client is None:
            return hop._replace(client=client)
        client = hop.client
        last = hop
        if not is_proxy(client[0]):
            break
    return last


def _stripped(text: str) -> str:
    return text.strip(" \t")


def _client(node: str) -> tuple[str, str] | None:
    match = _NODE.fullmatch(node) if len(node) <= _LONGEST else None
    if match is None:
        return None
    v4, v6, port = match.groups()
    try:
        ip = ipaddress.IPv4Address(v4) if v4 is not None else ipaddress.IPv6Address(v6)
    except ValueError:
        return None
    if port is not None and int(port) > 0xFFFF:
        return None
    return written(ip), "" if port is None else str(int(port))


def _bare(text: str) -> tuple[str, str] | None:
    """Read an address of IPv6 without the brackets that a port would ask for."""
    if len(text) > _LONGEST or ":" not in text or "%" in text:
        return None
    try:
        return written(ipaddress.IPv6Address(text)), ""
    except ValueError:
        return None
