"""A file that root opens by a path in which others have a hand: no link leads to what is not its maker's.

The folder of a log may be the workers' user's, or lie in one, who can put a link to anything in the place of
a file, or of a folder, at any moment. So a path is gone down folder by folder, each opened in the one before.
Root's own links are followed; another user's only to a file or folder of that user's. Must not know what for.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from ..green import unpatched

__all__ = ["open_as_root"]

_MOST_LINKS: Final = 40  # as Linux has it
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_MODE: Final = 0o666
_close: Final = unpatched("os", "close")  # gevent's closes later


def open_as_root(path: str, flags: int) -> int:
    """Open a file; return its descriptor. With O_NOFOLLOW it must not be a link itself.

    Raises:
        OSError: it cannot be opened. So it is with links that are not followed; with another user's FIFO,
            which could hold up whoever writes; with another name, in a user's folder, of another's file.
    """
    folder = os.open("/", _FOLDER)
    try:
        parts = _parts(os.path.abspath(path))
        for _ in range(_MOST_LINKS):
            while len(parts) > 1:
                try:
                    folder = _replace(folder, os.open(parts[0], _FOLDER | os.O_NOFOLLOW, dir_fd=folder))
                except OSError:
                    break
                del parts[0]
            wanted = flags if len(parts) == 1 else _FOLDER
            try:
                return _open(folder, parts[0], wanted)
            except OSError as exc:
                link = _link(folder, parts[0])
                if link is None or (len(parts) == 1 and flags & os.O_NOFOLLOW):
                    raise exc from None
            maker, target = link
            if maker == 0 and not _is_in_proc(folder):
                if target.startswith("/"):
                    folder = _replace(folder, os.open("/", _FOLDER))
                parts[:1] = _parts(target)
                continue
            # What links in /proc say is no path: /dev/stdout and /dev/fd/1 lead there.
            fd = os.open(parts[0], (wanted | os.O_NONBLOCK) & ~os.O_CREAT, dir_fd=folder)
            if maker != 0 and os.fstat(fd).st_uid != maker:
                _close(fd)
                raise _refusal("it is another user's link to a file that is not that user's", path)
            if len(parts) == 1:
                os.set_blocking(fd, True)
                return fd
            folder = _replace(folder, fd)
            del parts[0]
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    finally:
        _close(folder)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part] or ["."]


def _is_in_proc(folder: int) -> bool:
    try:
        return os.fstat(folder).st_dev == os.stat("/proc").st_dev
    except OSError:
        return False


def _replace(before: int, fd: int) -> int:
    _close(before)
    return fd


def _link(folder: int, name: str) -> tuple[int, str] | None:
    """Return who made a link, and where it leads: both of one, whatever is put in its place meanwhile."""
    try:
        before = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(before.st_mode):
            return None
        target = os.readlink(name, dir_fd=folder)
        after = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    is_same = (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)
    return (before.st_uid, target) if is_same else None


def _open(folder: int, name: str, flags: int) -> int:
    """Open what is no link."""
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, _MODE, dir_fd=folder)
    found, around = os.fstat(fd), os.fstat(folder)
    why = ""
    if stat.S_ISFIFO(found.st_mode) and found.st_uid != 0:
        why = "it is another user's FIFO"
    elif stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and around.st_uid not in (0, found.st_uid):
        why = "it is another name, in a user's folder, of a file that is not that user's"
    if why:
        _close(fd)
        raise _refusal(why, name)
    os.set_blocking(fd, True)
    return fd


def _refusal(why: str, path: str) -> OSError:
    return PermissionError(errno.EPERM, why, path)
