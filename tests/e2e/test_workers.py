"""How workers share connections: evenly, and not with one that is stuck."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer, head
from tests.processes import eventually, in_one_of, open_files, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gate import Gate

APP = "tests.apps.concurrency:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
INLINE = ("-k", "sync", "--threads", "1")  # one request is enough for a worker to be stuck
PID = head("/pid")

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


@pytest.mark.parametrize("workers", [2, 4])
def test_connections_are_shared_evenly(live: Callable[..., LiveServer], workers: int) -> None:
    """The figures are bench/scenarios/fair.py's; here a worker may be kept from running, once, by other processes."""
    server = live(APP, "-w", str(workers), "--keep-alive", "60", *DEBUG)
    wait_for_workers(server, workers)

    def shares() -> Counter[str]:
        with ExitStack() as stack:
            peers = [stack.enter_context(server.connect()) for _ in range(40 * workers)]
            return Counter(peer.request(PID).text for peer in peers)

    in_one_of(3, shares, lambda of: len(of) == workers and max(of.values()) <= 2 * min(of.values()))


def test_connections_that_end_are_made_up_for(live: Callable[..., LiveServer]) -> None:
    """One worker loses all of its connections: the next ones are its, unless it is kept from running, once."""
    server = live(APP, "-w", "2", "--keep-alive", "60", *DEBUG)
    wait_for_workers(server, 2)

    def made_up_for() -> tuple[int, Counter[str]]:
        with ExitStack() as stack:
            peers = [stack.enter_context(server.connect()) for _ in range(40)]
            owners = [peer.request(PID).text for peer in peers]
            loser = owners[0]
            for peer, owner in zip(peers, owners, strict=True):
                if owner == loser:
                    peer.sock.close()
            again = Counter(stack.enter_context(server.connect()).request(PID).text for _ in range(10))
        return again[loser], Counter(owners)

    in_one_of(3, made_up_for, lambda seen: seen[0] > 5)


def test_nobody_waits_for_a_worker_that_is_stopped(live: Callable[..., LiveServer]) -> None:
    """It has fewer connections than the others, and takes none: by a signal, a debugger, a frozen group."""
    server = live(APP, "-w", "2", "--keep-alive", "60", "--timeout", "0", *DEBUG)
    wait_for_workers(server, 2)
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(40)]
        owners = [peer.request(PID).text for peer in peers]
        stopped = owners[0]
        for peer, owner in zip(peers, owners, strict=True):
            if owner == stopped:
                peer.sock.close()
        # Of sockets, it is left with one that listens, and one to the master.
        eventually(lambda: len({each for each in open_files(int(stopped)) if "socket:" in each}) == 2)
        os.kill(int(stopped), signal.SIGSTOP)
        try:
            others = [stack.enter_context(server.connect()).request(PID).text for _ in range(10)]
        finally:
            os.kill(int(stopped), signal.SIGCONT)
        assert stopped not in others


def test_nobody_waits_for_a_worker_that_is_stuck(live: Callable[..., LiveServer], gate: Gate) -> None:
    """It has accepted some that it could not serve if it had hoarded; here it leaves them to the other."""
    server = live(APP, "-w", "2", *INLINE, *DEBUG)
    workers = wait_for_workers(server, 2)
    with gate.enter(server) as stuck, ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(100)]
        for peer in peers:
            peer.send(PID)
        servers = {peer.response().text for peer in peers}
        assert len(servers) == 1
        assert servers <= {str(pid) for pid in workers}
        gate.open()
        assert stuck.response().text == "ok"
