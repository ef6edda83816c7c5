"""Signals as bytes on a descriptor, read by whoever polls it.

Must not know what a signal means. Invariants: handlers do nothing, a signal becomes a byte on the wake-up
descriptor; a signal in HANDLED is blocked from before a fork until the child has its own handlers (fork.py).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from ..green import unpatched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

__all__ = ["HANDLED", "Signals"]

HANDLED: Final = frozenset(
    getattr(signal, f"SIG{name}")
    for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "CHLD", "ABRT")
)
"""Signals that master or worker handle in their own way."""

# gevent's would deliver the signals of its hub's children.
_signal: Final = unpatched("signal", "signal")
_set_wakeup_fd: Final = unpatched("signal", "set_wakeup_fd")


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the byte on the wake-up descriptor is the message."""


class Signals:
    """Signals of this process as bytes on a descriptor that a poller can watch.

    Args:
        names: the signals, without SIG ("TERM").

    Of the main thread only, as Python's handlers are.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {int(getattr(signal, f"SIG{name}")): name for name in names}
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._handlers: dict[int, object] = {}
        self._wakeup_fd = -1
        self._mask: set[int] = set()

    def install(self, handler: Handler = _ignore) -> None:
        """Take the signals over, also those that were blocked until now.

        Args:
            handler: called for each of them, for a time in which nobody reads the descriptor.
        """
        # A full pipe holds 64 Ki signals; what comes on top of that repeats what is in it.
        self._wakeup_fd = _set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in self._names:
            before = _signal(number, handler)
            self._handlers.setdefault(number, before)
        # A launcher may have blocked some; a fork of ours has blocked all.
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def hand_over(self) -> None:
        """From now on, someone reads the descriptor; what came before is still in it."""
        for number in self._names:
            _signal(number, _ignore)
            # A system call is taken up again after a signal, in C code as well.
            signal.siginterrupt(number, False)

    def take(self) -> list[str]:
        """Return the names of the signals that came since the last call, in order."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        # The application may have handlers of its own; their bytes come here, too.
        return [self._names[number] for number in data if number in self._names]

    def restore(self) -> None:
        """Give the signals back to the handlers that had them, and close."""
        for number, handler in self._handlers.items():
            # None: the handler was not set by Python and cannot be set by it.
            _signal(number, signal.SIG_DFL if handler is None else handler)
        self.close()
        _set_wakeup_fd(self._wakeup_fd)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._mask & HANDLED)

    def disown(self) -> None:
        """Have no handlers, in a fork that is none of ours: what is sent to it is to end it."""
        self.close()
        for number in self._names:
            _signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def close(self) -> None:
        """Close the descriptors; in a fork, whose handlers are about to be replaced."""
        _set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write_fd)
