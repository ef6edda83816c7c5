"""What a worker holds after many requests of each kind: objects, blocks of memory, descriptors, bytes in RAM.

    python -m tests.leaks [--requests 200000] [--only KIND,...]

Each kind is asked for some hundred times to fill every cache, counted, asked for many times more, and counted again.
The worker's collector is off: what a cycle of references keeps alive stays, and is counted. Exit code 1 if anything
has grown with the requests. The engine is that of FASTWSGI_TEST_ENGINE.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.certificates import Authority
from tests.live import LiveServer, Peer, head
from tests.processes import eventually
from tests.traffic import request_for

if TYPE_CHECKING:
    from collections.abc import Callable

APP: Final = "tests.apps.traffic:app"
MAY_GROW: Final = 4 << 20  # bytes
BATCH: Final = 25  # requests in one pipeline
AT_ONCE: Final = 100  # connections that wait for their end together
USUAL: Final = ("--body-buffer-size", "1000", "--limit-request-body", "100000")
SERVERS: Final = {
    "usual": USUAL,
    "threads": (*USUAL, "--threads", "4"),
    "tls": USUAL,
    "hasty": (*USUAL, "--header-timeout", "0.2", "--body-timeout", "0.2", "--write-timeout", "0.2"),
}


def start(name: str, folder: Path) -> LiveServer:
    """Start a server of SERVERS, whose worker's collector is off."""
    if name == "tls":
        authority = Authority(folder)
        issued = authority.issue()
        server = LiveServer(APP, *SERVERS[name], *issued.arguments, tls=authority.client())
    else:
        server = LiveServer(APP, *SERVERS[name])
    server.allow_traceback = True
    server.get("/no-gc")
    return server


def least_descriptors(server: LiveServer) -> int:
    """Return how many the worker has while it only answers this question."""
    return min(int(json.loads(server.get("/counts").body)["descriptors"]) for _ in range(10))


def counts(server: LiveServer, descriptors: int) -> dict[str, int]:
    """Return what the worker holds, once it has noticed the end of every connection but ours."""
    found: dict[str, int] = {}

    def nobody_else_is_there() -> bool:
        found.update(json.loads(server.get("/counts").body))
        return found["descriptors"] <= descriptors

    eventually(nobody_else_is_there)
    # Again: at first, what the measuring itself caches is new.
    found.update(json.loads(server.get("/counts").body))
    return found


def pipelined(server: LiveServer, make: Callable[[int], bytes], count: int, *, method: str = "GET") -> None:
    with server.connect() as peer:
        for start in range(0, count, BATCH):
            peer.send(b"".join(make(number) for number in range(start, start + BATCH)))
            for _ in range(BATCH):
                assert peer.response(method).status == 200


def one_by_one(server: LiveServer, data: bytes, status: int, count: int) -> None:
    for _ in range(count):
        with server.connect() as peer:
            assert peer.request(data).status == status
            assert peer.is_closed()


def abandoned(server: LiveServer, data: bytes, count: int, *, is_whole: bool = True) -> None:
    """Send a request and reset the connection, at once or after the first bytes of the answer if it is whole."""
    for number in range(count):
        with server.connect() as peer:
            peer.send(data)
            if number % 2 and is_whole:
                peer.fill()
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cut_off(server: LiveServer, count: int) -> None:
    for _ in range(count):
        with server.connect() as peer:
            peer.send(head("/fails-late?x"))
            assert not peer.read_to_end().endswith(b"0\r\n\r\n")


def left_to_time(server: LiveServer, data: bytes, count: int) -> None:
    """Send what is not enough, or more than is read, and wait until the server has had enough of it."""
    idle = sockets(server)
    for begun in range(0, count, AT_ONCE):
        with ExitStack() as stack:
            for _ in range(min(AT_ONCE, count - begun)):
                stack.enter_context(server.connect(receive_buffer=4096)).send(data)
            eventually(lambda: sockets(server) <= idle)


def sockets(server: LiveServer) -> int:
    return int(json.loads(server.get("/counts").body)["sockets"])


def upgraded(server: LiveServer, count: int) -> None:
    for _ in range(count):
        with server.connect() as peer:
            peer.send(head("/upgrade", "Connection: upgrade", "Upgrade: echo"))
            assert peer.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            peer.send(b"hello")
            assert peer.read_exactly(5) == b"hello"
            assert peer.is_closed()


def hinted(server: LiveServer, count: int) -> None:
    with server.connect() as peer:
        for _ in range(count):
            assert peer.request(head("/hints?x")).status == 103
            assert peer.response().status == 200


def unshaken(server: LiveServer, count: int) -> None:
    """Connect to a server of TLS, and say something else, or nothing."""
    for number in range(count):
        with Peer(server.address) as peer:
            if number % 2:
                peer.send(b"GET / HTTP/1.1\r\n\r\n")
                peer.sock.recv(100)


CHUNKED_TOO_LARGE = head("/echo", "Transfer-Encoding: chunked", method="POST") + b"ffffffffffffffffff\r\n"
CONTINUES = head("/echo", "Expect: 100-continue", "Content-Length: 9", method="POST")
UPLOAD = head("/echo", "Content-Length: 5000", method="POST") + b"x" * 5000

TOO_LARGE = head("/echo", "Content-Length: 100001", method="POST")
TOO_LARGE_CHUNKED = head("/echo", "Transfer-Encoding: chunked", method="POST") + b"186a1\r\n"
UPGRADES = head("/?x", "Connection: upgrade", "Upgrade: echo")


class Kind(NamedTuple):
    """A kind of request: how to make some, of which server, and the share of the number that others are made."""

    ask: Callable[[LiveServer, int], Any]
    server: str = "usual"
    share: float = 1.0


KINDS: Final = {
    "plain": Kind(lambda server, count: pipelined(server, lambda _: head("/?x"), count)),
    "head": Kind(
        lambda server, count: pipelined(server, lambda _: head("/?x", method="HEAD"), count, method="HEAD")
    ),
    "varied": Kind(
        lambda server, count: pipelined(
            server, lambda n: head(f"/?{n}", f"Cookie: a={n}", f"X-Varies: {n}", f"X-Name-{n}: b"), count
        ),
        share=2.0,  # until caches are full
    ),
    "generator": Kind(lambda server, count: pipelined(server, lambda _: head("/stream?x"), count)),
    "write": Kind(lambda server, count: pipelined(server, lambda _: head("/write?x"), count)),
    "file": Kind(lambda server, count: pipelined(server, lambda _: head("/file"), count)),
    "chunked": Kind(
        lambda server, count: pipelined(server, lambda _: request_for("/chunked", b"abcdef"), count)
    ),
    "spooled": Kind(lambda server, count: pipelined(server, lambda _: UPLOAD, count)),
    "error-mended": Kind(lambda server, count: pipelined(server, lambda _: head("/mends"), count)),
    "error": Kind(lambda server, count: one_by_one(server, head("/error"), 500, count)),
    "error-late": Kind(cut_off),
    "refused": Kind(
        lambda server, count: one_by_one(server, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, count)
    ),
    "refused-early": Kind(lambda server, count: one_by_one(server, b"\0", 400, count)),
    "refused-late": Kind(
        lambda server, count: one_by_one(server, b"GET / HTTP/1.1\r\nA: " + b"x" * 9000, 431, count)
    ),
    "refused-body": Kind(lambda server, count: one_by_one(server, CHUNKED_TOO_LARGE, 400, count)),
    "abandoned": Kind(lambda server, count: abandoned(server, head("/big?x") * 3, count)),
    "abandoned-write": Kind(lambda server, count: abandoned(server, head("/write-much?x"), count)),
    "abandoned-stream": Kind(lambda server, count: abandoned(server, head("/stream?x") * 3, count)),
    "abandoned-upload": Kind(lambda server, count: abandoned(server, CONTINUES, count)),
    "too-large": Kind(lambda server, count: one_by_one(server, TOO_LARGE, 413, count)),
    "too-large-chunked": Kind(lambda server, count: one_by_one(server, TOO_LARGE_CHUNKED, 413, count)),
    "not-upgraded": Kind(lambda server, count: one_by_one(server, UPGRADES, 200, count)),
    "close-fails": Kind(lambda server, count: pipelined(server, lambda _: head("/close-fails?x"), count)),
    "hints": Kind(hinted, share=0.5),
    "abandoned-file": Kind(lambda server, count: abandoned(server, head("/file") * 3, count)),
    "abandoned-head": Kind(
        lambda server, count: abandoned(server, b"GET / HTTP/1.1\r\nA: b", count, is_whole=False)
    ),
    "abandoned-spool": Kind(lambda server, count: abandoned(server, UPLOAD[:-1], count, is_whole=False)),
    "upgraded": Kind(upgraded, "threads"),
    "threads": Kind(lambda server, count: pipelined(server, lambda _: head("/stream?x"), count), "threads"),
    "tls": Kind(lambda server, count: pipelined(server, lambda _: head("/big?x"), count), "tls"),
    "tls-abandoned": Kind(lambda server, count: abandoned(server, head("/big?x") * 3, count), "tls", 0.3),
    "tls-refused": Kind(unshaken, "tls"),
    "late-head": Kind(
        lambda server, count: left_to_time(server, b"GET / HTTP/1.1\r\nA: b", count), "hasty", 0.3
    ),
    "late-body": Kind(lambda server, count: left_to_time(server, UPLOAD[:-1], count), "hasty", 0.3),
    "unread": Kind(lambda server, count: left_to_time(server, head("/big?x") * 40, count), "hasty", 0.3),
}


def grown(server: LiveServer, descriptors: int, kind: Kind, count: int, warm: int) -> dict[str, int]:
    """Return by how much what the worker holds has grown by `count` requests, after `warm` others."""
    kind.ask(server, warm)
    before = counts(server, descriptors)
    kind.ask(server, count)
    after = counts(server, descriptors)
    return {name: after[name] - before[name] for name in before}


def main() -> int:
    """Measure, print a line for each kind, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.leaks")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    names = [name for name in args.only.split(",") if name] or list(KINDS)
    worst = 0
    print(
        f"{'kind':20} {'requests':>9} {'objects':>8} {'blocks':>8} {'descr.':>6} {'bytes/request':>14} {'s':>6}"
    )
    for server_name in SERVERS:
        mine = [name for name in names if KINDS[name].server == server_name]
        if not mine:
            continue
        with tempfile.TemporaryDirectory() as folder, start(server_name, Path(folder)) as server:
            descriptors = least_descriptors(server)
            for name in mine:
                kind = KINDS[name]
                count = max(BATCH, int(args.requests * kind.share) // BATCH * BATCH)
                began = time.monotonic()
                found = grown(server, descriptors, kind, count, max(BATCH, count // 10 // BATCH * BATCH))
                slope = found["resident"] / count
                leaks = (
                    max(found["objects"], found["blocks"]) > max(count // 20, 200)
                    or found["resident"] > MAY_GROW
                )
                worst = max(worst, leaks)
                print(
                    f"{name:20} {count:9} {found['objects']:8} {found['blocks']:8} {found['descriptors']:6}"
                    f" {slope:14.2f} {time.monotonic() - began:6.0f}{'  LEAKS' if leaks else ''}",
                    flush=True,
                )
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
