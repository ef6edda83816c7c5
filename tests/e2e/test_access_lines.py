"""A line for every request, also for those that were refused, cut off or timed out."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.live import ENGINE, LiveServer, Peer, head
from tests.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gate import Gate

APP = "tests.apps.concurrency:app"
FORMAT = "%(s)s %(r)s %(B)s"


class Logged:
    """A server and the lines of its access log."""

    def __init__(self, live: Callable[..., LiveServer], folder: Path, *args: str) -> None:
        self._path = folder / "access.log"
        where = ("--access-logfile", os.fspath(self._path), "--access-logformat", FORMAT)
        self.server = live(APP, *args, *where)

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def wait_for(self, *lines: str) -> None:
        eventually(lambda: len(self.lines) >= len(lines))
        assert self.lines == list(lines)


@pytest.fixture
def logged(live: Callable[..., LiveServer], tmp_path: Path) -> Callable[..., Logged]:
    return lambda *args: Logged(live, tmp_path, *args)


def reset(peer: Peer) -> None:
    """Go in a way that the server notices at once."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


def test_refused_requests(logged: Callable[..., Logged]) -> None:
    log = logged("--limit-request-line", "100", "--limit-request-body", "10")
    answers = [
        log.server.exchange(data)
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET /" + b"x" * 120 + b" HTTP/1.1\r\n\r\n",
            head("/form", "Content-Length: 11", method="POST"),
        )
    ]
    assert [answer[9:12] for answer in answers] == [b"400", b"400", b"505", b"414", b"413"]
    log.wait_for(
        "400 GET / HTTP/1.1 16",
        "400 GET /\\x1b[31m HTTP/1.1 16",
        "505 GET / HTTP/2.0 31",
        f"414 GET /{'x' * 120} HTTP/1.1 17",
        "413 POST /form HTTP/1.1 22",
    )


def test_time_out_in_the_head_and_in_the_body(logged: Callable[..., Logged]) -> None:
    log = logged("--header-timeout", "0.2", "--body-timeout", "0.2")
    assert log.server.exchange(b"GET /slow HTTP/1.1\r\nHost")[9:12] == b"408"
    assert log.server.exchange(head("/form", "Content-Length: 9", method="POST") + b"x")[9:12] == b"408"
    log.wait_for("408 GET /slow HTTP/1.1 20", "408 POST /form HTTP/1.1 20")


def test_a_client_that_goes_before_its_request_is_whole(logged: Callable[..., Logged]) -> None:
    log = logged()
    for data in (b"GET /head HTT", head("/form", "Content-Length: 9", method="POST") + b"x"):
        with log.server.connect() as peer:
            peer.send(data)
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.is_closed()
    with log.server.connect():
        pass  # asks nothing: no line
    assert log.server.get("/last").status == 200
    log.wait_for("499 GET /head HTT - 0", "499 POST /form HTTP/1.1 0", "200 GET /last HTTP/1.1 2")


@pytest.mark.skipif("gevent" in ENGINE, reason="opening a FIFO would block all greenlets")
def test_a_client_that_goes_while_its_answer_is_made(logged: Callable[..., Logged], gate: Gate) -> None:
    threads = () if "--threads" in ENGINE else ("--threads", "4")
    log = logged(*threads)
    with log.server.connect() as peer:
        peer.send(head(f"/stream?{gate.path}"))
        peer.read_until(b"before ")  # something was sent
        gate.wait_for_arrival()
        reset(peer)
    with log.server.connect() as peer:
        assert peer.request(head("/1")).status == 200  # the loop has seen the reset by now
    gate.open()
    eventually(lambda: len(log.lines) == 2)
    assert log.lines[1].startswith(f"200 GET /stream?{gate.path} HTTP/1.1 ")
    other = gate.place()
    with log.server.connect() as peer:
        peer.send(head(f"/block?{other}"))
        gate.wait_for_arrival(other)
        reset(peer)
    time.sleep(0.02)  # the app takes that long: only then it is looked whether the client is still there
    assert log.server.get("/2").status == 200
    gate.open()
    eventually(lambda: len(log.lines) == 4)
    assert log.lines[2:] == ["200 GET /2 HTTP/1.1 2", f"499 GET /block?{other} HTTP/1.1 0"]


def test_a_client_that_takes_too_long_to_take_its_answer(logged: Callable[..., Logged]) -> None:
    log = logged("--write-timeout", "0.2")
    with log.server.connect(receive_buffer=4096) as peer:
        peer.send(head("/flood"))
        eventually(lambda: log.lines != [])
    assert log.lines[0].startswith("200 GET /flood HTTP/1.1 ")


@pytest.mark.skipif(ENGINE != (), reason="names its engine itself")
def test_a_client_that_goes_while_its_request_waits(logged: Callable[..., Logged], gate: Gate) -> None:
    log = logged("--threads", "2")
    assert log.server.get("/sleep?0.05").status == 200  # the app is known to be slow
    with gate.enter(log.server), gate.enter(log.server), log.server.connect() as peer:
        peer.send(head("/waits"))
        assert log.server.exchange(b"BAD\r\n\r\n")[9:12] == b"400"  # that before it was read, then
        reset(peer)
        # Accepting comes before that event, if they are of one batch; but not so many times.
        for _ in range(40):
            assert log.server.exchange(b"BAD\r\n\r\n")[9:12] == b"400"
        gate.open()
        eventually(lambda: len(log.lines) == 45)
    assert sorted(line for line in log.lines if "block" not in line and "BAD" not in line) == [
        "200 GET /sleep?0.05 HTTP/1.1 2",
        "499 GET /waits HTTP/1.1 0",
    ]


@pytest.mark.skipif(ENGINE != (), reason="names its engine itself")
def test_a_request_refused_since_too_many_wait(logged: Callable[..., Logged], gate: Gate) -> None:
    log = logged("--threads", "2", "--queue-timeout", "0.1")
    assert log.server.get("/sleep?0.05").status == 200
    with gate.enter(log.server), gate.enter(log.server):
        assert log.server.get("/waits").status == 503
        gate.open()
        eventually(lambda: len(log.lines) >= 4)
    assert [line[:30] for line in log.lines if "waits" in line] == ["503 GET /waits HTTP/1.1 24"]
