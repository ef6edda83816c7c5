"""A connection's descriptor: what of `out` the socket has taken, and which events it waits for.

It owns the descriptor; the loop decides when to send and when to close.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Any

from . import green, http11
from .deadlines import Timed
from .errors import OUT_OF_MEMORY, HTTPError
from .response import size_of_body
from .states import BEAT, DRAINED, FULL, GONE, NEVER, READ

if TYPE_CHECKING:
    from ._io_py import IO
    from .connection import Connection
    from .endpoint import Endpoint
    from .handover import ClientSocket
    from .request import Request
    from .response import Response

__all__ = ["Channel"]

_GATHERED = 64  # pieces in one gathering write
_READ_AT_ONCE = 65536  # bytes
_READ_INSTEAD = 65536  # bytes at a time where sendfile(2) does not serve
_SENT_AHEAD = 1 << 20  # bytes that write() may leave to the loop before it waits for the client
_SKIPPED = 4  # reads of a body that the app has left
_MOST_DISCARDED = 262144  # bytes of a refused client
_LONG = 0.01  # seconds; after so long in the app it is looked whether the client is still there
_poll: Any = green.unpatched("select", "poll")  # gevent's would let others run, here and now
_SEALED_TOGETHER = 32768  # bytes that TLS puts into records at once
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Channel(Timed):
    """A connection and its descriptor."""

    __slots__ = (
        "_discards",
        "_held",
        "_io",
        "_is_hurried",
        "_offset",
        "_registered",
        "arrived",
        "broken",
        "connection",
        "endpoint",
        "expired",
        "fd",
        "handover",
        "interest",
        "lingers",
        "request",
        "response",
        "resumed",
        "runner",
        "running",
        "sends",
        "sends_before",
        "started",
        "tunnel",
        "waits",
    )

    def __init__(self, io: IO, fd: int, endpoint: Endpoint, connection: Connection) -> None:
        """Take over `fd`, which is not yet registered with `io`."""
        self.deadline = NEVER
        self.tick = 0
        self.fd = fd  # -1 once closed
        self.endpoint = endpoint
        self.connection = connection
        self.interest = 0  # READ, WRITE
        self.request: Request | None = None  # waits for the app
        self.response: Response | None = None  # in the making
        self.arrived = 0.0  # when its request was read, if it had to wait; times are monotonic
        self.started = 0.0  # when the app was called for it
        self.resumed = 0.0  # when the app was called for more of it
        self.lingers = False  # refused: what the client still sends is thrown away
        self.broken = False  # nothing more reaches the client, who has gone or was told too little
        self.expired: bytes | None = None  # sent instead of an answer that did not come; b"" = cut off
        self.running = False  # the app runs, on a thread of its own; nobody else may answer or close
        self.waits = False  # for the app
        self.handover: ClientSocket | None = None  # offers the connection to the app
        self.runner: Any = None  # the Runner of the thread that handles it
        self.sends = 0  # that took bytes, and how many there had been when its response began
        self.sends_before = 0
        # A Tunnel if this is TLS. The module is not imported where there is none: it brings OpenSSL along.
        self.tunnel: Any = None if endpoint.open_tunnel is None else endpoint.open_tunnel(io.peer_addr)
        self._io = io
        self._registered = False
        self._is_hurried = io.peer_port == ""  # a Unix socket knows no Nagle
        self._held = False  # the courier of its thread has pieces that come before `out`
        self._discards = 0  # bytes that may still be thrown away
        self._offset = 0  # bytes already sent of the first piece of `out`

    def wait_for(self, events: int) -> None:
        """Ask for `events`, READ or WRITE, from now on."""
        if not self._registered:
            self._io.register(self.fd, self, events)
            self._registered = True
        elif self.interest != events:
            self._io.modify(self.fd, events)
        self.interest = events

    def is_idle(self, since: float) -> bool:
        """Return whether it is kept only for requests that may come, or have been coming from `since` on."""
        return not self.lingers and self.connection.is_idle(since) and not self.owes()

    def is_registered(self) -> bool:
        """Return whether any events were asked for yet."""
        return self._registered

    def owes(self) -> bool:
        """Return whether TLS has something to be sent, besides `out`."""
        return self.tunnel is not None and self.tunnel.owes() > 0

    def receive(self) -> bytes | None:
        """Return bytes that have come, b"" at the end of the stream, None if there are none yet.

        Raises OSError. A client that fails to shake hands is refused: its connection is closing.
        """
        data = self._io.recv(self.fd)
        return data if self.tunnel is None or data is None else self._open(data)

    def send(self, is_last: bool = False) -> int:
        """Send `out`; return DRAINED, FULL if the socket takes no more now, GONE if the client has gone.

        `is_last` is true if the descriptor will be closed as soon as `out` is drained.
        """
        self.take_back()
        if self.broken:
            return GONE
        # One piece that leaves with the end of the stream has nothing behind it that could be held back.
        if not self._is_hurried and (not is_last or len(self.connection.out) != 1 or self.tunnel is not None):
            self._hurry()
        try:
            return self._send_plain(is_last) if self.tunnel is None else self._send_sealed()
        except OSError:
            return GONE
        except MemoryError:  # how much of it has gone, nobody knows
            self.broken = True
            raise

    def _send_plain(self, is_last: bool) -> int:
        out = self.connection.out
        while out:
            first = out[0]
            if type(first) is not bytes:
                sent = self._send_region(out, first)
            elif len(out) == 1:
                sent = self._io.send(self.fd, first, self._offset, is_last)
                if sent + self._offset == len(first):
                    self._offset = 0
                    self.sends += 1
                    out.clear()
                    return DRAINED
                self._offset += sent
            else:
                parts = out[:_GATHERED]
                if type(parts[-1]) is not bytes:
                    parts = [part for part in parts if type(part) is bytes]
                sent = self._io.sendv(self.fd, parts, self._offset)
                self._forget(out, sent)
            if sent == 0:
                return FULL
            self.sends += 1
        return DRAINED

    def hold(self) -> bool:
        """Leave `out` to the courier, to be sent soon with what comes next; return False if it takes none."""
        if (
            self.tunnel is not None
            or self._offset
            or not self.runner.courier.carry(self.fd, self.connection.out)
        ):
            return False
        self._held = True
        if not self._is_hurried:
            self._hurry()
        return True

    def take_back(self) -> None:
        """Have in `out` again what the courier has not sent."""
        if not self._held:
            return
        self._held = False
        courier = self.runner.courier
        try:
            courier.carry(self.fd, self.connection.out)  # which makes one piece of all, if there is room
            left = courier.give_back()
            if left:
                self.connection.out.insert(0, left)
        except (OSError, MemoryError):  # without memory, what it had is lost
            self.broken = True
        self.sends += courier.sends

    def send_through(self, left: int = _SENT_AHEAD) -> bool:
        """Send `out` until only `left` bytes of it are left; return False if the client has gone.

        Waits for the client for as long as write_timeout allows.
        """
        outcome = self.send()
        while outcome == FULL and self._pending() > left:
            is_ready = self._wait(select.POLLOUT, self.endpoint.write_timeout)
            outcome = self.send() if is_ready else GONE
        if outcome == GONE:
            self.broken = True
        return not self.broken  # who leads the loop may have found out meanwhile

    def fetch(self, request: Request) -> bytes:
        """Wait for more of the body of `request`, in the thread of the app; return b"" at its end.

        Raises HTTPError if it does not come, or is malformed.
        """
        connection = self.connection
        if self.broken:
            raise HTTPError(400, "the client has gone, or was told that the request has timed out")
        if request.stream.unasked:
            request.stream.unasked = False
            if self.response is not None and not self.response.head_sent:
                connection.ask()
                self.send_through(0)
        piece = b""
        try:
            while not piece and connection.is_streaming():
                piece = connection.take(self._receive_through())
        except MemoryError:  # a part of it is lost
            raise HTTPError(503, OUT_OF_MEMORY) from None
        return piece

    def skip_body(self, request: Request) -> None:
        """Throw away what the app has left of a body; if all of it has come, the connection can go on."""
        request.stream.cut()
        try:
            for _ in range(_SKIPPED):
                data = self.receive()
                if not data:
                    return
                self.connection.take(data)
                if not self.connection.is_streaming():
                    return
        except (OSError, HTTPError):
            pass  # the connection is closed then

    def _receive_through(self) -> bytes:
        """Return bytes that come while the app waits for them; raises HTTPError if none do."""
        try:
            while self._wait(select.POLLIN, self.endpoint.body_timeout):
                try:
                    # Not by IO, whose buffer is the leader's.
                    came = os.read(self.fd, _READ_AT_ONCE)
                except BlockingIOError:
                    continue
                data = came if self.tunnel is None else self._open(came)
                if data == b"":
                    raise HTTPError(400, "the client has gone before the end of its request's body")
                if data is not None:
                    return data
                self.send()  # what TLS may have to say
        except OSError as error:
            raise HTTPError(400, f"the client has gone: {error.strerror}") from None
        raise HTTPError(408, "body_timeout")

    def interrupt(self, how: int = socket.SHUT_RD) -> None:
        """Let a fetch() that another thread is in see the end of the stream, or the client as well."""
        borrowed = socket.socket(fileno=self.fd)
        try:
            borrowed.shutdown(how)
        except OSError:  # the client has gone, which is as good
            pass
        finally:
            borrowed.detach()

    def expire(self, page: bytes) -> None:
        """Answer `page`, or b"" for nothing, in place of a thread that has no say from now on."""
        if page:
            self.connection.out.append(page)  # behind the answers that came before
            self.send()  # a client that does not even take these is cut off
            self._say_farewell()
            self._io.shutdown_write(self.fd)
        else:
            self.take_back()
            self.interrupt(socket.SHUT_RDWR)
        self.broken = True
        self.expired = page
        self.forget()
        if self.handover is not None:
            self.handover.withdraw()
            self.handover = None

    def give(self) -> tuple[int, bytes]:
        """Give the connection to the app: return a descriptor for it, and what was read ahead."""
        self.forget()
        if not self._is_hurried:
            self._hurry()
        return os.dup(self.fd), self.connection.give()

    def is_given(self) -> bool:
        """Return whether the app has taken the connection over."""
        return self.handover is not None and self.handover.taken

    def log(self, response: Response, now: float) -> None:
        """Have a request logged that is over."""
        if self.expired is not None:
            return  # it was logged then
        seconds = now - self.started
        is_unsent = self.sends == self.sends_before and not self.is_given()
        # The loop need not have looked for hang-ups meanwhile, and a quick answer is not worth a look.
        if is_unsent and (self.broken or response.is_abandoned or (seconds > _LONG and self._is_reset())):
            response.lose()
        environ = response.request.environ
        self.endpoint.log(environ, response.status, response.headers, response.body_size, seconds)

    def log_expired(self, response: Response, now: float) -> None:
        """Have a request logged that is over for its client, and not for its thread."""
        status, headers, nbytes = response.status, response.headers, response.body_size
        page: Any = self.expired
        if page:
            status, headers, nbytes = http11.status_text(504), None, size_of_body(page)
        elif self.sends == self.sends_before:
            status, headers, nbytes = http11.CLIENT_GONE, None, 0
        self.endpoint.log(response.request.environ, status, headers, nbytes, now - self.started)

    def linger(self) -> None:
        """Let the client see the end of what was sent, and throw away what it still sends."""
        self.lingers = True
        self._discards = _MOST_DISCARDED
        self._say_farewell()
        self._io.shutdown_write(self.fd)
        self.wait_for(READ)

    def discard(self) -> bool:
        """Throw away what has come; return False at its end, or when it has been enough."""
        try:
            data = self._io.recv(self.fd)
        except OSError:
            return False
        if data is None:
            return True
        self._discards -= len(data)
        return len(data) > 0 and self._discards > 0

    def forget(self) -> None:
        """Ask for no events any more, not even hang-ups."""
        if self._registered:
            self._io.unregister(self.fd)
            self._registered = False
            self.interest = 0

    def close(self) -> None:
        """Close the descriptor."""
        try:
            if self.request is not None and self.endpoint.log is not None:
                waited = self._io.monotonic() - self.arrived  # for the app, in vain
                self.endpoint.log(self.request.environ, http11.CLIENT_GONE, None, 0, waited)
            self.take_back()
            if not self.lingers:
                self._say_farewell()
        except MemoryError:
            pass  # it is closed all the same
        self.request = None
        self.forget()
        fd, self.fd = self.fd, -1
        self._io.close_fd(fd)

    def _hurry(self) -> None:
        """Have nothing wait until the client has acknowledged what was sent before it (Nagle's algorithm)."""
        self._is_hurried = True
        self._io.hurry(self.fd)

    def _is_reset(self) -> bool:
        """Return whether the client has gone; one that has only sent its last byte may still read."""
        poll = _poll()
        poll.register(self.fd, 0)
        return bool(poll.poll(0))

    def _wait(self, event: int, timeout: float) -> bool:
        """Wait for the client, in the thread that calls the app; return False if that takes too long."""
        poll = select.poll()
        poll.register(self.fd, event)
        give_up = self._io.monotonic() + timeout if timeout else NEVER
        while not poll.poll(BEAT * 1000):
            now = self._io.monotonic()
            if now >= give_up:
                return False
            self.runner.since = now  # the thread waits, it does not hang
            if self.endpoint.heartbeat is not None:
                self.endpoint.heartbeat(now)
        return True

    def _forget(self, out: list[Any], sent: int) -> None:
        """Drop the pieces of `out` that `sent` more bytes complete."""
        offset = self._offset + sent
        done = 0
        for piece in out:
            if type(piece) is not bytes or len(piece) > offset:
                break
            offset -= len(piece)
            done += 1
        self._offset = offset
        del out[:done]

    def _send_region(self, out: list[Any], region: Any) -> int:
        try:
            sent = self._io.sendfile(self.fd, region.fd, region.offset, region.count)
        except OSError as error:
            if error.errno not in _NO_SENDFILE:
                raise
            data = region.read(_READ_INSTEAD)
            sent = len(data) or -1
            out.insert(0, data)
        self._advance_region(out, region, sent)
        return sent

    def _advance_region(self, out: list[Any], region: Any, sent: int) -> None:
        if sent < 0:
            # The file has become shorter since its length was promised.
            raise BrokenPipeError(errno.EPIPE, "file ended early")
        region.advance(sent)
        if region.count == 0:
            out.remove(region)

    # TLS.

    def _open(self, data: bytes) -> bytes | None:
        """Return what was sealed in `data`, as receive() does."""
        tunnel = self.tunnel
        if data and self.connection.awaits_header():
            data = self.connection.take_header(data)
            if not data:
                return None
        was_known = tunnel.established
        try:
            opened: bytes | None = tunnel.open(data)
        except OSError:
            if tunnel.established:
                raise
            self.connection.reject()  # and hears why, in an alert
            return None
        if not was_known and tunnel.client is not None:
            self.connection.say(tunnel.client)
        if tunnel.ended and opened:
            self.connection.ended = True  # the end came along, and no event will tell of it
        return opened

    def _send_sealed(self) -> int:
        tunnel, out = self.tunnel, self.connection.out
        is_over = self.connection.is_closing() and self.response is None and not self.is_given()
        # The farewell is one of the records: a client that reads slowly would miss it otherwise.
        while out or tunnel.owes() or (is_over and tunnel.part()):
            if not tunnel.records():
                tunnel.seal(self._next_piece(out))
            sent = self._io.send(self.fd, tunnel.records(), tunnel.sent())
            if sent == 0:
                return FULL
            tunnel.advance(sent)
            self.sends += 1
        return DRAINED

    def _next_piece(self, out: list[Any]) -> bytes:
        """Take from `out` what is sealed together."""
        if not out:
            return b""
        first = out[0]
        if type(first) is not bytes:
            data: bytes = first.read(_SEALED_TOGETHER)
            self._advance_region(out, first, len(data) or -1)
            return data
        parts, size, offset = [], 0, self._offset
        for piece in out:
            if type(piece) is not bytes or size >= _SEALED_TOGETHER:
                break
            part = piece[offset : offset + _SEALED_TOGETHER - size]
            parts.append(part)
            size += len(part)
            offset = 0
        self._forget(out, size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pending(self) -> int:
        """Return how many bytes in memory are to be sent."""
        return self.connection.pending() + (0 if self.tunnel is None else self.tunnel.owes())

    def _say_farewell(self) -> None:
        """Tell a client by TLS that nothing more comes, if it has got all before (RFC 8446 §6.1)."""
        if self.tunnel is None or self.broken or self.connection.out or self.is_given():
            return
        try:
            if farewell := self.tunnel.end():
                self._io.send(self.fd, farewell)
        except OSError:  # it has gone
            pass
