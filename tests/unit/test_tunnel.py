"""TLS in memory: what is opened, what is sealed, and what OpenSSL says in between."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from fastwsgi.tunnel import Tunnel
from tests.certificates import Authority, needs_openssl

pytestmark = needs_openssl


class Client:
    """The other end, by the standard library."""

    def __init__(self, authority: Authority) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = authority.client().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

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
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issue()
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
    """OpenSSL, when each record that comes asks for a new key."""

    def __init__(self, outgoing: ssl.MemoryBIO) -> None:
        self.outgoing = outgoing

    def wrap_bio(self, _incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **_options: bool) -> Talker:
        return Talker(outgoing)

    def do_handshake(self) -> None:
        """Have it done."""

    def read(self, _size: int) -> bytes:
        self.outgoing.write(bytes(1000))
        raise ssl.SSLWantReadError


def test_what_a_client_asks_for_and_does_not_take_is_bounded() -> None:
    """RFC 8446 §4.6.3: each KeyUpdate may ask for another, and a client need not read those."""
    context: Any = Talker(ssl.MemoryBIO())
    tunnel = Tunnel(context, "")
    for _ in range(263):
        assert tunnel.open(b"update") is None
    with pytest.raises(OSError, match="more than it takes"):
        tunnel.open(b"update")
    assert tunnel.owes() == 263000
