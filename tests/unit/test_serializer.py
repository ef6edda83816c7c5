"""The two serializers: nothing that an app hands to start_response can break the framing."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwsgi import _impl, http11
from fastwsgi._serializer_py import Serializer as PureSerializer
from tests.apps.dictated import Liar

IMPLEMENTATIONS = [PureSerializer, _impl.Serializer] if _impl.compiled else [PureSerializer]


@pytest.fixture(params=IMPLEMENTATIONS, ids=["pure", "compiled"][: len(IMPLEMENTATIONS)])
def serializer(request: pytest.FixtureRequest) -> Any:
    return request.param("fastwsgi")


def test_block(serializer: Any) -> None:
    block = serializer.render("200 OK", [("Content-Type", "text/plain"), ("X-A", "1"), ("x-a", "\xe9\t2")])
    assert block == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nx-a: \xe9\t2\r\n"
    assert (serializer.code, serializer.length, serializer.closes, serializer.stamps) == (200, -1, False, 0)


@pytest.mark.parametrize(
    ("status", "line", "code"),
    [
        ("200 OK", b"HTTP/1.1 200 OK\r\n", 200),
        ("404 Not Found", b"HTTP/1.1 404 Not Found\r\n", 404),
        ("299 \xfcber", b"HTTP/1.1 299 \xfcber\r\n", 299),
        ("204", b"HTTP/1.1 204 \r\n", 204),  # RFC 9112 §4: the reason may be empty
        ("599 ", b"HTTP/1.1 599 \r\n", 599),
    ],
)
def test_status(serializer: Any, status: str, line: bytes, code: int) -> None:
    for _ in range(2):  # the second time from the cache
        assert serializer.render(status, []) == line
        assert serializer.code == code


BAD = {
    "status without digits": ("OK", []),
    "status of two digits": ("20 OK", []),
    "status with a line end": ("200 OK\r\nA: b", []),
    "status with NUL": ("200 O\0K", []),
    "status glued": ("200OK", []),
    "status beyond latin-1": ("200 \u20ac", []),
    "status of Arabic digits": ("\u0662\u0660\u0660 OK", []),
    "status bytes": (b"200 OK", []),
    "status None": (None, []),
    "headers tuple": ("200 OK", ()),
    "headers dict": ("200 OK", {}),
    "header list": ("200 OK", [["A", "b"]]),
    "header of three": ("200 OK", [("A", "b", "c")]),
    "header bytes": ("200 OK", [(b"A", b"b")]),
    "header value int": ("200 OK", [("Content-Length", 5)]),
    "header name empty": ("200 OK", [("", "b")]),
    "header name with a space": ("200 OK", [("A b", "c")]),
    "header name with a colon": ("200 OK", [("A:", "c")]),
    "header name with CRLF": ("200 OK", [("A\r\nB", "c")]),
    "header name of latin-1": ("200 OK", [("\xc4", "c")]),
    "header name beyond latin-1": ("200 OK", [("\u20ac", "c")]),
    "value with CR": ("200 OK", [("A", "b\rc")]),
    "value with LF": ("200 OK", [("A", "b\nc")]),
    "value with CRLF": ("200 OK", [("A", "b\r\nSet-Cookie: x")]),
    "value with NUL": ("200 OK", [("A", "b\0c")]),
    "value with DEL": ("200 OK", [("A", "b\x7fc")]),
    "value beyond latin-1": ("200 OK", [("A", "\u20ac")]),
    "hop-by-hop value with CRLF": ("200 OK", [("Connection", "x\r\n")]),
    "length not a number": ("200 OK", [("Content-Length", "abc")]),
    "length negative": ("200 OK", [("Content-Length", "-1")]),
    "length twice, different": ("200 OK", [("Content-Length", "1"), ("content-length", "2")]),
    "length of 2^63": ("200 OK", [("Content-Length", str(2**63))]),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(serializer: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        serializer.render(*BAD[name])
    assert serializer.render("200 OK", [("A", "b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n"


def test_the_refusal_names_the_header(serializer: Any) -> None:
    with pytest.raises(ValueError, match="X-Where"):
        serializer.render("200 OK", [("X-Where", "a\r\nb")])


@pytest.mark.parametrize("name", sorted(http11.HOP_BY_HOP))
def test_hop_by_hop_is_dropped(serializer: Any, name: str) -> None:
    for spelled in (name, name.title(), name.upper()):
        assert serializer.render("200 OK", [(spelled, "x"), ("A", "b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n"
        assert not serializer.closes


def test_connection_close_of_the_app_is_heeded(serializer: Any) -> None:
    serializer.render("200 OK", [("Connection", "Close")])
    assert serializer.closes


def test_length(serializer: Any) -> None:
    assert b"Content-Length: 12\r\n" in serializer.render("200 OK", [("Content-Length", "12")])
    assert serializer.length == 12
    serializer.render("200 OK", [])
    assert serializer.length == -1


@pytest.mark.parametrize("again", ["5", "05", " 5 "])
def test_length_is_sent_once(serializer: Any, again: str) -> None:
    """RFC 9110 §8.6: a client may take two for a contradiction, and `5` and `05` for two."""
    block = serializer.render("200 OK", [("Content-Length", "5"), ("A", "b"), ("content-length", again)])
    assert block == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n"
    assert serializer.length == 5


@pytest.mark.parametrize("status", ["204 No Content", "101 Switching Protocols"])
def test_length_is_dropped_where_it_must_not_be(serializer: Any, status: str) -> None:
    assert b"Content-Length" not in serializer.render(status, [("Content-Length", "0")])


def test_a_length_that_is_said_twice_is_sent_once(serializer: Any) -> None:
    """RFC 9110 §8.6: who reads a list of two may refuse it, and front ends do."""
    fields = [("Content-Length", "5"), ("A", "b"), ("content-length", " 05")]
    assert serializer.render("200 OK", fields) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n"
    assert serializer.length == 5


class Word(str, Enum):
    STATUS = "200 OK"
    NAME = "X-A"
    DATE = "Date"
    VALUE = "c"


@pytest.mark.parametrize("kind", [Liar, Word])
def test_a_str_is_what_it_holds_whatever_its_class_says(serializer: Any, kind: Any) -> None:
    """As with `class Status(str, Enum)`, whose members are formatted as their names."""
    for _ in range(3):
        block = serializer.render(
            kind("200 OK"), [(kind("X-A"), "b"), ("X-B", kind("c")), (kind("Date"), kind("c"))]
        )
        assert block == b"HTTP/1.1 200 OK\r\nX-A: b\r\nX-B: c\r\nDate: c\r\n"
        assert (serializer.code, serializer.stamps) == (200, 1)
    with pytest.raises(ValueError, match="not a token"):
        serializer.render("200 OK", [(Liar("X\r\nY"), "b")])
    assert serializer.render("200 OK", [("Content-Length", Liar("7"))]).endswith(b": 7\r\n")
    assert serializer.length == 7


def test_long_head(serializer: Any) -> None:
    headers = [(f"X-{number}", "v" * number) for number in range(500)]
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
    assert serializer.render("200 OK", headers) == b"HTTP/1.1 200 OK\r\n" + lines


@pytest.mark.parametrize("framing", [-2, -1, 0, 7, 1023, 1024, 10**12])
@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize("stamps", range(4))
def test_assemble(serializer: Any, framing: int, connection: bytes, stamps: int) -> None:
    serializer.stamp("Sun, 06 Nov 1994 08:49:37 GMT")
    framing_line = b"Content-Length: %d\r\n" % framing if framing >= 0 else b""
    if framing == -2:
        framing_line = b"Transfer-Encoding: chunked\r\n"
    date = b"" if stamps & 1 else b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    server = b"" if stamps & 2 else b"Server: fastwsgi\r\n"
    assert serializer.assemble(b"block\r\n", stamps, framing, connection, b"body") == (
        b"block\r\n" + framing_line + connection + date + server + b"\r\nbody"
    )


def test_date_and_server_of_the_app(serializer: Any) -> None:
    for headers, stamps in (
        ([], 0),
        ([("date", "x")], 1),
        ([("Server", "x")], 2),
        ([("SERVER", "x"), ("Date", "y")], 3),
    ):
        serializer.render("200 OK", headers)
        assert serializer.stamps == stamps


def test_http_date() -> None:
    assert http11.http_date(time.gmtime(784111777)) == "Sun, 06 Nov 1994 08:49:37 GMT"


if _impl.compiled:
    texts = st.text(max_size=12) | st.sampled_from(["Content-Length", "Connection", "Date", "5", "close"])
    items = st.tuples(texts, texts) | st.tuples(texts) | texts

    @given(status=texts | st.sampled_from(["200 OK", "204", "304 x"]), headers=st.lists(items, max_size=4))
    def test_both_agree(status: str, headers: list[Any]) -> None:
        outcomes: list[tuple[object, object]] = []
        for implementation in IMPLEMENTATIONS:
            serializer = implementation("fastwsgi")
            try:
                block = serializer.render(status, headers)
                state = (serializer.code, serializer.length, serializer.closes, serializer.stamps)
                outcomes.append((block, state))
            except (TypeError, ValueError) as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]


def test_fields_that_are_the_same_objects_are_found_again(serializer: Any) -> None:
    status, fields = "200 OK", [("Content-Length", "5"), ("Connection", "close"), ("Date", "now")]
    meanings = set()
    for _ in range(5):
        assert serializer.render(status, fields) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: now\r\n"
        meanings.add((serializer.code, serializer.length, serializer.closes, serializer.stamps))
        serializer.render("404 Not Found", [])
        serializer.render(status, fields)
    assert meanings == {(200, 5, True, 1)}


def test_a_list_that_is_changed_is_read_anew(serializer: Any) -> None:
    fields = [("A", "1"), ("B", "2")]
    for number in range(40):
        status = "200 OK" if number % 3 else "201 Created"
        if number % 2:
            fields[1] = ("B", str(number))
        if number % 5 == 0:
            fields.append(("C", "3"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        assert serializer.render(status, fields) == f"HTTP/1.1 {status}\r\n{lines}".encode()
        del fields[2:]


def test_fields_that_are_made_anew_each_time_are_what_they_say(serializer: Any) -> None:
    """Where one lay in memory, the next one may lie."""
    for number in range(500):
        fields = [(f"X-{number % 3}", f"{number}")]
        assert (
            serializer.render("200 OK", fields) == f"HTTP/1.1 200 OK\r\nX-{number % 3}: {number}\r\n".encode()
        )


def test_what_is_refused_is_refused_again(serializer: Any) -> None:
    fields = [("A", "1"), ("B", "2\n")]
    for _ in range(4):
        with pytest.raises(ValueError, match="control character"):
            serializer.render("200 OK", fields)


@pytest.mark.parametrize("size", [1, 9, 10, 15, 16, 255, 256, 4095, 4096, 65535, 65536, 1048576])
def test_chunk(serializer: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    assert serializer.chunk(data) == f"{size:x}".encode() + b"\r\n" + data + b"\r\n"  # RFC 9112 §7.1


class Lying(str):
    """A str with methods of its own, as lazy translations and enumerations have them."""

    __slots__ = ()

    def __str__(self) -> str:
        return "X: 1\r\n\r\nevil"

    def __format__(self, spec: str) -> str:
        return str(self)

    def __getitem__(self, key: object) -> str:
        return "204"

    def lower(self) -> str:
        return "close"

    def strip(self, *_: object) -> str:
        return "7"

    def encode(self, *_: object) -> bytes:
        return b"a"

    def __hash__(self) -> int:
        return hash("content-length")

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("times", [1, 5])
def test_what_is_checked_of_a_derived_str_is_what_is_sent(serializer: Any, times: int) -> None:
    for _ in range(times):
        block = serializer.render(
            Lying("200 OK"), [(Lying("X-A"), Lying("b")), (Lying("Content-Length"), Lying("12"))]
        )
        assert block == b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 12\r\n"
        assert (serializer.code, serializer.length, serializer.closes) == (200, 12, False)
    for bad in (
        ("200 OK\r\n", []),
        ("200 OK", [(Lying("A:"), "b")]),
        ("200 OK", [("A", Lying("b\r\n"))]),
        ("200 OK", [("Content-Length", Lying("12x"))]),
    ):
        with pytest.raises(ValueError, match=r"must be|not a token|control"):
            serializer.render(Lying(bad[0]), bad[1])


class Calling(str):
    """A name whose end, or comparison, calls the serializer that is at work with it."""

    __slots__ = ()
    serializer: Any = None
    calls = 0

    def _call(self) -> None:
        if Calling.serializer is not None:
            Calling.calls += 1
            serializer, Calling.serializer = Calling.serializer, None
            serializer.render("500 Oh", [(f"X-{n}", "y" * 500) for n in range(30)])
            Calling.serializer = serializer

    def __hash__(self) -> int:
        self._call()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        self._call()
        return str.__eq__(self, other)

    def __del__(self) -> None:
        self._call()


class CallingTuple(tuple):  # type: ignore[type-arg] # noqa: SLOT001
    """A field of the same kind."""

    def __del__(self) -> None:
        Calling._call(self)  # type: ignore[arg-type]


def test_objects_that_call_it_when_they_end(serializer: Any) -> None:
    Calling.serializer, Calling.calls = serializer, 0
    try:
        for number in range(40):
            name, value = f"X-{number % 7}", str(number)
            fields = [CallingTuple((Calling(name), Calling(value))), ("Content-Length", "3")]
            status = Calling("200 OK")
            for _ in range(3):
                block = serializer.render(status, fields)
                assert block == f"HTTP/1.1 200 OK\r\n{name}: {value}\r\nContent-Length: 3\r\n".encode()
                assert (serializer.code, serializer.length) == (200, 3)
        del fields, status
        assert Calling.calls > 30
    finally:
        Calling.serializer = None
