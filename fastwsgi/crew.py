"""The threads of one loop: which of them leads it, which stands by, which rest. It knows no sockets, no HTTP.

One thread leads: it waits for events, reads, parses and calls the app itself, as a loop without threads
does. Before the call it steps down and has one other woken, which has to wait for the GIL first. An app that
is quick returns before that one has run, and its thread leads on: the threads have cost nothing. An app that
blocks lets go of the GIL: the one that stood by leads on at once, and nobody waits behind a database.

  state     | what ends it                                       | next
  LEADS     | it is about to call the app                        | SERVES; one that rests, or a new, STANDS BY
  SERVES    | the app has returned, nobody has led since         | LEADS
  SERVES    | the app has returned, who led since is in the app  | STANDS BY, if nobody does, else RESTS
  SERVES    | the app has returned, another leads                | RESTS, once nothing is left for it to do
  STANDS BY | it runs at last, another leads                     | RESTS, if nobody calls the app for a moment
  STANDS BY | it runs at last, nobody leads: the app has blocked | LEADS
  STANDS BY | the same, but it ran only because CPython took the | STANDS BY, with a pause: the app computes,
            | GIL from another, which it waited long for         | more threads would only be in its way
  STANDS BY | the same, for 0.1 s, in one call of the app        | LEADS: others cannot wait for ever
  RESTS     | it is woken                                        | STANDS BY

So of threads that compute one leads on, and the others come to rest when they return: it takes them no longer
than side by side, where CPython would give the GIL round between them every few milliseconds.

Without a GIL the one that is woken runs at once, on another CPU, whatever the app does. It then pauses for a
moment first, so that a quick app has it woken once in that moment and not at every request:

  STANDS BY | it runs, and the app still is in the call that it  | LEADS
            | was in before the pause                            |
  STANDS BY | it runs, and the app is in another call            | STANDS BY, with a pause
  SERVES    | the app has returned, nobody leads                 | LEADS

Invariants: whoever touches the loop holds its lock; it is let go of while the app runs and while the leader
waits for events. At most one thread leads, and at most one stands by. A thread is started when it is first
needed.

Greenlets form a crew as well, with locks and a sleep of gevent's: there only what has blocked gives way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._impl import Lock
from .states import NEVER, NO_THREAD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Crew"]


_YIELD = 20e-6  # seconds; long enough for another thread to take the GIL
_PAUSE = 0.005
_MOMENT = 0.0005  # much longer than a wake-up takes
_PATIENCE = 0.1  # seconds of computing, after which others are served beside it all the same
_FORCED = 0.2  # of the switch interval; who waited that long was perhaps not let run freely


class Crew:
    """The roles of threads numbered from 0; thread 0 makes it, and leads."""

    __slots__ = (
        "_beds",
        "_called_at",
        "_calls",
        "_clock",
        "_led_last",
        "_lock",
        "_make_lock",
        "_resting",
        "_size",
        "_sleep",
        "_stands_by",
        "_start",
        "_unforced",
        "_yields",
        "ended",
        "leader",
    )

    def __init__(
        self,
        size: int,
        *,
        start: Callable[[int], bool],
        switch_interval: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Any],
        lock: Any,
        make_lock: Callable[[], Any],
    ) -> None:
        """Make a crew of up to `size` threads.

        `start` starts the thread of a number, which has to call join(), and returns whether it could.
        `switch_interval` is sys.getswitchinterval(), infinite where nothing takes the GIL from a thread, or 0
        where there is no GIL; times are in seconds. `make_lock` makes locks as of `threading`, and `lock` is
        one to be used for the loop, or None for the quickest.
        """
        self.leader = 0
        self.ended = False
        self._size = size
        self._start = start
        self._clock = clock
        self._sleep = sleep
        self._unforced = switch_interval * _FORCED
        self._yields = 0.0 < switch_interval < NEVER  # threads take turns at computing
        self._make_lock = make_lock
        self._lock = Lock(lock)
        self._lock.acquire()
        self._beds: list[Any] = []  # of each thread: a lock that it cannot take until it is woken
        self._resting: list[int] = []  # the last to lie down is woken first: its memory is still in the cache
        self._stands_by = False
        self._called_at = 0.0
        self._calls = 0  # of the app, by a thread that led
        self._led_last = 0  # the thread that made the last of these
        self._add_bed()

    # The lock.

    def take(self) -> None:
        """Wait for the right to touch the loop."""
        self._lock.acquire()

    def leave(self) -> None:
        """Let others touch the loop; the leader stays the leader."""
        self._lock.release()

    # Around calls of the app.

    def step_down(self, me: int) -> None:
        """Let others touch the loop, and lead it if `me` has led, while the app runs."""
        if self.leader == me:
            self._calls += 1  # first, for which it may lack memory
            self.leader = NO_THREAD
            self._led_last = me
            if not self._stands_by:
                try:
                    self._call()
                except MemoryError:
                    self._stands_by = False  # so who led leads on when the app returns
        self._lock.release()

    def step_up(self, me: int) -> None:
        """Wait for the right to touch the loop, and lead it if nobody does and nobody else is about to."""
        self._lock.acquire()
        if self.leader == NO_THREAD and (self._led_last == me or not self._yields):
            self.leader = me

    # Between.

    def join(self, me: int) -> bool:
        """Be a thread that was just started; return as rest() does."""
        self._lock.acquire()
        return self._stand_by(me) or self.rest(me)

    def rest(self, me: int) -> bool:
        """Sleep until needed as the leader and return True, or False when the crew is dismissed.

        To be called with the right to touch the loop, and returns with it.
        """
        while not self.ended:
            if self.leader == NO_THREAD and not self._stands_by:
                # The one that led is in the app.
                self._stands_by = True
                self._called_at = -NEVER  # it has not waited for the GIL to be let go of
            else:
                try:
                    self._resting.append(me)
                except MemoryError:
                    self._nap(_PAUSE)  # nobody could wake it: it looks again itself
                    continue
                self._lock.release()
                self._beds[me].acquire()
                self._lock.acquire()
            if self._stand_by(me):
                return True
        return False

    def dismiss(self) -> None:
        """Let every thread end that rests, or is going to."""
        self.ended = True
        while self._resting:
            self._beds[self._resting.pop()].release()

    def _call(self) -> None:
        """Have somebody stand by."""
        self._called_at = self._clock()
        if self._resting:
            self._stands_by = True
            self._beds[self._resting.pop()].release()
        elif len(self._beds) < self._size:
            self._add_bed()
            self._stands_by = True
            if not self._start(len(self._beds) - 1):
                self._stands_by = False
                self._size = len(self._beds)  # it goes on with those that there are

    def _nap(self, pause: float) -> None:
        """Let others touch the loop for `pause` seconds."""
        self._lock.release()
        try:
            self._sleep(pause)
        finally:
            self._lock.acquire()

    def _add_bed(self) -> None:
        bed = self._make_lock()
        bed.acquire()
        self._beds.append(bed)

    def _stand_by(self, me: int) -> bool:
        """Lead if that is needed, and return whether it is."""
        try:
            is_needed = self._is_needed()
        except MemoryError:
            is_needed = not self.ended and self.leader == NO_THREAD
        self._stands_by = False
        if is_needed:
            self.leader = me
        return is_needed

    def _is_needed(self) -> bool:
        """Return whether the one that stands by is to lead; it may take a while to tell."""
        began = self._clock()
        waited = began - self._called_at
        give_up = began
        call = -1  # the call of the app that was seen at the last look
        pause = _YIELD  # at first: an app that has computed for a while may block by now
        while not self.ended:
            is_same = call == self._calls
            if not is_same:
                call = self._calls
                give_up = began + _PATIENCE
            if self.leader != NO_THREAD:
                if is_same or self._unforced == NEVER:
                    return False
                pause = _MOMENT  # to be woken with each call would cost more
            elif not self._unforced:
                if is_same:
                    return True
                pause = _MOMENT
            else:
                if waited < self._unforced or began > give_up:
                    return True
                if is_same:
                    pause = _PAUSE
            began = self._clock()
            self._nap(pause)
            waited = self._clock() - began - pause
            pause = _MOMENT
        return False
