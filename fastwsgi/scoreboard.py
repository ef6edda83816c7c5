"""Shared memory in which each worker shows that it lives and what it has done.

Owns one anonymous mapping, made by the master before it forks: one record per worker slot, a cache line each,
so that two workers never write to the same one. Every field is 8 bytes, aligned, and written by one store: a
reader sees the old value or the new one, never half of each. A slot has one writer at a time: the master
before the fork, its worker afterwards. No lock, no system call. Must not know what the master concludes.
"""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["Record", "Scoreboard"]

FIELDS: Final = 8
"""Fields of a record; half of them are spare. 8 x 8 bytes make a cache line."""

_BEAT, _REQUESTS, _PID, _STATE = range(4)


class Record:
    """The record of one slot."""

    __slots__ = ("_first", "_floats", "_ints", "slot")

    def __init__(self, floats: memoryview[float], ints: memoryview[int], slot: int) -> None:
        self._floats, self._ints = floats, ints
        self._first = slot * FIELDS
        self.slot = slot

    def clear(self, now: float) -> None:
        """Make it the record of a worker about to be forked at `now`, in monotonic seconds."""
        for field in range(FIELDS):
            self._ints[self._first + field] = 0
        self._floats[self._first + _BEAT] = now

    def beat(self, now: float) -> None:
        """Show a sign of life at `now`, in monotonic seconds; the clock is one for all processes."""
        self._floats[self._first + _BEAT] = now

    @property
    def last_beat(self) -> float:
        """When the last sign of life was given, in monotonic seconds."""
        return float(self._floats[self._first + _BEAT])

    @property
    def requests(self) -> int:
        """Requests answered."""
        return int(self._ints[self._first + _REQUESTS])

    @requests.setter
    def requests(self, count: int) -> None:
        self._ints[self._first + _REQUESTS] = count

    @property
    def pid(self) -> int:
        """Process of the worker, 0 before it runs."""
        return int(self._ints[self._first + _PID])

    @pid.setter
    def pid(self, pid: int) -> None:
        self._ints[self._first + _PID] = pid

    @property
    def state(self) -> int:
        """What the worker is doing, one of BOOTING, SERVING and DRAINING."""
        return int(self._ints[self._first + _STATE])

    @state.setter
    def state(self, state: int) -> None:
        self._ints[self._first + _STATE] = state


BOOTING, SERVING, DRAINING = range(3)


class Scoreboard:
    """The records of all slots, shared by the processes forked after it was made."""

    def __init__(self, slots: int) -> None:
        # Pages never written to take no memory, so there may be far more slots than workers.
        self._map = mmap.mmap(-1, slots * FIELDS * 8)
        self._bytes = memoryview(self._map)
        self._floats = self._bytes.cast("d")
        self._ints = self._bytes.cast("q")
        self.slots = slots

    def record(self, slot: int) -> Record:
        """Return the record of a slot.

        Raises:
            IndexError: there is no such slot.
        """
        if not 0 <= slot < self.slots:
            raise IndexError(slot)
        return Record(self._floats, self._ints, slot)

    def close(self) -> None:
        """Give the memory back; records of it must not be used any more."""
        # The mapping cannot be closed while views of it are open.
        for view in (self._ints, self._floats, self._bytes):
            view.release()
        self._map.close()
