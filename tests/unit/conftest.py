"""Fixtures of the unit tests."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from fastwsgi.logs import captured_output, error_log
from fastwsgi.logs.log_file import ACCESS_LOG, ERROR_LOG
from fastwsgi.logs.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fresh_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test set the logs up as in a new process, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    known = logging.root.manager.loggerDict
    gunicorns = {name: known.get(name) for name in ("gunicorn", "gunicorn.error", "gunicorn.access")}
    loggers = (logging.root, logging.getLogger("fastwsgi"), ERROR_LOG, ACCESS_LOG)
    before = [
        (log, log.handlers[:], log.filters[:], log.level, log.propagate, log.disabled) for log in loggers
    ]
    monkeypatch.setattr(error_log, "_current", None)
    monkeypatch.setattr(captured_output, "_path", None)
    monkeypatch.setattr(Logger, "_handlers", [])
    for log in loggers[1:]:
        log.handlers[:], log.filters[:] = [], []
        log.propagate = True  # else pytest adds handlers of its own to it
    registered = logging._handlerList[:]  # type: ignore[attr-defined]
    yield
    if error_log._current is not None and error_log._current.statsd is not None:
        error_log._current.statsd.close()
    for reference in logging._handlerList[:]:  # type: ignore[attr-defined]
        if reference not in registered and reference() is not None:
            reference().close()
    for log, handlers, filters, level, propagate, disabled in before:
        log.handlers[:], log.filters[:] = handlers, filters
        log.setLevel(level)
        log.propagate, log.disabled = propagate, disabled
    for other in known.values():  # logging.config may have disabled them
        if isinstance(other, logging.Logger):
            other.disabled = False
    for name, logger in gunicorns.items():
        known.pop(name, None)
        if logger is not None:
            known[name] = logger
    monkeypatch.undo()
    time.tzset()
