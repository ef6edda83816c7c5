"""What the master tells statsd: how many workers there are, and how many connections wait to be accepted.

The figures go through the Logger, as gunicorn's do, so that a class of the user's own hears of them. Must not
know: what is done about them.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from .generation import Generation

__all__ = ["Figures", "backlog_of"]

_EVERY: Final = 1.0  # seconds between two looks at the backlog
_TCP_INFO_SIZE: Final = 104
_UNACKED: Final = slice(24, 28)  # tcpi_unacked of struct tcp_info: for a listening socket, its queue


class Figures:
    """The figures of one master."""

    def __init__(self) -> None:
        self._workers = -1
        self._next = 0.0  # when the backlog is looked at again; 0 for never

    def next_tick(self, now: float) -> float | None:
        """Return in how many seconds there is something to tell anyhow; None for never."""
        return max(self._next - now, 0.0) if self._next else None

    def tell(self, log: logging.Logger, generation: Generation, workers: int, now: float) -> None:
        """Tell what has changed; without statsd, nothing."""
        cfg = generation.cfg
        if not (cfg.statsd_host and cfg.enable_backlog_metric):
            self._next = 0.0
        if not cfg.statsd_host:
            return
        if workers != self._workers:
            self._workers = workers
            extra = {"metric": "gunicorn.workers", "value": workers, "mtype": "gauge"}
            log.debug("%d workers", workers, extra=extra)
        if cfg.enable_backlog_metric and now >= self._next:
            self._next = now + _EVERY
            waiting = backlog_of([listener.sock for listener in generation.listeners])
            if waiting is not None:
                extra = {"metric": "gunicorn.backlog", "value": waiting, "mtype": "histogram"}
                log.debug("socket backlog: %d", waiting, extra=extra)


def backlog_of(sockets: Iterable[socket.socket]) -> int | None:
    """Return how many connections wait to be accepted; None where the system does not tell."""
    if not hasattr(socket, "TCP_INFO") or sys.platform != "linux":
        return None
    waiting = None
    for sock in sockets:
        if sock.family != socket.AF_UNIX and sock.fileno() >= 0:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
            waiting = (waiting or 0) + int.from_bytes(info[_UNACKED], sys.byteorder)
    return waiting
