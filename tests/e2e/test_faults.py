"""Clients that break off or talk nonsense, clocks that jump, processes that are stopped: everybody else is served."""

from __future__ import annotations

import ast
import email.utils
import os
import random
import signal
import socket
import struct
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer, head
from tests.processes import children, descriptors, eventually, memory, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable

APP = "tests.apps.faulty:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def calls(server: LiveServer) -> dict[str, int]:
    """Return how often the app was called, the question not counted, and how many bodies it made and closed."""
    found: dict[str, int] = ast.literal_eval(server.get("/calls").text)
    return found


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_clients_that_go_at_every_byte(live: Callable[..., LiveServer]) -> None:
    """Of a request, and of an answer; by a close, and by a reset."""
    server = live(APP, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    chunked = (
        head("/echo", "Transfer-Encoding: chunked", method="POST") + b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
    )
    whole = head("/echo", "Content-Length: 5", method="POST") + b"abcde"
    with server.connect() as peer:
        peer.send(head("/pieces", "Connection: close"))
        answer = len(peer.read_to_end())
    before, held = calls(server), descriptors(worker)
    for request in (GET, whole, chunked):
        for size in range(len(request)):
            for resets in (False, True):
                with server.connect() as peer:
                    peer.send(request[:size])
                    if resets:
                        reset(peer.sock)
    assert calls(server)["app"] == before["app"] + 1  # nobody's but this question's
    for size in range(answer):
        for resets in (False, True):
            with server.connect() as peer:
                peer.send(head("/pieces", "Connection: close"))
                peer.read_exactly(size)
                if resets:
                    reset(peer.sock)

    def all_are_closed() -> bool:
        now = calls(server)
        return now["made"] == now["close"]

    eventually(all_are_closed)
    eventually(lambda: descriptors(worker) <= held)
    assert calls(server)["made"] > before["made"] + answer
    assert children(server.pid) == [worker]


MUCH = 3_000_000
FLOODS = {
    "nothing but noise": random.Random(6).randbytes(MUCH),
    "noise after a request line": b"GET / HTTP/1.1\r\n" + random.Random(7).randbytes(MUCH),
    "zeros": bytes(MUCH),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(8).randbytes(600),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x12\4\0\0\0\0\0" * 100_000,
    "one line": b"GET /" + b"a" * MUCH,
    "empty lines": b"\r\n" * 1_000_000,
    "empty lines, bare": b"\n" * MUCH,
    "fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 500_000,
    "a folded field": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n" + b" c\r\n" * 500_000,
    "a chunk extension": head("/echo", "Transfer-Encoding: chunked", method="POST") + b"1;" + b"a" * MUCH,
    "extensions": head("/echo", "Transfer-Encoding: chunked", method="POST") + b"1;a=b\r\nx\r\n" * 300_000,
    "trailers": head("/echo", "Transfer-Encoding: chunked", method="POST") + b"0\r\n" + b"A: b\r\n" * 500_000,
    "a chunk size": head("/echo", "Transfer-Encoding: chunked", method="POST") + b"0" * MUCH,
}


@pytest.mark.alone
def test_floods_of_garbage(live: Callable[..., LiveServer]) -> None:
    """Each gets a refusal or an end; none takes memory, or anybody's turn."""
    server = live(APP, "--limit-request-body", "200000", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as other:
        assert other.request(GET).text == "ok"
        before = memory(worker)
        for name, flood in FLOODS.items():
            for _ in range(3):
                with server.connect() as peer:
                    peer.send(flood)
                    assert other.request(GET).text == "ok", name
                    assert memory(worker) - before < 3_000_000, name
                    peer.sock.settimeout(0.5)
                    try:
                        answer = peer.sock.recv(65536)
                    except ConnectionResetError:
                        continue
                    except TimeoutError:  # it waits for more, to no end
                        assert name == "TLS", name
                        continue
                    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 ")), (name, answer)
    assert children(server.pid) == [worker]


def date_of(server: LiveServer) -> float:
    return email.utils.parsedate_to_datetime(server.get().get("Date") or "").timestamp()


def test_a_clock_that_jumps(live: Callable[..., LiveServer]) -> None:
    """Date tells what the clock does; everything else goes by time that passes."""
    server = live(APP, "--keep-alive", "60", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    true = date_of(server)
    with server.connect() as idle, server.connect() as half:
        assert idle.request(GET).text == "ok"
        half.send(GET[:-2])
        for seconds in (86400, -86400):
            assert server.get(f"/in-app/clock?{seconds}").text == "ok"
            eventually(lambda: abs(date_of(server) - true - seconds) < 300)  # noqa: B023
        assert idle.request(GET).text == "ok"
        assert half.request(GET[-2:]).text == "ok"
    assert children(server.pid) == [worker]


def test_stopped_processes(live: Callable[..., LiveServer]) -> None:
    """A worker: another one serves, and what it has got is answered when it goes on. The master: all serve."""
    server = live(APP, "-w", "2", "--timeout", "1000", *DEBUG)
    workers = wait_for_workers(server, 2)
    stopped = workers[0]
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(10)]
        of = [int(peer.request(head("/pid")).text) for peer in peers]
        os.kill(stopped, signal.SIGSTOP)
        try:
            for peer in peers:
                peer.send(GET)
            for pid, peer in zip(of, peers, strict=True):
                if pid != stopped:
                    assert peer.response().text == "ok"
            assert {server.get("/pid").text for _ in range(10)} == {str(workers[1])}
        finally:
            os.kill(stopped, signal.SIGCONT)
        for pid, peer in zip(of, peers, strict=True):
            if pid == stopped:
                assert peer.response().text == "ok"
        server.send_signal(signal.SIGSTOP)
        try:
            for peer in peers:
                assert peer.request(GET).text == "ok"
        finally:
            server.send_signal(signal.SIGCONT)
    assert sorted(children(server.pid)) == sorted(workers)
