"""A request body on its way in: kept in memory while small, in a temporary file past a bound.

It owns the bytes between the wire and `wsgi.input`. How to open a temporary file is told by the caller:
this module knows no file system.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from .errors import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Body"]

_MOST_PARTS = 256


class Body:
    """The collector of one body."""

    __slots__ = ("_file", "_gathered", "_limit", "_open_spool", "_parts", "_spool_at", "size")

    def __init__(self, limit: int, spool_at: int, open_spool: Callable[[], Any]) -> None:
        """Start empty.

        `limit` is the most bytes it may have, 0 for no limit; past `spool_at` bytes they go to the file
        that `open_spool` returns. One that is taken piece by piece has the limit alone.
        """
        self.size = 0
        self._limit = limit
        self._spool_at = spool_at
        self._open_spool = open_spool
        self._parts: list[bytes] | None = []
        self._gathered: BytesIO | None = None  # parts that came before: as objects, small ones take much room
        self._file: Any = None

    def expect(self, nbytes: int) -> None:
        """Raise HTTPError 413 if `nbytes` more would be too many."""
        if self._limit and self.size + nbytes > self._limit:
            raise HTTPError(413, f"request body over limit_request_body ({self._limit})")

    def write(self, data: bytes) -> None:
        """Append `data`. Raises HTTPError 413 past the limit, 503 when the file cannot be written."""
        self.expect(len(data))
        self.size += len(data)
        if self._parts is not None:
            self._parts.append(data)
            if self.size <= self._spool_at:
                if len(self._parts) > _MOST_PARTS:
                    self._gather()
                return
        try:
            if self._parts is not None:
                self._file = self._open_spool()
                self._file.write(self._whole())
                self._parts = None
            else:
                self._file.write(data)
        except (OSError, RuntimeError) as error:  # RuntimeError: no memory for the lock of a BufferedRandom
            raise HTTPError(503, f"cannot spool the request body: {error}") from error

    def open(self) -> Any:
        """Return what was collected as a binary file at its beginning, for `wsgi.input`."""
        if self._parts is not None:
            # BytesIO shares the memory of a bytes object until somebody writes.
            whole = BytesIO(self._whole())
            self._parts = None
            return whole
        try:
            self._file.seek(0)
        except OSError as error:
            raise HTTPError(503, f"cannot spool the request body: {error}") from error
        return self._file

    def take(self) -> bytes:
        """Return what has come since the last call, of a body that is never spooled."""
        piece = self._whole()
        self._parts = []
        return piece

    def _gather(self) -> None:
        """Have no more parts, but their bytes together."""
        if self._gathered is None:
            self._gathered = BytesIO()
        self._gathered.writelines(self._parts or ())
        self._parts = []

    def _whole(self) -> bytes:
        """Return all that is in memory."""
        parts = self._parts or []
        if self._gathered is not None:
            self._gather()
            parts = [self._gathered.getvalue()]
            self._gathered = None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of the temporary file, if there is one; it has no name, so nothing remains."""
        self._parts = None
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # a full disk, met again at the last flush
                pass
            self._file = None
