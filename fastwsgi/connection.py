"""The HTTP/1 side of one connection, without a socket: bytes in, whole requests out (RFC 9112 §9).

It owns the bytes read and not yet used, the framing of request bodies, and `out`, the pieces not yet
sent. It never calls the app: the engine takes a request, has it answered into `out`, and then asks for
the next one. After an error or a request that ends the connection nothing more is read as a request.

  state   | bytes                                  | end of stream       | deadline passed
  PROXY   | the PROXY header is whole: IDLE        | CLOSING             | 408, CLOSING
  IDLE    | a whole head: BODY or BUSY; else HEAD  | CLOSING             | CLOSING, silently
  HEAD    | the head is whole: BODY or BUSY        | CLOSING             | 408, CLOSING
  BODY    | the body is whole: BUSY                | CLOSING             | 408, CLOSING
  STREAM  | the app's to take; the last: BUSY      | the app's to see    | (the engine's own)
  BUSY    | kept for later                         | close when answered | (the engine's own)
  CLOSING | thrown away                            | -                   | -
  any     | malformed or too large: 4xx/5xx, CLOSING
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from . import http11, policy
from .body import Body
from .chunked import ChunkedDecoder
from .errors import OUT_OF_MEMORY, HTTPError
from .response import error_page, size_of_body
from .states import NEVER

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .request import Request

__all__ = ["Connection"]

IDLE = 0
HEAD = 1
BODY = 2
BUSY = 3
CLOSING = 4
STREAM = 5
PROXY = 6

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_NEVER_SPOOLED = 1 << 62  # bytes

# Bytes that a client may send ahead of the response it waits for, before it is no longer read from.
_READ_AHEAD = 65536


class Connection:
    """The state of one connection."""

    __slots__ = (
        "_base",
        "_body",
        "_buffer",
        "_decoder",
        "_endpoint",
        "_is_last",
        "_offset",
        "_remote_addr",
        "_remote_port",
        "_request",
        "_searched",
        "_seen",
        "_to_come",
        "_trusted",
        "began",
        "deadline",
        "ended",
        "error",
        "out",
        "served",
        "state",
        "unread",
    )

    def __init__(self, endpoint: Endpoint, remote_addr: str, remote_port: str, now: float) -> None:
        """Start at the monotonic time `now`, before the first byte."""
        self.state = IDLE if endpoint.proxy_protocol is None else PROXY
        self.out: list[Any] = []  # bytes objects and FileRegions
        self.deadline = now + endpoint.header_timeout if endpoint.header_timeout else NEVER
        self.error: HTTPError | None = None  # what the client was refused for
        self.ended = False  # the client has sent its last byte
        self.unread = False  # CLOSING with bytes not used: a close at once could reset the answer
        self.served = 0  # requests handed out
        self._endpoint = endpoint
        self._remote_addr = remote_addr
        self._remote_port = remote_port
        # Once for all requests: whether the peer is a proxy that is believed, and what they begin with.
        self._trusted = endpoint.trusts is not None and endpoint.trusts(remote_addr)
        self._base = endpoint.base
        # Bytes read and not yet used: a bytearray while a head is incomplete, bytes from `_offset` on
        # for requests that came ahead of their turn; None for nothing.
        self._buffer: bytes | bytearray | None = None
        self._offset = 0
        self._searched = 0
        self._request: Request | None = None  # the one whose body is on its way
        self._body: Body | None = None
        self._decoder: ChunkedDecoder | None = None
        self._is_last = False  # the client has said that it will send no request after the latest
        self._to_come = 0  # bytes of a body framed by Content-Length
        self.began = self._seen = now  # when a request's first bytes came, and its latest

    def say(self, words: dict[str, str]) -> None:
        """Have all its requests say this of the connection, besides what those of every other do."""
        self._base = self._base.copy()
        self._base.update(words)

    def is_closing(self) -> bool:
        """Return whether the connection is to be closed once `out` is sent."""
        return self.state == CLOSING

    def is_over(self) -> bool:
        """Return whether all is over but for `out`: nothing more will come, and what came was used."""
        return self.state == CLOSING and not self.unread and (self._is_last or self.ended)

    def is_busy(self) -> bool:
        """Return whether a request is being answered."""
        return self.state == BUSY or self.state == STREAM

    def is_streaming(self) -> bool:
        """Return whether more of a request's body is to come, for the app that answers it to read."""
        return self.state == STREAM

    def is_idle(self, since: float) -> bool:
        """Return whether it waits for a next request of which nothing has come yet, with nothing to send.

        Or for the rest of a head, or a first request, and has done since the time `since`.
        """
        if self.state == IDLE and self.served > 0:
            return not self.out
        return (
            self.began < since
            and (self.state == IDLE or self.state == HEAD or self.state == PROXY)
            and not self.out
        )

    def is_at_rest(self) -> bool:
        """Return whether nothing of a next request, or of the first, has come, with nothing to send."""
        return not self.out and (self.state == IDLE or (self.state == PROXY and self._buffer is None))

    def wants_more(self) -> bool:
        """Return whether the client should be read from now."""
        if self.state == BUSY:
            return not self.ended and (self._buffer is None or len(self._buffer) - self._offset < _READ_AHEAD)
        return self.state != CLOSING and self.state != STREAM

    def ahead(self) -> bool:
        """Return whether bytes of a next request have come ahead of its turn."""
        return self._buffer is not None

    def pending(self) -> int:
        """Return how many bytes in memory are in `out`."""
        pending = 0
        for piece in self.out:  # compiled, a generator would be an object
            if type(piece) is bytes:
                pending += len(piece)
        return pending

    def receive(self, data: bytes, now: float) -> Request | None:
        """Take bytes that have come; return a request that is whole by now, if there is one.

        Whatever is wrong with them is answered in `out`, and the connection is CLOSING.
        """
        if self.state == IDLE:
            return self._parse(data, 0, now)
        if self.state == BUSY:
            self._buffer = data if self._buffer is None else bytes(self._buffer[self._offset :]) + data
            self._offset = 0
            return None
        try:
            if self.state == HEAD:
                return self._receive_head(data, now)
            if self.state == BODY:
                return self._receive_body(data, 0, now)
            if self.state == PROXY:
                behind = self.take_header(data)
                return self._parse(behind, 0, now) if behind else None
        except HTTPError as error:
            self._refuse(error, self._buffer)
        except MemoryError:
            self.starve()
        return None

    def next_request(self, now: float) -> Request | None:
        """Go on after a request has been answered; return the next if it has come ahead of its turn."""
        if not self.is_busy():
            return None
        self._release_body()
        if self.state == STREAM:
            self.close()  # whatever comes next is not a request
            return None
        self.state = IDLE
        keepalive = self._endpoint.keepalive
        self.deadline = now + keepalive if keepalive else NEVER
        request = None
        data = self._buffer
        if data is not None:
            start = self._offset
            self._buffer = None
            self._offset = 0
            request = self._parse(bytes(data), start, now)
        if request is None and self.ended:
            self.close()
        return request

    def end_of_stream(self) -> None:
        """Note that the client sends nothing more; it may still wait for the answer to its request."""
        self.ended = True
        if not self.is_busy():
            self.close()

    def time_out(self) -> None:
        """Note that the deadline has passed."""
        if self.state == HEAD or self.state == BODY or (self.state == PROXY and self._buffer is not None):
            self._seen = self.deadline
            reason = "body_timeout" if self.state == BODY else "header_timeout"
            self._refuse(HTTPError(408, reason), self._buffer)
        else:
            self.close()

    def starve(self) -> None:
        """Refuse what has come, and is lost for want of memory."""
        self._refuse(HTTPError(503, OUT_OF_MEMORY), None)

    def give(self) -> bytes:
        """Give up the connection to the app; return what has come behind its request."""
        ahead = b"" if self._buffer is None else bytes(self._buffer[self._offset :])
        self._buffer = None
        self.out.clear()
        self.close()
        return ahead

    def reject(self) -> None:
        """Close without a word of HTTP, though the client may go on sending."""
        self.close()
        self.unread = True

    def close(self) -> None:
        """Take nothing more from the client; what is in `out` may still be sent."""
        if self.state == HEAD or self.state == BODY:
            self._log(http11.CLIENT_GONE, self._buffer, 0)
        self.deadline = NEVER
        self.unread = self._buffer is not None or self.state == STREAM
        self.state = CLOSING
        self._release_body()
        self._buffer = None
        self._request = None

    # Heads.

    def awaits_header(self) -> bool:
        """Return whether the PROXY header is still to come, which is in the clear, before TLS."""
        return self.state == PROXY

    def take_header(self, data: bytes) -> bytes:
        """Take bytes of the PROXY header, which comes before all else and holds for the whole connection.

        Return what is behind it, b"" if nothing is, or the header is not whole, or was refused.
        """
        protocol: Any = self._endpoint.proxy_protocol
        buffer: Any = data
        if self._buffer is not None:
            buffer = self._buffer
            buffer += data
        try:
            header = protocol.read(buffer, self._remote_addr)
        except HTTPError as error:
            self._refuse(error, None)
            return b""
        if header is None:
            self._buffer = buffer if type(buffer) is bytearray else bytearray(buffer)
            return b""
        self._buffer = None
        if header.client is not None:
            self._remote_addr, self._remote_port = header.client
        if self._endpoint.open_tunnel is not None and header.protocol not in ("", "LOCAL"):
            # Who sends it before TLS passes on what it cannot read: the fields are those of whom it names.
            named = "" if header.client is None else header.client[0]
            trusts: Any = self._endpoint.trusts
            self._trusted = named != "" and trusts is not None and trusts(named)
        if header.size:
            self.say(header.environ())
        self.state = IDLE
        return bytes(buffer[header.size :])

    def _parse(self, data: bytes, start: int, now: float) -> Request | None:
        endpoint = self._endpoint
        self.began = self._seen = now
        try:
            request = endpoint.parser.parse(
                data, start, self._base, self._remote_addr, self._remote_port, self._trusted
            )
            if request is None:
                self._buffer = bytearray(data[start:]) if start else bytearray(data)
                self._searched = 0
                self.state = HEAD
                self.deadline = now + endpoint.header_timeout if endpoint.header_timeout else NEVER
                endpoint.parser.head_end(self._buffer, 0)  # refuses what no more bytes can mend
                self._searched = len(self._buffer)
                return None
            return self._begin(request, data, now)
        except HTTPError as error:
            self._refuse(error, data[start:])
        except MemoryError:
            self.starve()
        return None

    def _receive_head(self, data: bytes, now: float) -> Request | None:
        buffer: Any = self._buffer
        buffer += data
        self._seen = now
        endpoint = self._endpoint
        if endpoint.parser.head_end(buffer, self._searched) == 0:
            self._searched = len(buffer)
            return None
        whole = bytes(buffer)
        request = endpoint.parser.parse(
            whole, 0, self._base, self._remote_addr, self._remote_port, self._trusted
        )
        if request is None:
            raise HTTPError(400, "head without end")
        self._buffer = None
        return self._begin(request, whole, now)

    def _begin(self, request: Request, data: bytes, now: float) -> Request | None:
        """Take what follows the head, which may be the body, a part of it, or requests to come."""
        start = request.head_end
        length = request.content_length
        if length == 0:
            return self._hand_out(request, data, start)
        endpoint = self._endpoint
        available = len(data) - start
        if 0 < length <= available and length <= endpoint.spool_at:
            request.environ["wsgi.input"] = BytesIO(data[start : start + length])
            return self._hand_out(request, data, start + length)
        limits = endpoint.limits
        self._request = request
        spool_at = _NEVER_SPOOLED if endpoint.streams else endpoint.spool_at
        self._body = Body(limits.body, spool_at, endpoint.open_spool)
        self.state = BODY
        if length < 0:
            self._decoder = ChunkedDecoder(limits.fields, limits.field_size)
        else:
            self._body.expect(length)
            self._to_come = length
        if request.expect_continue and available == 0 and not endpoint.streams:
            self.ask()  # RFC 9110 §10.1.1: not once the body has begun to arrive
        whole = self._receive_body(data, start, now)
        if whole is not None or not endpoint.streams:
            return whole
        self.state = STREAM
        self.deadline = NEVER
        self.served += 1
        return request

    # Bodies.

    def ask(self) -> None:
        """Tell the client to send the body that it has announced."""
        self.out.append(_CONTINUE)

    def take(self, data: bytes) -> bytes:
        """Take bytes that have come while the app reads the body; return the piece of body that is in them.

        Returns b"" also when they hold nothing of it yet. Raises HTTPError.
        """
        body: Any = self._body
        position = self._decode(data, 0)
        piece: bytes = body.take()
        if position >= 0:
            if position < len(data):
                self._buffer = data
                self._offset = position
            self.state = BUSY  # the last of all: from here on the loop may read ahead
        return piece

    def _decode(self, data: bytes, start: int) -> int:
        """Decode `data[start:]` into the body; return where the body ends, -1 if it is not whole."""
        body: Any = self._body
        if self._decoder is not None:
            position = self._decoder.decode(data, start, body)
            return position if self._decoder.done else -1
        size = min(len(data) - start, self._to_come)
        if size:
            body.write(data[start : start + size])
            self._to_come -= size
        return start + size if self._to_come == 0 else -1

    def _receive_body(self, data: bytes, start: int, now: float) -> Request | None:
        body: Any = self._body
        self._seen = now
        timeout = self._endpoint.body_timeout
        self.deadline = now + timeout if timeout else NEVER
        position = self._decode(data, start)
        if position < 0:
            return None
        request: Any = self._request
        environ = request.environ
        environ["wsgi.input"] = body.open()
        if self._decoder is not None:
            environ["CONTENT_LENGTH"] = str(body.size)
            self._decoder = None
        self._request = None
        return self._hand_out(request, data, position)

    def _hand_out(self, request: Request, data: bytes, end: int) -> Request:
        if end < len(data):
            self._buffer = data
            self._offset = end
        self.state = BUSY
        self.deadline = NEVER
        self.served += 1
        # Some clients send a line end after a body (RFC 9112 §2.2).
        self._is_last = not request.keep_alive and request.content_length == 0
        return request

    def _release_body(self) -> None:
        if self._body is not None:
            if self._request is not None and self._request.stream is not None:
                self._request.stream.cut()
                self._request = None
            self._body.close()
            self._body = None
            self._decoder = None

    def _refuse(self, error: HTTPError, head: bytes | bytearray | None) -> None:
        """Answer with an error; `head` is that of the request as far as it came, if it was not parsed."""
        self.error = error.with_traceback(None)  # whose frames hold this connection: a cycle
        complain = self._endpoint.complain
        if complain is not None:
            complain(self._remote_addr, error)
        if self.state == PROXY and self._endpoint.open_tunnel is not None:
            self.reject()  # before TLS, a client would not understand
            return
        # RFC 9110 §9.3.2: no content for HEAD, as far as it is known to be one.
        is_head = policy.is_head(head or b"") if self._request is None else self._request.is_head
        page = error_page(self._endpoint.serializer, error.status, is_head=is_head)
        self.out.append(page)
        self._log(http11.status_text(error.status), head, size_of_body(page))
        self.state = CLOSING
        self.reject()

    def _log(self, status: str, head: bytes | bytearray | None, nbytes: int) -> None:
        """Have a request logged that no app gets to see, with what is known of it."""
        log = self._endpoint.log
        if log is None:
            return
        if self._request is not None:
            environ = self._request.environ
        else:
            environ = {"REMOTE_ADDR": self._remote_addr, "REMOTE_PORT": self._remote_port}
            environ.update(policy.outline(head or b""))
        log(environ, status, None, nbytes, self._seen - self.began)
