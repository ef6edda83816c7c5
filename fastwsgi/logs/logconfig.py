"""The standard library's configurations of logging, in their three forms; and gunicorn's defaults for two.

Must not know: which handlers are ours. Loggers are known under gunicorn's names as well (log_file.py), so
that a configuration that was written for gunicorn means the same here.
"""

from __future__ import annotations

import json
import logging.config
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .log_file import ACCESS_LOG, ERROR_LOG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config.settings import Config

__all__ = ["ERROR_DATES", "ERROR_FORMAT", "apply"]

ERROR_FORMAT: Final = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
ERROR_DATES: Final = "[%Y-%m-%d %H:%M:%S %z]"


def apply(cfg: Config) -> None:
    """Configure logging as `cfg` says, if it does.

    Raises:
        ConfigError: a file cannot be read, or logging refuses what it says.
    """
    if cfg.logconfig_dict:
        name = "logconfig_dict"
    elif cfg.logconfig_json:
        name = "logconfig_json"
    elif cfg.logconfig:
        name = "logconfig"
    else:
        return
    try:
        with _closing_what_is_left():
            if name == "logconfig":
                path = Path(str(cfg.logconfig))
                path.open("rb").close()  # fileConfig would say only that it has no formatters
                defaults = {"__file__": str(path), "here": str(path.parent)}
                logging.config.fileConfig(path, defaults=defaults, disable_existing_loggers=False)
            else:
                given = cfg.logconfig_dict or json.loads(Path(str(cfg.logconfig_json)).read_bytes())
                logging.config.dictConfig({**_defaults(), **given})
    except OSError as exc:
        # Its own file, or one that it names.
        raise cfg.mistake(name, f"{exc.filename or exc}: {exc.strerror or exc}") from exc
    except Exception as exc:
        cause = exc.__cause__ or exc.__context__
        why = f"{type(exc).__name__}: {exc}" + (f": {cause}" if cause is not None else "")
        raise cfg.mistake(name, f"logging does not take it: {' '.join(why.split())}") from exc
    finally:
        for logger in (ERROR_LOG, ACCESS_LOG):
            logger.disabled = False  # under one of its names it may not have been in the configuration


@contextmanager
def _closing_what_is_left() -> Iterator[None]:
    """Close the handlers that a configuration made before it failed: nobody has them, but their files."""
    # logging's own list, by which logging.config closes those of the configuration before.
    before = logging._handlerList[:]  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    except BaseException:
        for reference in logging._handlerList[:]:  # type: ignore[attr-defined]  # noqa: SLF001
            handler = reference()
            if handler is not None and reference not in before:
                handler.close()
        raise


def _defaults() -> dict[str, Any]:
    """Return what a dict or a JSON file need not say, as with gunicorn; each key that it has replaces one."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "root": {"level": "INFO", "handlers": ["console"]},
        "loggers": {
            "fastwsgi.error": {"level": "INFO", "handlers": ["error_console"], "propagate": True},
            "fastwsgi.access": {"level": "INFO", "handlers": ["console"], "propagate": True},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "generic",
                "stream": "ext://sys.stdout",
            },
            "error_console": {
                "class": "logging.StreamHandler",
                "formatter": "generic",
                "stream": "ext://sys.stderr",
            },
        },
        "formatters": {"generic": {"format": ERROR_FORMAT, "datefmt": ERROR_DATES}},
    }
