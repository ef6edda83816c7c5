"""At the limits of descriptors and connections: the processor rests, others are served, and nothing is left."""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import sysconfig
import threading
from typing import TYPE_CHECKING

import pytest

from fastwsgi import _impl, parallel
from tests.live import DEADLINE, ENGINE, LiveServer, Peer, head
from tests.processes import cpu_seconds, descriptors, eventually, memory, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = "tests.apps.traffic:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
IDLE = 10_000
OF_OUR_OWN = 500  # descriptors of a process besides these
REST = 1.0  # seconds in which nothing is to be done
AT_REST = 0.4  # of them may be spent; a loop that spins takes them all

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


def spent_at_rest(worker: int) -> float:
    """Return the processor time that a worker takes in REST seconds."""
    before = cpu_seconds(worker)
    threading.Event().wait(REST)
    return cpu_seconds(worker) - before


def reset_at_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait_for_descriptors(worker: int, wanted: int) -> None:
    """Wait until a worker has this many and not more; what it closes after us takes it a moment."""
    eventually(lambda: descriptors(worker) <= wanted)


def settled(server: LiveServer, worker: int) -> int:
    """Return the number of descriptors of a worker that has served, and whose connections are gone."""
    with server.connect() as peer:
        assert peer.request(GET).status == 200
        with_one = descriptors(worker)
    return with_one - 1


# --- too few -------------------------------------------------------------------------------------------------

FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from fastwsgi.__main__ import main
sys.exit(main())
"""


def test_out_of_descriptors(live: Callable[..., LiveServer]) -> None:
    """The rest wait in the backlog, the processor rests, and all are served in the end."""
    server = live(APP, "--keep-alive", "60", *DEBUG, command=(sys.executable, "-c", FEW_DESCRIPTORS))
    (worker,) = wait_for_workers(server, 1)
    peers = [server.connect() for _ in range(300)]
    for peer in peers:
        peer.send(GET)
    server.wait_for_log("cannot accept connections for now: Too many open files")
    assert descriptors(worker) <= 64
    assert spent_at_rest(worker) < AT_REST
    for peer in peers:  # each one that is closed makes room for another
        with peer:
            assert peer.response().status == 200
    assert len([line for line in server.log.lines if "cannot accept" in line]) == 1


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("name", ["ENFILE", "ECONNABORTED"])
def test_refusals_of_the_kernel(live: Callable[..., LiveServer], name: str) -> None:
    """strace has every other accept fail; kqueue's systems have no accept4, so its shim does not call that."""
    calls = "accept,accept4"
    inject = ("-e", f"trace={calls}", "-e", f"inject={calls}:error={name}:when=2+2")
    strace = ("strace", "-f", "-D", "-qq", "-o", os.devnull, *inject)
    server = live(APP, *DEBUG, command=(*strace, sys.executable, "-m", "fastwsgi"))
    peers = [server.connect() for _ in range(5)]
    for peer in peers:
        with peer:
            assert peer.request(GET).status == 200
    if name == "ENFILE":
        server.wait_for_log("cannot accept connections for now")
    server.stop()
    assert server.log.text.count("cannot accept connections for now") == (name == "ENFILE")


def test_the_master_is_out_of_descriptors(live: Callable[..., LiveServer]) -> None:
    """It cannot replace a worker meanwhile, says so, and tries again."""
    server = live(APP, "-w", "2", *DEBUG)
    victim, _ = wait_for_workers(server, 2)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (descriptors(server.pid) - 1, hard))
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log("Cannot fork a worker: Too many open files; next attempt in")
    assert server.get("/?still").text == "still"
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert victim not in wait_for_workers(server, 2)


def test_out_of_descriptors_while_serving(live: Callable[..., LiveServer]) -> None:
    """Connections that are open are served meanwhile; with the limit lifted again, the others are as well."""
    server = live(APP, "--keep-alive", "60", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    with server.connect() as early:
        assert early.request(GET).status == 200
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (descriptors(worker), hard))
        waiting = [server.connect() for _ in range(20)]
        for peer in waiting:
            peer.send(GET)
        server.wait_for_log("cannot accept connections for now")
        for _ in range(20):
            assert early.request(GET).status == 200
        # What cannot be spooled without a descriptor is refused, and costs that connection only.
        size = (1 << 20) + 1
        reply = early.request(head("/echo", f"Content-Length: {size}", method="POST") + b"x" * size)
        assert reply.status == 503
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
    for peer in waiting:
        with peer:
            assert peer.response().status == 200


def test_worker_connections(live: Callable[..., LiveServer]) -> None:
    """With bodies on their way on all that it may have, the worker takes no more, and does not spin."""
    server = live(APP, "--worker-connections", "10", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    before = settled(server, worker)
    peers = [server.connect() for _ in range(30)]
    for number, peer in enumerate(peers):
        peer.send(head("/", "Content-Length: 1", method="POST") if number < 10 else GET)
    eventually(lambda: descriptors(worker) == before + 10)
    assert spent_at_rest(worker) < AT_REST
    assert descriptors(worker) == before + 10
    peers[10].sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        peers[10].fill()
    peers[10].sock.settimeout(DEADLINE)
    for number, peer in enumerate(peers):
        with peer:
            if number < 10:
                peer.send(b"x")
            assert peer.response().status == 200
    wait_for_descriptors(worker, before)


@pytest.mark.parametrize("start", [b"", GET[:-2], GET + GET[:-2]], ids=["silent", "slow", "later slow"])
def test_who_keeps_the_server_waiting_for_a_head_makes_room(
    live: Callable[..., LiveServer], start: bytes
) -> None:
    """With ten connections that send nothing, or half of a head, nobody could shut all others out."""
    server = live(APP, "--worker-connections", "10", "--header-timeout", "0", "--keep-alive", "60")
    peers = [server.connect() for _ in range(10)]
    for peer in peers:
        peer.send(start)
    if start.startswith(GET):
        assert [peer.response().status for peer in peers] == [200] * 10
    assert server.request(GET).status == 200
    told, _, _ = select.select([peer.sock for peer in peers], [], [], DEADLINE)
    assert told
    for peer in peers:
        with peer:
            if peer.sock in told:
                assert not start or peer.response().status == 408
                assert peer.is_closed()


@pytest.mark.skipif(
    ENGINE != () and parallel.loops_at_most() > 1,
    reason="each loop closes those that are the oldest of its own",
)
def test_idle_connections_make_room(live: Callable[..., LiveServer]) -> None:
    """Those that have been idle for longest go first; new requests need not wait for a keep-alive to end."""
    server = live(APP, "--worker-connections", "4", "--keep-alive", "60", *DEBUG)
    with server.connect() as first, server.connect() as half, server.connect() as oldest:
        for peer in (first, half, oldest):
            assert peer.request(GET).status == 200
        assert first.request(GET).status == 200
        half.send(GET[:-2])
        with server.connect() as fourth, server.connect() as fifth:
            assert fourth.request(GET).status == 200
            assert fifth.request(GET).status == 200
            assert oldest.is_closed()
            half.send(GET[-2:])
            assert half.response().status == 200
            for peer in (first, half, fourth, fifth):
                assert peer.request(GET).status == 200


# --- very many -----------------------------------------------------------------------------------------------


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """Raise the limit of this process, and of the servers it starts; return what a test may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + OF_OUR_OWN if hard == resource.RLIM_INFINITY else min(hard, IDLE + OF_OUR_OWN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield min(IDLE, wanted - OF_OUR_OWN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_idle_connections(live: Callable[..., LiveServer], many_descriptors: int) -> None:
    """They leave others unharmed, and take at most a kilobyte each; a quarter more without a GIL, for its objects."""
    server = live(APP, "--worker-connections", "20000", "--keep-alive", "60", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        assert peer.request(GET).status == 200
        before, ours, theirs = memory(worker), descriptors(os.getpid()), descriptors(worker)
        idle = [Peer(server.address) for _ in range(many_descriptors)]
        for start in range(0, len(idle), 500):
            for each in idle[start : start + 500]:
                each.send(GET)
            for each in idle[start : start + 500]:
                assert each.response().status == 200
        assert descriptors(os.getpid()) - ours == len(idle)
        assert descriptors(worker) - theirs == len(idle)
        each_takes = (memory(worker) - before) / len(idle)
        for _ in range(100):
            assert peer.request(GET).status == 200
        assert spent_at_rest(worker) < AT_REST
        for each in idle:
            each.sock.close()
        assert peer.request(GET).status == 200
        wait_for_descriptors(worker, theirs)
    limit = 1280 if sysconfig.get_config_var("Py_GIL_DISABLED") else 1024
    assert each_takes <= (limit if _impl.compiled else 2 * limit)


# --- connections that end in every way -----------------------------------------------------------------------


def normal(peer: Peer) -> None:
    assert peer.request(GET).status == 200


def refused(peer: Peer) -> None:
    assert peer.request(b"\0\r\n\r\n").status == 400


def half_closed(peer: Peer) -> None:
    peer.send(GET)
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.response().status == 200
    assert peer.is_closed()


def half_closed_in_a_head(peer: Peer) -> None:
    peer.send(b"GET / HT")
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.is_closed()


def reset_in_a_head(peer: Peer) -> None:
    peer.send(b"GET / HT")
    reset_at_close(peer.sock)


def reset_in_a_body(peer: Peer) -> None:
    peer.send(head("/echo", "Content-Length: 9", method="POST") + b"abc")
    reset_at_close(peer.sock)


def reset_in_a_spooled_body(peer: Peer) -> None:
    peer.send(head("/echo", "Content-Length: 100000", method="POST") + b"x" * 50_000)
    reset_at_close(peer.sock)


def reset_with_answers_on_their_way(peer: Peer) -> None:
    peer.send(head("/big?x") * 50)
    reset_at_close(peer.sock)


def reset_in_a_file(peer: Peer) -> None:
    peer.send(head("/file") * 5)
    reset_at_close(peer.sock)


def closed_in_a_stream(peer: Peer) -> None:
    peer.send(head("/stream?x"))


def failed_late(peer: Peer) -> None:
    peer.send(head("/fails-late?x"))
    with pytest.raises(AssertionError, match="connection closed"):
        peer.response()


WAYS = (
    normal,
    refused,
    half_closed,
    half_closed_in_a_head,
    reset_in_a_head,
    reset_in_a_body,
    reset_in_a_spooled_body,
    reset_with_answers_on_their_way,
    reset_in_a_file,
    closed_in_a_stream,
)


def test_nothing_is_left_of_connections_however_they_end(live: Callable[..., LiveServer]) -> None:
    server = live(
        APP, "--header-timeout", "0.5", "--body-timeout", "0.5", "--body-buffer-size", "1000", *DEBUG
    )
    server.allow_traceback = True
    (worker,) = wait_for_workers(server, 1)
    before = settled(server, worker)
    for number in range(1800):
        with server.connect() as peer:
            WAYS[number % len(WAYS)](peer)
    for _ in range(50):
        with server.connect() as peer:
            failed_late(peer)
    late = [server.connect() for _ in range(150)]
    for number, peer in enumerate(late):
        # Nothing at all, half a head, half a body.
        peer.send((b"", b"GET /", head("/echo", "Content-Length: 9", method="POST"))[number % 3])
    for number, peer in enumerate(late):
        with peer:
            answer = peer.read_to_end()
            assert answer.startswith(b"HTTP/1.1 408 ") if number % 3 else answer == b"", number
    with server.connect() as peer:
        assert peer.request(GET).status == 200
        wait_for_descriptors(worker, before + 1)


@pytest.mark.parametrize("sent", [b"", b"GET", GET], ids=["nothing", "half", "whole"])
def test_connections_reset_in_the_backlog(live: Callable[..., LiveServer], sent: bytes) -> None:
    """A worker finds them dead when it accepts them; it is stopped meanwhile, so that it surely does."""
    server = live(APP, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    before = settled(server, worker)
    os.kill(worker, signal.SIGSTOP)
    try:
        for _ in range(200):
            with server.connect() as peer:
                peer.send(sent)
                reset_at_close(peer.sock)
        survivor = server.connect()
        survivor.send(GET)
    finally:
        os.kill(worker, signal.SIGCONT)
    with survivor:
        assert survivor.response().status == 200
        wait_for_descriptors(worker, before + 1)
        assert survivor.request(GET).status == 200
