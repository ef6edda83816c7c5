"""The poller and the calls on sockets, in every form: epoll, kqueue (over a shim) and selectors."""

from __future__ import annotations

import errno
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import _impl
from fastwsgi._io_py import NOBODY
from fastwsgi.states import HANGUP, READ, WRITE
from tests.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def io() -> Iterator[Any]:
    made = _impl.IO()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Return a connection whose ends can reset each other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def ready(io: Any, timeout: float = 5.0) -> dict[object, int]:
    """Wait once; return the events by handler, those of one descriptor joined: kqueue reports them apart."""
    found: dict[object, int] = {}
    for index in range(io.wait(timeout)):
        handler = io.handler(index)
        found[handler] = found.get(handler, 0) | io.events(index)
    return found


def fill(io: Any, fd: int) -> int:
    """Send until the socket is full; return how much that was."""
    total = 0
    while sent := io.send(fd, b"x" * 65536):
        total += sent
    return total


def test_backend_is_the_one_meant() -> None:
    """A run that says it tests kqueue must not silently test epoll."""
    wanted = os.environ.get("FASTWSGI_TEST_BACKEND")
    if wanted is None and _impl.compiled:
        wanted = "epoll" if platform.system() == "Linux" else "kqueue"
    if wanted is not None:
        assert _impl.IO().backend == wanted


def test_servers_run_the_same_backend(io: Any, tmp_path: Path) -> None:
    """They are started by the path of this tree, from wherever the test wants."""
    done = subprocess.run(
        [sys.executable, "-c", "from fastwsgi import _impl; print(_impl.IO().backend)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == io.backend


# --- polling -------------------------------------------------------------------------------------------


def test_events_come_with_their_handler(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    io.register(ours.fileno(), "ours", READ)
    assert ready(io, 0) == {}
    theirs.send(b"x")
    assert ready(io) == {"ours": READ}
    # Level-triggered: what was not used up is reported again.
    assert ready(io) == {"ours": READ}
    assert io.recv(ours.fileno()) == b"x"
    assert ready(io, 0) == {}


@pytest.mark.parametrize("events", [READ, WRITE, READ | WRITE])
def test_only_what_was_asked_for(io: Any, pair: Pair, events: int) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    io.register(ours.fileno(), "ours", events)
    assert ready(io) == {"ours": events}


@pytest.mark.parametrize("before", [0, READ, WRITE, READ | WRITE])
@pytest.mark.parametrize("after", [0, READ, WRITE, READ | WRITE])
def test_interest_changes(io: Any, pair: Pair, before: int, after: int) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    io.register(ours.fileno(), "ours", READ)
    io.modify(ours.fileno(), before)
    io.modify(ours.fileno(), after)
    assert ready(io, 0) == ({"ours": after} if after else {})
    io.modify(ours.fileno(), READ)
    assert ready(io, 0) == {"ours": READ}


def test_end_of_stream_is_readable(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    io.register(ours.fileno(), "ours", READ)
    theirs.send(b"last")
    theirs.shutdown(socket.SHUT_WR)
    assert ready(io)["ours"] & READ
    assert io.recv(ours.fileno()) == b"last"
    assert ready(io)["ours"] & READ
    assert io.recv(ours.fileno()) == b""


@pytest.mark.parametrize("events", [READ, WRITE, READ | WRITE])
def test_a_reset_is_reported_whatever_was_asked_for(io: Any, tcp: Pair, events: int) -> None:
    ours, theirs = tcp
    if events == WRITE:
        fill(io, ours.fileno())
    io.register(ours.fileno(), "ours", events)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    assert ready(io)["ours"] & (READ | WRITE | HANGUP)
    with pytest.raises(OSError) as failure:
        io.recv(ours.fileno())
    assert failure.value.errno == errno.ECONNRESET


def test_nobody_need_hear_of_a_reset_that_nobody_waits_for(io: Any, tcp: Pair) -> None:
    """Only epoll tells of it; the others do when asked again."""
    ours, theirs = tcp
    io.register(ours.fileno(), "ours", READ)
    io.modify(ours.fileno(), 0)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    assert ready(io, 0) == ({"ours": HANGUP} if io.backend == "epoll" else {})
    io.modify(ours.fileno(), READ)
    assert ready(io)["ours"] & READ
    with pytest.raises(ConnectionResetError):
        io.recv(ours.fileno())


def test_registered_for_nothing_yet(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    io.register(ours.fileno(), "ours", 0)
    theirs.send(b"x")
    assert ready(io, 0) == {}
    io.modify(ours.fileno(), READ)
    assert ready(io) == {"ours": READ}
    io.unregister(ours.fileno())
    io.register(ours.fileno(), "again", 0)
    io.unregister(ours.fileno())


def test_a_half_closed_peer_can_be_answered(io: Any, tcp: Pair) -> None:
    ours, theirs = tcp
    theirs.shutdown(socket.SHUT_WR)
    io.register(ours.fileno(), "ours", READ)
    assert ready(io) == {"ours": READ}
    io.modify(ours.fileno(), WRITE)
    assert ready(io) == {"ours": WRITE}
    assert io.send(ours.fileno(), b"answer") == 6
    assert theirs.recv(100) == b"answer"


def test_a_handler_may_close_another_of_its_batch(io: Any) -> None:
    """What is left of the batch must not reach the new connection that takes the number."""
    pairs = [socket.socketpair() for _ in range(2)]
    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        io.register(ours.fileno(), number, READ)
    assert io.wait(5.0) == 2
    first, second = io.handler(0), io.handler(1)
    closed = pairs[second][0].fileno()
    io.unregister(closed)
    pairs[second][0].close()
    new, other = socket.socketpair()
    with new, other:
        assert new.fileno() == closed
        io.register(closed, "new", READ)
        assert (io.handler(0), io.handler(1)) == (first, None)
        assert ready(io) == {first: READ}
        other.send(b"y")
        assert ready(io) == {first: READ, "new": READ}
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_nothing_of_an_unregistered_descriptor(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    io.register(ours.fileno(), "ours", READ)
    assert io.wait(5.0) == 1
    io.unregister(ours.fileno())
    assert io.handler(0) is None  # not what is left of it in the batch either
    assert ready(io, 0) == {}
    io.register(ours.fileno(), "again", READ)
    assert ready(io) == {"again": READ}


def test_a_handler_may_close_its_descriptor_when_it_is_let_go(io: Any, pair: Pair) -> None:
    class Owner:
        def __init__(self, fd: int) -> None:
            self.fd = fd

        def __del__(self) -> None:
            os.close(self.fd)

    number = os.dup(pair[0].fileno())
    io.register(number, Owner(number), READ)
    io.unregister(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_cell_is_held_until_another_is_shown_in(io: Any) -> None:
    one, other = (memoryview(bytearray(8)).cast("d") for _ in range(2))
    io.show_in(one)
    io.show_in(other)
    io.show(1.5)
    assert (one[0], other[0]) == (0.0, 1.5)
    one.release()  # raises if it is still held


def test_a_descriptor_used_again_does_not_get_old_events(io: Any) -> None:
    """Both are ready; the handler of one closes the other, whose number a new connection takes."""
    old, peer = socket.socketpair()
    peer.send(b"x")
    io.register(old.fileno(), "old", READ)
    assert io.wait(5.0) == 1
    number = old.fileno()
    io.unregister(number)
    old.close()
    new, other = socket.socketpair()
    with new, other, peer:
        assert new.fileno() == number
        io.register(number, "new", READ | WRITE)
        assert io.handler(0) is None
        assert ready(io) == {"new": WRITE}
        io.unregister(number)


def test_thousands_of_descriptors(io: Any) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2000, (soft - 200) // 2)
    pairs = [socket.socketpair() for _ in range(count)]
    try:
        for number, (ours, _) in enumerate(pairs):
            io.register(ours.fileno(), number, READ)
        assert ready(io, 0) == {}
        for number in range(0, count, 3):
            pairs[number][1].send(b"x")
        found: dict[object, int] = {}
        while batch := ready(io, 0):
            found |= batch
            for handler in batch:
                assert io.recv(pairs[int(str(handler))][0].fileno()) == b"x"
        assert found == dict.fromkeys(range(0, count, 3), READ)
    finally:
        for ours, theirs in pairs:
            io.unregister(ours.fileno())
            ours.close()
            theirs.close()


def test_wait_ends_in_time_and_not_before(io: Any) -> None:
    began = io.monotonic()
    assert io.wait(0.02) == 0
    assert io.monotonic() - began >= 0.02
    assert io.wait(0) == 0


def test_wait_without_end_is_ended_by_an_event(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    io.register(ours.fileno(), "ours", READ)
    waker = threading.Thread(target=theirs.send, args=(b"x",))
    waker.start()  # runs while this thread waits without the GIL
    assert ready(io, -1) == {"ours": READ}
    waker.join()


def test_wait_returns_after_a_signal(io: Any, pair: Pair) -> None:
    """An interrupted wait gives nothing, or goes on: it never fails."""
    ours, _ = pair
    io.register(ours.fileno(), "ours", READ)
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not seen:
            assert io.wait(0.05) == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_misuse_is_an_error(io: Any, pair: Pair) -> None:
    number = pair[0].fileno()
    with pytest.raises((ValueError, KeyError)):
        io.unregister(number)
    with pytest.raises((ValueError, KeyError)):
        io.modify(number, READ)
    io.register(number, "ours", READ)
    with pytest.raises((ValueError, KeyError)):
        io.register(number, "again", READ)
    with pytest.raises((ValueError, OSError)):
        io.register(-1, "none", READ)
    with pytest.raises(IndexError):
        io.events(5)
    io.close()
    io.close()
    with pytest.raises((ValueError, OSError)):
        io.wait(0)


def test_closing_lets_go_of_the_handlers(pair: Pair) -> None:
    class Handler:
        alive = 0

        def __init__(self) -> None:
            Handler.alive += 1

        def __del__(self) -> None:
            Handler.alive -= 1

    io = _impl.IO()
    io.register(pair[0].fileno(), Handler(), READ)
    assert Handler.alive == 1
    io.close()
    assert Handler.alive == 0
    assert pair[0].fileno() >= 0  # descriptors stay their owner's


# --- accepting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_accept(io: Any, family: socket.AddressFamily, tmp_path: Path) -> None:
    address: Any = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: str(tmp_path / "s"),
    }[family]
    with socket.socket(family) as listener, socket.socket(family) as client:
        try:
            listener.bind(address)
        except OSError as error:
            pytest.skip(f"this machine has no {family.name}: {error}")
        listener.listen()
        listener.setblocking(False)
        io.register_listener(listener.fileno(), "listener")
        assert io.accept(listener.fileno()) == -1
        client.connect(listener.getsockname())
        assert ready(io) == {"listener": READ}
        fd = io.accept(listener.fileno())
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        name: Any = client.getsockname()
        is_unix = family == socket.AF_UNIX
        assert (io.peer_addr, io.peer_port) == (("", "") if is_unix else (name[0], str(name[1])))
        if not is_unix:
            with socket.socket(fileno=os.dup(fd)) as accepted:
                assert not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                io.hurry(fd)
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        io.close_fd(fd)
        assert client.recv(1) == b""
        io.unregister(listener.fileno())
        assert listener.fileno() >= 0


def test_accept_of_a_number_that_was_closed_behind_our_back(io: Any) -> None:
    """Whoever is thought to have it still would be answered there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        io.register_listener(listener.fileno(), "listener")
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        ready(io)
        fd = io.accept(listener.fileno())
        os.close(fd)
        with pytest.raises(OSError) as caught:
            io.accept(listener.fileno())
        assert caught.value.errno == errno.EBADF
        io.close_fd(fd)
        assert io.accept(listener.fileno()) == fd
        io.close_fd(fd)
        for client in clients:
            client.close()


def test_a_poller_that_is_disowned_leaves_the_parents_alone(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    io.register(ours.fileno(), "ours", READ)
    pid = os.fork()
    if pid == 0:
        try:
            io.disown()
            theirs.send(b"x")
            os._exit(io.wait(0.1))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ready(io) == {"ours": READ}


def test_accept_of_one_that_has_gone(io: Any) -> None:
    """Reset while it waited: the listener is as good as before."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        io.register_listener(listener.fileno(), "listener")
        client = socket.create_connection(listener.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        fd = io.accept(listener.fileno())  # Linux hands it out, BSD says ECONNABORTED
        if fd >= 0:
            io.close_fd(fd)
        assert errno.ECONNABORTED in NOBODY
        with socket.create_connection(listener.getsockname()):
            fd = io.accept(listener.fileno())
            assert fd >= 0
            io.close_fd(fd)


def test_accept_errors_that_are_not_the_listeners(io: Any) -> None:
    """EOPNOTSUPP stands for all of NOBODY: no test can bring about a network that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        assert errno.EOPNOTSUPP in NOBODY
        io.register_listener(listener.fileno(), "listener")
        assert io.accept(listener.fileno()) == -1


def test_accept_without_descriptors_is_an_error() -> None:
    script = """
import errno, resource, socket
from fastwsgi import _impl
io = _impl.IO()
listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
io.register_listener(listener.fileno(), "listener")
client = socket.create_connection(listener.getsockname())
resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1,) * 2)
try:
    io.accept(listener.fileno())
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "EMFILE\n", done.stderr


# --- reading and sending ---------------------------------------------------------------------------------


def test_recv(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    assert io.recv(ours.fileno()) is None
    theirs.send(b"abc")
    assert io.recv(ours.fileno()) == b"abc"
    theirs.setblocking(False)
    sent = fill(io, theirs.fileno())
    while sent:
        data = io.recv(ours.fileno())
        assert 0 < len(data) <= 65536
        sent -= len(data)
    theirs.close()
    assert io.recv(ours.fileno()) == b""


def test_send_from_an_offset(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    assert io.send(ours.fileno(), b"abcdef") == 6
    assert io.send(ours.fileno(), b"abcdef", 4) == 2
    assert theirs.recv(100) == b"abcdefef"


def test_the_last_piece_leaves_at_the_close_at_the_latest(io: Any, tcp: Pair) -> None:
    ours, theirs = tcp
    assert io.send(ours.fileno(), b"abc", 0, False) == 3
    assert io.send(ours.fileno(), b"abcdef", 1, True) == 5
    io.close_fd(ours.detach())
    with theirs.makefile("rb") as stream:
        assert stream.read() == b"abcbcdef"


def test_send_to_a_full_socket(io: Any, pair: Pair) -> None:
    ours, theirs = pair
    total = fill(io, ours.fileno())
    assert io.send(ours.fileno(), b"y") == 0
    assert io.sendv(ours.fileno(), [b"y", b"z"]) == 0
    io.register(ours.fileno(), "ours", WRITE)
    assert ready(io, 0) == {}
    got = 0
    while got < total:
        got += len(theirs.recv(1 << 20))
    assert ready(io) == {"ours": WRITE}


@pytest.mark.parametrize("method", ["send", "sendv", "sendfile"])
def test_sending_to_one_that_has_gone(io: Any, tcp: Pair, method: str, tmp_path: Path) -> None:
    """An error, and no SIGPIPE: the process lives on."""
    ours, theirs = tcp
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        arguments = {"send": (b"abc",), "sendv": ([b"abc", b"def"],), "sendfile": (file.fileno(), 0, 3)}
        with pytest.raises(OSError) as failure:
            getattr(io, method)(ours.fileno(), *arguments[method])
    assert failure.value.errno in (errno.EPIPE, errno.ECONNRESET)


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 2, 64, 200])
def test_sendv_gathers(io: Any, pair: Pair, offset: int, count: int) -> None:
    ours, theirs = pair
    parts = [b"%03d" % number for number in range(count)]
    whole = b"".join(parts)[offset:]
    sent = io.sendv(ours.fileno(), parts, offset)
    assert sent == len(b"".join(parts[:64])) - offset  # 64 pieces in one call, the rest in the next
    assert theirs.recv(1 << 16) == whole[:sent] if sent else True


def test_sendfile(io: Any, pair: Pair, tmp_path: Path) -> None:
    ours, theirs = pair
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        assert io.sendfile(ours.fileno(), file.fileno(), 2, 5) == 5
        assert theirs.recv(100) == b"23456"
        assert io.sendfile(ours.fileno(), file.fileno(), 8, 5) == 2
        assert io.sendfile(ours.fileno(), file.fileno(), 10, 5) == -1  # the file ends before its count
        assert io.sendfile(ours.fileno(), file.fileno(), 0, 0) == -1  # not "all", as macOS has it
        assert file.tell() == 0
        fill(io, ours.fileno())
        assert io.sendfile(ours.fileno(), file.fileno(), 0, 5) == 0


def test_shutdown_write(io: Any, tcp: Pair) -> None:
    ours, theirs = tcp
    io.shutdown_write(ours.fileno())
    assert theirs.recv(1) == b""
    theirs.send(b"still")
    io.register(ours.fileno(), "ours", READ)
    ready(io)
    assert io.recv(ours.fileno()) == b"still"
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    io.shutdown_write(ours.fileno())  # the peer has gone: no error
