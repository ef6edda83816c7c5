"""The file that tells others the pid of the master."""

from __future__ import annotations

import os

from ..errors import ConfigError

__all__ = ["Pidfile"]


class Pidfile:
    """A file with the pid of the master.

    Raises ConfigError if it names a process that lives, or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        other = self._read()
        if other not in (0, self._pid) and _lives(other):
            raise ConfigError(
                f"pidfile {path!r}: process {other} is running; stop it, or name another file, "
                "or delete this one if that process is not fastwsgi"
            )
        # Written aside and renamed: a reader never sees half a number.
        aside = f"{path}.{self._pid}"
        try:
            with open(aside, "w", encoding="ascii") as file:
                file.write(f"{self._pid}\n")
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except OSError as exc:
            raise ConfigError(f"pidfile {path!r}: {exc.strerror}; name a file that can be written") from None

    def _read(self) -> int:
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return 0

    def remove(self) -> None:
        """Delete it, if it is still ours."""
        if os.getpid() == self._pid and self._read() == self._pid:
            try:
                os.unlink(self.path)
            except OSError:
                pass


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return pid > 0
