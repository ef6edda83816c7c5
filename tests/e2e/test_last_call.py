"""A worker that stops: whoever is in the middle of something is waited for, and nobody else."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import ENGINE, LiveServer, head
from tests.processes import wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gate import Gate

APP = "tests.apps.concurrency:app"
# The server would wait for longer than the test does.
PATIENT = (
    "--keep-alive",
    "1000",
    "--graceful-timeout",
    "1000",
    "--header-timeout",
    "1000",
    "--log-level",
    "debug",
)
BIG = 16_000_000
BODY = b"b" * 1000
GET = head("/")


def test_what_has_begun_is_brought_to_its_end(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *PATIENT)
    wait_for_workers(server, 1)
    upload = head("/echo", f"Content-Length: {len(BODY)}", method="POST") + BODY
    with ExitStack() as stack:
        idle, fresh = (stack.enter_context(server.connect()) for _ in range(2))
        reader = stack.enter_context(server.connect())
        sender, asking = (stack.enter_context(server.connect()) for _ in range(2))
        reader.send(head(f"/big?{BIG}"))
        assert b"close" not in reader.read_until(b"\r\n\r\n")
        sender.send(upload[:-10])
        asking.send(GET[:-10])
        assert idle.request(GET).text == "ok"  # after all the others have been read
        start = len(server.log.lines)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("Handling signal: term", start=start)
        # These two have had their last call, during which the others did nothing.
        assert idle.is_closed()
        assert fresh.is_closed()
        for peer, rest, body in ((sender, upload[-10:], BODY), (asking, GET[-10:], b"ok")):
            reply = peer.request(rest)
            assert (reply.body, reply.get("Connection")) == (body, "close")
            assert peer.is_closed()
        left = BIG - len(reader.buffer)
        reader.buffer = b""
        while left:
            left -= len(reader.sock.recv(min(left, 1 << 20)))
        # It was told that the connection is kept, so it may ask once more.
        assert reader.request(GET).get("Connection") == "close"
        assert reader.is_closed()
        assert server.wait() == 0


@pytest.mark.skipif("gevent" in ENGINE, reason="a gate lets no other greenlet run")
def test_who_was_in_the_app_is_told_to_close(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "4", *PATIENT)
    wait_for_workers(server, 1)
    with server.connect() as begun, gate.enter(server) as waiting, server.connect() as idle:
        begun.send(head(f"/stream?{gate.path}"))
        gate.wait_for_arrival()
        begun.read_until(b"before ")
        assert idle.request(GET).text == "ok"
        server.send_signal(signal.SIGTERM)
        assert idle.is_closed()
        gate.open()
        assert waiting.response().get("Connection") == "close"
        assert waiting.is_closed()
        begun.read_until(b"0\r\n\r\n")
        assert begun.is_closed()
        assert server.wait() == 0
