"""The TLS of one connection: what has come is opened, what is to be sent is sealed.

It owns the state of OpenSSL and the records not yet sent. It must not know HTTP, and touches no descriptor:
bytes come in and bytes go out. So nothing in TLS can block, nothing that has come lies where the poller does
not see it, and many records share one system call.

- OpenSSL has words of its own to say (the handshake, tickets, a new key): they are among the records.
- One may open while another seals: calls into OpenSSL have a lock, which is held during nothing else.
- The records are the sender's alone: the leader's of the loop or, while the app runs, its thread's.
"""

from __future__ import annotations

import errno
import ssl
import threading

from . import client_certificate
from .logs.error_log import ERROR_LOG

__all__ = ["Tunnel"]

_RECORD = 16384  # bytes of plaintext in a record at the most (RFC 8446 §5.1)
_MOST_UNSAID = 262144  # bytes that OpenSSL may have to say to a client which does not take them
_OVERHEAD = 128  # bytes of records for one of data, in those that hold the least
_MOST_OVERHEAD = 65536  # bytes of records beyond that; one that is not whole yet may be 16 KB of them


class Tunnel:
    """The server's end of TLS with one client."""

    __slots__ = (
        "_incoming",
        "_lock",
        "_outgoing",
        "_overhead",
        "_parted",
        "_peer",
        "_records",
        "_sent",
        "_tls",
        "_unsaid",
        "client",
        "ended",
        "established",
    )

    def __init__(self, context: ssl.SSLContext, peer: str) -> None:
        """Await a handshake; `peer` names the client in the log."""
        self.established = False  # the handshake is done
        self.ended = False  # the client has sent its last byte
        self.client: dict[str, str] | None = None  # what its certificate says, if it has shown one
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._lock = threading.Lock()
        self._parted = False  # the farewell was said, or is among the records
        self._peer = peer
        self._records = b""
        self._sent = 0  # bytes of them
        self._unsaid = 0  # bytes of what OpenSSL has to say, not yet among them
        self._overhead = 0  # bytes of records that have come, beyond what data may take

    def open(self, data: bytes) -> bytes | None:
        """Take bytes that have come, b"" for the end of the stream; return what was in them.

        Returns None for nothing yet, b"" at the end. Raises OSError (ssl.SSLError) for what is no TLS, or
        none that is allowed.
        """
        if not data:
            # OpenSSL is not told: without a farewell before, it would take that for an attack, and seal no
            # more; but HTTP has its own framing, and the client may wait for its answer.
            self.ended = True
        if self.ended:
            return b""
        if self._unsaid > _MOST_UNSAID:
            # Each new key that a client asks for is answered with one (RFC 8446 §4.6.3), read or not.
            raise OSError(errno.ENOBUFS, "the client asks for more than it takes")
        with self._lock:
            self._incoming.write(data)
            try:
                if not self.established and not self._shake_hands():
                    return None
                opened = self._read()
            finally:
                self._unsaid = self._outgoing.pending
        self._weigh(len(data), 0 if opened is None else len(opened))
        return opened

    def seal(self, data: bytes) -> None:
        """Make records of `data`, and of what OpenSSL has to say; those before must have been sent."""
        with self._lock:
            if len(data) <= _RECORD:
                if data:
                    self._tls.write(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), _RECORD):
                    self._tls.write(view[start : start + _RECORD])
            self._records = self._outgoing.read()
            self._sent = 0
            self._unsaid = 0

    def records(self) -> bytes:
        """Return the records that are being sent, from sent() on."""
        return self._records

    def sent(self) -> int:
        """Return how many bytes of them have been sent."""
        return self._sent

    def advance(self, nbytes: int) -> None:
        """Note that so many more bytes of them were sent."""
        self._sent += nbytes
        if self._sent == len(self._records):
            self._records = b""
            self._sent = 0

    def owes(self) -> int:
        """Return how many bytes are to be sent."""
        return len(self._records) - self._sent + self._unsaid

    def end(self) -> bytes:
        """Return what tells the client that nothing more comes: b"" if it has to be told otherwise."""
        with self._lock:
            if not self.established or self._records or self._parted:
                return b""
            self._parted = True
            try:
                self._tls.unwrap()
            except OSError:  # it is not waited for the client's
                pass
            return self._outgoing.read()

    def part(self) -> bool:
        """Have the farewell among the records, to be sent like others; False if there is none to be said."""
        farewell = self.end()
        if farewell:
            self._records, self._sent = farewell, 0
        return farewell != b""

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            client = self._peer or "a client"
            ERROR_LOG.debug("TLS handshake with %s failed: %s", client, error.reason or error)
            raise
        self.established = True
        self._see_certificate()
        return True

    def _see_certificate(self) -> None:
        """Note who the client is; only certificates that were verified are seen here."""
        shown: bytes | None = self._tls.getpeercert(True)
        if not shown:
            return
        try:
            self.client = client_certificate.environ_of(self._tls.getpeercert() or {}, shown)
        except (ValueError, KeyError, Warning) as error:
            ERROR_LOG.debug("The certificate of %s cannot be read: %s", self._peer or "a client", error)
            raise OSError(errno.EPROTO, "the client's certificate cannot be read") from None

    def _weigh(self, came: int, opened: int) -> None:
        """Refuse a client that has OpenSSL work for next to no data, by a new key in each record."""
        overhead = self._overhead + came - opened * _OVERHEAD
        self._overhead = max(overhead, 0)
        if overhead > _MOST_OVERHEAD:
            raise OSError(errno.EPROTO, "the client sends records without data")

    def _read(self) -> bytes | None:
        pieces: list[bytes] = []
        try:
            while not self.ended:
                piece = self._tls.read(_RECORD)
                if piece:
                    pieces.append(piece)
                    if not self._incoming.pending and not self._tls.pending():
                        break  # sooner than by the exception, which costs more than the look
                else:
                    self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        if pieces:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return b"" if self.ended else None
