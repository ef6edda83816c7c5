"""Requests that are in the app for longer than `request_timeout`: answered 504 while their threads go on.

Whoever leads looks at the threads with each beat of the loop, so a request costs nothing by it. A thread
cannot be interrupted, so its connection is taken from it: the client is told, the stack of the thread is
logged, and what it answers in the end goes nowhere. What is limited is one stay in the app: that of a stream
that goes on, or of a thread that waits for its client, begins anew with each piece. If a thread stays for as
long again, or all do, the worker asks to be replaced.

Invariant: a connection is taken with the loop's lock and the thread's gate, so not while it sends or reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .processes.in_flight import Stay
from .response import error_page
from .states import BEAT, DONE, NEVER
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .channel import Channel
    from .config.settings import Config
    from .processes.sockets import Listener
    from .response import Response
    from .runner import Runner

__all__ = ["Overdue"]

_GRACE = 2 * BEAT  # seconds for an answer that is complete; its thread is about to bring it
_AGAIN = 2.0  # request_timeouts after which a thread is given up


class Overdue(Waiting):
    """The loop with an eye on the app. The engine derives from it."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        cfg: Config,
        *,
        worn: Callable[[str], None] | None = None,
        **options: Any,
    ) -> None:
        """Begin; `worn` is called with the reason when the worker should be replaced."""
        super().__init__(listeners, cfg, **options)
        self._request_timeout = cfg.request_timeout or NEVER
        self._worn: Any = worn

    def is_main_thread_lost(self) -> bool:
        """Return whether run() cannot return, since its thread is in a request that was answered for it."""
        channel = self.runners[0].job
        return channel is not None and channel.expired is not None

    def _beat(self) -> None:
        if self._request_timeout < NEVER:
            self._look_after_app()
        Waiting._beat(self)  # noqa: SLF001 - super() knows only methods of Python

    def _look_after_app(self) -> None:
        """End what has been in the app for too long."""
        lost = 0
        for runner in self.runners:
            channel: Any = runner.job
            if channel is None or runner.is_parted():
                continue
            age = self._now - runner.since
            if channel.expired is None and age > self._request_timeout:
                self._expire(channel, runner, age)
            if channel.expired is not None:
                lost += 1
                if age > self._request_timeout * _AGAIN:
                    self._wear(f"thread {runner.place} does not come back from the app")
        if self._seats.are_lost(self._wake, lost):
            self._wear("no thread comes back from the app")
            if self._stopping:
                self._queue_timeout = 0.0  # nobody will serve those that wait

    def _wear(self, why: str) -> None:
        if self._worn is not None:
            self._worn(why)

    def _expire(self, channel: Channel, runner: Runner, age: float) -> None:
        """Answer in place of a thread, unless it is talking with its client, or about to come back."""
        if not runner.gate.acquire(False):
            return
        try:
            response = channel.response
            page = b""
            if response is None or channel.broken:
                pass
            elif response.head_sent:
                if response.state == DONE and age < self._request_timeout + _GRACE:
                    return
            else:
                # RFC 9110 §15.6.5: for the client, the app is the server that did not answer in time.
                page = error_page(self._serializer, 504, is_head=response.request.is_head)
            outcome = "answered 504" if page else "its client has gone" if channel.broken else "cut off"
            channel.expire(page)
        finally:
            runner.gate.release()
        self._channels.discard(channel)  # it is as good as closed
        if response is None:
            request = "the end of a request"
        else:
            request = Stay.name(response.request.method, response.request.target)
            if channel.endpoint.log is not None:
                channel.log_expired(response, self._now)
        stay = Stay(runner.place, runner.identity, runner.since, request)
        text = "Request timeout: %s, %s; the thread is here:\n%s"
        self._error_log.error(text, stay.show(self._now), outcome, runner.find())

    def _come_late(self, channel: Channel, response: Response) -> None:
        """Be done with a request that was over for its client, since its thread has come back at last."""
        name = Stay.name(response.request.method, response.request.target)
        self._error_log.info("Thread %d is back from %s", channel.runner.place, name)
        if channel.expired:
            response.replace(504, channel.expired)
        self._drop(channel)
