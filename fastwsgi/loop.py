"""The event loop of one worker: it owns the descriptors and the time, waits, accepts, sends and closes.

What is done with bytes that have come, and what there is to send, is the engine's part (engine.py). The loop
must not know HTTP. What can be done at once is; only what the socket does not take waits for the poller.

Interest in a descriptor is changed lazily: a connection is registered for READ once, and a request that
is answered in one go costs no further call. WRITE is added when a send did not take all, READ is dropped
when a client sends too far ahead.

Answers of a batch. Waking a client costs more than answering it, so when several requests are ready the
answers are held back until `_HELD` of them, or the batch, are done, or `_HELD_FOR` has passed. A held
answer must not wait for a slow one: only while the app is quick is anything held.

Threads, if there are several, take turns at all this: see crew.py. What is known of the batch is kept in the
loop, so that whoever leads next goes on with it. There is one thread more than may be in the app: even when
all of those are, somebody leads, reads, sends and keeps the time.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from . import green, http11
from ._impl import IO, Courier, Places, Serializer
from ._places_py import SIZE
from .acceptor import Acceptor, make_acceptors
from .channel import Channel
from .crew import Crew
from .deadlines import Deadlines, Timed
from .reception import Reception
from .runner import Runner
from .seats import Seats
from .states import ANY_NUMBER, BEAT, DRAINED, GONE, NEVER, READ, WRITE
from .wsgi import SERVER_SOFTWARE

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Callable, Sequence

    from .config.settings import Config
    from .logs.request_log import RequestLog
    from .processes.scoreboard import Company
    from .processes.sockets import Listener

__all__ = ["Loop"]

_ACCEPT_BATCH = 16
_HELD = 8
_HELD_FOR = 0.001
_YIELDS_FOR = 0.01  # seconds after which a worker looks again whether others take connections
_LINGER = 2.0  # seconds for which a refused client may go on sending before it is cut
_LAST_CALL = 1.0  # seconds for a next request on an idle connection of a worker that stops


class Loop:
    """The loop; made in the worker, after the fork. The engine derives from it."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        cfg: Config,
        *,
        error_log: logging.Logger,
        access_log: RequestLog | None,
        heartbeat: Callable[[float], None],
        multiprocess: bool,
        company: Company | None = None,
        places: Any = None,
        seats: Seats | None = None,
        leave: Callable[[BaseException | None], None] | None = None,
        errors: Any = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare to serve on `listeners`, by `tls` if that is given.

        `heartbeat` is called about twice a second with the monotonic time; `multiprocess` tells the app
        whether others serve beside this one; `company` are those others, to share connections with them;
        `places` show what its threads have in the app; `seats` in it are those of all loops of the worker;
        `leave` may end the process, with an error if there was one, where run() cannot return, since its
        thread is in the app; `errors` is `wsgi.errors`, standard error by default.
        """
        self._error_log, self._access_log = error_log, access_log
        self._heartbeat, self._leave = heartbeat, leave
        self._io, self._deadlines = IO(), Deadlines()
        self._held: list[Channel] = []
        self._held_since = 0.0
        self._runnable: list[Channel] = []
        self._due: list[Timed] = []
        self._current: Channel | None = None  # what is being handled; see waiting.py
        self._ready = 0  # events in the batch, and
        self._index = 0  # how many of them were handled
        self._now = self._polled = self._io.monotonic()
        self._next_beat = self._next_second = 0.0
        self._pace = 0.0  # seconds: the longest of the app's recent times, fading
        self._backlog = cfg.backlog
        self._stopped = self._stopping = self._is_fork = False
        self._stop_at = NEVER
        # Threads.
        self._threads = cfg.worker_connections if cfg.worker_class == "gevent" else cfg.threads
        self._seats = seats or Seats(self._threads if self._threads > 1 else ANY_NUMBER)
        self._let_run = green.make_wait(self._io.fileno()) if green.is_patched() else None
        self._context = contextvars.copy_context()
        self._date = ""
        self._places = places or Places(bytearray(SIZE))
        self._serializer = Serializer(SERVER_SOFTWARE)  # for answers that no thread has the app make
        self.runners: list[Runner] = []
        self._runner = self._add_runner()  # of the thread that leads
        self._crew: Crew | None = None  # if there may be more than one
        self._error: BaseException | None = None  # that ended a thread
        self._own = threading.local()  # `runner`: that of the thread which asks
        self._reception = Reception(
            make_acceptors(
                listeners,
                cfg,
                self._serializer,
                errors=errors or sys.stderr,
                multithread=self._threads > 1,
                multiprocess=multiprocess,
                early_hints=self._early_hints,
                log=access_log.log if access_log is not None else None,
                tls=tls,
            ),
            self._io,
            error_log,
            limit=cfg.worker_connections,
            company=company,
        )
        self._channels = self._reception.channels

    # What the engine does.

    def _on_channel(self, channel: Channel, events: int) -> None:
        """Handle events of a connection."""
        raise NotImplementedError

    def _on_deadline(self, channel: Channel) -> None:
        """Handle that the deadline of a connection has passed; it may have been handled otherwise since."""
        raise NotImplementedError

    def _read(self, channel: Channel) -> None:
        """Read from a connection, and do what it asks for."""
        raise NotImplementedError

    def _resume(self, channel: Channel) -> None:
        """Go on with a channel whose socket takes bytes again, or whose turn has come again."""
        raise NotImplementedError

    def _abandon(self, channel: Channel) -> None:
        """End the response of a connection that is to be closed."""
        raise NotImplementedError

    def _early_hints(self, fields: Any) -> None:
        """Be `wsgi.early_hints` of whatever request the thread that calls has in the app."""
        raise NotImplementedError

    def _contain(self, error: Exception, failures: int) -> bool:
        """Limit the harm that an error of our own does; return whether the loop can go on."""
        raise NotImplementedError

    def _serve_waiting(self, me: Runner) -> None:
        """Have the app called for requests that wait for it."""
        raise NotImplementedError

    def _has_work(self) -> bool:
        """Return whether requests wait for the app, and a thread may call it."""
        raise NotImplementedError

    def _last_progress(self) -> float:
        """Return when the worker last gave a sign of life, monotonic."""
        raise NotImplementedError

    # What the worker calls.

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `fd` is readable."""
        self._io.register(fd, callback, READ)

    def stop(self) -> None:
        """Make run() return after the requests that are being answered now."""
        self._stopped = True

    def disown(self) -> None:
        """Let go of all descriptors, in a process that the app has forked; they are the worker's."""
        self._is_fork = True
        for channel in self._channels:
            if channel.fd >= 0:  # another thread may be closing it just then
                self._io.close_fd(channel.fd)
            channel.fd = -1
            channel.broken = True
        self._io.disown()

    def shutdown(self, timeout: float) -> None:
        """Stop gracefully: run() returns when all is answered, or after `timeout` seconds.

        Connections that wait in the backlog are still taken; answers say `Connection: close`.
        """
        if self._stopping:
            return
        self._stopping = True
        self._stop_at = self._now + timeout
        self._reception.stop_sharing(self._now)
        for acceptor in self._reception.acceptors:
            acceptor.endpoint.keeps_alive = False
            # Taken only; what they ask is read when its turn comes.
            for _ in range(self._backlog):
                if self._take(acceptor) is None:
                    break
        self._reception.close()
        for channel in self._channels:
            if channel.connection.is_at_rest() and not channel.interest & WRITE:
                self._settle(channel)

    def run(self) -> None:
        """Serve until stopped."""
        if self._threads > 1:
            self._crew = Crew(self._threads + 1, start=self._start_thread, **green.primitives())
        self._reception.open(self._now)
        try:
            self._work(self._runner)
            if self._error is not None:
                raise self._error
        finally:
            self._close()
            if self._crew is not None:
                self._crew.dismiss()
                self._crew.leave()

    def _close(self) -> None:
        """Close what is open, but for what is in the app."""
        self._stopping = True  # nothing that ends makes it accept again
        self._reception.close()
        for channel in list(self._channels):
            if not channel.running:
                channel.runner = self.runners[0]
                self._drop(channel)
            elif channel.handover is not None:
                channel.handover.shutdown()  # lets the app's threads see the end, wherever they are
        if self._access_log is not None:
            self._access_log.flush()

    # Threads.

    def _add_runner(self) -> Runner:
        runner = Runner(len(self.runners), Serializer(SERVER_SOFTWARE), Courier(), self._context)
        self.runners.append(runner)
        return runner

    def _start_thread(self, number: int) -> bool:
        try:
            name = f"fastwsgi-{number}"
            threading.Thread(target=self._join, args=(number,), name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            self._error_log.warning("cannot have more than %d threads: %s", number, error)
            return False
        return True

    def _join(self, number: int) -> None:
        """Be thread `number`, until the crew is dismissed."""
        crew: Any = self._crew
        is_needed = crew.join(number)
        try:
            if is_needed:
                self._runner = self._add_runner() if number == len(self.runners) else self.runners[number]
                self._work(self._runner)
        except BaseException as error:
            self._error = error
            self._stopped = True
        finally:
            if self.runners[0].job is not None and self._leave is not None:
                # run() would not return before the app does.
                self._close()
                self._leave(self._error)
            crew.dismiss()
            crew.leave()

    def _work(self, me: Runner) -> None:
        """Take part until the loop ends."""
        self._own.runner = me
        me.sit(self._places)
        failures = 0
        while not self._has_ended():
            try:
                if self._has_lost(me):
                    self._serve_waiting(me)
                else:
                    self._turn(me)
                failures = 0
            except Exception as error:
                failures += 1
                if not self._contain(error, failures):
                    raise
            if self._crew is not None and self._has_lost(me) and not (me.relieves and self._has_work()):
                if not self._crew.rest(me.number):
                    return
                self._runner = me

    def _has_ended(self) -> bool:
        return self._stopped or (self._stopping and (not self._channels or self._now >= self._stop_at))

    def _has_lost(self, me: Runner) -> bool:
        """Return whether another thread leads, or may."""
        return self._crew is not None and self._crew.leader != me.number

    # A batch of events.

    def _turn(self, me: Runner) -> None:
        """Wait once, if all that was ready is done, and handle what is; return early if another leads."""
        io = self._io
        if self._index >= self._ready:
            self._wait()
        while self._index < self._ready:
            index = self._index
            self._index = index + 1
            handler: Any = io.handler(index)
            if type(handler) is Channel:
                self._current = handler
                self._on_channel(handler, io.events(index))
            elif type(handler) is Acceptor:
                self._accept(handler, me)
            elif handler is not None:
                self._current = None
                handler()
            if self._has_lost(me):
                return
        for _ in range(len(self._runnable)):
            if not self._runnable:
                break  # while the app was called here another thread has led, and done the rest
            channel = self._runnable.pop(0)
            self._current = channel
            if channel.fd >= 0:
                self._resume(channel)
            if self._has_lost(me):
                return
        if self._held:
            self._send_held()
        if not self._due and self._deadlines.is_due(self._now):
            self._due = self._deadlines.expire(self._now)
        while self._due:
            due: Any = self._due.pop()
            self._current = due
            self._on_deadline(due)
            if self._has_lost(me):
                return
        if self._has_work():
            self._serve_waiting(me)
            if self._has_lost(me):
                return
        self._current = None
        if self._access_log is not None:
            self._access_log.flush()

    def _wait(self) -> None:
        """Wait for the next batch, but not while anything of this one is left."""
        self._current = None
        is_left = self._runnable or self._held or self._due or self._has_work()
        longest = _YIELDS_FOR if self._reception.yields else BEAT
        self._reception.show()
        timeout = 0.0 if is_left else self._deadlines.wait(self._now, longest)
        if timeout > 0.0 and self._seats.has_room():
            self._io.show(self._io.monotonic() + timeout)  # not NEVER: it may be stopped meanwhile
        if self._crew is not None:
            self._crew.leave()
        try:
            if self._let_run is not None:
                self._let_run(timeout)
                timeout = 0.0
            count = self._io.wait(timeout)
        finally:
            if self._crew is not None:
                self._crew.take()
        self._index = 0
        self._ready = count
        self._now = self._polled = self._io.monotonic()
        self._io.show(self._now)
        if self._reception.yields:
            self._share()
        if self._now >= self._next_beat:
            self._beat()

    def _beat(self) -> None:
        now = self._now
        self._next_beat = now + BEAT
        self._heartbeat(self._last_progress())
        if now >= self._next_second:
            wall = time.time()
            self._next_second = now + 1.0 - wall % 1.0
            self._next_beat = min(self._next_beat, self._next_second)
            self._date = http11.http_date(time.gmtime(wall))
            self._serializer.stamp(self._date)  # the other threads' may be in use now: see Runner.stamp
        if not self._stopping:
            self._reception.reopen(now)

    # Accepting.

    def _accept(self, acceptor: Acceptor, me: Runner) -> None:
        """Take some connections and read from each at once: most clients have sent their request by then."""
        self._current = None
        for _ in range(_ACCEPT_BATCH):
            # One at least: for that one this worker was woken, and nobody else.
            channel = self._take(acceptor)
            if channel is None:
                return
            self._share()
            self._read(channel)
            if self._has_lost(me):
                return

    def _take(self, acceptor: Acceptor) -> Channel | None:
        channel = self._reception.take(acceptor, self._now)
        self._current = channel
        if channel is not None:
            channel.runner = self._runner
            if self._reception.is_crowded():
                for idle in self._reception.make_room(self._now):
                    self._drop(idle)
        return channel

    def _share(self) -> None:
        """Decide anew whether the next connection is for this worker."""
        if not self._stopping:
            self._reception.share(self._seats.has_room(), self._now)

    # Sending.

    def _may_hold(self) -> bool:
        """Return whether an answer of the leader may wait for others of its batch."""
        return self._ready > 1 and self._pace < _HELD_FOR

    def _send_held(self) -> None:
        current = self._current
        while self._held:
            channel = self._held.pop(0)
            if channel.fd < 0 or channel.running:
                continue  # its client did not wait; the answer that a thread is making takes this one along
            self._current = channel
            if self._flush(channel) and not channel.connection.is_busy():
                self._settle(channel)
        self._current = current

    def _hold(self, channel: Channel) -> None:
        """Send what is in `out` with others of the batch."""
        if not self._held:
            self._held_since = self._now
        self._held.append(channel)
        if len(self._held) >= _HELD or self._now - self._held_since > _HELD_FOR:
            self._send_held()

    def _settle(self, channel: Channel) -> None:
        """Wait for the next event of a channel that has nothing to send, or close it."""
        connection = channel.connection
        if not connection.is_closing():
            channel.wait_for(READ)
            deadline = connection.deadline
            if self._stopping and connection.is_at_rest():
                deadline = min(deadline, self._now + _LAST_CALL)
            self._deadlines.schedule(channel, deadline)
        elif connection.unread and not connection.ended:
            # RFC 9112 §9.6: closing with unread input resets the connection, and the answer is lost.
            channel.linger()
            self._deadlines.schedule(channel, self._now + _LINGER)
        else:
            self._drop(channel)

    def _flush(self, channel: Channel) -> bool:
        """Send all of `out`; if the socket does not take it, wait for WRITE, and return False."""
        outcome = channel.send(channel.connection.is_over())
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
        if channel.response is not None:
            self._abandon(channel)
        if channel.handover is not None:
            channel.handover.shutdown()
            channel.handover = None
        self._deadlines.cancel(channel)
        channel.connection.close()  # first: a thread of the app may still read from the descriptor
        channel.close()
        self._reception.part(channel)
        if not self._reception.is_open:
            self._share()
