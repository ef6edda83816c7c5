"""TLS over real sockets: whole and in pieces, good and bad clients, and certificates that change."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.certificates import OPENSSL, Authority, Issued, needs_openssl, own_certificates
from tests.e2e.test_websocket import TEXT, Frame, close, frame, required, say, websocket
from tests.live import DEADLINE, ENGINE, ROOT, LiveServer, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    needs_openssl,
    own_certificates,
]

ECHO = "tests.apps.echo:app"
PEP3333 = "tests.apps.pep3333:app"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server(authority: Authority, issued: Issued) -> Iterator[LiveServer]:
    arguments = (*issued.arguments, "--log-level", "debug", "--worker-connections", "2000")
    with LiveServer(ECHO, *arguments, tls=authority.client()) as running:
        yield running


class Inspector:
    """A client whose records can be cut up: what it sends and receives goes through memory."""

    def __init__(self, server: LiveServer, context: ssl.SSLContext) -> None:
        self.peer = Peer(server.address)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.peer.sock.close()

    def feed(self) -> bool:
        """Take what comes; return False at the end of the stream."""
        data = self.peer.sock.recv(65536)
        self.incoming.write(data) if data else self.incoming.write_eof()
        return bool(data)

    def say(self, data: bytes = b"", step: int = 0) -> None:
        """Send what is to be sent, `step` bytes at a time."""
        if data:
            self.tls.write(data)
        sealed = self.outgoing.read()
        step = step or len(sealed) or 1
        for start in range(0, len(sealed), step):
            self.peer.sock.sendall(sealed[start : start + step])

    def shake_hands(self, step: int = 0) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.say(step=step)
                assert self.feed()
            else:
                self.say(step=step)
                return

    def read_until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            try:
                piece = self.tls.read(65536)
                assert piece, data
                data += piece
            except ssl.SSLWantReadError:
                assert self.feed(), data
        return data

    def read_farewell(self) -> bytes:
        """Return all until the server says by TLS that nothing more comes."""
        data = b""
        while True:
            try:
                piece = self.tls.read(65536)
            except ssl.SSLWantReadError:
                assert self.feed(), "the end came without close_notify"
            except ssl.SSLZeroReturnError:
                return data
            else:
                if not piece:
                    return data
                data += piece


# --- requests --------------------------------------------------------------------------------------------


def test_environ(server: LiveServer) -> None:
    environ = json.loads(server.get("/x").body)["environ"]
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SERVER_PORT"] == str(server.address[1])
    assert "HTTPS" not in environ  # as gunicorn
    assert server.url.startswith("https://")


def test_what_is_negotiated(server: LiveServer, authority: Authority) -> None:
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Peer(server.address, tls=context) as peer:
        assert isinstance(peer.sock, ssl.SSLSocket)
        assert peer.sock.selected_alpn_protocol() == "http/1.1"
        assert peer.sock.version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Peer(server.address, tls=context) as peer:
        assert isinstance(peer.sock, ssl.SSLSocket)
        assert peer.sock.version() == "TLSv1.2"
        assert peer.request(GET).status == 200


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_records_in_pieces(server: LiveServer, authority: Authority, step: int, version: str) -> None:
    context = authority.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with Inspector(server, context) as client:
        client.shake_hands(step)
        for number in range(3):
            client.say(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number, step)
            assert f'"/{number}"'.encode() in client.read_until(b"}")


def test_request_with_the_last_words_of_the_handshake(server: LiveServer, authority: Authority) -> None:
    with Inspector(server, authority.client()) as client:
        while True:
            try:
                client.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.say()
                assert client.feed()
        client.say(GET + GET)  # in one packet with Finished
        client.read_until(b"}")


def test_pipelined(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(200)))
        for number in range(200):
            assert json.loads(peer.response().body)["environ"]["PATH_INFO"] == f"/{number}"


def test_resumption(server: LiveServer, authority: Authority) -> None:
    context = authority.client()
    with Peer(server.address, tls=context) as peer:
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.request(GET)  # tickets have come with it
        session = peer.sock.session
    sock = context.wrap_socket(
        socket.create_connection(server.address, DEADLINE),  # type: ignore[arg-type]
        server_hostname="localhost",
        session=session,
    )
    with sock:
        assert sock.session_reused
        sock.sendall(GET)
        assert sock.recv(15) == b"HTTP/1.1 200 OK"


def test_s_client_reconnects(server: LiveServer, authority: Authority) -> None:
    """With `-reconnect` openssl connects five times more with the session of the first time."""
    host, port = server.url.removeprefix("https://").split(":")
    done = subprocess.run(
        [
            *(OPENSSL, "s_client", "-connect", f"{host}:{port}", "-CAfile", str(authority.certificate)),
            *("-tls1_2", "-reconnect", "-verify_return_error"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout.count("Reused, TLSv1.2") == 5, done.stdout + done.stderr
    assert "Verify return code: 0 (ok)" in done.stdout


# --- ends ------------------------------------------------------------------------------------------------


def test_farewell(server: LiveServer, authority: Authority) -> None:
    """RFC 8446 §6.1: the end is told by TLS, so that nobody can cut an answer short."""
    with Inspector(server, authority.client()) as client:
        client.shake_hands()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.read_farewell().startswith(b"HTTP/1.1 200 OK")


def test_client_that_has_said_all_is_answered(server: LiveServer, authority: Authority) -> None:
    with Inspector(server, authority.client()) as client:
        client.shake_hands()
        client.tls.write(GET)
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.say()  # request and close_notify at once; the socket stays open
        assert client.read_until(b"}").startswith(b"HTTP/1.1 200 OK")
        while client.feed():  # it is answered in kind, and the end of the socket comes by itself
            pass
        client.tls.unwrap()


def test_client_that_ends_without_a_word_is_answered(server: LiveServer, authority: Authority) -> None:
    with Inspector(server, authority.client()) as client:
        client.shake_hands()
        client.say(GET)
        client.peer.sock.shutdown(socket.SHUT_WR)
        assert client.read_farewell().startswith(b"HTTP/1.1 200 OK")


def test_error_reaches_a_client_that_still_sends(server: LiveServer) -> None:
    with server.connect() as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", *[b"x" * 10_000] * 20)
        assert peer.response().status == 400


# --- bodies ----------------------------------------------------------------------------------------------


def test_large_bodies_up_and_down(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued
) -> None:
    running = live(PEP3333, *issued.arguments, tls=authority.client())
    body = bytes(range(256)) * 20_000  # 5 MB: through the spool
    head = b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with running.connect() as peer:
        assert peer.request(head + body).text.split()[:2] == [str(len(body)), str(zlib.crc32(body))]
        reply = peer.request(b"GET /write-big HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reply.status == 200
        assert reply.body == b"0123456789abcdef" * (4096 * 80)


def test_kinds_of_responses(live: Callable[..., LiveServer], authority: Authority, issued: Issued) -> None:
    """The same bytes as without TLS, whatever a response is made of."""
    plain = live(PEP3333)
    secret = live(PEP3333, *issued.arguments, tls=authority.client())
    for path in ("/file", "/file-iterated", "/lazy", "/write"):
        expected, found = plain.get(path), secret.get(path)
        assert (found.status, found.framing, found.body) == (
            expected.status,
            expected.framing,
            expected.body,
        ), path


@pytest.mark.parametrize("path", ["/big", "/big-generator"])
def test_slow_readers_keep_nobody_waiting(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, path: str
) -> None:
    running = live(PEP3333, *issued.arguments, tls=authority.client())
    with running.connect(receive_buffer=4096) as slow:
        slow.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        slow.read_until(b"\r\n\r\n")
        assert running.get("/write").status == 200
        slow.send(GET)  # while its answer is on the way
        body = slow.read_exactly(5 << 20) if path == "/big" else slow.read_until(b"\r\n0\r\n\r\n")
        assert body.count(b"0123456789abcdef") > 300_000
        assert slow.response().status in (200, 404)


def test_a_body_asked_for_and_read_on_its_way(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued
) -> None:
    running = live(
        "tests.apps.streaming:app",
        "--no-request-buffering",
        *(() if ENGINE else ("--threads", "2")),
        *issued.arguments,
        tls=authority.client(),
    )
    with running.connect() as peer:
        peer.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert peer.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        peer.send(b"6\r\nfirst\n\r\n")
        assert b"first" in peer.read_until(b"first\n")
        peer.send(b"7\r\nsecond\n\r\n")
        assert b"second" in peer.read_until(b"second\n")
        peer.send(b"0\r\n\r\n")
        peer.read_until(b"\r\n0\r\n\r\n")


def test_websocket(live: Callable[..., LiveServer], authority: Authority, issued: Issued) -> None:
    """An app that takes the connection over goes on through TLS, and selectors see what lies in a record."""
    required("flask_sock")
    running = live(
        "tests.apps.websocket:app",
        *(() if ENGINE else ("--threads", "4")),
        *issued.arguments,
        tls=authority.client(),
        env={"FASTWSGI_TEST_PING_INTERVAL": "600"},  # so simple-websocket waits in a selector
    )
    with websocket(running, "/echo") as peer:
        say(peer, b"hello")
        say(peer, b"x" * 100_000)  # it reads 4096 bytes at a time, and a record has 16384
        peer.send(b"".join(frame(TEXT, b"%d" % number) for number in range(300)))  # in one record
        assert [Frame.read(peer).data for _ in range(300)] == [b"%d" % number for number in range(300)]
        close(peer)


# --- clients that do not do as they should -----------------------------------------------------------------


def test_plain_http_is_no_tls(server: LiveServer) -> None:
    start = len(server.log.lines)
    with Peer(server.address) as peer:
        peer.send(GET)
        assert b"HTTP/1.1" not in peer.read_to_end()  # an alert, or nothing
    server.wait_for_log(r"\[DEBUG\] TLS handshake with 127.0.0.1 failed: HTTP_REQUEST", start=start)


def test_tls_is_no_plain_http(live: Callable[..., LiveServer], authority: Authority) -> None:
    running = live(ECHO)
    with pytest.raises(ssl.SSLError):
        Peer(running.address, tls=authority.client())
    assert running.get("/next").status == 200


def test_an_old_version_is_refused(server: LiveServer, authority: Authority) -> None:
    """RFC 9325 §3.1.1: TLS 1.1 and older are not spoken."""
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        Peer(server.address, tls=context)


def test_half_done_handshakes_disturb_nobody(server: LiveServer, authority: Authority) -> None:
    hello = Inspector(server, authority.client())
    with pytest.raises(ssl.SSLWantReadError):
        hello.tls.do_handshake()
    first = hello.outgoing.read()
    hello.peer.sock.close()
    stuck = [Peer(server.address) for _ in range(300)]
    try:
        for number, peer in enumerate(stuck):
            peer.send(first[: number % (len(first) + 1)])
        for _ in range(20):
            assert server.get("/next").status == 200
    finally:
        for peer in stuck:
            peer.sock.close()


def test_handshakes_have_an_end(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued
) -> None:
    running = live(ECHO, *issued.arguments, "--header-timeout", "0.3", tls=authority.client())
    with Peer(running.address) as peer:
        peer.send(b"\x16\x03\x01")
        assert peer.is_closed()
    with Inspector(running, authority.client()) as client:
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        hello = client.outgoing.read()
        for octet in hello:  # drop by drop it is no sooner over
            client.peer.send(bytes([octet]))
            client.peer.sock.settimeout(0.02)
            try:
                assert client.peer.is_closed()
                break
            except TimeoutError:
                pass
        else:
            pytest.fail("it goes on for ever")
    assert running.get("/next").status == 200


# --- at start and at reload -----------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--check-config", "--workers=1"])
def test_a_mistake_ends_the_start(issued: Issued, option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastwsgi", "--certfile", str(issued.certificate), option, ECHO],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"Error: certfile = '.*\n", done.stderr), done.stderr
