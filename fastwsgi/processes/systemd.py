"""What systemd is told of a service (Type=notify), and asked by it: sd_notify(3) without its library.

Owns the messages, and which of them a change calls for. Must not know how the master comes to its state: it
is shown words and numbers. Invariants: without NOTIFY_SOCKET nothing is done; no message is waited for, and
none that cannot be sent is an error; READY is said only of a server that serves; of two masters of one
service, only the one that counts as its main process speaks.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Notifier"]

MOST_UNSENT: Final = 32
"""Messages kept while nobody reads the socket; then the oldest is dropped."""

RETRY: Final = 0.5
"""Seconds after which they are tried again."""

MICRO: Final = 1_000_000

_LAST: Final = frozenset({"draining", "stopping", "stopped"})
"""Phases after which there is no other."""


class Notifier:
    """The way to the service manager that started this process, if one did.

    Args:
        environ: the environment as this process got it.
        main: the pid of the service's main process, if that is not this one.
    """

    def __init__(self, environ: Mapping[str, str], main: int = 0) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # Others that it may name (vsock:…) are for the first process of a virtual machine.
        self._address = address if address.startswith(("/", "@")) else ""
        if address.startswith("@"):
            self._address = "\0" + address[1:]
        interval = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._interval = int(interval) / 2 / MICRO if interval.isdecimal() and is_ours else 0.0
        self._next_beat = 0.0
        self._main = main or os.getpid()
        self._unsent: deque[bytes] = deque(maxlen=MOST_UNSENT)
        self._phase = "starting"  # as it was told last
        self._status = ""

    @property
    def speaks(self) -> bool:
        """Whether there is somebody to tell, and this process is the one to do it."""
        return bool(self._address) and self._main == os.getpid()

    def show(self, phase: str, status: str, now: float, *, extend: float = 0.0) -> None:
        """Tell what has changed since the last call, and that the master is well.

        Args:
            phase: "starting", "running", "reloading", "draining", "stopping" or "stopped".
            status: a line for people.
            now: monotonic seconds.
            extend: seconds that starting, reloading or stopping may take on from here. They never shorten
                what the unit allows.
        """
        if not self.speaks:
            return
        words: list[str] = []
        if phase != self._phase:
            words += _transition(self._phase, phase, now)
            self._phase = phase
        if status != self._status:
            words.append("STATUS=" + " ".join(status.split()))
            self._status = status
        if words and extend and phase != "running":
            words.append(f"EXTEND_TIMEOUT_USEC={int(extend * MICRO)}")
        if self._interval and now >= self._next_beat:
            words.append("WATCHDOG=1")
            self._next_beat = now + self._interval
        if words:
            self._send(*words)
        elif self._unsent:
            self._flush()

    def next_tick(self, now: float) -> float | None:
        """Return in how many seconds `show` is due, even if nothing changes; None: not at all."""
        if not self.speaks:
            return None
        due = [max(0.0, self._next_beat - now)] if self._interval else []
        return min([*due, *([RETRY] if self._unsent else [])], default=None)

    def hand_over(self, main: int, status: str) -> None:
        """Tell that `main`, another master of this service, is its main process from now on, and be silent.

        systemd believes the one that was the main process until then; others only with NotifyAccess=all.
        """
        if self.speaks:
            self._send(f"MAINPID={main}", "READY=1", "STATUS=" + " ".join(status.split()))
            self._main = main

    def take_over(self) -> None:
        """Tell that this process is the service's main process from now on, and speak."""
        if self._main != os.getpid():
            self._main = os.getpid()
            self._phase, self._status, self._next_beat = "starting", "", 0.0
            if self.speaks:
                self._send(f"MAINPID={self._main}")

    def _send(self, *words: str) -> None:
        self._unsent.append("\n".join(words).encode())
        self._flush()

    def _flush(self) -> None:
        try:
            # One for each message, since they are few: none is left open in workers.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                while self._unsent:
                    sock.sendto(self._unsent[0], self._address)
                    self._unsent.popleft()
        except BlockingIOError:
            # Its queue is full: nobody reads just now.
            pass
        except OSError:
            # Nobody is there, or we may not speak to them.
            self._unsent.clear()


def _transition(before: str, phase: str, now: float) -> list[str]:
    if phase == "running":
        return ["READY=1"]
    if phase == "reloading":
        return ["RELOADING=1", f"MONOTONIC_USEC={int(now * MICRO)}"]
    return ["STOPPING=1"] if phase in _LAST and before not in _LAST else []
