"""Under load, and at the limits of the system: what is lost, and what it costs."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fastwsgi import _impl
from tests.live import DEADLINE, LiveServer, Peer
from tests.processes import cpu_seconds, descriptors, memory, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
CONNECTIONS = 40
IDLE = 10_000
DEBUG = ("--log-level", "debug")  # says when a worker is ready

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None and not os.environ.get("CI"), reason="wrk is not installed"
)


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """Raise the limit of this process, and of the servers it starts; return what a test may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + 500 if hard == resource.RLIM_INFINITY else min(hard, IDLE + 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield min(IDLE, wanted - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- workers that come and go --------------------------------------------------------------------------------


@contextmanager
def wrk(server: LiveServer, seconds: int) -> Iterator[dict[str, int]]:
    """Load a server with wrk meanwhile; its counts of requests, and of what went wrong, are there afterwards."""
    counts: dict[str, int] = {}
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", f"{server.url}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield counts
            output, _ = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    total = re.search(r"(\d+) requests in", output)
    assert total, output
    counts["requests"] = int(total[1])
    for name, count in re.findall(r"\b(connect|read|write|timeout|responses:) (\d+)", output):
        if int(count):
            counts[name] = int(count)


@needs_wrk
def test_wrk_sees_nothing_of_a_reload(live: Callable[..., LiveServer]) -> None:
    server = live("examples.flask_app:app", "-w", "4", *DEBUG)
    with wrk(server, 4) as counts:
        for _ in range(2):
            old = wait_for_workers(server, 4)
            start = len(server.log.lines)
            server.send_signal(signal.SIGHUP)
            for pid in old:
                server.wait_for_log(rf"Worker exiting \(pid: {pid}\)", start=start)
    assert counts.pop("requests") > CONNECTIONS
    assert counts == {}


@needs_wrk
def test_wrk_sees_a_killed_worker_only_on_its_connections(live: Callable[..., LiveServer]) -> None:
    server = live("examples.flask_app:app", "-w", "4", *DEBUG)
    with wrk(server, 3) as counts:
        with server.connect() as peer:
            assert peer.request(GET % b"/").status == 200
        start = len(server.log.lines)
        os.kill(wait_for_workers(server, 4)[0], signal.SIGKILL)
        server.wait_for_log("Booting worker", start=start)
    assert counts.pop("requests") > CONNECTIONS
    assert counts.pop("read", 0) + counts.pop("write", 0) <= CONNECTIONS
    assert counts == {}


# --- descriptors ---------------------------------------------------------------------------------------------

FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
from fastwsgi.__main__ import main
sys.exit(main())
"""


def test_out_of_descriptors(live: Callable[..., LiveServer]) -> None:
    """The rest wait in the backlog, the processor rests, and all are served in the end."""
    server = live(
        "examples.hello:app", "--keep-alive", "60", *DEBUG, command=(sys.executable, "-c", FEW_DESCRIPTORS)
    )
    (worker,) = wait_for_workers(server, 1)
    peers = [server.connect() for _ in range(60)]
    for peer in peers:
        peer.send(GET % b"/")
    server.wait_for_log("cannot accept connections for now: Too many open files")
    before = cpu_seconds(worker)
    threading.Event().wait(1.0)  # a second in which nothing is to be done
    assert cpu_seconds(worker) - before < 0.5
    for peer in peers:  # each one that is closed makes room for another
        with peer:
            assert peer.response().status == 200


def test_worker_connections(live: Callable[..., LiveServer]) -> None:
    server = live("examples.hello:app", "--worker-connections", "10", "--keep-alive", "60")
    peers = [server.connect() for _ in range(30)]
    for peer in peers:
        peer.send(GET % b"/")
    for peer in peers[:10]:
        assert peer.response().status == 200
    peers[10].sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        peers[10].fill()
    peers[10].sock.settimeout(DEADLINE)
    for number, peer in enumerate(peers):
        with peer:
            if number >= 10:
                assert peer.response().status == 200


def test_thousands_of_idle_connections(live: Callable[..., LiveServer], many_descriptors: int) -> None:
    """They leave others unharmed, and take at most a kilobyte each."""
    server = live("examples.hello:app", "--worker-connections", "20000", "--keep-alive", "60", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        assert peer.request(GET % b"/").status == 200
        before = memory(worker)
        idle = [Peer(server.address) for _ in range(many_descriptors)]
        for start in range(0, len(idle), 500):
            for each in idle[start : start + 500]:
                each.send(GET % b"/")
            for each in idle[start : start + 500]:
                assert each.response().status == 200
        each_takes = (memory(worker) - before) / len(idle)
        assert peer.request(GET % b"/").status == 200
        seconds = cpu_seconds(worker)
        threading.Event().wait(1.0)  # a second in which nothing is to be done
        assert cpu_seconds(worker) - seconds < 0.3
        for each in idle:
            each.sock.close()
        assert peer.request(GET % b"/").status == 200
    assert each_takes <= (1024 if _impl.compiled else 2048)


def test_nothing_is_left_of_connections_however_they_end(live: Callable[..., LiveServer]) -> None:
    server = live("examples.hello:app", *DEBUG)
    (worker,) = wait_for_workers(server, 1)

    def settled() -> int:
        """Return the number of descriptors once those of closed connections are gone."""
        with server.connect() as peer:
            peer.request(GET % b"/")
        counts = [descriptors(worker)]
        while (len(counts) < 500 and len(set(counts[-20:])) > 1) or len(counts) < 20:
            threading.Event().wait(0.01)
            counts.append(descriptors(worker))
        return counts[-1]

    before = settled()
    for number in range(600):
        with server.connect() as peer:
            kind = number % 6
            if kind == 0:
                assert peer.request(GET % b"/").status == 200
            elif kind == 1:
                assert peer.request(b"\0\r\n\r\n").status == 400
            elif kind == 2:
                peer.send(b"GET / HT")
            elif kind == 3:
                peer.send(GET % b"/")
                peer.sock.shutdown(socket.SHUT_WR)
                assert peer.response().status == 200
                assert peer.is_closed()
            elif kind == 4:
                peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
            else:
                peer.send(GET % b"/" * 50)
            if kind in (2, 4, 5):  # reset, whatever is on its way
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert settled() <= before


@pytest.mark.leaks
@pytest.mark.parametrize(
    "request_bytes",
    [
        GET % b"/fields",
        b"POST /fields HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET /%d HTTP/1.1\r\nHost: a\r\nCookie: a=%d\r\nX-Varies: %d\r\nX-Name-%d: b\r\n\r\n",
    ],
    ids=["plain", "chunked", "varied"],
)
def test_memory_stays_as_it_is(live: Callable[..., LiveServer], request_bytes: bytes) -> None:
    server = live("examples.hello:app", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    batch = 50

    def ask(count: int, start: int) -> None:
        with server.connect() as peer:
            for first in range(start, start + count, batch):
                for number in range(first, first + batch):
                    varied = b"%d" in request_bytes
                    peer.send(request_bytes % ((number,) * 4) if varied else request_bytes)
                for _ in range(batch):
                    assert peer.response().status == 200

    ask(5_000, 0)
    before = memory(worker)
    ask(15_000, 5_000)
    assert memory(worker) - before < 512 * 1024
