"""Good clients: what they ask for, and that they get it, whatever befalls the server.

A client sends on a connection only if that was in use less than PATIENCE seconds ago: such a connection is kept open
even by a worker that stops. So nothing is tried a second time, and what is not answered whole is lost.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import struct
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.apps.soaking import events
from tests.apps.traffic import expected
from tests.live import Reply, head
from tests.soak.accounting import MOST_FAILURES, UNTAKEN
from tests.traffic import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live import Peer
    from tests.soak.server import Soaked

PAUSE: Final = 0.05
"""Seconds that a client thinks between requests, at most."""

DOWNLOAD: Final = hashlib.shake_256(b"soak").digest(3_000_000)


class Ask(NamedTuple):
    """A request, and what it is to be answered with."""

    kind: str
    token: bytes
    data: bytes
    body: bytes
    method: str = "GET"


def _page(token: bytes, path: str) -> Ask:
    return Ask(path, token, head(f"{path}?{token.decode()}", "User-Agent: soak"), expected(path, token))


def _head(token: bytes) -> Ask:
    return Ask("HEAD", token, head(f"/?{token.decode()}", method="HEAD"), b"", "HEAD")


def _events(token: bytes) -> Ask:
    return Ask("/events", token, head(f"/events?{token.decode()}"), b"".join(events(token)))


def _download(token: bytes) -> Ask:
    return Ask("/download", token, head(f"/download?{token.decode()}"), DOWNLOAD)


def _upload(token: bytes, body: bytes, kind: str) -> Ask:
    data = head(f"/echo?{token.decode()}", f"Content-Length: {len(body)}", method="POST") + body
    return Ask(kind, token, data, body, "POST")


def _chunked(token: bytes, pieces: list[bytes]) -> Ask:
    data = head(f"/echo?{token.decode()}", "Transfer-Encoding: chunked", method="POST")
    data += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return Ask("chunked", token, data, b"".join(pieces), "POST")


def choose(rng: random.Random, token: bytes) -> Ask:
    """Return a request, as a site has them: mostly pages, and some of everything."""
    kind = rng.choices(
        (
            "/",
            "/stream",
            "/write",
            "/big",
            "/pause",
            "HEAD",
            "/events",
            "/download",
            "form",
            "upload",
            "chunked",
        ),
        (40, 8, 6, 6, 2, 6, 3, 3, 10, 6, 10),
    )[0]
    if kind == "HEAD":
        return _head(token)
    if kind == "/events":
        return _events(token)
    if kind == "/download":
        return _download(token)
    if kind == "form":
        return _upload(token, token * rng.randrange(20), "form")
    if kind == "upload":  # more than is kept in memory
        return _upload(token, rng.randbytes(rng.randrange(70_000, 400_000)), "upload, spooled")
    if kind == "chunked":
        sizes = rng.choice(((1, 20, 300), (5000,), (30_000, 60_000)))
        return _chunked(token, [rng.randbytes(size) for size in sizes])
    return _page(token, kind)


def fault_of(reply: Reply, ask: Ask) -> str:
    """Return what is wrong with an answer; nothing if it is right."""
    if reply.status != 200:
        return f"{ask.kind}: status {reply.status}"
    if reply.body != ask.body:
        return f"{ask.kind}: {len(reply.body)} bytes, not the {len(ask.body)} due: {reply.body[:60]!r}"
    return ""


class Client:
    """Somebody who makes requests until told to stop. `late` counts how often the machine kept it from running."""

    def __init__(self, server: Soaked, seed: str, stop: threading.Event) -> None:
        self.connections = 0
        self.late = 0
        self._server = server
        self._ledger = server.ledger
        self._rng = random.Random(seed)
        self._stop = stop

    def run(self) -> None:
        """Make connections and use them."""
        while not self._stop.is_set() and len(self._ledger.failures) < MOST_FAILURES:
            since = time.monotonic()
            try:
                peer = self._server.connect(self._rng)
            except OSError as exc:
                self._ledger.lost((), f"connect: {exc!r}", since=since)
                continue
            self.connections += 1
            with peer:
                try:
                    if self._server.takes_over and self._rng.random() < 0.25:
                        self._talk(peer, since)
                    else:
                        self._use(peer, since)
                except AssertionError as exc:
                    self._ledger.failed(f"client: {exc!r}")

    def _use(self, peer: Peer, since: float) -> None:
        rng, ledger = self._rng, self._ledger
        worker, rest = 0, since
        for _ in range(rng.choice((1, 3, 30, 300))):
            if self._stop.is_set():
                return
            if time.monotonic() - rest > PATIENCE:
                self.late += 1
                return
            asks = [choose(rng, ledger.issue())]
            if rng.random() < 0.05:
                asks += [
                    _page(ledger.issue(), rng.choice(("/", "/stream"))) for _ in range(rng.randrange(1, 8))
                ]
            peer.send(b"".join(ask.data for ask in asks))
            is_late = time.monotonic() - rest > PATIENCE
            while asks:
                try:
                    reply = peer.response(asks[0].method)
                except (OSError, AssertionError) as exc:
                    if is_late:
                        self.late += 1
                        for ask in asks:
                            ledger.left(ask.token)
                    else:
                        what = f"{asks[0].kind}: {exc!r} (worker {worker})"
                        ledger.lost([ask.token for ask in asks], what, since=rest, worker=worker)
                    return
                ask = asks.pop(0)
                worker = int(reply.get("X-Worker") or 0)
                nbytes = 0 if ask.method == "HEAD" else len(reply.body)
                ledger.answered(ask.token, ask.kind, reply.status, worker, nbytes)
                if fault := fault_of(reply, ask):
                    ledger.failed(fault)
                    return
                if reply.get("Connection") == "close":
                    for untaken in asks:
                        ledger.left(untaken.token, UNTAKEN)
                    self._see_the_end(peer, worker)
                    return
                rest = time.monotonic()
            if rng.random() < 0.8:
                self._stop.wait(rng.random() * PAUSE)

    def _see_the_end(self, peer: Peer, worker: int) -> None:
        """Read on: nothing may follow the last answer. Its worker may be killed meanwhile."""
        since = time.monotonic()
        try:
            assert peer.read_to_end() == b"", "bytes after the last answer"
        except OSError as exc:
            self._ledger.lost((), f"after the last answer: {exc!r}", since=since, worker=worker)

    # --- WebSockets ------------------------------------------------------------------------------------------

    def _talk(self, peer: Peer, since: float) -> None:
        """Open a WebSocket, have some messages echoed, and close it."""
        rng, ledger = self._rng, self._ledger
        token = ledger.issue()
        key = base64.b64encode(rng.randbytes(16)).decode()
        fields = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        try:
            reply = peer.request(head(f"/ws?{token.decode()}", *fields))
            assert reply.status == 101, reply
            for _ in range(rng.randrange(1, 10)):
                message = token * rng.choice((1, 20, 1000))
                peer.send(_frame(0x2, message, rng))
                opcode, echo = _read_frame(peer)
                while opcode == 0x9:
                    opcode, echo = _read_frame(peer)
                if (opcode, echo) != (0x2, message):
                    ledger.failed(f"WebSocket: {len(message)} bytes were echoed as {opcode}, {echo[:60]!r}")
                    ledger.left(token)
                    return
                self._stop.wait(rng.random() * PAUSE)
                since = time.monotonic()
            peer.send(_frame(0x8, struct.pack("!H", 1000), rng))
            opcode, _ = _read_frame(peer)
            if opcode != 0x8 or peer.read_to_end():
                ledger.failed(f"WebSocket: {opcode} in reply to Close")
        except (OSError, AssertionError) as exc:
            ledger.lost([token], f"WebSocket: {exc!r}", since=since)
            return
        ledger.answered(token, "WebSocket", 101)


def _frame(opcode: int, payload: bytes, rng: random.Random) -> bytes:
    """Return a client's frame (RFC 6455 §5.2)."""
    size = len(payload)
    length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
    mask = rng.randbytes(4)
    stream = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
    return bytes([0x80 | opcode]) + length + mask + masked


def _read_frame(peer: Peer) -> tuple[int, bytes]:
    first, length = peer.read_exactly(2)
    if length == 126:
        (length,) = struct.unpack("!H", peer.read_exactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", peer.read_exactly(8))
    return first & 0xF, peer.read_exactly(length)


def write_download(path: str) -> None:
    """Write the file that servers give out for /download."""
    with open(path, "wb") as file:
        file.write(DOWNLOAD)
    os.chmod(path, 0o644)


def start(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
