"""Several loops in one worker, side by side: for Pythons that run without a global interpreter lock.

There the threads of one loop (crew.py) call the app side by side already, but take turns at all the rest:
waiting, reading, parsing, sending. So a worker has a loop for each CPU that it may use. Each has an IO,
channels, deadlines, a parser, a crew and gathered lines of the access log of its own. Listening sockets are
shared as between workers, each loop with descriptors of its own, so that nobody closes one that another uses.
What loops share is the app, the seats in it (seats.py), the scoreboard, on which each has a record, and the
files of the logs.

The main thread has no loop. It handles what the worker is told by signals and by its master, also while all
others are in the app, and passes that on; to the worker this is the engine.
"""

from __future__ import annotations

import functools
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from . import gil
from ._impl import Places
from .config.cpus import available_cpus
from .engine import Engine
from .processes.sockets import Listener
from .seats import SharedSeats
from .states import BEAT, NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .config.settings import Config
    from .logs.request_log import RequestLog
    from .processes.scoreboard import Company

__all__ = ["Parallel", "loops_at_most", "make_engine"]

_ENDS_IN = 1.0  # seconds that loops are given when they are to end at once


def loops_at_most() -> int:
    """Return how many loops side by side make sense here, whatever the configuration."""
    return 1 if gil.has_gil() else available_cpus()


def make_engine(
    app: Callable[..., Any],
    listeners: Sequence[Listener],
    cfg: Config,
    *,
    company: Company,
    memory: memoryview,
    **options: Any,
) -> Engine | Parallel:
    """Return what serves `app` in a worker: one loop, or several where they can run side by side.

    In `memory` they show what they have in the app.
    """
    count = min(loops_at_most(), cfg.threads, company.loops)
    if count == 1 or cfg.worker_class == "gevent":
        return Engine(app, listeners, cfg, company=company, places=Places(memory), **options)
    return Parallel(count, app, listeners, cfg, company=company, memory=memory, **options)


class _Calls:
    """Calls for a thread to make that waits for descriptors, from other threads."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._calls: deque[Callable[[], None]] = deque()
        self._is_woken = False

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` made."""
        self._calls.append(call)
        self.wake()

    def wake(self) -> None:
        """Have the thread look around."""
        if not self._is_woken:
            self._is_woken = True
            os.write(self._write_fd, b"\0")

    def make(self) -> None:
        """Make the calls; `fd` is readable when there are any."""
        os.read(self.fd, 64)
        # Only now: a call that comes before is made below, and one that comes later wakes the thread again.
        self._is_woken = False
        while self._calls:
            self._calls.popleft()()


class _Place:
    """One of the loops, with what it has to itself."""

    def __init__(
        self, listeners: Sequence[Listener], access_log: RequestLog | None, tell: Callable[[], None]
    ) -> None:
        self.listeners = [Listener(listener.sock.dup()) for listener in listeners]
        self.access_log = access_log.another() if access_log is not None else None
        self.calls = _Calls()
        self.wake = self.calls.wake  # once: it is told from others by identity
        self.last_beat = 0.0
        self.is_left = False  # by all but its first thread, which does not come back from the app
        self._tell = tell
        self.engine: Engine
        self.thread: threading.Thread

    def leave(self, _error: BaseException | None) -> None:
        """Be told that the loop has ended while its first thread is in the app."""
        if self.engine.is_main_thread_lost():
            self.is_left = True
            self.beat(NEVER)

    def has_ended(self) -> bool:
        return self.is_left or not self.thread.is_alive()

    def beat(self, now: float) -> None:
        self.last_beat = now
        self._tell()  # the main thread, at once: by itself it would look too late

    def shut_down(self, timeout: float) -> None:
        self.engine.shutdown(timeout)
        self.close()

    def close(self) -> None:
        # Not the pipe: a thread that comes back from the app at last may still write to it.
        for listener in self.listeners:
            listener.close()


class Parallel:
    """The loops of a worker; it is used as an Engine is."""

    def __init__(
        self,
        count: int,
        app: Callable[..., Any],
        listeners: Sequence[Listener],
        cfg: Config,
        *,
        access_log: RequestLog | None,
        heartbeat: Callable[[float], None],
        company: Company,
        memory: memoryview,
        max_requests: int = 0,
        leave: object = None,
        **options: Any,
    ) -> None:
        """Prepare `count` loops; the other arguments are the engine's.

        Each loop tells when it has had its share of `max_requests`; no loop need `leave` in place of the
        main thread.
        """
        del leave
        self._heartbeat = heartbeat
        self._calls = _Calls()
        self._readers: dict[int, Callable[[], None]] = {self._calls.fd: self._calls.make}
        self._is_stopped = False
        self._error: BaseException | None = None
        self._places = [_Place(listeners, access_log, self._calls.wake) for _ in range(count)]
        seats = SharedSeats(cfg.threads, threading.Lock)
        for number, place in enumerate(self._places):
            place.engine = Engine(
                app,
                place.listeners,
                cfg,
                access_log=place.access_log,
                heartbeat=place.beat,
                company=company.of_loop(number),
                places=Places(memory, number, count),
                seats=seats,
                wake=place.wake,
                leave=place.leave,
                max_requests=-(-max_requests // count),
                **options,
            )
            place.engine.add_reader(place.calls.fd, place.calls.make)
            place.thread = threading.Thread(
                target=self._run, args=(place,), name=f"fastwsgi-loop-{number}", daemon=True
            )

    @property
    def requests(self) -> int:
        """Requests answered."""
        return sum(place.engine.requests for place in self._places)

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` in the main thread whenever `fd` is readable."""
        self._readers[fd] = callback

    def stop(self) -> None:
        """Make run() return, at the latest after a second."""
        self._is_stopped = True

    def disown(self) -> None:
        """Let go of all descriptors, in a process that the app has forked."""
        for place in self._places:
            place.engine.disown()
            place.close()

    def shutdown(self, timeout: float) -> None:
        """Stop gracefully: run() returns when all is answered, or after `timeout` seconds."""
        for place in self._places:
            place.calls.post(functools.partial(place.shut_down, timeout))

    def run(self) -> None:
        """Serve until stopped."""
        poll = select.poll()
        for fd in self._readers:
            poll.register(fd, select.POLLIN)
        now = time.monotonic()
        for place in self._places:
            place.beat(now)
            place.thread.start()
        while not self._is_stopped and not all(place.has_ended() for place in self._places):
            self._turn(poll)
        for place in self._places:
            place.calls.post(place.engine.stop)
        end = time.monotonic() + _ENDS_IN
        for place in self._places:
            place.thread.join(max(0.0, end - time.monotonic()))
            if not place.thread.is_alive():
                place.close()
        if self._error is not None:
            raise self._error

    def _turn(self, poll: select.poll) -> None:
        for fd, _ in poll.poll(BEAT * 1000):
            self._readers[fd]()
        # The loop that has shown no life for longest: its clients wait, whatever the others do.
        self._heartbeat(min(time.monotonic(), *(place.last_beat for place in self._places)))

    def _run(self, place: _Place) -> None:
        try:
            place.engine.run()
        except BaseException as error:
            self._error = error
            self._is_stopped = True  # the others cannot go on for it: what it has accepted is lost
        finally:
            place.beat(NEVER)
