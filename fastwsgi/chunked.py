"""The chunked transfer coding of request bodies (RFC 9112 §7.1), decoded as strictly as it is written.

A sans-IO decoder: bytes in, pieces of the body out into a Body. It knows where the message ends, which
a front end and we must never see differently: anything that another reader could take otherwise is a
400. Trailer fields are checked like header fields, counted against the same limits, and dropped.

  state    | what ends it                    | next
  SIZE     | a line `hex [;extensions] CRLF` | DATA, or TRAILER after size 0
  DATA     | that many bytes                 | DATA_END
  DATA_END | CRLF                            | SIZE
  TRAILER  | an empty line                   | DONE
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import http11, policy
from .errors import HTTPError

if TYPE_CHECKING:
    from .body import Body

__all__ = ["ChunkedDecoder"]

SIZE, DATA, DATA_END, TRAILER, DONE = range(5)

_MAX_SIZE = 2**63 - 1
_MAX_EXTENSIONS = 4096  # bytes in one body: unbounded, they are free work (CVE-2023-39326)
_MAX_DIGITS = 64  # of a size, which may begin with zeros
_MAX_SIZE_LINE = _MAX_DIGITS + _MAX_EXTENSIONS
_TOKEN = b"[" + re.escape(http11.TOKEN_CHARS) + b"]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
# RFC 9112 §7.1.1, whose bad whitespace may stand anywhere but behind the size: that must end unmistakably.
_EXTENSION = rb"(?:;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?(?:[ \t]+(?=;))?)" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE_LINE = re.compile(b"([0-9A-Fa-f]{1,%d})" % _MAX_DIGITS + _EXTENSION + b"*")


class ChunkedDecoder:
    """The decoder of one message."""

    __slots__ = ("_extensions", "_fields", "_line", "_max_field_size", "_max_fields", "_remaining", "_state")

    def __init__(self, max_fields: int, max_field_size: int) -> None:
        """Start before the first chunk; the limits, 0 for none set, are those of the trailer section."""
        self._max_fields = max_fields
        self._max_field_size = max_field_size or policy.HARD_LIMIT
        self._state = SIZE
        self._remaining = 0
        self._line = b""  # the beginning of a line that is not yet whole
        self._extensions = 0
        self._fields = 0

    @property
    def done(self) -> bool:
        """Whether the message has ended."""
        return self._state == DONE

    def decode(self, data: bytes, start: int, body: Body) -> int:
        """Decode `data[start:]` into `body`; return the offset of the first byte after what was used.

        That is less than len(data) only when the message has ended. Raises HTTPError.
        """
        position = start
        end = len(data)
        while position < end and self._state != DONE:
            if self._state == DATA:
                taken = min(self._remaining, end - position)
                body.write(data[position : position + taken])
                position += taken
                self._remaining -= taken
                if self._remaining == 0:
                    self._state = DATA_END
                continue
            newline = data.find(b"\n", position)
            if newline < 0:
                self._line += data[position:]
                self._measure(self._line)
                return end
            line = self._line + data[position : newline + 1]
            self._line = b""
            position = newline + 1
            self._measure(line)
            if not line.endswith(b"\r\n"):
                raise HTTPError(400, "bare LF in chunked body")  # RFC 9112 §2.2: only CRLF is safe here
            self._on_line(line[:-2], body)
        return position

    def _measure(self, line: bytes) -> None:
        """Refuse a line, whole or as far as it has come, if no more bytes could mend it.

        This comes before its grammar, so that the first violation decides however the bytes were split.
        """
        if self._state == DATA_END:
            if line not in (b"\r", b"\r\n"):
                raise HTTPError(400, "chunk is longer than its size")
        elif self._state == SIZE:
            if len(line) > _MAX_SIZE_LINE + 2:
                raise HTTPError(400, "chunk size line too long")
        elif len(line) > self._max_field_size + 2:
            raise HTTPError(431, "trailer field too long")

    def _on_line(self, line: bytes, body: Body) -> None:
        if self._state == SIZE:
            self._on_size(line, body)
        elif self._state == DATA_END:
            self._state = SIZE
        elif not line:
            self._state = DONE
        else:
            self._on_trailer(line)

    def _on_size(self, line: bytes, body: Body) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise HTTPError(400, "malformed chunk size line")
        digits = match.group(1)
        self._extensions += len(line) - len(digits)
        if self._extensions > _MAX_EXTENSIONS:
            raise HTTPError(400, "too many chunk extensions")
        size = int(digits, 16)
        if size > _MAX_SIZE:
            raise HTTPError(400, "chunk size too large")
        if size == 0:
            self._state = TRAILER
            return
        body.expect(size)
        self._remaining = size
        self._state = DATA

    def _on_trailer(self, line: bytes) -> None:
        self._fields += 1
        if self._max_fields and self._fields > self._max_fields:
            raise HTTPError(431, "too many trailer fields")
        if not http11.FIELD_LINE.fullmatch(line):
            raise HTTPError(400, "malformed trailer field")
