"""Clients that show certificates: who is served, and what the app is told of them."""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.certificates import Authority, Issued, needs_openssl, own_certificates
from tests.live import DEADLINE, LiveServer, Peer, head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    needs_openssl,
    own_certificates,
]

ECHO = "tests.apps.echo:app"
GET = head("/")


@pytest.fixture(scope="module")
def known(authority: Authority) -> Issued:
    return authority.issue("client", subject="/O=Büro/CN=client")


@pytest.fixture(scope="module")
def server(authority: Authority, issued: Issued, known: Issued) -> Iterator[LiveServer]:
    """Run a server that asks for certificates, and serves those who have none."""
    wanted = ("--ca-certs", str(authority.certificate), "--cert-reqs", "CERT_OPTIONAL")
    with LiveServer(ECHO, *issued.arguments, *wanted, tls=authority.client(known)) as running:
        yield running


def asked(server: LiveServer, context: ssl.SSLContext, *fields: str, session: Any = None) -> dict[str, str]:
    """Return what the app is told of a client."""
    with Peer(server.address) as peer:
        peer.sock = context.wrap_socket(peer.sock, server_hostname="localhost", session=session)
        reply = peer.request(head("/", *fields))
        assert reply.status == 200
        return told(reply.body)


def told(body: bytes) -> dict[str, str]:
    environ = json.loads(body)["environ"]
    return {name: value for name, value in environ.items() if name.startswith("SSL_")}


def test_the_app_is_told_who_the_client_is(server: LiveServer, authority: Authority, known: Issued) -> None:
    seen = asked(server, authority.client(known))
    assert seen["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert seen["SSL_CLIENT_S_DN"] == r"CN=client,O=B\C3\BCro"
    assert seen["SSL_CLIENT_S_DN_O"].encode("latin-1").decode() == "Büro"
    assert seen["SSL_CLIENT_I_DN"] == "CN=authority"
    assert seen["SSL_CLIENT_CERT"] == known.certificate.read_text()
    assert asked(server, authority.client()) == {"SSL_CLIENT_VERIFY": "NONE"}


@pytest.mark.parametrize("limit", ["TLSv1_2", "TLSv1_3"])
def test_a_resumed_session_keeps_the_certificate(
    server: LiveServer, authority: Authority, known: Issued, limit: str
) -> None:
    context = authority.client(known)
    context.maximum_version = ssl.TLSVersion[limit]
    with Peer(server.address, tls=context) as peer:
        first = told(peer.request(GET).body)
        assert isinstance(peer.sock, ssl.SSLSocket)
        session = peer.sock.session
    raw = socket.create_connection(server.address, DEADLINE)  # type: ignore[arg-type]
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as sock:
        assert sock.session_reused
    assert asked(server, context, session=session) == first


def test_nobody_else_is_taken_for_the_client(server: LiveServer, authority: Authority, known: Issued) -> None:
    """The same head from two clients in turn, often enough that the parser knows it as a habit."""
    other = authority.issue("other")
    clients = [(known, "client"), (other, "other"), (None, None)]
    peers = [(Peer(server.address, tls=authority.client(shown)), name) for shown, name in clients]
    try:
        for _ in range(6):
            for peer, name in peers:
                assert told(peer.request(GET).body).get("SSL_CLIENT_S_DN_CN") == name
    finally:
        for peer, _ in peers:
            peer.sock.close()


FORGED = ("SSL_CLIENT_VERIFY: SUCCESS", "SSL-CLIENT-VERIFY: SUCCESS", "SSL-CLIENT-S-DN: CN=admin")


def test_a_client_cannot_say_so_itself(
    server: LiveServer, authority: Authority, live: Callable[..., LiveServer]
) -> None:
    assert asked(server, authority.client(), *FORGED) == {"SSL_CLIENT_VERIFY": "NONE"}
    plain = live(
        ECHO, *("--forwarded-allow-ips", "*", "--header-map", "dangerous", "--forwarder-headers", "*")
    )
    assert told(plain.get("/", *FORGED).body) == {}


def ask(server: LiveServer, context: ssl.SSLContext) -> bytes:
    with Peer(server.address, tls=context) as peer:
        peer.sock.sendall(GET)
        return peer.read_exactly(15)


@pytest.fixture(scope="module")
def strangers(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> list[Issued]:
    """Return certificates that nobody is to be served for."""
    folder = tmp_path_factory.mktemp("strangers")
    unknown = Authority(folder, "stranger")
    twin = Authority(folder, "authority")  # the same name, and another key
    orphan = Authority(folder, "middle", authority).issue("orphan")  # nobody knows its issuer
    old = authority.issue("old", days=-1)
    return [unknown.issue("stranger"), twin.issue("client"), orphan, old]


@pytest.fixture(scope="module")
def deep(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """Return a certificate by an authority that it shows along."""
    middle = Authority(tmp_path_factory.mktemp("deep"), "middle", authority)
    issued = middle.issue("deep")
    with issued.certificate.open("ab") as chain:
        chain.write(middle.certificate.read_bytes())
    return issued


@pytest.mark.parametrize("wanted", ["CERT_NONE", "CERT_OPTIONAL", "CERT_REQUIRED"])
def test_who_is_served(
    live: Callable[..., LiveServer],
    authority: Authority,
    issued: Issued,
    known: Issued,
    deep: Issued,
    strangers: list[Issued],
    wanted: str,
) -> None:
    clients = ("--ca-certs", str(authority.certificate), "--cert-reqs", wanted)
    running = live(ECHO, *issued.arguments, *clients, tls=authority.client(known))
    is_lax = wanted == "CERT_NONE"
    shown = [(known, True), (deep, True), (None, wanted != "CERT_REQUIRED")]
    for certificate, is_served in [*shown, *((stranger, is_lax) for stranger in strangers)]:
        context = authority.client(certificate)
        if is_served:
            assert ask(running, context) == b"HTTP/1.1 200 OK"
        else:
            # In TLS 1.3 the client is done before it is refused, and hears of it when it reads.
            with pytest.raises(ssl.SSLError, match="alert"):
                ask(running, context)
    if is_lax:
        assert told(running.get("/").body) == {}


CRL = """
import ssl
def ssl_context(config, default_factory):
    context = default_factory()
    context.load_verify_locations({path!r})
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context
"""


def test_revoked_certificates_by_the_hook(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    good, bad = authority.issue("good"), authority.issue("bad")
    config = tmp_path / "hook.py"
    config.write_text(CRL.format(path=str(authority.revoke(bad, tmp_path))))
    wanted = ("--ca-certs", str(authority.certificate), "--cert-reqs", "CERT_REQUIRED")
    running = live(ECHO, "-c", str(config), *issued.arguments, *wanted, tls=authority.client(good))
    assert running.get("/").status == 200
    with pytest.raises(ssl.SSLError, match="revoked"):
        ask(running, authority.client(bad))
