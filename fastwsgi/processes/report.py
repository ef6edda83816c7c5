"""What a worker tells its master through their pair of sockets, and a new master the old one.

Must not know what follows from it. Invariant: a master may be root, and its worker is not trusted: whatever
comes through the socket, reading it raises nothing, and keeps no more than one report in memory.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import socket

__all__ = ["WORN", "Inbox", "Report"]

WORN: Final = -1
"""In place of a code: the worker serves on, and asks for a successor."""

_LONGEST: Final = 1 << 18
"""Bytes: a report whose every letter takes twelve (\\ud83d\\ude00) is shorter."""


class Report(NamedTuple):
    """A worker's word: it is ready (code 0), or why it cannot boot, or why it is to be replaced (WORN).

    `code` is the exit code this means for the server, `line` the reason in one line, `detail` a traceback.
    """

    code: int = 0
    line: str = ""
    detail: str = ""

    def write(self, fd: int) -> None:
        """Write it to a pipe; a master that is gone is no error."""
        # Bounded to what an empty pipe takes at once, so the last, telling, part of a traceback is kept.
        data = json.dumps([self.code, self.line[:4000], self.detail[-8000:]])
        try:
            os.write(fd, data.encode() + b"\n")
        except ConnectionError:
            pass

    @classmethod
    def read(cls, data: bytes | bytearray) -> Report:
        """Return the report in `data`; in place of anything else, that the worker is to be replaced."""
        try:
            code, line, detail = json.loads(data)
        except (ValueError, TypeError, RecursionError):
            return _GARBLED
        is_one = type(code) is int and type(line) is type(detail) is str
        return cls(code, line, detail) if is_one else _GARBLED


_GARBLED: Final = Report(WORN, "what it reports cannot be understood")


class Inbox:
    """The reports that come through a socket.

    Args:
        channel: the socket; it is made one that does not block.
    """

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._received = bytearray()

    def take(self) -> list[Report] | None:
        """Return what has come since; None at the end, when nothing more will come."""
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self._received += data
        lines = self._received.split(b"\n")
        self._received = lines.pop()
        if len(self._received) > _LONGEST:
            lines.append(self._received)
            self._received = bytearray()
        return [Report.read(line) for line in lines] if data else None
