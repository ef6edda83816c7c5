"""fastwsgi.body: what was written is what the app reads, in memory or spooled."""

from __future__ import annotations

import errno
import io
import tempfile
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
