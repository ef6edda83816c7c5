"""Which connections a worker takes, and how many: it accepts, leaves to others, and makes room.

It owns the set of the loop's connections. All acceptors are open or closed together; closed, connections wait
in the kernel's backlog, where another worker may take them. Closed is right

- after descriptors have run out, for a moment: the connection would be reported without end;
- with `worker_connections` connections, none of them idle or slow with a head: otherwise those give way;
- while another worker that is free has fewer: what is accepted here could be served sooner there.
"""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING, Any

from . import green
from .channel import Channel
from .connection import Connection
from .errors import OUT_OF_MEMORY
from .states import ANY_NUMBER

if TYPE_CHECKING:
    import logging

    from ._io_py import IO
    from .acceptor import Acceptor
    from .processes.scoreboard import Company

__all__ = ["Reception"]

_PAUSE = 0.25  # seconds without accepting after descriptors ran out
_COMPLAINS_EVERY = 60.0  # seconds; it is tried again four times a second
_poll: Any = green.unpatched("select", "poll")  # gevent's would let others run, here and now
_SLOW = 1.0  # seconds for a head; one that takes longer gives way to others, of which there are too many then
_FREED_AT_ONCE = 0.05  # share of the connections that is closed to make room for new ones
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Reception:
    """The acceptors of a loop, and the connections that came through them."""

    __slots__ = (
        "_again_at",
        "_company",
        "_complain_at",
        "_error_log",
        "_has_siblings",
        "_io",
        "_is_stale",
        "_limit",
        "acceptors",
        "channels",
        "is_open",
        "yields",
    )

    def __init__(
        self,
        acceptors: list[Acceptor],
        io: IO,
        error_log: logging.Logger,
        *,
        limit: int,
        company: Company | None,
    ) -> None:
        """Start closed. Take up to `limit` connections; share them with the other workers of `company`."""
        self.acceptors = acceptors
        self.channels: set[Channel] = set()
        self.is_open = False
        self.yields = False  # to another worker, which is to be looked at again soon
        self._io = io
        self._error_log = error_log
        self._limit = limit
        self._company = company
        self._again_at = self._complain_at = 0.0
        self._is_stale = False  # more are shown than there are
        self._has_siblings = company is not None and company.loops > 1  # other loops of this worker
        if company is not None:
            io.show_in(company.turn)

    def open(self, now: float) -> None:
        """Have waiting connections reported from now on, unless that has to pause."""
        if not self.is_open and now >= self._again_at:
            self.is_open = True
            for acceptor in self.acceptors:
                self._io.register_listener(acceptor.fd, acceptor)

    def close(self) -> None:
        """Let connections wait in the backlog."""
        if self.is_open:
            self.is_open = False
            for acceptor in self.acceptors:
                self._io.unregister(acceptor.fd)

    def reopen(self, now: float) -> None:
        """Open again if nothing is against it any more."""
        if not self.is_open and not self.yields and (self._room() > 0 or self._has_idle(now)):
            self.open(now)

    def share(self, is_free: bool, now: float) -> None:
        """Leave connections to other workers as long as those have fewer, or only they are free."""
        company = self._company
        if company is not None:
            count = len(self.channels)
            company.show_connections(count)
            self._is_stale = False
            self.yields = company.has_freer(count if is_free else ANY_NUMBER, now)
            if self.yields:
                self.close()
                return
        self.reopen(now)

    def part(self, channel: Channel) -> None:
        """Forget a connection that was closed."""
        self.channels.discard(channel)
        self._is_stale = True

    def show(self) -> None:
        """Let the other workers know how many are left, once for all that were closed in a batch."""
        if self._is_stale and self._company is not None:
            self._company.show_connections(len(self.channels))
            self._is_stale = False

    def stop_sharing(self, now: float) -> None:
        """Take all that is in the backlog, whoever else could: the worker is about to stop."""
        self._company = None
        self._limit = ANY_NUMBER  # what is left behind would be reset
        self.yields = False
        self.open(now)

    def take(self, acceptor: Acceptor, now: float) -> Channel | None:
        """Accept one connection, if one is waiting and there may be room for it."""
        if self._room() <= 0 and not self._has_idle(now):
            self.close()
        if not self.is_open:
            return None
        io = self._io
        fd = -1
        try:
            fd = io.accept(acceptor.fd)
            if fd < 0:
                return None
            connection = Connection(acceptor.endpoint, io.peer_addr, io.peer_port, now)
            channel = Channel(io, fd, acceptor.endpoint, connection)
            self.channels.add(channel)
            return channel
        except OSError as error:
            if fd < 0 and error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            self._give_up(fd, now, error.strerror)
        except MemoryError:
            self._give_up(fd, now, OUT_OF_MEMORY)
        return None

    def _give_up(self, fd: int, now: float, why: str | None) -> None:
        """Close what was accepted, and accept nothing for a moment."""
        self.close()
        self._again_at = now + _PAUSE
        if fd >= 0:
            self._io.close_fd(fd)
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAINS_EVERY
            self._error_log.warning("cannot accept connections for now: %s", why)

    def is_crowded(self) -> bool:
        """Return whether there are more connections than there may be."""
        return self._room() < 0

    def make_room(self, now: float) -> list[Channel]:
        """Return the connections that are to be closed, as they have been idle for longest.

        That is more than one, so that the search pays. Those that were slow have been told.
        """
        idle: list[Any] = [channel for channel in self.channels if channel.is_idle(now - _SLOW)]
        idle.sort(key=_beginning_of)
        del idle[1 + int(self._limit * _FREED_AT_ONCE) :]
        # What has come meanwhile may be a request, which the worker has not had the time to look at.
        poll = _poll()
        for channel in idle:
            poll.register(channel.fd, select.POLLIN)
        heard = {fd for fd, _ in poll.poll(0)}
        closed = [channel for channel in idle if channel.fd not in heard] or idle[:1]
        for channel in closed:
            channel.connection.time_out()
            channel.send()
        return closed

    def _room(self) -> int:
        """Return how many more connections the worker may have."""
        company: Any = self._company
        others = company.connections_of_siblings() if self._has_siblings and company is not None else 0
        return self._limit - len(self.channels) - int(others)

    def _has_idle(self, now: float) -> bool:
        for channel in self.channels:  # noqa: SIM110 - compiled, a generator would be an object
            if channel.is_idle(now - _SLOW):
                return True
        return False


def _beginning_of(channel: Channel) -> float:
    return channel.connection.began
