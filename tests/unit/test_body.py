"""fastwsgi.body: what was written is what the app reads, in memory or spooled."""

from __future__ import annotations

import errno
import io
import tempfile
import tracemalloc
from typing import IO

import pytest

from fastwsgi.body import Body
from fastwsgi.errors import HTTPError


def no_spool() -> IO[bytes]:
    """Fail: nothing was to be spooled."""
    msg = "spooled"
    raise AssertionError(msg)


@pytest.mark.parametrize("pieces", [[], [b"abc"], [b"a", b"", b"bc"], [b"x" * 100]])
def test_in_memory(pieces: list[bytes]) -> None:
    body = Body(0, 100, no_spool)
    for piece in pieces:
        body.write(piece)
    assert body.size == len(b"".join(pieces))
    assert body.open().read() == b"".join(pieces)
    body.close()


@pytest.mark.parametrize("spool_at", [1 << 20, 2500])
@pytest.mark.parametrize("count", [256, 257, 1000, 3000])
def test_many_small_pieces(count: int, spool_at: int) -> None:
    pieces = [b"%d" % (number % 10) for number in range(count)]
    body = Body(0, spool_at, tempfile.TemporaryFile)
    for piece in pieces:
        body.write(piece)
    assert body.open().read() == b"".join(pieces)
    body.close()


def test_many_small_pieces_taken_one_by_one() -> None:
    body = Body(0, 1 << 20, no_spool)
    for count in (3, 1000, 0, 1):
        for number in range(count):
            body.write(b"%d" % (number % 10))
        assert body.take() == b"".join(b"%d" % (number % 10) for number in range(count))


def test_small_pieces_take_no_more_room_than_their_bytes() -> None:
    """As objects, chunks of two bytes would take thirty times as much."""
    data = bytes(range(256)) * 400
    body = Body(0, 1 << 20, no_spool)
    tracemalloc.start()
    try:
        for start in range(0, len(data), 2):
            body.write(data[start : start + 2])
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()
    assert body.open().read() == data


@pytest.mark.parametrize("pieces", [[b"x" * 101], [b"a" * 60, b"b" * 60, b"c"]])
def test_spooled(pieces: list[bytes]) -> None:
    body = Body(0, 100, tempfile.TemporaryFile)
    for piece in pieces:
        body.write(piece)
    file = body.open()
    assert not isinstance(file, io.BytesIO)
    assert file.read() == b"".join(pieces)
    body.close()
    assert file.closed
    body.close()


def test_limit() -> None:
    body = Body(10, 100, no_spool)
    body.write(b"x" * 10)
    with pytest.raises(HTTPError) as refused:
        body.write(b"y")
    assert refused.value.status == 413
    with pytest.raises(HTTPError) as refused:
        Body(10, 100, no_spool).expect(11)
    assert refused.value.status == 413


class FullDisk(io.BytesIO):
    """A file on a disk without room."""

    def write(self, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def writelines(self, _lines: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        super().close()  # as a buffered file does: it is closed although the last flush failed
        raise OSError(errno.ENOSPC, "No space left on device")

    def __del__(self) -> None:
        """Do not meet the full disk once more."""


def test_full_disk_is_a_503() -> None:
    body = Body(0, 1, FullDisk)
    with pytest.raises(HTTPError) as refused:
        body.write(b"abc")
    assert refused.value.status == 503
    body.close()
