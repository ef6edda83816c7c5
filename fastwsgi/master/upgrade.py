"""The other master of this server, while there are two: a new one that this one started, or the old one.

Owns the start of a new master, the socket between the two, and who may unlink the socket files that both
serve on. Must not know workers, nor what the policy makes of it. Invariants: there are two masters at most;
each sees the other's end by their socket; what both listen on is left to whoever lives on.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..errors import EXIT_CONFIG
from ..processes import fork
from ..processes.report import Inbox, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..processes.fork import Ending
    from ..processes.launch import Launch
    from ..processes.sockets import Listener

__all__ = ["Upgrade"]


class Upgrade:
    """What a master knows of the other one.

    `successor` and `predecessor` are pids, of which one at least is 0. `channel` is a socket that leads to
    the other, and is readable when `hear` is to be called; None if there is nobody to hear. `is_starting`
    says that the successor does not serve yet.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self.predecessor = launch.predecessor
        self.successor = 0
        self.is_starting = False
        self.channel = launch.channel
        self._inbox = None if self.channel is None else Inbox(self.channel)
        self._shared: list[Listener] = []
        self._failure = ""
        self._has_told = False

    @property
    def other(self) -> int:
        """The pid of the other master, or 0."""
        return self.successor or self.predecessor

    # --- a new master --------------------------------------------------------------------------------------

    def start(self, listeners: Sequence[Listener], before_exec: Callable[[], None]) -> socket.socket:
        """Start a new master, of the same command, on these sockets; return the socket that leads there.

        Args:
            listeners: what it is to listen on, as far as it still wants these addresses.
            before_exec: called in the new process, which is still a fork of this one.

        Raises:
            OSError: the system refuses.
        """
        ours, theirs = socket.socketpair()

        def child() -> int:
            try:
                before_exec()
                self._launch.start_again(listeners, theirs)
            except OSError as exc:
                Report(EXIT_CONFIG, f"{exc.filename}: {exc.strerror}").write(theirs.fileno())
            return EXIT_CONFIG

        try:
            self.successor = fork.fork(child)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel, self.is_starting, self._failure = ours, True, ""
        self._inbox = Inbox(ours)
        self._share(listeners)
        return ours

    def _share(self, listeners: Sequence[Listener]) -> None:
        for listener in [*self._shared, *listeners]:
            listener.is_shared = listener in listeners
        self._shared = list(listeners)

    # --- words between the two -----------------------------------------------------------------------------

    def tell_ready(self) -> None:
        """Tell the old master, if there is one, that this one serves; once."""
        if self.predecessor and not self._has_told:
            self._has_told = True
            self.answer()

    def answer(self) -> None:
        """Say that all is well."""
        if self.channel is not None:
            Report().write(self.channel.fileno())

    def hear(self) -> list[Report] | None:
        """Return what the other master has said since; None at the end, when nothing more will come."""
        reports = None if self._inbox is None else self._inbox.take()
        for report in reports or ():
            self.is_starting, self._failure = False, report.line
        return reports

    def hang_up(self) -> None:
        """Close our end of the socket."""
        if self.channel is not None:
            self.channel.close()
            self.channel = self._inbox = None

    def let_go(self) -> None:
        """Hang up on the new master, which takes it for the end of this one; to be done last."""
        if self.successor:
            self.hang_up()

    # --- the end of the other ------------------------------------------------------------------------------

    def ended(self, ending: Ending) -> str:
        """Take note that the new master has ended; return how, or "" if it ended in order."""
        self.hear()  # its last words may still be on the way
        who, self.successor, self.is_starting = f"the new master (pid:{self.successor})", 0, False
        self._share([])
        if self._failure:
            return f"{who} cannot start: {self._failure}"
        if ending.signal:
            return f"{who} was ended by SIG{ending.signal}"
        return f"{who} exited with code {ending.code}" if ending.code else ""

    def take_over(self) -> None:
        """Take note that the old master has ended."""
        self.hang_up()
        self.predecessor = 0
