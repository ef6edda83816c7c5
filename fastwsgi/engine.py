"""From bytes that have come to answers: what the loop does with its connections.

One way through: read, `Connection.receive`, `Response.run`, send. The app is called inline, by the thread
that has read its request.

What cannot be served at once waits for the app: see waiting.py.
"""

from __future__ import annotations

import errno
import functools
from typing import TYPE_CHECKING, Any

from . import offspring, stream
from .handover import ClientSocket
from .overdue import Overdue
from .response import Response
from .states import ANY_NUMBER, DONE, EXHAUSTED, HANGUP, NEVER, PULLING, QUICK, READ, SLICE, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .channel import Channel
    from .config.settings import Config
    from .connection import Connection
    from .errors import HTTPError
    from .hooks.observer import Observer
    from .processes.sockets import Listener
    from .request import Request

__all__ = ["Engine"]

_FORGETS = 0.95  # share of the app's longest time that the next request leaves of it
_GIVES_UP = 0.1  # seconds; a client that ends its side so long after its request does not wait for the answer
_LAST_WORDS = 2.0  # seconds in which an app that has returned may still answer a client's Close, and
_SOON = 0.0001  # seconds; a piece that comes so soon after the one before may be followed by another
_LAST_WORDS_STEP = 0.05  # seconds after which it is looked at again
_SHAKES_FOR = 0.002  # seconds of a batch after which handshakes of TLS are left to the next
_SENT_TOGETHER = 65536  # bytes, and
_PIECES_TOGETHER = 64  # pieces of pipelined answers that may gather


class Engine(Overdue):
    """The loop with an app."""

    def __init__(
        self,
        app: Callable[..., Any],
        listeners: Sequence[Listener],
        cfg: Config,
        *,
        max_requests: int = 0,
        observer: Observer | None = None,
        **options: Any,
    ) -> None:
        """Prepare to serve `app`; the other arguments are the loop's and the queue's.

        The heart beats at once after `max_requests`; `observer` calls the hooks of requests, if any is set.
        """
        super().__init__(listeners, cfg, **options)
        self.requests = 0
        self._app = app if observer is None else observer.around(app)
        self._observer = observer
        self._shaken = self._shaken_in = 0.0  # seconds of handshakes, and the batch that is
        self._has_warned = False  # of WebSockets without threads
        self._last_request = max_requests or -1
        for acceptor in self._reception.acceptors:
            acceptor.endpoint.transmit = self._transmit
            acceptor.endpoint.complain = self._complain
            acceptor.endpoint.heartbeat = self._heartbeat if self._threads == 1 else self._seats.heartbeat

    # Events of a connection.

    def _on_channel(self, channel: Channel, events: int) -> None:
        if channel.running or channel.waits:
            self._meanwhile(channel, events)
            return
        channel.runner = self._runner
        if channel.lingers:
            if not channel.discard():
                self._drop(channel)
        elif events & WRITE:
            self._resume(channel)
        elif events & READ:
            self._read(channel)
        elif events & HANGUP:
            self._drop(channel)

    def _on_deadline(self, channel: Channel) -> None:
        if channel.fd < 0 or channel.running or channel.waits or channel.deadline != NEVER:
            return
        channel.runner = self._runner
        if channel.handover is not None:
            self._see_off(channel)
        elif channel.lingers or channel.interest & WRITE:
            self._drop(channel)
        elif not channel.connection.is_busy():
            channel.connection.time_out()
            self._finish(channel)

    def _read(self, channel: Channel) -> None:
        connection = channel.connection
        if connection.is_streaming():
            channel.wait_for(channel.interest & ~READ)
            return
        tunnel = channel.tunnel
        try:
            is_known = tunnel is None or tunnel.established
            data = channel.receive() if is_known else self._shake_hands(channel)
        except OSError:
            self._drop(channel)
            return
        except MemoryError:
            if connection.is_busy():
                raise
            connection.starve()
            self._finish(channel)
            return
        if data is None:
            if (not channel.owes() or self._flush(channel)) and (
                not channel.is_registered() or connection.is_closing()
            ):
                self._settle(channel)
            return
        if data:
            request = connection.receive(data, self._now)
        else:
            connection.end_of_stream()
            request = None
        if request is not None:
            if self._pace < QUICK and not self._waiting and self._seats.has_room():
                self._serve(channel, request)
            else:
                self._enqueue(channel, request, self._max_queue)
        elif connection.is_busy() or channel.interest & WRITE:
            if not connection.wants_more():
                channel.wait_for(channel.interest & ~READ)
        else:
            self._finish(channel)

    def _shake_hands(self, channel: Channel) -> bytes | None:
        """Receive from a client that shakes hands, unless others have done so for long enough in this batch.

        Otherwise it is reported again with the next one, which has what clients already known have sent.
        """
        if self._shaken_in != self._polled:
            self._shaken_in = self._polled
            self._shaken = 0.0
        if self._shaken > _SHAKES_FOR:
            return None
        if self._held:
            self._send_held()
        began = self._io.monotonic()
        try:
            return channel.receive()
        finally:
            self._shaken += self._io.monotonic() - began

    def _meanwhile(self, channel: Channel, events: int) -> None:
        """Note what a client does while its request is in the app, or waits for it."""
        connection = channel.connection
        interest = channel.interest & ~WRITE  # it is sent to when the app has returned
        if events & READ and connection.is_streaming():
            interest &= ~READ  # the app reads
        elif events & READ:
            try:
                data = channel.receive()
            except OSError:
                channel.broken = True
            else:
                if data:
                    connection.receive(data, self._now)
                elif data is not None:
                    connection.end_of_stream()
                    # Sooner, it has only said that this was its last request.
                    if channel.waits and self._looked - channel.arrived > _GIVES_UP:
                        channel.broken = True
            if not connection.wants_more():
                interest &= ~READ
        elif not events & WRITE:
            channel.broken = True
        if channel.broken:
            channel.forget()
        else:
            channel.wait_for(interest)

    def _resume(self, channel: Channel) -> None:
        channel.runner = self._runner
        if not self._flush(channel):
            return
        response = channel.response
        if response is None:
            request = channel.connection.next_request(self._now)
            if request is None:
                self._finish(channel)
            elif self._seats.has_room():
                self._serve(channel, request)
            else:
                self._enqueue(channel, request, self._max_queue)
        elif self._seats.has_room():
            self._go_on(channel, response)
        else:
            self._wait_for_app(channel, ANY_NUMBER)

    # Answering.

    def _begin(self, channel: Channel, request: Request) -> Response:
        response = Response.__new__(Response)
        response.begin(
            channel.endpoint,
            request,
            channel.connection.out,
            channel,
            channel.runner.context,
        )
        channel.response = response
        channel.started = self._now
        channel.sends_before = channel.sends
        if channel.connection.is_streaming():
            stream.attach(channel, request)
        elif request.upgrade:
            self._offer(channel, request)
        return response

    def _serve(self, channel: Channel, request: Request | None) -> None:
        """Have `request` answered, and those that came behind it."""
        began = self._now
        while request is not None:
            response = self._begin(channel, request)
            self._step_down(channel, response)
            response.run(self._app)
            self._step_up(channel)
            if channel.is_given():
                self._part(channel, response)
                return
            if channel.expired is not None:
                self._come_late(channel, response)
                return
            if response.state != DONE and not self._drive(channel, response):
                # It keeps what its app has left in the context; the next request must not see that.
                channel.runner.renew_context()
                return
            request = self._next(channel, response, began)
        self._finish(channel)

    def _go_on(self, channel: Channel, response: Response) -> None:
        """Pull more of a response, since the client has taken what was pulled before."""
        channel.resumed = self._now
        if self._drive(channel, response):
            self._serve(channel, self._next(channel, response, self._now))

    def _next(self, channel: Channel, response: Response, began: float) -> Request | None:
        """Complete `response`; return the next request if it came ahead of its turn, and has its turn now."""
        if self._observer is not None:
            channel.send()  # the client need not wait for a hook
        self._complete(channel, response)
        if self._observer is not None and channel.expired is not None:
            self._drop(channel)  # the hook has taken longer than a request may
            return None
        self._pace = max(self._now - max(channel.started, channel.resumed), self._pace * _FORGETS)
        connection = channel.connection
        if not response.keep_alive:
            connection.close()
            return None
        if connection.is_streaming() and response.request.stream.error is None:
            channel.skip_body(response.request)  # where a body that has failed would end, nobody knows
        if connection.ahead():
            is_long = self._now - began > SLICE
            if (is_long or not self._may_gather(connection)) and not self._flush(channel):
                return None
            if is_long and self._leads(channel):
                self._postpone(channel)
                return None
        return connection.next_request(self._now)

    def _may_gather(self, connection: Connection) -> bool:
        """Return whether an answer may wait for that to the pipelined request behind it."""
        return (
            self._pace < QUICK
            and len(connection.out) < _PIECES_TOGETHER
            and connection.pending() < _SENT_TOGETHER
        )

    def _drive(self, channel: Channel, response: Response) -> bool:
        """Pull a response from the app as far as the client takes it; return whether it is complete."""
        began = before = self._io.monotonic()
        is_first = not response.head_sent
        while response.state != DONE:
            if response.state == PULLING:
                self._step_down(channel, response)
                is_more = response.pull()
                self._step_up(channel)
                if channel.is_given():
                    self._part(channel, response)
                    return False
                if channel.expired is not None:
                    break
                if not is_more:
                    channel.take_back()
                    continue
                if is_first and response.has_all():
                    continue  # most have ended by that, and need one send
                is_first = False
                now = self._io.monotonic()
                is_long = now - began > SLICE
                if not is_long and now - before < _SOON and channel.hold():
                    before = now
                    continue
                if not self._flush(channel):
                    return False
                before = self._io.monotonic()
                if before - began > SLICE and self._leads(channel):
                    self._postpone(channel)
                    return False
            else:
                # A client need not wait for a slow close(), and a file is sent before it is closed.
                may_hold = response.state == EXHAUSTED and self._leads(channel) and self._may_hold()
                if not may_hold and not self._flush(channel):
                    return False
                self._step_down(channel, response)
                response.finish()
                self._step_up(channel)
        if channel.expired is not None:
            self._come_late(channel, response)
            return False
        return True

    def _step_down(self, channel: Channel, response: Response) -> None:
        """Show what the app is called for, and let another thread go on with the loop meanwhile."""
        runner = channel.runner
        request = response.request
        self._places.enter(runner.number, self._now, request.method, request.target)
        if self._crew is not None:
            runner.stamp(self._date)
            response.serializer = runner.serializer
            runner.job = channel
            runner.since = self._now
            channel.running = True
            # What was abandoned is only closed, and that cannot wait: this thread may be all that leads.
            turn = self._seats.take(self._now, channel.response is not None)
            self._crew.step_down(runner.number)
            if turn is not None:
                turn.acquire()
                runner.since = self._io.monotonic()
                self._places.enter(runner.number, runner.since, request.method, request.target)

    def _step_up(self, channel: Channel) -> None:
        """Come back from the app: to lead if nobody does."""
        if self._is_fork:
            response = channel.response
            offspring.leave(self._error_log, None if response is None else response.failure)
        runner = channel.runner
        self._places.leave(runner.number)
        if self._crew is not None:
            self._crew.step_up(runner.number)
            runner.relieves = self._seats.are_scarce()
            self._seats.give_back(self._wake)
            if self._crew.leader == runner.number:
                self._runner = runner
            runner.job = None
            channel.running = False
            self._current = channel

    def _leads(self, channel: Channel) -> bool:
        """Return whether the thread that handles `channel` leads."""
        return self._crew is None or self._crew.leader == channel.runner.number

    def _postpone(self, channel: Channel) -> None:
        """Let the others have their turn before this channel goes on."""
        # Not for WRITE, which would bring it here a second time.
        channel.wait_for(READ if channel.connection.wants_more() else 0)
        channel.deadline = NEVER
        self._runnable.append(channel)

    def _finish(self, channel: Channel) -> None:
        """Send what is in `out`, now or with others of the batch, and settle."""
        # It has gone, or waits for WRITE before its next request.
        if channel.fd < 0 or channel.connection.is_busy():
            return
        if channel.connection.out:
            if self._leads(channel) and self._may_hold():
                self._hold(channel)
                return
            if not self._flush(channel):
                return
        elif channel.tunnel is not None and channel.connection.is_closing() and not self._flush(channel):
            return  # there is no room for the farewell yet
        self._settle(channel)

    def _abandon(self, channel: Channel) -> None:
        response: Any = channel.response
        channel.response = None
        self._step_down(channel, response)
        response.abandon()
        self._step_up(channel)
        self._complete(channel, response)

    def _complete(self, channel: Channel, response: Response) -> None:
        """Count and log a response that is complete."""
        now = self._io.monotonic()
        self._now = now
        self.requests += 1
        if self.requests == self._last_request:
            self._next_beat = now
        channel.response = None
        if channel.handover is not None and not channel.is_given():
            channel.handover.withdraw()
            channel.handover = None
        if response.failure is not None or response.complaint:
            response.report(self._error_log, channel.broken)
        if channel.endpoint.log is not None:
            try:
                channel.log(response, now)
            except MemoryError:
                pass  # which costs a line, and not the answer
        if response.view is not None:
            self._show(channel, response)

    def _show(self, channel: Channel, response: Response) -> None:
        """Have a hook called with a response that is complete: as the app is, since it may take its time."""
        observer: Any = self._observer
        self._step_down(channel, response)
        response.show(observer.complete)
        self._step_up(channel)
        self._now = self._io.monotonic()

    def _complain(self, peer: str, error: HTTPError) -> None:
        """Say why a request is refused. Anybody can have requests refused, so it is for who asks for it."""
        self._error_log.debug("Refused %s with %d: %s", peer or "a client", error.status, error.detail)

    def _transmit(self, owner: object) -> None:
        """Send what write() has put out; raises BrokenPipeError if the client has gone."""
        channel: Any = owner
        if channel.is_given():
            channel.connection.out.clear()
        with channel.runner.gate:
            if not channel.send_through():
                raise BrokenPipeError(errno.EPIPE, "the client has gone")

    def _early_hints(self, fields: Any) -> None:
        runner = getattr(self._own, "runner", None)
        if runner is None:
            return  # a thread of the app's own; whose request it means cannot be known
        channel: Any = self._current if self._crew is None else runner.job
        if channel is not None and channel.response is not None:
            channel.response.hint(fields)

    # Connections that the app takes over.

    def _offer(self, channel: Channel, request: Request) -> None:
        """Let the app take the connection over, from a thread that it can keep."""
        # Of a body, nobody could tell what the app has read and what would look like a frame.
        if self._crew is not None and request.content_length == 0:
            channel.handover = ClientSocket(functools.partial(self._give, channel, request), channel.tunnel)
            request.environ["gunicorn.socket"] = channel.handover
        elif not self._has_warned and request.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            self._has_warned = True
            self._error_log.warning("WebSockets need --threads of 2 or more, or -k gevent")

    def _give(self, channel: Channel, request: Request) -> tuple[int, bytes]:
        """Give the connection to the app, which runs; return a descriptor for it, and what was read ahead."""
        crew: Any = self._crew
        with channel.runner.gate:
            if self._answers(channel, request):
                channel.send_through(0)
        crew.take()
        try:
            if channel.broken:
                raise BrokenPipeError(errno.EPIPE, "the client has gone")
            if not self._answers(channel, request):  # a thread of the app's own has come too late
                raise OSError(errno.ENOTCONN, "the request of this connection is over")
            self._seats.keep(1)
            return channel.give()
        finally:
            crew.leave()

    def _answers(self, channel: Channel, request: Request) -> bool:
        """Return whether the response that is in the making is that to `request`."""
        return channel.response is not None and channel.response.request is request

    def _part(self, channel: Channel, response: Response) -> None:
        """Be done with a request whose app has taken the connection."""
        self._step_down(channel, response)
        response.switch()
        self._step_up(channel)
        self._seats.keep(-1)
        self._complete(channel, response)
        handover: Any = channel.handover
        handover.ends_at = self._now + _LAST_WORDS
        self._see_off(channel)

    def _see_off(self, channel: Channel) -> None:
        """Let threads of the app end what they are doing with the connection, for a moment; then end it."""
        handover: Any = channel.handover
        if handover.closed or self._now >= handover.ends_at:
            self._drop(channel)
        else:
            self._deadlines.schedule(channel, self._now + _LAST_WORDS_STEP)
