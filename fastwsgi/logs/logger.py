"""The Logger: what the server says goes through one, and a class of the user's own may be derived from it.

It owns the handlers of the two loggers, as the settings or logging.config want them. To those who only say
something it is one of logging's loggers. Must not know: where access lines are written (access_log.py), the
engine. Invariant: a set-up that fails leaves the handlers as they were.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ConfigError
from . import access_format, log_file, logconfig, syslog
from .log_file import ACCESS_LOG, ERROR_LOG, LogFileHandler, reopen_handlers, share_names
from .statsd import Statsd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..config.settings import Config
    from .access_log import AccessLog

__all__ = ["AccessHandler", "Atoms", "Logger"]


class Atoms(dict[str, Any]):
    """Atoms of a line, safe to be in one: nothing of them ends it or a quoted value; unknown ones are "-"."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        super().__init__(
            (name, access_format.clean(value) if isinstance(value, str) else value)
            for name, value in atoms.items()
        )

    def __missing__(self, name: str) -> Any:
        lower = name.lower()
        return self[lower] if name.startswith("{") and lower in self else "-"


class AccessHandler(logging.Handler):
    """Stands on the access logger for the file of accesslog, which each worker writes by itself."""

    file: AccessLog | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line to those that wait for the file's flush."""
        if self.file is not None:
            try:
                self.file.add(self.format(record).encode("utf-8", "backslashreplace"))
            except Exception:
                self.handleError(record)

    def is_plain(self) -> bool:
        """Return whether a line would come out of it as it was made."""
        formatter: Any = self.formatter
        is_ours = type(formatter) is logging.Formatter and vars(formatter)["_fmt"] == Logger.access_fmt
        return is_ours and not self.filters

    def flush(self) -> None:
        """Write what waits."""
        if self.file is not None:
            self.acquire()
            try:
                self.file.flush()
            finally:
                self.release()

    def reopen(self) -> None:
        """Open the file anew; what waits is written meanwhile, so no thread may add to it."""
        if self.file is not None:
            self.acquire()
            try:
                self.file.reopen()
            finally:
                self.release()


class Logger:
    """The logs of a server; derive from it for the setting logger_class.

    `access_log` and `error_log` are the loggers of the standard library. What is not a method here is asked
    of `error_log`.
    """

    LOG_LEVELS: ClassVar[dict[str, int]] = {
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
    error_fmt = logconfig.ERROR_FORMAT
    datefmt = logconfig.ERROR_DATES
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"
    _handlers: ClassVar[list[logging.Handler]] = []
    """Those on the two loggers that a set-up has put there: the process's, whichever Logger it was."""

    atoms_wrapper_class: Callable[[Mapping[str, Any]], Mapping[str, Any]] = Atoms

    def __init__(self, cfg: Config) -> None:
        """Set the logs up."""
        self.error_log = ERROR_LOG
        self.access_log = ACCESS_LOG
        self.statsd: Statsd | None = None
        self.cfg = cfg
        self.setup(cfg)

    def __getattr__(self, name: str) -> Any:
        """Be a logger of the standard library otherwise."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(ERROR_LOG, name)

    def setup(self, cfg: Config) -> None:
        """Direct the logs to where `cfg` says; called at the start, and at each reload.

        Raises:
            ConfigError: a file cannot be opened, or a setting of logs is wrong.
        """
        share_names()
        before = [(log, log.handlers[:], log.level, log.propagate) for log in (ERROR_LOG, ACCESS_LOG)]
        made: list[logging.Handler] = []
        try:
            self._configure(cfg, made)
            statsd = Statsd(cfg) if cfg.statsd_host else None
        except ConfigError:
            for log, kept, level, propagate in before:
                log.handlers[:], log.propagate = kept, propagate
                log.setLevel(level)
            _close(made)
            raise
        _close(Logger._handlers)
        if self.statsd is not None:
            self.statsd.close()
        Logger._handlers, self.statsd, self.cfg = made, statsd, cfg

    def _configure(self, cfg: Config, made: list[logging.Handler]) -> None:
        marks = {}
        for log in (ERROR_LOG, ACCESS_LOG):
            marks[log] = logging.NullHandler()
            log.handlers[:] = [each for each in log.handlers if each not in Logger._handlers]
            log.addHandler(marks[log])
            log.propagate = False  # the root logger belongs to the application
        ERROR_LOG.setLevel(self.LOG_LEVELS[cfg.loglevel])
        ACCESS_LOG.setLevel(logging.INFO)
        logconfig.apply(cfg)
        for log, mark in marks.items():
            if mark not in log.handlers:
                made += log.handlers  # logging.config has it under its care, until the next set-up
                continue
            log.removeHandler(mark)
            for handler in self._error_handlers(cfg) if log is ERROR_LOG else self._access_handlers(cfg):
                made.append(handler)
                log.addHandler(handler)

    def _error_handlers(self, cfg: Config) -> Iterator[logging.Handler]:
        handler: logging.Handler
        if cfg.errorlog == "-":
            handler = logging.StreamHandler(sys.stderr)
        else:
            try:
                handler = LogFileHandler(cfg.errorlog, encoding="utf-8", errors="backslashreplace")
            except OSError as exc:
                raise log_file.mistake(cfg, "errorlog", exc) from None
        handler.setFormatter(logging.Formatter(self.error_fmt, self.datefmt))
        yield handler
        if cfg.syslog:
            yield syslog.make_handler(cfg, "error", self.syslog_fmt)

    def _access_handlers(self, cfg: Config) -> Iterator[logging.Handler]:
        if cfg.accesslog is not None:
            handler = AccessHandler()
            handler.setFormatter(logging.Formatter(self.access_fmt))
            yield handler
        if cfg.syslog and not cfg.disable_redirect_access_to_syslog:
            yield syslog.make_handler(cfg, "access", self.syslog_fmt)

    # What the server says.

    def critical(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Say that the server cannot go on."""
        self.error_log.critical(msg, *args, **kwargs)
        self._count("critical")

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Say that something has failed."""
        self.error_log.error(msg, *args, **kwargs)
        self._count("error")

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Say that something may go wrong."""
        self.error_log.warning(msg, *args, **kwargs)
        self._count("warning")

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Say what happens."""
        self.log(logging.INFO, msg, *args, **kwargs)

    def debug(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Say more than most want to know."""
        self.log(logging.DEBUG, msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Say that something has failed, with the traceback of the exception that is being handled."""
        self.error_log.exception(msg, *args, **kwargs)
        self._count("exception")

    def log(self, lvl: int | str, msg: object, *args: object, **kwargs: Any) -> None:
        """Say something at a level; `extra` may hold a figure for statsd: metric, value and mtype."""
        if isinstance(lvl, str):
            lvl = self.LOG_LEVELS.get(lvl.lower(), logging.INFO)
        if self.statsd is not None and kwargs.get("extra"):
            self.statsd.tell(kwargs["extra"])
        if msg:  # a figure may come without words
            self.error_log.log(lvl, msg, *args, **kwargs)

    def _count(self, what: str) -> None:
        if self.statsd is not None:
            self.statsd.increment(f"gunicorn.log.{what}", 1)

    # What is said of requests.

    @property
    def access_log_enabled(self) -> bool:
        """Whether anything would be done with a line for the access log."""
        return not ACCESS_LOG.disabled and ACCESS_LOG.isEnabledFor(logging.INFO) and ACCESS_LOG.hasHandlers()

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        """Log a request that is over.

        Called for each only if a class of the user's own changes this, `atoms` or `now`, or if lines go
        through logging: to syslog, or as logging.config says, or through a filter on `access_log`.
        """
        if not self.access_log_enabled:
            return
        if self.cfg.access_log_format == access_format.JSON:
            seconds = request_time.total_seconds()
            line = access_format.json_line(environ, resp.status or "", resp.sent or 0, seconds)
            self.access_log.info("%s", line)
        else:
            atoms = type(self).atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
            self.access_log.info(self.cfg.access_log_format, atoms)

    def atoms(
        self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta
    ) -> dict[str, Any]:
        """Return what a format can name, by name."""
        micros = request_time // timedelta(microseconds=1)
        sent = getattr(resp, "sent", None)
        words = [environ.get(name, "-") for name in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")]
        atoms: dict[str, Any] = {
            "h": environ.get("REMOTE_ADDR") or "-",
            "l": "-",
            "u": access_format.user(environ.get("HTTP_AUTHORIZATION", "")),
            "t": self.now(),
            "r": " ".join(map(str, words)),
            "s": str(resp.status or "-").partition(" ")[0],
            "m": words[0],
            "U": environ.get("PATH_INFO", "-"),
            "q": environ.get("QUERY_STRING", "-"),
            "H": words[2],
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": micros // 1_000_000,
            "M": micros // 1000,
            "D": micros,
            "L": f"{micros // 1_000_000}.{micros % 1_000_000:06d}",
            "p": f"<{os.getpid()}>",
        }
        for letter, pairs in (
            ("i", _pairs(getattr(req, "headers", req))),
            ("o", _pairs(resp.headers)),
            ("e", environ.items()),
        ):
            atoms.update((f"{{{name.lower()}}}{letter}", value) for name, value in pairs)
        return atoms

    def now(self) -> str:
        """Return the time as access lines have it."""
        return access_format.now()

    # Files.

    def reopen_files(self) -> None:
        """Open all log files anew, after someone moved them away."""
        reopen_handlers()

    def close_on_exec(self) -> None:
        """Keep log files from programs that this process starts: Python does that by itself."""


def _close(handlers: Iterable[logging.Handler]) -> None:
    for handler in handlers:
        handler.close()


def _pairs(headers: Any) -> Iterable[tuple[str, Any]]:
    pairs: Iterable[tuple[str, Any]] = headers.items() if hasattr(headers, "items") else headers or ()
    return pairs
