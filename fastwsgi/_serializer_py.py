"""Response heads as bytes: the pure form of `_serializer.pyx`.

It owns the checks of what an app hands to start_response (RFC 9110 §5.1 and §5.5: no header, status
or value can break the framing) and the order of the lines of a head. It must not know connections.

A head is made in two steps, since its framing is known only with the first piece of the body:
`render` makes the block of the app's own lines, `assemble` adds framing, Connection, Date and Server.
"""

from __future__ import annotations

import re
from typing import Final

from . import http11

__all__ = ["Serializer"]

_TOKEN: Final = re.compile(rf"[{re.escape(http11.TOKEN_CHARS.decode())}]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_CACHED_STATUS_LINES: Final = 128


class Serializer:
    """The maker of response heads of one loop.

    After `render`, and until the next one, its attributes tell what the block means: `code`, the status
    as a number; `length`, the Content-Length of the app or -1; `closes`, whether the app asked for
    `Connection: close`; `stamps`, to be handed to `assemble`.
    """

    def __init__(self, server: str) -> None:
        """Make a serializer whose heads say `Server: {server}`."""
        self.code = 0
        self.length = -1
        self.closes = False
        self.stamps = 0
        self._status_lines: dict[str, tuple[bytes, int]] = {}
        self._server = server.encode("latin-1")
        self.stamp("Thu, 01 Jan 1970 00:00:00 GMT")

    def stamp(self, date: str) -> None:
        """Set the value of Date from now on."""
        date_line = b"Date: " + date.encode("ascii") + b"\r\n"
        server_line = b"Server: " + self._server + b"\r\n"
        # Indexed by `stamps`: 1 where the app has sent a Date, plus 2 where it has sent a Server.
        self._stamp_lines = (date_line + server_line, server_line, date_line, b"")

    def render(self, status: object, headers: object) -> bytes:
        """Return the status line and the app's header lines, without the hop-by-hop ones.

        Raises TypeError or ValueError, naming the header, for what RFC 9110 or PEP 3333 forbid.
        """
        entry = self._status_lines.get(status) if type(status) is str else None
        line, code = self._status_line(status) if entry is None else entry
        if not isinstance(headers, list):
            msg = f"headers must be a list, not {type(headers).__name__}"
            raise TypeError(msg)
        self.code = code
        self.length = -1
        self.closes = False
        self.stamps = 0
        lines = [line]
        for item in headers:
            name, value = self._check(item)
            meaning = name.lower()
            if meaning in http11.HOP_BY_HOP:
                if meaning == "connection" and "close" in value.lower():
                    self.closes = True
                continue
            if meaning == "content-length":
                is_said = self.length >= 0
                self.length = http11.response_length(value, self.length)
                if is_said or code < 200 or code == 204:  # RFC 9110 §8.6: MUST NOT be sent
                    continue
            elif meaning == "date":
                self.stamps |= 1
            elif meaning == "server":
                self.stamps |= 2
            lines.append(f"{name}: {value}\r\n".encode("latin-1"))
        return b"".join(lines)

    def _status_line(self, status: object) -> tuple[bytes, int]:
        if not isinstance(status, str):
            msg = f"status must be a str, not {type(status).__name__}"
            raise TypeError(msg)
        status = str.__str__(status)  # what it holds, if its class says something else
        entry = http11.response_line(status), int(status[:3])
        if len(self._status_lines) < _MAX_CACHED_STATUS_LINES:
            self._status_lines[status] = entry
        return entry

    @staticmethod
    def _check(item: object) -> tuple[str, str]:
        if not isinstance(item, tuple) or len(item) != 2:
            msg = f"a header must be a tuple of two str: {item!r}"
            raise TypeError(msg)
        name, value = item
        if not isinstance(name, str) or not isinstance(value, str):
            msg = f"a header must be a tuple of two str: {item!r}"
            raise TypeError(msg)
        # What is checked is what is sent, whatever methods a class derived from str has.
        name, value = str.__str__(name), str.__str__(value)
        try:
            name.encode("latin-1")
            value.encode("latin-1")
        except UnicodeEncodeError:
            msg = f"header {name!r} has characters beyond latin-1: {value!r}"
            raise ValueError(msg) from None
        if not name:
            msg = f"header with an empty name: {item!r}"
            raise ValueError(msg)
        if not _TOKEN.fullmatch(name):
            msg = f"header name is not a token (RFC 9110 §5.1): {name!r}"
            raise ValueError(msg)
        if _CONTROL.search(value):
            msg = f"control character in header {name!r}: {value!r}"
            raise ValueError(msg)
        return name, value

    def assemble(self, block: bytes, stamps: int, framing: int, connection: bytes, body: bytes) -> bytes:
        """Return a whole head followed by `body`.

        `block` and `stamps` come from `render`; `framing` is a Content-Length to add, or -1 for none, or
        -2 for `Transfer-Encoding: chunked`; `connection` is a whole Connection line or empty.
        """
        framing_line = b""
        if framing >= 0:
            framing_line = b"Content-Length: %d\r\n" % framing
        elif framing == -2:
            framing_line = b"Transfer-Encoding: chunked\r\n"
        return b"".join((block, framing_line, connection, self._stamp_lines[stamps], b"\r\n", body))

    def chunk(self, data: bytes) -> bytes:
        """Return `data`, which must not be empty, as a chunk (RFC 9112 §7.1)."""
        return b"%x\r\n%b\r\n" % (len(data), data)
