"""Polling and the system calls on sockets: the pure form of `_io.pyx`, and the facts that both rest on.

- Level-triggered. An event that is not used up is reported again, so nothing is lost when a handler stops
  half-way; and one rule serves epoll, kqueue and select alike.
- Interest is the caller's to change, and lazily: a call into the kernel for each request would cost as
  much as the request.
- epoll always reports EPOLLERR and EPOLLHUP, wanted or not: they come as HANGUP, and the descriptor must be
  read, written or closed then, or it is reported without end.
- A descriptor number is used again as soon as it is closed. `unregister` comes before `close_fd`, and takes
  the descriptor's events out of the batch being handled.
- A listener shared by several processes wakes all of them, but for EPOLLEXCLUSIVE, which can be set only
  when it is added.
- An epoll or kqueue object must not cross a fork: each worker makes its own IO.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Final

from .green import unpatched
from .states import READ

__all__ = ["IO", "NOBODY", "foreign_hands"]

_RECEIVED_AT_ONCE: Final = 65536
_GATHERED: Final = 64

_NOBODY_NAMES: Final = """
    EAGAIN ECONNABORTED EINTR EPROTO ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH
    ETIMEDOUT EPERM
"""

_Selector: Final = unpatched("selectors", "DefaultSelector")
_Socket: Final = unpatched("socket", "socket")
_close: Final = unpatched("os", "close")

# accept(2) says of these "treat them like EAGAIN by retrying": the connection failed, not the listener.
NOBODY: Final = frozenset(getattr(errno, name) for name in _NOBODY_NAMES.split() if hasattr(errno, name))


def foreign_hands(fd: int) -> OSError:
    """Return the error of a number that comes again while somebody has it, whose answer would go astray."""
    return OSError(errno.EBADF, f"connection {fd} was closed by somebody else")


class IO:
    """The poller of one loop, and the calls on its sockets, whose descriptors are non-blocking.

    A call that would block returns what its docstring says; whatever else goes wrong is an OSError.
    """

    def __init__(self) -> None:
        """Open the poller."""
        self._selector = _Selector()
        self.backend = type(self._selector).__name__
        self.peer_addr = ""
        self.peer_port = ""
        self._handlers: dict[int, object] = {}
        self._listeners: dict[int, socket.socket] = {}  # lent descriptors: detached, never closed
        self._batch: list[tuple[int, object, int]] = []
        self._accepted: set[int] = set()  # and not closed
        self._shown: memoryview[float] | None = None

    # Polling.

    def fileno(self) -> int:
        """Return the poller's own descriptor, which is readable while events are there to be reported."""
        return int(self._selector.fileno())

    def register(self, fd: int, handler: object, events: int) -> None:
        """Report `events`, READ or WRITE or both or 0 for none, of `fd` from now on, with `handler`."""
        if events:  # of a descriptor without any, a selector knows nothing
            self._selector.register(fd, events, handler)
        try:
            self._handlers[fd] = handler
        except MemoryError:
            if events:
                self._selector.unregister(fd)
            raise

    def register_listener(self, fd: int, handler: object) -> None:
        """Report connections waiting at `fd`; of several processes that share it, wake few."""
        listener = _Socket(fileno=fd)
        try:
            self._listeners[fd] = listener
        except MemoryError:
            listener.detach()
            raise
        self.register(fd, handler, READ)

    def modify(self, fd: int, events: int) -> None:
        """Report other `events` of `fd`; 0 for none."""
        if events == 0:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        elif fd in self._selector.get_map():
            self._selector.modify(fd, events, self._handlers[fd])
        else:
            self._selector.register(fd, events, self._handlers[fd])

    def unregister(self, fd: int) -> None:
        """Report nothing more of `fd`, nor what is left of it in the current batch."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        listener = self._listeners.pop(fd, None)
        if listener is not None:
            listener.detach()
        del self._handlers[fd]  # last: where memory ran out, it is all done once more

    def wait(self, timeout: float) -> int:
        """Wait for events for `timeout` seconds, for ever if negative; return their number."""
        ready = self._selector.select(None if timeout < 0 else timeout)
        self._batch = [(key.fd, key.data, events) for key, events in ready]
        return len(self._batch)

    def handler(self, index: int) -> object | None:
        """Return the handler of an event of the batch; None if it was unregistered meanwhile."""
        fd, handler, _ = self._batch[index]
        return handler if self._handlers.get(fd) is handler else None

    def events(self, index: int) -> int:
        """Return what is reported by an event of the batch: READ, WRITE, HANGUP."""
        return self._batch[index][2]

    # Sockets.

    def accept(self, listener_fd: int) -> int:
        """Return the descriptor of a new connection, -1 if none is waiting; sets peer_addr and peer_port."""
        try:
            connection, address = self._listeners[listener_fd].accept()
        except OSError as error:
            if error.errno in NOBODY:
                return -1
            raise
        fd = connection.fileno()
        if fd in self._accepted:
            raise foreign_hands(connection.detach())
        connection.setblocking(False)
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            self.peer_addr, self.peer_port = address[0].partition("%")[0], str(address[1])
        else:
            self.peer_addr = self.peer_port = ""
        self._accepted.add(fd)  # last: one that fails before is closed, and the next has its number
        connection.detach()
        return fd

    def recv(self, fd: int) -> bytes | None:
        """Return bytes that have come, b"" at the end of the stream, None if there are none yet."""
        try:
            return os.read(fd, _RECEIVED_AT_ONCE)
        except BlockingIOError:
            return None

    def hurry(self, fd: int) -> None:
        """Have all that is sent from now on leave at once (TCP_NODELAY); not for a Unix socket."""
        borrowed = _Socket(fileno=fd)
        try:
            borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # the peer has gone, as the next send will tell
            pass
        finally:
            borrowed.detach()

    def send(self, fd: int, data: bytes, offset: int = 0, is_last: bool = False) -> int:
        """Send `data` from `offset` on; return how much was taken, 0 if the socket is full.

        Behind what `is_last` the stream ends, if possible in the same packet.
        """
        try:
            sent = os.write(fd, memoryview(data)[offset:] if offset else data)
        except BlockingIOError:
            return 0
        if is_last and sent == len(data) - offset:
            self.shutdown_write(fd)
        return sent

    def sendv(self, fd: int, parts: list[bytes], offset: int = 0) -> int:
        """Send several pieces as one, the first from `offset` on; return how much was taken, as `send`."""
        pieces: list[bytes | memoryview] = list(parts[:_GATHERED])
        if offset:
            pieces[0] = memoryview(parts[0])[offset:]
        try:
            return os.writev(fd, pieces)
        except BlockingIOError:
            return 0

    def sendfile(self, fd: int, file_fd: int, offset: int, count: int) -> int:
        """Send a piece of a file; return how much was taken, 0 if the socket is full, -1 if the file ends."""
        try:
            return os.sendfile(fd, file_fd, offset, count) or -1
        except BlockingIOError:
            return 0

    def shutdown_write(self, fd: int) -> None:
        """Tell the peer that nothing more comes."""
        borrowed = _Socket(fileno=fd)
        try:
            borrowed.shutdown(socket.SHUT_WR)
        except OSError:  # it has gone already
            pass
        finally:
            borrowed.detach()

    def close_fd(self, fd: int) -> None:
        """Close a connection's descriptor."""
        self._accepted.discard(fd)
        _close(fd)

    # Time.

    def show_in(self, cell: memoryview[float]) -> None:
        """Show in `cell`, shared memory, what show() is told."""
        self._shown = cell

    def show(self, time: float) -> None:
        """Let other processes know a time, if they look."""
        if self._shown is not None:
            self._shown[0] = time

    def monotonic(self) -> float:
        """Return the monotonic clock, in seconds."""
        return time.monotonic()

    def disown(self) -> None:
        """Have a poller of its own in a fork, without any descriptor; the parent's stays as it is.

        It has the same number: gevent's hub, which waits for that, does not survive its end.
        """
        with _Selector() as fresh:
            os.dup2(fresh.fileno(), self._selector.fileno(), inheritable=False)
        for listener in self._listeners.values():
            listener.detach()

    def close(self) -> None:
        """Close the poller, and nothing else."""
        for fd in list(self._handlers):
            self.unregister(fd)
        self._selector.close()
