"""What an application reads of a request, and what is not given to it: input, Expect, limits, deadlines."""

from __future__ import annotations

import json
import select
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import DEADLINE, LiveServer, head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live import Peer

NEXT = b"GET /list HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.pep3333:app") as running:
        yield running


def stays_open(peer: Peer) -> None:
    """Check that the connection is in step: one more request, and its own response."""
    reply = peer.request(NEXT)
    assert (reply.status, reply.body) == (200, b"hello world"), reply


def times_closed(server: LiveServer, name: str) -> int:
    found: dict[str, int] = json.loads(server.get("/closed").body)
    return found.get(name, 0)


# --- input ---------------------------------------------------------------------------------------------

LINES = b"one\ntwo\r\n\nlast"
INPUT = [
    ("read()", [LINES]),
    ("read(-1)|read()", [LINES, b""]),
    ("read(None)", [LINES]),
    ("read(0)|read(3)|read()", [b"", LINES[:3], LINES[3:]]),
    ("read(1000)|read(1000)", [LINES, b""]),
    ("readline()|readline()|readline()|readline()|readline()", [b"one\n", b"two\r\n", b"\n", b"last", b""]),
    ("readline(-1)|readline(0)|readline(2)|readline()", [b"one\n", b"", b"tw", b"o\r\n"]),
    ("readlines()", [[b"one\n", b"two\r\n", b"\n", b"last"]]),
    ("readlines(-1)", [[b"one\n", b"two\r\n", b"\n", b"last"]]),
    ("readlines(3)|read()", [[b"one\n"], b"two\r\n\nlast"]),
    ("list", [[b"one\n", b"two\r\n", b"\n", b"last"]]),
    ("next|readline()|list|read()", [b"one\n", b"two\r\n", [b"\n", b"last"], b""]),
]


def as_length(body: bytes) -> tuple[list[str], bytes]:
    return [f"Content-Length: {len(body)}"], body


def as_chunks(body: bytes) -> tuple[list[str], bytes]:
    pieces = [body[i : i + 3] for i in range(0, len(body), 3)]
    return ["Transfer-Encoding: chunked"], b"".join(
        b"%x;ext\r\n%b\r\n" % (len(piece), piece) for piece in pieces
    ) + b"0\r\nX-Trailer: 1\r\n\r\n"


@pytest.mark.parametrize(("calls", "results"), INPUT, ids=[row[0] for row in INPUT])
@pytest.mark.parametrize("framed", [as_length, as_chunks])
def test_input(
    server: LiveServer, calls: str, results: list[Any], framed: Callable[[bytes], tuple[list[str], bytes]]
) -> None:
    fields, body = framed(LINES)
    with server.connect() as peer:
        # The next request is there already: not a byte of it may be read as this one's body.
        peer.send(head(f"/input?{calls}", *fields, method="POST") + body + NEXT)
        assert peer.response().text == repr(results)
        assert peer.response().body == b"hello world"


@pytest.mark.parametrize("calls", [row[0] for row in INPUT if "next" not in row[0]])
def test_input_without_body(server: LiveServer, calls: str) -> None:
    reply = server.get(f"/input?{calls}")
    empty = [[] if "list" in call or "lines" in call else b"" for call in calls.split("|")]
    assert reply.text == repr(empty)


SIZES = [0, 1, 10_240, 65_536, 100_000, 1 << 20, (1 << 20) + 1, 3 << 20]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", [0, 1000, 65_536])
def test_bodies_of_every_size(server: LiveServer, size: int, chunk: int) -> None:
    """In memory and past body_buffer_size in a temporary file: the same to the application."""
    body = (b"%07d\n" % size) * (size // 8) + b"x" * (size % 8)
    if chunk:
        pieces = (body[i : i + chunk] for i in range(0, size, chunk))
        data = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        field = "Transfer-Encoding: chunked"
    else:
        data, field = body, f"Content-Length: {size}"
    with server.connect() as peer:
        peer.send(head("/digest", field, method="POST"), data + NEXT)
        assert peer.response().text == f"{size} {zlib.crc32(body)} {size}"
        assert peer.response().body == b"hello world"


@pytest.mark.parametrize("path", ["unread", "read-one"])
@pytest.mark.parametrize("size", [5, 100_000, 3 << 20])
def test_unread_body_is_not_the_next_request(server: LiveServer, path: str, size: int) -> None:
    body = head("/evil") * (size // len(head("/evil"))) + b"G"
    with server.connect() as peer:
        peer.send(head(f"/{path}", f"Content-Length: {len(body)}", method="POST") + body)
        assert peer.response().body == (b"not looked at" if path == "unread" else b"G")
        stays_open(peer)


@pytest.mark.parametrize("size", [5, 100_000, 3 << 20])
def test_input_through_the_file_wrapper(server: LiveServer, size: int) -> None:
    body = b"u" * size
    with server.connect() as peer:
        reply = peer.request(head("/file-upload", f"Content-Length: {size}", method="POST") + body)
        assert reply.body == body
        stays_open(peer)


# --- Expect --------------------------------------------------------------------------------------------


def test_100_continue(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(head("/digest", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        assert peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert peer.request(b"hello").text == f"5 {zlib.crc32(b'hello')} 5"
        stays_open(peer)


def test_100_continue_chunked(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(head("/digest", "Expect: 100-continue", "Transfer-Encoding: chunked", method="POST"))
        assert peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert peer.request(b"5\r\nhello\r\n0\r\n\r\n").text == f"5 {zlib.crc32(b'hello')} 5"


@pytest.mark.parametrize(
    ("fields", "body", "version"),
    [
        (["Content-Length: 5"], b"hello", "1.1"),  # RFC 9110 §10.1.1: not once the body has begun to come
        (["Content-Length: 0"], b"", "1.1"),
        ([], b"", "1.1"),
        (["Content-Length: 5"], b"hello", "1.0"),
    ],
)
def test_no_100_continue(server: LiveServer, fields: list[str], body: bytes, version: str) -> None:
    with server.connect() as peer:
        peer.send(head("/digest", "Expect: 100-continue", *fields, method="POST", version=version) + body)
        assert peer.response().status == 200


# --- limits and deadlines ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited() -> Iterator[LiveServer]:
    flags = ["--limit-request-body", "1000", "--limit-request-line", "100", "--limit-request-fields", "5"]
    with LiveServer("tests.apps.pep3333:app", *flags, "--limit-request-field-size", "64") as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[LiveServer]:
    flags = ["--header-timeout", "0.3", "--body-timeout", "0.3", "--write-timeout", "0.5"]
    with LiveServer("tests.apps.pep3333:app", *flags, "--keep-alive", "0.3") as running:
        yield running


LIMITS = [
    ("line", 414, f"GET /{'a' * 100} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("fields", 431, "GET / HTTP/1.1\r\nHost: a\r\n" + "X: y\r\n" * 5 + "\r\n"),
    ("field-size", 431, f"GET / HTTP/1.1\r\nHost: a\r\nX: {'y' * 64}\r\n\r\n"),
    ("body", 413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"),
    (
        "body-expect",
        413,
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
    ),
    (
        "body-chunked",
        413,
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + ("1f4\r\n" + "x" * 500 + "\r\n") * 3,
    ),
    ("chunk", 413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"),
    (
        "trailers",
        431,
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + "X: y\r\n" * 6 + "\r\n",
    ),
]


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(("name", "status", "data"), LIMITS, ids=[row[0] for row in LIMITS])
def test_limit(limited: LiveServer, name: str, status: int, data: str, step: int) -> None:
    raw = data.encode()
    answer = limited.exchange(*(raw[start : start + step] for start in range(0, len(raw), step)))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1


def test_at_the_limit(limited: LiveServer) -> None:
    target = "/list?" + "a" * (100 - len("GET /list? HTTP/1.1\r\n"))
    assert limited.get(target).status == 200
    assert limited.get("/list", *["X: y"] * 4).status == 200
    assert limited.get("/list", "X: " + "y" * (64 - len("X: \r\n"))).status == 200
    with limited.connect() as peer:
        assert (
            peer.request(head("/digest", "Content-Length: 1000", method="POST") + b"x" * 1000).status == 200
        )


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_408(strict: LiveServer, data: bytes) -> None:
    answer = strict.exchange(data)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_slow_loris_gets_408(strict: LiveServer) -> None:
    """Byte after byte does not move the deadline of the head: it is one for the whole."""
    with strict.connect() as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        begun = time.monotonic()
        while not select.select([peer.sock], [], [], 0.05)[0]:
            peer.send(b"y")
            assert time.monotonic() - begun < 10
        assert peer.response().status == 408


@pytest.mark.parametrize("data", [b"", NEXT])
def test_idle_connection_is_closed_silently(strict: LiveServer, data: bytes) -> None:
    with strict.connect() as peer:
        if data:
            peer.send(data)
            assert peer.response().status == 200
        assert peer.read_to_end() == b""


def test_reader_that_takes_nothing_is_cut(strict: LiveServer) -> None:
    """The worker goes on; the connection ends before the body does."""
    before = times_closed(strict, "close-endless")
    with strict.connect(receive_buffer=4096) as peer:
        peer.send(head("/close-endless"))
        end = time.monotonic() + DEADLINE
        while times_closed(strict, "close-endless") == before:
            assert time.monotonic() < end, "still being written to"


# --- wsgiref.validate ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framed", [as_length, as_chunks])
def test_validator(
    live: Callable[..., LiveServer], framed: Callable[[bytes], tuple[list[str], bytes]]
) -> None:
    running = live("tests.apps.validated:app")
    fields, body = framed(LINES)
    with running.connect() as peer:
        reply = peer.request(
            head("/everything?x=1", *fields, "Content-Type: text/plain", method="POST") + body
        )
        assert reply.status == 202
        assert reply.get("X-Second") == "yes"
        assert reply.body == b"written\nread(2): on\nreadline: e\nreadlines: two\r\n\nrest: \n|last\n"
        assert peer.request(head("/simple")).body == b"simple"
        assert peer.request(head("/simple", method="HEAD"), "HEAD").status == 200
        assert peer.request(head("/empty")).status == 204
        assert peer.request(head("/simple")).body == b"simple"
    running.wait_for_log("closed by the server")
    assert "AssertionError" not in running.log.text
