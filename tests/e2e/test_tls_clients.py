"""TLS as others speak it: openssl, curl and a browser, with what they can be told to do."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.apps.page import PARTS
from tests.certificates import OPENSSL, Authority, Issued, needs_openssl, own_certificates
from tests.e2e.test_websocket import chromium
from tests.live import DEADLINE, LiveServer, Peer, head
from tests.processes import eventually
from tests.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    needs_openssl,
    own_certificates,
]

ECHO = "tests.apps.echo:app"


@pytest.fixture(scope="module")
def server(authority: Authority, issued: Issued) -> Iterator[LiveServer]:
    wanted = ("--ca-certs", str(authority.certificate), "--cert-reqs", "CERT_OPTIONAL")
    with LiveServer(ECHO, *issued.arguments, *wanted, tls=authority.client()) as running:
        yield running


def s_client(server: LiveServer, authority: Authority, *arguments: str, says: str = "") -> str:
    """Return what `openssl s_client` prints, when it has said `says` and heard the answer to the end."""
    host, port = server.url.removeprefix("https://").split(":")
    command = [OPENSSL, "s_client", "-connect", f"{host}:{port}", "-CAfile", str(authority.certificate)]
    done = subprocess.run(
        [*command, *arguments],
        input=says,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.stdout + done.stderr


LAST = head("/", "Connection: close").decode()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("-tls1_3",), "New, TLSv1.3, Cipher is TLS_"),
        (("-tls1_2",), "New, TLSv1.2, Cipher is ECDHE-ECDSA-"),
        (("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"), "TLS_CHACHA20_POLY1305_SHA256"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (("-tls1_3", "-groups", "P-521:X25519"), "Server Temp Key: "),  # asked for another share
        (("-alpn", "h2,http/1.1"), "ALPN protocol: http/1.1"),
        (("-alpn", "h2"), "No ALPN negotiated"),  # and goes on: what comes will show what it is
        (("-servername", "elsewhere.example"), "Cipher is "),
    ],
    ids=" ".join,
)
def test_openssl(server: LiveServer, authority: Authority, arguments: tuple[str, ...], shown: str) -> None:
    told = s_client(server, authority, *arguments, "-ign_eof", says=LAST)
    assert shown in told
    assert "HTTP/1.1 200 OK" in told
    assert "Verify return code: 0 (ok)" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "AES128-SHA"),  # RSA, and the key is none
        ("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "ADH:@SECLEVEL=0"),
    ],
    ids=" ".join,
)
def test_openssl_is_refused(server: LiveServer, authority: Authority, arguments: tuple[str, ...]) -> None:
    assert "Cipher is (NONE)" in s_client(server, authority, *arguments, says=LAST)


def test_renegotiation_is_refused(server: LiveServer, authority: Authority) -> None:
    """RFC 5746 would allow it; a client could have the server compute for nothing."""
    told = s_client(server, authority, "-tls1_2", says="R\n")
    assert "RENEGOTIATING" in told
    assert "no renegotiation" in told


@pytest.mark.parametrize("command", ["k", "K"])
def test_a_new_key(server: LiveServer, authority: Authority, command: str) -> None:
    """RFC 8446 §4.6.3: a client may renew its key, and ask for one of ours."""
    host, port = server.url.removeprefix("https://").split(":")
    with subprocess.Popen(
        [OPENSSL, "s_client", "-connect", f"{host}:{port}", "-CAfile", str(authority.certificate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        assert client.stdin
        assert client.stdout
        try:
            read_until(client, b"Verify return code: 0")
            client.stdin.write(f"{command}\n".encode())
            client.stdin.flush()
            read_until(client, b"KEYUPDATE")
            client.stdin.write(LAST.encode())
            client.stdin.flush()
            read_until(client, b"HTTP/1.1 200 OK")
        finally:
            client.kill()


def read_until(client: subprocess.Popen[bytes], mark: bytes) -> None:
    assert client.stdout
    data = b""
    while mark not in data:
        piece = client.stdout.read1(65536)  # type: ignore[attr-defined]
        assert piece, data.decode()
        data += piece


def test_there_is_no_early_data(server: LiveServer, authority: Authority, tmp_path: Path) -> None:
    """RFC 8446 §8: it could be played again by others; a ticket allows none of it."""
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_text(LAST)
    told = s_client(server, authority, "-sess_out", str(session), "-ign_eof", says=LAST)
    assert "Max Early Data: 0" in told
    again = ("-sess_in", str(session), "-early_data", str(early), "-ign_eof")
    told = s_client(server, authority, *again, says=LAST)
    assert "Reused, TLSv1.3" in told
    assert "Early data was accepted" not in told
    assert told.count("HTTP/1.1 200 OK") == 1


NAMES = """
import ssl
def ssl_context(config, default_factory):
    context = default_factory()
    other = default_factory()
    other.load_cert_chain({certificate!r}, {key!r})
    def choose(tls, name, initial):
        if name == "other.example":
            tls.context = other
        elif name == "nobody.example":
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    context.sni_callback = choose
    return context
"""


def test_certificates_by_name(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    """RFC 6066 §3: by the hook, a server has several certificates."""
    other = authority.issue("other.example")
    config = tmp_path / "names.py"
    config.write_text(NAMES.format(certificate=str(other.certificate), key=str(other.key)))
    running = live(ECHO, "-c", str(config), *issued.arguments, tls=authority.client())
    context = authority.client()
    for name in ("localhost", "other.example", "localhost"):
        with Peer(running.address) as peer:
            sock = context.wrap_socket(peer.sock, server_hostname=name)  # which verifies the name
            peer.sock = sock
            assert peer.request(head("/")).status == 200
    with Peer(running.address) as peer, pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        peer.sock = context.wrap_socket(peer.sock, server_hostname="nobody.example")


# --- curl ------------------------------------------------------------------------------------------------


def curl(server: LiveServer, authority: Authority, *arguments: str) -> tuple[int, str]:
    found = shutil.which("curl")
    assert found
    command = [found, "--silent", "--show-error", "--noproxy", "*", "--max-time", str(DEADLINE)]
    done = subprocess.run(
        [*command, "--cacert", str(authority.certificate), *arguments, server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@needs("curl")
@pytest.mark.parametrize(
    "arguments", [(), ("--http1.1",), ("--http2",), ("--tls-max", "1.2"), ("--tlsv1.3",)], ids=" ".join
)
def test_curl(server: LiveServer, authority: Authority, arguments: tuple[str, ...]) -> None:
    code, body = curl(server, authority, *arguments)
    assert code == 0
    assert json.loads(body)["environ"]["SSL_CLIENT_VERIFY"] == "NONE"


@needs("curl")
def test_curl_with_a_certificate(server: LiveServer, authority: Authority, tmp_path: Path) -> None:
    known = authority.issue("client")
    code, body = curl(server, authority, "--cert", str(known.certificate), "--key", str(known.key))
    assert code == 0
    assert json.loads(body)["environ"]["SSL_CLIENT_S_DN"] == "CN=client"
    stranger = Authority(tmp_path, "stranger").issue("client")
    code, _ = curl(server, authority, "--cert", str(stranger.certificate), "--key", str(stranger.key))
    assert code in (35, 56)  # an alert in the handshake, or behind it


# --- a browser -------------------------------------------------------------------------------------------


@needs("chromium")
def test_a_browser_loads_a_page_and_its_parts(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    """Over a few connections that are kept, with bodies in both directions."""
    running = live("tests.apps.page:app", *issued.arguments, "--keep-alive", "20", tls=authority.client())
    with chromium(running.url, tmp_path / "profile", "--ignore-certificate-errors"):
        eventually(lambda: bool(json.loads(running.get("/seen").body)["result"]))
        found = json.loads(running.get("/seen").body)
    assert found["result"] == [[50_000 if number % 3 else 100_000 for number in range(PARTS)]]
    assert len(found["seen"]) == PARTS
    assert len({port for _, port in found["seen"]}) < PARTS
