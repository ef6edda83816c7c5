"""WebSockets taken over from the server: by hand, frame for frame, and as libraries and a browser use them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib
import itertools
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

import pytest

from fastwsgi import gil
from tests.live import DEADLINE, ENGINE, LiveServer, Peer, Reply, head
from tests.processes import children, descriptors, eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP: Final = "tests.apps.websocket:app"
SOCKETIO_APP: Final = "tests.apps.socketio_app:app"
THREADS: Final = 8
OPTIONS: Final = ("--threads", str(THREADS))

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x5a\x01\xfe\x80"
KEY = base64.b64encode(bytes(range(16))).decode()
# RFC 6455 §1.3: what a server appends to the key before it hashes it.
ACCEPT = base64.b64encode(
    hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
).decode()
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)


LIBRARIES_RACE: Final = gil.is_optional()
"""simple-websocket's reader and the handler share a wsproto connection, which is not made for that."""

DISTRIBUTIONS = {"websocket": "websocket-client", "socketio": "python-socketio"}


def missing(what: str) -> NoReturn:
    """Skip where something is not installed; in CI it is to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed, and CI=true says it is")
    pytest.skip(f"{what} is not installed")


def required(*modules: str) -> Any:
    """Return the last of these modules."""
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError:
            missing(DISTRIBUTIONS.get(name, name.replace("_", "-")))
    return module


# --- frames ----------------------------------------------------------------------------------------------


def masked(data: bytes) -> bytes:
    size = len(data)
    key = (MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def frame(opcode: int, data: bytes = b"", *, final: bool = True) -> bytes:
    """Return a frame as a client sends it: masked. RFC 6455 §5.2."""
    size = len(data)
    if size < 126:
        start = struct.pack("!BB", final << 7 | opcode, 0x80 | size)
    elif size < 1 << 16:
        start = struct.pack("!BBH", final << 7 | opcode, 0x80 | 126, size)
    else:
        start = struct.pack("!BBQ", final << 7 | opcode, 0x80 | 127, size)
    return start + MASK + masked(data)


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


@dataclasses.dataclass
class Frame:
    """A frame of the server's."""

    opcode: int
    data: bytes
    final: bool = True

    @property
    def code(self) -> int:
        return int.from_bytes(self.data[:2], "big")

    @classmethod
    def read(cls, peer: Peer) -> Frame:
        first, second = peer.read_exactly(2)
        assert not first & 0x70, "a bit is set that no extension has given a meaning"
        assert second < 128, "servers do not mask"
        size = second
        if second >= 126:
            size = int.from_bytes(peer.read_exactly(2 if second == 126 else 8), "big")
        # Not read_exactly, whose buffer is copied with each piece that comes.
        pieces = [peer.buffer[:size]]
        peer.buffer = peer.buffer[size:]
        missing_yet = size - len(pieces[0])
        while missing_yet:
            piece = peer.sock.recv(min(missing_yet, 1 << 20))
            assert piece, f"the end comes {missing_yet} bytes before that of the frame"
            pieces.append(piece)
            missing_yet -= len(piece)
        return cls(first & 0x0F, b"".join(pieces), bool(first & 0x80))


def upgrade(target: str, *fields: str) -> bytes:
    return head(target, *UPGRADE, *fields)


def expect_handshake(peer: Peer) -> None:
    reply = peer.response()
    assert reply.status == 101, reply
    assert reply.get("Sec-WebSocket-Accept") == ACCEPT
    assert (reply.get("Upgrade") or "").lower() == "websocket"
    assert (reply.get("Connection") or "").lower() == "upgrade"
    assert reply.get("Content-Length") is None
    assert reply.get("Transfer-Encoding") is None


def handshake(peer: Peer, target: str, *fields: str) -> None:
    peer.send(upgrade(target, *fields))
    expect_handshake(peer)


@contextmanager
def websocket(server: LiveServer, target: str, *, receive_buffer: int = 0) -> Iterator[Peer]:
    with server.connect(receive_buffer=receive_buffer) as peer:
        handshake(peer, target)
        yield peer


def say(peer: Peer, data: bytes, opcode: int = TEXT) -> None:
    """Send a message and have it echoed."""
    peer.send(frame(opcode, data))
    assert Frame.read(peer) == Frame(opcode, data)


def close(peer: Peer, code: int = 1000) -> None:
    """Close from this side: the server answers in kind and ends the connection."""
    peer.send(close_frame(code))
    answer = Frame.read(peer)
    assert (answer.opcode, answer.code) == (CLOSE, code)
    assert peer.read_to_end() == b""


def reset(peer: Peer) -> None:
    """Vanish without a word; TCP resets the connection then."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


def counts(server: LiveServer, *, ended: int = 0) -> dict[str, int]:
    reply = server.get(f"/count?ended={ended}")
    assert reply.status == 200, reply
    found: dict[str, int] = json.loads(reply.body)
    return found


# --- by hand ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    required("flask_sock")
    bind = "127.0.0.1:0"
    if request.param == "unix":
        bind = f"unix:{tmp_path_factory.mktemp('sock')}/s"
    with LiveServer(APP, *OPTIONS, bind=bind) as running:
        running.allow_traceback = LIBRARIES_RACE
        yield running


@pytest.fixture
def alone(live: Callable[..., LiveServer]) -> LiveServer:
    """Return a server that has served nothing yet, for tests that count."""
    required("flask_sock")
    server = live(APP, *OPTIONS)
    server.allow_traceback = LIBRARIES_RACE
    return server


@pytest.mark.parametrize("size", [0, 1, 125, 126, 4096, 65_535, 65_536, 1 << 20])
def test_echo(server: LiveServer, rng: random.Random, size: int) -> None:
    data = rng.randbytes(size)
    with websocket(server, "/echo") as peer:
        say(peer, data, BINARY)
        say(peer, data.hex().encode())
        close(peer)


def test_unicode(server: LiveServer) -> None:
    with websocket(server, "/echo") as peer:
        say(peer, "Grüße, 世界 🎈\0".encode())
        close(peer)


def test_bytewise(server: LiveServer) -> None:
    """The request and the frames come in pieces of one byte."""
    with server.connect() as peer:
        peer.send(*(bytes([byte]) for byte in upgrade("/echo")))
        expect_handshake(peer)
        peer.send(*(bytes([byte]) for byte in frame(TEXT, b"hello") + frame(BINARY, b"x" * 300)))
        assert Frame.read(peer) == Frame(TEXT, b"hello")
        assert Frame.read(peer) == Frame(BINARY, b"x" * 300)
        close(peer)


@pytest.mark.parametrize("size", [1, 1000, 5000, 70_000, 300_000])
def test_frames_that_come_with_the_request(server: LiveServer, size: int) -> None:
    """A client that does not wait for the handshake's answer: nothing of what it sends is lost."""
    data = b"m" * size
    with server.connect() as peer:
        peer.send(upgrade("/echo") + frame(TEXT, b"first") + frame(BINARY, data))
        expect_handshake(peer)
        assert Frame.read(peer) == Frame(TEXT, b"first")
        assert Frame.read(peer) == Frame(BINARY, data)
        say(peer, b"and on")
        close(peer)


@pytest.mark.parametrize("cut", [1, 5, 9, 500])
def test_a_frame_cut_where_the_request_ends(server: LiveServer, cut: int) -> None:
    data = b"m" * 1000
    start, rest = frame(TEXT, data)[:cut], frame(TEXT, data)[cut:]
    with server.connect() as peer:
        peer.send(upgrade("/echo") + start)
        expect_handshake(peer)
        peer.send(rest)
        assert Frame.read(peer) == Frame(TEXT, data)
        close(peer)


def test_all_at_once(server: LiveServer) -> None:
    """Request, messages and the close in one segment."""
    with server.connect() as peer:
        peer.send(upgrade("/echo") + frame(TEXT, b"one") + frame(TEXT, b"two") + close_frame(1000))
        expect_handshake(peer)
        frames: list[Frame] = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(Frame.read(peer))
        # The library's reader answers the close as it comes; the echoes race with it, and may lose.
        assert [each.data for each in frames[:-1]] == [b"one", b"two"][: len(frames) - 1]
        assert frames[-1].code == 1000
        assert peer.is_closed()


def test_after_requests_on_the_connection(server: LiveServer) -> None:
    with server.connect() as peer:
        assert peer.request(head("/count")).status == 200
        assert peer.request(head("/page")).status == 200
        handshake(peer, "/echo")
        say(peer, b"hello")
        close(peer)


def test_pipelined_behind_a_request(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(head("/page") + upgrade("/echo"))
        assert peer.response().status == 200
        expect_handshake(peer)
        say(peer, b"hello")
        close(peer)


def test_fragments(server: LiveServer) -> None:
    """A message in fragments, cut within a character too, with a ping between them."""
    text = "Grüße, 世界".encode()
    pieces = [text[:3], text[3:4], b"", text[4:]]
    with websocket(server, "/echo") as peer:
        peer.send(frame(TEXT, pieces[0], final=False), frame(0, pieces[1], final=False))
        peer.send(frame(PING, b"between"))
        assert Frame.read(peer) == Frame(PONG, b"between")
        peer.send(frame(0, pieces[2], final=False), frame(0, pieces[3]))
        assert Frame.read(peer) == Frame(TEXT, text)
        many = [bytes([number % 256]) * 999 for number in range(300)]
        peer.send(frame(BINARY, final=False), *(frame(0, each, final=False) for each in many), frame(0))
        assert Frame.read(peer) == Frame(BINARY, b"".join(many))
        close(peer)


def test_ping(server: LiveServer) -> None:
    with websocket(server, "/echo") as peer:
        for data in (b"", b"are you there", b"p" * 125):
            peer.send(frame(PING, data))
            assert Frame.read(peer) == Frame(PONG, data)
        peer.send(frame(PONG, b"unasked for"))
        say(peer, b"hello")
        close(peer)


def test_pings_of_the_server(live: Callable[..., LiveServer]) -> None:
    """The library waits with a selector then; who does not answer is sent away."""
    required("flask_sock")
    server = live(APP, *OPTIONS, env={"FASTWSGI_TEST_PING_INTERVAL": "0.2"})
    with websocket(server, "/echo") as peer:
        for _ in range(3):
            ping = Frame.read(peer)
            assert ping.opcode == PING
            peer.send(frame(PONG, ping.data))
        assert Frame.read(peer).opcode == PING
        last = Frame.read(peer)
        assert (last.opcode, last.code) == (CLOSE, 1008)
        assert peer.is_closed()
    assert counts(server, ended=1)["open"] == 0


def test_frames_that_come_with_the_request_under_a_selector(live: Callable[..., LiveServer]) -> None:
    """What the server has read already no selector sees: the next pong at the latest brings it to light."""
    required("flask_sock")
    server = live(APP, *OPTIONS, env={"FASTWSGI_TEST_PING_INTERVAL": "0.2"})
    wanted = [b"first", b"m" * 20_000, b"last"]
    with server.connect() as peer:
        peer.send(upgrade("/echo") + b"".join(frame(TEXT, data) for data in wanted))
        expect_handshake(peer)
        found: list[bytes] = []
        while len(found) < len(wanted):
            each = Frame.read(peer)
            if each.opcode == PING:
                peer.send(frame(PONG, each.data))
            else:
                found.append(each.data)
        assert found == wanted


@pytest.mark.parametrize("code", [1000, 1001, 4999])
def test_closed_by_the_client(server: LiveServer, code: int) -> None:
    """The server answers, and ends the connection itself: RFC 6455 §7.1.1."""
    with websocket(server, "/echo") as peer:
        say(peer, b"hello")
        close(peer, code)


@pytest.mark.parametrize("answering", [True, False])
def test_closed_by_the_server(server: LiveServer, answering: bool) -> None:
    with websocket(server, "/push?count=3&size=100&code=4001&reason=enough") as peer:
        peer.send(frame(TEXT, b"go"))
        for number in range(3):
            assert Frame.read(peer).data.startswith(b"%08d" % number)
        assert Frame.read(peer) == Frame(CLOSE, struct.pack("!H", 4001) + b"enough")
        if answering:
            peer.send(close_frame(4001))
        assert peer.is_closed()


def test_closed_by_the_end_of_the_handler(server: LiveServer) -> None:
    with websocket(server, "/push?count=2&size=9") as peer:
        peer.send(frame(TEXT, b"go"))
        assert [Frame.read(peer).data for _ in range(2)] == [b"00000000\0", b"00000001\1"]
        last = Frame.read(peer)
        assert (last.opcode, last.code) == (CLOSE, 1000)
        peer.send(close_frame(1000))
        assert peer.read_to_end() == b""


def test_the_end_is_not_put_off_by_the_handler(alone: LiveServer) -> None:
    """Once the library has closed its socket the client sees the end, whatever the handler does yet."""
    with websocket(alone, "/outlive") as peer:
        say(peer, b"hello")
        close(peer)
    assert counts(alone)["open"] == 1
    assert alone.request(head("/release", "Content-Length: 0", method="POST")).body == b"released"
    assert counts(alone, ended=1)["open"] == 0


def test_to_a_slow_reader(server: LiveServer) -> None:
    """The library sends without looking how much was taken: the socket is to take all of it."""
    size = 4 << 20
    with websocket(server, f"/push?count=3&size={size}", receive_buffer=4096) as peer:
        peer.send(frame(TEXT, b"go"))
        with server.connect() as other:  # the answers wait in the meantime
            for _ in range(20):
                assert other.request(head("/count")).status == 200
        for number in range(3):
            found = Frame.read(peer)
            assert found.opcode == BINARY
            assert found.data == b"%08d" % number + bytes([number]) * (size - 8)
        assert Frame.read(peer).code == 1000


# --- who is not a WebSocket ------------------------------------------------------------------------------


def test_without_upgrade(server: LiveServer) -> None:
    """Such a path asked for plainly is an ordinary error, and the connection goes on."""
    with server.connect() as peer:
        for _ in range(2):
            assert peer.request(head("/echo")).status == 400
        assert peer.request(head("/count")).status == 200


def test_upgrade_that_nobody_takes(server: LiveServer) -> None:
    """RFC 9110 §7.8: it may be ignored. What follows is not looked at: a proxy may think it is WebSocket's."""
    for target, status in (("/page", 400), ("/nowhere", 404)):
        with server.connect() as peer:
            peer.send(upgrade(target) + head("/count"))
            reply = peer.response()
            assert reply.status == status
            assert reply.get("Upgrade") is None
            assert reply.get("Connection") == "close"
            assert peer.is_closed()


@pytest.mark.skipif(ENGINE != (), reason="names its engine itself")
def test_without_threads_the_log_says_what_is_missing(live: Callable[..., LiveServer]) -> None:
    """One WebSocket would keep the worker for itself; it is offered none, and the library raises."""
    server = live(APP)
    server.allow_traceback = True
    for _ in range(2):
        assert server.request(upgrade("/echo")).status == 500
    server.wait_for_log("WebSockets need --threads of 2 or more, or -k gevent")
    assert server.log.text.count("WebSockets need") == 1
    assert server.get("/count").status == 200


@pytest.mark.parametrize("without", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
def test_handshake_refused_by_the_library(live: Callable[..., LiveServer], without: str) -> None:
    """It raises before it has used the socket: an ordinary error page follows."""
    required("flask_sock")
    server = live(APP, *OPTIONS)
    server.allow_traceback = True
    fields = [field for field in UPGRADE if not field.startswith(without)]
    reply = server.get("/echo", *fields)
    assert reply.status == 500
    assert reply.framing == "length"
    server.wait_for_log("RemoteProtocolError")
    assert server.get("/count").status == 200


# --- misfortunes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True], ids=["idle", "within a frame"])
def test_clients_vanish(alone: LiveServer, half: bool) -> None:
    """As many as there are threads, again and again: each thread comes back."""
    for turn in range(1, 4):
        peers = [alone.connect() for _ in range(THREADS)]
        for peer in peers:
            handshake(peer, "/echo")
            say(peer, b"hello")
        for peer in peers:
            if half:
                peer.send(frame(BINARY, b"x" * 10_000)[:5000])
            reset(peer)
        found = counts(alone, ended=turn * THREADS)
        assert (found["open"], found["ended"]) == (0, turn * THREADS)


def test_clients_end_without_a_close(alone: LiveServer) -> None:
    for turn in range(1, 3):
        with ExitStack() as stack:
            for _ in range(THREADS):
                peer = stack.enter_context(websocket(alone, "/echo"))
                say(peer, b"hello")
                peer.sock.shutdown(socket.SHUT_WR)
                assert peer.is_closed()
        assert counts(alone, ended=turn * THREADS)["open"] == 0


def test_client_vanishes_while_it_is_sent_to(alone: LiveServer) -> None:
    """The library raises OSError into the handler, and the framework answers 500: to nobody."""
    alone.allow_traceback = True  # the framework's, of the handler
    for turn in range(1, 4):
        with ExitStack() as stack:
            for _ in range(THREADS):
                target = f"/push?count=4&size={8 << 20}"
                peer = stack.enter_context(websocket(alone, target, receive_buffer=4096))
                peer.send(frame(TEXT, b"go"))
                peer.read_exactly(1000)
                reset(peer)
        assert counts(alone, ended=turn * THREADS)["open"] == 0
    with websocket(alone, "/echo") as peer:
        say(peer, b"still here")
        close(peer)


def test_client_vanishes_at_once(alone: LiveServer) -> None:
    """Gone before the handshake is answered, perhaps before the handler has begun."""
    alone.allow_traceback = True  # the framework's, if the handshake's answer fails
    for _ in range(4 * THREADS):
        peer = alone.connect()
        peer.send(upgrade("/echo"))
        reset(peer)
    with ExitStack() as stack:
        for _ in range(THREADS):
            peer = stack.enter_context(websocket(alone, "/echo"))
            say(peer, b"hello")
            close(peer)


def test_handler_fails(alone: LiveServer) -> None:
    """Nothing of the framework's error page may come after frames: the connection just ends."""
    alone.allow_traceback = True
    with websocket(alone, "/raise") as peer:
        assert Frame.read(peer) == Frame(TEXT, b"about to fail")
        assert peer.read_to_end() == b""
    alone.wait_for_log("the handler fails on purpose")
    assert counts(alone)["open"] == 0


def test_protocol_error(server: LiveServer) -> None:
    """A frame that is not masked: the library ends the connection, and the server goes on."""
    with websocket(server, "/echo") as peer:
        peer.send(b"\x81\x05hello")
        if peer.fill():
            assert Frame.read(peer).code == 1002
        reset(peer)
    assert server.get("/count").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_descriptors_are_left(alone: LiveServer) -> None:
    def one_of_each() -> None:
        with websocket(alone, "/echo") as peer:
            close(peer)
        with websocket(alone, "/push?count=1") as peer:
            peer.send(frame(TEXT, b"go"))
            while Frame.read(peer).opcode != CLOSE:
                pass
        with websocket(alone, "/echo") as peer:
            reset(peer)

    one_of_each()
    (worker,) = children(alone.pid)
    counts(alone, ended=3)
    threads = f"/proc/{worker}/task"
    # The first ones may leave what is made once.
    for _ in range(THREADS):
        one_of_each()
    seen = counts(alone, ended=3 + 3 * THREADS)
    with alone.connect() as peer:
        assert peer.request(head("/count")).status == 200
        before, threads_before = descriptors(worker), len(os.listdir(threads))
    for _ in range(20):
        one_of_each()
    counts(alone, ended=seen["ended"] + 60)
    with alone.connect() as peer:
        assert peer.request(head("/count")).status == 200
        eventually(lambda: descriptors(worker) <= before)
        eventually(lambda: len(os.listdir(threads)) <= threads_before + THREADS)  # the pool may have grown


# --- beside others ---------------------------------------------------------------------------------------


def test_beside_requests(server: LiveServer) -> None:
    """Each keeps a thread; the rest serve requests."""
    before = counts(server)
    with ExitStack() as stack:
        peers = [stack.enter_context(websocket(server, "/echo")) for _ in range(THREADS - 2)]
        plain = [stack.enter_context(server.connect()) for _ in range(4)]
        for turn in range(20):
            for number, peer in enumerate(peers):
                peer.send(frame(TEXT, b"%d of %d" % (turn, number)))
            for each in plain:
                each.send(head("/page"))
            for each in plain:
                assert each.response().status == 200
            for number, peer in enumerate(peers):
                assert Frame.read(peer) == Frame(TEXT, b"%d of %d" % (turn, number))
        assert counts(server)["open"] >= len(peers)
        for peer in peers:
            close(peer)
    assert counts(server, ended=before["ended"] + THREADS - 2)["requests"] > before["requests"]


def test_all_at_the_same_time(alone: LiveServer, rng: random.Random) -> None:
    """Clients in threads, each with its own messages: nobody gets another's."""
    payloads = [rng.randbytes(200_000) for _ in range(THREADS)]
    failures: list[BaseException] = []

    def client(number: int) -> None:
        try:
            with websocket(alone, "/echo") as peer:
                for turn in range(10):
                    say(peer, payloads[number][: 20_000 * (turn + 1)], BINARY)
                close(peer)
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(THREADS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(DEADLINE)
    assert not failures
    assert counts(alone, ended=THREADS)["messages"] == 10 * THREADS


@pytest.mark.slow
def test_idle_for_longer_than_any_timeout(live: Callable[..., LiveServer]) -> None:
    required("flask_sock")
    server = live(APP, *OPTIONS, "--timeout", "2", "--keep-alive", "1")
    with websocket(server, "/echo") as peer:
        say(peer, b"hello")
        assert not select.select([peer.sock], [], [], 4)[0]
        say(peer, b"still here")
        close(peer)
    assert "TIMEOUT" not in server.log.text


def test_stop_while_open(live: Callable[..., LiveServer]) -> None:
    """Nobody is waited for longer than the graceful timeout, libraries' threads neither."""
    required("flask_sock")
    server = live(APP, *OPTIONS, "--graceful-timeout", "1")
    with websocket(server, "/echo") as peer, websocket(server, "/push?count=0") as other:
        say(peer, b"hello")
        other.send(frame(TEXT, b"go"))
        assert Frame.read(other).code == 1000  # and is not answered: the library's reader waits on
        server.stop()
        assert peer.is_closed()


# --- clients people have ---------------------------------------------------------------------------------


@contextmanager
def simple_client(server: LiveServer, target: str, **options: Any) -> Iterator[Any]:
    """Connect with simple_websocket; its reader thread ends when the server has ended the connection."""
    library = required("flask_sock", "simple_websocket")
    assert isinstance(server.address, tuple)
    client = library.Client(f"ws://{server.address[0]}:{server.address[1]}{target}", **options)
    try:
        yield client
    finally:
        if client.connected:
            client.close()
        client.thread.join(DEADLINE)
    assert not client.thread.is_alive()


def test_simple_client(alone: LiveServer) -> None:
    messages: list[str | bytes] = ["hello", "", "Grüße 🎈", b"", b"\0\xff" * 50_000, "ä" * 100_000]
    with simple_client(alone, "/echo") as client:
        for message in messages:
            client.send(message)
            assert client.receive(DEADLINE) == message
        for number in range(100):
            client.send(str(number))
        assert [client.receive(DEADLINE) for _ in range(100)] == [str(number) for number in range(100)]
    assert counts(alone, ended=1)["open"] == 0


def test_simple_client_is_closed(alone: LiveServer) -> None:
    library = required("simple_websocket")
    with simple_client(
        alone, f"/push?count=3&size=50000&code=4001&reason={quote('so weit, so gut')}"
    ) as client:
        client.send("go")
        for number in range(3):
            assert client.receive(DEADLINE).startswith(b"%08d" % number)
        with pytest.raises(library.ConnectionClosed) as caught:
            client.receive(DEADLINE)
        assert (caught.value.reason, caught.value.message) == (4001, "so weit, so gut")


@pytest.fixture
def socketio_server(live: Callable[..., LiveServer]) -> LiveServer:
    required("flask_socketio", "simple_websocket")
    if LIBRARIES_RACE:
        pytest.skip("Engine.IO loses messages without a GIL: its threads share a wsproto connection")
    return live(SOCKETIO_APP, *OPTIONS)


TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]


@contextmanager
def socketio_client(server: LiveServer, transports: list[str]) -> Iterator[Any]:
    library = required("requests", "websocket", "socketio")
    client = library.Client(reconnection=False, request_timeout=DEADLINE)
    client.connect(server.url, transports=transports, wait_timeout=DEADLINE)
    try:
        assert client.transport() == transports[-1]
        yield client
    finally:
        client.disconnect()  # and not wait(): the client may take half a minute to see that it has ended


def reason_of_end(server: LiveServer, sid: str) -> str:
    reply = server.get(f"/ended/{sid}")
    assert reply.status == 200, reply
    return str(json.loads(reply.body))


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_socketio(socketio_server: LiveServer, transports: list[str]) -> None:
    values: list[Any] = ["hello", "Grüße 🎈", {"a": [1, None, 2.5]}, b"\0\xff" * 1000, "x" * 100_000]
    with socketio_client(socketio_server, transports) as client:
        echoed: list[Any] = []
        arrived = threading.Semaphore(0)

        def note(data: Any) -> None:
            echoed.append(data)
            arrived.release()

        client.on("echoed", note)
        for value in values:
            assert client.call("echo", value, timeout=DEADLINE) == value
            assert arrived.acquire(timeout=DEADLINE)
        assert echoed == values
    # What the server is told of the end is not tested: this client may end before it has sent its good-bye.
    assert socketio_server.get("/").body == b"beside Socket.IO"


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_socketio_ended_by_the_server(socketio_server: LiveServer, transports: list[str]) -> None:
    with socketio_client(socketio_server, transports) as client:
        gone = threading.Event()
        client.on("disconnect", lambda _reason: gone.set())
        sid = client.get_sid()
        client.emit("leave")
        assert gone.wait(DEADLINE)
    assert reason_of_end(socketio_server, sid) == "server disconnect"
    assert socketio_server.get("/").body == b"beside Socket.IO"


def test_socketio_to_all(socketio_server: LiveServer) -> None:
    """What one client sends reaches clients of all transports."""
    arrived: list[threading.Event] = []
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socketio_client(socketio_server, transports))
            for transports in itertools.islice(itertools.cycle(TRANSPORTS), 4)
        ]
        for client in clients:
            there = threading.Event()
            client.on("announced", lambda data, there=there: there.set() if data == "news" else None)
            arrived.append(there)
        clients[0].emit("announce", "news")
        assert all(there.wait(DEADLINE) for there in arrived)


def test_socketio_leaves_other_requests_alone(socketio_server: LiveServer) -> None:
    """Its middleware looks at `gunicorn.socket` in every request, and takes it in few."""
    with socketio_server.connect() as peer:
        for _ in range(5):
            reply: Reply = peer.request(head("/"))
            assert (reply.status, reply.body) == (200, b"beside Socket.IO")
            assert reply.get("Connection") != "close"
        opened = peer.request(head("/socket.io/?EIO=4&transport=polling"))
        assert opened.status == 200
        assert opened.get("Connection") != "close"
        assert opened.body.startswith(b"0{")
        assert peer.request(head("/")).status == 200


def test_socketio_client_vanishes(socketio_server: LiveServer) -> None:
    """Engine.IO by hand, over its WebSocket."""
    for _ in range(2 * THREADS):
        with websocket(socketio_server, "/socket.io/?EIO=4&transport=websocket") as peer:
            assert Frame.read(peer).data.startswith(b"0{")
            peer.send(frame(TEXT, b"40"))
            connected = Frame.read(peer).data
            assert connected.startswith(b"40{")
            reset(peer)
        assert reason_of_end(socketio_server, json.loads(connected[2:])["sid"]) == "transport close"


# --- a browser -------------------------------------------------------------------------------------------


@contextmanager
def chromium(url: str, profile: Path, *options: str) -> Iterator[None]:
    """Have a browser without a window open a page; it stays until the block's end."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("chromium")
    command = [
        found,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--no-proxy-server",
        f"--user-data-dir={profile}",
        *options,
        url,
    ]
    with (profile.parent / "chromium.log").open("wb") as log:
        # A session of its own: its many processes are ended together.
        browser = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            try:
                os.killpg(browser.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            browser.wait()


def test_browser(alone: LiveServer, tmp_path: Path) -> None:
    """The page tries echoes, pushes and closes by itself, and posts what has become of them."""
    with chromium(f"{alone.url}/page?run=1", tmp_path / "profile"):
        result = json.loads(alone.get("/result?run=1").body)
    assert result is not None, (tmp_path / "chromium.log").read_text(errors="replace")
    assert result["failed"] == []
    assert len(result["passed"]) == 18
    assert result["title"] == "passed"
    assert json.loads(result["shown"]) == {"passed": result["passed"], "failed": []}
    assert counts(alone, ended=5)["open"] == 0
