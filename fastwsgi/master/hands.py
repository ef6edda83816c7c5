"""What the master holds of its workers: their pids, channels and records.

Must not know the policy. Invariant: a channel is closed once, at its end or at the worker's.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from ..processes.report import Inbox

if TYPE_CHECKING:
    import socket

    from ..processes.report import Report
    from ..processes.scoreboard import Record

__all__ = ["Hand", "send"]


class Hand:
    """What the master holds of one worker.

    `channel` is our end of a socket pair: the worker reports through it, and its end tells it of ours.
    """

    def __init__(self, pid: int, age: int, channel: socket.socket, record: Record) -> None:
        self.pid, self.age = pid, age
        self.channel = channel
        self.record = record
        self._inbox = Inbox(channel)

    def hear(self) -> list[Report] | None:
        """Return what the worker has said since; None at the end, when nothing more will come."""
        return self._inbox.take()


def send(pid: int, name: str) -> None:
    """Send signal `name` ("TERM") to a process; that it is gone is no error."""
    try:
        os.kill(pid, getattr(signal, f"SIG{name}"))
    except ProcessLookupError:
        pass
