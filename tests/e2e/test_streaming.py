"""Bodies that the app reads while they come, and what is sent before a response is: at the wire."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import TLS, LiveServer, head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gate import Gate
    from tests.live import Peer

APP = "tests.apps.streaming:app"
STREAMS = ("--threads", "4", "--no-request-buffering")
GET = head("/")
EXPECTS = "Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer(APP, *STREAMS) as running:
        yield running


@pytest.fixture
def alone(live: Callable[..., LiveServer]) -> LiveServer:
    return live(APP, *STREAMS)


def post(target: str, *fields: str) -> bytes:
    return head(target, *fields, method="POST")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stays_open(peer: Peer) -> None:
    assert peer.request(GET).text == "ok"


# --- bodies --------------------------------------------------------------------------------------------


def start(peer: Peer, request_head: bytes) -> None:
    """Send a head that expects 100-continue, so that the app has it before anything of the body is there."""
    peer.send(request_head)
    assert peer.read_until(b"\r\n\r\n") == CONTINUE


class Sending:
    """Sends beside the reading, which a thread of its own does not have to wait for."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        self._thread = threading.Thread(target=peer.send, args=(data,))

    def __enter__(self) -> Sending:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join()


def test_both_ways_at_once(server: LiveServer) -> None:
    """Each line is answered before the next is sent."""
    with server.connect() as peer:
        peer.send(post("/echo", CHUNKED))
        for number in range(50):
            line = b"line %d\n" % number
            peer.send(chunk(line))
            assert peer.read_until(chunk(line)).endswith(chunk(line))
        peer.send(b"0\r\n\r\n")
        assert peer.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
        stays_open(peer)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_pieces_of_any_size(server: LiveServer, step: int) -> None:
    body = bytes(range(256)) * 8
    framed = {
        f"Content-Length: {len(body)}": body,
        CHUNKED: chunk(body[:5]) + chunk(body[5:]) + b"0\r\nTrailer: 1\r\n\r\n",
    }
    for field, data in framed.items():
        whole = data + GET
        with server.connect() as peer:
            start(peer, post("/read", EXPECTS, field))
            peer.send(*(whole[i : i + step] for i in range(0, len(whole), step)))
            length = "-" if field == CHUNKED else str(len(body))
            assert peer.response().text == f"{len(body)} {length}"
            assert peer.response().text == "ok"


def test_a_body_that_has_come_whole_is_as_without_streaming(server: LiveServer) -> None:
    with server.connect() as peer:
        assert peer.request(post("/read", CHUNKED) + chunk(b"12345") + b"0\r\n\r\n").text == "5 5"


@pytest.mark.skipif(TLS is not None, reason="Python's ssl does not read and write at once")
def test_a_large_body_in_and_out(server: LiveServer) -> None:
    lines = b"".join(b"%09999d\n" % number for number in range(300))
    with server.connect() as peer:
        peer.send(post("/echo", f"Content-Length: {len(lines)}"))
        with Sending(peer, lines):
            assert peer.response().body == lines
        stays_open(peer)


def test_who_waits_for_a_body_keeps_nobody_waiting(alone: LiveServer) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(alone.connect()) for _ in range(3)]
        for peer in slow:
            peer.send(post("/echo", CHUNKED) + chunk(b"begun\n"))
            peer.read_until(b"begun\n")
        other = stack.enter_context(alone.connect())
        for _ in range(20):
            stays_open(other)
        for peer in slow:
            peer.send(b"0\r\n\r\n")
            assert peer.read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("target", ["/", "/read-some?3"])
def test_what_is_left_of_a_body_is_not_the_next_request(server: LiveServer, target: str) -> None:
    body = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as peer:
        # A part first, or it would not be streamed; whether all is there when the app has returned is open.
        peer.send(post(target, f"Content-Length: {len(body)}") + body[:5], body[5:])
        assert peer.response().text == ("ok" if target == "/" else "GET")
        peer.send(GET)
        rest = peer.read_until(b"ok") if peer.fill() else b""
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 ")
        assert rest.count(b"HTTP/1.1") <= 1


def test_a_body_that_the_app_leaves_is_not_waited_for(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(post("/", "Content-Length: 1000000") + b"some")
        assert peer.response().text == "ok"
        assert peer.is_closed()


def test_a_client_that_goes_is_an_error_of_the_body(alone: LiveServer) -> None:
    with alone.connect() as peer, alone.connect() as other:
        peer.send(post("/noted", "Content-Length: 10") + b"some")
        peer.sock.close()
        while not (seen := other.request(head("/seen")).text):
            pass
        assert seen == "UnreadableBodyError"
    alone.stop()
    assert "Error handling" not in alone.log.text


def test_half_closed_before_the_end(server: LiveServer) -> None:
    """A body that was cut short must never pass for a whole one."""
    if TLS is not None:
        pytest.skip("Python's ssl cannot end one direction")
    for field, data in (("Content-Length: 10", b"some"), (CHUNKED, chunk(b"some"))):
        answer = server.exchange(post("/read", field) + data, half_close=True)
        assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("options", "data", "status"),
    [
        ((), b"5\r\nhello", 0),
        ((), b"x\r\n", 400),
        ((), b"5\r\nhello\n", 400),
        ((), b"ffffffffffffffff\r\n", 400),
        (("--limit-request-body", "10"), chunk(b"12345") + chunk(b"123456"), 413),
        (("--body-timeout", "0.3"), b"5\r\nhe", 408),
    ],
)
@pytest.mark.parametrize("target", ["/read", "/caught"])
def test_bodies_that_cannot_be_read(
    live: Callable[..., LiveServer], target: str, options: tuple[str, ...], data: bytes, status: int
) -> None:
    """The client gets what it deserves if the app lets the error out; the app may answer as well."""
    server = live(APP, *STREAMS, *options)
    with server.connect() as peer:
        start(peer, post(target, EXPECTS, CHUNKED))
        peer.send(data)
        if status == 0:
            peer.send(b"\r\n0\r\n\r\n")
            assert peer.response().status == 200
            return
        reply = peer.response()
        if target == "/read":
            assert (reply.status, reply.get("Connection")) == (status, "close")
        else:
            assert reply.text.startswith("UnreadableBodyError: ")
        assert peer.is_closed()
    server.stop()
    assert "Traceback" not in server.log.text


@pytest.mark.parametrize("data", [b"0x\r\n", b"ffffffffffffffff\r\n", b"1;\0\r\n"])
def test_behind_a_body_that_failed_nothing_is_a_request(server: LiveServer, gate: Gate, data: bytes) -> None:
    """Where it ends nobody knows, whatever the app makes of the error."""
    with server.connect() as peer:
        start(peer, post(f"/caught-late?{gate.path}", EXPECTS, CHUNKED))
        peer.send(data)
        gate.wait_for_arrival()
        peer.send(b"0\r\n\r\n" + GET)
        gate.open()
        assert peer.response().text == "UnreadableBodyError"
        assert peer.is_closed()


def test_a_request_to_upgrade_with_a_body(server: LiveServer) -> None:
    """No connection is offered to its app, which reads the body as any other."""
    with server.connect() as peer:
        start(peer, post("/read", "Upgrade: websocket", "Connection: upgrade", EXPECTS, CHUNKED))
        peer.send(chunk(b"12"), chunk(b"345"), b"0\r\n\r\n")
        assert peer.response().text.startswith("5 ")
        assert peer.is_closed()


def test_a_length_over_the_limit_does_not_reach_the_app(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *STREAMS, "--limit-request-body", "10")
    with server.connect() as peer:
        assert peer.request(post("/", "Content-Length: 11") + b"1").status == 413


def test_a_thread_that_goes_on_reading_gets_nothing_of_what_follows(alone: LiveServer) -> None:
    with alone.connect() as peer, alone.connect() as other:
        peer.send(post("/stray", "Content-Length: 50") + b"some")
        assert peer.response().text == "ok"
        assert peer.is_closed()
        assert other.request(head("/join")).text == "ok"
        assert other.request(head("/seen")).text in ("read 4 UnreadableBodyError", "read 4 ValueError")


def test_a_client_goes_while_another_thread_reads_its_body(alone: LiveServer) -> None:
    """The reader is out before the descriptor is closed: its number may be another client's at once."""
    with alone.connect() as peer, alone.connect() as other:
        peer.send(post("/stray-endless", "Content-Length: 50") + b"some")
        assert peer.fill()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()  # by a reset
        assert other.request(head("/join")).text == "ok"
        assert other.request(head("/seen")).text in ("read 4 UnreadableBodyError", "read 4 ValueError")
    alone.stop()  # nothing is left to wait for


def test_an_environ_kept_after_its_request(alone: LiveServer) -> None:
    with alone.connect() as peer:
        peer.send(post("/keep", "Content-Length: 10") + b"some")
        assert peer.response().text == "ok"
        with alone.connect() as other:
            assert other.request(head("/later")).text == "ok"
            assert other.request(head("/seen")).text == "ValueError"


def test_a_socket_that_is_taken_late(alone: LiveServer) -> None:
    """A thread that was about to take it when its request ended: its number may be another connection's."""
    with alone.connect() as peer:
        kept = head("/keep-socket", "Connection: Upgrade", "Upgrade: other")
        assert peer.request(kept).text == "ok"
        assert peer.is_closed()
    with alone.connect() as other:
        assert other.request(head("/take-socket")).text == "the request of this connection is over"
        stays_open(other)


# --- Expect --------------------------------------------------------------------------------------------


def test_continue_is_said_when_the_app_reads(server: LiveServer) -> None:
    """RFC 9110 §10.1.1."""
    with server.connect() as peer:
        peer.send(GET + post("/read", EXPECTS, "Content-Length: 5"))
        assert peer.response().text == "ok"
        assert peer.read_until(b"\r\n\r\n") == CONTINUE
        assert peer.request(b"hello").text == "5 5"
        stays_open(peer)


def test_continue_is_not_said_to_who_does_not_wait(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(post("/read", EXPECTS, "Content-Length: 5") + b"he", b"llo")
        assert peer.response().text == "5 5"


def test_continue_is_not_said_if_the_app_does_not_read(server: LiveServer) -> None:
    with server.connect() as peer:
        reply = peer.request(post("/", EXPECTS, "Content-Length: 5"))
        assert (reply.status, reply.get("Connection")) == (200, "close")
        assert peer.is_closed()


def test_continue_is_not_said_behind_the_head(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(post("/late-read", EXPECTS, "Content-Length: 5"))
        peer.read_until(b"head ")
        peer.send(b"hello")
        assert peer.read_until(b"0\r\n\r\n") == b"\r\n5\r\nhello\r\n0\r\n\r\n"


# --- early hints ---------------------------------------------------------------------------------------


def test_early_hints(server: LiveServer) -> None:
    """RFC 8297 §2. What belongs to the final response, or to the connection, is left out."""
    with server.connect() as peer:
        peer.send(head("/hints") + GET)
        assert peer.read_until(b"\r\n\r\n") == (
            b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\nLink: </a.js>\r\n\r\n"
        )
        assert peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nX-More: 1\r\n\r\n"
        assert peer.response().text == "after hints"
        assert peer.response().text == "ok"


@pytest.mark.parametrize(
    "request_head", [head("/hints", version="1.0"), head("/late-hint"), head("/stray-hint")]
)
def test_no_hints(server: LiveServer, request_head: bytes) -> None:
    """Not to HTTP/1.0, not after the head, not from a thread that has no request."""
    with server.connect() as peer:
        reply = peer.request(request_head)
        assert reply.status == 200
        assert b"103" not in reply.head + reply.body


def test_hints_cannot_break_framing(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    server.allow_traceback = True
    with server.connect() as peer:
        reply = peer.request(head("/bad-hint"))
        assert reply.status == 500
        assert "Evil" not in str(reply.fields)


def test_hints_without_threads(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    with server.connect() as peer:
        peer.send(head("/hints"))
        assert b" 103 " in peer.read_until(b"\r\n\r\n")
        assert b" 103 " in peer.read_until(b"\r\n\r\n")
        assert peer.response().text == "after hints"
        assert b"103" not in peer.request(head("/stray-hint")).head
