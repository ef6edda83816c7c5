"""A connection that an app takes over: `gunicorn.socket` of environ, by which WSGI libraries do WebSockets.

To look at it is not to take it: Engine.IO keeps the object of every request that could be upgraded, and for
long. The first use takes the socket; from then on the server does not read from it, and writes nothing. What
it had read behind the request comes first from recv(). When a request is over that has taken nothing, the
object is of no use any more.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from .green import unpatched

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tunnel import Tunnel

__all__ = ["ClientSocket"]

_AT_ONCE: Final = 65536  # bytes

_poll: Final = unpatched("select", "poll")


class ClientSocket:
    """The client's connection as a blocking socket, for any number of threads at once."""

    def __init__(self, take: Callable[[], tuple[int, bytes]], tunnel: Tunnel | None = None) -> None:
        """Offer a connection, through `tunnel` if it is TLS.

        `take` gives it up: it returns a descriptor of its own for it, and what was read from it already.
        """
        self.closed = False
        self.ends_at = 0.0  # when the server ends it, after the app has returned; monotonic
        self._take: Callable[[], tuple[int, bytes]] | None = take
        self._lock = threading.Lock()
        self._socket: socket.socket | SealedSocket | None = None
        self._tunnel = tunnel
        self._ahead = b""

    @property
    def taken(self) -> bool:
        """Whether the app has used it."""
        return self._socket is not None

    def withdraw(self) -> None:
        """Take the offer back: the request is over."""
        self._take = None

    def send(self, data: bytes) -> int:
        """Send all of `data`, and return its length: simple-websocket does not look at what was sent."""
        self._taken().sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        self._taken().sendall(data)

    def recv(self, size: int) -> bytes:
        """Return some bytes, at most `size`; b"" at the end of the stream."""
        taken = self._taken()
        with self._lock:
            if self._ahead:
                data, self._ahead = self._ahead[:size], self._ahead[size:]
                return data
        return taken.recv(size)

    def fileno(self) -> int:
        """Return the descriptor, to wait for more with."""
        return self._taken().fileno()

    def settimeout(self, seconds: float | None) -> None:
        """Let calls wait for no longer."""
        self._taken().settimeout(seconds)

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """End the connection: threads that wait in recv() see the end of the stream."""
        with self._lock:
            if self._socket is not None and not self.closed:
                try:
                    self._socket.shutdown(how)
                except OSError:  # the client has gone
                    pass

    def close(self) -> None:
        """End the connection and give the descriptor back."""
        # The server still has a descriptor of its own: without shutdown the client would see nothing.
        self.shutdown()
        with self._lock:
            self.closed = True
            if self._socket is not None:
                self._socket.close()

    def _taken(self) -> socket.socket | SealedSocket:
        """Return the socket, taken now if it was not before."""
        taken = self._socket
        if taken is None:
            with self._lock:
                taken = self._socket or self._take_over()
        return taken

    def _take_over(self) -> socket.socket | SealedSocket:
        if self._take is None:
            raise OSError(errno.ENOTCONN, "the request of this connection is over")
        descriptor, self._ahead = self._take()
        self._take = None
        taken = socket.socket(fileno=descriptor)
        taken.setblocking(True)
        self._socket = taken if self._tunnel is None else SealedSocket(taken, self._tunnel)
        return self._socket


class SealedSocket:
    """A blocking socket whose bytes go through TLS; one thread may receive while others send."""

    def __init__(self, sock: socket.socket, tunnel: Tunnel) -> None:
        """Go on with a tunnel that is established."""
        self._socket = sock
        self._tunnel = tunnel
        self._receiving = threading.Lock()
        self._sending = threading.Lock()
        self._ahead = b""
        self._kept = 0  # bytes that were taken from the socket only in part; see recv()
        self.fileno = sock.fileno
        self.settimeout = sock.settimeout
        self.close = sock.close

    def recv(self, size: int) -> bytes:
        """Return some bytes, at most `size`; b"" at the end of the stream.

        A record may hold more than that. Its last byte then stays in the socket until all was returned, so
        that selectors, which ask the descriptor, tell that there is more. One that drips is waited for
        no longer than settimeout() says, and for the drip in which that ends.
        """
        with self._receiving:
            timeout = self._socket.gettimeout()
            began = time.monotonic()
            while not self._ahead:
                if timeout and time.monotonic() - began > timeout:
                    raise TimeoutError("timed out")
                data = self._socket.recv(_AT_ONCE, socket.MSG_PEEK)
                opened = self._tunnel.open(data)
                self._kept = 1 if opened else 0
                self._take(len(data) - self._kept)
                self._answer()
                if opened is not None:
                    self._ahead = opened
                if opened == b"":
                    return b""
            taken, self._ahead = self._ahead[:size], self._ahead[size:]
            if not self._ahead:
                self._take(self._kept)
            return taken

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        with self._sending:
            if self._tunnel.records():  # an earlier call has failed in the middle of one
                raise BrokenPipeError(errno.EPIPE, "records were lost")
            for start in range(0, len(data) or 1, _AT_ONCE):
                self._tunnel.seal(bytes(data[start : start + _AT_ONCE]))
                self._socket.sendall(self._tunnel.records())
                self._tunnel.advance(len(self._tunnel.records()))

    def shutdown(self, how: int) -> None:
        """End the stream, and tell the client so if that can be done without waiting."""
        if how != socket.SHUT_RD and self._sending.acquire(blocking=False):
            try:
                poll = _poll()
                poll.register(self._socket, select.POLLOUT)
                farewell = self._tunnel.end()
                if farewell and poll.poll(0):
                    self._socket.send(farewell)
            finally:
                self._sending.release()
        self._socket.shutdown(how)

    def _take(self, size: int) -> None:
        """Take from the socket what was looked at."""
        while size > 0:
            size -= len(self._socket.recv(size))

    def _answer(self) -> None:
        """Send what TLS itself has to say, unless someone sends already, and takes it along."""
        if self._tunnel.owes() and self._sending.acquire(blocking=False):
            self._sending.release()
            self.sendall(b"")
