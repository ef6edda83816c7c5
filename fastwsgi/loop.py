"""The event loop of one worker: it owns the descriptors, and calls the app inline.

One way through: wait, read, `Connection.receive`, `Response.run`, send. What can be done at once is done
at once; only what the socket does not take waits for the poller. It must not know HTTP.

Interest in a descriptor is changed lazily: a connection is registered for READ once, and a request that
is answered in one go costs no further call. WRITE is added when a send did not take all, READ is dropped
when a client sends too far ahead.

Answers of a batch. Waking a client costs more than answering it, so when several requests are ready the
answers are held back until `_HELD` of them, or the batch, are done, or `_HELD_FOR` has passed. A held
answer must not wait for a slow one: only while the app has been quick of late (`_pace`, the longest of
its recent times, forgotten within some dozens of requests) is anything held.
"""

from __future__ import annotations

import contextvars
import errno
import sys
import time
from typing import TYPE_CHECKING, Any

from . import http11
from ._impl import IO, Serializer
from .acceptor import Acceptor, make_acceptors
from .channel import Channel
from .connection import Connection
from .deadlines import Deadlines, Timed
from .response import Response
from .states import DONE, DRAINED, EXHAUSTED, GONE, HANGUP, NEVER, PULLING, READ, WRITE
from .wsgi import SERVER_SOFTWARE

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from .config import Config
    from .logs import AccessLog
    from .request import Request
    from .sockets import Listener

__all__ = ["Loop"]

_BEAT = 0.5  # seconds between heartbeats
_ACCEPT_BATCH = 16
_ACCEPT_PAUSE = 0.25  # seconds without accepting after descriptors ran out
_HELD = 8
_HELD_FOR = 0.001
_SLICE = 0.01  # seconds for which one generator, or one pipeline, may keep the others waiting
_LINGER = 2.0  # seconds for which a refused client may go on sending before it is cut
_SENT_TOGETHER = 65536  # bytes, and
_PIECES_TOGETHER = 64  # pieces of pipelined answers that may gather
_LAST_CALL = 1.0  # seconds for a next request on an idle connection of a worker that stops
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Loop:
    """The loop; made in the worker, after the fork."""

    def __init__(
        self,
        app: Callable[..., Any],
        listeners: Sequence[Listener],
        cfg: Config,
        *,
        error_log: logging.Logger,
        access_log: AccessLog | None,
        heartbeat: Callable[[float], None],
        multiprocess: bool,
        errors: Any = None,
    ) -> None:
        """Prepare to serve `app` on `listeners`.

        `heartbeat` is called about twice a second with the monotonic time; `multiprocess` tells the app
        whether others serve beside this one; `errors` is `wsgi.errors`, standard error by default.
        """
        self.requests = 0
        self._app = app
        self._error_log = error_log
        self._access_log = access_log
        self._heartbeat = heartbeat
        self._io = IO()
        self._deadlines = Deadlines()
        self._clean_context = contextvars.copy_context()
        self._context = self._clean_context.copy()  # that the app runs in
        self._serializer = Serializer(SERVER_SOFTWARE)
        self._channels: set[Channel] = set()
        self._max_channels = cfg.worker_connections or 1 << 30
        self._backlog = cfg.backlog
        self._held: list[Channel] = []
        self._held_since = 0.0
        self._runnable: list[Channel] = []
        self._due: list[Timed] = []
        self._current: Channel | None = None  # what is being handled; see _contain()
        self._ready = 0
        self._now = self._io.monotonic()
        self._next_beat = 0.0
        self._next_second = 0.0
        self._pace = 0.0
        self._keeps_alive = cfg.keepalive > 0
        self._stopped = False
        self._stopping = False
        self._stop_at = NEVER
        self._accepting = False
        self._accept_again_at = 0.0
        self._acceptors = make_acceptors(
            listeners, cfg, self._serializer, errors=errors or sys.stderr, multiprocess=multiprocess
        )
        for acceptor in self._acceptors:
            acceptor.endpoint.transmit = self._transmit

    # What the worker calls.

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `fd` is readable."""
        self._io.register(fd, callback, READ)

    def stop(self) -> None:
        """Make run() return after the requests that are being answered now."""
        self._stopped = True

    def shutdown(self, timeout: float) -> None:
        """Stop gracefully: run() returns when all is answered, or after `timeout` seconds.

        Connections that wait in the backlog are still taken; answers say `Connection: close`.
        """
        if self._stopping:
            return
        self._stopping = True
        self._keeps_alive = False
        self._stop_at = self._now + timeout
        for acceptor in self._acceptors:
            for _ in range(self._backlog // _ACCEPT_BATCH + 1):
                if not self._accept(acceptor):
                    break
        self._stop_accepting()
        last_call = self._now + _LAST_CALL
        for channel in self._channels:
            if channel.response is None and last_call < channel.deadline:
                self._deadlines.schedule(channel, last_call)

    def run(self) -> None:
        """Serve until stopped."""
        self._start_accepting()
        try:
            while not self._stopped:
                try:
                    self._turn()
                except Exception:
                    if not self._contain():
                        raise
                if self._stopping and (not self._channels or self._now >= self._stop_at):
                    break
        finally:
            self._stop_accepting()
            for channel in list(self._channels):
                self._drop(channel)
            if self._access_log is not None:
                self._access_log.flush()

    def _contain(self) -> bool:
        """Give up the connection at which the server itself failed; return whether it was at one.

        Nothing else is lost: what is ready is reported again, and what waits in lists stays in them.
        """
        channel = self._current
        self._current = None
        if channel is None:
            return False
        self._error_log.exception("Error in the server itself; a connection is given up")
        response = channel.response
        channel.response = None
        if response is not None:
            response.abandon()
        self._drop(channel)
        return True

    def _turn(self) -> None:
        """Wait once, and handle all that is ready."""
        io = self._io
        self._current = None
        timeout = 0.0 if self._runnable else self._deadlines.wait(self._now, _BEAT)
        count = io.wait(timeout)
        self._now = io.monotonic()
        if self._now >= self._next_beat:
            self._beat()
        self._ready = count
        for index in range(count):
            handler: Any = io.handler(index)
            if type(handler) is Channel:
                self._current = handler
                self._on_channel(handler, io.events(index))
            elif type(handler) is Acceptor:
                self._accept(handler)
            elif handler is not None:
                self._current = None
                handler()
        if self._runnable:
            self._run_again()
        if self._held:
            self._send_held()
        if self._deadlines.is_due(self._now):
            self._due += self._deadlines.expire(self._now)
        while self._due:
            self._on_deadline(self._due.pop())
        self._current = None
        if self._access_log is not None:
            self._access_log.flush()

    def _beat(self) -> None:
        now = self._now
        self._next_beat = now + _BEAT
        self._heartbeat(now)
        if now >= self._next_second:
            wall = time.time()
            self._next_second = now + 1.0 - wall % 1.0
            self._next_beat = min(self._next_beat, self._next_second)
            self._serializer.stamp(http11.http_date(time.gmtime(wall)))
        if not self._accepting and not self._stopping and now >= self._accept_again_at:
            self._start_accepting()

    # Accepting.

    def _start_accepting(self) -> None:
        if not self._accepting and len(self._channels) < self._max_channels:
            self._accepting = True
            for acceptor in self._acceptors:
                self._io.register_listener(acceptor.fd, acceptor)

    def _stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            for acceptor in self._acceptors:
                self._io.unregister(acceptor.fd)

    def _accept(self, acceptor: Acceptor) -> bool:
        """Take some connections and read from each at once; return whether more may be waiting."""
        io = self._io
        self._current = None
        for _ in range(_ACCEPT_BATCH):
            if len(self._channels) >= self._max_channels:
                self._stop_accepting()
                return False
            try:
                fd = io.accept(acceptor.fd)
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                # The connection stays in the backlog and would be reported without end.
                self._error_log.warning("cannot accept connections for now: %s", error.strerror)
                self._stop_accepting()
                self._accept_again_at = self._now + _ACCEPT_PAUSE
                return False
            if fd < 0:
                return False
            connection = Connection(acceptor.endpoint, io.peer_addr, io.peer_port, self._now)
            channel = Channel(io, fd, acceptor.endpoint, connection)
            self._channels.add(channel)
            self._current = channel
            self._read(channel)
        return True

    # Events of a connection.

    def _on_channel(self, channel: Channel, events: int) -> None:
        if channel.lingers:
            if not channel.discard():
                self._drop(channel)
        elif events & WRITE:
            self._resume(channel)
        elif events & READ:
            self._read(channel)
        elif events & HANGUP:
            self._drop(channel)

    def _on_deadline(self, item: Timed) -> None:
        channel: Any = item
        self._current = channel
        if channel.fd < 0 or channel.deadline != NEVER:
            return  # it was handled otherwise since it fell due
        if channel.lingers or channel.interest & WRITE:
            self._drop(channel)
        elif not channel.connection.is_busy():
            channel.connection.time_out()
            self._finish(channel)

    def _read(self, channel: Channel) -> None:
        connection = channel.connection
        try:
            data = self._io.recv(channel.fd)
        except OSError:
            self._drop(channel)
            return
        if data is None:
            if not channel.is_registered():
                self._settle(channel)
            return
        if data:
            request = connection.receive(data, self._now)
        else:
            connection.end_of_stream()
            request = None
        if request is not None:
            self._serve(channel, request)
        elif connection.is_busy() or channel.interest & WRITE:
            if not connection.wants_more():
                channel.wait_for(channel.interest & ~READ)
        else:
            self._finish(channel)

    def _resume(self, channel: Channel) -> None:
        """Go on with a channel whose socket takes bytes again."""
        if not self._flush(channel):
            return
        response = channel.response
        if response is None:
            self._serve(channel, channel.connection.next_request(self._now))
        elif self._drive(channel, response):
            self._serve(channel, self._next(channel, response, self._now))

    # Answering.

    def _serve(self, channel: Channel, request: Request | None) -> None:
        """Have `request` answered, and those that came behind it."""
        began = self._now
        while request is not None:
            response = Response.__new__(Response)
            response.begin(
                channel.endpoint, request, channel.connection.out, channel, self._keeps_alive, self._context
            )
            channel.response = response
            channel.started = self._now
            response.run(self._app)
            if response.state != DONE and not self._drive(channel, response):
                # It keeps what its app has left in the context; the next request must not see that.
                self._context = self._clean_context.copy()
                return
            request = self._next(channel, response, began)
        self._finish(channel)

    def _next(self, channel: Channel, response: Response, began: float) -> Request | None:
        """Complete `response`; return the next request if it came ahead of its turn, and has its turn now."""
        self._complete(channel, response)
        connection = channel.connection
        if not response.keep_alive:
            connection.close()
            return None
        if connection.ahead():
            is_long = self._now - began > _SLICE
            if (is_long or not self._may_gather(connection)) and not self._flush(channel):
                return None
            if is_long:
                self._postpone(channel)
                return None
        return connection.next_request(self._now)

    def _may_gather(self, connection: Connection) -> bool:
        """Return whether an answer may wait for that to the pipelined request behind it."""
        return (
            self._pace < _HELD_FOR
            and len(connection.out) < _PIECES_TOGETHER
            and connection.pending() < _SENT_TOGETHER
        )

    def _drive(self, channel: Channel, response: Response) -> bool:
        """Pull a response from the app as far as the client takes it; return whether it is complete."""
        began = self._io.monotonic()
        while response.state != DONE:
            if response.state == PULLING:
                if not response.pull() or response.has_all():
                    continue
                if not self._flush(channel):
                    return False
                if self._io.monotonic() - began > _SLICE:
                    self._postpone(channel)
                    return False
            elif response.state == EXHAUSTED and self._ready > 1 and self._pace < _HELD_FOR:
                response.finish()
            else:
                # A client need not wait for a slow close(), and a file is sent before it is closed.
                if not self._flush(channel):
                    return False
                response.finish()
        return True

    def _postpone(self, channel: Channel) -> None:
        """Let the others have their turn before this channel goes on."""
        # Not for WRITE, which would bring it here a second time.
        channel.wait_for(READ if channel.connection.wants_more() else 0)
        channel.deadline = NEVER
        self._runnable.append(channel)

    def _run_again(self) -> None:
        for _ in range(len(self._runnable)):
            channel = self._runnable.pop(0)
            self._current = channel
            if channel.fd >= 0:
                self._resume(channel)

    def _complete(self, channel: Channel, response: Response) -> None:
        """Count, time and log a response that is complete."""
        now = self._io.monotonic()
        self._now = now
        taken = now - channel.started
        self._pace = max(taken, self._pace * 0.95)
        self.requests += 1
        channel.response = None
        if response.failure is not None or response.complaint:
            self._report(channel, response)
            response.failure = None  # its traceback holds the app's frame, and that start_response: a cycle
        if self._access_log is not None:
            self._access_log.log(
                response.request.environ, response.status, response.headers, response.body_size, taken
            )

    def _report(self, channel: Channel, response: Response) -> None:
        environ = response.request.environ
        what = f"{environ.get('REQUEST_METHOD')} {environ.get('RAW_URI')}"  # the app may have emptied it
        if response.complaint:
            self._error_log.warning("%s: %s", what, response.complaint)
        if response.failure is not None and not channel.broken:
            self._error_log.error("Error handling request %s", what, exc_info=response.failure)

    def _transmit(self, owner: object) -> None:
        """Send what write() has put out; raises BrokenPipeError if the client has gone."""
        channel: Any = owner
        if not channel.send_through(self._heartbeat):
            raise BrokenPipeError(errno.EPIPE, "the client has gone")

    # Sending.

    def _finish(self, channel: Channel) -> None:
        """Send what is in `out`, now or with others of the batch, and settle."""
        # It has gone, or waits for WRITE before its next request.
        if channel.fd < 0 or channel.connection.is_busy():
            return
        if channel.connection.out:
            if self._ready > 1 and self._pace < _HELD_FOR:
                if not self._held:
                    self._held_since = self._now
                self._held.append(channel)
                if len(self._held) >= _HELD or self._now - self._held_since > _HELD_FOR:
                    self._send_held()
                return
            if not self._flush(channel):
                return
        self._settle(channel)

    def _send_held(self) -> None:
        current = self._current
        while self._held:
            channel = self._held.pop(0)
            self._current = channel
            if channel.fd >= 0 and self._flush(channel):
                self._settle(channel)
        self._current = current

    def _settle(self, channel: Channel) -> None:
        """Wait for the next event of a channel that has nothing to send, or close it."""
        connection = channel.connection
        if not connection.is_closing():
            channel.wait_for(READ)
            self._deadlines.schedule(channel, connection.deadline)
        elif connection.unread and not connection.ended:
            # RFC 9112 §9.6: closing with unread input resets the connection, and the answer is lost.
            channel.linger()
            self._deadlines.schedule(channel, self._now + _LINGER)
        else:
            self._drop(channel)

    def _flush(self, channel: Channel) -> bool:
        """Send all of `out`; if the socket does not take it, wait for WRITE, and return False."""
        outcome = channel.send()
        if outcome == DRAINED:
            return True
        if outcome == GONE:
            self._drop(channel)
        else:
            channel.wait_for(WRITE | READ if channel.connection.wants_more() else WRITE)
            timeout = channel.endpoint.write_timeout
            self._deadlines.schedule(channel, self._now + timeout if timeout else NEVER)
        return False

    def _drop(self, channel: Channel) -> None:
        """Close a channel, whatever it was doing."""
        if channel.fd < 0:
            return
        response = channel.response
        if response is not None:
            response.abandon()
            self._complete(channel, response)
        self._deadlines.cancel(channel)
        channel.close()
        channel.connection.close()
        self._channels.discard(channel)
        if not self._accepting and not self._stopping and self._now >= self._accept_again_at:
            self._start_accepting()
