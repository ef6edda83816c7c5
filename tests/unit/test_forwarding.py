"""The fields of trusted_proxy_headers: what they say of client, host, scheme and prefix, and of whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwsgi import _impl
from fastwsgi._parser_py import Parser as PureParser
from fastwsgi.config.kinds import RefusedError
from fastwsgi.config.settings import BY_NAME
from fastwsgi.errors import HTTPError
from fastwsgi.forwarding import Forwarding
from fastwsgi.hops import Hop, read_addresses, read_forwarded
from fastwsgi.networks import Networks
from fastwsgi.request import Limits
from tests.environs import plain_environ

IMPLEMENTATIONS: list[Any] = [PureParser, _impl.Parser] if _impl.compiled else [PureParser]
PROXIES = ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1")
PEER = "10.0.0.1"
SCHEME_HEADERS = (("X-FORWARDED-PROTO", "https"), ("X-FORWARDED-SSL", "on"))
BASE = plain_environ()
Fields = list[tuple[str, str]]
Told = dict[str, Any] | int


def parsers(*named: str, proxies: tuple[str, ...] = PROXIES) -> list[Any]:
    forwarding = Forwarding.of(SCHEME_HEADERS, ("SCRIPT_NAME",), named, proxies)
    return [implementation(Limits(), forwarding) for implementation in IMPLEMENTATIONS]


def told_by(found: list[Any], fields: Fields, *, trusted: bool = True, remote: str = PEER) -> Told:
    """Return what both parsers make of a request with these fields, or the status that it is refused with."""
    lines = ["GET /app/x HTTP/1.1", "Host: own", *(f"{name}: {value}" for name, value in fields), "", ""]
    data = "\r\n".join(lines).encode("latin-1")
    seen: list[Told] = []
    for parser in (*found, *found, *found):  # what is remembered changes nothing
        try:
            seen.append(parser.parse(data, 0, BASE, remote, "1234", trusted).environ)
        except HTTPError as error:
            seen.append(error.status)
    assert all(one == seen[0] for one in seen), seen
    return seen[0]


FOR = parsers("x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix")
FORWARDED = parsers("forwarded")


def client(found: list[Any], name: str, *values: str, remote: str = PEER) -> tuple[str, str] | int:
    told = told_by(found, [(name, value) for value in values], remote=remote)
    return told if isinstance(told, int) else (told["REMOTE_ADDR"], told["REMOTE_PORT"])


# --- X-Forwarded-For ---------------------------------------------------------------------------------------

ITSELF = (PEER, "1234")
ADDRESSES = [
    (["203.0.113.9"], ("203.0.113.9", "")),
    (["203.0.113.9:4711"], ("203.0.113.9", "4711")),
    (["2001:db8::9"], ("2001:db8::9", "")),
    (["[2001:DB8::9]"], ("2001:db8::9", "")),
    (["[2001:db8::9]:4711"], ("2001:db8::9", "4711")),
    (["::ffff:203.0.113.9"], ("::ffff:203.0.113.9", "")),
    (["198.51.100.1, 203.0.113.9"], ("203.0.113.9", "")),
    (["198.51.100.1,203.0.113.9 ,\t10.0.0.2"], ("203.0.113.9", "")),
    (["198.51.100.1, 203.0.113.9, 2001:db8:1::1, 10.0.0.2"], ("203.0.113.9", "")),
    (["203.0.113.9, ::ffff:10.0.0.2"], ("203.0.113.9", "")),
    (["198.51.100.1", "203.0.113.9", "10.0.0.2"], ("203.0.113.9", "")),
    (["10.0.0.3, 10.0.0.2"], ("10.0.0.3", "")),  # all are proxies: the farthest
    # Whoever comes before what is no address is not known, and nobody vouches for it.
    (["203.0.113.9, unknown"], ITSELF),
    (["203.0.113.9, _hidden, 10.0.0.2"], ("10.0.0.2", "")),
    (["203.0.113.9, unix:"], ITSELF),
    (["203.0.113.9, "], ITSELF),
    (["203.0.113.9,, 10.0.0.2"], ("10.0.0.2", "")),
    (["203.0.113.9;"], ITSELF),
    (["203.0.113.256"], ITSELF),
    (["203.0.113.09"], ITSELF),
    (["203.0.113.9:65536"], ITSELF),
    (["203.0.113.9:"], ITSELF),
    (["203.0.113.9:+1"], ITSELF),
    (["2001:db8::9:::1"], ITSELF),
    (["[2001:db8::9"], ITSELF),
    (["[203.0.113.9]"], ITSELF),
    (["fe80::1%eth0"], ITSELF),
    (["[fe80::1%eth0]"], ITSELF),
    (["localhost"], ITSELF),
    (["3405803785"], ITSELF),
    (["\xb2\xb3.0.0.1"], ITSELF),
    (['"203.0.113.9"'], ITSELF),
    ([""], ITSELF),
    (["x" * 8000], ITSELF),
    ([", ".join(["10.0.0.2"] * 800)], ("10.0.0.2", "")),
]


@pytest.mark.parametrize(("values", "expected"), ADDRESSES)
def test_the_client_of_x_forwarded_for(values: list[str], expected: tuple[str, str]) -> None:
    assert client(FOR, "X-Forwarded-For", *values) == expected


def test_a_list_where_everybody_is_believed_has_one_that_is_known() -> None:
    """Behind a router of a platform: `*` says that whoever connects is believed, not that all are proxies."""
    for proxies in (("*",), ("*", "10.0.0.0/8"), ("0.0.0.0/0", "::/0")):
        found = parsers("x-forwarded-for", proxies=proxies)
        told = client(found, "X-Forwarded-For", "127.0.0.1, 203.0.113.9", remote="192.0.2.1")
        assert told == ("203.0.113.9", "")


def test_a_client_that_the_proxy_header_names_has_nobody_to_name() -> None:
    assert client(FOR, "X-Forwarded-For", "203.0.113.9", remote="192.0.2.1") == ("192.0.2.1", "1234")
    assert client(FOR, "X-Forwarded-For", "203.0.113.9", remote="") == ("203.0.113.9", "")  # a Unix socket


# --- Forwarded (RFC 7239 §4, §6) ---------------------------------------------------------------------------------------------

# RFC 7239 §4
PAIRS: list[tuple[list[str], tuple[str, str] | int]] = [
    (["for=203.0.113.9"], ("203.0.113.9", "")),
    (["FOR=203.0.113.9;By=10.0.0.1"], ("203.0.113.9", "")),
    (['for="203.0.113.9:4711"'], ("203.0.113.9", "4711")),
    (['for="[2001:db8::9]:4711"'], ("2001:db8::9", "4711")),
    (['for="[2001:db8::9]:_port"'], ("2001:db8::9", "")),
    (['for="\\2\\03.0.113.9"'], ("203.0.113.9", "")),
    (["for=198.51.100.1, for=203.0.113.9,for=10.0.0.2"], ("203.0.113.9", "")),
    (["for=198.51.100.1", "for=203.0.113.9", "for=10.0.0.2"], ("203.0.113.9", "")),
    (["for=203.0.113.9 \t,\t for=10.0.0.2"], ("203.0.113.9", "")),
    (['by="a,b;c=\\"d";for=203.0.113.9;x=y'], ("203.0.113.9", "")),
    (["for=203.0.113.9;;proto=http;"], ("203.0.113.9", "")),
    (['for="";by=""'], ITSELF),
    (["for=203.0.113.9, for=unknown"], ITSELF),
    (["for=203.0.113.9, for=_gazonk, for=10.0.0.2"], ("10.0.0.2", "")),
    (["for=203.0.113.9, by=10.0.0.1"], ITSELF),
    (["for=203.0.113.9, "], ITSELF),
    (['for="2001:db8::9"'], ITSELF),  # RFC 7239 §6: in brackets
    (['for="203.0.113.9:99999"'], ITSELF),
    ([""], ITSELF),
    (["for=203.0.113.9:4711"], 400),  # not quoted
    (["for=[2001:db8::9]"], 400),
    (["for = 203.0.113.9"], 400),
    (["for=203.0.113.9; by=x"], 400),
    (["for=203.0.113.9;for=203.0.113.9"], 400),
    (["for=203.0.113.9;For=203.0.113.8"], 400),
    (["for"], 400),
    (["for="], 400),
    (["=203.0.113.9"], 400),
    (['for="203.0.113.9'], 400),
    (['for="203.0.113.9\\"'], 400),
    (['for="203.0.113.9"x'], 400),
    (['for=x"203.0.113.9"'], 400),
    (["for=203.0.113.9 by=x"], 400),
    (["203.0.113.9"], 400),
    ([",".join(["for=10.0.0.2"] * 256)], ("10.0.0.2", "")),
    ([",".join(["for=10.0.0.2"] * 257)], 400),
    ([";".join(f"x{number}=a" for number in range(257))], 400),
    (["f\xf6r=203.0.113.9"], 400),
    # A quote that a client opens does not swallow what the proxy writes behind it.
    (['for=8.8.8.8;x="', "for=203.0.113.9"], 400),
    (['for=8.8.8.8;x="', 'for="[2001:db8::9]"'], 400),
    (['for=8.8.8.8;x="', 'for=203.0.113.9;host="a"'], 400),
]


@pytest.mark.parametrize(("values", "expected"), PAIRS)
def test_the_client_of_forwarded(values: list[str], expected: tuple[str, str] | int) -> None:
    assert client(FORWARDED, "Forwarded", *values) == expected


@pytest.mark.parametrize(
    ("value", "host", "scheme"),
    [
        ("for=203.0.113.9;host=public;proto=https", "public", "https"),
        ('for=203.0.113.9;host="public:8443";proto=HTTPS', "public:8443", "https"),
        ("for=203.0.113.9;proto=http", "own", "http"),
        ("for=203.0.113.9;proto=wss", "own", "http"),  # as of fields of secure_scheme_headers
        ("for=203.0.113.9;host=public;proto=https, for=10.0.0.2;host=inner;proto=http", "public", "https"),
        ("for=1.2.3.4;host=evil;proto=https, for=203.0.113.9;host=public, for=10.0.0.2", "public", "http"),
        ("for=1.2.3.4;host=evil, for=_x;host=public, for=10.0.0.2;host=inner", "public", "http"),
        ("host=evil, host=public", "public", "http"),
        ('for=203.0.113.9;host=""', "own", "http"),
    ],
)  # fmt: skip
def test_host_and_scheme_are_told_by_the_one_that_names_the_client(
    value: str, host: str, scheme: str
) -> None:
    told = told_by(FORWARDED, [("Forwarded", value)])
    assert isinstance(told, dict)
    assert (told["HTTP_HOST"], told["wsgi.url_scheme"]) == (host, scheme)
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("127.0.0.1", "8000")
    assert told["HTTP_FORWARDED"] == value


def test_contradictions() -> None:
    for fields in (
        [("Forwarded", "proto=https"), ("X-Forwarded-Proto", "http")],
        [("X-Forwarded-Ssl", "on"), ("Forwarded", "proto=http")],
        [("Forwarded", 'host="a b"')],
        [("Forwarded", "host=:80")],
    ):
        assert told_by(FORWARDED, fields) == 400
        assert isinstance(told_by(FORWARDED, fields, trusted=False), dict)
        assert isinstance(told_by(FOR, fields[:1]), dict)  # not named
    agreed = told_by(FORWARDED, [("X-Forwarded-Ssl", "on"), ("Forwarded", "proto=https")])
    assert isinstance(agreed, dict)
    assert agreed["wsgi.url_scheme"] == "https"


# --- X-Forwarded-Host, -Prefix, -Proto ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["public"], "public"),
        (["public:8443"], "public:8443"),
        (["[2001:db8::1]:80"], "[2001:db8::1]:80"),
        (["evil, public"], "public"),  # what the peer has put behind it, as Apache does
        (["evil", "public"], "public"),
        ([""], "own"),
        (["evil,"], "own"),
        (["a b"], 400),
        (["a/b"], 400),
        (["user@host"], 400),
        ([":80"], 400),
        (["public:http"], 400),
        (["h\xf6st"], 400),
    ],
)
def test_host(values: list[str], expected: str | int) -> None:
    told = told_by(FOR, [("X-Forwarded-Host", value) for value in values])
    assert (told if isinstance(told, int) else told["HTTP_HOST"]) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("X-Forwarded-Prefix", "/mounted")], ("/mounted", "/app/x")),
        ([("X-Forwarded-Prefix", "/a/b/")], ("/a/b", "/app/x")),
        ([("X-Forwarded-Prefix", "/")], ("", "/app/x")),
        ([("X-Forwarded-Prefix", "")], ("", "/app/x")),
        ([("X-Forwarded-Prefix", "/a%20b")], ("/a b", "/app/x")),
        ([("X-Forwarded-Prefix", "/mounted"), ("SCRIPT_NAME", "/app")], ("/mounted/app", "/x")),
        ([("X-Forwarded-Prefix", "mounted")], 400),
        ([("X-Forwarded-Prefix", "//evil")], 400),
        ([("X-Forwarded-Prefix", "/%2fevil")], 400),
        ([("X-Forwarded-Prefix", "/\\evil")], 400),
        ([("X-Forwarded-Prefix", "/a?b")], 400),
        ([("X-Forwarded-Prefix", "/a#b")], 400),
        ([("X-Forwarded-Prefix", "/a b")], 400),
        ([("X-Forwarded-Prefix", "/a, /b")], 400),
        ([("X-Forwarded-Prefix", "/a"), ("X-Forwarded-Prefix", "/b")], 400),
    ],
)
def test_prefix(fields: Fields, expected: tuple[str, str] | int) -> None:
    told = told_by(FOR, fields)
    assert (told if isinstance(told, int) else (told["SCRIPT_NAME"], told["PATH_INFO"])) == expected


def test_two_ways_to_say_one_thing_are_a_mistake() -> None:
    parse = BY_NAME["trusted_proxy_headers"].parse
    assert parse("X-Forwarded-For x-forwarded-proto") == (
        "x-forwarded-for",
        "x-forwarded-proto",
    )  # as waitress
    assert parse(["forwarded", "x-forwarded-prefix"]) == ("forwarded", "x-forwarded-prefix")
    assert parse("") == ()
    for both in ("forwarded,x-forwarded-for", "x-forwarded-host,forwarded"):
        with pytest.raises(RefusedError, match="name those that your proxy writes"):
            parse(both)
    for other in ("x-real-ip", "x-forwarded", "X_Forwarded_For", "*"):
        with pytest.raises(ValueError, match=r"^$"):
            parse(other)


def test_proto_is_one_of_secure_scheme_headers() -> None:
    assert Forwarding.of((), (), ("x-forwarded-proto",)).schemes == {b"x-forwarded-proto": b"https"}
    assert Forwarding.of((("X-FORWARDED-PROTO", "HTTPS"),), (), ("x-forwarded-proto",)).schemes == {
        b"x-forwarded-proto": b"HTTPS"
    }
    assert not Forwarding.of((), (), ("x-forwarded-proto",)).hears()


# --- who says what changes nothing --------------------------------------------------------------------------

SPOKEN = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "SCRIPT_NAME", "PATH_INFO", "HTTP_HOST")
FIELDS = (
    ("Forwarded", "for=203.0.113.9;host=evil;proto=https"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "evil"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Real-IP", "203.0.113.9"),
    ("X-Forwarded-Port", "443"),
    ("SCRIPT_NAME", "/app"),
    ("REMOTE_ADDR", "203.0.113.9"),
    ("Remote-Addr", "203.0.113.9"),
    ("HTTP_HOST", "evil"),
    ("wsgi.url_scheme", "https"),
)
SPELLINGS = (
    str,
    str.lower,
    str.upper,
    lambda name: name.replace("-", "_"),
    lambda name: name.replace("_", "-"),
    lambda name: name.lower().replace("-", "_", 1),
)
ANY = st.lists(
    st.tuples(st.sampled_from(FIELDS), st.sampled_from(SPELLINGS)).map(lambda one: (one[1](one[0][0]), one[0][1])),
    max_size=5,
)  # fmt: skip
OFF = parsers()
ALL = [FOR, FORWARDED, OFF]


def spoken(told: Told) -> dict[str, Any]:
    assert isinstance(told, dict)
    return {key: told[key] for key in SPOKEN}


NOTHING = spoken(told_by(OFF, []))


@settings(max_examples=100, deadline=None, database=None)
@given(ANY, st.sampled_from(ALL))
def test_whoever_is_not_believed_changes_nothing(fields: Fields, found: list[Any]) -> None:
    assert spoken(told_by(found, fields, trusted=False)) == NOTHING


@settings(max_examples=100, deadline=None, database=None)
@given(ANY, st.sampled_from(ALL))
def test_whoever_is_believed_changes_nothing_by_other_names(fields: Fields, found: list[Any]) -> None:
    heard = {
        id(OFF): set[str](),
        id(FOR): {"x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix"},
        id(FORWARDED): {"forwarded"},
    }[id(found)] | {"x-forwarded-proto", "x-forwarded-ssl", "script_name"}
    others = [(name, value) for name, value in fields if name.lower() not in heard]
    assert spoken(told_by(found, others)) == NOTHING


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.text(st.characters(min_codepoint=9, max_codepoint=255), max_size=60)
    | st.lists(
        st.sampled_from(
            ["for=", "host=", "proto=", "by=", "203.0.113.9", '"', "\\", ";", ",", " ", "[", "]", "10.0.0.2",
             ":80", "unknown", "_x", "2001:db8::9", "https", "a"]
        ),
        max_size=12,
    ).map("".join),
    st.sampled_from(["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix"]),
)  # fmt: skip
def test_any_value_is_read_alike_and_makes_an_address_or_nothing(value: str, name: str) -> None:
    for found in (FOR, FORWARDED):
        told = told_by(found, [(name, value)])
        if isinstance(told, int):
            assert told == 400
        else:
            assert Networks(["*"]).include(told["REMOTE_ADDR"])
            Networks([told["REMOTE_ADDR"]])  # an address
            assert told["REMOTE_PORT"] == "" or 0 <= int(told["REMOTE_PORT"]) <= 65535


def test_hops() -> None:
    assert list(read_addresses("10.0.0.2,10.0.0.1")) == [Hop(("10.0.0.1", "")), Hop(("10.0.0.2", ""))]
    assert list(read_forwarded("for=_x;proto=https,host=a")) == [Hop(None, "a"), Hop(None, None, "https")]
