"""Who is told of each request that is over: decided once, when a worker starts.

The line in the file of accesslog, by the shortest way where nothing stands in it; else access() of the
Logger, by which lines go through logging; figures for statsd. Must not know: the engine, which knows one
RequestLog or none. Invariant: nothing that a class of the user's own does in access() reaches the engine.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..hooks.views import RequestView, ResponseView
from .access_format import Known
from .log_file import ACCESS_LOG
from .logger import AccessHandler, Logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .access_format import LogFunction
    from .access_log import AccessLog

__all__ = ["RequestLog", "choose"]

_NEEDED = {"REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL"}


class RequestLog(Protocol):
    """Who is told of requests that are over: see AccessLog for the meaning of it."""

    @property
    def log(self) -> LogFunction:
        """Tell of one."""

    def flush(self) -> None:
        """Do what was put off."""

    def reopen(self) -> None:
        """Open files anew."""

    def another(self) -> RequestLog:
        """Return one for a thread of its own."""


def choose(log: logging.Logger, access_log: AccessLog | None) -> RequestLog | None:
    """Return whom to tell of requests, None for nobody.

    Args:
        log: what error_log.setup has returned.
        access_log: the file of accesslog, if there is one.
    """
    logger = cast("Any", log)
    wanted: list[RequestLog] = []
    if not isinstance(logger, Logger):
        return access_log  # a program of its own around the engine
    if _is_direct(logger):
        if access_log is not None:
            wanted.append(access_log)
    elif type(logger).access is not Logger.access or logger.access_log_enabled:
        wanted.append(_Calls(logger, access_log))
    if logger.statsd is not None:
        wanted.append(logger.statsd)
    if len(wanted) > 1:
        return _Several(wanted)
    return wanted[0] if wanted else None


def _is_direct(logger: Logger) -> bool:
    """Return whether lines need neither the class of the user's own nor logging on their way to the file."""
    kind = type(logger)
    is_plain = (kind.access, kind.atoms, kind.now) == (Logger.access, Logger.atoms, Logger.now)
    is_touched = ACCESS_LOG.filters or ACCESS_LOG.propagate or not ACCESS_LOG.isEnabledFor(logging.INFO)
    if not is_plain or is_touched:
        return False
    handlers = ACCESS_LOG.handlers
    return all(type(each) is AccessHandler and each.is_plain() for each in handlers) and len(handlers) == 1


class _Calls:
    """Calls access() of a Logger."""

    def __init__(self, logger: Logger, file: AccessLog | None) -> None:
        self._logger = logger
        self._file = file
        self._doors = [each for each in ACCESS_LOG.handlers if isinstance(each, AccessHandler)]
        for door in self._doors:
            door.file = file

    def log(
        self,
        environ: Mapping[str, Any],
        status: str,
        headers: Sequence[tuple[str, str]] | None,
        nbytes: int,
        seconds: float,
    ) -> None:
        if not environ.keys() >= _NEEDED:
            environ = Known(environ)
        response = ResponseView(status, headers, nbytes)
        try:
            self._logger.access(response, RequestView(environ), environ, timedelta(seconds=seconds))
        except Exception:
            self._logger.exception("Error in access() of the logger_class")

    def flush(self) -> None:
        for door in self._doors:
            door.flush()

    def reopen(self) -> None:
        for door in self._doors:
            door.reopen()
        if self._file is not None and not self._doors:
            self._file.reopen()

    def another(self) -> RequestLog:
        return self  # its handler has a lock


class _Several:
    """Tells several."""

    def __init__(self, parts: Sequence[RequestLog]) -> None:
        self._parts = parts
        self._logs = [part.log for part in parts]

    def log(self, *request: Any) -> None:
        for log in self._logs:
            log(*request)

    def flush(self) -> None:
        for part in self._parts:
            part.flush()

    def reopen(self) -> None:
        for part in self._parts:
            part.reopen()

    def another(self) -> RequestLog:
        return _Several([part.another() for part in self._parts])
