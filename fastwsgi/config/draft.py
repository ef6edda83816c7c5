"""Settings that a program fills in one by one, as gunicorn's Config: `settings`, `set`, and reading them.

Must not know: who fills it in. Invariant: once it is finished, it shows what the Config made of it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .legacy import LEGACY
from .settings import BY_NAME, Shown
from .sources import Merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .settings import Config
    from .sources import Warn

__all__ = ["Draft"]

_ORIGIN = "load_config()"


class Draft:
    """Settings on their way to a Config.

    Args:
        environ: variables that change some defaults.
        warn: called with one line for each setting that has no effect.
    """

    def __init__(self, environ: Mapping[str, str], warn: Warn) -> None:
        self._merge = Merge(environ, warn)
        self._finished: Config | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._finished is not None:
            return getattr(self._finished, name)
        try:
            return self._merge.values[name]
        except KeyError:
            raise AttributeError(f"there is no setting {name}") from None

    @property
    def settings(self) -> dict[str, Shown]:
        """All settings by name, those that gunicorn alone has as well: they may be set, and are warned of."""
        known = {name: row.show_value(getattr(self, name)) for name, row in BY_NAME.items()}
        return known | {name: Shown(name, None, None, "") for name in LEGACY}

    def set(self, name: str, value: object) -> None:
        """Give a setting its value.

        Raises:
            ConfigError: there is no such setting, or the value is wrong.
        """
        self._merge.set(name, value, _ORIGIN)

    def finish(self, directory: str, application: Any) -> Config:
        """Return the configuration, for an application that loads itself.

        Raises:
            ConfigError: settings do not fit together.
        """
        if self._merge.values["wsgi_app"] is None:
            self._merge.values["wsgi_app"] = application
            self._merge.origins["wsgi_app"] = f"{type(application).__qualname__}.load()"
        self._finished = self._merge.finish(directory)
        return self._finished
