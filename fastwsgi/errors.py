"""The errors that have a meaning of their own, and the exit codes of the server."""

from __future__ import annotations

import errno
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
    "is_of_foreign_hands",
]

# As gunicorn's: service managers and deploy scripts know them.
EXIT_OK: Final = 0
EXIT_CONFIG: Final = 1
EXIT_WORKER_BOOT: Final = 3
EXIT_APP_LOAD: Final = 4


OUT_OF_MEMORY: Final = "out of memory"
"""The detail of a 503 for want of it."""


_FOREIGN_HANDS: Final = (errno.EBADF, errno.ENOTSOCK, errno.EINVAL, errno.ENOENT, errno.EPERM)


def is_of_foreign_hands(error: BaseException) -> bool:
    """Return whether a system call of the loop's failed as it does only if others close its descriptors."""
    return isinstance(error, OSError) and error.errno in _FOREIGN_HANDS


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
