"""The loop by itself, in a thread, with what cannot be had from outside: parts that fail."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.config.settings import Config
from fastwsgi.engine import Engine
from fastwsgi.processes import sockets
from tests.live import DEADLINE, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


PIECE = b"0123456789" * 400
LONG = 500
COUNT = itertools.count(1)


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.005)
        start_response("200 OK", [])
        return [str(next(COUNT)).encode()]
    if environ["PATH_INFO"] == "/long":
        start_response("200 OK", [("Content-Length", str(LONG * len(PIECE)))])
        return (PIECE for _ in range(LONG))
    start_response("200 OK", [("Content-Length", "2")])
    if environ["PATH_INFO"] == "/empties":
        environ.clear()
    if environ.get("PATH_INFO") == "/raises":
        message = "after start_response"
        raise ValueError(message)
    return iter([b"o", b"k"]) if environ.get("PATH_INFO") == "/pulled" else [b"ok"]


class FailingLog:
    """An access log with a bug: it fails at certain paths."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, environ: dict[str, Any], *_: object) -> None:
        if environ["PATH_INFO"].startswith("/bug"):
            message = "a bug of the server"
            raise RuntimeError(message)
        self.lines.append(environ["PATH_INFO"])

    def flush(self) -> None:
        """Nothing is held."""


@contextmanager
def serving(
    access_log: object = None, on_wake: Callable[[], None] | None = None, **settings: object
) -> Iterator[SimpleNamespace]:
    """Run a loop in a thread; it is stopped through a descriptor, as signals do it."""
    listener = sockets.listen("127.0.0.1:0", backlog=64)
    loop = Engine(
        app,
        [listener],
        Config(**settings),  # type: ignore[arg-type]
        error_log=logging.getLogger("fastwsgi.error"),
        access_log=access_log,
        heartbeat=lambda _now: None,
        multiprocess=False,
    )
    ours, theirs = socket.socketpair()
    loop.add_reader(theirs.fileno(), on_wake or loop.stop)
    ended = SimpleNamespace(error=None)

    def run() -> None:
        try:
            loop.run()
        except Exception as error:
            ended.error = error

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield SimpleNamespace(address=listener.sock.getsockname(), ended=ended)
    finally:
        ours.send(b"x")
        thread.join(DEADLINE)
        assert not thread.is_alive()
        for each in (ours, theirs, listener.sock):
            each.close()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fastwsgi.error")
    logging.getLogger("fastwsgi.error").propagate = True


def test_a_bug_of_the_server_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    log = FailingLog()
    with serving(log) as server, Peer(server.address) as other:
        assert other.request(GET % b"/1").body == b"ok"
        with Peer(server.address) as unlucky:
            unlucky.send(GET % b"/bug")
            assert unlucky.is_closed()
        assert other.request(GET % b"/2").body == b"ok"
        with Peer(server.address) as fresh:
            assert fresh.request(GET % b"/3").body == b"ok"
    assert server.ended.error is None
    assert log.lines == ["/1", "/2", "/3"]
    assert [record.message for record in caplog.records] == [
        "Error in the server itself; a connection is given up"
    ]


def test_a_bug_in_a_batch_costs_the_others_nothing() -> None:
    """Answers held back, and events of the same batch, survive the failure of one."""
    log = FailingLog()
    with serving(log) as server:
        peers = [Peer(server.address) for _ in range(40)]
        for number, peer in enumerate(peers):
            peer.send(GET % (b"/bug" if number % 5 == 0 else b"/pulled" if number % 2 else b"/"))
        for number, peer in enumerate(peers):
            with peer:
                if number % 5 == 0:
                    assert peer.is_closed()
                else:
                    assert peer.response().body == b"ok"
    assert server.ended.error is None
    assert len(log.lines) == 32


def test_a_failure_that_belongs_to_no_connection_ends_the_loop() -> None:
    """The worker then exits with an error, and the master starts another."""

    def fail() -> None:
        message = "no connection's"
        raise RuntimeError(message)

    with serving(on_wake=fail) as server:
        pass
    assert isinstance(server.ended.error, RuntimeError)


def test_an_app_may_empty_its_environ() -> None:
    with serving() as server, Peer(server.address) as peer:
        for _ in range(3):
            assert peer.request(GET % b"/empties").body == b"ok"


def test_an_app_that_fails_after_emptying_its_environ_is_still_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server, Peer(server.address) as peer:
        assert peer.request(GET % b"/raises").status == 500
    assert "after start_response" in caplog.text


def test_a_pipeline_gives_others_their_turn() -> None:
    """One client's 400 requests of 5 ms each lie in the buffer; another's must not wait for all of them."""
    global COUNT
    COUNT = itertools.count(1)
    count = 400
    with serving() as server, Peer(server.address) as greedy, Peer(server.address) as other:
        greedy.send(GET % b"/slow" * count)
        assert greedy.response().body == b"1"
        place = int(other.request(GET % b"/slow").body)
        assert 1 < place < count // 2
        numbers = [int(greedy.response().body) for _ in range(count - 1)]
        assert numbers == [number for number in range(2, count + 2) if number != place]


@pytest.mark.parametrize("slow_reader", [False, True])
def test_a_long_generator_gives_others_their_turn(slow_reader: bool) -> None:
    with (
        serving(keepalive=60.0) as server,  # the client may take long after all is sent
        Peer(server.address, receive_buffer=4096 if slow_reader else 0) as streaming,
        Peer(server.address) as other,
    ):
        streaming.send(GET % b"/long")
        streaming.read_until(b"\r\n\r\n")
        for _ in range(5):
            assert other.request(GET % b"/").body == b"ok"
        body = streaming.read_exactly(LONG * len(PIECE))
        assert body == PIECE * LONG
        assert streaming.request(GET % b"/").body == b"ok"
