"""PEP 3333 and the framing of responses, as a client sees them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.apps import pep3333
from tests.live import DEADLINE, LiveServer, head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live import Peer, Reply

BIG = b"0123456789abcdef" * (5 * 65536)
NEXT = b"GET /list HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.pep3333:app") as running:
        running.allow_traceback = True  # many of these applications fail on purpose
        yield running


def get(server: LiveServer, target: str, *, method: str = "GET", version: str = "1.1") -> Reply:
    with server.connect() as peer:
        return peer.request(head(target, method=method, version=version), method)


def stays_open(peer: Peer) -> None:
    """Check that the connection is in step: one more request, and its own response."""
    reply = peer.request(NEXT)
    assert (reply.status, reply.body) == (200, b"hello world"), reply


def is_closed(peer: Peer) -> None:
    assert peer.read_to_end() == b""


# --- framing ------------------------------------------------------------------------------------------

BODIES = [
    # path, body, framing on 1.1
    ("list", b"hello world", "length"),
    ("list-empty", b"", "length"),
    ("list-of-empty", b"", "length"),
    ("tuple", b"hello", "length"),
    ("generator", b"abcdef", "chunked"),
    ("iterator-class", b"hello", "chunked"),
    ("getitem", b"old-style", "chunked"),
    ("big-pieces", b"".join(bytes([65 + n]) * 100_000 for n in range(5)), "chunked"),
    ("big", BIG, "length"),
    ("big-generator", BIG, "chunked"),
    ("exact-generator", b"hello", "length"),
    ("lazy", b"lazy", "chunked"),
    ("write", b"one two three four", "chunked"),
    ("write-length", b"hello", "length"),
    ("write-only", b"all of it", "chunked"),
    ("write-big", BIG, "chunked"),
    ("file", pep3333.CONTENT, "length"),
    ("file-counted", pep3333.CONTENT, "length"),
    ("file-length", pep3333.CONTENT, "length"),
    ("file-offset", pep3333.CONTENT[100_000:], "length"),
    ("file-part", pep3333.CONTENT[8:24], "length"),
    ("file-at-end", b"", "length"),
    ("file-bytesio", b"in memory" * 1000, "chunked"),
    ("file-like", b"like a file" * 1000, "chunked"),
    ("file-like-length", b"like a file", "length"),
    ("file-pipe", b"through a pipe", "chunked"),
    ("file-iterated", pep3333.CONTENT.lower(), "chunked"),
]
IDS = [row[0] for row in BODIES]


@pytest.mark.parametrize(("path", "body", "framing"), BODIES, ids=IDS)
def test_body(server: LiveServer, path: str, body: bytes, framing: str) -> None:
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}"))
        assert reply.status in (200, 201)
        assert reply.body == body
        assert reply.framing == framing
        assert reply.get("Connection") is None
        stays_open(peer)


@pytest.mark.parametrize(("path", "body", "framing"), BODIES, ids=IDS)
def test_body_http10(server: LiveServer, path: str, body: bytes, framing: str) -> None:
    """RFC 9112 §6.1: never chunked to HTTP/1.0; without a length, the end is the connection's."""
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}", version="1.0"))
        assert reply.body == body
        assert reply.framing == ("length" if framing == "length" else "close")
        assert reply.get("Connection") in ("close", None)
        is_closed(peer)


@pytest.mark.parametrize(("path", "body", "framing"), BODIES, ids=IDS)
def test_body_http10_keep_alive(server: LiveServer, path: str, body: bytes, framing: str) -> None:
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}", "Connection: keep-alive", version="1.0"))
        assert reply.body == body
        if framing == "length":
            assert (reply.get("Connection") or "").lower() == "keep-alive"
            stays_open(peer)
        else:
            assert reply.framing == "close"


@pytest.mark.parametrize(("path", "body", "framing"), BODIES, ids=IDS)
def test_head(server: LiveServer, path: str, body: bytes, framing: str) -> None:
    """RFC 9110 §9.3.2: the fields of GET, no body; a Content-Length that is sent is the true one."""
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}", method="HEAD"), "HEAD")
        length = reply.get("Content-Length")
        assert length is None or int(length) == len(body)
        if framing == "length" and body:
            assert length is not None
        stays_open(peer)


@pytest.mark.parametrize(("path", "body", "framing"), BODIES, ids=IDS)
def test_pipelined(server: LiveServer, path: str, body: bytes, framing: str) -> None:
    with server.connect() as peer:
        peer.send(head(f"/{path}") * 3 + head(f"/{path}", method="HEAD") + NEXT)
        for _ in range(3):
            assert peer.response().body == body
        assert peer.response("HEAD").status in (200, 201)
        assert peer.response().body == b"hello world"


@pytest.mark.parametrize("path", ["generator-empty", "generator-of-empty"])
def test_empty_generator(server: LiveServer, path: str) -> None:
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}"))
        assert (reply.status, reply.body) == (200, b"")
        stays_open(peer)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("204", 204),
        ("204-body", 204),
        ("204-generator", 204),
        ("304", 304),
        ("304-body", 304),
        ("close-204", 204),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_body(server: LiveServer, path: str, status: int, method: str) -> None:
    """RFC 9110 §6.4.1: 204 and 304 have no content; RFC 9112 §6.1: nor framing that a 204 must not have."""
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}", method=method), method)
        assert reply.status == status
        assert reply.get("Transfer-Encoding") is None
        if status == 204:
            assert reply.get("Content-Length") is None
        else:
            assert reply.get("ETag") == '"x"'
        stays_open(peer)


@pytest.mark.parametrize("path", ["long", "long-generator", "file-like-long"])
def test_more_than_content_length_is_cut(server: LiveServer, path: str) -> None:
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}"))
        assert reply.get("Content-Length") == "5"
        assert reply.body == b"hello"
        peer.send(NEXT)
        rest = peer.read_to_end() if reply.get("Connection") == "close" else peer.read_until(b"hello world")
        assert not rest or rest.startswith(b"HTTP/1.1 200 OK\r\n")
    server.wait_for_log(r"(?i)content-length")


@pytest.mark.parametrize("path", ["short", "short-generator", "short-empty", "file-short"])
def test_less_than_content_length_closes(server: LiveServer, path: str) -> None:
    """The connection is never kept: the client would take the next response for the missing bytes."""
    start = len(server.log.lines)
    with server.connect() as peer:
        peer.send(head(f"/{path}") + NEXT)
        answer = peer.read_to_end()
    assert answer.count(b"HTTP/1.1") == 1
    length = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert len(answer.partition(b"\r\n\r\n")[2]) < length
    server.wait_for_log(r"(?i)content-length", start=start)


def test_closed_when_asked(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(head("/list", "Connection: close") + NEXT)
        assert peer.response().get("Connection") == "close"
        is_closed(peer)


def test_closed_when_the_app_asks(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(head("/close-wanted") + NEXT)
        assert peer.response().get("Connection") == "close"
        is_closed(peer)


@pytest.mark.parametrize("path", ["big", "big-generator", "file"])
def test_slow_reader_gets_every_byte(server: LiveServer, path: str) -> None:
    body = pep3333.CONTENT if path == "file" else BIG
    with server.connect(receive_buffer=4096) as peer:
        peer.send(head(f"/{path}"))
        # Others are served while this one takes its time.
        assert server.get("/list").body == b"hello world"
        assert peer.response().body == body


def test_slow_reader_of_written_pieces(server: LiveServer) -> None:
    """write() returns when its piece is on its way: the application waits for the client, as PEP 3333 has it."""
    with server.connect(receive_buffer=4096) as peer:
        peer.send(head("/write-big"))
        assert peer.response().body == BIG


# --- heads --------------------------------------------------------------------------------------------


def test_date_and_server(server: LiveServer) -> None:
    """RFC 9110 §5.6.7: IMF-fixdate; RFC 9110 §6.6.1: in every response of a server with a clock."""
    from email.utils import parsedate_to_datetime

    reply = server.get("/list")
    date = reply.get("Date")
    assert date
    assert date.endswith(" GMT")
    assert parsedate_to_datetime(date).year > 2000


def test_own_date_and_server(server: LiveServer) -> None:
    reply = server.get("/own-date")
    assert reply.get("Date") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert reply.get("Server") == "mine"


def test_repeated_and_latin1_fields(server: LiveServer) -> None:
    assert server.get("/cookies").all("Set-Cookie") == ["a=1", "b=2"]
    assert server.get("/latin1").get("X-Name") == "caf\xe9"


def test_hop_by_hop_dropped(server: LiveServer) -> None:
    with server.connect() as peer:
        reply = peer.request(head("/hop-by-hop"))
        assert reply.body == b"hello"
        assert reply.framing == "length"
        assert reply.get("X-Kept") == "1"
        for name in ("Keep-Alive", "Proxy-Authenticate", "TE", "Trailer", "Transfer-Encoding"):
            assert reply.get(name) is None, name
        assert "X-Foo" not in (reply.get("Connection") or "")


@pytest.mark.parametrize(
    ("path", "line"), [("reason", "HTTP/1.1 299 Quite A Reason, Indeed"), ("reason-empty", "HTTP/1.1 200 ")]
)
def test_reason(server: LiveServer, path: str, line: str) -> None:
    assert server.get(f"/{path}").head.decode().splitlines()[0] == line


def is_plain_500(reply: Reply) -> None:
    assert reply.status == 500, reply
    assert reply.framing == "length"
    assert reply.get("Connection") == "close"
    assert reply.get("X-Evil") is None
    assert reply.get("X-Leak") is None
    for secret in (b"Traceback", b"never seen", b"secret", b"Error:", b".py"):
        assert secret not in reply.body, reply


BAD = [f"bad-header-{name}" for name in pep3333.BAD_HEADERS] + [
    f"bad-status-{name}" for name in pep3333.BAD_STATUS
]


@pytest.mark.parametrize("path", [*BAD, "bad-headers-dict", "bad-headers-tuple"])
def test_bad_head_from_the_app(server: LiveServer, path: str) -> None:
    """A clean 500, a line in the log, and a worker that lives."""
    before = len(server.log.lines)
    with server.connect() as peer:
        is_plain_500(peer.request(head(f"/{path}")))
        is_closed(peer)
    server.wait_for_log("Error", start=before)
    if path.startswith("bad-header-") and path.endswith("-value"):
        server.wait_for_log("X-Evil", start=before)
    assert server.get("/list").status == 200
    assert sum("Booting worker" in line for line in server.log.lines) == 1


# --- start_response, write, exceptions ----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "raises",
        "raises-after-start",
        "system-exit",
        "start-twice",
        "never",
        "lazy-never",
        "fails-first",
        "fails-after-empty",
        "none",
        "number",
        "text",
        "bytearray",
        "bytes",
        "write-text",
        "close-fails-first",
        "close-not-bytes",
        "close-start-response-fails",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_failure_before_the_head(server: LiveServer, path: str, method: str) -> None:
    with server.connect() as peer:
        is_plain_500(peer.request(head(f"/{path}", "Content-Length: 0", method=method)))
        is_closed(peer)
    assert server.get("/list").status == 200


@pytest.mark.parametrize(
    ("path", "begun"),
    [
        ("fails-later", b"first"),
        ("text-later", b"ok"),
        ("exc-info-after", b"begun"),
        ("write-fails", b"begun"),
        ("close-fails-later", b"first"),
    ],
)
def test_failure_after_the_head(server: LiveServer, path: str, begun: bytes) -> None:
    """What is sent is sent; the end must not look like one: RFC 9112 §8."""
    with server.connect() as peer:
        peer.send(head(f"/{path}") + NEXT)
        answer = peer.read_to_end()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert begun in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    for secret in (b"Traceback", b"never", b"Never", b"RuntimeError"):
        assert secret not in answer


def test_failure_is_logged(server: LiveServer) -> None:
    start = len(server.log.lines)
    get(server, "/raises")
    server.wait_for_log("RuntimeError: secret-of-the-application", start=start)
    assert any("Traceback" in line for line in server.log.lines[start:])


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("exc-info-before", 500, b"error page"),
        ("exc-info-first", 502, b"error page"),
        ("lazy-empty-first", 503, b"sorry"),
    ],
)
def test_exc_info_replaces_the_head(server: LiveServer, path: str, status: int, body: bytes) -> None:
    with server.connect() as peer:
        reply = peer.request(head(f"/{path}"))
        assert (reply.status, reply.body) == (status, body)
        assert reply.get("X-First") is None
        stays_open(peer)


def test_errors_stream(server: LiveServer) -> None:
    assert server.get("/errors").body == b"ok"
    server.wait_for_log("the application says: gr")
    server.wait_for_log("and this")


def test_environ_is_the_requests_own(server: LiveServer) -> None:
    with server.connect() as peer:
        for _ in range(3):
            assert peer.request(head("/environ-is-mine")).body == b"fresh"


def test_kept_objects_are_not_reused(server: LiveServer) -> None:
    with server.connect() as peer:
        for size in (0, 5, 20_000):
            reply = peer.request(
                head("/keep-everything", f"Content-Length: {size}", method="POST") + b"x" * size
            )
            assert reply.body == b"%d distinct" % size


# --- close() -------------------------------------------------------------------------------------------


def closed(server: LiveServer) -> dict[str, int]:
    found: dict[str, int] = json.loads(server.get("/closed").body)
    return found


def eventually_closed(server: LiveServer, name: str, before: int) -> int:
    """Ask until close() was called: the server sees the end of a connection in its own time."""
    end = time.monotonic() + DEADLINE
    while (now := closed(server).get(name, 0)) == before:
        assert time.monotonic() < end, "close() was not called"
    return now


@pytest.mark.parametrize(
    "name",
    [
        "close",
        "close-empty",
        "close-generator",
        "close-fails-first",
        "close-fails-later",
        "close-204",
        "close-not-bytes",
        "close-start-response-fails",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_once(server: LiveServer, name: str, method: str) -> None:
    before = closed(server).get(name, 0)
    server.exchange(head(f"/{name}", "Connection: close", method=method))
    assert closed(server)[name] == before + 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("path", "key"), [("file-counted", "file"), ("file-like", "file-like")])
def test_file_is_closed_once(server: LiveServer, path: str, key: str, method: str) -> None:
    before = closed(server).get(key, 0)
    get(server, f"/{path}", method=method)
    assert closed(server)[key] == before + 1


def test_close_is_called_when_the_client_goes(server: LiveServer) -> None:
    before = closed(server).get("close-endless", 0)
    with server.connect() as peer:
        peer.send(head("/close-endless"))
        peer.read_until(b"xxxx")
    assert eventually_closed(server, "close-endless", before) == before + 1


def test_endless_head_ends(server: LiveServer) -> None:
    before = closed(server).get("close-endless", 0)
    with server.connect() as peer:
        assert peer.request(head("/close-endless", method="HEAD"), "HEAD").status == 200
        stays_open(peer)
    assert closed(server)["close-endless"] == before + 1
