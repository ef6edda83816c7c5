"""One meaning of a head: scanner against httptools, compiled against pure, any split against whole."""

from __future__ import annotations

import io
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastwsgi import _impl, http11, policy
from fastwsgi._parser_py import Parser as PureParser
from fastwsgi.errors import HTTPError
from fastwsgi.forwarding import Forwarding
from fastwsgi.networks import Networks
from fastwsgi.request import Limits, Request
from tests.corpus import cases
from tests.environs import plain_environ

IMPLEMENTATIONS: list[Any] = [PureParser, _impl.Parser] if _impl.compiled else [PureParser]
# More by FASTWSGI_FUZZ_EXAMPLES=200000, for a long session.
EXAMPLES = int(os.environ.get("FASTWSGI_FUZZ_EXAMPLES", "400"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SMALL = Limits(request_line=60, fields=4, field_size=40, body=1000)
LIMITS = [
    Limits(),
    SMALL,
    Limits(header_map="refuse"),
    Limits(header_map="dangerous"),
    Limits(0, 0, 0, 0),
]
# One name has a meaning of its own, one is longer than the scanner takes.
SCHEMES = {
    b"x-forwarded-proto": b"https",
    b"x-forwarded-ssl": b"on",
    b"connection": b"close",
    b"x-" + b"long-" * 13: b"a",
}
NAMED = (b"forwarded", b"x-forwarded-host", b"x-forwarded-prefix")
FORWARDING = Forwarding(SCHEMES, (b"script_name", b"remote_user"), NAMED, Networks(["192.0.2.0/24"]))
PARSERS = {
    (implementation, limits): implementation(limits, FORWARDING)
    for implementation in IMPLEMENTATIONS
    for limits in LIMITS
}


def base(script_name: str = "") -> dict[str, Any]:
    return plain_environ(script_name=script_name, errors=ERRORS)


ERRORS = io.StringIO()
BASES = [base(), base("/app")]


def facts(request: Request) -> tuple[Any, ...]:
    return (
        request.environ,
        request.version,
        request.head_end,
        request.content_length,
        request.is_head,
        request.keep_alive,
        request.expect_continue,
        request.upgrade,
    )


def whole(parser: Any, data: bytes, environ: dict[str, Any], *, trusted: bool = False) -> Any:
    """Return the facts of the request, a status, or None while it is not whole, as a connection asks."""
    try:
        request = parser.parse(data, 0, environ, "192.0.2.1", "1234", trusted)
        if request is None:
            assert parser.head_end(bytearray(data), 0) == 0
            return None
        return facts(request)
    except HTTPError as error:
        return error.status


def pieces(
    parser: Any, data: bytes, cuts: list[int], environ: dict[str, Any], *, trusted: bool = False
) -> Any:
    """Return the same of data that comes in pieces."""
    buffer = bytearray()
    searched = 0
    try:
        for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True):
            buffer += data[a:b]
            if parser.head_end(buffer, searched):
                return facts(parser.parse(bytes(buffer), 0, environ, "192.0.2.1", "1234", trusted))
            searched = len(buffer)
    except HTTPError as error:
        return error.status
    return None


def agree(
    data: bytes,
    limits: Limits = LIMITS[0],
    environ: dict[str, Any] = BASES[0],
    *,
    trusted: bool = False,
) -> Any:
    parsers = [PARSERS[implementation, limits] for implementation in IMPLEMENTATIONS]
    # Five times: what the parser remembers by then changes nothing.
    parsers += [parsers[-1]] * 4
    found = [whole(parser, data, environ, trusted=trusted) for parser in parsers]
    assert all(one == found[0] for one in found), found
    return found[0]


TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"PROPFIND"]) | TOKENS
TARGETS = st.sampled_from(
    [b"/", b"/app", b"/app/x?y=%20", b"/%41%zz%", b"/a?b?c", b"*", b"http://h/x?q", b"HTTP://h:80", b"https://u@h/",
     b"http://:1/", b"//x", b"/a#b", b"a:80", b"/\xe9", b"/ b"]
) | st.text("/ab%12?&=#*:", min_size=1, max_size=20).map(str.encode)  # fmt: skip
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"http/1.1"]
)
NAMES = (
    st.sampled_from(
        [
            b"Host",
            b"Connection",
            b"Content-Length",
            b"Content-Type",
            b"Transfer-Encoding",
            b"Expect",
            b"Upgrade",
            b"Cookie",
            b"Proxy",
            b"X_Y",
            b"X-Forwarded-Proto",
            b"X-Forwarded-SSL",
            b"Script_Name",
            b"SCRIPT_NAME",
            b"remote_user",
            b"X-" + b"long-" * 13,
            b"Content_Length",
            b"HOST",
            b"Authorization",
            b"Accept",
            b" Host",
            b"Host ",
        ]
    )
    | TOKENS
    | st.sampled_from([name.encode() for name in http11.COMMON_FIELDS])
)
VALUES = st.sampled_from(
    [b"a", b"", b"https", b"http", b"on", b"/app", b"/app/", b"a:80", b"[::1]:80", b"keep-alive", b"close", b"Keep-Alive, Upgrade", b"0", b"5", b"+5", b"5,5", b"1 1",
     b"9223372036854775807", b"9223372036854775808", b"007", b"1001", b"chunked", b"gzip, chunked", b"chunked, chunked",
     b"CHUNKED", b"100-continue", b"100-Continue", b"websocket", b"a=b", b"\xe9", b"\t x \t"]
) | st.binary(max_size=45)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    line = b" ".join((draw(METHODS), draw(TARGETS), draw(VERSIONS)))
    fields = [
        b"%b:%b%b" % (draw(NAMES), draw(st.sampled_from([b" ", b"", b"\t"])), draw(VALUES))
        for _ in range(draw(st.integers(0, 6)))
    ]
    if draw(st.integers(0, 3)):
        fields.insert(draw(st.integers(0, len(fields))), b"Host: a")
    start = draw(st.sampled_from([b""] * 9 + [b"\r\n"]))
    return (
        start
        + b"\r\n".join([line, *fields])
        + b"\r\n\r\n"
        + draw(st.sampled_from([b"", b"body", b"GET / HTTP/1.1\r\n"]))
    )


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    data = bytearray(
        draw(heads() | st.sampled_from([case.raw[:600] for case in cases.VALID + cases.INVALID]))
    )
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        width = draw(st.integers(0, 2))
        data[at : at + width] = draw(
            st.sampled_from(
                [b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"\x0b", b"\x7f", b"\x80", b"_", b"#"]
            )
            | st.binary(max_size=2)
        )
    return bytes(data)


ANY = heads() | mutants() | mutants() | st.binary(max_size=80)


@FUZZ
@given(ANY, st.sampled_from(LIMITS), st.sampled_from(BASES), st.booleans())
def test_compiled_and_pure_agree(data: bytes, limits: Limits, environ: dict[str, Any], trusted: bool) -> None:
    agree(data, limits, environ, trusted=trusted)


@st.composite
def forwarded(draw: st.DrawFn) -> bytes:
    """Return a head that is plain but for what a proxy says in it."""
    names = st.sampled_from(
        [
            *SCHEMES,
            *NAMED,
            b"X_Forwarded_Host",
            b"X-Forwarded-Proto",
            b"SCRIPT_NAME",
            b"Script-Name",
            b"REMOTE_USER",
            b"x_y",
        ]
    )
    values = st.sampled_from(
        [
            b"https",
            b"http",
            b"on",
            b"HTTPS",
            b"",
            b"/app",
            b"/app/",
            b"/",
            b"close",
            b"a",
            b"a, b:80",
            b"a b",
            b"for=203.0.113.9;proto=https;host=c",
            b"for=192.0.2.9",
            b"proto=http",
            b'for="',
            b"\xe9",
        ]
    )
    fields = draw(st.lists(st.tuples(names, values), max_size=4))
    lines = [b"GET " + draw(st.sampled_from([b"/", b"/app", b"/app/x"])) + b" HTTP/1.1", b"Host: a"]
    return b"\r\n".join([*lines, *(b"%b: %b" % field for field in fields), b"", b""])


@FUZZ
@given(forwarded(), st.sampled_from(LIMITS), st.sampled_from(BASES), st.booleans())
def test_what_proxies_say_is_read_alike(
    data: bytes, limits: Limits, environ: dict[str, Any], trusted: bool
) -> None:
    found = agree(data, limits, environ, trusted=trusted)
    if not trusted and not isinstance(found, int):
        assert found[0]["wsgi.url_scheme"] == "http"
        assert found[0]["SCRIPT_NAME"] == environ["SCRIPT_NAME"]


@FUZZ
@given(ANY | forwarded(), st.sampled_from(LIMITS), st.booleans(), st.data())
def test_split_and_whole_agree(data: bytes, limits: Limits, trusted: bool, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    for implementation in IMPLEMENTATIONS:
        parser = PARSERS[implementation, limits]
        expected = whole(parser, data, BASES[0], trusted=trusted)
        assert pieces(parser, data, cuts, BASES[0], trusted=trusted) == expected


@FUZZ
@given(ANY)
def test_what_is_taken_httptools_takes_alike(data: bytes) -> None:
    """RFC 9110 §9.1, §2.5: with the method and the version made known to llhttp, nothing else changed."""
    httptools = pytest.importorskip("httptools", reason="a pure installation goes without")
    found = whole(PARSERS[IMPLEMENTATIONS[-1], LIMITS[0]], data, BASES[0])
    if found is None or isinstance(found, int):
        return
    begin, end = policy.frame(data, 0, 0, LIMITS[0])
    method, target, major, minor, strict = policy.read(data[begin:end])
    fields: list[tuple[bytes, bytes]] = []
    urls = []

    class Collector:
        def on_url(self, url: bytes) -> None:
            urls.append(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            fields.append((name, value.strip(b" \t")))

    line = b"GET %b HTTP/1.%b" % (target, b"0" if minor == b"0" else b"1")
    head = data[begin:end]
    try:
        httptools.HttpRequestParser(Collector()).feed_data(line + head[head.find(b"\r\n") :])
    except httptools.HttpParserUpgrade:
        pass
    assert b"".join(urls) == target
    assert fields == strict
    built = policy.build(
        method, target, (major, minor), fields, end, LIMITS[0], BASES[0], ("192.0.2.1", "1234"), None
    )
    assert facts(built) == found


@pytest.mark.parametrize("case", cases.VALID + cases.INVALID, ids=lambda case: case.name)
def test_every_split_of_the_corpus(case: cases.Case) -> None:
    data = case.raw[:1500]
    expected = agree(data)
    for implementation in IMPLEMENTATIONS:
        parser = PARSERS[implementation, LIMITS[0]]
        for cut in range(0, len(data) + 1, 1 if len(data) < 400 else 7):
            assert pieces(parser, data, [cut], BASES[0]) == expected
        assert pieces(parser, data, list(range(1, len(data))), BASES[0]) == expected


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_field_too_many_is_refused_when_it_begins(implementation: Any) -> None:
    """Even where its first byte comes by itself."""
    parser = implementation(SMALL, FORWARDING)
    data = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * SMALL.fields
    assert pieces(parser, data + b"C", [len(data)], BASES[0]) == 431
    assert pieces(parser, data + b"\r", [len(data)], BASES[0]) is None
    assert pieces(parser, data + b"\rC", [len(data), len(data) + 1], BASES[0]) is None


SECRETS = ("Cookie", "Authorization", "Proxy-Authorization", "X-Api-Key", "X-CSRFToken", "X-Some-Session-Id")


@pytest.mark.skipif(not _impl.compiled, reason="the pure parser remembers nothing")
@pytest.mark.parametrize("name", [*SECRETS, "X-Colour"])
def test_secrets_are_not_remembered(name: str) -> None:
    """What is remembered is one object in every environ."""
    parser = _impl.Parser(LIMITS[0], FORWARDING)
    data = f"GET / HTTP/1.1\r\nHost: a\r\n{name}: mine\r\n\r\n".encode()
    requests = [parser.parse(data, 0, BASES[0], "192.0.2.1", "1", False) for _ in range(6)]
    key = "HTTP_" + name.upper().replace("-", "_")
    values = {id(request.environ[key]) for request in requests if request is not None}
    assert (len(values) == len(requests)) == (name in SECRETS)


LINES = (
    "Host: a",
    "Host: b",
    "Connection: close",
    "Connection: keep-alive",
    "Accept: text/html",
    "Accept: */*",
    "User-Agent: one",
    "Content-Type: text/plain",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Ssl: off",
    "Forwarded: for=203.0.113.{};host=c;proto=https",
    "Forwarded: for=192.0.2.9, for=_x;host=",
    "X-Forwarded-Host: d",
    "X-Forwarded-Prefix: /p",
    "Cookie: a=1",
    "Content-Length: 0",
    "Upgrade: websocket",
    "Bad name: x",
    "X-Number: {}",
    "Accept: {}",
    "Cookie: a={}",
    "Referer: {}",
)


@pytest.mark.skipif(not _impl.compiled, reason="the pure parser remembers nothing")
@pytest.mark.parametrize("seed", range(12))
def test_what_clients_sent_before_changes_nothing(seed: int) -> None:
    """Heads of the same few clients, again and again: what is remembered of one must not show in another."""
    chance = random.Random(seed)
    parser, pure = _impl.Parser(LIMITS[0], FORWARDING), PureParser(LIMITS[0], FORWARDING)
    clients = [["Host: a", *chance.sample(LINES, chance.randrange(1, 7))] for _ in range(6)]
    bases = [base(), base(), base("/app")]
    for number in range(600):
        lines = [line.format(chance.randrange(3)) for line in chance.choice(clients)]
        if chance.random() < 0.1:
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(LINES).format(number))
        if chance.random() < 0.1:
            chance.shuffle(lines)
        data = "\r\n".join([f"GET /app/{number}?{number} HTTP/1.1", *lines, "", ""]).encode()
        if chance.random() < 0.05:
            data = data[: chance.randrange(len(data))]
        environ, trusted = bases[chance.choice((0, 0, 0, 1, 2))], chance.random() < 0.8
        assert whole(parser, data, environ, trusted=trusted) == whole(pure, data, environ, trusted=trusted)
    assert bases == [base(), base(), base("/app")]


@pytest.mark.skipif(not _impl.compiled, reason="the pure parser remembers nothing")
def test_the_environ_of_a_request_is_its_own() -> None:
    """An app may change it as it likes, however often the same client comes."""
    parser = _impl.Parser(LIMITS[0], FORWARDING)
    data = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n"
    seen = []
    for _ in range(8):
        request = parser.parse(data, 0, BASES[0], "192.0.2.1", "1", False)
        assert request is not None
        environ = request.environ
        seen.append(dict(environ))
        environ.clear()
    assert all(environ == seen[0] for environ in seen)
