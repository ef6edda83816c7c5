"""A worker in which an allocation fails: no crash, no connection out of step, nothing lost but that request.

Each allocation of a request fails by itself, one after the other: an app has it so (tests/apps/starving.py), by
what CPython has for tests of its own. Parts of the server by themselves: tests/starving.py.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fastwsgi import _impl
from tests.live import ENGINE, LiveServer, Reply, head
from tests.processes import eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

APP = "tests.apps.starving:app"
UPLOAD = b"y" * 3000
REQUESTS = {
    "list": (head("/list"), b"ok"),
    "stream": (head("/stream"), b"x" * 2000),
    "write": (head("/write"), b"x" * 1000 + b"ok"),
    "spooled": (head("/body", "Content-Length: 3000", method="POST") + UPLOAD, UPLOAD),
    "chunked": (
        head("/body", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
    ),
}
MANY = int(os.environ.get("FASTWSGI_STARVED", "20"))
"""Allocations of each request that are made to fail, of about MOST."""
MOST = 200

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="no _testcapi in this Python"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif("gevent" in ENGINE, reason="gevent's hub loses what it calls, and the worker ends"),
    pytest.mark.skipif(not _impl.compiled, reason="Python's accept() forgets what it lacks memory for, open"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    log = tmp_path_factory.mktemp("log") / "access"
    with LiveServer(APP, "--body-buffer-size", "1000", "--access-logfile", str(log)) as running:
        running.allow_traceback = True
        yield running


def calm(server: LiveServer) -> tuple[int, int]:
    """Let allocations succeed again; return the worker's pid and how many descriptors it has."""
    for _ in range(3):
        reply = outcome_of(server, [head("/calm")])[0]
        if reply.status == 200:  # the allocation that fails may be one of this request
            pid, descriptors = reply.body.split()
            return int(pid), int(descriptors)
    raise AssertionError(server.log.text)


def outcome_of(server: LiveServer, requests: list[bytes]) -> list[Reply]:
    """Send requests on one connection, each when the one before is answered; what is cut off has status 0."""
    replies: list[Reply] = []
    with server.connect() as peer:
        try:
            for request in requests:
                replies.append(peer.request(request))
                assert peer.buffer == b""
        except (AssertionError, ConnectionError):
            replies.append(Reply(b"HTTP/1.1 0 cut off", peer.buffer))
    return replies


@pytest.mark.parametrize("name", REQUESTS)
def test_an_allocation_that_fails(server: LiveServer, rng: random.Random, name: str) -> None:
    request, body = REQUESTS[name]
    outcome_of(server, [request] * 3)
    before = calm(server)
    seen: Counter[int] = Counter()
    for number in sorted(rng.sample(range(MOST), MANY)):
        replies = outcome_of(server, [head(f"/starve?{number}"), request])
        for reply, expected in zip(replies, (b"hungry", body), strict=False):
            seen[reply.status] += 1
            if reply.status == 200:
                assert reply.body == expected, (number, reply)
            else:
                assert reply.status in (0, 500, 503), (number, reply)
        pid, _ = calm(server)
        assert pid == before[0], f"{number}: the worker has gone; the log:\n{server.log.text}"
    eventually(lambda: calm(server)[1] <= before[1] + 1)
    if MANY > MOST // 2:
        assert seen[500] > 0
        assert seen[503] > 0
