"""Through nginx and HAProxy: what clients make up is not believed, and no request is read as the proxy did not."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_haproxy import OVER_TCP, haproxy
from tests.e2e.test_nginx import nginx, start
from tests.live import TLS, LiveServer, Peer, head
from tests.programs import Port, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., LiveServer]

ECHO = "tests.apps.echo:app"
CLIENT = "127.0.0.2"  # not in forwarded_allow_ips, as 127.0.0.1 is

pytestmark = [
    needs("nginx"),
    needs("haproxy"),
    pytest.mark.skipif(TLS is not None, reason="they are told to connect without"),
    pytest.mark.skipif("not __import__('sys').platform.startswith('linux')", reason="has 127.0.0.2"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a directory whose name leaves room for that of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="fastwsgi-") as name:
        yield Path(name)


def seen(port: Port, *fields: str) -> tuple[Any, ...]:
    """Return what the app is told of a client that makes up who it is."""
    with Peer(port.address, source=CLIENT) as peer:
        reply = peer.request(head("/x", *fields))
        assert reply.status == 200, reply
        told = json.loads(reply.body)["environ"]
    keys = ("REMOTE_ADDR", "HTTP_HOST", "wsgi.url_scheme", "SCRIPT_NAME", "PATH_INFO")
    return tuple(told[key] for key in keys)


FAKED = (
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-For: 127.0.0.1",
    "X_Forwarded_For: 203.0.113.9",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Proto: https",
    'Forwarded: for=203.0.113.9;host=evil;proto=https;x="',
    "X-Real-IP: 203.0.113.9",
    # RFC 9110 §7.6.1: a proxy might take away what it has put in itself.
    "Connection: close, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Forwarded",
)
KNOWN = (CLIENT, "test", "http", "", "/x")


@pytest.mark.parametrize(
    ("kind", "named"),
    [("tcp", "x-forwarded-for,x-forwarded-host"), ("unix", "x-forwarded-for"), ("tcp", "forwarded")],
)
def test_the_client_behind_nginx(live: Start, folder: Path, kind: str, named: str) -> None:
    server = start(live, kind, folder, ECHO, "--trusted-proxy-headers", named, "--access-logfile", "-")
    forwarded = (
        'Host $http_host; proxy_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme"'
    )
    with nginx(server, kind, folder, ("Host $http_host", forwarded)) as port:
        for fields in ((), FAKED, FAKED[:1], FAKED[-1:]):
            assert seen(port, *fields) == KNOWN
    server.stdout.wait_for(rf'^{re.escape(CLIENT)} .*"GET /x ')


PROTO = "    http-request set-header X-Forwarded-Proto http\n"
FORWARD = """\
    option forwardfor
    http-request set-header Forwarded for=%[src];host=\\"%[req.hdr(host)]\\";proto=http
"""


@pytest.mark.parametrize("way", ["v2 unix", "x-forwarded-for,x-forwarded-host", "forwarded"])
def test_the_client_behind_haproxy(live: Start, folder: Path, way: str) -> None:
    version = way[:2] if way.startswith("v") else ""
    args = ("--proxy-protocol", version) if version else ("--trusted-proxy-headers", way)
    server = live(ECHO, *args, bind=f"unix:{folder}/s" if "unix" in way else "127.0.0.1:0")
    changes = [*OVER_TCP, (PROTO, FORWARD + PROTO)]
    if not version:
        changes.append((" send-proxy-v2", ""))
    with haproxy(folder, [server] * 2, *changes, version=version) as port:
        for fields in ((), FAKED, FAKED[:1], FAKED[-1:]):
            assert seen(port, *fields) == KNOWN


# --- smuggling ---------------------------------------------------------------------------------------------

EVIL = "GET /{}evil HTTP/1.1\r\nHost: a\r\n\r\n"
HOST = "HTTP/1.1\r\nHost: a\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
ODD = [
    f"POST /{{}}a {HOST}Content-Length: {len(EVIL)}\r\n\r\n{EVIL}",
    f"GET /{{}}a {HOST}Content-Length: 5\r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length: 0005\r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length: +5\r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length: 0x5\r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length:\t5 \r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length: 5, 5\r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    f"POST /{{}}a {HOST}Content-Length: 0\r\nContent-Length: {len(EVIL)}\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Content_Length: {len(EVIL)}\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Content-Length : 5\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Content-Length: 4\r\n{CHUNKED}0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}{CHUNKED}5\r\nhello\r\n0\r\n\r\n{EVIL}",
    f'POST /{{}}a {HOST}{CHUNKED}0005;a="b;";c\r\nhello\r\n000\r\nX: y\r\n\r\n',
    f"POST /{{}}a {HOST}{CHUNKED}5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
    f"POST /{{}}a {HOST}{CHUNKED}5 ; a\r\nhello\r\n0\r\n\r\n",
    f"POST /{{}}a {HOST}{CHUNKED}5\nhello\n0\n\n{EVIL}",
    f"POST /{{}}a {HOST}{CHUNKED}5;\nx\r\nhello\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}{CHUNKED}0x5\r\nhello\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}{CHUNKED}10000000000000005\r\nhello\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}{CHUNKED}5\r\nhelloXX0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding:\tchunked\t\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding: gzip\r\n{CHUNKED}0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer_Encoding: chunked\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{EVIL}",
    f"POST /{{}}a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n{CHUNKED}0\r\n\r\n{EVIL}",
    f"GET /{{}}a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{EVIL}",
    f"GET /{{}}a HTTP/1.1\nHost: a\n\n{EVIL}",
    f"\r\n\r\nGET /{{}}a {HOST}\r\n{EVIL}",
    f"GET /{{}}a HTTP/1.1\r\nX: y\r\n folded\r\nHost: a\r\n\r\n{EVIL}",
    f"GET http://b/{{}}a {HOST}\r\n{EVIL}",
    f"GET //{{}}a {HOST}\r\n{EVIL}",
    f"GET /{{}}a%00%0d%0aX:%20y?%ff {HOST}\r\n{EVIL}",
    f"GET /{{}}a\xe9 {HOST}\r\n{EVIL}",
    f"GET /{{}}a#b {HOST}\r\n{EVIL}",
    f"GET /{{}}a\\..\\b {HOST}\r\n{EVIL}",
    f"GET /{{}}a HTTP/1.2\r\nHost: a\r\n\r\n{EVIL}",
    f"GET /{{}}a {HOST}Host: b\r\n\r\n{EVIL}",
    f"GET /{{}}a HTTP/1.1\r\nHost: a b\r\n\r\n{EVIL}",
    f"GET /{{}}a HTTP/1.1\r\nHost: a/@b\r\n\r\n{EVIL}",
    f"PROPFIND /{{}}a {HOST}\r\n{EVIL}",
    f"get /{{}}a {HOST}\r\n{EVIL}",
    f"HEAD /{{}}a {HOST}Content-Length: {len(EVIL)}\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Expect: 100-continue\r\nContent-Length: {len(EVIL)}\r\n\r\n{EVIL}",
    f"GET /{{}}a {HOST}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Connection: Content-Length, keep-alive\r\nContent-Length: {len(EVIL)}\r\n\r\n{EVIL}",
    f"POST /{{}}a {HOST}Connection: Transfer-Encoding\r\n{CHUNKED}0\r\n\r\n{EVIL}",
    f"GET /{{}}a {HOST}Connection: close\r\n\r\n{EVIL}",
]  # fmt: skip


def converse(port: Port, number: int, odd: str) -> int:
    """Send an odd request and an honest one behind it; return how many answers there were."""
    mark = f"{number:02}"
    text = odd.replace("{}", mark) + f"GET /{mark}last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with Peer(port.address) as peer:
        peer.send(text.encode("latin-1"))
        try:
            data = peer.read_to_end()
        except ConnectionResetError:  # a proxy need not wait for what it has refused
            return 0
    return len(re.findall(rb"HTTP/1\.[01] [2-5]", data))


def asked(lines: list[str]) -> list[str]:
    """Return the targets in a log, without what proxies write in another way."""
    return sorted(re.findall(r"\b\d\d(?:a|evil|last)", " ".join(lines)))


def test_nothing_is_smuggled_through_nginx(live: Start, folder: Path) -> None:
    server = start(live, "tcp", folder, ECHO, "--access-logfile", "-", "--access-logformat", "%(r)s")
    log = f"error_log {folder}/conversations.log crit; access_log {folder}/requests seen"
    upstream = "upstream app {"
    changes = (
        (upstream, f"log_format seen '$request_uri $upstream_status .';\n{upstream}"),
        ("client_max_body_size", f"{log}; client_body_timeout 2s; client_header_timeout 2s; client_max_body_size"),
    )  # fmt: skip
    with nginx(server, "tcp", folder, *changes) as port:
        answers = [converse(port, number, odd) for number, odd in enumerate(ODD)]
    server.stop()
    told = (folder / "requests").read_text("latin-1").splitlines()
    passed = [line for line in told if not line.endswith(" - .")]
    assert asked(server.stdout.lines) == asked(passed)
    assert sum(answers) <= len(told)
    assert len(passed) > len(ODD)


def test_nothing_is_smuggled_through_haproxy(live: Start, folder: Path) -> None:
    logged = ("--access-logfile", "-", "--access-logformat", "%(r)s")
    server = live(ECHO, "--keep-alive", "75", *logged)
    changes = (
        *OVER_TCP,
        (" send-proxy-v2", ""),
        ("defaults\n", 'defaults\n    log stdout format raw local0\n    log-format "%HU %ST %s ."\n'),
        ("timeout client 60s", "timeout client 2s"),
        ("timeout http-request 30s", "timeout http-request 2s"),
    )  # fmt: skip
    with haproxy(folder, [server] * 2, *changes) as port:
        answers = [converse(port, number, odd) for number, odd in enumerate(ODD)]
    server.stop()
    told = (folder / "output").read_text("latin-1").splitlines()
    passed = [line for line in told if re.search(r" app[12] \.$", line)]
    assert asked(server.stdout.lines) == asked(passed)
    assert sum(answers) <= len([line for line in told if line.endswith(" .")])
    assert len(passed) > len(ODD)
