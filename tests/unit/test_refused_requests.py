"""Requests that no app gets to see are logged with what is known of them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from fastwsgi import _impl, policy
from fastwsgi.connection import Connection
from fastwsgi.endpoint import Endpoint
from fastwsgi.forwarding import Forwarding
from fastwsgi.request import Limits
from tests.environs import plain_environ

Line = tuple[str, dict[str, Any], int, float]
GET = b"GET /a%20b?q HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /form HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST /form HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def lines() -> list[Line]:
    return []


@pytest.fixture
def connection(lines: list[Line]) -> Connection:
    limits = Limits(request_line=100, fields=3, field_size=100, body=1000)
    environ = plain_environ()

    def log(environ: dict[str, Any], status: str, headers: object, nbytes: int, seconds: float) -> None:
        assert headers is None
        lines.append((status, environ, nbytes, seconds))

    endpoint = Endpoint(
        _impl.Parser(limits, Forwarding()),
        _impl.Serializer("x"),
        environ,
        limits,
        open_spool=io.BytesIO,
        log=log,
    )
    return Connection(endpoint, "192.0.2.1", "1234", 1.0)


def known(**words: str) -> dict[str, str]:
    return {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1234", **words}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost a\r\n\r\n", "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: x\r\nHost: a\r\n\r\n", "501 Not Implemented"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "417 Expectation Failed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "413 Content Too Large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 101, "431 Request Header Fields Too Large"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_a_refused_head_is_one_line(
    connection: Connection, lines: list[Line], head: bytes, status: str, step: int
) -> None:
    for start in range(0, len(head), step):
        connection.receive(head[start : start + step], 1.0)
    body = bytes(connection.out[0]).partition(b"\r\n\r\n")[2]
    words = {"REQUEST_METHOD": "GET", "RAW_URI": "/", "PATH_INFO": "/", "SERVER_PROTOCOL": "HTTP/1.1"}
    assert lines == [(status, known(**words), len(body), 0.0)]
    connection.close()
    assert len(lines) == 1


def test_a_line_that_is_too_long_is_shown_as_far_as_it_was_read(
    connection: Connection, lines: list[Line]
) -> None:
    connection.receive(b"GET /" + b"x" * 200, 1.0)
    [(status, environ, _, _)] = lines
    assert status == "414 URI Too Long"
    assert environ["RAW_URI"] == "/" + "x" * 200


def test_what_follows_an_answered_request(connection: Connection, lines: list[Line]) -> None:
    assert connection.receive(GET + b"BAD\r\n\r\n", 1.0) is not None
    assert lines == []
    assert connection.next_request(2.0) is None
    assert lines == [("400 Bad Request", known(REQUEST_METHOD="BAD"), 16, 0.0)]


def test_time_out_in_the_head(connection: Connection, lines: list[Line]) -> None:
    connection.receive(GET[:10], 2.0)
    connection.receive(GET[10:20], 3.0)
    connection.time_out()
    [(status, environ, _, seconds)] = lines
    assert (status, seconds) == ("408 Request Timeout", 30.0)
    assert environ["RAW_URI"] == "/a%20b?q"


@pytest.mark.parametrize("in_pieces", [False, True])
def test_time_out_in_the_body(connection: Connection, lines: list[Line], in_pieces: bool) -> None:
    if in_pieces:
        connection.receive(POST[:10], 2.0)
        connection.receive(POST[10:], 5.0)
    else:
        connection.receive(POST, 2.0)
    connection.receive(b"12345", 7.0)
    connection.time_out()
    [(status, environ, _, seconds)] = lines
    assert (status, seconds) == ("408 Request Timeout", 35.0)
    assert environ["HTTP_USER_AGENT"] == "me"
    assert environ["RAW_URI"] == "/form"


@pytest.mark.parametrize("body", [b"x\r\n", b"5\r\n12345x", b"3E9\r\n" + b"x" * 1001])
def test_a_bad_body(connection: Connection, lines: list[Line], body: bytes) -> None:
    connection.receive(CHUNKED, 1.0)
    connection.receive(body, 2.5)
    [(status, environ, _, seconds)] = lines
    assert status[:3] in ("400", "413")
    assert (environ["HTTP_USER_AGENT"], seconds) == ("me", 1.5)


@pytest.mark.parametrize("data", [GET[:1], GET[:30], POST, POST + b"123", CHUNKED + b"3\r\n12"])
def test_a_client_that_goes_before_its_request_is_whole(
    connection: Connection, lines: list[Line], data: bytes
) -> None:
    connection.receive(data, 1.0)
    connection.end_of_stream()
    [(status, environ, nbytes, _)] = lines
    assert (status, nbytes) == ("499 Client Closed Request", 0)
    assert environ["REQUEST_METHOD"] == data.partition(b" ")[0].decode()
    connection.close()
    assert len(lines) == 1


@pytest.mark.parametrize("data", [b"", GET])
def test_connections_that_ask_nothing_are_no_line(
    connection: Connection, lines: list[Line], data: bytes
) -> None:
    if data:
        connection.receive(data, 1.0)
        connection.next_request(1.0)
    connection.end_of_stream()
    connection.close()
    assert lines == []


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", {}),
        (b"\r\n", {}),
        (b"GET", {"REQUEST_METHOD": "GET"}),
        (
            b"\r\nGET /%41?b=%41 HTTP/1.1\r\nHost: x",
            {
                "REQUEST_METHOD": "GET",
                "RAW_URI": "/%41?b=%41",
                "PATH_INFO": "/A",
                "QUERY_STRING": "b=%41",
                "SERVER_PROTOCOL": "HTTP/1.1",
            },
        ),
        (
            b"GET  /a b HTTP/2.0\n",
            {
                "REQUEST_METHOD": "GET",
                "RAW_URI": " /a b",
                "PATH_INFO": " /a b",
                "SERVER_PROTOCOL": "HTTP/2.0",
            },
        ),
        (b"GET /a b", {"REQUEST_METHOD": "GET", "RAW_URI": "/a b", "PATH_INFO": "/a b"}),
        (b"\x16\x03\x01\xff", {"REQUEST_METHOD": "\x16\x03\x01\xff"}),
    ],
)
def test_outline(head: bytes, words: dict[str, str]) -> None:
    assert policy.outline(head) == words
    assert policy.outline(bytearray(head)) == words
