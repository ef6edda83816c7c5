"""The lock of a loop with threads. It is held for moments only: a signal does not interrupt who waits for it.

Invariants: it is not reentrant, and only who has acquired it releases it.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["Lock"]


class Lock:
    """A lock that one thread holds at a time."""

    __slots__ = ("_lock",)

    def __init__(self, other: Any = None) -> None:
        """Be free. `other` is a lock to use instead: gevent's for a crew of greenlets."""
        self._lock = other or threading.Lock()

    def acquire(self) -> None:
        """Wait until it is free, and take it."""
        self._lock.acquire()

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()
