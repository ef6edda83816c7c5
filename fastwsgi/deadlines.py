"""Deadlines of many items, at a cost that does not grow with those that are not due.

Almost every deadline is moved before it comes: a connection's is set anew with each request. So an item
lies in a bucket of one tick (an eighth of a second) and stays there when its deadline moves back; only
when the bucket falls due is the deadline looked at, and a later one filed again. Moving a deadline is
then one comparison, and ten thousand idle connections cost nothing between their ticks.

Invariant: an item with a deadline is filed in a bucket no later than its deadline's tick.
"""

from __future__ import annotations

from .states import NEVER

__all__ = ["Deadlines", "Timed"]

_TICKS_PER_SECOND = 8


class Timed:
    """Something with a deadline, in monotonic seconds; to be derived from."""

    __slots__ = ("deadline", "tick")

    def __init__(self) -> None:
        """Start without a deadline."""
        self.deadline = NEVER
        self.tick = 0  # of the bucket that it lies in; 0 = in none


class Deadlines:
    """The buckets."""

    __slots__ = ("_buckets", "next_tick")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, set[Timed]] = {}
        self.next_tick = 0  # the earliest bucket; 0 = there is none

    def schedule(self, item: Timed, deadline: float) -> None:
        """Set the deadline of `item`, earlier or later than before, or NEVER."""
        item.deadline = deadline
        # True of NEVER as well, and the way of almost every call.
        if item.tick != 0 and item.tick <= deadline * _TICKS_PER_SECOND + 1.0:
            return
        if deadline == NEVER:
            return
        if item.tick != 0:
            self._take_out(item)
        self._file(item, int(deadline * _TICKS_PER_SECOND) + 1)

    def cancel(self, item: Timed) -> None:
        """Forget `item`."""
        item.deadline = NEVER
        if item.tick != 0:
            self._take_out(item)

    def is_due(self, now: float) -> bool:
        """Return whether expire() has anything to look at."""
        return self.next_tick != 0 and self.next_tick <= now * _TICKS_PER_SECOND

    def expire(self, now: float) -> list[Timed]:
        """Return the items whose deadline has come; they have none from then on."""
        due: list[Timed] = []
        current = int(now * _TICKS_PER_SECOND)
        ticks = [tick for tick in self._buckets if tick <= current]
        for tick in ticks:
            for item in self._buckets[tick]:
                if item.deadline <= now:
                    due.append(item)
                elif item.deadline != NEVER:
                    self._file(item, int(item.deadline * _TICKS_PER_SECOND) + 1)
        # Only now is anything taken out: had the memory run out before, it would all be found again.
        for tick in ticks:
            for item in self._buckets.pop(tick):
                if item.tick == tick:
                    item.tick = 0
        for item in due:
            item.deadline = NEVER
        self.next_tick = min(self._buckets, default=0)
        return due

    def wait(self, now: float, longest: float) -> float:
        """Return for how many seconds nothing falls due, `longest` at the most."""
        if self.next_tick == 0:
            return longest
        return max(0.0, min(longest, self.next_tick / _TICKS_PER_SECOND - now))

    def _file(self, item: Timed, tick: int) -> None:
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {item}
            if self.next_tick == 0 or tick < self.next_tick:
                self.next_tick = tick
        else:
            bucket.add(item)
        item.tick = tick

    def _take_out(self, item: Timed) -> None:
        tick = item.tick
        item.tick = 0
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                del self._buckets[tick]
                if tick == self.next_tick:
                    self.next_tick = min(self._buckets, default=0)
