"""What HTTP/1.1 has beyond requests and bodies, and the clients of HTTP/1.0 that are still about."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps.ranges import CONTENT
from tests.cases_at_once import for_each
from tests.live import DEADLINE, ENGINE, TLS, LiveServer, head
from tests.processes import eventually
from tests.programs import Port, needs, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.gate import Gate

    Start = Callable[..., LiveServer]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = "Expect: 100-continue"


@pytest.fixture(scope="module")
def echo() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.echo:app", "--access-logfile", "-") as server:
        yield server


@pytest.fixture(scope="module")
def recording() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.recording:app") as server:
        yield server


@pytest.fixture(scope="module")
def ranges() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.ranges:app") as server:
        yield server


def post(target: str, *fields: str) -> bytes:
    return head(target, *fields, method="POST")


# --- 100-continue, in every order (RFC 9110 §10.1.1) ------------------------------------------------------


def test_the_first_is_answered_before_the_second_is_asked_for(recording: LiveServer) -> None:
    with recording.connect() as peer:
        peer.send(head("/1") + post("/2", EXPECT, "Content-Length: 5"))
        assert peer.response().body == b"/1 "
        assert peer.read_until(b"\r\n\r\n") == CONTINUE
        peer.send(b"hello" + head("/3"))
        assert peer.response().body == b"/2 hello"
        assert peer.response().body == b"/3 "


def test_each_is_asked_for_once(recording: LiveServer) -> None:
    with recording.connect() as peer:
        for number in range(3):
            peer.send(post(f"/{number}", EXPECT, "Transfer-Encoding: chunked"))
            assert peer.read_until(b"\r\n\r\n") == CONTINUE
            peer.send(b"2\r\nab\r\n", b"1\r\nc\r\n", b"0\r\n\r\n")
            assert peer.response().body == b"/%d abc" % number


@pytest.mark.parametrize("framed", [("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")])  # fmt: skip
def test_a_client_need_not_wait(recording: LiveServer, framed: tuple[str, bytes]) -> None:
    """Whether it is asked is open then: what it sends is the body either way."""
    field, body = framed
    request = post("/", EXPECT, field)
    cuts = (0, len(request) - 1, len(request), len(request) + 1, len(request) + len(body))

    def check(cut: int) -> None:
        with recording.connect() as peer:
            data = request + body + head("/next")
            peer.send(data[:cut], data[cut:])
            reply = peer.response()
            if reply.status == 100:
                reply = peer.response()
            assert reply.body == b"/ hello"
            assert peer.response().body == b"/next "

    for_each([(str(cut), cut) for cut in cuts], check)


def test_what_will_be_refused_is_not_asked_for(live: Start) -> None:
    server = live("tests.apps.recording:app", "--limit-request-body", "10")
    for fields, status in (
        (("Content-Length: 11",), 413),
        (("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (("Content-Length: 5", "Bad Name: x"), 400),
        (("Transfer-Encoding: gzip",), 501),
    ):
        answer = server.exchange(post("/", EXPECT, *fields))
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"100 Continue" not in answer
    assert server.exchange(post("/", "Expect: a-miracle", "Content-Length: 5")).startswith(b"HTTP/1.1 417 ")
    assert json.loads(server.get("/seen").body.partition(b" ")[2]) == []


# --- what a request is not before it is whole ---------------------------------------------------------------


@pytest.mark.parametrize("framed", [("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n")])  # fmt: skip
def test_no_app_is_called_for_a_part_of_a_request(recording: LiveServer, framed: tuple[str, bytes]) -> None:
    whole = post(f"/part-{len(framed[1])}", framed[0]) + framed[1]

    def check(cut: int) -> None:
        with recording.connect() as peer:
            peer.send(whole[:cut])

    for_each([(str(cut), cut) for cut in range(len(whole))], check)
    assert f"/part-{len(framed[1])}".encode() not in recording.get("/seen").body
    assert recording.request(whole).body.endswith(b" hello")


# --- pipelining (RFC 9112 §9.3.2) ---------------------------------------------------------------------------


@pytest.mark.skipif("gevent" in ENGINE, reason="whoever waits at the gate holds all greenlets")
@pytest.mark.parametrize("closes", [False, True])
def test_no_app_is_called_before_the_one_before_has_answered(live: Start, gate: Gate, closes: bool) -> None:
    """Nor at all, if that was the last: what a thread has read ahead is thrown away (CVE-2024-49768)."""
    server = live("tests.apps.recording:app", "--threads", "4")
    with server.connect() as peer:
        fields = ["Connection: close"] if closes else []
        peer.send(head(f"/wait/1?{gate.path}", *fields) + head("/behind"), head("/last", "Connection: close"))
        gate.wait_for_arrival()
        assert b"/behind" not in server.get("/seen").body
        gate.open()
        assert peer.response().body == b"/wait/1 "
        if not closes:
            assert [peer.response().body for _ in range(2)] == [b"/behind ", b"/last "]
        assert peer.is_closed()
    assert (b"/behind" in server.get("/seen").body) is not closes


# --- names with an underscore (CVE-2015-0219) ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("header_map", "status", "seen"),
    [("drop", 200, "good"), ("refuse", 400, None), ("dangerous", 200, "good, evil")],
)
def test_underscores(live: Start, header_map: str, status: int, seen: str | None) -> None:
    server = live("tests.apps.echo:app", "--header-map", header_map, "--forwarded-allow-ips", "192.0.2.1")
    reply = server.get("/", "X-User: good", "X_User: evil")
    assert reply.status == status
    if seen is not None:
        assert json.loads(reply.body)["environ"]["HTTP_X_USER"] == seen
        # One that frames, spelled so, frames nothing whatever the setting: the next request is the next one.
        with server.connect() as peer:
            peer.send(head("/1", "Content_Length: 5", "Transfer_Encoding: chunked") + head("/2"))
            for path in ("/1", "/2"):
                assert json.loads(peer.response().body)["environ"]["PATH_INFO"] == path


# --- ranges are the app's (RFC 9110 §14) --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/own", "/werkzeug"])
def test_ranges(ranges: LiveServer, path: str) -> None:
    size = len(CONTENT)
    with ranges.connect() as peer:
        for first, last in ((0, 0), (8, 23), (100_000, size - 1), (0, size - 1), (size - 1, size + 50)):
            reply = peer.request(head(path, f"Range: bytes={first}-{last}"))
            assert (reply.status, reply.reason.lower()) == (206, "partial content")
            assert reply.body == CONTENT[first : last + 1]
            assert reply.framing == "length"
            assert reply.get("Content-Range") == f"bytes {first}-{min(last, size - 1)}/{size}"
        reply = peer.request(head(path, f"Range: bytes={size}-{size + 5}"))
        assert (reply.status, reply.get("Content-Range")) == (416, f"bytes */{size}")
        reply = peer.request(head(path, "Range: bytes=8-23", method="HEAD"), "HEAD")
        assert (reply.status, reply.get("Content-Length")) == (206, "16")
        assert peer.request(head(path, "Range: bytes=0-7")).body == CONTENT[:8]


def test_a_file_that_becomes_shorter_ends_the_connection(ranges: LiveServer) -> None:
    """The client must not take the next response for what is missing of this one."""
    with ranges.connect(receive_buffer=4096) as peer:
        peer.send(head("/shrinks") + head("/own", "Range: bytes=0-7"))
        assert f"Content-Length: {64 << 20}".encode() in peer.read_until(b"\r\n\r\n")
        assert ranges.get("/shrink").body == b"done"
        rest = b""
        try:
            rest = peer.read_to_end()
        except (ConnectionResetError, ssl.SSLError):
            pass
        assert len(rest) < 64 << 20
        assert b"HTTP/1.1" not in rest


# --- real clients ------------------------------------------------------------------------------------------


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE + 10
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curl(*arguments: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    trust = ["--insecure"] if TLS is not None else []
    return run("curl", "--silent", "--show-error", "--max-time", str(DEADLINE), *trust, *arguments)


def test_curl_asks_as_a_proxy_is_asked(echo: LiveServer) -> None:
    """RFC 9112 §3.2.2: the target is absolute, and says the host."""
    if TLS is not None:
        pytest.skip("curl speaks plain HTTP to a proxy")
    seen = json.loads(curl("--proxy", echo.url, "http://www.example.org:8080/pub?x=1"))["environ"]
    assert seen["RAW_URI"] == "http://www.example.org:8080/pub?x=1"
    assert (seen["HTTP_HOST"], seen["PATH_INFO"]) == ("www.example.org:8080", "/pub")


def test_curl_asks_for_the_server_itself(echo: LiveServer) -> None:
    """RFC 9112 §3.2.4."""
    seen = json.loads(curl("--noproxy", "*", "-X", "OPTIONS", "--request-target", "*", echo.url))
    assert (seen["method"], seen["environ"]["RAW_URI"]) == ("OPTIONS", "*")


def test_curl_takes_hints_and_ranges(live: Start, ranges: LiveServer) -> None:
    server = live("tests.apps.streaming:app")
    told = curl("--noproxy", "*", "--include", f"{server.url}/hints")
    assert [line[9:12] for line in told.splitlines() if line.startswith("HTTP/1.1 ")] == ["103", "103", "200"]
    assert told.endswith("after hints")
    part = curl("--noproxy", "*", "--range", "16-31", f"{ranges.url}/own")
    assert part.encode() == CONTENT[16:32]


@pytest.mark.skipif(shutil.which("ab") is None, reason="ab is not installed")
@pytest.mark.parametrize("options", [(), ("-k",), ("-k", "-i"), ("-p", __file__, "-T", "text/plain")])
def test_ab(echo: LiveServer, options: tuple[str, ...]) -> None:
    """It speaks HTTP/1.0, as nothing else does today: with a length it keeps the connection, if asked to."""
    if TLS is not None:
        pytest.skip("over plain sockets")
    told = run("ab", "-q", "-l", "-n", "200", "-c", "10", "-s", str(int(DEADLINE)), *options, f"{echo.url}/")
    found: dict[str, Any] = dict(re.findall(r"^([\w -]+): +(\d+)", told, re.MULTILINE))
    assert found["Complete requests"] == "200", told
    assert "Non-2xx responses" not in found
    assert found["Failed requests"] == "0", told
    assert found.get("Keep-Alive requests", "0") == ("200" if "-k" in options else "0")


@needs("haproxy")
@pytest.mark.parametrize("check", ["option httpchk", "option httpchk HEAD /", "option httpchk GET /health"])
def test_health_checks_of_old(echo: LiveServer, tmp_path: Path, check: str) -> None:
    """HAProxy's own are HTTP/1.0 without Host, and OPTIONS unless told otherwise."""
    if TLS is not None:
        pytest.skip("over plain sockets")
    port = Port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout connect 10s\n  timeout client 10s\n  timeout server 10s\n  timeout check 60s\n"
        f"listen front\n  bind {port.text}\n  {check}\n"
        f"  server one {echo.url.partition('//')[2]} check inter 100ms fall 1 rise 1\n"
    )
    line = rf'"{[*check.split(), "OPTIONS"][2]} \S+ HTTP/1\.0" 200 '
    before = len(re.findall(line, echo.stdout.text))
    with running(["haproxy", "-db", "-f", f"{tmp_path}/haproxy.cfg"], tmp_path / "output", port):
        eventually(lambda: len(re.findall(line, echo.stdout.text)) > before + 2)
    assert "is DOWN" not in (tmp_path / "output").read_text()
