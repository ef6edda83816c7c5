"""Proxies in front: who is believed, what they say in fields, and the PROXY protocol's headers."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwsgi.errors import HTTPError
from fastwsgi.forwarding import Forwarding
from fastwsgi.networks import Networks
from fastwsgi.proxy_header import ProxyHeader, ProxyProtocol

# --- who is believed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "address", "expected"),
    [
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["127.0.0.1"], "::ffff:127.0.0.1", True),
        (["10.0.0.0/8", "::1"], "10.255.0.1", True),
        (["10.0.0.1/8"], "10.255.0.1", True),
        (["10.0.0.0/8", "::1"], "::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["*"], "192.0.2.1", True),
        (["*"], "2001:db8::1", True),
        ([], "127.0.0.1", False),
        ([], "", True),  # a Unix socket's
    ],
)
def test_networks(words: list[str], address: str, expected: bool) -> None:
    networks = Networks(words)
    assert networks.include(address) is expected
    assert networks.include(address) is expected


# --- what they say -----------------------------------------------------------------------------------------

FORWARDING = Forwarding.of(
    (("X-FORWARDED-PROTO", "https"), ("X-FORWARDED-SSL", "on")), ("SCRIPT_NAME", "REMOTE_USER")
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], (None, None)),
        ([(b"X-Forwarded-Proto", b"https")], ("https", None)),
        ([(b"x-forwarded-proto", b"HTTPS")], ("http", None)),  # exactly that value, as in gunicorn
        ([(b"X-Forwarded-Proto", b"https, http")], ("http", None)),
        ([(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Ssl", b"on")], ("https", None)),
        ([(b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Ssl", b"off")], ("http", None)),
        ([(b"X-Forwarded-For", b"https"), (b"X_Forwarded_Proto", b"https")], (None, None)),
        ([(b"SCRIPT_NAME", b"/app")], (None, "/app")),
        ([(b"Script_Name", b"/app/")], (None, "/app")),
        ([(b"SCRIPT_NAME", b"/")], (None, "")),
        ([(b"SCRIPT-NAME", b"/app")], (None, None)),
    ],
)
def test_what_fields_tell(fields: list[tuple[bytes, bytes]], expected: tuple[str, str]) -> None:
    assert FORWARDING.read(fields) == expected


@pytest.mark.parametrize(
    "fields",
    [
        [(b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Ssl", b"on")],
        [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Proto", b"http")],
        [(b"SCRIPT_NAME", b"/app"), (b"SCRIPT_NAME", b"/app")],
    ],
)
def test_fields_that_contradict_each_other(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(HTTPError) as caught:
        FORWARDING.read(fields)
    assert caught.value.status == 400


def test_names_with_an_underscore() -> None:
    assert FORWARDING.takes(b"remote_user")
    assert not FORWARDING.takes(b"x_other")
    assert Forwarding.of((), ["*"]).takes(b"x_other")
    assert Forwarding.of((), ["*"]).read([(b"SCRIPT_NAME", b"/app")]) == (None, "/app")
    assert Forwarding.of((), []).read([(b"SCRIPT_NAME", b"/app")]) == (None, None)


# --- the PROXY protocol ------------------------------------------------------------------------------------

PEER = "192.0.2.1"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([203, 0, 113, 9, 192, 0, 2, 7]) + struct.pack(">HH", 4711, 443)
V6 = ipaddress.ip_address("2001:db8::9").packed + ipaddress.ip_address("::1").packed + V4[8:]


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return (
        SIGNATURE
        + bytes([command, family])
        + struct.pack(">H", len(block) if length is None else length)
        + block
    )


def proxy(mode: str = "auto") -> ProxyProtocol:
    return ProxyProtocol(mode, Networks([PEER]).include)


def read(data: bytes, mode: str = "auto", peer: str = PEER) -> ProxyHeader | int | None:
    try:
        return proxy(mode).read(data, peer)
    except HTTPError as error:
        return error.status


ACCEPTED: dict[str, tuple[bytes, str, tuple[str, str] | None, tuple[str, str] | None]] = {
    "TCP4": (
        b"PROXY TCP4 203.0.113.9 192.0.2.7 4711 443\r\n", "TCP4", ("203.0.113.9", "4711"), ("192.0.2.7", "443")),
    "TCP6": (
        b"PROXY TCP6 2001:DB8:0::9 ::1 65535 0\r\n", "TCP6", ("2001:db8::9", "65535"), ("::1", "0")),
    "TCP6, of an IPv4 client": (
        b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n", "TCP6", ("::ffff:192.0.2.9", "1"), ("::1", "2")),
    "the longest line": (
        b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n", "TCP6",
        ("ffff:" * 7 + "ffff", "65535"), ("ffff:" * 7 + "ffff", "65535")),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", "UNKNOWN", None, None),
    "UNKNOWN with anything": (b"PROXY UNKNOWN ffff::1 x 1 2\r\n", "UNKNOWN", None, None),
    "v2 TCP4": (v2(0x21, 0x11, V4), "TCP4", ("203.0.113.9", "4711"), ("192.0.2.7", "443")),
    "v2 TCP4 with TLVs": (v2(0x21, 0x11, V4 + b"\x04\0\x01x"), "TCP4", ("203.0.113.9", "4711"), ("192.0.2.7", "443")),
    "v2 TCP6": (v2(0x21, 0x21, V6), "TCP6", ("2001:db8::9", "4711"), ("::1", "443")),
    "v2 UNIX": (v2(0x21, 0x31, b"/a".ljust(108, b"\0") * 2), "UNIX", ("", ""), None),
    "v2 UNSPEC": (v2(0x21, 0x00, b""), "UNSPEC", None, None),
    "v2 UNSPEC with TLVs": (v2(0x21, 0x00, b"abcdef"), "UNSPEC", None, None),
    "v2 LOCAL": (v2(0x20, 0x00, b""), "LOCAL", None, None),
    "v2 LOCAL of any family": (v2(0x20, 0xFF, b"anything"), "LOCAL", None, None),
    "v2 of the greatest length": (v2(0x21, 0x11, V4 + bytes(65535 - len(V4))), "TCP4", ("203.0.113.9", "4711"),
                                  ("192.0.2.7", "443")),
}  # fmt: skip
REFUSED = {
    "no addresses": b"PROXY TCP4\r\n",
    "a name": b"PROXY TCP4 localhost 192.0.2.7 1 2\r\n",
    "another family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "IPv4 as TCP6": b"PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
    "a leading zero": b"PROXY TCP4 192.0.02.1 192.0.2.7 1 2\r\n",
    "a scope": b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
    "a great port": b"PROXY TCP4 192.0.2.1 192.0.2.7 1 65536\r\n",
    "a signed port": b"PROXY TCP4 192.0.2.1 192.0.2.7 +1 2\r\n",
    "a port with zeros": b"PROXY TCP4 192.0.2.1 192.0.2.7 01 2\r\n",
    "digits beyond ASCII": b"PROXY TCP4 192.0.2.1 192.0.2.7 \xb2 2\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.1 192.0.2.7 1 2\r\n",
    "a space behind": b"PROXY TCP4 192.0.2.1 192.0.2.7 1 2 \r\n",
    "a bare LF": b"PROXY TCP4 192.0.2.1 192.0.2.7 1 2\nGET / HTTP/1.1\r\n",
    "a bare CR": b"PROXY TCP4 192.0.2.1 192.0.2.7 1 2\rGET / HTTP/1.1\r\n",
    "lower case": b"PROXY tcp4 192.0.2.1 192.0.2.7 1 2\r\n",
    "UDP": b"PROXY UDP4 192.0.2.1 192.0.2.7 1 2\r\n",
    "UNKNOWNS": b"PROXY UNKNOWNS\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * 93,
    "an end too late": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "v2 of another version": v2(0x11, 0x11, V4),
    "v2 of another command": v2(0x22, 0x11, V4),
    "v2 of datagrams": v2(0x21, 0x12, V4),
    "v2 of another family": v2(0x21, 0x41, V4),
    "v2 of half a family": v2(0x21, 0x10, V4),
    "v2 too short for IPv4": v2(0x21, 0x11, V4[:-1]),
    "v2 too short for IPv6": v2(0x21, 0x21, V6[:-1]),
    "v2 too short for paths": v2(0x21, 0x31, bytes(215)),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n"])
def test_headers(name: str, behind: bytes) -> None:
    data, protocol, client, its_proxy = ACCEPTED[name]
    assert read(data + behind) == ProxyHeader(len(data), protocol, client, its_proxy)
    other, own = ("v1", "v2") if name.startswith("v2") else ("v2", "v1")
    assert read(data, own) == read(data)
    assert read(data, other) == 400
    assert read(data, peer="192.0.2.2") == 403
    assert read(data, peer="") == read(data)  # through a Unix socket


@pytest.mark.parametrize("name", [name for name in ACCEPTED if "greatest" not in name])
def test_headers_come_byte_by_byte(name: str) -> None:
    data = ACCEPTED[name][0]
    assert [read(data[:end]) for end in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_headers(name: str) -> None:
    assert read(REFUSED[name]) == 400


def test_what_the_app_finds() -> None:
    assert ProxyHeader(0).environ() == {}
    assert ProxyHeader(8, "LOCAL").environ() == {"PROXY_PROTOCOL": "LOCAL"}
    found = ProxyHeader(8, "TCP4", ("192.0.2.1", "1"), ("192.0.2.2", "2")).environ()
    assert found == {"PROXY_PROTOCOL": "TCP4", "PROXY_ADDR": "192.0.2.2", "PROXY_PORT": "2"}


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"PR ", b"PROXYGET / ", b"proxy ", b"\r\nGET /", b"\r\n\r\nGET", b"\x16\x03"],
)
def test_no_header(data: bytes) -> None:
    assert read(data) == ProxyHeader(0)
    assert read(data, "v1") == 400
    assert read(data, "v2") == 400
    assert read(data, peer="192.0.2.2") == ProxyHeader(0)


@settings(max_examples=500, deadline=None, database=None)
@given(
    st.binary(max_size=60)
    | st.binary(max_size=120).map(lambda data: b"PROXY " + data)
    | st.text("TCP46 0123456789.:abf\r\n", max_size=60).map(lambda text: b"PROXY TCP4 " + text.encode())
    | st.binary(max_size=60).map(lambda data: SIGNATURE + data)
    | st.binary(max_size=300).map(lambda data: SIGNATURE + b"\x21" + data),
    st.sampled_from(["v1", "v2", "auto"]),
)
def test_any_bytes_are_read_alike_however_they_come(data: bytes, mode: str) -> None:
    """The first verdict on what grows byte by byte is that on the whole; nothing is ever raised but refusals."""
    expected = read(data, mode)
    grown = None
    for end in range(1, len(data) + 1):
        grown = read(data[:end], mode)
        if grown is not None:
            break
    assert grown == expected
    if isinstance(expected, ProxyHeader):
        assert 0 <= expected.size <= len(data)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.ip_addresses(),
    st.integers(0, 65535),
    st.ip_addresses(v=6),
    st.integers(0, 65535),
    st.binary(max_size=40),
)
def test_versions_say_the_same(
    client: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    other: ipaddress.IPv6Address,
    other_port: int,
    tlvs: bytes,
) -> None:
    server = other if client.version == 6 else ipaddress.ip_address(int(other) >> 96)
    ports = struct.pack(">HH", port, other_port)
    binary = read(
        v2(0x21, 0x21 if client.version == 6 else 0x11, client.packed + server.packed + ports + tlvs)
    )
    text = read(f"PROXY TCP{client.version} {client} {server} {port} {other_port}\r\n".encode())
    assert isinstance(binary, ProxyHeader)
    assert isinstance(text, ProxyHeader)
    assert binary[1:] == text[1:]
    assert text.client is not None
    assert (ipaddress.ip_address(text.client[0]), text.client[1]) == (client, str(port))
