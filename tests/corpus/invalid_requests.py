"""Requests that must be refused, with which status. Nothing of them reaches an application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.corpus.valid_requests import CHUNKED, http, seen

if TYPE_CHECKING:
    from tests.corpus.make import Case

INVALID: list[Case] = []
Status = int | list[int]


def invalid(name: str, rfc: str, raw: bytes, status: Status = 400, *before: dict[str, Any]) -> None:
    INVALID.append((name, raw, {"rfc": rfc, "status": status, "before": list(before)}))


HOST = b"Host: a\r\n\r\n"
NOT_SERVED: Status = [400, 505]
"""A version that is no version, and one that is not ours, are told apart by nobody."""

# --- request line -------------------------------------------------------------------------------------
for name, line in {
    "no-version": b"GET /",
    "simple-request": b"GET / ",
    "only-method": b"GET",
    "empty-method": b" / HTTP/1.1",
    "double-space-target": b"GET  / HTTP/1.1",
    "double-space-version": b"GET /  HTTP/1.1",
    "trailing-space": b"GET / HTTP/1.1 ",
    "trailing-tab": b"GET / HTTP/1.1\t",
    "leading-space": b" GET / HTTP/1.1",
    "leading-tab": b"\tGET / HTTP/1.1",
    "tab-separated": b"GET\t/\tHTTP/1.1",
    "tab-before-version": b"GET /\tHTTP/1.1",
    "vt-separated": b"GET\x0b/\x0bHTTP/1.1",
    "four-words": b"GET / x HTTP/1.1",
    "empty-target": b"GET  HTTP/1.1",
    "method-colon": b"GE:T / HTTP/1.1",
    "method-latin1": b"G\xc9T / HTTP/1.1",
    "method-nul": b"GET\0 / HTTP/1.1",
    "method-brackets": b"<GET> / HTTP/1.1",
    "method-quoted": b'"GET" / HTTP/1.1',
    "method-comma": b"GET,POST / HTTP/1.1",
    "bom": b"\xef\xbb\xbfGET / HTTP/1.1",
    "response": b"HTTP/1.1 200 OK",
}.items():
    invalid(f"line-{name}", "RFC 9112 §3", line + b"\r\n" + HOST)
for name, version in {
    "lower-case": b"http/1.1",
    "mixed-case": b"Http/1.1",
    "other-name": b"HTTPS/1.1",
    "no-number": b"HTTP/",
    "no-slash": b"HTTP1.1",
    "no-minor": b"HTTP/1",
    "no-minor-dot": b"HTTP/1.",
    "three-parts": b"HTTP/1.1.1",
    "two-digit-minor": b"HTTP/1.10",
    "two-digit-major": b"HTTP/11.1",
    "leading-zero": b"HTTP/01.1",
    "negative": b"HTTP/-1.1",
    "plus": b"HTTP/+1.1",
    "comma": b"HTTP/1,1",
    "letters": b"HTTP/x.y",
    "superscript": b"HTTP/1.\xb9",
    "0-9": b"HTTP/0.9",
    "2-0": b"HTTP/2.0",
    "2": b"HTTP/2",
    "3-0": b"HTTP/3.0",
    "9-9": b"HTTP/9.9",
    "junk-after": b"HTTP/1.1x",
    "nul-after": b"HTTP/1.1\0",
}.items():
    invalid(f"version-{name}", "RFC 9112 §2.3", b"GET / " + version + b"\r\n" + HOST, NOT_SERVED)
invalid("http2-preface", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_SERVED)
invalid(
    "tls-hello",
    "RFC 8446 §4.1.2",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32, 64)) + b"\r\n\r\n",
)
invalid("binary", "RFC 9112 §3", bytes(range(256)) + b"\r\n\r\n")
invalid("two-leading-crlf-and-space", "RFC 9112 §2.2", b"\r\n GET / HTTP/1.1\r\n" + HOST)
invalid("leading-lf", "RFC 9112 §2.2", b"\nGET / HTTP/1.1\r\n" + HOST)
invalid("leading-cr", "RFC 9112 §2.2", b"\rGET / HTTP/1.1\r\n" + HOST)

# --- targets ------------------------------------------------------------------------------------------
for name, target in {
    "fragment": b"/#top",
    "fragment-in-query": b"/?a#b",
    "fragment-only": b"#",
    "latin1": b"/caf\xe9",
    "utf8": "/€".encode(),
    "nul": b"/a\0b",
    "del": b"/a\x7fb",
    "control": b"/a\x01b",
    "escape": b"/\x1b[31m",
    "vt": b"/a\x0bb",
    "ff": b"/a\x0cb",
    "nbsp": b"/a\xa0b",
    "nel": b"/a\x85b",
    "asterisk-get": b"*",
    "asterisk-path": b"*/a",
    "authority-get": b"example.com:80",
    "relative": b"a/b",
    "dot": b".",
    "query-only": b"?a=b",
    "absolute-no-host": b"http:///x",
    "absolute-bad-port": b"http://example.com:8x/",
    "absolute-user": b"http://user:pw@example.com/",
    "other-scheme": b"javascript:alert(1)",
}.items():
    invalid(f"target-{name}", "RFC 9112 §3.2", b"GET " + target + b" HTTP/1.1\r\n" + HOST)
invalid("target-bare-cr", "RFC 9112 §2.2", b"GET /a\rb HTTP/1.1\r\n" + HOST)
invalid(
    "connect",
    "RFC 9110 §9.3.6",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    501,
)
invalid("connect-origin-form", "RFC 9112 §3.2.3", b"CONNECT / HTTP/1.1\r\n" + HOST, 501)
invalid("options-relative", "RFC 9112 §3.2.4", b"OPTIONS ** HTTP/1.1\r\n" + HOST)
invalid("target-too-long", "RFC 9110 §15.5.15", b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST, 414)
invalid("query-too-long", "RFC 9110 §15.5.15", b"GET /?" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST, 414)
invalid("method-too-long", "RFC 9112 §3", b"A" * 20000 + b" / HTTP/1.1\r\n" + HOST, [400, 414, 501])

# --- line ends and the shape of fields ----------------------------------------------------------------
invalid("bare-lf-request-line", "RFC 9112 §2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n")
invalid("bare-lf-field", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n")
invalid("bare-lf-all", "RFC 9112 §2.2", b"GET / HTTP/1.1\nHost: a\n\n")
invalid("bare-lf-blank-line", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\nX: y\r\n\r\n")
invalid("bare-lf-end", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n")
invalid("bare-cr-request-line", "RFC 9112 §2.2", b"GET / HTTP/1.1\rHost: a\r\n\r\n")
invalid("bare-cr-field", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n")
invalid("bare-cr-value-end", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n")
invalid("bare-cr-blank-line", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n")
invalid("bare-cr-twice", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\r\n\r\n")
FIELDS = {
    "space-before-colon": b"X-A : b",
    "tab-before-colon": b"X-A\t: b",
    "vt-before-colon": b"X-A\x0b: b",
    "no-colon": b"X-A b",
    "only-name": b"X-A",
    "empty-name": b": b",
    "only-colon": b":",
    "space-in-name": b"X A: b",
    "latin1-name": b"X-\xe9: b",
    "nel-name": b"X-A\x85: b",
    "nbsp-name": b"\xa0X-A: b",
    "nul-in-name": b"X\0A: b",
    "control-in-name": b"X\x01A: b",
    "del-in-name": b"X\x7fA: b",
    "paren-name": b"(X): b",
    "slash-name": b"X/A: b",
    "quoted-name": b'"X": b',
    "brace-name": b"{X}: b",
    "at-name": b"@X: b",
    "nul-in-value": b"X-A: a\0b",
    "vt-in-value": b"X-A: a\x0bb",
    "ff-in-value": b"X-A: a\x0cb",
    "vt-before-value": b"X-A:\x0bb",
    "control-in-value": b"X-A: a\x01b",
    "escape-in-value": b"X-A: \x1b[31m",
    "bell-in-value": b"X-A: a\x07",
    "del-in-value": b"X-A: a\x7fb",
    "obs-fold-space": b"X-A: a\r\n b",
    "obs-fold-tab": b"X-A: a\r\n\tb",
    "obs-fold-empty": b"X-A:\r\n b",
    "obs-fold-blank": b"X-A: a\r\n \r\nX-B: c",
}
for name, field in FIELDS.items():
    rfc = "RFC 9112 §5.2" if "fold" in name else "RFC 9110 §5.5" if "value" in name else "RFC 9112 §5.1"
    invalid(f"field-{name}", rfc, b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
invalid("field-leading-space-first", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n")
invalid("field-leading-tab-first", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n")
invalid("field-fold-before-first", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n")
invalid("fields-101", "RFC 6585 §5", http("GET /", *[f"X-{n}: {n}" for n in range(100)]), 431)
invalid("fields-1000", "RFC 6585 §5", http("GET /", *[f"X-{n}: {n}" for n in range(1000)]), 431)
invalid("field-too-big", "RFC 6585 §5", http("GET /", "X-Big: " + "b" * 9000), 431)
invalid("field-much-too-big", "RFC 6585 §5", http("GET /", "X-Big: " + "b" * 200_000), 431)
invalid("field-name-too-big", "RFC 6585 §5", http("GET /", "X" * 9000 + ": v"), 431)

# --- Host ---------------------------------------------------------------------------------------------
invalid("host-missing", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\n\r\n")
invalid("host-missing-others-there", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n")
invalid("host-missing-absolute-form", "RFC 9112 §3.2", b"GET http://example.com/ HTTP/1.1\r\n\r\n")
invalid("host-missing-http12", "RFC 9112 §3.2", b"GET / HTTP/1.2\r\n\r\n")
invalid("host-twice", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
invalid("host-twice-same", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n")
invalid("host-twice-http10", "RFC 9112 §3.2", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n")
for name, host in {
    "list": b"a, b",
    "space": b"a b",
    "user": b"user@a",
    "slash": b"a/b",
    "query": b"a?b",
    "fragment": b"a#b",
    "scheme": b"http://a",
    "port-letters": b"a:80x",
    "port-sign": b"a:+80",
    "port-twice": b"a:80:90",
    "latin1": b"caf\xe9",
    "brackets": b"[::1",
    "brackets-junk": b"[::1]x",
    "brackets-not-ipv6": b"[a/b]",
    "angle": b"<a>",
    "quote": b'"a"',
    "backslash": b"a\\b",
    "percent-broken": b"a%zz",
    "tab": b"a\tb",
}.items():
    invalid(f"host-{name}", "RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

# --- lengths ------------------------------------------------------------------------------------------
for name, length in {
    "plus": b"+5",
    "minus": b"-5",
    "minus-zero": b"-0",
    "hex": b"0x5",
    "hex-letter": b"5a",
    "underscore": b"1_0",
    "empty": b"",
    "spaces": b"1 0",
    "inner-tab": b"1\t0",
    "decimal": b"5.0",
    "exponent": b"1e1",
    "list-same": b"5, 5",
    "list-different": b"5, 6",
    "list-empty": b"5,",
    "quoted": b'"5"',
    "superscript": b"\xb2",
    "letters": b"abc",
    "two-to-63": b"9223372036854775808",
    "two-to-64": b"18446744073709551616",
    "two-to-64-and-5": b"18446744073709551621",
    "huge": b"9" * 400,
}.items():
    invalid(
        f"length-{name}",
        "RFC 9110 §8.6",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + b"\r\n\r\nhello",
    )
invalid("length-on-get", "RFC 9110 §8.6", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
invalid(
    "length-twice-same",
    "RFC 9112 §6.3",
    http("POST /", "Content-Length: 5", "Content-Length: 5", body=b"hello"),
)
invalid(
    "length-twice", "RFC 9112 §6.3", http("POST /", "Content-Length: 5", "content-length: 6", body=b"hello!")
)
invalid("length-too-large", "RFC 9110 §15.5.14", http("POST /", "Content-Length: 1073741825"), 413)
invalid(
    "length-too-large-expect",
    "RFC 9110 §10.1.1",
    http("POST /", "Expect: 100-continue", "Content-Length: 9223372036854775807"),
    413,
)
invalid(
    "expect-other", "RFC 9110 §10.1.1", http("POST /", "Expect: 200-ok", "Content-Length: 2", body=b"ab"), 417
)
invalid("expect-list", "RFC 9110 §10.1.1", http("GET /", "Expect: 100-continue, x"), 417)

# --- transfer codings ---------------------------------------------------------------------------------
END = b"5\r\nhello\r\n0\r\n\r\n"
invalid("coding-and-length", "RFC 9112 §6.3", http("POST /", CHUNKED, "Content-Length: 15", body=END))
invalid("length-and-coding", "RFC 9112 §6.3", http("POST /", "Content-Length: 5", CHUNKED, body=END))
invalid("coding-and-length-zero", "RFC 9112 §6.3", http("POST /", "Content-Length: 0", CHUNKED, body=END))
invalid("coding-http10", "RFC 9112 §6.1", http("POST / HTTP/1.0", CHUNKED, body=END))
invalid(
    "coding-http10-keep-alive",
    "RFC 9112 §6.1",
    http("POST / HTTP/1.0", CHUNKED, "Connection: keep-alive", body=END),
)
CODINGS: list[tuple[str, str, Status]] = [
    ("twice", "chunked, chunked", 400),
    ("twice-no-space", "chunked,chunked", 400),
    ("not-last", "chunked, gzip", [400, 501]),
    ("identity-after", "chunked, identity", [400, 501]),
    ("gzip", "gzip", [400, 501]),
    ("gzip-chunked", "gzip, chunked", 501),
    ("identity", "identity", [400, 501]),
    ("identity-chunked", "identity, chunked", [400, 501]),
    ("unknown", "x-unknown", [400, 501]),
    ("cow-chunked", "cow, chunked", [400, 501]),
    ("prefix", "xchunked", [400, 501]),
    ("suffix", "chunkedx", [400, 501]),
    ("hyphen", "chunked-x", [400, 501]),
    ("parameter", "chunked;q=1", [400, 501]),
    ("quoted", '"chunked"', [400, 501]),
    ("semicolon", "chunked;", [400, 501]),
    ("space-inside", "chu nked", [400, 501]),
    ("empty", "", [400, 501]),
    ("only-comma", ",", [400, 501]),
    ("leading-comma", ",chunked", [400, 501]),
    ("latin1", "chunked\xa0", [400, 501]),
    ("nel", "\x85chunked", [400, 501]),
    ("vt", "\x0bchunked", 400),
    ("ff", "chunked\x0c", 400),
    ("nul", "chunked\0", 400),
    ("fold", "\r\n chunked", 400),
]
for name, coding, status in CODINGS:
    invalid(
        f"coding-{name}", "RFC 9112 §6.1", http("POST /", f"Transfer-Encoding: {coding}", body=END), status
    )
invalid("coding-two-fields", "RFC 9112 §6.1", http("POST /", CHUNKED, CHUNKED, body=END))
invalid(
    "coding-two-fields-identity",
    "RFC 9112 §6.1",
    http("POST /", CHUNKED, "Transfer-Encoding: identity", body=END),
    [400, 501],
)
invalid("coding-space-before-colon", "RFC 9112 §5.1", http("POST /", "Transfer-Encoding : chunked", body=END))
invalid("coding-on-get", "RFC 9112 §6.1", http("GET /", "Transfer-Encoding: x"), [400, 501])

# --- chunks -------------------------------------------------------------------------------------------
for name, body in {
    "size-plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "size-minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "size-minus-zero": b"-0\r\n\r\n",
    "size-0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size-underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size-empty": b"\r\nhello\r\n0\r\n\r\n",
    "size-space-before": b" 5\r\nhello\r\n0\r\n\r\n",
    "size-space-after": b"5 \r\nhello\r\n0\r\n\r\n",
    "size-tab-after": b"5\t\r\nhello\r\n0\r\n\r\n",
    "size-not-hex": b"g\r\nhello\r\n0\r\n\r\n",
    "size-latin1": b"\xb5\r\nhello\r\n0\r\n\r\n",
    "size-decimal-point": b"5.0\r\nhello\r\n0\r\n\r\n",
    "size-two-to-63": b"8000000000000000\r\nhello\r\n0\r\n\r\n",
    "size-two-to-64": b"10000000000000000\r\nhello\r\n0\r\n\r\n",
    "size-two-to-64-and-5": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size-endless": b"0" * 70000 + b"5\r\nhello\r\n0\r\n\r\n",
    "size-lf": b"5\nhello\r\n0\r\n\r\n",
    "size-cr": b"5\rhello\r\n0\r\n\r\n",
    "size-nul": b"5\0\r\nhello\r\n0\r\n\r\n",
    "data-lf": b"5\r\nhello\n0\r\n\r\n",
    "data-cr": b"5\r\nhello\r0\r\n\r\n",
    "data-no-end": b"5\r\nhello0\r\n\r\n",
    "data-too-long": b"5\r\nhello!\r\n0\r\n\r\n",
    "data-too-short": b"6\r\nhello\r\n0\r\n\r\n",
    "last-lf": b"5\r\nhello\r\n0\n\r\n",
    "end-lf": b"5\r\nhello\r\n0\r\n\n",
    "end-cr": b"5\r\nhello\r\n0\r\n\rX\r\n\r\n",
    "extension-nul": b"5;a=\0\r\nhello\r\n0\r\n\r\n",
    "extension-control": b"5;a=\x01\r\nhello\r\n0\r\n\r\n",
    "extension-del": b"5;a=\x7f\r\nhello\r\n0\r\n\r\n",
    "extension-lf": b"5;a\nhello\r\n0\r\n\r\n",
    "extension-lf-inside": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension-cr-inside": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension-no-semicolon": b"5 a=b\r\nhello\r\n0\r\n\r\n",
    "extension-64k": b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n",
    "extensions-in-all": (b"1;" + b"e" * 600 + b"\r\nx\r\n") * 20 + b"0\r\n\r\n",
    "trailer-no-colon": b"0\r\nX-A\r\n\r\n",
    "trailer-space-before-colon": b"0\r\nX-A : b\r\n\r\n",
    "trailer-empty-name": b"0\r\n: b\r\n\r\n",
    "trailer-fold": b"0\r\nX-A: b\r\n c\r\n\r\n",
    "trailer-nul": b"0\r\nX-A: \0\r\n\r\n",
    "trailer-lf": b"0\r\nX-A: b\n\r\n",
    "trailer-cr": b"0\r\nX-A: b\rc\r\n\r\n",
    "trailer-is-a-request": b"0\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
}.items():
    section = "§7.1.2" if "trailer" in name else "§7.1.1" if "extension" in name else "§7.1"
    invalid(f"chunk-{name}", f"RFC 9112 {section}", http("POST /", CHUNKED, body=body))
invalid(
    "chunk-trailers-101",
    "RFC 6585 §5",
    http("POST /", CHUNKED, body=b"0\r\n" + b"X-A: b\r\n" * 101 + b"\r\n"),
    431,
)
invalid(
    "chunk-trailer-too-big",
    "RFC 6585 §5",
    http("POST /", CHUNKED, body=b"0\r\nX-A: " + b"b" * 9000 + b"\r\n\r\n"),
    431,
)
invalid("chunk-too-large", "RFC 9110 §15.5.14", http("POST /", CHUNKED, body=b"40000001\r\n"), 413)

invalid(
    "content-type-twice",
    "RFC 9110 §8.3",
    http("POST /", "Content-Type: a/b", "Content-Type: c/d", "Content-Length: 0"),
)

# --- after good ones ----------------------------------------------------------------------------------
invalid(
    "second-of-two",
    "RFC 9112 §9.3.2",
    http("GET /1") + b"BAD\r\n\r\n" + http("GET /evil"),
    400,
    seen("GET", "/1"),
)
invalid(
    "after-body",
    "RFC 9112 §6.3",
    http("POST /1", "Content-Length: 3", body=b"abc(def)") + http("GET /evil"),
    400,
    seen("POST", "/1", body="abc"),
)
invalid(
    "after-chunked",
    "RFC 9112 §7.1",
    http("POST /1", CHUNKED, body=b"1\r\na\r\n0\r\n\r\n") + b"\0" + http("GET /evil"),
    400,
    seen("POST", "/1", body="a"),
)
invalid(
    "smuggled-after-bad-chunk",
    "RFC 9112 §11.2",
    http("POST /", CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n") + http("GET /evil"),
)
invalid(
    "smuggled-after-two-lengths",
    "RFC 9112 §11.2",
    http("POST /", "Content-Length: 0", "Content-Length: 38", body=http("GET /evil")),
)
invalid(
    "smuggled-by-fold",
    "RFC 9112 §11.2",
    http("POST /", "X: a", " Transfer-Encoding: chunked", "Content-Length: 5", body=END),
)
