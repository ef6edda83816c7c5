"""Hostile clients: each does one thing, and says in a word what came of it.

What it asked has a fate in the end: if the deed does not give it one, its client has left.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import ssl
import struct
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

from tests.apps.traffic import expected
from tests.corpus import cases
from tests.live import Peer, Reply, head
from tests.soak.accounting import MOST_FAILURES, UNTAKEN
from tests.soak.server import MOST_BODY
from tests.traffic import fault_of, request_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.soak.server import Soaked

PAUSE: Final = 0.3
"""Seconds between two deeds, at most."""

_TCP_REPAIR: Final = 19


class Visit:
    """What one deed asks of a server, with the fates of that."""

    def __init__(self, server: Soaked, rng: random.Random) -> None:
        self.server = server
        self.rng = rng
        self.worker = 0
        self._ledger = server.ledger
        self._tokens: set[bytes] = set()

    def connect(self, **options: int) -> Peer:
        return self.server.connect(self.rng, **options)

    def token(self) -> bytes:
        token = self._ledger.issue()
        self._tokens.add(token)
        return token

    def answered(self, token: bytes, reply: Reply, kind: str = "hostile: answered") -> None:
        self._tokens.discard(token)
        self.worker = int(reply.get("X-Worker") or 0)
        self._ledger.answered(token, kind, reply.status, self.worker, len(reply.body))

    def untaken(self, token: bytes) -> None:
        self._tokens.discard(token)
        self._ledger.left(token, UNTAKEN)

    def refused(self, status: int, token: bytes = b"") -> None:
        self._tokens.discard(token)
        self._ledger.refused(status, token)

    def unseen(self, count: int = 1) -> None:
        for _ in range(count):
            self._ledger.unseen()

    def end(self) -> None:
        for token in self._tokens:
            self._ledger.left(token)
            self._ledger.unseen()


def reset_at_close(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_close(peer: Peer) -> None:
    # Of TLS as well: SSLSocket.shutdown() would read what is sealed from then on.
    socket.socket.shutdown(peer.sock, socket.SHUT_WR)


def vanish(peer: Peer) -> bool:
    """Close without a packet, as a machine that loses its network: the server's end stays half open.

    False if the system does not allow it.
    """
    try:
        peer.sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    except OSError:
        return False
    peer.sock.close()
    return True


def check(visit: Visit, reply: Reply, path: str, token: bytes) -> None:
    visit.answered(token, reply)
    fault = fault_of(reply, path, token)
    assert not fault, fault


# --- what is no HTTP, or two things at once ------------------------------------------------------------------


def sends_what_is_invalid(visit: Visit) -> str:
    rng, case = visit.rng, visit.rng.choice(cases.INVALID)
    with visit.connect() as peer:
        visit.unseen(len(case.requests))
        peer.send(*(case.pieces(rng) if rng.random() < 0.5 else [case.raw]))
        for request in case.requests:
            reply = peer.response(request["method"])
            while reply.status == 100:
                reply = peer.response(request["method"])
            if reply.get("Connection") == "close":
                return "sent away"  # by a worker that stops: the rest of a pipeline is not its business
        reply = peer.response()
        assert reply.status in case.statuses, (case.name, reply)
        assert reply.get("Connection") == "close"
        assert peer.read_to_end() == b""
    visit.refused(reply.status)
    return str(reply.status)


FRAMINGS: Final = (
    ("Content-Length: 6", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 6"),
    ("Content-Length: 6", "Content-Length: 5"),
    ("Content-Length: 6", "Content-Length: 6"),
    ("Content-Length: 6, 6",),
    ("Content-Length: +6",),
    ("Content-Length: 0x6",),
    ("Content-Length : 6",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: identity, chunked",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding : chunked",),
    ("Transfer-Encoding: \x0bchunked",),
    ("Transfer-Encoding:\r\n chunked",),
    ("X: y\nTransfer-Encoding: chunked",),
    ("X: y\rTransfer-Encoding: chunked",),
)
"""Which two readers could take differently."""


def smuggles(visit: Visit) -> str:
    """Put a request behind one whose end is in doubt; the path shows in the access log if it is ever read."""
    behind = b"0\r\n\r\n" + head("/smuggled?x")
    with visit.connect() as peer:
        peer.send(head("/echo", *visit.rng.choice(FRAMINGS), method="POST") + behind)
        reply = peer.response()
        assert reply.status in {400, 501}, reply
        assert peer.read_to_end() == b""
    visit.refused(reply.status)
    return str(reply.status)


def sends_noise(visit: Visit) -> str:
    rng = visit.rng
    visit.unseen()
    with visit.connect() as peer:
        peer.send(rng.randbytes(rng.randrange(1, 3000)))
        half_close(peer)
        answer = peer.read_to_end()
    if not answer:
        return "nothing"  # it could have become a request
    assert re.match(rb"HTTP/1\.1 (4\d\d|501|505) ", answer), answer[:100]
    return answer[9:12].decode()


def sends_too_large_a_head(visit: Visit) -> str:
    line, many, long = head("/?" + "x" * 9000), head("/", *["A: b"] * 200), head("/", "A: " + "x" * 20_000)
    data, status = visit.rng.choice(((line, 414), (many, 431), (long, 431)))
    with visit.connect() as peer:
        peer.send(data)
        reply = peer.response()
        assert reply.status == status, reply
        assert peer.read_to_end() == b""
    visit.refused(status)
    return str(status)


# --- who leaves ----------------------------------------------------------------------------------------------


def goes_in_a_request(visit: Visit) -> str:
    rng, token = visit.rng, visit.token()
    data = head(f"/echo?{token.decode()}", "Content-Length: 200000", method="POST") + b"x" * 199_999
    with visit.connect() as peer:
        peer.send(data[: rng.choice((0, rng.randrange(100), 100, 70_000, 190_000))])
        if rng.random() < 0.5:
            reset_at_close(peer)
    return "gone"


def goes_in_an_answer(visit: Visit) -> str:
    rng = visit.rng
    with visit.connect() as peer:
        path = rng.choice(("/big", "/stream", "/write-much", "/download", "/events"))
        count = rng.randrange(1, 4 if path == "/events" else 15)
        peer.send(b"".join(head(f"{path}?{visit.token().decode()}") for _ in range(count)))
        if rng.random() < 0.5:
            peer.fill()
        if rng.random() < 0.5:
            reset_at_close(peer)
    return "gone"


def vanishes(visit: Visit) -> str:
    rng, token = visit.rng, visit.token()
    path = rng.choice(("/", "/big", "/write-much", "/download", "/events"))
    data = head(f"{path}?{token.decode()}")
    with Peer(visit.server.live.address, tls=visit.server.tls) as peer:
        peer.send(data[: rng.choice((10, len(data)))])
        return "half open" if vanish(peer) else "gone, since half open takes CAP_NET_ADMIN"


def knocks_and_runs(visit: Visit) -> str:
    peers = [Peer(visit.server.address(visit.rng)) for _ in range(10)]
    for peer in peers:
        if visit.rng.random() < 0.5:
            reset_at_close(peer)
        peer.sock.close()
    return "gone"


# --- who is slow, or asks for much ---------------------------------------------------------------------------


def dribbles(visit: Visit) -> str:
    token = visit.token()
    data = head(f"/?{token.decode()}", "X-Long: " + "x" * visit.rng.randrange(100))
    with visit.connect() as peer:
        for byte in data:
            peer.send(bytes([byte]))
        check(visit, peer.response(), "/", token)
    return "200"


def reads_slowly(visit: Visit) -> str:
    token = visit.token()
    with visit.connect(receive_buffer=8192) as peer:
        peer.send(head(f"/write-much?{token.decode()}", "Connection: close"))
        pause, size = threading.Event(), 0
        tail, start = b"", b""
        while peer.fill():
            size += len(peer.buffer)
            start = start or peer.buffer[:12]
            tail, peer.buffer = (tail + peer.buffer)[-5:], b""
            if visit.rng.random() < 0.05:
                pause.wait(0.01)
    assert start == b"HTTP/1.1 200", start
    if tail != b"0\r\n\r\n":
        raise ConnectionError(f"cut off after {size} bytes, {tail!r}")
    assert size > 50 * len(expected("/big", token))
    return "whole"


def reads_nothing(visit: Visit) -> str:
    """Take nothing of a long answer: after write_timeout the server has to be rid of it."""
    with visit.connect(receive_buffer=4096) as peer:
        peer.send(head(f"/download?{visit.token().decode()}") * 3)
        threading.Event().wait(7)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            peer.read_to_end()
    return "cut off"


def pipelines(visit: Visit) -> str:
    rng = visit.rng
    tokens = [visit.token() for _ in range(rng.randrange(2, 60))]
    with visit.connect() as peer:
        peer.send(b"".join(head(f"/stream?{token.decode()}") for token in tokens))
        while tokens:
            token = tokens.pop(0)
            reply = peer.response()
            check(visit, reply, "/stream", token)
            if reply.get("Connection") == "close" and tokens:
                assert peer.is_closed()
                for untaken in tokens:
                    visit.untaken(untaken)
                return "sent away"
    return "whole"


def half_closes(visit: Visit) -> str:
    token = visit.token()
    with visit.connect() as peer:
        peer.send(request_for("/stream", token))
        half_close(peer)
        check(visit, peer.response(), "/stream", token)
        assert peer.read_to_end() == b""
    return "200"


def uploads_if_asked(visit: Visit) -> str:
    rng, token = visit.rng, visit.token()
    body = rng.randbytes(rng.choice((10, 60_000, 300_000)))
    fields = ("Expect: 100-continue", f"Content-Length: {len(body)}")
    with visit.connect() as peer:
        peer.send(head(f"/echo?{token.decode()}", *fields, method="POST"))
        assert peer.response().status == 100
        peer.send(body)
        reply = peer.response()
        visit.answered(token, reply)
        assert reply.body == body
    return "200"


def uploads_too_much(visit: Visit) -> str:
    token = visit.token()
    fields = "Transfer-Encoding: chunked" if visit.rng.random() < 0.5 else f"Content-Length: {MOST_BODY + 1}"
    chunk = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    with visit.connect() as peer:
        peer.send(head(f"/echo?{token.decode()}", fields, method="POST"), *[chunk] * 17)
        assert peer.response().status == 413
    visit.refused(413, token)
    return "413"


def meets_an_error(visit: Visit) -> str:
    token = visit.token()
    with visit.connect() as peer:
        if visit.rng.random() < 0.5:
            reply = peer.request(head(f"/error?{token.decode()}"))
            assert reply.status == 500
            visit.answered(token, reply, "hostile: error")
            return "500"
        peer.send(head(f"/fails-late?{token.decode()}"))
        answer = peer.read_to_end()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert not answer.endswith(b"0\r\n\r\n")
    return "cut off"


# --- TLS -----------------------------------------------------------------------------------------------------


def _hello(tls: ssl.SSLContext) -> bytes:
    """Return what a client says first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def breaks_off_a_handshake(visit: Visit) -> str:
    assert visit.server.tls
    hello = _hello(visit.server.tls)
    with Peer(visit.server.address(visit.rng)) as peer:
        peer.send(hello[: visit.rng.randrange(len(hello) + 1)])
        if visit.rng.random() < 0.3:
            half_close(peer)
            with contextlib.suppress(ConnectionError):
                peer.read_to_end()
        elif visit.rng.random() < 0.5:
            reset_at_close(peer)
    return "gone"


def speaks_no_tls(visit: Visit) -> str:
    with Peer(visit.server.address(visit.rng)) as peer:
        peer.send(visit.rng.choice((head("/smuggled?x"), b"\x16\x03\x01" + visit.rng.randbytes(300))))
        half_close(peer)
        with contextlib.suppress(ConnectionError):
            assert not peer.read_to_end().startswith(b"HTTP")
    return "closed"


def stays_in_a_handshake(visit: Visit) -> str:
    assert visit.server.tls
    hello = _hello(visit.server.tls)
    with Peer(visit.server.address(visit.rng)) as peer:
        peer.send(hello[: visit.rng.randrange(len(hello) + 1)])
        with contextlib.suppress(ConnectionError):
            peer.read_to_end()
    return "closed"


# --- those who wait ------------------------------------------------------------------------------------------


def stays_after_a_request(visit: Visit) -> str:
    token = visit.token()
    with visit.connect() as peer:
        check(visit, peer.request(head(f"/?{token.decode()}")), "/", token)
        assert peer.read_to_end() == b""
    return "closed"


def stays_silent(visit: Visit) -> str:
    with visit.connect() as peer:
        assert peer.read_to_end() == b""
    return "closed"


def stops_in_a_request(visit: Visit) -> str:
    token = visit.token()
    whole = head(f"/echo?{token.decode()}", "Content-Length: 9", method="POST") + b"12345678"
    with visit.connect() as peer:
        peer.send(whole[: visit.rng.randrange(1, len(whole))])
        assert peer.response().status == 408
        assert peer.read_to_end() == b""
    visit.refused(408, token)
    return "408"


DEEDS: Final = (
    sends_what_is_invalid,
    smuggles,
    sends_noise,
    sends_too_large_a_head,
    goes_in_a_request,
    goes_in_an_answer,
    vanishes,
    knocks_and_runs,
    dribbles,
    reads_slowly,
    pipelines,
    half_closes,
    uploads_if_asked,
    uploads_too_much,
    meets_an_error,
)
WAITING_DEEDS: Final = (stays_after_a_request, stays_silent, stops_in_a_request, reads_nothing)
TLS_DEEDS: Final = (breaks_off_a_handshake, speaks_no_tls)


class Hostile:
    """Somebody who does such things until told to stop; or, if `waits`, such as take the server's patience."""

    def __init__(self, server: Soaked, seed: str, stop: threading.Event, *, waits: bool = False) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self._stop = stop
        self._deeds: tuple[Callable[[Visit], str], ...] = WAITING_DEEDS if waits else DEEDS
        if server.tls:
            self._deeds += (stays_in_a_handshake,) if waits else TLS_DEEDS

    def run(self) -> None:
        """Do one deed after the other."""
        ledger = self._server.ledger
        while not self._stop.is_set() and len(ledger.failures) < MOST_FAILURES:
            deed, since = self._rng.choice(self._deeds), time.monotonic()
            visit = Visit(self._server, self._rng)
            try:
                ledger.did(f"{deed.__name__}: {deed(visit)}")
            except (OSError, AssertionError) as exc:
                ledger.lost((), _told(deed.__name__, exc), since=since, worker=visit.worker)
            except Exception as exc:
                ledger.failed(_told(deed.__name__, exc))
            visit.end()
            self._stop.wait(self._rng.random() * PAUSE)


def _told(deed: str, exc: Exception) -> str:
    """Return what went wrong in a deed, and at which of its lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.name == deed]
    return f"{deed}, line {lines[-1] if lines else '?'}: {exc!r}"
