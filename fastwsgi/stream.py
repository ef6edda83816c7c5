"""`wsgi.input` of a request whose body is still on its way, where request_buffering is off.

Owns nothing but the app's side of it: a read waits for bytes, in the app's own thread, and what comes is
framed by the connection. When the request is over the stream is cut off from the connection, which goes on
with other requests, even if a thread of the app is still reading.

A body that fails to come, or is malformed, is an OSError for the app: Werkzeug makes a 400 of that, Django an
UnreadablePostError. If the app lets it out, the client is answered with the status it deserves.
"""

from __future__ import annotations

import errno
import io
import threading
from typing import TYPE_CHECKING

from .errors import HTTPError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from .channel import Channel
    from .request import Request

__all__ = ["BodyStream", "UnreadableBodyError", "attach"]


class UnreadableBodyError(OSError):
    """The rest of a request's body cannot be had."""


def attach(channel: Channel, request: Request) -> None:
    """Let the app read the body of `request` while it comes in on `channel`."""
    request.stream = BodyStream(channel, request)
    request.environ["wsgi.input"] = io.BufferedReader(request.stream)


class BodyStream(io.RawIOBase):
    """The bytes of one body, in order; `io.BufferedReader` makes lines of them."""

    def __init__(self, channel: Channel, request: Request) -> None:
        """Begin with what has come already."""
        super().__init__()
        first = channel.connection.take(b"")
        # The client waits to be told to go on (RFC 9110 §10.1.1).
        self.unasked = request.expect_continue and not first
        self.error: HTTPError | None = None
        self._piece = memoryview(first)
        self._source: tuple[Channel, Request] | None = (channel, request)
        self._lock = threading.Lock()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` with what there is, wait if that is nothing; return how many bytes, 0 at the end.

        Raises UnreadableBodyError, or ValueError when the request is over.
        """
        target = memoryview(buffer).cast("B")
        with self._lock:
            if not self._piece:
                self._piece = memoryview(self._next())
            size = min(len(target), len(self._piece))
            target[:size] = self._piece[:size]
            self._piece = self._piece[size:]
        return size

    def cut(self) -> None:
        """End the stream: whoever reads from now on, or is still reading, gets an error."""
        source, self._source = self._source, None
        if not self._lock.acquire(blocking=False):
            if source is not None:
                source[0].interrupt()
            self._lock.acquire()
        self._piece = memoryview(b"")
        self._lock.release()

    def _next(self) -> bytes:
        if self._source is None:
            msg = "the request whose body this was is over"
            raise ValueError(msg)
        if self.error is None:
            try:
                channel, request = self._source
                with channel.runner.gate:
                    return channel.fetch(request)
            except HTTPError as error:
                self.error = error.with_traceback(None)
        raise UnreadableBodyError(errno.EIO, self.error.detail)
