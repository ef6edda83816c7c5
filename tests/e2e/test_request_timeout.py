"""`--request-timeout`: 504 for a request that stays in the app, while its thread and its neighbours go on."""

from __future__ import annotations

import itertools
import logging
import re
import socket
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi._places_py import SIZE
from fastwsgi.config.settings import Config
from fastwsgi.engine import Engine
from fastwsgi.parallel import Parallel
from fastwsgi.processes import sockets
from fastwsgi.processes.scoreboard import Scoreboard
from tests.apps import hanging
from tests.live import DEADLINE, ENGINE, LiveServer, Peer, Reply, head
from tests.processes import eventually, wait_for_end, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gate import Gate

APP = "tests.apps.hanging:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
SHORT = ("--request-timeout", "0.5")
GET = head("/")
STAY = r"thread \d \(0x[0-9a-f]{16}\): GET"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="waits at FIFOs"),
    pytest.mark.skipif(ENGINE != (), reason="names its engine itself"),
]


class Served(logging.Handler):
    """The loop by itself, in threads of the test's own: nobody replaces it when a thread does not come back.

    It keeps the lines of its logs, and what it says of being worn.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        hanging.COUNTS.clear()
        self.lines: list[str] = []
        self.access: list[tuple[str, str, int]] = []
        self.worn: list[str] = []
        self.settings = {"threads": 2, "request_timeout": 0.5, **settings}
        log = logging.getLogger(f"{__name__}.{id(self)}")
        log.setLevel(logging.DEBUG)
        log.addHandler(self)
        self._listener = sockets.listen("127.0.0.1:0", backlog=64)
        self.address = self._listener.sock.getsockname()
        self._engine = Engine(
            hanging.app,
            [self._listener],
            Config(**self.settings),
            error_log=log,
            access_log=self,
            heartbeat=lambda _: None,
            multiprocess=False,
            worn=self.worn.append,
        )
        self._ours, self._theirs = socket.socketpair()
        self._engine.add_reader(self._theirs.fileno(), self._engine.stop)
        self._thread = threading.Thread(target=self._engine.run)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().splitlines()

    def log(self, environ: dict[str, Any], status: str, _headers: object, nbytes: int, _: float) -> None:
        """Be an access log."""
        self.access.append((environ["PATH_INFO"], status, nbytes))

    def flush(self) -> None:
        """Nothing is held."""

    def connect(self) -> Peer:
        return Peer(self.address)

    def get(self, path: str) -> Reply:
        with self.connect() as peer:
            return peer.request(head(path))

    def wait_for_log(self, pattern: str) -> None:
        eventually(lambda: any(re.search(pattern, line) for line in self.lines))

    def stop(self) -> None:
        self._ours.send(b"x")
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        for each in (self._ours, self._theirs, self._listener.sock):
            each.close()
        assert not any("Traceback" in line for line in self.lines), self.lines


@pytest.fixture
def served(gate: Gate) -> Iterator[Callable[..., Served]]:
    """Start loops of this test alone."""
    all_served: list[Served] = []

    def start(**settings: Any) -> Served:
        all_served.append(Served(**settings))
        return all_served[-1]

    yield start
    gate.open()
    for each in all_served:
        each.stop()


def enter(server: Served | LiveServer, gate: Gate, path: str) -> Peer:
    """Start a request that waits at a place of its own."""
    place = gate.place()
    peer = server.connect()
    peer.send(head(f"{path}?{place}"))
    gate.wait_for_arrival(place)
    return peer


# --- the loop --------------------------------------------------------------------------------------------


def test_what_comes_late_goes_nowhere(served: Callable[..., Served], gate: Gate) -> None:
    server = served()
    with enter(server, gate, "/late") as late, server.connect() as neighbour:
        assert late.response().status == 504
        assert late.is_closed()
        assert neighbour.request(head("/counts")).text == ""
        gate.open()
        server.wait_for_log(r"Thread \d is back from GET /late")
        # It was not pulled, and closed once.
        assert neighbour.request(head("/counts")).text == "closed=1"
    with server.connect() as one, server.connect() as other:  # both threads are there again
        one.send(head("/meet?2"))
        other.send(head("/meet?2"))
        assert (one.response().text, other.response().text) == ("ok", "ok")
    assert [line for line in server.access if line[0] == "/late"] == [("/late", "504 Gateway Timeout", 20)]


def test_each_thread_is_used_again(served: Callable[..., Served], gate: Gate) -> None:
    server = served(threads=3)
    for number in range(1, 5):
        with enter(server, gate, "/late") as peer:
            for _ in range(20):
                assert server.get("/").text == "ok"
            assert peer.response().status == 504
            gate.open()
            eventually(lambda: sum("is back from" in line for line in server.lines) == number)  # noqa: B023
    assert server.get("/counts").text == "closed=4"


def test_a_response_that_has_begun_is_cut_off(served: Callable[..., Served], gate: Gate) -> None:
    server = served()
    with enter(server, gate, "/stream") as peer:
        assert b"504" not in (whole := peer.read_to_end())
        assert whole.endswith(b"before\r\n")
        server.wait_for_log(rf"{STAY} /stream\S+ for [\d.]+ s, cut off; the")
        gate.open()
        server.wait_for_log("is back from GET /stream")
        assert server.get("/counts").text == "closed=1 pulled=2"
    assert [line for line in server.access if line[0] == "/stream"] == [("/stream", "200 OK", 6)]


def test_write_after_it_fails(served: Callable[..., Served], gate: Gate) -> None:
    server = served()
    with enter(server, gate, "/write") as peer:
        assert peer.response().status == 504
        gate.open()
        server.wait_for_log("is back from GET /write")
        assert server.get("/counts").text == "broken=1"
        assert peer.is_closed()


def test_close_may_hang_as_well(served: Callable[..., Served], gate: Gate) -> None:
    server = served()
    with enter(server, gate, "/hanging-close") as peer:
        assert b"all" in peer.read_to_end()
        server.wait_for_log(rf"{STAY} /hanging-close")
        gate.open()
        eventually(lambda: server.get("/counts").text == "closed=1 pulled=1")


def test_a_client_that_has_gone(served: Callable[..., Served], gate: Gate) -> None:
    """That the thread hangs is told all the same."""
    server = served()
    enter(server, gate, "/block").sock.close()
    server.wait_for_log(rf"{STAY} /block\S+ for [\d.]+ s, (its client has gone|answered 504); the")
    gate.open()
    server.wait_for_log("is back from GET /block")
    assert server.get("/").text == "ok"


def test_a_head_request_gets_no_body(served: Callable[..., Served], gate: Gate) -> None:
    server = served()
    with server.connect() as peer:
        peer.send(head(f"/block?{gate.path}", method="HEAD"))
        gate.wait_for_arrival()
        whole = peer.read_to_end()
        assert whole.startswith(b"HTTP/1.1 504 ")
        assert whole.endswith(b"\r\n\r\n")


def test_answers_before_it_are_sent(served: Callable[..., Served], gate: Gate) -> None:
    """Pipelined requests: what was held back goes out before the 504."""
    server = served()
    with server.connect() as peer:
        peer.send(GET + GET + head(f"/block?{gate.path}") + GET)
        assert [peer.response().status for _ in range(3)] == [200, 200, 504]
        assert peer.is_closed()
        gate.wait_for_arrival()


def test_a_stream_that_goes_on_is_not_timed_out(served: Callable[..., Served]) -> None:
    """What is limited is one stay in the app."""
    server = served(request_timeout=1.0)
    assert server.get("/ticks").text == "0 1 2 3 4 5 6 7 8 9 10 11 "
    assert not any("Request timeout" in line for line in server.lines)


def test_worn(served: Callable[..., Served], gate: Gate) -> None:
    """After twice the time, or when all threads are stuck."""
    server = served(threads=3)
    with enter(server, gate, "/block"):
        eventually(lambda: any(re.match(r"thread \d does not come back", why) for why in server.worn))
        assert "no thread comes back from the app" not in server.worn
        with enter(server, gate, "/block"), enter(server, gate, "/block"):
            eventually(lambda: "no thread comes back from the app" in server.worn)
    gate.open()
    eventually(lambda: server.get("/").text == "ok")


def test_several_loops_end_without_threads_that_do_not_come_back(gate: Gate) -> None:
    """As on Pythons without a GIL."""
    listener = sockets.listen("127.0.0.1:0", backlog=64)
    worn: list[str] = []
    engine = Parallel(
        2,
        hanging.app,
        [listener],
        Config(threads=2, request_timeout=0.5),
        error_log=logging.getLogger(__name__),
        access_log=None,
        heartbeat=lambda _: None,
        multiprocess=False,
        company=Scoreboard(1, loops=2).company(0),
        memory=memoryview(bytearray(SIZE)),
        worn=worn.append,
    )
    thread = threading.Thread(target=engine.run)
    thread.start()
    peers = [Peer(listener.sock.getsockname()) for _ in range(2)]
    for peer in peers:
        peer.send(head(f"/block?{gate.path}"))
    for peer in peers:
        assert peer.response().status == 504
    eventually(lambda: "no thread comes back from the app" in worn)
    engine.shutdown(600.0)
    thread.join(DEADLINE)
    assert not thread.is_alive()
    gate.wait_for_arrival()
    gate.open()
    for peer in peers:
        peer.sock.close()
    listener.sock.close()


# --- a whole server --------------------------------------------------------------------------------------


def test_504_and_the_neighbours_are_served(live: Callable[..., LiveServer], gate: Gate) -> None:
    """RFC 9110 §15.6.5."""
    server = live(APP, "--threads", "2", "--request-timeout", "1", "--access-logfile", "-")
    with enter(server, gate, "/block") as stuck, server.connect() as neighbour:
        for number in itertools.count():
            if "Request timeout" in server.log.text and number:
                break
            assert neighbour.request(GET).text == "ok"
        reply = stuck.response()
        assert (reply.status, reply.get("Connection"), reply.text) == (504, "close", "504 Gateway Timeout\n")
        assert stuck.is_closed()
        found = server.wait_for_log(rf"Request timeout: {STAY} /block\?\S+ for ([\d.]+) s, answered 504; the")
        assert float(found[1]) >= 1.0
        server.wait_for_log(r'hanging\.py", line \d+, in wait_at')
        server.stdout.wait_for(r'"GET /block\S+ HTTP/1.1" 504 20 ')
        gate.open()


def test_who_waits_for_the_client_is_not_timed_out(live: Callable[..., LiveServer]) -> None:
    """In write(): that has a timeout of its own."""
    server = live(APP, "--threads", "2", *SHORT)
    with server.connect(receive_buffer=1 << 16) as peer:
        peer.send(head("/write-much?100"))
        peer.read_until(b"\r\n\r\n")
        with pytest.raises(AssertionError):
            server.wait_for_log("Request timeout", 1.6)
        assert peer.read_until(b"\r\n0\r\n\r\n").count(b"x") == 10_000_000


def test_a_body_on_its_way(live: Callable[..., LiveServer], gate: Gate) -> None:
    """To wait for the body is not to hang; what the app does afterwards is."""
    server = live(APP, "--threads", "2", "--no-request-buffering", *SHORT)
    with server.connect() as peer:
        peer.send(head(f"/body?{gate.path}", "Content-Length: 10", method="POST") + b"01234")
        with pytest.raises(AssertionError):
            server.wait_for_log("Request timeout", 1.6)
        peer.send(b"56789")
        gate.wait_for_arrival()
        assert peer.response().status == 504


def test_a_connection_that_the_app_has_taken(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "2", *SHORT)
    with server.connect() as peer:
        peer.send(head("/take", "Connection: Upgrade", "Upgrade: websocket"))
        assert peer.read_until(b"hello")
        with pytest.raises(AssertionError):
            server.wait_for_log("Request timeout", 1.6)
        peer.send(b"still here")
        assert peer.read_to_end() == b"still here"


@pytest.mark.parametrize("threads", [2, 4])
def test_all_threads_stuck(live: Callable[..., LiveServer], gate: Gate, threads: int) -> None:
    """The worker is replaced, and ends at once: those that wait in it are told to come again."""
    server = live(APP, "--threads", str(threads), "--request-timeout", "2", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(threads)]
        waiting = stack.enter_context(server.connect())
        for peer in (*peers, waiting):
            assert peer.request(GET).text == "ok"  # by this worker
        for peer in peers:
            peer.send(head(f"/block?{gate.path}"))
        waiting.send(GET)
        assert {peer.response().status for peer in peers} == {504}
        wait_for_end(worker)
        reply = waiting.response()
        assert (reply.status, reply.get("Connection")) in {(503, "close"), (200, "keep-alive"), (200, None)}
        assert server.get("/pid").text != str(worker)
    server.wait_for_log(rf"pid:{worker}.* comes? back from the app")
    assert "SIGKILL" not in server.log.text


def test_one_thread_that_never_comes_back(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "4", *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        peer.send(head("/sleep"))
        assert peer.response().status == 504
        server.wait_for_log(rf"pid:{worker}.*thread \d does not come back from the app")
        wait_for_end(worker)
        assert server.get("/pid").text != str(worker)
    assert "SIGKILL" not in server.log.text


# --- gevent ----------------------------------------------------------------------------------------------


def test_greenlets(live: Callable[..., LiveServer]) -> None:
    """The stack is that of the greenlet, which goes on when what it waits for has come."""
    pytest.importorskip("gevent", reason="gevent is not installed; free-threaded Pythons cannot have it")
    server = live(APP, "-k", "gevent", "--request-timeout", "4", *DEBUG)
    with server.connect() as peer, server.connect() as neighbour:
        peer.send(head("/meet?2"))
        assert neighbour.request(GET).text == "ok"
        assert peer.response().status == 504
        assert server.get("/meet?2").text == "ok"
        server.wait_for_log(rf"Request timeout: {STAY} /meet\?2 for [\d.]+ s, answered 504; the")
        server.wait_for_log(r'hanging\.py", line \d+, in meet')
        server.wait_for_log("is back from GET /meet")


def test_greenlets_that_never_come_back(live: Callable[..., LiveServer]) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed; free-threaded Pythons cannot have it")
    server = live(APP, "-k", "gevent", "--worker-connections", "2", *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as one, server.connect() as other:
        for peer in (one, other):
            peer.send(head("/sleep"))
        for peer in (one, other):
            assert peer.response().status == 504
        wait_for_end(worker)
    assert server.get("/pid").text != str(worker)
    assert "SIGKILL" not in server.log.text
