"""fastwsgi.files: which files may go out by sendfile(2), and from where."""

from __future__ import annotations

import gzip
import io
import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.files import FileRegion, open_spool, region_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize(("position", "count"), [(0, 10), (4, 6), (10, 0), (20, 0)])
def test_the_rest_of_a_regular_file(path: Path, buffering: int, position: int, count: int) -> None:
    with path.open("rb", buffering=buffering) as file:
        file.seek(position)
        region = region_of(file)
        assert region is not None
        assert (region.fd, region.offset, region.count) == (file.fileno(), position, count)


def test_what_was_read_is_not_sent_again(path: Path) -> None:
    with path.open("rb") as file:
        file.read(3)  # the buffer has read more than that
        region = region_of(file)
        assert region is not None
        assert region.read(100) == b"3456789"


@pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.NamedTemporaryFile])
def test_temporary_files(make: Any) -> None:
    with make() as file:
        file.write(b"abc")
        file.seek(1)
        region = region_of(file)
        assert region is not None
        assert region.read(100) == b"bc"


def test_a_compressed_file_is_not_sent_as_it_lies_there(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "f.gz", "wb") as file:
        file.write(b"plain")
    with gzip.open(tmp_path / "f.gz", "rb") as file:
        assert file.fileno() > 0
        assert region_of(file) is None
        assert region_of(io.BufferedReader(file)) is None


class Shouting(io.FileIO):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(-1 if size is None else size).upper()


def test_a_subclass_may_read_something_else(path: Path) -> None:
    with Shouting(path) as file:
        assert region_of(file) is None


class Counted(io.FileIO):
    """Does more at close(), and reads as any file."""

    def close(self) -> None:
        super().close()


def test_a_subclass_that_reads_plainly_is_plain(path: Path) -> None:
    with Counted(path) as file:
        assert region_of(file) is not None
        with io.BufferedReader(file) as buffered:
            assert region_of(buffered) is not None


def test_what_is_no_file() -> None:
    reader, writer = os.pipe()
    ours, theirs = socket.socketpair()
    with (
        os.fdopen(reader, "rb") as pipe,
        os.fdopen(writer, "wb"),
        ours,
        theirs,
        ours.makefile("rb") as stream,
    ):
        for filelike in (pipe, stream, io.BytesIO(b"x"), io.StringIO("x"), object(), None):
            assert region_of(filelike) is None


def test_closed_and_text_files(path: Path) -> None:
    with path.open("rb") as file:
        pass
    assert region_of(file) is None
    with path.open(encoding="ascii") as text:
        assert region_of(text) is None


def test_a_region_shrinks_from_its_start(path: Path) -> None:
    with path.open("rb") as file:
        region = FileRegion(file.fileno(), 2, 5)
        assert region.read(2) == b"23"
        region.advance(2)
        assert (region.offset, region.count) == (4, 3)
        assert region.read(100) == b"456"


def test_a_spool_has_no_name(tmp_path: Path) -> None:
    with open_spool(str(tmp_path)) as file:
        file.write(b"x")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        open_spool(str(tmp_path / "missing"))
