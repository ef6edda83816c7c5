"""`--request-timeout`: 504 for a request that stays in the app, while its thread and its neighbours go on."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import ENGINE, LiveServer, Peer, head
from tests.processes import eventually, wait_for_end, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable

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


def enter(server: LiveServer, gate: Gate, path: str) -> Peer:
    """Start a request that waits at a place of its own."""
    place = gate.place()
    peer = server.connect()
    peer.send(head(f"{path}?{place}"))
    gate.wait_for_arrival(place)
    return peer


def access_lines(server: LiveServer, path: str) -> list[str]:
    """Return the status and size of each line of the access log about `path`."""
    lines = [line for line in server.stdout.text.splitlines() if f" {path}" in line]
    return [found[1] for line in lines if (found := re.search(r'" (\d{3} \S+)', line))]


def test_504_and_the_neighbours_are_served(live: Callable[..., LiveServer], gate: Gate) -> None:
    """RFC 9110 §15.6.5."""
    server = live(APP, "--threads", "2", "--request-timeout", "1", "--access-logfile", "-")
    with enter(server, gate, "/late") as late, server.connect() as neighbour:
        assert neighbour.request(GET).text == "ok"
        reply = late.response()
        assert (reply.status, reply.get("Connection"), reply.text) == (504, "close", "504 Gateway Timeout\n")
        assert late.is_closed()
        found = server.wait_for_log(rf"Request timeout: {STAY} /late\?\S+ for ([\d.]+) s, answered 504; the")
        assert float(found[1]) >= 1.0
        server.wait_for_log(r'hanging\.py", line \d+, in wait_at')
        server.stdout.wait_for(r'"GET /late\S+ HTTP/1.1" 504 20 ')
        assert neighbour.request(head("/counts")).text == ""
        gate.open()
        server.wait_for_log(r"Thread \d is back from GET /late")
        # What it has answered goes nowhere; it was not pulled, and closed once.
        assert neighbour.request(head("/counts")).text == "closed=1"
    with server.connect() as one, server.connect() as other:  # both threads are there again
        one.send(head("/meet?2"))
        other.send(head("/meet?2"))
        assert (one.response().text, other.response().text) == ("ok", "ok")
    server.stop()
    assert access_lines(server, "/late") == ["504 20"]


def test_a_head_request_gets_no_body(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2", *SHORT)
    with server.connect() as peer:
        peer.send(head(f"/block?{gate.path}", method="HEAD"))
        assert peer.read_to_end().startswith(b"HTTP/1.1 504 ")
        assert peer.buffer == b""


def test_answers_before_it_are_sent(live: Callable[..., LiveServer], gate: Gate) -> None:
    """Pipelined requests: what was held back goes out before the 504."""
    server = live(APP, "--threads", "2", *SHORT)
    with server.connect() as peer:
        peer.send(GET + GET + head(f"/block?{gate.path}") + GET)
        assert [peer.response().status for _ in range(3)] == [200, 200, 504]
        assert peer.is_closed()


def test_a_response_that_has_begun_is_cut_off(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2", *SHORT, "--access-logfile", "-")
    with enter(server, gate, "/stream") as peer:
        assert b"504" not in (whole := peer.read_to_end())
        assert whole.endswith(b"before\r\n")
        server.wait_for_log(rf"{STAY} /stream\S+ for [\d.]+ s, cut off; the")
        gate.open()
        server.wait_for_log("is back from GET /stream")
        assert server.get("/counts").text == "closed=1 pulled=2"
    server.stop()
    assert access_lines(server, "/stream") == ["200 6"]


def test_a_stream_that_goes_on_is_not_timed_out(live: Callable[..., LiveServer]) -> None:
    """What is limited is one stay in the app."""
    server = live(APP, "--threads", "2", "--request-timeout", "1")
    assert server.get("/ticks").text == "0 1 2 3 4 5 6 7 8 9 10 11 "
    assert "Request timeout" not in server.log.text


def test_write_after_it_fails(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2", *SHORT)
    with enter(server, gate, "/write") as peer:
        assert peer.response().status == 504
        gate.open()
        server.wait_for_log("is back from GET /write")
        assert server.get("/counts").text == "broken=1"
        assert peer.is_closed()


def test_close_may_hang_as_well(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "2", *SHORT)
    with enter(server, gate, "/hanging-close") as peer:
        assert b"all" in peer.read_to_end()
        server.wait_for_log(rf"{STAY} /hanging-close")
        gate.open()
        eventually(lambda: server.get("/counts").text == "closed=1 pulled=1")


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


def test_a_client_that_has_gone(live: Callable[..., LiveServer], gate: Gate) -> None:
    """Nobody is answered; that the thread hangs is told all the same."""
    server = live(APP, "--threads", "2", *SHORT, "--access-logfile", "-")
    peer = enter(server, gate, "/block")
    peer.sock.close()
    server.wait_for_log(rf"{STAY} /block\S+ for [\d.]+ s, (its client has gone|answered 504); the")
    gate.open()
    server.wait_for_log("is back from GET /block")
    assert server.get("/").text == "ok"


@pytest.mark.parametrize("threads", ["2", "4"])
def test_all_threads_stuck(live: Callable[..., LiveServer], gate: Gate, threads: str) -> None:
    """The worker is replaced, and ends at once: those that wait in it are told to come again."""
    server = live(APP, "--threads", threads, *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        stuck = [stack.enter_context(enter(server, gate, "/block")) for _ in range(int(threads))]
        waiting = stack.enter_context(server.connect())
        waiting.send(GET)
        for peer in stuck:
            assert peer.response().status == 504
        reply = waiting.response()
        assert (reply.status, reply.get("Connection")) == (503, "close")
        server.wait_for_log(rf"pid:{worker}.*no thread comes back from the app")
        wait_for_end(worker)
        assert server.get("/pid").text != str(worker)
        gate.open()
    assert "SIGKILL" not in server.log.text


def test_one_thread_that_never_comes_back(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "4", *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with enter(server, gate, "/block") as peer:
        assert peer.response().status == 504
        server.wait_for_log(rf"pid:{worker}.*thread \d does not come back from the app")
        wait_for_end(worker)
        assert server.get("/pid").text != str(worker)
        gate.open()
    assert "SIGKILL" not in server.log.text


def test_quick_requests_beside_those_that_time_out(live: Callable[..., LiveServer], gate: Gate) -> None:
    """Round after round on the same threads: each thread is used again."""
    server = live(APP, "--threads", "3", *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    for number in range(1, 4):
        with enter(server, gate, "/late") as peer:
            for _ in range(20):
                assert server.get("/").text == "ok"
            assert peer.response().status == 504
            gate.open()
            eventually(lambda number=number: server.log.text.count("is back from GET /late") == number)  # type: ignore[misc]
    assert server.get("/counts").text == "closed=3"
    assert server.get("/pid").text == str(worker)


# --- gevent ----------------------------------------------------------------------------------------------


def test_greenlets(live: Callable[..., LiveServer]) -> None:
    """The stack is that of the greenlet, which goes on when what it waits for has come."""
    pytest.importorskip("gevent", reason="gevent is not installed; free-threaded Pythons cannot have it")
    server = live(APP, "-k", "gevent", *SHORT, *DEBUG, "--access-logfile", "-")
    with server.connect() as peer, server.connect() as neighbour:
        peer.send(head("/meet?2"))
        while "Request timeout" not in server.log.text:
            assert neighbour.request(GET).text == "ok"
        assert peer.response().status == 504
        server.wait_for_log(rf"Request timeout: {STAY} /meet\?2 for [\d.]+ s, answered 504; the")
        server.wait_for_log(r'hanging\.py", line \d+, in meet')
        assert neighbour.request(head("/meet?2")).text == "ok"
        server.wait_for_log("is back from GET /meet")
    server.stop()
    assert sorted(access_lines(server, "/meet")) == ["200 2", "504 20"]


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
