"""The errors that have a meaning of their own, and the exit codes of the server."""

from __future__ import annotations

from typing import Final

__all__ = [
    "EXIT_APP_LOAD",
    "EXIT_CONFIG",
    "EXIT_OK",
    "EXIT_WORKER_BOOT",
    "OUT_OF_MEMORY",
    "AppImportError",
    "ConfigError",
    "HTTPError",
    "HookError",
]

# As gunicorn's: service managers and deploy scripts know them.
EXIT_OK: Final = 0
EXIT_CONFIG: Final = 1
EXIT_WORKER_BOOT: Final = 3
EXIT_APP_LOAD: Final = 4


OUT_OF_MEMORY: Final = "out of memory"
"""The detail of a 503 for want of it."""


class HTTPError(Exception):
    """A client's mistake, or a limit it ran into: answered with `status`, then the connection closes."""

    def __init__(self, status: int, detail: str) -> None:
        """Refuse with `status`; `detail` is for the log and never sent."""
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class ConfigError(Exception):
    """A mistake in the configuration: one line for the user, with setting, value, source and remedy."""


class AppImportError(Exception):
    """The app could not be loaded: one line for the user, with the reason and a remedy."""


class HookError(Exception):
    """A hook has failed without which a worker does not start; what it raised is the cause (`__cause__`)."""
