"""TLS in memory: what is opened, what is sealed, and what OpenSSL says in between."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from fastwsgi.tunnel import Tunnel
from tests.certificates import Authority, Issued, needs_openssl

pytestmark = needs_openssl


class Client:
    """The other end, by the standard library."""

    def __init__(self, authority: Authority, shown: Issued | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = authority.client(shown)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shake_hands(self, tunnel: Tunnel) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        assert tunnel.open(self.outgoing.read()) is None
        assert not tunnel.established
        self.incoming.write(sent(tunnel))
        self.tls.do_handshake()
        assert tunnel.open(self.outgoing.read()) is None

    def sealed(self, data: bytes) -> bytes:
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self.outgoing.read()

    def opened(self, sealed: bytes) -> bytes:
        self.incoming.write(sealed)
        data = b""
        try:
            while piece := self.tls.read(65536):
                data += piece
        except ssl.SSLWantReadError:
            pass
        return data


def sent(tunnel: Tunnel, data: bytes = b"") -> bytes:
    """Seal and send all at once."""
    tunnel.seal(data)
    records = tunnel.records()
    assert tunnel.owes() == len(records)
    tunnel.advance(len(records))
    assert tunnel.owes() == 0
    return records


@pytest.fixture(scope="module")
def context(issued: Issued) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(issued.certificate, issued.key)
    return made


@pytest.fixture
def client(authority: Authority) -> Client:
    return Client(authority)


@pytest.fixture
def tunnel(context: ssl.SSLContext, client: Client) -> Tunnel:
    made = Tunnel(context, "192.0.2.1")
    client.shake_hands(made)
    assert made.established
    assert made.owes()  # tickets, for resumption; they go along with the first answer
    return made


def test_back_and_forth(tunnel: Tunnel, client: Client) -> None:
    assert tunnel.open(client.sealed(b"question")) == b"question"
    assert client.opened(sent(tunnel, b"answer")) == b"answer"


@pytest.mark.parametrize("size", [16384, 16385, 100_000])
def test_many_records(tunnel: Tunnel, client: Client, size: int) -> None:
    """RFC 8446 §5.1: a record has 16384 bytes at the most; nothing is left behind in the last of them."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert tunnel.open(client.sealed(data)) == data
    assert client.opened(sent(tunnel, data)) == data


def test_a_record_in_pieces(tunnel: Tunnel, client: Client) -> None:
    sealed = client.sealed(b"whole")
    assert [tunnel.open(sealed[i : i + 1]) for i in range(len(sealed) - 1)] == [None] * (len(sealed) - 1)
    assert tunnel.open(sealed[-1:]) == b"whole"


def test_records_are_sent_as_the_socket_takes_them(tunnel: Tunnel, client: Client) -> None:
    tunnel.seal(b"x" * 1000)
    records, taken = tunnel.records(), b""
    while tunnel.owes():
        piece = tunnel.records()[tunnel.sent() :][:100]
        taken += piece
        tunnel.advance(len(piece))
    assert taken == records
    assert client.opened(taken) == b"x" * 1000


def test_farewells(tunnel: Tunnel, client: Client) -> None:
    """RFC 8446 §6.1: each side says when it sends nothing more, and may still be sent to."""
    last = client.sealed(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert tunnel.open(last + client.outgoing.read()) == b"last"
    assert tunnel.ended
    assert tunnel.open(b"whatever") == b""
    client.incoming.write(sent(tunnel, b"answer") + tunnel.end())
    assert client.tls.read(100) == b"answer"
    client.tls.unwrap()


def test_an_end_without_farewell_can_still_be_answered(tunnel: Tunnel, client: Client) -> None:
    assert tunnel.open(b"") == b""
    assert tunnel.ended
    assert client.opened(sent(tunnel, b"answer")) == b"answer"


def test_no_farewell_behind_half_an_answer(tunnel: Tunnel) -> None:
    tunnel.seal(b"x" * 1000)
    tunnel.advance(100)
    assert tunnel.end() == b""


def test_what_is_no_tls(context: ssl.SSLContext) -> None:
    tunnel = Tunnel(context, "192.0.2.1")
    assert tunnel.end() == b""
    with pytest.raises(OSError, match="HTTP_REQUEST"):
        tunnel.open(b"GET / HTTP/1.1\r\n\r\n")
    assert not tunnel.established


def test_records_that_were_tampered_with(tunnel: Tunnel, client: Client) -> None:
    sealed = bytearray(client.sealed(b"question"))
    sealed[-1] ^= 1
    with pytest.raises(OSError, match="BAD_RECORD_MAC"):
        tunnel.open(bytes(sealed))
    assert tunnel.owes()  # an alert
    tunnel.seal(b"")
    with pytest.raises(ssl.SSLError, match=r"(?i)bad_record_mac"):
        client.opened(tunnel.records())


class Talker:
    """OpenSSL, when each record that comes asks for a new key, and `answer` is said to it."""

    def __init__(self, outgoing: ssl.MemoryBIO, answer: bytes) -> None:
        self.outgoing = outgoing
        self.answer = answer

    def wrap_bio(self, _incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **_options: bool) -> Talker:
        return Talker(outgoing, self.answer)

    def do_handshake(self) -> None:
        """Have it done."""

    def getpeercert(self, _binary_form: bool = False) -> bytes | None:
        """Know of none."""
        return None

    def read(self, _size: int) -> bytes:
        self.outgoing.write(self.answer)
        raise ssl.SSLWantReadError


def test_what_a_client_asks_for_and_does_not_take_is_bounded() -> None:
    """RFC 8446 §4.6.3: each KeyUpdate may ask for another, and a client need not read those."""
    context: Any = Talker(ssl.MemoryBIO(), bytes(1000))
    tunnel = Tunnel(context, "")
    for _ in range(263):
        assert tunnel.open(b"update") is None
    with pytest.raises(OSError, match="more than it takes"):
        tunnel.open(b"update")
    assert tunnel.owes() == 263000


def test_records_without_data_are_bounded() -> None:
    """RFC 8446 §4.6.3: a KeyUpdate that asks for nothing still costs the derivation of a key."""
    context: Any = Talker(ssl.MemoryBIO(), b"")
    tunnel = Tunnel(context, "")
    assert tunnel.open(bytes(65536)) is None
    with pytest.raises(OSError, match="records without data"):
        tunnel.open(b"more")


def test_records_with_little_data_are_not(tunnel: Tunnel, client: Client) -> None:
    """A client may send each byte in a record of its own, and each byte of that by itself."""
    for _ in range(12_000):
        assert tunnel.open(client.sealed(b"x")) == b"x"
    for _ in range(500):
        sealed = client.sealed(b"x")
        assert [tunnel.open(sealed[i : i + 1]) for i in range(len(sealed))][-1] == b"x"


def test_who_the_client_is(authority: Authority, issued: Issued) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(issued.certificate, issued.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    for shown, name in ((None, None), (authority.issue("me"), "CN=me")):
        tunnel = Tunnel(context, "")
        Client(authority, shown).shake_hands(tunnel)
        assert (tunnel.client or {}).get("SSL_CLIENT_S_DN") == name


class Bearer(Talker):
    """OpenSSL, when it takes a certificate for good that Python cannot read."""

    def wrap_bio(self, _incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **_options: bool) -> Talker:
        return Bearer(outgoing, b"")

    def getpeercert(self, _binary_form: bool = False) -> bytes | None:
        if _binary_form:
            return b"certificate"
        raise ValueError


def test_a_certificate_that_cannot_be_read_ends_the_connection() -> None:
    context: Any = Bearer(ssl.MemoryBIO(), b"")
    with pytest.raises(OSError, match="cannot be read"):
        Tunnel(context, "").open(b"handshake")
