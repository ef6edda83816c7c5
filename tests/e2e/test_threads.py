"""Several requests of one worker in the app at once: who serves when others block, compute or hang."""

from __future__ import annotations

import operator
import os
import random
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from fastwsgi import parallel
from tests.live import DEADLINE, ENGINE, LiveServer, head
from tests.processes import descriptors, eventually, wait_for_end, wait_for_workers
from tests.traffic import Traffic, fault_of, request_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gate import Gate

APP = "tests.apps.concurrency:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")
BIG = 12_000_000
LOOPS = parallel.loops_at_most()
AT_REST = 1 if LOOPS == 1 else 1 + LOOPS  # threads before the first that stands by

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(ENGINE != (), reason="names its engine itself"),
]


def test_as_many_as_there_are_threads(live: Callable[..., LiveServer]) -> None:
    """They can only answer if all are in the app at once; and so again, on threads that are there already."""
    server = live(APP, "--threads", "4")
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(4)]
        for _ in range(3):
            for peer in peers:
                peer.send(head("/meet?4"))
            for peer in peers:
                assert peer.response().text == "ok"


def test_threads_start_when_they_are_needed(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "64")
    with server.connect() as peer:
        for _ in range(50):
            threads = int(peer.request(head("/threads")).text)
        assert threads <= AT_REST + 1
        assert peer.request(head("/multithread")).text == "True"
        with gate.enter(server):
            assert int(peer.request(head("/threads")).text) <= AT_REST + 3
            gate.open()


def test_nobody_waits_behind_a_thread_that_blocks(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2")
    with gate.enter(server) as blocked, server.connect() as peer:
        for _ in range(100):
            assert peer.request(GET).text == "ok"
        gate.open()
        assert blocked.response().text == "ok"


def test_a_batch_is_not_stranded_behind_the_call_of_its_leader(
    live: Callable[..., LiveServer], gate: Gate
) -> None:
    """All requests are ready at once, and the first one read blocks."""
    server = live(APP, "--threads", "3", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(20)]
        for peer in peers:
            assert peer.request(GET).text == "ok"
        os.kill(worker, signal.SIGSTOP)
        places = (gate.place(), gate.place())
        for number, peer in enumerate(peers):
            peer.send(GET if number % 19 else head(f"/block?{places[number // 19]}"))
        os.kill(worker, signal.SIGCONT)
        for number, peer in enumerate(peers):
            assert number % 19 == 0 or peer.response().text == "ok"
        for place in places:
            gate.wait_for_arrival(place)
        gate.open()
        for peer in peers[::19]:
            assert peer.response().text == "ok"


def test_when_all_threads_block_the_loop_goes_on(live: Callable[..., LiveServer], gate: Gate) -> None:
    """What was answered is still sent, new connections are taken, and the master hears that all is well."""
    server = live(APP, "--threads", "2", "--timeout", "1", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        slow = stack.enter_context(server.connect(receive_buffer=1 << 16))
        slow.send(head(f"/big?{BIG}"))
        slow.read_until(b"\r\n\r\n")
        stalled = [stack.enter_context(gate.enter(server)) for _ in range(2)]
        assert slow.read_exactly(BIG) == b"x" * BIG
        before = descriptors(worker)
        waiting = stack.enter_context(server.connect())
        eventually(lambda: descriptors(worker) == before + 1)
        with pytest.raises(AssertionError):
            server.wait_for_log("WORKER TIMEOUT", 2.5)
        waiting.send(GET)
        waiting.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.fill()
        waiting.sock.settimeout(20)
        gate.open()
        for peer in (*stalled, waiting):
            assert peer.response().text == "ok"


def test_all_threads_hang_while_requests_wait(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2", "--timeout", "2", *DEBUG)
    server.allow_traceback = True
    (worker,) = wait_for_workers(server, 1)
    with gate.enter(server), gate.enter(server), server.connect() as waiting:
        waiting.send(GET)
        server.wait_for_log(rf"WORKER TIMEOUT \(pid:{worker}\)")
        stay = r"thread \d \(0x[0-9a-f]{16}\): GET /block\?\S+ for [\d.]+ s"
        server.wait_for_log(rf"Worker \(pid:{worker}\) has in flight: {stay}; {stay}$")
        server.wait_for_log(r'concurrency.py", line \d+ in app')
        wait_for_end(worker)
        gate.open()
    assert server.get("/").text == "ok"


def test_a_thread_that_computes_lets_others_be_served(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "4")
    with server.connect() as peer, server.connect() as other:
        peer.send(head("/compute?3"))
        for _ in range(3):
            assert other.request(GET).text == "ok"
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.fill()
        peer.sock.settimeout(20)
        assert peer.response().text == "ok"


def test_a_stream_that_blocks_holds_only_its_thread(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2")
    with server.connect() as stream, server.connect() as peer:
        stream.send(head(f"/stream?{gate.path}"))
        stream.read_until(b"before ")
        gate.wait_for_arrival()
        for _ in range(20):
            assert peer.request(GET).text == "ok"
        gate.open()
        assert stream.read_until(b"0\r\n\r\n").endswith(b"after\r\n0\r\n\r\n")


def test_streams_are_closed_when_their_clients_go(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--threads", "4")
    for number in range(1, 4):
        with server.connect() as stream:
            stream.send(head("/endless?"))
            stream.read_until(b"xxx")
        eventually(lambda number=number: server.get("/counted?closed").text == str(number))  # type: ignore[misc]


def test_pipelined_requests_of_a_running_client(live: Callable[..., LiveServer], gate: Gate) -> None:
    """They are read meanwhile, by another thread, and answered in order."""
    server = live(APP, "--threads", "2")
    with gate.enter(server) as peer:
        for number in range(50):
            body = b"%d" % number
            peer.send(head("/echo", f"Content-Length: {len(body)}", method="POST") + body)
            assert number % 10 or server.get("/").text == "ok"
        gate.open()
        assert peer.response().text == "ok"
        assert [peer.response().text for _ in range(50)] == [str(number) for number in range(50)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping(live: Callable[..., LiveServer], gate: Gate, number: signal.Signals) -> None:
    """TERM: what is in the app and what waits is answered. INT: the worker ends without them."""
    server = live(APP, "--threads", "2", "--graceful-timeout", "20", *DEBUG)
    with gate.enter(server) as one, gate.enter(server) as two, server.connect() as waiting:
        waiting.send(GET)
        server.send_signal(number)
        server.wait_for_log("Handling signal")
        if number == signal.SIGTERM:
            gate.open()
            for peer in (one, two, waiting):
                assert peer.response().text == "ok"
        assert server.wait() == 0
        assert "SIGKILL" not in server.log.text


def pipeline(server: LiveServer, seed: int) -> int:
    """Send requests without waiting for answers, now and then with a pause; return how many were right."""
    rng = random.Random(seed)
    paths = [rng.choice(("/", "/", "/", "/", "/echo", "/stream", "/write", "/pause")) for _ in range(200)]
    tokens = [b"%d-%016x" % (seed, rng.getrandbits(64)) for _ in paths]
    pause = threading.Event()
    with server.connect() as peer:

        def send() -> None:
            for path, token in zip(paths, tokens, strict=True):
                peer.send(request_for(path, token))
                if rng.random() < 0.2:
                    pause.wait(rng.random() * 0.002)

        sender = threading.Thread(target=send)
        sender.start()
        replies = [peer.response() for _ in paths]
        sender.join(DEADLINE)
    return sum(map(operator.not_, map(fault_of, replies, paths, tokens)))


def test_clients_that_do_not_wait_for_answers(live: Callable[..., LiveServer], rng: random.Random) -> None:
    server = live("tests.apps.traffic:app", "--threads", "4")
    seeds = [rng.getrandbits(32) for _ in range(24)]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda seed: pipeline(server, seed), seeds)) == [200] * 24


def test_thousands_of_requests(live: Callable[..., LiveServer], rng: random.Random) -> None:
    """Quick, slow, streamed, large, pausing: each body is its own."""
    server = live("tests.apps.traffic:app", "--threads", "8")
    with Traffic(server.address, clients=24, one_shot=4, seed=rng.getrandbits(32)) as load:
        load.wait_for(4000)
    assert load.failures == []
