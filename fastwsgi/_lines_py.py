"""The lines of requests that are over, until they are written: interface and pure form of `_lines.pyx`.

Must not know: files. Invariant: a line is added whole, or not at all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .logs.access_format import compile_format

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lines"]


class Lines:
    """Lines of one format; the threads of one loop take turns at it.

    `log` adds that of a request, see AccessLog; it is the compiled format itself, which saves a call.
    """

    def __init__(self, fmt: str, clock: Callable[[], float] | None = None) -> None:
        """Begin without a line; `clock` tells the time, by default that of the system.

        Raises:
            ConfigError: `fmt` is not a format.
        """
        self._lines: list[bytes] = []
        self.log = compile_format(fmt, self._lines.append, clock or time.time)

    def add(self, line: bytes) -> None:
        """Add a line that was made elsewhere, by any thread."""
        self._lines.append(line)

    def take(self) -> bytes:
        """Return all lines, with their ends, and forget them."""
        if not self._lines:
            return b""
        # Another thread may append meanwhile: what it adds is left for the next time.
        lines = self._lines[:]
        del self._lines[: len(lines)]
        lines.append(b"")
        return b"\n".join(lines)
