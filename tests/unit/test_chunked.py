"""fastwsgi.chunked: strict decoding, the same at every split (RFC 9112 §7.1)."""

from __future__ import annotations

import random
import tempfile

import pytest

from fastwsgi.body import Body
from fastwsgi.chunked import ChunkedDecoder
from fastwsgi.errors import HTTPError

FIELDS, FIELD_SIZE = 3, 100


def decode(pieces: list[bytes]) -> tuple[bytes, bytes] | int | None:
    """Return (body, rest), or the status of the refusal, or None while the message has not ended."""
    decoder = ChunkedDecoder(FIELDS, FIELD_SIZE)
    body = Body(1000, 10_000, tempfile.TemporaryFile)
    rest = b""
    try:
        for piece in pieces:
            used = 0 if decoder.done else decoder.decode(piece, 0, body)
            rest += piece[used:]
    except HTTPError as error:
        return error.status
    return (body.open().read(), rest) if decoder.done else None


def splits(data: bytes) -> list[list[bytes]]:
    """Return `data` whole, byte by byte, in two at every place, and in random pieces."""
    rng = random.Random(7)
    ways = [[data], [data[i : i + 1] for i in range(len(data))]]
    ways += [[data[:i], data[i:]] for i in range(1, min(len(data), 300))]
    for _ in range(20):
        cuts = sorted(rng.sample(range(len(data)), min(5, len(data))))
        ways.append([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])
    return ways


VALID = {
    "empty": (b"0\r\n\r\n", b"", b""),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "two chunks": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", b""),
    "upper-case hex": (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    "leading zeros": (b"00005\r\nhello\r\n000\r\n\r\n", b"hello", b""),
    "extension": (b'5;a=b;c="d e"\r\nhello\r\n0;x\r\n\r\n', b"hello", b""),
    "extensions with bad whitespace": (b'5; a = b ;\tc="\\""\r\nhello\r\n0\r\n\r\n', b"hello", b""),
    "extensions as long as they may be": (b"1;" + b"a" * 4095 + b"\r\nx\r\n0\r\n\r\n", b"x", b""),
    "CRLF in data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b""),
    "trailers": (b"1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n", b"x", b""),
    "next request": (b"1\r\nx\r\n0\r\n\r\nGET /", b"x", b"GET /"),
}

INVALID = {
    "size empty": (b"\r\nhello\r\n", 400),
    "size negative": (b"-5\r\nhello\r\n", 400),
    "size plus": (b"+5\r\nhello\r\n", 400),
    "size 0x": (b"0x5\r\nhello\r\n", 400),
    "size underscore": (b"1_0\r\nhello", 400),
    "size leading space": (b" 5\r\nhello\r\n", 400),
    "size trailing space": (b"5 \r\nhello\r\n", 400),
    "size not hex": (b"5g\r\nhello\r\n", 400),
    "size over 2^63-1": (b"8000000000000000\r\n", 400),
    "size over the body limit": (b"3e9\r\n", 413),
    "bare LF after size": (b"5\nhello\r\n0\r\n\r\n", 400),
    "bare CR in size": (b"5\rhello\r\n0\r\n\r\n", 400),
    "no CRLF after data": (b"5\r\nhelloX\r\n0\r\n\r\n", 400),
    "bare LF after data": (b"5\r\nhello\n0\r\n\r\n", 400),
    "data longer than its size": (b"5\r\nhello world\r\n0\r\n\r\n", 400),
    "extension without name": (b"5;\r\nhello\r\n0\r\n\r\n", 400),
    "extension whose quotes do not end": (b'5;a="b\r\nhello\r\n0\r\n\r\n', 400),
    "extension of two words": (b"5;a b\r\nhello\r\n0\r\n\r\n", 400),
    "NUL in extension": (b"5;a=\x00\r\nhello\r\n", 400),
    "bare CR in extension": (b"5;a\rb\r\nhello\r\n", 400),
    "extension without end": (b"5;" + b"a" * 5000, 400),
    "extensions, many": ((b"1;" + b"a" * 1500 + b"\r\nx\r\n") * 4, 400),
    "trailer without colon": (b"0\r\nabc\r\n\r\n", 400),
    "trailer with a space before the colon": (b"0\r\na : b\r\n\r\n", 400),
    "trailer folded": (b"0\r\na: b\r\n c\r\n\r\n", 400),
    "trailer with NUL": (b"0\r\na: \x00\r\n\r\n", 400),
    "trailer with bare LF": (b"0\r\na: b\n\r\n", 400),
    "too many trailers": (b"0\r\n" + b"a: b\r\n" * 4 + b"\r\n", 431),
    "trailer too long": (b"0\r\na: " + b"b" * 200 + b"\r\n\r\n", 431),
    "trailer too long, with bare LF": (b"0\r\na: " + b"b" * 200 + b"\n\r\n", 431),
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    data, body, rest = VALID[name]
    for pieces in splits(data):
        assert decode(pieces) == (body, rest), pieces


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    data, status = INVALID[name]
    for pieces in splits(data):
        assert decode(pieces) == status, pieces


@pytest.mark.parametrize("name", VALID)
def test_not_done_before_the_last_byte(name: str) -> None:
    data, _, rest = VALID[name]
    whole = data[: len(data) - len(rest)]
    for end in range(len(whole)):
        assert decode([whole[:end]]) is None


def test_a_trailer_is_bounded_where_the_settings_set_no_limit() -> None:
    """As a head is: without a line end it would be kept whole."""
    decoder = ChunkedDecoder(0, 0)
    body = Body(1000, 10_000, tempfile.TemporaryFile)
    decoder.decode(b"0\r\nA: " + b"b" * 1_000_000, 0, body)
    with pytest.raises(HTTPError, match="431"):
        decoder.decode(b"b" * 100_000, 0, body)
