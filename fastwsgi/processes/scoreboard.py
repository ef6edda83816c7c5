"""Shared memory in which each worker shows that it lives and what it has done.

Owns one anonymous mapping, made by the master before it forks: one record per worker slot, or per loop where
a worker has several, a cache line each, so that two of them never write to the same one. Every field is
8 bytes, aligned, and written by one store: a reader sees the old value or the new one, never half of each. A
slot has one writer at a time, and what is of one loop is written by that loop: the master
before the fork, its worker afterwards. No lock, no system call. Must not know what the master concludes.
"""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["Company", "Record", "Scoreboard"]

FIELDS: Final = 8
"""Fields of a record. 8 x 8 bytes make a cache line."""

_BEAT, _REQUESTS, _PID, _STATE, _CONNECTIONS, _TURN = range(6)
_USED: Final = 0  # of the board's own record, behind those of the slots: how many of them were ever in use

_AWAY: Final = 0.01  # seconds; a worker that has not looked for events for so long is busy with a request
_UNEVEN_FROM: Final = 4  # connections; with fewer there is nothing to even out
_SLACK: Final = 16  # a worker may have one connection in so many more than another


class Record:
    """The record of one slot."""

    __slots__ = ("_first", "_floats", "_ints", "_size", "slot")

    def __init__(self, floats: memoryview[float], ints: memoryview[int], slot: int, loops: int) -> None:
        self._floats, self._ints = floats, ints
        self._size = loops * FIELDS
        self._first = slot * self._size
        self.slot = slot

    def clear(self, now: float) -> None:
        """Make it the record of a worker about to be forked at `now`, in monotonic seconds."""
        for field in range(self._size):
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
        for first in range(self._first, self._first + self._size, FIELDS):
            self._ints[first + _STATE] = state


BOOTING, SERVING, DRAINING = range(3)


class Company:
    """All workers, as one of them sees them, or one of its loops: to share connections out evenly."""

    __slots__ = ("_first", "_floats", "_ints", "_slot", "_used", "loops")

    def __init__(
        self,
        floats: memoryview[float],
        ints: memoryview[int],
        used: memoryview[int],
        slot: int,
        loops: int,
        loop: int = 0,
    ) -> None:
        self._floats, self._ints, self._used = floats, ints, used
        self._slot = slot
        self._first = (slot * loops + loop) * FIELDS
        self.loops = loops  # that a worker may have

    def of_loop(self, number: int) -> Company:
        """Return what loop `number` of this worker sees: the others are as good as workers to it."""
        return Company(self._floats, self._ints, self._used, self._slot, self.loops, number)

    @property
    def turn(self) -> memoryview[float]:
        """Where the worker shows when it last looked for events, monotonic; while it waits, when it will."""
        return self._floats[self._first + _TURN : self._first + _TURN + 1]

    def show_connections(self, count: int) -> None:
        """Show how many connections the worker has."""
        self._ints[self._first + _CONNECTIONS] = count

    def connections_of_siblings(self) -> int:
        """Return how many connections the other loops of this worker have."""
        first = self._slot * self.loops * FIELDS
        ends = first + self.loops * FIELDS
        return sum(self._ints[at + _CONNECTIONS] for at in range(first, ends, FIELDS) if at != self._first)

    def has_freer(self, count: int, now: float) -> bool:
        """Return whether a worker with less than `count` connections would take the next one at once."""
        if count < _UNEVEN_FROM:
            return False
        few = count - count // _SLACK
        floats, ints = self._floats, self._ints
        for first in range(0, self._used[0] * FIELDS, FIELDS):
            if (
                ints[first + _CONNECTIONS] < few
                and ints[first + _STATE] == SERVING
                and now - floats[first + _TURN] < _AWAY
                and first != self._first
            ):
                return True
        return False


class Scoreboard:
    """The records of all slots, with so many loops each, shared by the processes forked after it was made."""

    def __init__(self, slots: int, loops: int = 1) -> None:
        # Pages never written to take no memory, so there may be far more slots than workers.
        self._map = mmap.mmap(-1, (slots * loops + 1) * FIELDS * 8)
        self._bytes = memoryview(self._map)
        self._floats = self._bytes.cast("d")
        self._ints = self._bytes.cast("q")
        self._used = self._ints[slots * loops * FIELDS + _USED :]
        self._loops = loops
        self.slots = slots

    def record(self, slot: int) -> Record:
        """Return the record of a slot.

        Raises:
            IndexError: there is no such slot.
        """
        if not 0 <= slot < self.slots:
            raise IndexError(slot)
        self._used[0] = max(self._used[0], (slot + 1) * self._loops)
        return Record(self._floats, self._ints, slot, self._loops)

    def company(self, slot: int) -> Company:
        """Return what the worker of a slot sees of all."""
        return Company(self._floats, self._ints, self._used, slot, self._loops)

    def close(self) -> None:
        """Give the memory back; records of it must not be used any more."""
        # The mapping cannot be closed while views of it are open.
        for view in (self._used, self._ints, self._floats, self._bytes):
            view.release()
        self._map.close()
