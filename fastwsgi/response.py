"""One response: from what the app does, by PEP 3333, to bytes in framing that nothing can break.

It owns start_response, write, the app's iterable and its close(), and the choice of framing (RFC 9112
§6.3). It appends to the connection's `out` and never sends; the engine flushes `out` and asks for more.
Nothing an app does raises out of here: failures become a 500, or a cut-off response, and are kept in
`failure` and `complaint` for the log.

  state     | what is to come                          | the engine
  PULLING   | pieces from the app's iterator           | flushes, calls pull() when `out` has drained
  SENDING   | nothing; a file region is in `out`       | flushes, calls finish() when it has drained
  EXHAUSTED | nothing; the iterable is not yet closed  | calls finish(), before or after the flush
  DONE      | nothing                                  | flushes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import http11
from .states import DONE, EXHAUSTED, PULLING, SENDING
from .wsgi import FileWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from types import TracebackType

    from ._serializer_py import Serializer
    from .endpoint import Endpoint
    from .request import Request

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = ["Response", "error_page", "size_of_body"]

# Up to here a copy costs less than one more element of a gathering write.
_JOINED_UP_TO = 16384

_END: Any = object()  # where an exception would cost more
_next: Any = next  # looked up here: compiled code would search two modules for it at each call

_NO_FRAMING = -1
_CHUNKED = -2

_EARLY_HINTS = "103 Early Hints"
_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n"


def error_page(serializer: Serializer, status: int, *, is_head: bool = False) -> bytes:
    """Return a whole response of our own: short, without version or traceback, closing the connection."""
    status_text = http11.status_text(status)
    body = f"{status_text}\n".encode()
    block = serializer.render(status_text, [("Content-Type", "text/plain; charset=utf-8")])
    return serializer.assemble(block, 0, len(body), _CLOSE, b"" if is_head else body)


def size_of_body(page: bytes) -> int:
    """Return how many bytes of such a response follow its head."""
    return len(page) - page.find(b"\r\n\r\n") - 4


def _text(word: str | bytes) -> str:
    return word.decode("latin-1") if isinstance(word, bytes) else word


class Response:
    """The response to one request."""

    __slots__ = (
        "_block",
        "_call",
        "_context",
        "_endpoint",
        "_iterable",
        "_iterator",
        "_out",
        "_remaining",
        "_stamps",
        "body_size",
        "chunked",
        "code",
        "complaint",
        "failure",
        "head_sent",
        "headers",
        "is_abandoned",
        "keep_alive",
        "owner",
        "request",
        "serializer",
        "state",
        "status",
        "view",
    )

    def begin(
        self,
        endpoint: Endpoint,
        request: Request,
        out: list[Any],
        owner: object,
        context: Context,
    ) -> None:
        """Prepare to answer `request` into `out`; `owner` is handed to endpoint.transmit for write().

        The app runs in `context`, all the time: between two pieces of one response others may run.
        Not an `__init__`: calling the class would cost a tuple and its parsing for each request.
        """
        self.request = request
        self.owner = owner
        self.status = ""
        self.headers: list[tuple[str, str]] | None = None
        self.code = 0
        self.body_size = 0  # bytes of body so far, framing not counted
        self.keep_alive = request.keep_alive
        self.head_sent = False
        self.is_abandoned = False
        self.state = PULLING
        self.failure: BaseException | None = None
        self.complaint = ""
        self.serializer = endpoint.serializer  # of the thread that calls the app
        self._endpoint = endpoint
        self._out = out
        self._block: Any = None  # bytes, from start_response() on
        self._stamps = 0
        self._remaining = -1  # of the declared Content-Length; -1 = none is declared
        self.chunked = False
        self._iterable: Any = None
        self._iterator: Any = None
        self._context = context
        self.view: Any = None  # the request as hooks have seen it

    # What the app sees.

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Take status and headers, as PEP 3333 says; return write(), which is this object itself."""
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # breaks the cycle of traceback and frame
        elif self.state == DONE:
            msg = "start_response() after the response has ended"
            raise AssertionError(msg)
        elif self._block is not None:
            msg = "start_response() was called a second time without exc_info"
            raise AssertionError(msg)
        serializer = self.serializer
        block = serializer.render(status, headers)
        if serializer.code < 200 and serializer.code != 101:
            # RFC 9110 §15.2: the client would wait on for the answer. Who has taken the socket may say 101.
            msg = f"status must be that of a final response: {status!r}"
            raise ValueError(msg)
        self._block = block
        if type(status) is not str:
            status = str.__str__(status)  # as it was sent
        self.code = serializer.code
        self._remaining = serializer.length
        self._stamps = serializer.stamps
        if serializer.closes:
            self.keep_alive = False
        self.status = status
        self.headers = headers
        return self  # a bound method would have to be made for each request, and almost none is called

    def __call__(self, data: bytes) -> None:
        """Be write(): send `data` before the app goes on, the imperative way of PEP 3333."""
        if self.state == DONE:
            msg = "write() after the response has ended"
            raise AssertionError(msg)
        self._add(data)
        transmit = self._endpoint.transmit
        if transmit is not None:
            transmit(self.owner)

    def hint(self, fields: Iterable[tuple[str | bytes, str | bytes]]) -> None:
        """Be `wsgi.early_hints`: send a 103 with these fields at once (RFC 8297 §2), unless a head was sent.

        Raises TypeError or ValueError, as start_response does, for fields that no response may have.
        """
        if self.head_sent or self.request.version == 0:  # HTTP/1.0 knows no interim responses
            return
        headers = [(_text(name), _text(value)) for name, value in fields]
        block = self.serializer.render(_EARLY_HINTS, headers)
        self._out.append(block + b"\r\n")
        transmit = self._endpoint.transmit
        if transmit is not None:
            transmit(self.owner)

    # What the engine calls.

    def run(self, app: Callable[..., Any]) -> None:
        """Call the app; what it gives at once is in `out` afterwards."""
        try:
            result = self._context.run(app, self.request.environ, self.start_response)
            if type(result) is list or type(result) is tuple:
                self._add_whole(result)
                return
            self._iterable = result
            if (
                type(result) is FileWrapper
                and self._endpoint.region_of is not None
                and self._block is not None
                and not self.head_sent
            ):
                region = self._endpoint.region_of(result.filelike)
                if region is not None:
                    self._add_file(region)
                    return
            self._call = self._context.run  # made once: it is called for each piece
            self._iterator = self._call(iter, result)
        except BaseException as error:
            self.fail(error)

    def pull(self) -> bool:
        """Move one piece from the app to `out`; return whether there may be more."""
        try:
            piece = self._call(_next, self._iterator, _END)
            if piece is _END:
                self._exhaust()
                return False
            self._add(piece)
        except BaseException as error:
            self.fail(error)
            return False
        if self.head_sent and self._has_no_body():
            self._exhaust()  # the rest would be thrown away
            return False
        return True

    def has_all(self) -> bool:
        """Return whether all of a declared Content-Length is in `out`."""
        return self._remaining == 0 and self.head_sent

    def finish(self) -> None:
        """Close the app's iterable, once, whatever it is; the response is over then."""
        iterable = self._iterable
        self._iterable = None
        self._iterator = None
        self.state = DONE
        if iterable is not None:
            close = getattr(iterable, "close", None)
            if close is not None:
                try:
                    self._context.run(close)
                except BaseException as error:
                    if self.failure is None:
                        self.failure = error

    def fail(self, error: BaseException) -> None:
        """End the response after an error: with a 500 if nothing has been sent, else by cutting it off."""
        code = 500
        stream = self.request.stream
        if stream is not None and stream.error is not None and isinstance(error, OSError):
            code = stream.error.status  # the client's fault, which the app could not know what to do about
        elif self.failure is None:
            self.failure = error
        self.keep_alive = False
        if not self.head_sent:
            page = error_page(self.serializer, code, is_head=self.request.is_head)
            self._out.append(page)
            self.body_size = size_of_body(page)
            self.head_sent = True
            self.status = http11.status_text(code)
            self.code = code
            self.headers = None
        self.finish()

    def switch(self) -> None:
        """End the response since the app has taken the connection: what it has put out is thrown away."""
        if type(self.failure) is StopIteration:
            self.failure = None  # by which Flask-Sock and Engine.IO tell gunicorn that they have
        if self.state != DONE:
            self.abandon()
        self._out.clear()
        self.status = "101 Switching Protocols"
        self.code = 101
        self.headers = None
        self.body_size = 0

    def abandon(self) -> None:
        """End the response because the client has gone."""
        self.keep_alive = False
        self.head_sent = True
        self.is_abandoned = True
        self.finish()

    def lose(self) -> None:
        """Note that nothing of it was sent before the client went."""
        self.status = http11.CLIENT_GONE
        self.code = 499
        self.headers = None
        self.body_size = 0

    def show(self, observer: Callable[[Response], None]) -> None:
        """Show this response to `observer`, in the context that its app ran in."""
        self._context.run(observer, self)

    def replace(self, code: int, page: bytes) -> None:
        """Note that its client was sent a page of ours instead."""
        self.status = http11.status_text(code)
        self.code = code
        self.headers = None
        self.body_size = size_of_body(page)

    def report(self, log: Any, is_client_gone: bool) -> None:
        """Tell a logger what went wrong, and forget it: a traceback holds the app's frame, and that this."""
        environ = self.request.environ
        what = f"{environ.get('REQUEST_METHOD')} {environ.get('RAW_URI')}"  # the app may have emptied it
        if self.complaint:
            log.warning("%s: %s", what, self.complaint)
        if self.failure is not None and not is_client_gone:
            log.error("Error handling request %s", what, exc_info=self.failure)
        self.failure = None

    # Framing.

    def _has_no_body(self) -> bool:
        # RFC 9110 §6.4.1: HEAD, 1xx, 204 and 304 have headers only.
        return self.request.is_head or self.code < 200 or self.code == 204 or self.code == 304

    def _add_whole(self, parts: list[bytes] | tuple[bytes, ...]) -> None:
        """Put out a body that lies complete in a list or tuple, with its exact length."""
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if type(body) is not bytes:
            body = self._exact_bytes(body)
        if self._block is None:
            self._complain_unstarted()
        if self.head_sent:  # there were calls of write() before
            self._add(body)
            self._exhaust()
        else:
            length = len(body)
            if self._remaining < 0 or self._has_no_body():
                self._add_head(body, length)
            else:
                self._add(body)
            self._exhaust()
        self.state = DONE

    def _add_file(self, region: Any) -> None:
        """Put out a file region, for sendfile(2)."""
        length = region.count
        if self._remaining >= 0 and length > self._remaining:
            # A shorter Content-Length asks for a part of the file: PEP 3333 allows that, it is no error.
            region.count = length = self._remaining
        self._add_head(b"", length)
        if not self._has_no_body() and length:
            if self._remaining >= 0:
                self._remaining -= length
            self.body_size = length
            self._out.append(region)
        self._check_length()
        self.state = SENDING

    def _add(self, data: bytes) -> None:
        """Put out a piece of body, the head before the first."""
        if type(data) is not bytes:
            data = self._exact_bytes(data)
        if self._block is None:
            self._complain_unstarted()
        length = len(data)
        if length == 0:
            return
        if self._remaining >= 0 and length > self._remaining and not self._has_no_body():
            self.complaint = "the app sent more than its Content-Length; the rest was cut off"
            data = data[: self._remaining]
            length = self._remaining
        if not self.head_sent:
            self._add_head(data, -1)
        elif length and not self._has_no_body():
            self._add_data(data)

    def _add_head(self, data: bytes, length: int) -> None:
        """Put out the head, and `data` after it; `length` is that of the whole body, -1 if unknown."""
        no_body = self._has_no_body()
        framing = _NO_FRAMING
        if self._remaining >= 0:
            pass
        elif no_body:
            # RFC 9110 §9.3.2: the same fields as for GET. Nothing says nothing: for HEAD an app may leave
            # the body out, and a wrong length MUST NOT be sent (§8.6).
            if self.request.is_head and length > 0 and self.code >= 200 and self.code not in (204, 304):
                framing = length
        elif length >= 0:
            framing = length
        elif self.request.version > 0:
            framing = _CHUNKED
            self.chunked = True
        else:
            self.keep_alive = False  # RFC 9112 §6.3: HTTP/1.0 reads on to the end of the connection
        if not self._endpoint.keeps_alive:
            self.keep_alive = False
        if self.code < 200:
            self.keep_alive = False  # whatever follows a switch of protocols is not HTTP/1.1
        stream = self.request.stream
        if stream is not None and stream.unasked:
            # RFC 9110 §10.1.1: now nobody can tell whether the body will come.
            self.keep_alive = False
        connection = b""
        if not self.keep_alive:
            connection = _CLOSE
        elif self.request.version == 0:
            connection = _KEEP_ALIVE
        joins = not no_body and not self.chunked and len(data) <= _JOINED_UP_TO
        self._out.append(
            self.serializer.assemble(self._block, self._stamps, framing, connection, data if joins else b"")
        )
        self.head_sent = True
        if no_body:
            return
        if joins:
            self.body_size += len(data)
            if self._remaining >= 0:
                self._remaining -= len(data)
        elif data:
            self._add_data(data)

    def _add_data(self, data: bytes) -> None:
        length = len(data)
        self.body_size += length
        if self._remaining >= 0:
            self._remaining -= length
        if not self.chunked:
            self._out.append(data)
        elif length <= _JOINED_UP_TO:
            self._out.append(self.serializer.chunk(data))
        else:
            self._out.extend((b"%x\r\n" % length, data, b"\r\n"))

    def _exhaust(self) -> None:
        """Note that the app has no more to give."""
        if not self.head_sent:
            if self._block is None:
                try:
                    self._complain_unstarted()
                except AssertionError as error:
                    self.fail(error)
                return
            self._add_head(b"", 0)
        elif self.chunked:
            self._out.append(b"0\r\n\r\n")
        self._check_length()
        self.state = EXHAUSTED

    def _check_length(self) -> None:
        if self._remaining > 0 and not self._has_no_body():
            self.complaint = f"the app sent {self._remaining} bytes less than its Content-Length"
            self.keep_alive = False

    @staticmethod
    def _exact_bytes(data: object) -> bytes:
        if not isinstance(data, bytes):
            msg = f"the app must give bytes, not {type(data).__name__}"
            raise TypeError(msg)
        return b"".join((data,))  # what it holds: bytes() would ask its class

    @staticmethod
    def _complain_unstarted() -> None:
        msg = "the app gave its body before calling start_response()"
        raise AssertionError(msg)
