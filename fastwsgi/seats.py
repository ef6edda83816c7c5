"""The right to be in the app: a worker has so many seats, and requests queue for them.

A thread takes a seat when it calls the app and gives it back when the app has returned. A loop without
others beside it does all this under its own lock (`Seats`). Where a worker has several loops (parallel.py)
they share the seats, and the order in which their requests came (`SharedSeats`): none is passed over for
long, and `max_queue` is that of the worker.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .runner import Runner

    Wake = Callable[[], None]

__all__ = ["Seats", "SharedSeats"]


class Seats:
    """Seats for `size` threads of one loop, and the number of its requests that wait for them.

    `wake`, wherever it is asked for, makes the loop look again whether it may go on; by it loops are told
    from each other.
    """

    __slots__ = ("_queued", "_size", "_taken", "heartbeat")

    def __init__(self, size: int) -> None:
        """Make `size` seats."""
        self.heartbeat: Any = None  # is told the time while a thread waits for its client
        self._size = size
        self._taken = 0
        self._queued = 0

    # For requests that have just come.

    def has_room(self) -> bool:
        """Return whether more seats are free than requests wait for."""
        return self._size - self._taken > self._queued

    def are_scarce(self) -> bool:
        """Return whether requests may have to wait for a seat; only who takes turns at computing asks."""
        return self._taken >= self._size

    # For requests that wait.

    def line_up(self, wake: Wake, limit: int) -> bool:  # noqa: ARG002
        """Have a request of this loop wait, as the last; return False if `limit` wait already."""
        if self._queued >= limit:
            return False
        self._queued += 1
        return True

    def is_next(self, wake: Wake) -> bool:  # noqa: ARG002
        """Return whether there is a seat for the first request that waits in this loop.

        If not, the loop is woken as soon as there is.
        """
        return self._taken < self._size

    def leave_queue(self, wake: Wake) -> None:  # noqa: ARG002
        """Have the first of this loop not wait any more; what does not take a seat next, passes it on."""
        self._queued -= 1

    def pass_on(self, wake: Wake) -> None:
        """Let others have the seat that was kept for a request of this loop."""

    # Around calls of the app.

    def take(self, now: float, can_wait: bool) -> Any:  # noqa: ARG002
        """Take a seat for a thread.

        Return None, or a lock that has to be waited for: two loops have seen the same free seat. A call that
        cannot wait, to clean up, has no limit.
        """
        self._taken += 1

    def give_back(self, wake: Wake) -> None:  # noqa: ARG002
        """Give back a seat; a thread of this loop is about to look whether it may take the next."""
        self._taken -= 1

    def keep(self, change: int) -> None:
        """Note that an app has taken a connection over (1), or is done with it (-1)."""

    def are_lost(self, wake: Wake, count: int) -> bool:  # noqa: ARG002
        """Return whether all seats are those of requests that do not end; `count` of this loop's do not."""
        return count >= self._size

    def last_return(self, runners: list[Runner], now: float) -> float:
        """Return when a thread last came back from the app, or showed that it does not hang, monotonic.

        One that has a WebSocket does not hang, however long it stays.
        """
        return max([now if runner.is_parted() else runner.since for runner in runners])


class SharedSeats(Seats):
    """Seats for the threads of several loops that run side by side.

    Every change is made with `_lock`; what is read without it is only a first look.
    """

    __slots__ = ("_kept", "_late", "_lock", "_lost", "_make_lock", "_queue", "_since")

    def __init__(self, size: int, make_lock: Callable[[], Any]) -> None:
        """Make `size` seats; `make_lock` makes locks as of `threading`."""
        super().__init__(size)
        self.heartbeat = self._note
        self._since = 0.0  # when the app was last seen to go on, monotonic
        self._kept = 0  # by threads whose connection the app has taken over
        self._make_lock = make_lock
        self._lock = make_lock()
        self._lost: dict[Wake, int] = {}  # requests that do not end, of each loop
        self._late: deque[Any] = deque()  # locks of threads that were promised a seat when none was left
        self._queue: deque[Wake] = deque()  # the loop of each request that waits

    def are_scarce(self) -> bool:
        """Return True: side by side, every thread that comes back may go on."""
        return True

    def line_up(self, wake: Wake, limit: int) -> bool:
        """Have a request wait, unless `limit` do in all loops."""
        with self._lock:
            if self._queued >= limit:
                return False
            self._queue.append(wake)
            self._queued += 1
            return True

    def is_next(self, wake: Wake) -> bool:
        """Return whether a seat is free for this loop."""
        with self._lock:
            # Not only the first of all: loops do not wait for each other while there are seats for both.
            for place in range(min(self._size - self._taken, self._queued)):
                if self._queue[place] is wake:
                    return True
            return False

    def leave_queue(self, wake: Wake) -> None:
        """Take the loop's first out of the queue."""
        with self._lock:
            self._queue.remove(wake)
            self._queued -= 1

    def pass_on(self, wake: Wake) -> None:
        """Wake whoever is next."""
        with self._lock:
            self._offer(wake)

    def take(self, now: float, can_wait: bool) -> Any:
        """Take a seat, or a lock that is released when it is free."""
        with self._lock:
            self._since = now
            self._taken += 1
            if self._taken > self._size and can_wait:
                turn = self._make_lock()
                turn.acquire()
                self._late.append(turn)
                return turn
            return None

    def give_back(self, wake: Wake) -> None:
        """Give the seat to a thread that is late, or to the loop that is next."""
        with self._lock:
            self._taken -= 1
            if self._late and self._taken - len(self._late) < self._size:
                self._late.popleft().release()
            self._offer(wake)

    def keep(self, change: int) -> None:
        """Count threads that may stay for long."""
        with self._lock:
            self._kept += change

    def are_lost(self, wake: Wake, count: int) -> bool:
        """Return whether all seats, of all loops, are those of requests that do not end."""
        with self._lock:
            self._lost[wake] = count
            return sum(self._lost.values()) >= self._size

    def last_return(self, runners: list[Runner], now: float) -> float:  # noqa: ARG002
        """Return when any of all threads last showed that it does not hang."""
        return now if self._kept else self._since

    def _note(self, now: float) -> None:
        self._since = now

    def _offer(self, wake: Wake) -> None:
        """Wake the loop of the request that the last free seat is for, unless it is the one that asks."""
        place = self._size - self._taken - 1
        if 0 <= place < self._queued and self._queue[place] is not wake:
            self._queue[place]()
