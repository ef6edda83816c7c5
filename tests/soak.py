"""Hostile and good clients at one server for long, with reloads: `python -m tests.soak [SECONDS]`.

Every answer is counted. The exit code is 1 if a good client was failed, if the server's log has a traceback, or
if memory or descriptors of its workers grow.
"""

from __future__ import annotations

import collections
import random
import signal
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING

from tests.live import LiveServer, Peer
from tests.processes import children, descriptors, memory

if TYPE_CHECKING:
    from collections.abc import Callable

RELOAD_EVERY = 10.0  # seconds
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n%b\r\n0\r\n\r\n"


def good(peer: Peer, rng: random.Random) -> None:
    """Ask on a connection that is kept until the server wants it closed; all must be answered."""
    for _ in range(rng.randrange(1, 200)):
        request = rng.choice([GET % b"/", GET % b"/x?y=%41", CHUNKED % bytes(1024)])
        reply = peer.request(request)
        assert reply.status == 200, reply
        if reply.get("Connection") == "close":
            assert peer.is_closed()
            return


def pipelined(peer: Peer, rng: random.Random) -> None:
    """Ask for many at once; what is not answered is at the end, behind a Connection: close."""
    count = rng.randrange(1, 300)
    peer.send(GET % b"/" * count)
    for _ in range(count):
        if peer.response().get("Connection") == "close":
            return


def junk(peer: Peer, rng: random.Random) -> None:
    """Send bytes that are no request; the answer is an error or nothing."""
    peer.send(rng.randbytes(rng.randrange(1, 3000)))
    peer.sock.shutdown(socket.SHUT_WR)
    if not peer.is_closed():
        assert peer.buffer.startswith((b"", b"HTTP/1.1 4", b"HTTP/1.1 5"))


def mutated(peer: Peer, rng: random.Random) -> None:
    """Send a request with some bytes changed."""
    data = bytearray(CHUNKED % bytes(1024))
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    peer.send(bytes(data))
    peer.sock.shutdown(socket.SHUT_WR)
    peer.is_closed()


def cut(peer: Peer, rng: random.Random) -> None:
    """Go away in the middle of a request, or of its answer."""
    data = (GET % b"/" + CHUNKED % bytes(1024)) * 3
    peer.send(data[: rng.randrange(len(data))])
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


KINDS: list[Callable[[Peer, random.Random], None]] = [good, good, good, pipelined, junk, mutated, cut]


def client(
    server: LiveServer,
    kind: Callable[[Peer, random.Random], None],
    counts: collections.Counter[str],
    end: float,
    seed: str,
) -> None:
    rng = random.Random(seed)
    name = kind.__name__
    while time.monotonic() < end:
        try:
            with server.connect() as peer:
                kind(peer, rng)
            counts[name] += 1
        except (AssertionError, OSError) as error:
            # Only those who behave are promised anything.
            counts[f"{name} FAILED: {error!r:.200}" if kind in (good, pipelined) else f"{name} cut off"] += 1


def main(seconds: float) -> int:
    counts: collections.Counter[str] = collections.Counter()
    seed = time.time()
    end = time.monotonic() + seconds
    with LiveServer("examples.hello:app", "-w", "2", "--header-timeout", "2") as server:
        threads = [
            threading.Thread(target=client, args=(server, kind, counts, end, f"{seed} {number}"))
            for number, kind in enumerate(KINDS)
        ]
        for thread in threads:
            thread.start()
        sizes: list[tuple[int, int]] = []
        pause = threading.Event()
        while time.monotonic() < end:
            pause.wait(min(RELOAD_EVERY, max(0.0, end - time.monotonic())))
            sizes.append(max((memory(pid), descriptors(pid)) for pid in children(server.pid)))
            server.send_signal(signal.SIGHUP)
            counts["reloads"] += 1
        for thread in threads:
            thread.join()
    for name, count in sorted(counts.items()):
        print(f"{count:9} {name}")
    print(f"seed {seed}; most memory and descriptors of a worker, at each reload: {sizes}")
    failed = any("FAILED" in name for name in counts)
    grew = max(size for size, _ in sizes) > 64 << 20 or max(count for _, count in sizes) > 100
    return 1 if failed or grew else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0))
