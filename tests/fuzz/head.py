"""Target `head`: one meaning of a request head, whoever reads it and whatever was read before.

Two bytes choose settings; what follows is read as heads, one behind the other. By turns they come from a proxy that is
believed and from one that is not, and below one mount point and another. Compared are the scanner with its memory, over
six rounds; httptools; the strict reader in Python; and h11.
"""

from __future__ import annotations

import io
from typing import Any, Final

from tests.environs import plain_environ
from tests.fuzz.h11_reading import KNOWN, RefusedError, fields_of, read_request
from tests.fuzz.twins import COMPILED, PURE, Twin

__all__ = ["FORWARDINGS", "LIMITS", "check"]

LIMITS: Final[list[dict[str, Any]]] = [
    {},
    {"request_line": 60, "fields": 4, "field_size": 40, "body": 1000},
    {"header_map": "refuse"},
    {"header_map": "dangerous"},
    {"request_line": 0, "fields": 0, "field_size": 0, "body": 0},
    {"fields": 70, "field_size": 300},
    {"request_line": 0, "body": 10},
    {"request_line": 30, "fields": 0, "header_map": "dangerous"},
]
FORWARDINGS: Final[list[dict[str, Any]]] = [
    {},
    {
        "schemes": {b"x-forwarded-proto": b"https", b"x-forwarded-ssl": b"on"},
        "underscored": {b"script_name", b"path_info"},
    },
    # Names that mean something already, one that is longer than the scanner takes, and one with an underscore.
    {
        "schemes": {b"connection": b"close", b"x-" + b"long-" * 13: b"a", b"x_scheme": b"https"},
        "underscored": {b"*"},
    },
    {"schemes": {b"host": b"a", b"x-forwarded-proto": b"https"}, "underscored": {b"remote_user"}},
    {
        "schemes": {b"x-forwarded-proto": b"https"},
        "named": {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix"},
        "proxies": ("192.0.2.0/24", "10.0.0.0/8", "::1"),
    },
    {
        "schemes": {b"x-forwarded-proto": b"https"},
        "underscored": {b"script_name"},
        "named": {b"forwarded", b"x-forwarded-prefix"},
        "proxies": ("*",),
    },
    {"named": {b"x-forwarded-for"}},
    {"named": {b"forwarded", b"x-forwarded-host"}, "proxies": ("192.0.2.1",)},
]
ADDRESS: Final = frozenset("0123456789abcdef.:")
PEER: Final = ("192.0.2.1", "1234")
ROUNDS: Final = 6
HEADS: Final = 24
ERRORS: Final = io.StringIO()
NAMES: Final = ("", "/app")

Outcome = Any  # facts of a request; the status of a refusal; None for a head that is not whole


def bases(twin: Twin) -> list[dict[str, Any]]:
    return [plain_environ(script_name=name, errors=ERRORS, base_environ=twin.base_environ) for name in NAMES]


BASES: Final = {twin.name: bases(twin) for twin in (COMPILED, PURE)}
OWN: Final = ("wsgi.input", "wsgi.file_wrapper")  # each package has its own


def facts(request: Any, base: dict[str, Any]) -> tuple[Any, ...]:
    environ = dict(request.environ)
    assert type(request.environ) is dict
    for key in OWN:
        assert environ.pop(key) is base[key]
    assert all(type(key) is str for key in environ)
    assert all(type(environ[key]) is str for key in environ if not key.startswith("wsgi."))
    return (
        environ,
        request.method,
        request.target,
        request.version,
        request.head_end,
        request.content_length,
        request.is_head,
        request.keep_alive,
        request.expect_continue,
        request.upgrade,
    )


def sequence(parser: Any, parse: Any, twin: Twin, data: bytes, base: dict[str, Any]) -> list[Outcome]:
    """Read heads until there is none, or one that is refused; of one that is not whole a connection asks head_end()."""
    found: list[Outcome] = []
    at = 0
    while len(found) < HEADS:
        try:
            request = parse(data, at, base)
            if request is None:
                assert parser.head_end(bytearray(data[at:]), 0) == 0
        except twin.HTTPError as error:
            found.append(error.status)
            break
        if request is None:
            found.append(None)
            break
        assert at < request.head_end <= len(data)
        found.append(facts(request, base))
        at = request.head_end
    return found


def check(data: bytes) -> None:
    """Raise AssertionError where readers differ."""
    if len(data) < 3:
        return
    limits = LIMITS[data[0] & 7]
    forwarding = FORWARDINGS[data[0] >> 3 & 7]
    turns = data[1]
    raw = data[2:]

    made = {twin.name: (twin.Limits(**limits), twin.forwarding(**forwarding)) for twin in (COMPILED, PURE)}
    scanner = COMPILED.Parser(*made["fastwsgi"])
    strict = PURE.Parser(*made["purewsgi"])
    expected: dict[tuple[int, bool], list[Outcome]] = {}
    for mounted in (0, 1):
        for trusted in (False, True):
            base = BASES["purewsgi"][mounted]
            expected[mounted, trusted] = sequence(
                strict,
                lambda data, at, base, trusted=trusted: strict.parse(data, at, base, *PEER, trusted),
                PURE,
                raw,
                base,
            )
    for number in range(ROUNDS):
        mounted, trusted = turns >> number & 1, bool(turns >> (number // 2 + 4) & 1)
        base = BASES["fastwsgi"][mounted]
        found = sequence(
            scanner,
            lambda data, at, base, trusted=trusted: scanner.parse(data, at, base, *PEER, trusted),
            COMPILED,
            raw,
            base,
        )
        same(found, expected[mounted, trusted], f"scanner, round {number}")
    if COMPILED.is_compiled:
        trusted = bool(turns & 0x80)
        base = BASES["fastwsgi"][0]
        bounds, heard = made["fastwsgi"]
        read = COMPILED.module("llhttp").read
        found = sequence(
            scanner,
            lambda data, at, base: read(data, at, base, PEER, bounds, heard if trusted else None),
            COMPILED,
            raw,
            base,
        )
        same(found, expected[0, trusted], "httptools")
    for twin in (COMPILED, PURE):
        assert BASES[twin.name] == bases(twin), "a request has changed the environ that all begin with"
    dangerous = limits.get("header_map") == "dangerous"
    plain = expected[0, False]
    read_by_h11(raw, plain, lambda _: dangerous)
    for one, told in zip(plain, expected[0, True], strict=False):
        if not isinstance(one, tuple) or not isinstance(told, tuple):
            break
        only_what_is_heard(one, told, forwarding.get("named", ()))


def only_what_is_heard(one: tuple[Any, ...], told: tuple[Any, ...], named: Any) -> None:
    """A peer that is not believed says nothing of scheme, client and mount point; one that is says nothing else."""
    environ, other = one[0], told[0]
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["SCRIPT_NAME"] == ""
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == PEER
    assert other["wsgi.url_scheme"] in ("http", "https")
    steered = ["wsgi.url_scheme", "SCRIPT_NAME", "PATH_INFO"]
    if b"x-forwarded-prefix" in named:
        assert other["SCRIPT_NAME"].startswith("/") or not other["SCRIPT_NAME"]
        assert environ["PATH_INFO"].endswith(other["PATH_INFO"])
    else:
        assert other["SCRIPT_NAME"] + other["PATH_INFO"] == environ["PATH_INFO"]
    if b"forwarded" in named or b"x-forwarded-for" in named:
        steered += ["REMOTE_ADDR", "REMOTE_PORT"]
        assert set(other["REMOTE_ADDR"]) <= ADDRESS
        assert other["REMOTE_PORT"].isdecimal() or not other["REMOTE_PORT"]
    if b"forwarded" in named or b"x-forwarded-host" in named:
        steered.append("HTTP_HOST")
    for key, value in environ.items():
        if key not in steered:
            # A name with an underscore, which is taken from a proxy, joins that with hyphens.
            assert other[key] == value or (key.startswith("HTTP_") and value in other[key])
    assert one[1:] == told[1:]


def same(found: list[Outcome], expected: list[Outcome], who: str) -> None:
    if found != expected:
        for one, other in zip(found, expected, strict=False):
            assert one == other, f"{who}: {one!r}, and not {other!r}"
        raise AssertionError(f"{who}: {found!r}, and not {expected!r}")


def read_by_h11(raw: bytes, found: list[Outcome], keeps: Any) -> None:
    at = 0
    for one in found:
        if not isinstance(one, tuple):
            return
        environ, method, target, version, end, length, is_head, keep_alive, expects, upgrade = one
        begin, at = at, end
        try:
            message = read_request(raw[begin:end], head_only=length != 0)
        except RefusedError as error:
            assert error.is_known(), (
                f"taken, and refused by h11: {error}; if rightly so, add the rule to {list(KNOWN)}"
            )
            continue
        assert message.method == method.encode() == environ["REQUEST_METHOD"].encode()
        assert message.target == target.encode() == environ["RAW_URI"].encode()
        assert is_head == (message.method == b"HEAD")
        assert version == (message.version > b"1.0")
        assert expects == (message.expects_continue and length != 0)
        fields = fields_of(message, keeps=keeps)
        coded = b"transfer-encoding" in dict(message.fields)
        assert length == (-1 if coded else int(fields.get("CONTENT_LENGTH", "0")))
        if length == 0 and version:  # h11 keeps no connection of HTTP/1.0
            assert keep_alive != (message.is_last or upgrade)
        options = {option.strip(" \t") for option in fields.get("HTTP_CONNECTION", "").lower().split(",")}
        assert upgrade == bool("upgrade" in options and "HTTP_UPGRADE" in fields and version)
        is_asked = "close" not in options and (bool(version) or "keep-alive" in options)
        assert keep_alive == (is_asked and not upgrade)  # what follows is nobody's request for us
        if not message.target.startswith((b"/", b"*")):  # RFC 9112 §3.2.2: an absolute target has the say
            fields["HTTP_HOST"] = (
                message.target.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0].decode()
            )
        shown = {key: environ[key] for key in environ if key.startswith(("HTTP_", "CONTENT_"))}
        if coded:
            fields["HTTP_TRANSFER_ENCODING"] = shown.get("HTTP_TRANSFER_ENCODING", "").lower()
            shown["HTTP_TRANSFER_ENCODING"] = fields["HTTP_TRANSFER_ENCODING"]
        assert shown == fields
        path, _, query = message.target.decode().partition("?")
        assert environ["QUERY_STRING"] == query
        if path.startswith("/") and "%" not in path:
            assert environ["PATH_INFO"] == path
