"""Where each thread of a worker shows the request that it has in the app, for the master to read.

Owns the layout of a worker's memory and the writer's side of it; processes/in_flight.py owns the memory and
reads. The first `PLACES` threads have a place each: since when, a number that changes with each entry, the
thread's identity, method and the beginning of the target. Those behind them show only since when, up to
`THREADS`.

Invariants: a place has one writer, its thread. It is marked as empty before it is changed, and gets its time
last: a reader that finds the same time and number before and after it has read, has read one whole entry. No
lock, no system call.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = [
    "HEAD",
    "METHOD",
    "PLACE",
    "PLACES",
    "SIZE",
    "TARGET",
    "THREADS",
    "Places",
]

PLACES: Final = 64
THREADS: Final = 1024

PLACE: Final = 256
"""Bytes of a place: `HEAD`, then `METHOD` bytes for the method, and the rest for the target."""

HEAD: Final = 40
"""Five fields of 8 bytes: since (a double), number, thread, true length of the method, and of the target."""

METHOD: Final = 24
TARGET: Final = PLACE - HEAD - METHOD

SIZE: Final = PLACES * PLACE + (THREADS - PLACES) * 8
"""Bytes of memory for one worker."""

_SINCE, _NUMBER, _THREAD, _METHOD_LENGTH, _TARGET_LENGTH = range(5)
_FIELDS: Final = PLACE // 8
_REST: Final = PLACES * _FIELDS - PLACES


class Places:
    """The memory of one worker, as one of its loops writes to it."""

    def __init__(self, memory: Any, loop: int = 0, loops: int = 1) -> None:
        """Write to `memory`, `SIZE` bytes; threads of loop number `loop` take every `loops`th place.

        Raises ValueError if it is smaller.
        """
        self._memory = memoryview(memory).cast("B")
        if len(self._memory) < SIZE:
            msg = "not enough memory for the places of a worker"
            raise ValueError(msg)
        self._floats = self._memory[:SIZE].cast("d")
        self._numbers = self._memory[:SIZE].cast("Q")
        self._loop, self._loops = loop, loops

    def sit(self, thread: int, identity: int) -> int:
        """Say which thread of the system number `thread` of this loop is; return its number in the worker."""
        index = self._loop + thread * self._loops
        if index < PLACES:
            self._numbers[index * _FIELDS + _THREAD] = identity
        return index

    def enter(self, thread: int, now: float, method: str, target: str) -> None:
        """Show what thread number `thread` has in the app from `now` on, monotonic."""
        index = self._loop + thread * self._loops
        if index >= PLACES:
            if index < THREADS:
                self._floats[_REST + index] = now
            return
        at = index * _FIELDS
        raw_method, raw_target = method.encode("latin-1"), target.encode("latin-1")
        self._floats[at + _SINCE] = 0.0
        self._numbers[at + _NUMBER] += 1
        self._numbers[at + _METHOD_LENGTH], self._numbers[at + _TARGET_LENGTH] = (
            len(raw_method),
            len(raw_target),
        )
        start = index * PLACE + HEAD
        self._memory[start : start + min(len(raw_method), METHOD)] = raw_method[:METHOD]
        start += METHOD
        self._memory[start : start + min(len(raw_target), TARGET)] = raw_target[:TARGET]
        self._floats[at + _SINCE] = now

    def leave(self, thread: int) -> None:
        """Show that thread number `thread` has nothing in the app."""
        index = self._loop + thread * self._loops
        if index < PLACES:
            self._floats[index * _FIELDS + _SINCE] = 0.0
        elif index < THREADS:
            self._floats[_REST + index] = 0.0
