"""A worker holds after ten thousand requests what it held before, without the help of the cycle collector.

The worker's collector is off: what a cycle of references keeps alive stays, and is counted. Each kind of
request is made some hundred times to fill every cache, counted, made a thousand times more, and counted again.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import LiveServer, head
from tests.processes import eventually
from tests.traffic import request_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM = 300
MANY = 1000
BATCH = 25  # requests in one pipeline

pytestmark = [
    pytest.mark.alone,
    pytest.mark.leaks,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.traffic:app", "--body-buffer-size", "1000") as running:
        running.allow_traceback = True
        running.get("/no-gc")
        yield running


@pytest.fixture(scope="module")
def descriptors(server: LiveServer) -> int:
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


def abandoned(server: LiveServer, data: bytes, count: int) -> None:
    """Send a request and reset the connection, at once or after the first bytes of the answer."""
    for number in range(count):
        with server.connect() as peer:
            peer.send(data)
            if number % 2:
                peer.fill()
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cut_off(server: LiveServer, count: int) -> None:
    for _ in range(count):
        with server.connect() as peer:
            peer.send(head("/fails-late?x"))
            assert not peer.read_to_end().endswith(b"0\r\n\r\n")


CHUNKED_TOO_LARGE = head("/echo", "Transfer-Encoding: chunked", method="POST") + b"ffffffffffffffffff\r\n"
CONTINUES = head("/echo", "Expect: 100-continue", "Content-Length: 9", method="POST")
UPLOAD = head("/echo", "Content-Length: 5000", method="POST") + b"x" * 5000

KINDS: dict[str, Callable[[LiveServer, int], Any]] = {
    "plain": lambda server, count: pipelined(server, lambda _: head("/?x"), count),
    "head": lambda server, count: pipelined(
        server, lambda _: head("/?x", method="HEAD"), count, method="HEAD"
    ),
    "varied": lambda server, count: pipelined(
        server, lambda n: head(f"/?{n}", f"Cookie: a={n}", f"X-Varies: {n}", f"X-Name-{n}: b"), count
    ),
    "generator": lambda server, count: pipelined(server, lambda _: head("/stream?x"), count),
    "write": lambda server, count: pipelined(server, lambda _: head("/write?x"), count),
    "file": lambda server, count: pipelined(server, lambda _: head("/file"), count),
    "chunked": lambda server, count: pipelined(server, lambda _: request_for("/chunked", b"abcdef"), count),
    "spooled": lambda server, count: pipelined(server, lambda _: UPLOAD, count),
    "error-mended": lambda server, count: pipelined(server, lambda _: head("/mends"), count),
    "error": lambda server, count: one_by_one(server, head("/error"), 500, count),
    "error-late": cut_off,
    "refused": lambda server, count: one_by_one(server, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, count),
    "refused-early": lambda server, count: one_by_one(server, b"\0", 400, count),
    "refused-late": lambda server, count: one_by_one(
        server, b"GET / HTTP/1.1\r\nA: " + b"x" * 9000, 431, count
    ),
    "refused-body": lambda server, count: one_by_one(server, CHUNKED_TOO_LARGE, 400, count),
    "abandoned": lambda server, count: abandoned(server, head("/big?x") * 3, count),
    "abandoned-write": lambda server, count: abandoned(server, head("/write-much?x"), count),
    "abandoned-stream": lambda server, count: abandoned(server, head("/stream?x") * 3, count),
    "abandoned-upload": lambda server, count: abandoned(server, CONTINUES, count),
}


@pytest.mark.parametrize("kind", KINDS)
def test_worker_holds_what_it_held(server: LiveServer, descriptors: int, kind: str) -> None:
    ask = KINDS[kind]
    ask(server, WARM)
    before = counts(server, descriptors)
    ask(server, MANY)
    after = counts(server, descriptors)
    grown = {name: after[name] - before[name] for name in before}
    # A leak is at least one for each request; less is a cache, or a connection not yet closed.
    assert grown["objects"] < MANY // 10, grown
    assert grown["blocks"] < MANY // 2, grown
    assert grown["resident"] < 1 << 20, grown
