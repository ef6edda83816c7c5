"""More requests than the app can serve: who is answered 503, and who is not run at all."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ENGINE, LiveServer, Peer, head
from tests.processes import eventually, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gate import Gate

APP = "tests.apps.concurrency:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")
ENGINES = ["inline", "threads"]

pytestmark = [pytest.mark.alone, pytest.mark.skipif(ENGINE != (), reason="names its engines itself")]


def arguments(engine: str) -> tuple[str, ...]:
    """Return those of a worker that has one request in its app at a time."""
    return () if engine == "inline" else ("--threads", "2")


def fill(server: LiveServer, gate: Gate, engine: str, stack: ExitStack) -> None:
    """Let requests block the app wholly, after it was seen to be slow."""
    with server.connect() as peer:
        assert peer.request(head("/sleep?0.05")).text == "ok"
    for _ in range(1 if engine == "inline" else 2):
        stack.enter_context(gate.enter(server))


def waits_in_vain(peer: Peer) -> bool:
    """Return whether nothing comes while a client has patience."""
    peer.sock.settimeout(0.3)
    try:
        peer.fill()
    except TimeoutError:
        return True
    finally:
        peer.sock.settimeout(DEADLINE)
    return False


def answered(peers: list[Peer]) -> list[Peer]:
    """Return those for whom something has come."""
    ready = select.select([peer.sock for peer in peers], [], [], 0)[0]
    return [peer for peer in peers if peer.sock in ready]


@pytest.mark.parametrize("engine", ENGINES)
def test_max_queue(live: Callable[..., LiveServer], gate: Gate, engine: str) -> None:
    """RFC 9110 §15.6.4: one request more than may wait is answered 503, and its connection stays."""
    server = live(APP, "--max-queue", "3", *arguments(engine), *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(10)]
        fill(server, gate, engine, stack)
        if sys.platform == "linux":
            os.kill(worker, signal.SIGSTOP)  # so that all of them are there when it looks
        for peer in peers:
            peer.send(head("/count?run"))
        os.kill(worker, signal.SIGCONT)
        early: list[Peer] = []
        if engine == "threads":  # somebody looks while the others are in the app
            eventually(lambda: len(answered(peers)) == 7)
            early = answered(peers)
        replies = [peer.response() for peer in early]
        assert all(reply.status == 503 for reply in replies)
        gate.open()
        replies += [peer.response() for peer in peers if peer not in early]
        served = [reply for reply in replies if reply.status == 200]
        refused = [reply for reply in replies if reply.status == 503]
        assert len(served) == 3
        assert int(server.get("/counted?run").text) == 3
        for reply in refused:
            assert reply.get("Retry-After") == "1"
            assert reply.get("Connection") is None
        for peer in peers:
            assert peer.request(GET).text == "ok"


@pytest.mark.parametrize("engine", ENGINES)
def test_queue_timeout(live: Callable[..., LiveServer], gate: Gate, engine: str) -> None:
    """The answer comes when the time is over, if anybody is free to give it, and the app is not called."""
    server = live(APP, "--queue-timeout", "0.3", *arguments(engine), *DEBUG)
    wait_for_workers(server, 1)
    with ExitStack() as stack:
        fill(server, gate, engine, stack)
        peers = [stack.enter_context(server.connect()) for _ in range(5)]
        if engine == "inline":
            # Read while the app sleeps twice, which is longer than they may wait.
            gate.open()
            for peer in peers[:2]:
                peer.send(head("/sleep?0.4"))
            for peer in peers[2:]:
                peer.send(head("/count?run"))
            assert peers[0].response().status == 200
        else:
            for peer in peers:
                peer.send(head("/count?run"))
            assert [peer.response().status for peer in peers[:2]] == [503] * 2
        assert [peer.response().status for peer in peers[2:]] == [503] * 3
        gate.open()
        assert peers[4].request(GET).text == "ok"
    eventually(lambda: server.get("/counted?run").text == "0")


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_client_that_gave_up_is_not_served(live: Callable[..., LiveServer], gate: Gate, how: str) -> None:
    server = live(APP, "--threads", "2", *DEBUG)
    with ExitStack() as stack:
        fill(server, gate, "threads", stack)
        waiting = stack.enter_context(server.connect())
        with server.connect() as gone:
            gone.send(head("/count?run"))
            waiting.send(head("/count?waiting"))
            assert waits_in_vain(gone)
            if how == "reset":
                gone.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        late = stack.enter_context(server.connect())
        late.send(GET)
        assert waits_in_vain(late)
        gate.open()
        assert waiting.response().text == "ok"
        assert late.response().text == "ok"
        assert server.get("/counted?run").text == "0"
        assert server.get("/counted?waiting").text == "1"


def test_a_client_that_only_ends_its_side_is_served(live: Callable[..., LiveServer], gate: Gate) -> None:
    """It said with its request that this was the last one."""
    server = live(APP, "--threads", "2")
    with ExitStack() as stack:
        fill(server, gate, "threads", stack)
        peer = stack.enter_context(server.connect())
        peer.send(GET)
        peer.sock.shutdown(socket.SHUT_WR)
        late = stack.enter_context(server.connect())
        late.send(GET)
        gate.open()
        assert peer.response().text == "ok"
        assert late.response().text == "ok"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_that_ends_its_side_at_once_is_served_though_that_is_seen_late(
    live: Callable[..., LiveServer], gate: Gate, engine: str
) -> None:
    """Who reads its requests is in the app meanwhile, for longer than a client is thought to have given up in."""
    server = live(APP, *arguments(engine))
    with ExitStack() as stack:
        fill(server, gate, engine, stack)
        first, second = (stack.enter_context(server.connect()) for _ in range(2))
        first.send(head("/sleep?0.3"))
        second.send(GET)
        second.sock.shutdown(socket.SHUT_WR)
        gate.open()
        assert first.response().text == "ok"
        assert second.response().text == "ok"
