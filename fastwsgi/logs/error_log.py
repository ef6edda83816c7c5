"""The error log: the logger `fastwsgi.error`, set up by `setup`, reopened by `reopen`.

Must not know: sockets, the loop, signals, requests.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config.settings import Config

__all__ = ["ERROR_LOG", "open_log", "reopen", "reopen_log", "setup"]

ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
ERROR_DATES = "[%Y-%m-%d %H:%M:%S %z]"

ERROR_LOG = logging.getLogger("fastwsgi.error")


def setup(cfg: Config) -> logging.Logger:
    """Direct the error log to where `cfg` says, and return it; may be called again with a new `cfg`.

    Raises:
        ConfigError: the file cannot be opened.
    """
    handler: logging.Handler
    if cfg.errorlog == "-":
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.FileHandler(cfg.errorlog, encoding="utf-8", errors="backslashreplace")
        except OSError as exc:
            msg = f"errorlog = {cfg.errorlog!r}: {exc.strerror}"
            raise ConfigError(msg) from None
    handler.setFormatter(logging.Formatter(ERROR_FORMAT, ERROR_DATES))
    earlier = ERROR_LOG.handlers[:]
    ERROR_LOG.handlers[:] = [handler]
    for old in earlier:
        old.close()
    ERROR_LOG.setLevel(cfg.loglevel.upper())
    # The root logger belongs to the application.
    ERROR_LOG.propagate = False
    return ERROR_LOG


def reopen() -> None:
    """Open the error log's file anew, after someone moved it away; the old one stays where that fails."""
    for handler in ERROR_LOG.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            reopen_log(handler.stream.fileno(), handler.baseFilename, "errorlog")


def open_log(path: str) -> int:
    """Open a log file to append to; return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def reopen_log(fd: int, path: str, name: str) -> None:
    """Have `fd` lead to `path` anew, the file of setting `name`; where that fails, the old one stays."""
    try:
        fresh = open_log(path)
    except OSError as exc:
        ERROR_LOG.error("%s: cannot reopen %s: %s", name, path, exc.strerror)
        return
    # The number stays, so whoever is writing at this moment hits the old file or the new one, never none.
    os.dup2(fresh, fd, inheritable=False)
    os.close(fresh)
