"""Log files: opened to append, and opened anew behind the same descriptor; and the two loggers' names.

Must not know: what is written to them, signals. Invariant: reopening loses nothing, whoever is writing.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from ..processes.root_file import open_as_root

if TYPE_CHECKING:
    from io import TextIOWrapper

    from ..config.settings import Config
    from ..errors import ConfigError

__all__ = [
    "ACCESS_LOG",
    "ERROR_LOG",
    "LogFileHandler",
    "mistake",
    "open_log",
    "reopen_handlers",
    "reopen_log",
    "share_names",
]

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
_MODE: Final = 0o666

ERROR_LOG = logging.getLogger("fastwsgi.error")
ACCESS_LOG = logging.getLogger("fastwsgi.access")


def share_names() -> None:
    """Have the loggers also under gunicorn's names, by which configurations and applications ask for them."""
    known = logging.root.manager.loggerDict
    for name in ("", ".error", ".access"):
        known[f"gunicorn{name}"] = logging.getLogger(f"fastwsgi{name}")


def open_log(path: str) -> int:
    """Open a log file to append to; return its descriptor.

    Raises:
        OSError: it cannot be opened, or root does not follow the links on the way.
    """
    flags = _FLAGS | os.O_CREAT
    return os.open(path, flags, _MODE) if os.geteuid() != 0 else open_as_root(path, flags)


class LogFileHandler(logging.FileHandler):
    """A handler whose file is opened as `open_log` does."""

    def _open(self) -> TextIOWrapper:
        return open(open_log(self.baseFilename), "a", encoding=self.encoding, errors=self.errors)


def mistake(cfg: Config, name: str, exc: OSError) -> ConfigError:
    """Return the error of the setting `name`, whose file could not be opened."""
    return cfg.mistake(name, f"it cannot be opened: {exc.strerror}; name a file that this user may write")


def reopen_log(fd: int, path: str, name: str) -> None:
    """Have `fd` lead to `path` anew, the file of setting `name`; where that fails, the old one stays."""
    try:
        fresh = open_log(path)
    except OSError as exc:
        ERROR_LOG.error("%s: cannot reopen %s: %s", name, path, exc.strerror)
        return
    # The number stays, so whoever is writing at this moment hits the old file or the new one, never none.
    os.dup2(fresh, fd, inheritable=os.get_inheritable(fd))
    os.close(fresh)


def reopen_handlers() -> None:
    """Open anew the file of every handler of every logger, the application's too, as gunicorn does."""
    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    handlers = {id(handler): handler for each in (logging.root, *loggers) for handler in each.handlers}
    for handler in handlers.values():
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            try:
                if handler.stream is not None:
                    handler.flush()
                    reopen_log(handler.stream.fileno(), handler.baseFilename, "log")
            finally:
                handler.release()
