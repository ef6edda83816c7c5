"""The logs of a process: set up as the configuration says, and reopened.

Owns which Logger is in force; what the server says goes through it. Must not know: sockets, the loop,
signals, requests. Invariant: a configuration that is refused leaves the logs as they were.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from ..errors import ConfigError
from . import captured_output
from .log_file import ERROR_LOG
from .logger import Logger

if TYPE_CHECKING:
    import logging

    from ..config.settings import Config

__all__ = ["ERROR_LOG", "reopen", "setup"]

_DEFAULTS = ("simple", "gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd")
"""Names of the default in configurations for gunicorn."""

_current: Logger | None = None


def setup(cfg: Config) -> logging.Logger:
    """Direct the logs to where `cfg` says, and return the Logger; may be called again with a new `cfg`.

    It is one of logging's to those who use it, and has gunicorn's methods besides.

    Raises:
        ConfigError: a file cannot be opened, or something else of the settings of logs is wrong.
    """
    global _current
    wanted = _class_of(cfg)
    try:
        if type(_current) is wanted:
            _current.setup(cfg)
        else:
            before, _current = _current, wanted(cfg)
            if before is not None and before.statsd is not None:
                before.statsd.close()
    except ConfigError:
        raise
    except Exception as exc:
        why = " ".join(f"its setup() fails: {type(exc).__name__}: {exc}".split())
        raise cfg.mistake("logger_class", why) from exc
    return cast("logging.Logger", _current)


def reopen() -> None:
    """Open all log files anew, after someone moved them away; where that fails, the old one stays."""
    if _current is not None:
        _current.reopen_files()
    captured_output.reopen()


def _class_of(cfg: Config) -> type[Logger]:
    wanted = cfg.logger_class
    if wanted is None or _name_of(wanted) in _DEFAULTS:
        return Logger
    if isinstance(wanted, str):
        module, _, attribute = wanted.replace(":", ".").rpartition(".")
        try:
            wanted = getattr(importlib.import_module(module), attribute)
        except Exception as exc:
            why = f"it cannot be imported: {type(exc).__name__}: {exc}"
            raise cfg.mistake("logger_class", " ".join(why.split())) from exc
    if not isinstance(wanted, type) or not issubclass(wanted, Logger):
        is_other = isinstance(wanted, type) and any(_name_of(each) in _DEFAULTS for each in wanted.__mro__)
        why = "it is derived from gunicorn's Logger" if is_other else "it is not derived from Logger"
        raise cfg.mistake(
            "logger_class", f"{why}; derive it from fastwsgi.Logger, which has the same methods"
        )
    return wanted


def _name_of(wanted: str | type) -> str:
    return wanted if isinstance(wanted, str) else f"{wanted.__module__}.{wanted.__qualname__}"
