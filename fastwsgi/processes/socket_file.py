"""The file of a Unix socket that a server has made: permitted, given away and deleted while it is the same.

Must not know sockets. Invariant: its folder may belong to the workers' user, who can put a link to any file
in its place at any moment; what root does is done to the file itself, known by its device and inode.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SocketFile"]

_BY_NUMBER: Final = "/proc/self/fd"


class SocketFile(NamedTuple):
    """A file by its path, absolute, since the application may change its directory; and by its identity."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> SocketFile:
        """Return the file that is there now."""
        found = os.lstat(path)
        return cls(os.path.abspath(path), found.st_dev, found.st_ino)

    def permit(self, mode: int) -> None:
        """Set its permissions.

        Raises:
            OSError: it is gone.
        """
        with self._itself() as path:
            os.chmod(path, mode)

    def give(self, uid: int, gid: int) -> None:
        """Give it to this user.

        Raises:
            OSError: it is gone.
        """
        with self._itself() as path:
            os.chown(path, uid, gid)

    def delete(self) -> None:
        """Delete it, if it is still there: a server started meanwhile may have put its own in this place."""
        try:
            self._compare(os.lstat(self.path))
            os.unlink(self.path)
        except OSError:
            pass

    @contextmanager
    def _itself(self) -> Iterator[str]:
        """Give a path that leads to this file, whatever is put in its place meanwhile."""
        if not os.path.isdir(_BY_NUMBER):
            # Not Linux, which alone opens such a file without more ado.
            self._compare(os.lstat(self.path))
            yield self.path
            return
        fd = os.open(self.path, os.O_PATH | os.O_NOFOLLOW)
        try:
            self._compare(os.fstat(fd))
            yield f"{_BY_NUMBER}/{fd}"
        finally:
            os.close(fd)

    def _compare(self, found: os.stat_result) -> None:
        # No socket: it was put there before we looked for the first time, as another name of somebody's file.
        if (found.st_dev, found.st_ino) != (self.device, self.inode) or not stat.S_ISSOCK(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "another file is in the socket's place", self.path)
