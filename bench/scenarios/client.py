"""The client of the scenarios: many connections in one process, with one epoll and a heap of timers.

Open loop means that requests are sent by schedule, whatever has become of those before: a client that waits
for its answers would spare a server in trouble, and so hide the trouble. Closed loop means that it waits.

A latency is counted from the moment at which the client got to send (with the connect, if it had to); how far
that was behind schedule is kept beside it as lag. A great lag says that the client was the bottleneck.
"""

from __future__ import annotations

import heapq
import math
import re
import select
import socket
import sys
import time
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    OnAnswer = Callable[["Connection", "Answer"], None]

__all__ = [
    "GAVE_UP",
    "LOST",
    "Answer",
    "ClosedLoop",
    "Connection",
    "Loop",
    "OpenLoop",
    "Tally",
    "connect",
    "get",
    "quantile",
    "receive",
]

# In place of a status: what became of a request that was not answered.
LOST = 0
GAVE_UP = -1

_BATCH = 256  # events handled before the timers are looked at again
_RETRY = 0.05  # seconds before a closed loop replaces a connection that was lost
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


def get(path: str, *, close: bool = False) -> bytes:
    """Return the bytes of a GET request."""
    end = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{end}\r\n".encode()


def receive(sock: socket.socket) -> bytes | None:
    """Return what has come, b"" at the end of the stream or after a reset, None if nothing has."""
    try:
        return sock.recv(65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def connect(port: int, *, receive_buffer: int = 0) -> socket.socket:
    """Return a socket that does not block and is on its way to the server."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        # Before connecting: the window is announced in the handshake.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    # What goes wrong shows at the first send.
    sock.connect_ex(("127.0.0.1", port))
    return sock


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least of `values` that `share` of them do not exceed; NaN if there are none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


class Loop:
    """Calls handlers of descriptors that are ready, and timers that are due; `with` closes it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0  # so that timers due at the same time keep their order

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def watch(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        """Call `handler` with the events of `fd`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Watch `fd` for other events."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch `fd` no more; to be called before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call once, at the monotonic time `when` or soon after."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, call))

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Run until `done()`, for `seconds` at the most; return whether it is done."""
        end = time.monotonic() + seconds
        while not done():
            now = time.monotonic()
            if now >= end:
                return False
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            wake = min(end, self._timers[0][0]) if self._timers else end
            for fd, events in self._epoll.poll(max(0.0, wake - time.monotonic()), _BATCH):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
        return True


class Answer(NamedTuple):
    """What became of a request: `status` is that of HTTP, LOST (the connection ended), or GAVE_UP."""

    status: int
    body: bytes
    seconds: float


class Connection:
    """A connection with at most one request on its way; `on_answer` is called with what became of it.

    It is open until the server closes it, a request fails, or close() is called. `counts` is the user's own.
    """

    __slots__ = (
        "_asked_at",
        "_blocked",
        "_loop",
        "_number",
        "_on_answer",
        "_received",
        "_size",
        "_sock",
        "_unsent",
        "counts",
        "is_open",
    )

    def __init__(self, loop: Loop, port: int, on_answer: OnAnswer) -> None:
        self.is_open = True
        self.counts = True
        self._loop = loop
        self._on_answer = on_answer
        self._sock = connect(port)
        self._number = 0  # of the request, so that its timer does not end a later one
        self._asked_at = 0.0  # 0: no request is on its way
        self._unsent = b""
        self._blocked = False
        self._received = b""
        self._size = -1  # of the answer in bytes, head included; -1: not known yet
        loop.watch(self._sock.fileno(), self._on_event)

    def ask(self, request: bytes, timeout: float = 0.0) -> None:
        """Send a request; give it up after `timeout` seconds, if there is one."""
        self._number += 1
        self._unsent = request
        self._received = b""
        self._size = -1
        self._asked_at = time.monotonic()
        if timeout:
            self._loop.at(self._asked_at + timeout, partial(self._give_up, self._number))
        self._send()

    def close(self) -> None:
        """Close it; a request that was on its way is forgotten."""
        if self.is_open:
            self.is_open = False
            self._asked_at = 0.0
            self._loop.forget(self._sock.fileno())
            self._sock.close()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass  # as a rule, since it is still connecting
        except OSError:
            self._end(LOST)
            return
        if self._blocked != bool(self._unsent):
            self._blocked = not self._blocked
            events = select.EPOLLIN | select.EPOLLOUT if self._blocked else select.EPOLLIN
            self._loop.change(self._sock.fileno(), events)

    def _give_up(self, number: int) -> None:
        if self._asked_at and self._number == number:
            self._end(GAVE_UP)

    def _on_event(self, events: int) -> None:
        if events == select.EPOLLOUT:
            self._send()
            return
        data = receive(self._sock)
        if data is None:
            return
        if not self._asked_at:
            self.close()
            return
        self._received += data
        if self._size < 0:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end >= 0:
                length = _CONTENT_LENGTH.search(self._received, 0, head_end)
                self._size = head_end + 4 + int(length[1]) if length else sys.maxsize
        if 0 <= self._size <= len(self._received) or (self._size == sys.maxsize and not data):
            self._end(int(self._received[9:12]))
        elif not data:
            self._end(LOST)

    def _end(self, status: int) -> None:
        seconds = time.monotonic() - self._asked_at
        self._asked_at = 0.0
        head, _, body = self._received.partition(b"\r\n\r\n")
        if status <= 0 or self._size == sys.maxsize or _CLOSE.search(head):
            self.close()
        self._on_answer(self, Answer(status, body, seconds))


class Tally:
    """What became of many requests."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []  # of those that were answered with 200
        self.lags: list[float] = []  # seconds behind schedule

    def add(self, answer: Answer) -> None:
        """Count one."""
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.seconds.append(answer.seconds)

    def figures(self) -> dict[str, float]:
        """Return counts, and times in milliseconds."""
        others = {status: count for status, count in self.statuses.items() if status not in (200, 503)}
        return {
            "sent": self.statuses.total(),
            "ok": self.statuses[200],
            "refused": self.statuses[503],
            "gave_up": others.pop(GAVE_UP, 0),
            "lost": others.pop(LOST, 0),
            "other": sum(others.values()),
            "p50_ms": 1000 * quantile(self.seconds, 0.50),
            "p99_ms": 1000 * quantile(self.seconds, 0.99),
            "max_ms": 1000 * quantile(self.seconds, 1.0),
            "lag_p99_ms": 1000 * quantile(self.lags, 0.99),
        }


class OpenLoop:
    """Requests by schedule, begun when it is made; connections are made as they are needed.

    Args:
        loop: what runs it.
        port: of the server.
        path: what is asked for.
        rate: requests per second.
        seconds: for how long requests are sent and counted, after
        settle: seconds in which they are sent and not counted.
        timeout: seconds after which the client gives up and closes the connection.
        fresh: a new connection for each request, instead of one that is idle.
        burst: requests that are sent at a time.
    """

    def __init__(
        self,
        loop: Loop,
        port: int,
        path: str,
        *,
        rate: float,
        seconds: float,
        settle: float = 0.0,
        timeout: float = 5.0,
        fresh: bool = False,
        burst: int = 1,
    ) -> None:
        self.tally = Tally()
        self._loop = loop
        self._port = port
        self._request = get(path, close=fresh)
        self._interval = burst / rate
        self._timeout = timeout
        self._burst = burst
        self._is_fresh = fresh
        self._idle: deque[Connection] = deque()
        self._under_way = 0
        self._next = time.monotonic()
        self._counted_from = self._next + settle
        self._end = self._counted_from + seconds
        loop.at(self._next, self._tick)

    def is_done(self) -> bool:
        """Return whether all are sent, and answered or given up."""
        return self._next >= self._end and not self._under_way

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.popleft().close()

    def _tick(self) -> None:
        counts = self._next >= self._counted_from
        for _ in range(self._burst):
            connection = self._connection()
            connection.counts = counts
            if counts:
                self.tally.lags.append(time.monotonic() - self._next)
            self._under_way += 1
            connection.ask(self._request, self._timeout)
        self._next += self._interval
        if self._next < self._end:
            self._loop.at(self._next, self._tick)

    def _connection(self) -> Connection:
        # The one that has been idle longest, so that all are used, and all workers with them.
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_open:
                return connection
        return Connection(self._loop, self._port, self._on_answer)

    def _on_answer(self, connection: Connection, answer: Answer) -> None:
        self._under_way -= 1
        if connection.counts:
            self.tally.add(answer)
        if self._is_fresh:
            connection.close()
        elif connection.is_open:
            self._idle.append(connection)


class ClosedLoop:
    """Connections that ask again as soon as they are answered; one that is lost is replaced.

    Args:
        loop: what runs it.
        port: of the server.
        path: what is asked for.
        connections: how many.
        per_second: how many of them are opened per second; 0: all at once.
        on_answer: called with each answer as well.
    """

    def __init__(
        self,
        loop: Loop,
        port: int,
        path: str,
        *,
        connections: int,
        per_second: float = 0.0,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self.tally = Tally()
        self._loop = loop
        self._port = port
        self._request = get(path)
        self._hook = on_answer
        self._open: set[Connection] = set()
        self._is_closed = False
        now = time.monotonic()
        for number in range(connections):
            loop.at(now + (number / per_second if per_second else 0.0), self._start)

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        for connection in self._open:
            connection.close()

    def _start(self) -> None:
        if not self._is_closed:
            connection = Connection(self._loop, self._port, self._on_answer)
            self._open.add(connection)
            connection.ask(self._request)

    def _on_answer(self, connection: Connection, answer: Answer) -> None:
        self.tally.add(answer)
        if self._hook is not None:
            self._hook(connection, answer)
        if connection.is_open:
            connection.ask(self._request)
        else:
            self._open.discard(connection)
            # Not at once: a server that has died would be asked without end.
            self._loop.at(time.monotonic() + _RETRY, self._start)
