"""The access log: gathers finished lines and writes them when told to flush.

Must not know: sockets, the loop, signals. Invariants: a line is never torn between processes that share a
file or a pipe; a disk that fails costs lines, counted and told once, never the server.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .._impl import Lines
from .log_file import ERROR_LOG, open_log, reopen_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from .access_format import LogFunction

__all__ = ["AccessLog"]

# POSIX.1-2017, write(): what is not longer than PIPE_BUF goes into a pipe in one piece. Docker and systemd
# give a server pipes, which its workers share.
_PIPE_BUF = 4096
_MOST_WAITING = 1 << 20


class AccessLog:
    """Lines for finished requests, gathered and written many at a time.

    `log(environ, status, headers, nbytes, seconds)` adds the line of one request: the environ its app got (or
    what is known of it), "200 OK", the app's headers or None, bytes of body sent, duration. It is the
    method of the lines themselves, which saves a call.
    """

    log: LogFunction
    add: Callable[[bytes], None]
    """Add a line that was made elsewhere."""

    def __init__(
        self, fd: int, fmt: str, path: str | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.lost = 0  # lines since writing began to fail
        self._fd = fd
        self._path = path
        self._format = fmt
        self._lines = Lines(fmt, clock)
        self._waiting = b""  # what a full pipe did not take
        self._failing = False
        self._is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        self.log = self._lines.log
        self.add = self._lines.add

    @classmethod
    def open(cls, target: str, fmt: str) -> AccessLog:
        """Open the log: `target` is a path, or "-" for standard output.

        Raises:
            OSError: the file cannot be opened.
            ConfigError: `fmt` is not a format.
        """
        if target == "-":
            return cls(1, fmt)
        return cls(open_log(target), fmt, str(Path(target).absolute()))

    def another(self) -> AccessLog:
        """Return one that writes to the same file, for a thread of its own; it is not to be closed."""
        return AccessLog(self._fd, self._format, self._path)

    def flush(self) -> None:
        """Write what was logged since the last time; never raises for a file that cannot be written."""
        try:
            data = self._lines.take()
        except MemoryError:
            return  # they wait
        if self._waiting:
            data = self._waiting + data
            self._waiting = b""
        if not data:
            return
        done = 0
        try:
            if not self._is_pipe:
                done = os.write(self._fd, data)
            while done < len(data):
                piece = data[done : self._end_of_piece(data, done)]
                done += os.write(self._fd, piece)
        except BlockingIOError:
            # Someone made standard output non-blocking; its reader is slow.
            self._waiting = data[done:]
            if len(self._waiting) > _MOST_WAITING:
                self._lose(data, done, "its reader is too slow")
        except OSError as exc:
            self._lose(data, done, exc.strerror)
        else:
            if self._failing:
                self._failing = False
                ERROR_LOG.warning("access log: writing works again; %d lines were lost", self.lost)
                self.lost = 0

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Find where the next write ends: for a pipe, after the last line that one write takes whole."""
        if not self._is_pipe or len(data) - start <= _PIPE_BUF:
            return len(data)
        return data.rfind(b"\n", start, start + _PIPE_BUF) + 1 or start + _PIPE_BUF

    def _lose(self, data: bytes, done: int, reason: str | None) -> None:
        torn = done > 0 and data[done - 1 : done] != b"\n"
        self._waiting = b"\n" if torn else b""  # ends the line of which the file has a part
        self.lost += data.count(b"\n", done)
        if not self._failing:
            self._failing = True
            ERROR_LOG.error("access log: cannot write: %s; lines are lost until that ends", reason)

    def reopen(self) -> None:
        """Write what is there and open the file anew, after someone moved it away; standard output stays."""
        self.flush()
        if self._path is not None:
            reopen_log(self._fd, self._path, "accesslog")

    def close(self) -> None:
        """Write what is there and close the file; a second time changes nothing."""
        self.flush()
        if self._path is not None:
            os.close(self._fd)
            self._path = None
