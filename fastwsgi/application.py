"""Application: the class that a program subclasses to be a server with its own settings and its own app.

Used as gunicorn.app.base.BaseApplication is: `load_config` sets settings, `load` returns the application,
`run` serves. Must not know: how settings are merged, what a master does.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from . import __main__ as entry
from .app import Loadable
from .config.draft import Draft
from .config.sources import warn_on_stderr
from .errors import EXIT_CONFIG, ConfigError

if TYPE_CHECKING:
    from .config.settings import Config
    from .config.sources import Warn

__all__ = ["Application"]


class Application(Loadable):
    """A server that a program configures and runs; to be subclassed.

    `load_config` is called when it is made, and again at each HUP; `load` in each worker, or with
    `preload_app` once in the master. A mistake in the settings is told on standard error, and ends the
    process with code 1.

    Attributes:
        cfg: the settings: `cfg.set(name, value)`, `name in cfg.settings`, `cfg.workers`.
        callable: the application, once it is loaded.
    """

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        self.usage, self.prog = usage, prog
        try:
            self._begin(warn_on_stderr)
        except ConfigError as exc:
            sys.stderr.write(f"Error: {exc}\n")
            raise SystemExit(EXIT_CONFIG) from None
        self._is_fresh = True

    def load_config(self) -> None:
        """Set what is not to be as by default, by `self.cfg.set(name, value)`; to be overridden."""

    def read_config(self, warn: Warn, directory: str) -> Config:
        """Return the configuration; the master asks for it at the start and at each HUP.

        Raises:
            ConfigError: there is a mistake in it.
        """
        if not self._is_fresh:
            self._begin(warn)
        self._is_fresh = False
        return self.cfg.finish(directory, self)

    def run(self) -> NoReturn:
        """Serve until a signal or ^C ends the server, and leave with its exit code."""
        sys.exit(entry.serve_application(self.read_config))

    def _begin(self, warn: Warn) -> None:
        self.cfg = Draft(os.environ, warn)
        self.callable = None
        self.load_config()
