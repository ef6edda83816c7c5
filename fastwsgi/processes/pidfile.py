"""The file that tells others the pid of the master.

Must not know the settings. Invariant: the file of a server that lives is never overwritten, and only who
wrote it deletes it. A pid outlives its process in the file, and the system may give it to another one; so a
process that is plainly neither this server nor gunicorn does not keep the next one from starting.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigError

__all__ = ["Pidfile"]

_MAY_BE_A_SERVER = re.compile(r"fastwsgi|gunicorn|python|pypy|uwsgi", re.IGNORECASE)
"""In a command line. A program may call serve() itself, so any Python may be one."""


class Pidfile:
    """A file with the pid of the master.

    `notice` says what was found there, if that is worth a line in the log.

    Raises ConfigError if it names another server that lives, or cannot be written.
    """

    def __init__(self, path: str) -> None:
        # Absolute, since the application may change its directory.
        self.path = os.path.abspath(path)
        self.notice = ""
        self._pid = os.getpid()
        self._write()

    def _write(self) -> None:
        path = self.path
        self._refuse_another(_read(path))
        with suppress(OSError):
            mode = os.stat(path).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # which a file would take the place of
                raise ConfigError(f"pidfile {path!r}: it is a device; name a file")
        # Written aside and renamed: a reader never sees half a number.
        aside = f"{path}.{self._pid}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(aside)
            # Made anew: the workers' user may write to the folder, and have put a link there.
            with open(aside, "x", encoding="ascii") as file:
                file.write(f"{self._pid}\n")
                os.fchmod(file.fileno(), 0o644)
            os.replace(aside, path)
        except OSError as exc:
            with suppress(OSError):
                os.unlink(aside)  # a full disk has no room for what is in it
            raise ConfigError(f"pidfile {path!r}: {exc.strerror}; name a file that can be written") from None

    def _refuse_another(self, other: int) -> None:
        if other in (0, self._pid) or not _lives(other):
            return
        command = _command(other)
        who = f"process {other}" + (f" ({command[:80]})" if command else "")
        if command is not None and not _MAY_BE_A_SERVER.search(command):
            self.notice = f"pidfile {self.path!r}: {who} is no server of this kind; the file is taken over"
            return
        raise ConfigError(
            f"pidfile {self.path!r}: {who} is running; stop it, or name another file, "
            "or delete this one if that process is not the server"
        )

    def rename(self, path: str) -> None:
        """Move it to another path.

        Raises:
            ConfigError: as when it was made; the file is then still where it was.
        """
        before, path = self.path, os.path.abspath(path)
        if path == before:
            return
        self.path = path
        try:
            self._write()
        except ConfigError:
            self.path = before
            raise
        self._delete(before)

    def remove(self) -> None:
        """Delete it, if it is still ours."""
        self._delete(self.path)

    def _delete(self, path: str) -> None:
        if os.getpid() == self._pid and _read(path) == self._pid:
            try:
                os.unlink(path)
            except OSError:
                # A master that has become another user may not; a file that is stale is taken over.
                pass


def _read(path: str) -> int:
    try:
        with open(path, encoding="ascii", errors="replace", opener=_open_at_once) as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return 0


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a FIFO that was put in its place keeps nobody waiting."""
    return os.open(path, flags | os.O_NONBLOCK)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _command(pid: int) -> str | None:
    """Return the command line of a process on one line, "" for one that has none; None if it is not shown."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return " ".join(data.decode(errors="replace").replace("\0", " ").split())
