"""The state of a connection, without a socket: the table at the head of connection.py, row by row."""

from __future__ import annotations

import io
import itertools
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwsgi import _impl, policy
from fastwsgi.connection import Connection
from fastwsgi.endpoint import Endpoint
from fastwsgi.errors import HTTPError
from fastwsgi.forwarding import Forwarding
from fastwsgi.networks import Networks
from fastwsgi.proxy_header import ProxyProtocol
from fastwsgi.request import Limits
from fastwsgi.states import NEVER
from fastwsgi.wsgi import EMPTY_INPUT
from tests.environs import plain_environ

HEADER, BODY, KEEPALIVE = 30.0, 20.0, 2.0
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
CHUNKED = b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

NO_FORWARDING = Forwarding()


class Spool(io.BytesIO):
    """A temporary file that tells whether it was let go of."""

    made: list[Spool] = []  # noqa: RUF012 - reset by the tests that look

    def __init__(self) -> None:
        super().__init__()
        Spool.made.append(self)


def no_tunnel(_: str) -> Any:
    raise AssertionError("it is the channel that opens tunnels")


def endpoint(
    spool_at: int = 1024,
    open_spool: Any = Spool,
    *,
    timeouts: bool = True,
    streams: bool = False,
    trusts: Any = None,
    forwarding: Forwarding = NO_FORWARDING,
    proxy_protocol: ProxyProtocol | None = None,
    open_tunnel: Any = None,
    **limits: Any,
) -> Endpoint:
    bounds = Limits(**limits)
    environ = plain_environ()
    return Endpoint(
        _impl.Parser(bounds, forwarding),
        _impl.Serializer("fastwsgi"),
        environ,
        bounds,
        spool_at=spool_at,
        open_spool=open_spool,
        header_timeout=HEADER if timeouts else 0.0,
        body_timeout=BODY if timeouts else 0.0,
        keepalive=KEEPALIVE if timeouts else 0.0,
        streams=streams,
        trusts=trusts,
        proxy_protocol=proxy_protocol,
        open_tunnel=open_tunnel,
    )


ENDPOINT = endpoint()
STREAMING = endpoint(streams=True)
PROXIED = endpoint(proxy_protocol=ProxyProtocol("auto", Networks(["192.0.2.1"]).include))
SEALED = endpoint(proxy_protocol=PROXIED.proxy_protocol, open_tunnel=no_tunnel)


def fresh(target: Endpoint = ENDPOINT) -> Connection:
    return Connection(target, "192.0.2.1", "1234", 0.0)


def statuses(connection: Connection) -> list[int]:
    return [int(piece[9:12]) for piece in connection.out if piece.startswith(b"HTTP/1.1 ")]


def drain(connection: Connection, request: Any) -> list[tuple[str, bytes]]:
    """Take `request` and those behind it as an engine does; return path and body of each."""
    found = []
    while request is not None:
        found.append((request.environ["PATH_INFO"], request.environ["wsgi.input"].read()))
        request = connection.next_request(5.0)
    return found


# --- the table ---------------------------------------------------------------------------------------------

STATES = ("IDLE", "HEAD", "BODY", "BUSY", "CLOSING", "STREAM", "PROXY")
PREFIXES = {
    "IDLE": b"",
    "HEAD": b"GET / HT",
    "BODY": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    "BODY chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "BUSY": GET % 1,
    "BUSY ahead": GET % 1 + GET % 2,
    "CLOSING": b"\x00",
    "PROXY": b"",
    "PROXY begun": b"PROXY TCP4 ",
    "STREAM": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    "STREAM chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
}
ANSWERING = ("BUSY", "STREAM")


def brought_to(name: str) -> Connection:
    target = STREAMING if name.startswith("STREAM") else PROXIED if name.startswith("PROXY") else ENDPOINT
    connection = fresh(target)
    if PREFIXES[name]:
        connection.receive(PREFIXES[name], 1.0)
    assert connection.state == STATES.index(name.partition(" ")[0])
    return connection


@pytest.mark.parametrize("name", PREFIXES)
def test_end_of_stream(name: str) -> None:
    connection = brought_to(name)
    connection.end_of_stream()
    if name.startswith(ANSWERING):
        # RFC 9112 §9.6: the client may have closed its half only, and waits for the answer.
        assert connection.is_busy()
        assert not connection.wants_more()
        assert (connection.next_request(2.0) is not None) == (name == "BUSY ahead")
        if name == "BUSY ahead":
            assert connection.next_request(3.0) is None
    assert connection.is_closing()
    assert statuses(connection) == ([400] if name == "CLOSING" else [])


@pytest.mark.parametrize("name", [name for name in PREFIXES if not name.startswith(ANSWERING)])
def test_deadline_passed(name: str) -> None:
    connection = brought_to(name)
    before = len(connection.out)
    connection.time_out()
    assert connection.is_closing()
    assert statuses(connection)[before:] == (
        [408] if name.startswith(("HEAD", "BODY", "PROXY begun")) else []
    )


@pytest.mark.parametrize("name", [name for name in PREFIXES if not name.startswith(ANSWERING)])
def test_malformed(name: str) -> None:
    connection = brought_to(name)
    junk = b"\x00\r\n\r\n" if name != "BODY chunked" else b"cde\x00"
    if name == "BODY":
        junk = b"defghi" + junk  # the body may hold anything; what comes behind it may not
        assert drain(connection, connection.receive(junk, 2.0)) == [("/", b"abcdefghi")]
    else:
        assert connection.receive(junk, 2.0) is None
    assert connection.is_closing()
    assert statuses(connection) == [400]
    assert connection.unread
    # Nothing is a request from here on.
    assert connection.receive(GET % 3, 3.0) is None
    assert connection.next_request(3.0) is None
    assert statuses(connection) == [400]


@pytest.mark.parametrize(
    ("name", "deadline"),
    [
        ("IDLE", HEADER),  # from the start, before the first byte
        ("HEAD", 1.0 + HEADER),
        ("BODY", 1.0 + BODY),
        ("BODY chunked", 1.0 + BODY),
        ("BUSY", NEVER),
        ("CLOSING", NEVER),
    ],
)
def test_deadlines(name: str, deadline: float) -> None:
    assert brought_to(name).deadline == deadline


def test_a_dribbled_head_is_given_no_more_time() -> None:
    connection = fresh()
    for number, byte in enumerate(GET % 1):
        if connection.receive(bytes([byte]), 1.0 + number) is None:
            assert connection.deadline == 1.0 + HEADER
    assert connection.is_busy()


def test_a_body_that_goes_on_is_given_more_time() -> None:
    connection = brought_to("BODY")
    connection.receive(b"de", 10.0)
    assert connection.deadline == 10.0 + BODY


def test_deadline_between_requests() -> None:
    connection = brought_to("BUSY")
    assert connection.next_request(7.0) is None
    assert connection.deadline == 7.0 + KEEPALIVE
    connection.receive(b"G", 8.0)
    assert connection.deadline == 8.0 + HEADER


def test_no_timeouts_are_no_deadlines() -> None:
    connection = fresh(endpoint(timeouts=False))
    assert connection.deadline == NEVER
    connection.receive(b"G", 1.0)
    assert connection.deadline == NEVER
    connection.receive((POST % (1, 5, b"ab"))[1:], 2.0)
    assert connection.deadline == NEVER
    assert connection.receive(b"cde", 3.0) is not None
    connection.next_request(4.0)
    assert connection.deadline == NEVER


# --- splits ------------------------------------------------------------------------------------------------

messages = st.one_of(
    st.just(("get", b"")),
    st.tuples(st.just("length"), st.binary(max_size=40)),
    st.tuples(st.just("chunked"), st.binary(max_size=40)),
)


def encoded(number: int, kind: str, body: bytes) -> bytes:
    if kind == "get":
        return GET % number
    if kind == "length":
        return POST % (number, len(body), body)
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    return CHUNKED % (number, b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_any_split_gives_the_same_requests(
    sent: list[tuple[str, bytes]], cuts: list[int], bytewise: bool
) -> None:
    whole = b"".join(encoded(number, *message) for number, message in enumerate(sent))
    places = range(len(whole)) if bytewise else sorted({min(cut, len(whole)) for cut in cuts})
    bounds = [0, *places, len(whole)]
    connection = fresh(endpoint(spool_at=16))
    found = []
    for start, end in itertools.pairwise(bounds):
        if start < end:
            found += drain(connection, connection.receive(whole[start:end], 1.0))
    assert found == [(f"/{number}", body) for number, (_, body) in enumerate(sent)]
    assert connection.served == len(sent)
    assert not connection.out
    assert not connection.is_closing()


# --- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("split", [False, True])
def test_large_bodies_are_spooled_and_let_go_of(size: int, kind: str, split: bool) -> None:
    Spool.made.clear()
    connection = fresh()
    raw = encoded(1, kind, bytes(size))
    request = None
    for piece in (raw[:-1], raw[-1:]) if split else (raw,):
        assert request is None
        request = connection.receive(piece, 1.0)
    assert request is not None
    assert request.environ["CONTENT_LENGTH"] == str(size)
    assert request.environ["wsgi.input"].read() == bytes(size)
    assert len(Spool.made) == (size > 1024)
    connection.next_request(2.0)
    assert all(spool.closed for spool in Spool.made)


def test_a_real_spool_has_the_whole_body() -> None:
    connection = fresh(endpoint(open_spool=tempfile.TemporaryFile))
    body = bytes(range(256)) * 100
    request = connection.receive(POST % (1, len(body), body), 1.0)
    assert drain(connection, request) == [("/1", body)]


def test_a_spool_of_a_body_cut_off_is_let_go_of() -> None:
    Spool.made.clear()
    connection = fresh()
    connection.receive(POST % (1, 5000, bytes(4000)), 1.0)
    assert len(Spool.made) == 1
    connection.close()
    assert Spool.made[0].closed


def test_a_disk_that_is_full_is_503() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    connection = fresh(endpoint(open_spool=fail))
    assert connection.receive(POST % (1, 5000, bytes(4000)), 1.0) is None
    assert statuses(connection) == [503]
    assert connection.is_closing()


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_too_large_is_refused_as_soon_as_it_is_known(kind: str) -> None:
    connection = fresh(endpoint(body=10))
    head = POST % (1, 11, b"") if kind == "length" else (CHUNKED % (1, b"b\r\n"))[:-5]
    assert connection.receive(head, 1.0) is None
    assert statuses(connection) == [413]
    assert connection.is_closing()


@pytest.mark.parametrize("start", [b"HEAD ", b"\r\nHEAD "])
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"/ HTTP/1.1\r\n\r\n", 400),
        (b"/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408),
        (b"/ HTTP/1.1\r\nHo", 408),
    ],
)
def test_a_refusal_of_head_has_no_content(start: bytes, rest: bytes, status: int) -> None:
    """RFC 9110 §9.3.2."""
    connection = fresh(endpoint())
    connection.receive(start + rest, 1.0)
    if not connection.is_closing():
        connection.time_out()
    assert statuses(connection) == [status]
    (page,) = connection.out
    assert page.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in page


def test_a_field_by_itself_each_time_is_looked_at_once() -> None:
    """Where no limit is set, thousands may come: the lines before are not gone through again for each."""
    calls = 0

    class Counted(bytearray):
        def find(self, *args: Any) -> int:
            nonlocal calls
            calls += 1
            return super().find(*args)

    buffer = Counted(b"GET / HTTP/1.1\r\n")
    limits = Limits(fields=0)
    for _ in range(1000):
        searched = len(buffer)
        buffer += b"a: b\r\n"
        assert policy.frame(buffer, 0, searched, limits) == (0, 0)
    assert calls == 2000


def test_fields_of_one_name_without_end() -> None:
    count = 20_000
    target = endpoint(fields=0)
    data = GET[:-2] % 1 + b"a: b\r\n" * count + b"Cookie: c\r\n" * 3 + b"\r\n"
    request = fresh(target).receive(data, 1.0)
    assert request is not None
    assert request.environ["HTTP_A"] == ", ".join(["b"] * count)
    assert request.environ["HTTP_COOKIE"] == "c; c; c"


def test_no_body_is_the_shared_empty_input() -> None:
    request = fresh().receive(GET % 1, 1.0)
    assert request is not None
    assert request.environ["wsgi.input"] is EMPTY_INPUT


# --- Expect ------------------------------------------------------------------------------------------------

EXPECT = b"POST / HTTP/1.%d\r\nHost: a\r\nExpect: 100-continue\r\n%b\r\n"
FRAMINGS = {b"Content-Length: 3\r\n": b"abc", b"Transfer-Encoding: chunked\r\n": b"3\r\nabc\r\n0\r\n\r\n"}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_continue_is_sent_once_and_only_when_waited_for(framing: bytes) -> None:
    body = FRAMINGS[framing]
    connection = fresh()
    assert connection.receive(EXPECT % (1, framing), 1.0) is None
    assert connection.out == [CONTINUE]
    for byte in body[:-1]:
        assert connection.receive(bytes([byte]), 2.0) is None
    assert drain(connection, connection.receive(body[-1:], 3.0)) == [("/", b"abc")]
    assert connection.out == [CONTINUE]
    # RFC 9110 §10.1.1: not when the body has begun to come.
    connection = fresh()
    connection.receive(EXPECT % (1, framing) + body[:1], 1.0)
    assert connection.out == []


def test_no_continue_for_http_1_0_nor_without_a_body() -> None:
    for head in (EXPECT % (0, b"Content-Length: 3\r\n"), EXPECT % (1, b"Content-Length: 0\r\n")):
        connection = fresh()
        connection.receive(head, 1.0)
        assert connection.out == []


# --- bytes ahead of their turn -----------------------------------------------------------------------------


def test_reading_ahead_is_bounded() -> None:
    connection = brought_to("BUSY")
    assert connection.wants_more()
    total = 0
    while connection.wants_more():
        connection.receive(GET % 2 * 100, 2.0)
        total += len(GET % 2) * 100
    assert 65536 <= total < 65536 + len(GET % 2) * 100
    assert len(drain(connection, connection.next_request(3.0))) == total // len(GET % 2)
    assert connection.wants_more()


def test_close_forgets_what_came_ahead() -> None:
    connection = brought_to("BUSY ahead")
    assert connection.ahead()
    connection.close()
    assert connection.unread
    assert connection.next_request(2.0) is None
    assert not connection.ahead()


@pytest.mark.parametrize(
    ("data", "ends", "is_over"),
    [
        pytest.param(GET % 1, False, False, id="the server closes"),
        pytest.param(GET % 1, True, True, id="the client has shut down its side"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False, True, id="close"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, True, id="HTTP/1.0"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n\r\n", False, False, id="something came behind it"),
        pytest.param(
            b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
            False,
            False,
            id="RFC 9112 §2.2: a line end may come behind a body",
        ),
    ],
)
def test_the_end_goes_along_with_an_answer_only_if_nothing_more_comes(
    data: bytes, ends: bool, is_over: bool
) -> None:
    one = Connection(endpoint(), "192.0.2.1", "4711", 0.0)
    assert one.receive(data, 0.0) is not None
    if ends:
        one.end_of_stream()
    assert not one.is_over()
    one.close()
    assert one.is_over() == is_over


def test_pending_counts_bytes_in_memory_only() -> None:
    connection = fresh()
    assert connection.pending() == 0
    connection.out.extend([b"abc", object(), b"de"])
    assert connection.pending() == 5


# --- bodies that the app reads itself ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 100])
def test_streamed_bodies_come_in_pieces(size: int) -> None:
    """What follows is the next request, whole or in part."""
    body = bytes(range(97, 123))
    chunked = b"5;x=y\r\nabcde\r\n15\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n" % body[5:]
    for framing, data in ((b"Content-Length: 26", body), (b"Transfer-Encoding: chunked", chunked)):
        connection = fresh(STREAMING)
        request = connection.receive(b"POST /1 HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing, 1.0)
        assert request is not None
        assert (connection.is_streaming(), connection.is_busy(), connection.wants_more()) == (
            True,
            True,
            False,
        )
        assert connection.deadline == NEVER
        sent = data + GET % 2
        taken = b""
        position = 0
        while connection.is_streaming():
            taken += connection.take(sent[position : position + size])
            position += size
        assert taken == body
        assert connection.is_busy()
        assert connection.receive(sent[position:], 2.0) is None
        following = connection.next_request(3.0)
        assert following is not None
        assert following.environ["PATH_INFO"] == "/2"


def test_a_streamed_body_that_has_come_whole() -> None:
    for data in (POST % (1, 3, b"abc"), CHUNKED % (1, b"3\r\nabc\r\n")):
        connection = fresh(STREAMING)
        request = connection.receive(data, 1.0)
        assert request is not None
        assert not connection.is_streaming()
        assert request.environ["wsgi.input"].read() == b"abc"
        assert request.environ["CONTENT_LENGTH"] == "3"


def test_what_had_come_with_the_head_is_taken_first() -> None:
    connection = brought_to("STREAM")
    assert connection.take(b"") == b"abc"
    assert connection.take(b"def") == b"def"
    connection = brought_to("STREAM chunked")
    assert connection.take(b"") == b"ab"
    assert connection.take(b"cde\r") == b"cde"
    assert connection.take(b"\n") == b""


def test_streamed_bodies_are_never_spooled() -> None:
    Spool.made.clear()
    connection = fresh(endpoint(spool_at=10, streams=True))
    connection.receive(POST % (1, 1000, b"abc"), 1.0)
    assert connection.take(b"x" * 500) == b"abc" + b"x" * 500
    assert Spool.made == []


@pytest.mark.parametrize(
    ("data", "status"), [(b"x\r\n", 400), (b"5\r\nabcdefg\r\n", 400), (b"9\r\n", 413)], ids=repr
)
def test_streamed_bodies_are_held_to_the_same_rules(data: bytes, status: int) -> None:
    connection = fresh(endpoint(streams=True, body=8))
    request = connection.receive(CHUNKED.partition(b"%b")[0] % 1, 1.0)
    assert request is not None
    with pytest.raises(HTTPError) as refusal:
        connection.take(data)
    assert refusal.value.status == status
    assert connection.out == []  # the app may have begun to answer
    assert connection.next_request(2.0) is None
    assert connection.is_closing()


def test_after_a_body_that_was_left_nothing_is_a_request() -> None:
    for leave in (True, False):
        connection = brought_to("STREAM")
        if leave:
            assert connection.next_request(2.0) is None
        else:
            connection.close()
        assert connection.is_closing()
        assert connection.unread
        assert connection.receive(b"def456" + GET % 2, 3.0) is None


def test_giving_up_the_connection_gives_what_came_behind_the_request() -> None:
    connection = fresh()
    connection.receive(GET % 1 + b"\x81\x01a", 1.0)
    connection.receive(b"\x81\x01b", 1.0)
    connection.out.append(b"an answer")
    assert connection.give() == b"\x81\x01a\x81\x01b"
    assert connection.is_closing()
    assert connection.out == []
    assert brought_to("BUSY").give() == b""


# --- proxies in front --------------------------------------------------------------------------------------

HEADERS = {
    "v1": b"PROXY TCP4 203.0.113.9 192.0.2.7 4711 80\r\n",
    "v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f"
    + bytes([203, 0, 113, 9, 192, 0, 2, 7])
    + b"\x12\x67\0\x50TLV",
}


@pytest.mark.parametrize("version", HEADERS)
def test_a_proxy_header_holds_for_the_connection_however_it_is_split(version: str) -> None:
    data = HEADERS[version] + GET % 1 + GET % 2
    for cut in range(1, len(data)):
        connection = fresh(PROXIED)
        found = []
        for piece in (data[:cut], data[cut:]):
            request: Any = connection.receive(piece, 1.0)
            while request is not None:
                found.append(request.environ)
                request = connection.next_request(2.0)
        assert [environ["PATH_INFO"] for environ in found] == ["/1", "/2"]
        for environ in found:
            assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("203.0.113.9", "4711")
            assert environ["PROXY_PROTOCOL"] == "TCP4"
            assert (environ["PROXY_ADDR"], environ["PROXY_PORT"]) == ("192.0.2.7", "80")
        assert "PROXY_PROTOCOL" not in PROXIED.base


def test_header_timeout_covers_a_proxy_header_and_the_head_behind_it() -> None:
    connection = fresh(PROXIED)
    for piece in (HEADERS["v1"][:9], HEADERS["v1"][9:]):
        assert connection.receive(piece, 20.0) is None
        assert connection.deadline == HEADER
    connection.time_out()
    assert connection.is_closing()
    assert statuses(connection) == []  # as if it had said nothing: it is a health check


@pytest.mark.parametrize(
    ("data", "peer", "status"),
    [
        (b"PROXY TCP4 nonsense\r\n", "192.0.2.1", 400),
        (b"\r\n\r\n\0\r\nQUIT\n\x31", "192.0.2.1", 400),
        (HEADERS["v1"], "192.0.2.2", 403),
        (HEADERS["v2"][:12], "192.0.2.2", 403),
    ],
)
def test_a_proxy_header_that_is_refused(data: bytes, peer: str, status: int) -> None:
    connection = Connection(PROXIED, peer, "1234", 0.0)
    assert connection.receive(data, 1.0) is None
    assert statuses(connection) == [status]
    assert connection.is_closing()


@pytest.mark.parametrize("version", HEADERS)
def test_a_proxy_header_before_tls_is_taken_off_what_is_sealed(version: str) -> None:
    data = HEADERS[version] + b"sealed"
    for step in (1, 5, len(data)):
        connection = fresh(SEALED)
        behind = b""
        for begin in range(0, len(data), step):
            piece = data[begin : begin + step]
            behind += connection.take_header(piece) if connection.awaits_header() else piece
        assert behind == b"sealed"
        assert connection.deadline == HEADER
        request: Any = connection.receive(GET % 1, 1.0)
        assert request.environ["REMOTE_ADDR"] == "203.0.113.9"


@pytest.mark.parametrize("is_late", [False, True])
def test_nothing_is_said_in_the_clear_of_a_proxy_header_before_tls(is_late: bool) -> None:
    connection = fresh(SEALED)
    assert connection.take_header(b"PROXY TCP4 ") == b""
    if is_late:
        connection.time_out()
    else:
        assert connection.take_header(b"nonsense\r\n") == b""
    assert connection.is_closing()
    assert connection.unread  # so that what still comes does not reset it
    assert connection.error is not None
    assert connection.error.status == (408 if is_late else 400)
    assert connection.out == []


@pytest.mark.parametrize(
    ("header", "believed"),
    [
        (HEADERS["v1"], False),
        (b"PROXY TCP4 192.0.2.1 192.0.2.7 4711 80\r\n", True),  # another proxy, to which TLS is passed on
        (b"PROXY UNKNOWN\r\n", False),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8" + bytes(216), False),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", True),  # LOCAL: the peer itself
        (b"", True),
    ],
)
def test_who_is_believed_behind_a_proxy_header_before_tls(header: bytes, believed: bool) -> None:
    """Who passes TLS on cannot have written a field; in the clear, the peer may."""
    for open_tunnel in (no_tunnel, None):
        target = endpoint(
            proxy_protocol=PROXIED.proxy_protocol,
            open_tunnel=open_tunnel,
            trusts=Networks(["192.0.2.1"]).include,
            forwarding=Forwarding({b"x-forwarded-proto": b"https"}),
        )
        connection = fresh(target)
        behind = connection.take_header(header + GET[:-2] % 1 + b"X-Forwarded-Proto: https\r\n\r\n")
        request: Any = connection.receive(behind, 1.0)
        is_believed = believed or open_tunnel is None
        assert request.environ["wsgi.url_scheme"] == ("https" if is_believed else "http")


def test_without_a_proxy_header_where_one_is_optional() -> None:
    connection = Connection(PROXIED, "192.0.2.2", "1234", 0.0)
    request: Any = connection.receive(GET % 1, 1.0)
    assert request.environ["REMOTE_ADDR"] == "192.0.2.2"
    assert "PROXY_PROTOCOL" not in request.environ


def test_whom_a_connection_believes_is_asked_once() -> None:
    asked = []

    def trusts(address: str) -> bool:
        asked.append(address)
        return address == "192.0.2.1"

    target = endpoint(trusts=trusts, forwarding=Forwarding({b"x-forwarded-proto": b"https"}))
    told = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
    schemes = []
    for address in ("192.0.2.1", "192.0.2.2"):
        connection = Connection(target, address, "1", 0.0)
        for data in (told, told, GET % 1):
            request: Any = connection.receive(data, 1.0)
            schemes.append(request.environ["wsgi.url_scheme"])
            connection.next_request(2.0)
    assert schemes == ["https", "https", "http"] + ["http"] * 3
    assert asked == ["192.0.2.1", "192.0.2.2"]
