"""Requests that wait for the app: in order, for a time that is known, and not without a bound.

While the app is slow, what is ready is read first, and served in the order in which it came: so the time
that a request has waited is known, `queue_timeout` and `max_queue` mean what they say, and a request whose
client has given up meanwhile is not run. While the app is quick that would cost more than it tells, and a
request is run when it is read, if none waits. It waits also if as many threads as may are in the app.

A thread that comes back from the app while another leads the loop sends its answer and rests. It takes the
next request that waits only if all threads were in the app: the one that leads may be asleep then.

Also what is to be done about a request on which the server itself fails. How requests are answered is the
engine's part (engine.py).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .errors import is_of_foreign_hands
from .loop import Loop
from .response import error_page
from .states import ANY_NUMBER, NEVER, QUICK, READ, SLICE
from .wsgi import overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .channel import Channel
    from .config.settings import Config
    from .processes.sockets import Listener
    from .request import Request
    from .response import Response
    from .runner import Runner

__all__ = ["Waiting"]

_SLEEP = 0.001  # seconds; a look for events that takes longer has found none at first
# Turns in a row that fail for want of memory, before the worker gives way to another.
_MOST_FAILURES = 100


class Waiting(Loop):
    """The loop with a queue for the app. The engine derives from it."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        cfg: Config,
        *,
        wake: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        """Begin with an empty queue; `wake` is how the seats know this loop, the others are the loop's."""
        super().__init__(listeners, cfg, **options)
        self._waiting: deque[Channel] = deque()
        self._wake: Any = wake
        self._max_queue = cfg.max_queue or ANY_NUMBER
        self._queue_timeout = cfg.queue_timeout or NEVER
        self._looked = 0.0  # who waits for the app and is seen to hang up has not done so before

    # What the engine does.

    def _begin(self, channel: Channel, request: Request) -> Response:
        """Begin the response to a request."""
        raise NotImplementedError

    def _serve(self, channel: Channel, request: Request | None) -> None:
        """Have a request answered."""
        raise NotImplementedError

    def _go_on(self, channel: Channel, response: Response) -> None:
        """Go on with a response."""
        raise NotImplementedError

    def _complete(self, channel: Channel, response: Response) -> None:
        """Be done with a response."""
        raise NotImplementedError

    def _finish(self, channel: Channel) -> None:
        """Send what there is to send, and settle."""
        raise NotImplementedError

    # The queue.

    def _wait(self) -> None:
        if not self._waiting:
            Loop._wait(self)  # noqa: SLF001 - a method of C knows no super()
            return
        before, may_sleep = self._polled, not self._seats.has_room()
        began = self._io.monotonic() if may_sleep else NEVER
        Loop._wait(self)  # noqa: SLF001 - see above
        # What ends a sleep has come just then. Without one, it may have come while the app was called.
        self._looked = self._polled if self._polled - began > _SLEEP else before

    def _has_work(self) -> bool:
        return bool(self._waiting) and (self._seats.is_next(self._wake) or self._is_overdue(self._waiting[0]))

    def _is_overdue(self, channel: Channel) -> bool:
        """Return whether a request has waited for longer than its answer is worth."""
        return channel.request is not None and self._now - channel.arrived > self._queue_timeout

    def _enqueue(self, channel: Channel, request: Request, limit: int) -> None:
        """Let a request wait for its turn, or refuse it if `limit` others do."""
        channel.arrived = self._now
        channel.request = request
        if not self._wait_for_app(channel, limit):
            self._refuse(channel)

    def _wait_for_app(self, channel: Channel, limit: int) -> bool:
        """Put a channel into the queue; return False if `limit` others are in it."""
        if not self._seats.line_up(self._wake, limit):
            return False
        channel.waits = True
        self._waiting.append(channel)
        channel.wait_for(READ if channel.connection.wants_more() else 0)
        # The loop wakes then, and sees that it is overdue.
        self._deadlines.schedule(channel, self._now + self._queue_timeout)
        return True

    def _serve_waiting(self, me: Runner) -> None:
        while self._has_work() and (me.relieves or not self._has_lost(me)):
            channel = self._waiting.popleft()
            self._seats.leave_queue(self._wake)
            self._current = channel
            channel.waits = False
            channel.runner = me
            request = channel.request
            response = channel.response
            if channel.broken:
                self._drop(channel)
                self._seats.pass_on(self._wake)
            elif response is not None:
                self._go_on(channel, response)
            elif self._is_overdue(channel):
                self._refuse(channel)
                self._seats.pass_on(self._wake)
            else:
                channel.request = None
                self._serve(channel, request)
            longest = QUICK if self._pace > QUICK else SLICE
            if self._has_ended() or (not self._has_lost(me) and self._now - self._polled > longest):
                return  # who leads looks for events in between

    def _refuse(self, channel: Channel) -> None:
        """Answer a request that cannot be served in time with 503; the connection stays."""
        refused: Any = channel.request
        channel.request = None
        response = self._begin(channel, refused)
        response.run(overloaded)
        self._complete(channel, response)
        connection = channel.connection
        if not response.keep_alive:
            connection.close()
        elif connection.ahead():
            if self._flush(channel):
                request = connection.next_request(self._now)
                if request is not None:
                    self._enqueue(channel, request, ANY_NUMBER)
                    return
        else:
            connection.next_request(self._now)
        self._finish(channel)

    # Errors of our own.

    def _contain(self, error: Exception, failures: int) -> bool:
        """Give up the connection at which the server itself failed; return whether the loop can go on.

        Nothing else is lost: what is ready is reported again, and what waits in lists stays in them. A lack
        of memory may be met at no connection, and pass.
        """
        channel = self._current
        self._current = None
        if is_of_foreign_hands(error):
            return False  # what is sent from now on might go to somebody else
        if channel is None:
            return type(error) is MemoryError and failures < _MOST_FAILURES
        response = channel.response
        try:
            self._error_log.exception("Error in the server itself; a connection is given up")
            if not channel.running:
                self._apologise(channel, response)
        except Exception:  # noqa: S110 - then without a word
            pass
        channel.broken = True
        if channel.running:
            channel.forget()
            return True
        channel.response = None
        if response is not None:
            response.abandon()
        self._drop(channel)
        return True

    def _apologise(self, channel: Channel, response: Response | None) -> None:
        """Send 500 in place of a response that has not begun, behind those that are complete.

        One that has begun is cut off: how much of it was sent when that failed, nobody knows.
        """
        out = channel.connection.out
        is_head = False
        if response is None:
            if out or not channel.connection.is_busy():
                return
        elif response.head_sent:
            return
        else:
            is_head = response.request.is_head
        out.append(error_page(self._serializer, 500, is_head=is_head))
        channel.send()

    def _last_progress(self) -> float:
        if not self._waiting or self._seats.has_room():
            return self._now
        return self._seats.last_return(self.runners, self._now)  # if it stays so, the worker hangs
