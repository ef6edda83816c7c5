"""What fuzzing starts from: the corpus of the tests, what it lacks, and what fuzzing has found.

`kept/` has inputs that were once a finding; `found/`, in base64, those by which the code was first seen to do something
that the others do not have it do: another refusal, framing, failure of an app.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.corpus import cases

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DICTIONARY", "KEPT", "TARGETS", "seeds"]

KEPT: Final = Path(__file__).resolve().parent / "kept"
FOUND: Final = KEPT.parent / "found"
TARGETS: Final = ("head", "connection", "response")
_LONGEST: Final = 1500

DICTIONARY: Final = (
    *(
        "\r\n",
        "\r\n\r\n",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "HTTP/1.2",
        "GET ",
        "POST ",
        "HEAD ",
        "OPTIONS * ",
    ),
    *("Host: a\r\n", "Host:", "Connection: ", "close", "keep-alive", "Upgrade: websocket\r\n", "upgrade"),
    *(
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "chunked",
        "gzip",
        "identity",
        "Expect: 100-continue\r\n",
    ),
    *(
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Ssl: on\r\n",
        "SCRIPT_NAME: /app\r\n",
        "remote_user: a\r\n",
    ),
    *(
        "X_Scheme: https\r\n",
        "Cookie: ",
        "Proxy: ",
        "Content-Type: ",
        "Accept: */*\r\n",
        "/app",
        "http://h/",
        "%2f",
    ),
    *(
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        ";a=b",
        "9223372036854775807",
        "7fffffffffffffff",
        "\x00",
        "\t",
        "_",
        ",",
    ),
    *("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n", "PROXY UNKNOWN\r\n"),
    *("X-Forwarded-For: 10.0.0.1, 192.0.2.9\r\n", "X-Forwarded-Host: h:80\r\n", "X-Forwarded-Prefix: /p\r\n"),
    *(
        'Forwarded: for="[2001:db8::1]:80";host=h;proto=https\r\n',
        "for=10.0.0.1",
        "proto=https",
        "host=h",
        "unknown",
    ),
    "\r\n\r\n\x00\r\nQUIT\n",
)
"""Words that libFuzzer puts in; its own guesses it takes from comparisons."""

_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_PROXY_HEADERS: Final = (
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1234 80\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.8 1234 80\r\n",
    _V2 + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 8, 4, 0xD2, 0, 80]),
    _V2 + b"\x21\x21\0\x24" + bytes(31) + b"\1" + b"\x04\xd2\0\x50",
    _V2 + b"\x21\x31\0\xd8" + bytes(216),
    _V2 + b"\x20\0\0\0",
    _V2 + b"\x21\x11\0\x0b" + bytes(11),
    _V2 + b"\x21\0\0\x05\4\0\2ab",
    _V2 + b"\x21\x12\0\x0c" + bytes(12),
)
_CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_STREAMS: Final = (
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nline\nlines\n" + _GET,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhe\nlo\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"
    + _GET,
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + _GET * 3,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n" + _GET,
    b"\r\n" + _GET + b"\r\n" + _GET + b"GET /last HTTP/1.0\r\n\r\n\r\n",
    _GET * 12,
    _CHUNKED + b"1\r\na\r\n" * 30 + b"0\r\n\r\n",
    _CHUNKED + b"1\r\na\r\n0\r\nX: " + b"y" * 100 + b"\r\nZ: z\r\nZ: z\r\nZ: z\r\nZ: z\r\n\r\n" + _GET,
    _CHUNKED + b"2\r\nab\r\n" * 600 + b"0\r\n\r\n" + _GET,
    _CHUNKED + b"1;" + b"a=b;" * 1030 + b"\r\na\r\n0\r\n\r\n",
    _CHUNKED + b"1" + b";a" * 700 + b"\r\na\r\n1" + b";b" * 1400 + b"\r\na\r\n0\r\n\r\n",
    _CHUNKED + b"0" * 60 + b"1\r\na\r\n" + b"0" * 64 + b"\r\n\r\n" + _GET,
    b"GET /app/chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
    (
        b"GET /app HTTP/1.1\r\nHost: a\r\nSCRIPT_NAME: /app\r\nX-Forwarded-Proto: https\r\n\r\n"
        b"GET /other HTTP/1.1\r\nHost: a\r\nscript_name: /app\r\n\r\n"
    ),
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000000000000005\r\n\r\nhello" + _GET,
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nPOST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi\r\n",
)
_BROWSER: Final = (
    b"GET /app/%7Euser?q=1 HTTP/1.1\r\nHost: a:80\r\nConnection: keep-alive\r\nUser-Agent: b\r\nAccept: text/html\r\n"
    b"Accept-Encoding: gzip\r\nCookie: a=1\r\nCookie: b=2\r\nX-Forwarded-Proto: https\r\nReferer: /x\r\n\r\n"
)
_HEADS: Final = (
    _BROWSER,
    _BROWSER + _BROWSER.replace(b"a=1", b"a=2") + _BROWSER.replace(b"Accept: text", b"Accept: x") + _BROWSER,
    _BROWSER + _BROWSER.replace(b"Host", b"Referer: /y\r\nHost") + _BROWSER.replace(b"https", b"http"),
    b"GET /app HTTP/1.1\r\nHost: a\r\nSCRIPT_NAME: /app\r\nX_Y: z\r\nX-Y: z\r\n\r\n" * 3,
    b"".join(
        b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method
        for method in (b"GET", b"HEAD", b"FOO", b"OPTIONS", b"PUT")
    ),
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(69)) + b"\r\n",
    (
        b"GET /p/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7, 10.0.0.1:80\r\nX-Forwarded-For: [::1]:5\r\n"
        b"X-Forwarded-Host: b, c:81\r\nX-Forwarded-Prefix: /p%20q/\r\nX-Forwarded-Proto: https\r\n\r\n"
    ),
    (
        b'GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=198.51.100.7;proto=https;host=b, for="[2001:db8::1]:80"\r\n'
        b'Forwarded: for=_x;by=unknown;ext="a\\\\\\"b"\r\n\r\n'
        b'GET / HTTP/1.0\r\nForwarded: for="10.0.0.1:1"\r\n\r\n'
    ),
    b"GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=;;\r\nX-Forwarded-Proto: http\r\n\r\n",
    # So many lines that they push each other out of the memo.
    b"".join(
        b"GET / HTTP/1.1\r\nHost: a\r\n"
        + b"".join(b"X: %d\r\n" % (head * 40 + i) for i in range(40))
        + b"\r\n"
        for head in range(12)
    ),
    b"".join(b"GET / HTTP/1.1\r\nHost: h%d\r\nAccept: %d\r\n\r\n" % (i % 5, i % 3) for i in range(24)),
    b"GET http://[::1]:80/a?b HTTP/1.1\r\nHost: other\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n",
)
# Programs of `response`, see there; what is behind the steps is read as environ.
_START: Final = b"\x03\x00\x00"
_FIELD: Final = b"\x00\x06\x0a"  # X-A: close
_ENVIRON: Final = b"\x00\x07\x01\x01/" + b"\x07Basic Y" * 12
_PROGRAMS: Final = (
    _START + b"\x05\x05hello",
    _FIELD + _START + b"\x04\x05hello\x05\x05world",
    b"\x00\x00\x02" + _START + b"\x05\x05hello",  # Content-Length: 5
    b"\x00\x00\x02" + _START + b"\x05\x09too large",
    b"\x00\x00\x02" + _START + b"\x05\x02no",
    b"\x00\x02\x0a" + _START + b"\x05\x05hello\x05\x00\x05\x01x",  # Connection: close
    b"\x00\x04\x11\x00\x05\x06"
    + _START
    + b"\x07\x80"
    + b"a" * 128
    + b"\xff\x05\x03abc",  # Date, Server; 32 KB
    _FIELD + b"\x09" + _START + b"\x05\x02hi",  # 103
    _START + b"\x05\x02hi\x08\x00",  # an exception in the middle
    b"\x08\x01",
    _START + b"\x03\x03\x02\x05\x02hi",  # replaced with exc_info
    _START + b"\x05\x02hi\x03\x03\x02",
    _START + b"\x0a\x01",
    b"\x00\x06\x0e" + _START,  # CRLF in a value
    b"\x0b\x01" + _START + b"\x05\x01x",
    b"\x03\x01\x00\x05\x02no",
    b"\x03\x05\x00\x05\x02no",
    _FIELD * 8 + _START + b"\x05\x05hello",
)


def seeds(target: str) -> Iterator[bytes]:
    """Yield the inputs that a target starts from."""
    corpus = [case.raw[:_LONGEST] for case in (*cases.VALID, *cases.INVALID)]
    if target == "head":
        for number, raw in enumerate((*_HEADS, *corpus)):
            yield bytes([number & 63, number * 37 & 255]) + raw
        for number, raw in enumerate(_HEADS):
            for first in range(number % 3, 64, 3):
                yield bytes([first, 0b11010110]) + raw
    elif target == "connection":
        for number, raw in enumerate((*_STREAMS, *_HEADS, *corpus)):
            yield bytes([number & 7, number >> 1 & 7, 0, number >> 8, number & 255]) + raw
        for number, raw in enumerate(_STREAMS):
            for limits in range(4):
                yield bytes([(0x80, 0x84)[number & 1] | limits, 4, 0, 1, number * 4 + limits]) + raw
        for number, header in enumerate(_PROXY_HEADERS):
            for mode in (1, 2, 3):
                yield bytes([mode << 3, number & 7, 0, 0, number]) + header + _STREAMS[number % len(_STREAMS)]
        yield bytes([8 | 0x60, 0, 0, 0, 0]) + _PROXY_HEADERS[0] + _GET
    elif target == "response":
        for number, program in enumerate(_PROGRAMS):
            for kind in range(8):
                yield bytes([kind << 4 | (number * 5 + kind) & 15]) + program + _ENVIRON
            yield bytes([0x80 | 4 << 4]) + program
    else:
        raise ValueError(target)
    for path in sorted((KEPT / target).glob("*")):
        yield path.read_bytes()
    for line in (FOUND / f"{target}.txt").read_text().splitlines():
        yield base64.b64decode(line)
