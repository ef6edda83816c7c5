"""What the application prints, in the error log: standard output and error lead to its file.

The descriptors are led there, so that it holds for C code and for subprocesses as well. Must not know: who
prints, and when this is wanted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..processes import stdio
from .log_file import ERROR_LOG, open_log, reopen_log

if TYPE_CHECKING:
    from ..config.settings import Config

__all__ = ["capture", "reopen"]

_STDOUT, _STDERR = 1, 2

_path: str | None = None  # of the file that the streams lead to


def capture(cfg: Config) -> None:
    """Lead the streams to the error log, for good; where that is standard error, output goes there too."""
    global _path
    stdio.flush()
    if cfg.errorlog == "-":
        os.dup2(_STDERR, _STDOUT)
    else:
        try:
            fd = _open(cfg.errorlog)
        except OSError as exc:
            ERROR_LOG.error("capture_output: %s: %s", cfg.errorlog, exc.strerror)
            return
        os.dup2(fd, _STDOUT)
        os.dup2(fd, _STDERR)
        os.close(fd)
        _path = str(Path(cfg.errorlog).absolute())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Held back, a line would come too late for whoever reads the log, or be lost with the process.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")


def reopen() -> None:
    """Open the file anew, after someone moved it away."""
    if _path is not None:
        for fd in (_STDOUT, _STDERR):
            reopen_log(fd, _path, "capture_output")


def _open(path: str) -> int:
    # The log has it open already, from when this process might do so.
    for handler in ERROR_LOG.handlers:
        if (
            isinstance(handler, logging.FileHandler)
            and handler.baseFilename == str(Path(path).absolute())
            and handler.stream is not None
        ):
            return os.dup(handler.stream.fileno())
    return open_log(path)
