"""A response as a client reads it, byte by byte: its body must be what the application sent.

Strict where a benchmark depends on it, and no more of HTTP than the servers' answers to a probe take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket

__all__ = ["Reader", "Size", "WrongResponseError"]

_BLOCK = 262144


class WrongResponseError(Exception):
    """The server answered, but not as the case asks."""


class Size(NamedTuple):
    """The bytes of a response, framing included, and those of its head."""

    whole: int
    head: int


class Reader:
    """Reads the responses of one connection in turn."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()

    def read(self, body: bytes, *, stays: bool, more: bool = False) -> Size:
        """Read one response, which no more may follow but if `more`, and return its size, framing included.

        Raises WrongResponseError unless its status is 200, its body is `body`, and the connection stays open
        after it or not, as it should.
        """
        head, blank, _ = bytes(self._until(b"\r\n\r\n")).partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        if not status.startswith(b"HTTP/1.1 200"):
            raise WrongResponseError(f"status line {status.decode('latin-1')!r}")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
        }
        if (fields.get(b"connection", b"").lower() == b"close") == stays:
            raise WrongResponseError(
                "Connection: close, though HTTP/1.1 was spoken" if stays else "no Connection: close"
            )
        if b"content-length" in fields:
            size, got = self._plain(int(fields[b"content-length"]))
        elif fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            size, got = self._chunked()
        elif not stays:
            size, got = self._rest()
        else:
            raise WrongResponseError("neither Content-Length nor chunks, on a connection that stays open")
        if got != body:
            raise WrongResponseError(
                f"a body of {len(got)} bytes, {got[:40]!r}, instead of {len(body)}, {body[:40]!r}"
            )
        if self._data and not more:
            raise WrongResponseError(f"more after the end of the response: {self._data[:40]!r}")
        return Size(len(head) + len(blank) + size, len(head) + len(blank))

    def _plain(self, length: int) -> tuple[int, bytes]:
        while len(self._data) < length:
            self._more()
        return length, self._take(length)

    def _chunked(self) -> tuple[int, bytes]:
        size = 0
        pieces: list[bytes] = []
        while True:
            line = self._until(b"\r\n")
            length = int(line.partition(b";")[0], 16)
            while len(self._data) < length + 2:
                self._more()
            piece = self._take(length + 2)
            size += len(line) + len(piece)
            if not piece.endswith(b"\r\n"):
                raise WrongResponseError(f"a chunk that does not end with a new line: {piece[-40:]!r}")
            if length == 0:
                return size, b"".join(pieces)
            pieces.append(piece[:-2])

    def _rest(self) -> tuple[int, bytes]:
        while received := self._connection.recv(_BLOCK):
            self._data += received
        return len(self._data), self._take(len(self._data))

    def _until(self, mark: bytes) -> bytes:
        while (end := self._data.find(mark)) < 0:
            self._more()
        return self._take(end + len(mark))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def _more(self) -> None:
        received = self._connection.recv(_BLOCK)
        if not received:
            raise WrongResponseError(
                f"the connection was closed in the middle of a response: {self._data[:80]!r}"
            )
        self._data += received
