"""What a proxy in front says, over real sockets: believed of some peers, and of others only shown to the app."""

from __future__ import annotations

import json
import re
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.certificates import Authority, needs_openssl, own_certificates
from tests.e2e.test_tls import Inspector
from tests.live import Peer, head

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live import LiveServer, Reply

    Start = Callable[..., LiveServer]

ECHO = "tests.apps.echo:app"
TOLD = ("X-Forwarded-Proto: https", "SCRIPT_NAME: /app", "X_Other: x")
SENT = b"PROXY TCP4 203.0.113.9 192.0.2.7 4711 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"
SENT_V2 = V2 + bytes([0x21, 0x11, 0, 15, 203, 0, 113, 9, 192, 0, 2, 7, 0x12, 0x67, 0, 80]) + b"TLV"
LOCAL = V2 + b"\x20\0\0\0"


def environ(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply
    seen: dict[str, Any] = json.loads(reply.body)["environ"]
    return seen


@pytest.mark.parametrize(
    ("bind", "allowed", "believed"),
    [
        ("127.0.0.1:0", None, True),  # as by default
        ("127.0.0.1:0", "192.0.2.0/24,127.0.0.0/8", True),
        ("127.0.0.1:0", "*", True),
        ("127.0.0.1:0", "192.0.2.1", False),
        ("127.0.0.1:0", "", False),
        ("unix", "192.0.2.1", True),  # as in gunicorn: whoever may open the file
    ],
)
def test_whom_fields_are_believed(
    live: Start, tmp_path: Path, bind: str, allowed: str | None, believed: bool
) -> None:
    args = () if allowed is None else ("--forwarded-allow-ips", allowed)
    server = live(ECHO, *args, bind=f"unix:{tmp_path}/s" if bind == "unix" else bind)
    found = environ(server.get("/app/x", *TOLD))
    assert found["wsgi.url_scheme"] == ("https" if believed else "http")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (("/app", "/x") if believed else ("", "/app/x"))
    assert found.get("HTTP_SCRIPT_NAME") == ("/app" if believed else None)
    assert found["HTTP_X_FORWARDED_PROTO"] == "https"
    assert "HTTP_X_OTHER" not in found
    for fields in (("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"), ("SCRIPT_NAME: /other",)):
        assert server.get("/app/x", *fields).status == (400 if believed else 200)


SPOKEN = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO", "wsgi.url_scheme")
FIELDS = (
    "X-Forwarded-For: 198.51.100.1, 203.0.113.9",
    "x-forwarded-for: 10.0.0.2",
    "X-Forwarded-Host: evil, public:8443",
    "X-Forwarded-Prefix: /mounted",
    "X-Forwarded-Proto: https",
    'Forwarded: for=8.8.8.8, for="[2001:db8::9]:4711";host=public;proto=https, for=10.0.0.2;proto=http',
)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, ("127.0.0.1", None, "test", "", "/x", "https")),
        (
            "x-forwarded-for,x-forwarded-host,x-forwarded-prefix",
            ("203.0.113.9", "", "public:8443", "/mounted", "/x", "https"),
        ),
        ("forwarded", ("2001:db8::9", "4711", "public", "", "/x", "https")),
    ],
)
def test_fields_that_are_named(live: Start, named: str | None, expected: tuple[str | None, ...]) -> None:
    args = () if named is None else ("--trusted-proxy-headers", named)
    options = (
        "--access-logfile",
        "-",
        "--log-level",
        "debug",
        "--forwarded-allow-ips",
        "127.0.0.1,10.0.0.0/8",
    )
    server = live(ECHO, *options, *args)
    with server.connect() as peer:
        for _ in range(4):
            found = environ(peer.request(head("/x", *FIELDS)))
            told = dict(zip(SPOKEN, expected, strict=True))
            told["REMOTE_PORT"] = expected[1] if expected[1] is not None else str(peer.sock.getsockname()[1])
            assert {key: found[key] for key in SPOKEN} == told
            assert found["HTTP_X_FORWARDED_HOST"] == "evil, public:8443"
    server.stdout.wait_for(rf'^{re.escape(str(expected[0]))} .*"GET /x HTTP/1\.1" 200')
    malformed = server.get("/", 'Forwarded: for="')
    assert malformed.status == (400 if named == "forwarded" else 200)
    if named == "forwarded":
        server.wait_for_log("Refused 127.0.0.1 with 400: malformed Forwarded")


def test_fields_that_are_named_of_others(live: Start) -> None:
    named = ("--trusted-proxy-headers", "x-forwarded-for,x-forwarded-host,x-forwarded-prefix")
    server = live(ECHO, *named, "--forwarded-allow-ips", "192.0.2.1")
    found = environ(server.get("/x", *FIELDS))
    del found["REMOTE_PORT"]
    told = ("127.0.0.1", "test", "", "/x", "http")
    assert tuple(found[key] for key in SPOKEN if key != "REMOTE_PORT") == told
    assert found["HTTP_X_FORWARDED_FOR"] == "198.51.100.1, 203.0.113.9, 10.0.0.2"


def test_the_client_of_a_unix_socket(live: Start, tmp_path: Path) -> None:
    server = live(ECHO, "--trusted-proxy-headers", "x-forwarded-for", bind=f"unix:{tmp_path}/s")
    for field, expected in (FIELDS[0], "203.0.113.9"), ("X-Forwarded-For: unix:", ""):
        found = environ(server.get("/x", field))
        assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == (expected, "")


@pytest.mark.parametrize("by_setting", [False, True], ids=["environment", "raw_env"])
def test_script_name_of_the_environment(live: Start, by_setting: bool) -> None:
    args = ("-e", "SCRIPT_NAME=/app") if by_setting else ()
    server = live(ECHO, *args, env={"SCRIPT_NAME": None if by_setting else "/app/"})
    found = environ(server.get("/app/x?y"))
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/app", "/x")
    assert environ(server.get("/app"))["PATH_INFO"] == ""
    assert server.get("/apples").status == 400
    assert environ(server.get("/other/x", "SCRIPT_NAME: /other"))["PATH_INFO"] == "/x"


@pytest.mark.parametrize("mode", ["v1", "auto"])
def test_a_proxy_header(live: Start, mode: str) -> None:
    server = live(ECHO, "--proxy-protocol", mode, "--access-logfile", "-", "--log-level", "debug")
    with server.connect() as peer:
        peer.send(SENT[:20], SENT[20:] + head("/1"))
        first = environ(peer.response())
        second = environ(peer.request(head("/2")))
    for found in (first, second):
        assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == ("203.0.113.9", "4711")
        assert (found["PROXY_PROTOCOL"], found["PROXY_ADDR"], found["PROXY_PORT"]) == (
            "TCP4",
            "192.0.2.7",
            "80",
        )
    server.stdout.wait_for(r'^203\.0\.113\.9 .*"GET /2 HTTP/1\.1" 200')
    assert server.exchange(b"PROXY TCP4 nonsense\r\n" + head("/")).startswith(b"HTTP/1.1 400 ")
    server.wait_for_log("Refused 127.0.0.1 with 400: malformed PROXY line")
    plain = server.get("/")
    assert plain.status == (400 if mode == "v1" else 200)
    if mode == "auto":
        assert environ(plain)["REMOTE_ADDR"] == "127.0.0.1"


def test_a_proxy_header_of_a_peer_that_may_send_none(live: Start) -> None:
    server = live(ECHO, "--proxy-protocol", "v1", "--proxy-allow-from", "192.0.2.1", "--log-level", "debug")
    assert server.exchange(SENT + head("/")).startswith(b"HTTP/1.1 403 ")
    server.wait_for_log("Refused 127.0.0.1 with 403: it is not in proxy_allow_ips")


def test_proxy_headers_however_they_come(live: Start) -> None:
    """Whole and byte by byte, with requests behind it; a second one is not a request, and not a header."""
    server = live(ECHO, "--proxy-protocol", "auto")
    requests = head("/1") + head("/2", "Connection: close")
    for header in (SENT, SENT_V2, LOCAL, LOCAL[:-1] + b"\x07garbage", b"PROXY UNKNOWN ffff::1 x\r\n", b""):
        is_told = header in (SENT, SENT_V2)
        for step in (1, 1000):
            with server.connect() as peer:
                data = header + requests
                peer.send(*(data[begin : begin + step] for begin in range(0, len(data), step)))
                for target in ("/1", "/2"):
                    found = environ(peer.response())
                    assert found["PATH_INFO"] == target
                    assert found["REMOTE_ADDR"] == ("203.0.113.9" if is_told else "127.0.0.1")
                assert peer.is_closed()
        for second in (SENT, SENT_V2, LOCAL, b"PROXY UNKNOWN\r\n"):
            if header:
                assert server.exchange(header + second + head("/")).startswith(b"HTTP/1.1 400 ")
            with server.connect() as peer:
                peer.send(header + head("/1") + second + head("/evil"))
                assert environ(peer.response())["PATH_INFO"] == "/1"
                assert peer.response().status == 400
                assert peer.is_closed()


def test_whoever_connects_and_closes_is_not_worth_a_line(live: Start) -> None:
    """As health checks over TCP do, with a PROXY header or without."""
    server = live(ECHO, "--proxy-protocol", "auto", "--access-logfile", "-")
    for said in (b"", b"PROXY UNKNOWN\r\n", SENT):
        with server.connect() as peer:
            peer.send(said)
    assert environ(server.request(SENT + head("/")))["REMOTE_ADDR"] == "203.0.113.9"
    server.stdout.wait_for("GET /")
    server.stop()
    assert not re.search(r"\[(WARNING|ERROR|CRITICAL)\]", server.log.text), server.log.text
    assert len(server.stdout.lines) == 1


# --- a PROXY header before TLS: of HAProxy in mode tcp, of a network load balancer -------------------------


def before_tls(test: Callable[..., None]) -> Callable[..., None]:
    marked: Callable[..., None] = needs_openssl(own_certificates(test))
    return marked


@before_tls
def test_the_client_of_tls_is_known(live: Start, authority: Authority) -> None:
    server = live(ECHO, "--proxy-protocol", "auto", *authority.issue().arguments, "--access-logfile", "-")
    for header, step in [(SENT, 0), (SENT_V2, 0), (SENT, 1), (SENT_V2, 1), (LOCAL, 7), (b"", 0)]:
        with Inspector(server, authority.client()) as client:
            client.outgoing.write(header)  # in one packet with the first words of the handshake
            client.shake_hands(step)
            for number in (1, 2):
                client.say(head(f"/{number}"), step)
                answer = client.read_until(b'"body": ""}')
                found = json.loads(answer.partition(b"\r\n\r\n")[2])["environ"]
                is_told = header in (SENT, SENT_V2)
                assert found["wsgi.url_scheme"] == "https"
                assert found["REMOTE_ADDR"] == ("203.0.113.9" if is_told else "127.0.0.1")
                assert found.get("PROXY_ADDR") == ("192.0.2.7" if is_told else None)
    server.stdout.wait_for(r'^203\.0\.113\.9 .*"GET /2 HTTP/1\.1" 200')


@before_tls
def test_who_is_refused_before_tls_is_told_nothing(live: Start, authority: Authority) -> None:
    options = ("--proxy-protocol", "v2", "--log-level", "debug", "--access-logfile", "-")
    server = live(ECHO, *options, *authority.issue().arguments)
    for said, reason in [
        (SENT, "Refused 127.0.0.1 with 400: no PROXY header"),
        (V2 + b"\x31", "Refused 127.0.0.1 with 400: version and command 0x31"),
        (b"", "Refused 127.0.0.1 with 400: no PROXY header"),  # but TLS at once
        (LOCAL + SENT_V2, "TLS handshake with .* failed"),
        (LOCAL + head("/"), "TLS handshake with .* failed"),
    ]:
        begin = len(server.log.lines)
        with Inspector(server, authority.client()) as client:
            client.outgoing.write(said)
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.say()
            # An alert at the most, and that is of TLS.
            assert not client.peer.read_to_end().startswith(b"HTTP")
        server.wait_for_log(reason, start=begin)
    # Checks that only connect are not worth a line.
    begin = len(server.log.lines)
    for said in (b"", LOCAL, SENT_V2, LOCAL[:5]):
        with Peer(server.address) as peer:
            peer.send(said)
    server.stop()
    assert not re.search(r"Refused|failed|\[(WARNING|ERROR|CRITICAL)\]", "\n".join(server.log.lines[begin:]))
    assert server.stdout.lines == []
