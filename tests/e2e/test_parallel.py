"""Several loops in one worker: as one engine, with any Python; side by side, where there is no GIL."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import gil, parallel
from fastwsgi._places_py import SIZE
from fastwsgi.config.settings import Config
from fastwsgi.logs.access_log import AccessLog
from fastwsgi.processes import sockets
from fastwsgi.processes.scoreboard import SERVING, Scoreboard
from tests.apps import traffic
from tests.live import DEADLINE, LiveServer, Peer, head
from tests.processes import eventually, wait_for_end, wait_for_workers
from tests.traffic import Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.gate import Gate

APP = "tests.apps.concurrency:app"
TRAFFIC = "tests.apps.traffic:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")
LOOPS = 2

side_by_side = pytest.mark.skipif(
    parallel.loops_at_most() == 1, reason="needs a free-threaded Python and two processors"
)
optional_gil = pytest.mark.skipif(not gil.is_optional(), reason="needs a free-threaded Python")


# --- as one engine -------------------------------------------------------------------------------------------


def hello(_environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


class Running(SimpleNamespace):
    """A Parallel in a thread."""

    engine: parallel.Parallel
    thread: threading.Thread
    errors: list[BaseException]
    beats: list[float]
    address: tuple[str, int]
    on_wake: Callable[[], None]

    def call(self, what: Callable[[], None]) -> None:
        """Have its main thread call something, as signals do."""
        self.on_wake = what
        self.ours.send(b"!")

    def join(self) -> None:
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


@contextmanager
def running(app: Callable[..., Any] = hello, *, access_log: Any = None, **settings: Any) -> Iterator[Running]:
    listener = sockets.listen("127.0.0.1:0", backlog=64)
    board = Scoreboard(1, loops=LOOPS)
    board.record(0).state = SERVING
    turns = [board.company(0).of_loop(number).turn for number in range(LOOPS)]
    beats: list[float] = []
    engine = parallel.Parallel(
        LOOPS,
        app,
        [listener],
        Config(threads=4, **settings),
        error_log=logging.getLogger("fastwsgi.error"),
        access_log=access_log,
        heartbeat=beats.append,
        multiprocess=False,
        company=board.company(0),
        memory=memoryview(bytearray(SIZE)),
    )
    ours, theirs = socket.socketpair()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            engine.run()
        except BaseException as error:
            errors.append(error)

    it = Running(
        engine=engine,
        thread=threading.Thread(target=run, daemon=True),
        errors=errors,
        beats=beats,
        address=listener.sock.getsockname(),
        on_wake=engine.stop,
        ours=ours,
    )

    def on_readable() -> None:
        theirs.recv(1)
        it.on_wake()

    engine.add_reader(theirs.fileno(), on_readable)
    it.thread.start()
    eventually(lambda: all(turn[0] > time.monotonic() for turn in turns))  # they wait
    try:
        yield it
    finally:
        if it.thread.is_alive():
            it.call(engine.stop)
        it.join()
        for one in (ours, theirs, listener):
            one.close()


def test_connections_are_shared_among_the_loops() -> None:
    with running() as it, ExitStack() as stack:
        peers = [stack.enter_context(Peer(it.address)) for _ in range(16)]
        for peer in peers * 3:
            assert peer.request(GET).text == "ok"
        assert it.engine.requests == 48
        assert all(place.engine.requests > 0 for place in it.engine._places)
        eventually(lambda: len(it.beats) > 0)


def test_shutdown_reaches_all_loops() -> None:
    with running() as it, ExitStack() as stack:
        peers = [stack.enter_context(Peer(it.address)) for _ in range(16)]
        for peer in peers:
            assert peer.request(GET).get("Connection") is None
        it.call(lambda: it.engine.shutdown(DEADLINE))
        for peer in peers:
            assert peer.is_closed()
        it.join()
        assert it.errors == []


def test_an_error_that_ends_a_loop_ends_all() -> None:
    def fail() -> None:
        raise RuntimeError("the loop is broken")

    with running() as it, Peer(it.address) as peer:
        assert peer.request(GET).status == 200
        place = it.engine._places[1]
        place.calls.post(fail)
        it.join()
        assert [str(error) for error in it.errors] == ["the loop is broken"]
        assert peer.is_closed()


def test_a_loop_that_hangs_shows_in_the_heartbeat() -> None:
    """However lively the other one is."""
    hangs, ends = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        ends.wait(DEADLINE)

    with running() as it:
        it.engine._places[1].calls.post(hang)
        assert hangs.wait(DEADLINE)
        seen = it.engine._places[1].last_beat
        start = it.engine._places[0].last_beat
        eventually(lambda: it.engine._places[0].last_beat > start + 1.0)
        count = len(it.beats)
        eventually(lambda: len(it.beats) > count + 1)
        assert it.beats[-1] == seen
        ends.set()
        eventually(lambda: it.beats[-1] > start + 1.0)


def test_the_limit_of_connections_is_for_all() -> None:
    """Nobody is idle, so that nobody makes room for the one too many."""
    with running(worker_connections=4) as it, ExitStack() as stack:
        peers = [stack.enter_context(Peer(it.address)) for _ in range(4)]
        for peer in peers:
            assert peer.request(GET).status == 200
            peer.send(GET[:-2])
        late = stack.enter_context(Peer(it.address))
        late.send(GET)
        for _ in range(3):
            for peer in peers:
                peer.send(GET[-2:] + GET[:-2])
                assert peer.response().status == 200
        late.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.fill()
        late.sock.settimeout(DEADLINE)
        peers[0].sock.close()
        assert late.response().status == 200


def test_lines_of_all_loops_are_in_the_access_log(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog.open(os.fspath(path), "%(s)s %(U)s.")
    with running(traffic.app, access_log=log) as it:
        with Traffic(it.address, clients=8, one_shot=2) as load:
            load.wait_for(500)
        assert load.failures == []
        it.call(lambda: it.engine.shutdown(DEADLINE))
        it.join()
        requests = it.engine.requests
    log.close()
    lines = path.read_text().splitlines()
    assert len(lines) == requests
    assert all(line.startswith("200 ") and line.endswith(".") for line in lines)


# --- side by side --------------------------------------------------------------------------------------------


@optional_gil
def test_the_gil_stays_off(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "2", "--access-logfile", os.devnull)
    assert server.get("/gil").text == "False"
    assert "GIL" not in server.log.text


@optional_gil
def test_with_the_gil_on_there_is_one_loop(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "4", env={"PYTHON_GIL": "1"})
    assert server.get("/gil").text == "True"
    assert int(server.get("/threads").text) <= 3
    server.wait_for_log("The GIL is on, threads take turns; PYTHON_GIL=0 would keep it off")


@side_by_side
@pytest.mark.parametrize("threads", [2, 8])
def test_computing_requests_run_side_by_side(live: Callable[..., LiveServer], threads: int) -> None:
    """They hand a number to each other, a hundred times, and neither ever gives way to the other."""
    server = live(APP, "--threads", str(threads))
    with server.connect() as one, server.connect() as other:
        for _ in range(5):
            one.send(head("/hand-over?one-other"))
            other.send(head("/hand-over?other-one"))
            assert (one.response().text, other.response().text) == ("100", "100")


@side_by_side
def test_no_more_in_the_app_than_there_are_threads(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "3")

    def use() -> None:
        with server.connect() as peer:
            for _ in range(40):
                assert peer.request(head("/inside")).text == "ok"
                done.append(1)

    done: list[int] = []
    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(done) == 16 * 40
    assert server.get("/most-inside").text == "3"


@side_by_side
def test_streams_leave_seats_to_others_wherever_they_are(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "8")
    with ExitStack() as stack:
        for _ in range(6):
            stream = stack.enter_context(server.connect())
            stream.send(head("/endless"))
            stream.read_until(b"x")
        peers = [stack.enter_context(server.connect()) for _ in range(20)]
        for _ in range(20):
            for peer in peers:
                peer.send(GET)
            for peer in peers:
                assert peer.response().text == "ok"


@side_by_side
def test_who_waits_has_a_turn_in_every_loop(live: Callable[..., LiveServer], gate: Gate) -> None:
    """Both seats are taken; more requests wait, in both loops, than there are seats."""
    server = live(APP, "--threads", "2")
    with ExitStack() as stack:
        with server.connect() as peer:
            assert peer.request(head("/sleep?0.05")).text == "ok"
        blocked = [stack.enter_context(gate.enter(server)) for _ in range(2)]
        peers = [stack.enter_context(server.connect()) for _ in range(20)]
        for peer in peers:
            peer.send(head("/inside"))
        gate.open()
        for peer in (*blocked, *peers):
            assert peer.response().text == "ok"
        assert server.get("/most-inside").text == "2"


@side_by_side
@pytest.mark.parametrize("target", ["file", "pipe"])
def test_no_line_is_lost_or_mixed(live: Callable[..., LiveServer], tmp_path: Path, target: str) -> None:
    path = tmp_path / "access.log"
    where = os.fspath(path) if target == "file" else "-"
    server = live(
        TRAFFIC, "--threads", "8", "--access-logfile", where, "--access-logformat", "%(s)s %(U)s.", *DEBUG
    )
    (worker,) = wait_for_workers(server, 1)
    with Traffic(server.address, clients=16, one_shot=4) as load:
        for _ in range(4):
            load.wait_for(500)
            if target == "file":
                path.rename(tmp_path / f"moved-{len(list(tmp_path.iterdir()))}")
                server.send_signal(signal.SIGUSR1)
                eventually(path.exists)
        load.expect_the_end()
        server.send_signal(signal.SIGTERM)
        wait_for_end(worker)
        assert server.wait() == 0
        load.join()
    assert load.failures == []
    if target == "file":
        lines = [line for part in tmp_path.iterdir() for line in part.read_text().splitlines()]
    else:
        lines = server.stdout.lines
    answered = Counter({f"200 {path}.": count for path, count in load.answered.items() if path != "/chunked"})
    answered["200 /echo."] += load.answered["/chunked"]
    assert load.late or Counter(lines) == answered


@side_by_side
def test_tens_of_thousands_of_requests(live: Callable[..., LiveServer], rng: random.Random) -> None:
    server = live(TRAFFIC, "--threads", "16")
    with Traffic(server.address, clients=32, one_shot=8, seed=rng.getrandbits(32)) as load:
        for _ in range(4):
            load.wait_for(4000)
    assert load.failures == []
