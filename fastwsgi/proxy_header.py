"""The PROXY protocol: a header in front of a connection's first request, by which a proxy names its client.

Both versions of HAProxy's specification (proxy-protocol.txt, 3.2): v1, a line of text; v2, binary, whose
extensions (TLVs) are skipped. Without a socket: bytes in, as far as they have come, a header out.

- A header is of bounded size, and is read anew from its first byte whenever more has come.
- What is malformed is refused, never skipped: what follows would be read as a request of somebody else.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import HTTPError
from .networks import written

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProxyHeader", "ProxyProtocol"]

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_LINE: Final = 107  # of v1, with its CRLF: "the receiver may use a buffer of that size"

_LINE: Final = re.compile(rb"PROXY (TCP[46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d{1,5}) (\d{1,5})", re.ASCII)

_FIXED: Final = 16  # bytes of v2 before the addresses: signature, version and command, family, length
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_FAMILIES: Final = {
    0x00: ("UNSPEC", 0),
    0x11: ("TCP4", 4),
    0x21: ("TCP6", 16),
    0x31: ("UNIX", 108),
}
"""Of streams: name, as gunicorn gives it to the app, and size of one address."""


class ProxyHeader(NamedTuple):
    """What a header says; `size` is in bytes, 0 if there is none."""

    size: int
    protocol: str = ""
    client: tuple[str, str] | None = None
    """Address and port; None if the peer speaks for itself (as a health check does), or does not tell."""

    proxy: tuple[str, str] | None = None
    """Where the client has connected to."""

    def environ(self) -> dict[str, str]:
        """Return what the app finds of it besides REMOTE_ADDR and REMOTE_PORT, under gunicorn's names."""
        if not self.size:
            return {}
        found = {"PROXY_PROTOCOL": self.protocol}
        if self.proxy is not None:
            found["PROXY_ADDR"], found["PROXY_PORT"] = self.proxy
        return found


class ProxyProtocol:
    """What connections of a listener have to begin with, and who may say it."""

    __slots__ = ("_allows", "_is_optional", "_signatures")

    def __init__(self, mode: str, allows: Callable[[str], bool]) -> None:
        """Expect `mode`: v1, v2, or auto for either or none; `allows` tells of a peer's address."""
        self._signatures = {"v1": (_V1,), "v2": (_V2,), "auto": (_V1, _V2)}[mode]
        self._is_optional = mode == "auto"
        self._allows = allows

    def read(self, data: bytes | bytearray, peer: str) -> ProxyHeader | None:
        """Read the header that `data` begins with; return None if that takes more bytes.

        Raises HTTPError: 400 for one that is malformed or missing, 403 if `peer` may send none.
        """
        for signature in self._signatures:
            if data.startswith(signature):
                if not self._allows(peer):
                    raise HTTPError(403, "it is not in proxy_allow_ips")
                return _read_line(data) if signature is _V1 else _read_binary(data)
            if signature.startswith(data):
                return None
        if self._is_optional:
            return ProxyHeader(0)
        raise HTTPError(400, "no PROXY header, which proxy_protocol asks for")


def _read_line(data: bytes | bytearray) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        if len(data) >= _LONGEST_LINE:
            raise HTTPError(400, "PROXY line without end")
        return None
    line = bytes(data[:end])
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        # "The receiver must ignore anything presented before the CRLF."
        return ProxyHeader(end + 2, "UNKNOWN")
    match = _LINE.fullmatch(line)
    if match is None:
        raise HTTPError(400, "malformed PROXY line")
    protocol = match[1].decode()
    try:
        client, proxy = (_address(protocol, match[group].decode()) for group in (2, 3))
        ports = [_port(match[group].decode()) for group in (4, 5)]
    except ValueError as error:
        raise HTTPError(400, f"PROXY line: {error}") from None
    return ProxyHeader(end + 2, protocol, (client, ports[0]), (proxy, ports[1]))


def _address(protocol: str, text: str) -> str:
    return written(ipaddress.IPv4Address(text) if protocol == "TCP4" else ipaddress.IPv6Address(text))


def _port(text: str) -> str:
    if int(text) > 0xFFFF or str(int(text)) != text:
        raise ValueError(f"{text} is no port")
    return text


def _read_binary(data: bytes | bytearray) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise HTTPError(400, f"version and command 0x{data[12]:02x} of a PROXY header are unknown")
    if len(data) < _FIXED:
        return None
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:16], "big")
    size = _FIXED + length
    if command == _LOCAL:
        return ProxyHeader(size, "LOCAL") if len(data) >= size else None
    if family not in _FAMILIES:
        raise HTTPError(400, f"family 0x{family:02x} of a PROXY header is none of streams")
    protocol, width = _FAMILIES[family]
    is_internet = family in (0x11, 0x21)
    if length < 2 * width + (4 if is_internet else 0):
        raise HTTPError(400, "PROXY header is too short for its addresses")
    if len(data) < size:
        return None
    if protocol == "UNIX":
        return ProxyHeader(size, protocol, ("", ""))  # as of our own Unix sockets
    if not is_internet:
        return ProxyHeader(size, protocol)
    at = _FIXED
    client, proxy = (
        written(ipaddress.ip_address(bytes(data[begin : begin + width]))) for begin in (at, at + width)
    )
    at += 2 * width
    ports = [str(int.from_bytes(data[begin : begin + 2], "big")) for begin in (at, at + 2)]
    return ProxyHeader(size, protocol, (client, ports[0]), (proxy, ports[1]))
