"""Requests whose end a front end and we might see differently: products of lists, each with what must come of it.

Where a request ends is plain only if one field says so, which is spelled as RFC 9112 §6 has it and by everybody
read alike, and if every line of a chunked body is, too. One odd element and the request is to be refused, with
whatever is smuggled behind it. The lists know nothing of our code: what is plain stands here, by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BODY: Final = b"hello"
CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
SECOND: Final = b"GET /second/%d HTTP/1.1\r\nHost: second\r\n\r\n"


@dataclass(frozen=True)
class Framing:
    """A request for /first/{number}, and behind it what is smuggled or simply the next: /second/{number}."""

    number: int
    name: str
    raw: bytes
    body: bytes | None
    """What the app is to be given; None if the request is to be refused, and the second with it."""
    closes: bool = False
    """Whether the connection ends with the first request, well as it is."""


@dataclass(frozen=True)
class Field:
    """A field as it is sent, with its line end."""

    raw: bytes
    means: str
    """`length`, `coding`, `nothing`; or `odd`: it makes any request one to be refused."""


# --- heads ---------------------------------------------------------------------------------------------

LENGTH, CODING = b"Content-Length", b"Transfer-Encoding"

PLAIN: Final = [
    Field(b"Content-Length: 5\r\n", "length"),
    Field(b"content-length:5\r\n", "length"),
    Field(b"CONTENT-LENGTH: \t5\t \r\n", "length"),
    Field(b"Content-Length: 0005\r\n", "length"),  # RFC 9110 §8.6: 1*DIGIT, and decimal
    Field(b"Transfer-Encoding: chunked\r\n", "coding"),
    Field(b"transfer-encoding:Chunked\r\n", "coding"),
    Field(b"TRANSFER-ENCODING:\tCHUNKED \r\n", "coding"),
]
EXPECT: Final = Field(b"Expect: 100-continue\r\n", "nothing")
NOTHING: Final = [
    Field(b"", "nothing"),
    EXPECT,
    *(
        Field(line + b"\r\n", "nothing")
        for line in (
            b"X-Content-Length: 5",
            b"Content-Lengths: 5",
            b"Content_Length: 5",
            b"Transfer_Encoding: chunked",
            b"X-Transfer-Encoding: chunked",
            b"Content-Encoding: chunked",
            b"TE: chunked",
            b"Trailer: Content-Length",
            b"Connection: Content-Length, Transfer-Encoding",  # RFC 9110 §7.6.1: not theirs to drop
            b"X: Content-Length: 5",
        )
    ),
]
ODD_LENGTHS: Final = [
    b"", b"+5", b"-5", b"+0", b"-0", b"0x5", b"05h", b"5h", b"5.0", b"5,", b",5", b"5,5", b"5, 5", b"5,6", b"5 5",
    b"5;", b"5;x", b'"5"', b"5_0", b"0_5", b"1e0", b"five", b"\xb2", b"5\xa0", b"\x855", b"5\x0b", b"\x0c5", b"5\0",
    b"\x005", b"5\x7f", b"9223372036854775808", b"18446744073709551621", b"5\r", b"5\r\n ", b"\r\n 5", b"\r\n\t5",
]  # fmt: skip
ODD_CODINGS: Final = [
    b"", b",", b"identity", b"gzip", b"chunked, chunked", b"chunked,chunked", b"identity, chunked", b"gzip, chunked",
    b"chunked, identity", b"chunked, gzip", b",chunked", b"chunked,", b"chunked ,", b"xchunked", b"chunkedx",
    b"chunked;", b"chunked;q=1", b'"chunked"', b"chu nked", b"chunked chunked", b"chunked\x0b", b"\x0bchunked",
    b"\x0cchunked", b"chunked\xa0", b"\x85chunked", b"chunked\0", b"\0chunked", b"chunked\r", b"chunked\r\n ",
    b"\r\n chunked", b"\r\n\tchunked", b"identity\r\n , chunked", b"cow", b"chunke\x64\x7f", b"5",
]  # fmt: skip


def _misspelled(name: bytes, value: bytes) -> Iterator[bytes]:
    """Return lines that some readers take for the field, and others do not."""
    for spelled in (
        name + b" ", name + b"\t", name + b"\x0b", name + b"\0", name + b"\xa0", name + b"\r", name + b"\r\n ",
        b" " + name, b"\t" + name, b"\x0b" + name, b"\0" + name, b"\xa0" + name, b"\r" + name,
        name.replace(b"-", b" "), name.replace(b"-", b"-\0"), b'"' + name + b'"', name + b":",
    ):  # fmt: skip
        yield spelled + b": " + value + b"\r\n"
    yield name + b" " + value + b"\r\n"  # no colon
    for end in (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\r\n", b"\0\r\n"):
        yield name + b": " + value + end
    for before in (b"X: y\n", b"X: y\r", b"X: y\r\n ", b"X: y\r\n\t", b"X\r\n ", b"X\n", b"X: y\r\r\n"):
        yield before + name + b": " + value + b"\r\n"


ODD: Final = [
    *(Field(b"Content-Length: %b\r\n" % value, "odd") for value in ODD_LENGTHS),
    *(Field(b"Transfer-Encoding: %b\r\n" % value, "odd") for value in ODD_CODINGS),
    *(Field(line, "odd") for line in _misspelled(LENGTH, b"5")),
    *(Field(line, "odd") for line in _misspelled(CODING, b"chunked")),
]


def _outcome(version: bytes, fields: Sequence[Field]) -> tuple[bytes, bytes] | None:
    """Return what is to follow the head, and what the app is to be given of it; None if it is to be refused."""
    said = [field.means for field in fields if field.means != "nothing"]
    if not said:
        return b"", b""
    if said == ["length"]:
        return BODY, BODY
    return (CHUNKS, BODY) if said == ["coding"] and version == b"1.1" else None


def _heads() -> Iterator[tuple[str, bytes, bytes | None]]:
    plain = PLAIN + NOTHING
    pairs = [*product(plain, plain), *product(ODD, plain), *product(plain, ODD), *((odd, odd) for odd in ODD)]
    for version, fields in product((b"1.1", b"1.0"), pairs):
        if fields == (EXPECT, EXPECT):
            continue  # which is refused for another reason
        outcome = _outcome(version, fields)
        lines = b"".join(field.raw for field in fields)
        head = b"POST /first/%d HTTP/" + version + b"\r\nHost: first\r\n" + lines + b"\r\n"
        for sent, given in [outcome] if outcome else [(BODY, None), (CHUNKS, None)]:
            yield f"{version.decode()} {lines!r} {sent[:5]!r}", head + sent, given


# --- chunked bodies ------------------------------------------------------------------------------------

# What each part may be, and after the bar what it may not be. The first is the usual one.
PARTS: Final[list[tuple[list[bytes], list[bytes]]]] = [
    (  # the size of a chunk of five bytes
        [b"5", b"05", b"0005"],
        [b"", b"+5", b"-5", b" 5", b"\t5", b"5 ", b"5\t", b"\x0b5", b"5\x0c", b"5\0", b"\x005", b"0x5", b"x5", b"5h",
         b"5.0", b"0_5", b"5,", b"five", b"\xb5", b"5\r", b"8000000000000005", b"10000000000000005",
         b"0" * 100 + b"5"],
    ),
    (  # extensions
        [b"", b";a", b";a=b", b';a="b;\\"c\xff"', b";a;b=c;d", b"; a = b ;c"],
        [b";", b";;a", b";=b", b";a=", b";a b", b";a=b c", b" ;a", b"\t;a", b';a="b', b';a=b"', b';a="b"c', b";a\x01",
         b";\xe9", b";a=\0", b";a\x7f", b";a\x0b", b";a,b", b";a\n", b";a\r", b";a\nb", b";a\rb", b';a="\r\n"',
         b" a", b":a", b";" + b"a" * 5000],
    ),
    ([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\r\n", b"\0\r\n", b"", b"\r\n\r\n", b"\r\n "]),
    ([b"hello"], [b"he", b"hello!", b"", b"\r\nhello"]),
    ([b"\r\n"], [b"\n", b"\r", b"", b"\r\r\n", b"\n\r", b"\n\r\n", b"x\r\n", b" \r\n", b"\0\r\n", b"\r\n\r\n"]),
    (
        [b"0\r\n", b"000\r\n", b"0;a\r\n"],
        [b"-0\r\n", b"+0\r\n", b"0 \r\n", b" 0\r\n", b"0x0\r\n", b"0_0\r\n", b"0\n", b"0\r", b"0\r\r\n", b"\r\n",
         b"0;\r\n", b"0;a\n", b"0,\r\n", b"o\r\n"],
    ),
    (  # trailers, which are dropped
        [b"", b"X: y\r\n", b"Content-Length: 99\r\nHost: evil\r\n", b"Transfer-Encoding: chunked\r\n"],
        [b"X\r\n", b"X : y\r\n", b": y\r\n", b" X: y\r\n", b"\tX: y\r\n", b"X: y\r\n z\r\n", b"X: \0\r\n", b"X: y\n",
         b"X: y\r", b"X: y\rZ: z\r\n", b"X: y\r\r\n", b"X\0: y\r\n", b"X: \x0b\r\n", b"GET /evil HTTP/1.1\r\n"],
    ),
    ([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\rX\r\n", b" \r\n", b"\0\r\n", b"\n\r\n"]),
]  # fmt: skip


def _bodies() -> Iterator[tuple[str, bytes, bytes | None]]:
    """Return every two elements with the usual ones around them."""
    usual = [plain[0] for plain, _ in PARTS]
    head = b"POST /first/%d HTTP/1.1\r\nHost: first\r\nTransfer-Encoding: chunked\r\n\r\n"
    seen = set()
    for one, other in combinations(range(len(PARTS)), 2):
        for element, another in product(chain(*PARTS[one]), chain(*PARTS[other])):
            parts = [*usual]
            parts[one], parts[other] = element, another
            body = b"".join(parts)
            if body in seen:
                continue
            seen.add(body)
            is_plain = element in PARTS[one][0] and another in PARTS[other][0]
            yield f"{body[:60]!r}", head + body.replace(b"%", b"%%"), BODY if is_plain else None


def _all() -> Iterator[Framing]:
    for number, (name, raw, body) in enumerate((*_heads(), *_bodies())):
        closes = body is not None and b" HTTP/1.0\r\n" in raw
        yield Framing(number, name, (raw + SECOND) % (number, number), body, closes)


FRAMINGS: Final = list(_all())
