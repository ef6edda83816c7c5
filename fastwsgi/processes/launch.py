"""How this process was started: its command, directory and environment, and the sockets that came along.

Owns what it takes to start the same program once more, and both ways by which sockets come: from systemd
(LISTEN_FDS), and from the master that this one is to follow (a variable of our own). Must not know what
becomes of a new master. Invariants: what is said to this process alone is taken out of the environment at
once, so that no child takes it for its own; `environ` is as it was before any configuration changed it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ConfigError
from . import sockets
from .report import Report
from .socket_file import SocketFile

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from .origin import Origin
    from .sockets import Listener

__all__ = ["Launch"]

FIRST_GIVEN: Final = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""

HANDOVER: Final = "FASTWSGI_UPGRADE"
"""Variable by which an old master hands its sockets to a new one."""

_DEADLY: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGCHLD})
"""Signals that do to a program that is being loaded what they do to any."""


class _Came(NamedTuple):
    """A socket that came along; `address` and `made` as of a Listener, `name` is systemd's for it."""

    fd: int
    address: str = ""
    made: SocketFile | None = None
    name: str = ""


@dataclass
class Launch:
    """How this process was started. To be taken once, before anything changes directory or environment.

    Relative paths count from `directory`; `started_in` is where the process was started, if that is another.
    `predecessor` is the pid of the master that this one is to follow, or 0, and `channel` a socket that leads
    there. `warning` is a line for the log, or "".
    """

    command: list[str]
    directory: str
    environ: dict[str, str]
    started_in: str = ""
    predecessor: int = 0
    channel: socket.socket | None = None
    warning: str = ""
    _came: list[_Came] = field(default_factory=list)

    @classmethod
    def take(cls, environ: MutableMapping[str, str], directory: str, origin: Origin | None = None) -> Launch:
        """Look at this process.

        Args:
            environ: its environment; what is said there to this process alone is taken out.
            directory: the one that it is in, under the name that relative paths are to count from.
            origin: how both were when it was started, if it may have changed them.
        """
        handed = environ.pop(HANDOVER, "")
        count = environ.pop("LISTEN_FDS", "")
        pid = environ.pop("LISTEN_PID", "")
        names = environ.pop("LISTEN_FDNAMES", "").split(":")
        at_start = dict(environ if origin is None else origin.environ)
        for name in (HANDOVER, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
            at_start.pop(name, None)
        # As it was typed: with -m, -X, a script's path; sys.argv has lost these.
        launch = cls([sys.executable, *sys.orig_argv[1:]], directory, at_start)
        if origin is not None and origin.directory and not _is_same(origin.directory, directory):
            launch.started_in = origin.directory
        if handed:
            launch._take_handed(handed)
        elif count.isdecimal() and int(count):
            if pid == str(os.getpid()):
                names = (names + [""] * int(count))[: int(count)]
                launch._take([_Came(FIRST_GIVEN + n, name=name) for n, name in enumerate(names)])
            else:
                launch.warning = (
                    f"Sockets were passed to process {pid or 'none'} (LISTEN_PID), which is not this one, "
                    "and are not used; in a service, start fastwsgi directly or by exec"
                )
        return launch

    def _take_handed(self, text: str) -> None:
        said = json.loads(text)
        # The variable may have come to a process that has its environment from a new master's.
        if said["pid"] == os.getpid():
            self.predecessor = said["master"]
            self.channel = socket.socket(fileno=said["channel"])
            self.channel.set_inheritable(False)
            self._take(
                [_Came(fd, address, made and SocketFile(*made)) for fd, address, made in said["sockets"]]
            )

    def _take(self, came: list[_Came]) -> None:
        self._came = came
        for each in came:
            try:
                os.set_inheritable(each.fd, False)
            except OSError:
                # Not open; `listen` says so, where it can be told to the user.
                pass

    def listen(
        self, addresses: Iterable[str], *, backlog: int, umask: int = 0, reuse_port: bool = False
    ) -> list[Listener]:
        """Listen on every address, on what came along where it is of that address or replaces all of them.

        Raises:
            ConfigError: an address cannot be had, or a socket that came is none to listen on.
        """
        came: list[Listener] = []
        try:
            while self._came:
                came.append(_adopt(self._came.pop(0), backlog))
                came[-1].is_shared = self.predecessor != 0
            listeners = sockets.listen_all(
                addresses, backlog=backlog, umask=umask, reuse_port=reuse_port, kept=came
            )
        except BaseException:
            for listener in came:
                listener.close()
            raise
        for listener in came:
            if listener not in listeners:
                listener.close()  # no longer wanted
        return listeners

    def report_failure(self, code: int, line: str) -> None:
        """Tell the master that this one was to follow why that comes to nothing."""
        if self.channel is not None and self.channel.fileno() >= 0:
            Report(code, line).write(self.channel.fileno())

    def start_again(self, listeners: Sequence[Listener], channel: socket.socket) -> None:
        """Become, in a fork, a new master on the same sockets; this does not return.

        Args:
            listeners: the sockets it is to have.
            channel: its end of a socket that leads to this master.

        Raises:
            OSError: the program cannot be run.
        """
        environ = dict(self.environ)
        pid, master = str(os.getpid()), str(os.getppid())
        environ[HANDOVER] = json.dumps(
            {
                "pid": int(pid),
                "master": int(master),
                "channel": channel.fileno(),
                "sockets": [[listener.fd, listener.address, listener.made] for listener in listeners],
            }
        )
        if environ.get("WATCHDOG_PID") == master:
            # Whoever is the main process is to give the signs of life.
            environ["WATCHDOG_PID"] = pid
        os.chdir(self.started_in or self.directory)
        for listener in listeners:
            os.set_inheritable(listener.fd, True)
        channel.set_inheritable(True)
        for number in _DEADLY:
            # Before anything serves there is nothing to be stopped in order. Others stay blocked until they
            # are understood.
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEADLY)
        os.execve(self.command[0], self.command, environ)  # noqa: S606 - our own command


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return one == other


def _adopt(came: _Came, backlog: int) -> Listener:
    try:
        return sockets.adopt(came.fd, came.address, backlog=backlog, made=came.made)
    except OSError:
        name = f" ({came.name})" if came.name else ""
        raise ConfigError(
            f"descriptor {came.fd}{name}, passed to this process, is no stream socket that can listen; "
            "in a systemd socket unit, use ListenStream= and leave Accept= off"
        ) from None
