"""Response splitting: nothing that an app gives can break framing, as two other readers of HTTP see it.

Every example is one connection: a request that dictates what the app does, and one more behind it, which is
answered as it should be, or not at all.
"""

from __future__ import annotations

import http.client
import io
import os
import pickle
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.apps.dictated import INJECTED, Dictation, Liar, LiarBytes
from tests.listeners import SECURE, TCP, listening
from tests.live import LiveServer, head

if TYPE_CHECKING:
    import email.message
    import socket
    from collections.abc import Iterator

EXAMPLES = int(os.environ.get("FASTWSGI_FUZZ_EXAMPLES", "120"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
OURS = {"date", "server", "content-length", "transfer-encoding", "connection"}
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
              "trailer", "trailers", "transfer-encoding", "upgrade"}  # fmt: skip
PAGE = b"500 Internal Server Error\n"


class Word(str, Enum):
    """What some apps keep their constants in; formatted, it is its name on some Pythons."""

    OK = "200 OK"
    NAME = "X-Word"


@pytest.fixture(scope="module", params=[TCP, SECURE])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with listening(request.param, tmp_path_factory, "tests.apps.dictated:app") as running:
        running.allow_traceback = True
        yield running


# --- what an app may give -------------------------------------------------------------------------------

ODD_TEXTS = st.sampled_from(
    ["", "a\r\nX-Injected: 1", "a\rb", "a\nX-Injected: 1", "a\0", "\x7f", "\x0b", "\x85", "\u2028", "\u010d\u010a",
     "\u560d\u560aX-Injected: 1", "\ud800", "€", "caf\xe9", "a\r\n\r\nbody", "a\r\n b", " ", "\t", "x" * 5000, INJECTED,
     "a" + INJECTED, "\uff0d\uff0a"]
)  # fmt: skip
TEXTS = ODD_TEXTS | st.text(max_size=8) | st.text("ab \t:;,=-\r\n\0", max_size=8)
NOT_TEXTS: st.SearchStrategy[Any] = st.sampled_from([None, 5, b"X-A", b"200 OK", 1.5, ["X"], bytearray(b"a")])


def liars(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return texts | texts | texts | texts.map(Liar)


STATUSES: st.SearchStrategy[Any] = (
    liars(st.sampled_from(["200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "200", "200 ", "103 Early Hints",
                           "100 Continue", "101 Switching Protocols", "299 \xe9", "999 x", "205 Reset Content"]))
    | liars(TEXTS.map(lambda text: f"200 {text}")) | liars(TEXTS) | NOT_TEXTS | st.just(Word.OK)
)  # fmt: skip
NAMES: st.SearchStrategy[Any] = (
    liars(st.sampled_from(["X-A", "Set-Cookie", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Upgrade",
                           "Keep-Alive", "Trailer", "TE", "Date", "Server", "X-Injected ", "Transfer-Encoding ", "Content_Length"]))
    | liars(TEXTS) | NOT_TEXTS | st.just(Word.NAME)
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = (
    liars(st.sampled_from(["a", "0", "5", "3", " 5\t", "05", "+5", "5, 5", "0x5", "99999999999999999999", "9" * 18, "-1", "chunked",
                           "gzip, chunked", "close", "keep-alive", "upgrade", "websocket"]))
    | liars(TEXTS) | NOT_TEXTS
)  # fmt: skip
FIELDS: st.SearchStrategy[Any] = st.tuples(NAMES, VALUES) | st.tuples(
    st.just("Content-Length"), st.sampled_from(["0", "3", "5", "10", "10000000"])
)
HEADERS: st.SearchStrategy[Any] = (
    st.lists(FIELDS, max_size=4)
    | st.lists(st.tuples(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["1", "2"])), max_size=3)
    | st.sampled_from([(), {}, None, [("A",)], [("A", "b", "c")], [["A", "b"]], ["Ab"], [None]])
)
PARTS = st.binary(max_size=6) | st.sampled_from(
    [b"", b"0\r\n\r\n", b"\r\n", INJECTED.encode(), b"x" * 20_000, LiarBytes(b"true"), LiarBytes(b"")]
)
DICTATIONS = st.builds(
    Dictation,
    status=STATUSES,
    headers=HEADERS,
    parts=st.lists(PARTS, max_size=4),
    how=st.sampled_from(
        ["list", "list", "tuple", "generator", "generator", "write", "write and list", "file", "file-like"]
    ),
    hints=st.just([]) | st.just([]) | st.lists(st.lists(FIELDS, max_size=2), max_size=2),
    first=st.none() | st.none() | st.tuples(STATUSES, HEADERS),
    fails=st.sampled_from([False, False, False, True]),
)

# --- what is to come of it, from the standards alone -----------------------------------------------------


def text(word: str) -> str:
    """Return what a str holds, whatever it says."""
    return str.__str__(word)


def is_good_status(status: object) -> bool:
    return isinstance(status, str) and bool(
        re.fullmatch(r"(101|[2-9][0-9]{2})( [\t\x20-\x7e\x80-\xff]*)?", text(status))
    )


def are_good_fields(fields: object) -> bool:
    if not isinstance(fields, list) or not all(
        isinstance(field, tuple) and len(field) == 2 for field in fields
    ):
        return False
    lengths = set()
    for name, value in fields:
        if not (isinstance(name, str) and isinstance(value, str)):
            return False
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text(name)):
            return False
        if not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", text(value)):
            return False
        if text(name).lower() == "content-length":
            digits = text(value).strip(" \t")
            if not re.fullmatch("[0-9]{1,19}", digits, re.ASCII) or int(digits) >= 1 << 63:
                return False
            lengths.add(int(digits))
    return len(lengths) < 2


def are_good_hints(fields: list[Any]) -> bool:
    """Return whether these may go out; gunicorn takes bytes for names and values too."""
    as_text = [
        tuple(word.decode("latin-1") if isinstance(word, bytes) else word for word in field)
        for field in fields
    ]
    return are_good_fields(as_text)


def is_good(told: Dictation) -> bool:
    return (
        is_good_status(told.status)
        and are_good_fields(told.headers)
        and (told.first is None or (is_good_status(told.first[0]) and are_good_fields(told.first[1])))
    )


def body_of(told: Dictation) -> bytes:
    body = b"".join(told.parts)
    return body + b"end" if told.how == "write and list" else body


# --- two other readers -----------------------------------------------------------------------------------


class Read:
    """One final response, with those before it, as h11 reads it."""

    def __init__(self, answer: bytes, method: str) -> None:
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(answer)
        reader.receive_data(b"")
        self.interim: list[h11.InformationalResponse] = []
        self.body = b""
        self.is_whole = False
        self.rest = b""
        while True:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError:  # the connection ended before the response did
                assert reader.their_state is h11.ERROR
                return
            if isinstance(event, h11.InformationalResponse):
                self.interim.append(event)
            elif isinstance(event, h11.Response):
                self.final = event
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.is_whole = True
                self.rest = reader.trailing_data[0]
                return
            else:
                return

    def fields(self) -> list[tuple[str, str]]:
        return [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self.final.headers
        ]


class Canned:
    """A socket for http.client, which has all that comes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def standard_library(answer: bytes, method: str) -> tuple[int, email.message.Message, bytes, bool]:
    """Return status, fields, body, and whether it was whole, as http.client reads them."""
    while re.match(rb"HTTP/1.1 103 ", answer):  # of 1xx it knows 100 alone
        answer = answer.partition(b"\r\n\r\n")[2]
    response = http.client.HTTPResponse(cast("socket.socket", Canned(answer)), method=method)
    response.begin()
    try:
        return response.status, response.headers, response.read(), True
    except http.client.IncompleteRead as error:
        return response.status, response.headers, error.partial, False


# --- the test ---------------------------------------------------------------------------------------------


def ask(server: LiveServer, told: Dictation, method: str, version: str) -> bytes:
    """Return all that comes for two requests in one."""
    data = pickle.dumps(told)
    fields = ["Connection: keep-alive"] if version == "1.0" else []
    with server.connect() as peer:
        peer.send(
            head("/", f"Content-Length: {len(data)}", *fields, method=method, version=version)
            + data
            + head("/next", "Connection: close")
        )
        return peer.read_to_end()


def is_next(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n") and answer.endswith(b"\r\n\r\nnext")


def check(server: LiveServer, told: Dictation, method: str = "GET", version: str = "1.1") -> None:
    answer = ask(server, told, method, version)
    hints_are_good = version == "1.0" or all(are_good_hints(fields) for fields in told.hints)
    good = is_good(told) and hints_are_good
    code = int(text(told.status)[:3]) if good else 500
    if code < 200:
        # Not a final response: the connection ends behind it, and the client knows that none came.
        assert b"\r\n\r\n" not in answer.replace(b"\r\n\r\n", b"", 1 + len(told.hints) * (version != "1.0"))
        assert b"X-Injected" not in answer
        return
    read = Read(answer, method)
    names = [name for name, _ in read.fields()]
    assert read.final.status_code == code
    assert "x-injected" not in names
    assert read.rest == b"" or is_next(read.rest), read.rest
    assert read.rest or answer.count(b"\r\n\r\nnext") == 0
    for interim in read.interim:
        assert interim.status_code == 103
        assert b"x-injected" not in dict(interim.headers)
    if hints_are_good and version != "1.0":
        assert len(read.interim) == len(told.hints)

    status, fields, body, is_whole = standard_library(answer, method)
    assert status == code
    assert [name.lower() for name in fields] == names
    assert body == read.body
    assert is_whole == read.is_whole

    if not good:
        assert read.body == (b"" if method == "HEAD" else PAGE)
        assert set(names) == {"content-type", "content-length", "connection", "date", "server"}
        assert read.rest == b""
        return
    kept = [(text(name).lower(), text(value).strip(" \t")) for name, value in told.headers]
    kept = [field for field in kept if field[0] not in HOP_BY_HOP]
    lengths = [value for name, value in kept if name == "content-length"]
    others = [field for field in kept if field[0] != "content-length"]
    assert [field for field in read.fields() if field[0] not in OURS] == [
        field for field in others if field[0] not in OURS
    ]
    assert names.count("content-length") <= 1
    assert names.count("date") >= 1
    whole = body_of(told)
    if method == "HEAD" or code in (204, 304):
        assert read.body == b""
        assert "transfer-encoding" not in names
        return
    length = int(lengths[0]) if lengths else len(whole)
    fails = told.fails and told.how == "generator"
    assert read.body == whole[:length]
    if len(whole) < length or (fails and not lengths):
        assert read.rest == b""
        if lengths or "transfer-encoding" in names:
            assert not read.is_whole
    else:
        assert read.is_whole


METHODS = st.sampled_from(["GET", "GET", "POST", "HEAD"])
VERSIONS = st.sampled_from(["1.1", "1.1", "1.1", "1.0"])


@FUZZ
@given(DICTATIONS, METHODS, VERSIONS)
@example(Dictation(headers=[(Liar("X-A"), "b"), ("X-B", Liar("c"))], parts=[b"body"]), "GET", "1.1")
@example(Dictation(status=Liar("200 OK"), parts=[b"body"]), "GET", "1.1")
@example(Dictation(status=Word.OK, headers=[(Word.NAME, Word.OK)], parts=[LiarBytes(b"body")]), "GET", "1.1")
@example(Dictation(headers=[("Content-Length", "4"), ("content-length", "4")], parts=[b"body"]), "GET", "1.1")
@example(Dictation(headers=[("X-A", "\ud800")]), "GET", "1.1")
@example(Dictation(hints=[[("Link", "a\r\nX-Injected: 1")]]), "GET", "1.1")
@example(
    Dictation(headers=[("Transfer-Encoding", "chunked")], parts=[b"0\r\n\r\n" + INJECTED.encode()]),
    "GET",
    "1.1",
)
@example(
    Dictation(status="304 x", headers=[("Content-Length", "9")], parts=[INJECTED.encode()]), "GET", "1.1"
)
@example(Dictation(headers=[("Content-Length", "1")], parts=[b"a" + INJECTED.encode()]), "GET", "1.1")
def test_no_app_breaks_framing(server: LiveServer, told: Dictation, method: str, version: str) -> None:
    # An exception before anything was sent makes it a 500, which is not what this is about.
    told.fails = told.fails and bool(b"".join(told.parts))
    check(server, told, method, version)
