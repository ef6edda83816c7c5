"""A connection that an app takes over: `gunicorn.socket` of environ, by which WSGI libraries do WebSockets.

To look at it is not to take it: Engine.IO keeps the object of every request that could be upgraded, and for
long. The first use takes the socket; from then on the server does not read from it, and writes nothing. What
it had read behind the request comes first from recv(). When a request is over that has taken nothing, the
object is of no use any more.
"""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClientSocket"]


class ClientSocket:
    """The client's connection as a blocking socket, for any number of threads at once."""

    def __init__(self, take: Callable[[], tuple[int, bytes]]) -> None:
        """Offer a connection.

        `take` gives it up: it returns a descriptor of its own for it, and what was read from it already.
        """
        self.closed = False
        self.ends_at = 0.0  # when the server ends it, after the app has returned; monotonic
        self._take: Callable[[], tuple[int, bytes]] | None = take
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
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

    def _taken(self) -> socket.socket:
        """Return the socket, taken now if it was not before."""
        taken = self._socket
        if taken is None:
            with self._lock:
                taken = self._socket or self._take_over()
        return taken

    def _take_over(self) -> socket.socket:
        if self._take is None:
            raise OSError(errno.ENOTCONN, "the request of this connection is over")
        descriptor, self._ahead = self._take()
        self._take = None
        taken = socket.socket(fileno=descriptor)
        taken.setblocking(True)
        self._socket = taken
        return taken
