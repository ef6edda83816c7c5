"""The user and the groups that workers run as: looked up by name, taken on for good, given files.

Must not know: when that happens (worker.py, master.py). Invariants: what cannot be taken on is an error, and
nobody serves with more rights than the settings say; groups go first, since only root may change them, and
the system is asked afterwards what has come of it; a file is only given away if it is a plain one.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError
from .root_file import open_as_root

if TYPE_CHECKING:
    from ..config.settings import Config
    from .socket_file import SocketFile

__all__ = ["Identity"]

_LARGEST = 2**32 - 2  # the number above it means "leave it as it is" to the system


class Identity(NamedTuple):
    """Who the workers are. `is_other` tells whether this process would have to change for it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    is_other: bool

    @classmethod
    def of(cls, cfg: Config) -> Identity:
        """Look up the user and the group of the settings.

        Raises:
            ConfigError: they do not exist, or only root could take them on.
        """
        uid, name, gid = _find_user(cfg)
        if cfg.group is not None:
            gid = _find_group(cfg)
        elif uid == os.geteuid():
            gid = os.getegid()
        elif gid is None:
            why = "the system knows no user of this number, and so no group; set group as well"
            raise cfg.mistake("user", why)
        is_other = (uid, gid) != (os.geteuid(), os.getegid())
        if is_other and os.geteuid() != 0:
            setting = "user" if uid != os.geteuid() else "group"
            raise cfg.mistake(setting, f"only root can change to another {setting}; leave it out")
        groups: tuple[int, ...] = (gid,)
        if cfg.initgroups and cfg.user is not None:
            if not name:
                raise cfg.mistake("initgroups", "the system knows no user of this number; set user to a name")
            groups = tuple(os.getgrouplist(name, gid))
            is_other |= os.geteuid() == 0
        return cls(uid, gid, groups, is_other)

    def take_on(self, cfg: Config) -> None:
        """Become this user for good; a second time changes nothing.

        Raises:
            ConfigError: it cannot be, or may not use what the settings name; this process must not serve.
        """
        if self.is_other and not _is(self):
            self._change()
        for name, access in (("chdir", os.R_OK | os.X_OK), ("tmp_upload_dir", os.W_OK | os.X_OK)):
            path = getattr(cfg, name)
            if path is not None and not os.access(path, access):
                verb = "write to" if access & os.W_OK else "read"
                raise cfg.mistake(name, f"user {self.uid} may not {verb} it; allow that, or name another")

    def _change(self) -> None:
        try:
            os.setgroups(self.groups)
            os.setgid(self.gid)
            os.setuid(self.uid)
        except OSError as exc:
            why = "root may be without this right in a container (CAP_SETUID, CAP_SETGID)"
            raise self._failure(f"{exc.strerror}; {why}") from None
        if not _is(self):
            raise self._failure("the system did not take it on")

    def _failure(self, why: str) -> ConfigError:
        return ConfigError(f"cannot run as user {self.uid}, group {self.gid}: {why}")

    def own(self, path: str) -> None:
        """Give a log file to this user; where that fails, whoever needs it will tell."""
        if self._is_giver():
            with suppress(OSError):
                self._own_file(path)

    def own_socket(self, file: SocketFile) -> None:
        """Give the file of a socket to this user; where that fails, whoever needs it will tell."""
        if self._is_giver():
            with suppress(OSError):
                file.give(self.uid, self.gid)

    def _is_giver(self) -> bool:
        return self.is_other and os.geteuid() == 0

    def _own_file(self, path: str) -> None:
        # A link to the file is not followed: whoever can write to the folder would get any file by it.
        fd = open_as_root(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.fchown(fd, self.uid, self.gid)
        finally:
            os.close(fd)


def _find_user(cfg: Config) -> tuple[int, str, int | None]:
    """Return number, name and primary group of the user; no name and no group if the system has none."""
    user = os.geteuid() if cfg.user is None else cfg.user
    try:
        found = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except (KeyError, OverflowError):
        if isinstance(user, int) and user <= _LARGEST:
            return user, "", None
        raise cfg.mistake("user", "there is no such user here; set one that `id` knows") from None
    return found.pw_uid, found.pw_name, found.pw_gid


def _find_group(cfg: Config) -> int:
    if isinstance(cfg.group, int) and cfg.group <= _LARGEST:
        return cfg.group
    try:
        return grp.getgrnam(str(cfg.group)).gr_gid
    except KeyError:
        why = "there is no such group here; set one that `getent group` knows"
        raise cfg.mistake("group", why) from None


def _is(identity: Identity) -> bool:
    """Return whether this process is of that user, in every way in which it could turn back."""
    users = os.getresuid() if hasattr(os, "getresuid") else (os.getuid(), os.geteuid())
    groups = os.getresgid() if hasattr(os, "getresgid") else (os.getgid(), os.getegid())
    return (
        set(users) == {identity.uid}
        and set(groups) == {identity.gid}
        and set(os.getgroups()) - {identity.gid} == set(identity.groups) - {identity.gid}
    )
