"""Deadlines of connections: those of the loop, and a heap of timers as event loops mostly have it.

A connection's deadline is set anew after each answer, and almost never comes.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONNECTIONS", "Heap", "Item", "Timers", "expiring", "fastwsgi", "heap", "moving"]

CONNECTIONS = 1000
_KEEPALIVE = 5.0
_READY = 8  # requests that one wait of the loop finds, at 20 µs each
_REQUEST = 20e-6


class Timers(Protocol):
    """What a loop asks of its deadlines."""

    def schedule(self, item: Any, deadline: float) -> None:
        """Set a deadline, earlier or later than before."""

    def is_due(self, now: float) -> bool:
        """Return whether expire() has anything to look at."""

    def expire(self, now: float) -> list[Any]:
        """Return what is due."""


class Item:
    """An item of a Heap."""

    __slots__ = ("timer",)

    def __init__(self) -> None:
        self.timer: list[Any] = [0.0, 0, None]


class Heap:
    """Timers on a heap, in the manner of asyncio: what is moved is cancelled, and dropped when it is half."""

    def __init__(self) -> None:
        self._heap: list[list[Any]] = []
        self._count = 0
        self._cancelled = 0

    def schedule(self, item: Item, deadline: float) -> None:
        """Set a deadline, earlier or later than before."""
        if item.timer[2] is not None:
            item.timer[2] = None
            self._cancelled += 1
            if self._cancelled > 100 and self._cancelled * 2 > len(self._heap):
                self._heap = [timer for timer in self._heap if timer[2] is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0
        self._count += 1
        item.timer = [deadline, self._count, item]
        heapq.heappush(self._heap, item.timer)

    def is_due(self, now: float) -> bool:
        """Return whether expire() has anything to look at."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return bool(heap) and heap[0][0] <= now

    def expire(self, now: float) -> list[Item]:
        """Return what is due."""
        due = []
        while self.is_due(now):
            item = heapq.heappop(self._heap)[2]
            item.timer[2] = None
            due.append(item)
        return due


def fastwsgi() -> tuple[Timers, Callable[[], Any]]:
    """Return our own deadlines, and what makes an item of them."""
    from fastwsgi.deadlines import Deadlines, Timed

    return Deadlines(), Timed


def heap() -> tuple[Timers, Callable[[], Any]]:
    """Return a heap, and what makes an item of it."""
    return Heap(), Item


def moving(timers: Timers, make: Callable[[], Any]) -> Callable[[], None]:
    """Return one request on each of a thousand connections: each moves its deadline."""
    items = [make() for _ in range(CONNECTIONS)]
    now = 1000.0

    def run() -> None:
        nonlocal now
        for begin in range(0, CONNECTIONS, _READY):
            for item in items[begin : begin + _READY]:
                timers.schedule(item, now + _KEEPALIVE)
            now += _READY * _REQUEST
            if timers.is_due(now):
                timers.expire(now)

    return run


def expiring(timers: Timers, make: Callable[[], Any]) -> Callable[[], None]:
    """Return a thousand connections that nobody uses: each gets a deadline, which comes."""
    items = [make() for _ in range(CONNECTIONS)]
    now = 1000.0

    def run() -> None:
        nonlocal now
        for item in items:
            now += _KEEPALIVE / CONNECTIONS
            timers.schedule(item, now + _KEEPALIVE)
        expired = 0
        while expired < CONNECTIONS:
            now += 0.125
            if timers.is_due(now):
                expired += len(timers.expire(now))

    return run
