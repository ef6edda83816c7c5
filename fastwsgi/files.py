"""Files that requests and responses go through: spool files for bodies, regions for sendfile(2)."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from typing import Any

__all__ = ["FileRegion", "open_spool", "region_of"]


_PLAIN_READS = (io.FileIO.read, io.BufferedReader.read, io.BufferedRandom.read)


class FileRegion:
    """A piece of a regular file that is to be sent: `count` bytes from `offset` of descriptor `fd`."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        """Describe the region; the descriptor stays the owner's."""
        self.fd = fd
        self.offset = offset
        self.count = count

    def read(self, nbytes: int) -> bytes:
        """Return up to `nbytes` from the start of the region, for where sendfile(2) does not serve."""
        return os.pread(self.fd, min(nbytes, self.count), self.offset)

    def advance(self, nbytes: int) -> None:
        """Drop `nbytes` from the start of the region."""
        self.offset += nbytes
        self.count -= nbytes


def region_of(filelike: Any) -> FileRegion | None:
    """Return what a file object has left from its current offset; None if it is no plain regular file.

    To have a descriptor is not enough: a GzipFile has one as well, and its read() gives something else.
    """
    if type(filelike).__module__ == "tempfile":
        filelike = getattr(filelike, "file", filelike)
    raw = getattr(filelike, "raw", filelike)
    if getattr(type(filelike), "read", None) not in _PLAIN_READS or (
        getattr(type(raw), "readinto", None) is not io.FileIO.readinto
    ):
        return None
    try:
        fd = filelike.fileno()
        offset = filelike.tell()
        status = os.fstat(fd)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileRegion(fd, offset, max(0, status.st_size - offset))


def open_spool(folder: str | None) -> Any:
    """Return a new temporary file without a name in `folder`, or in the system's place for such files.

    Having no name, it is gone with its last descriptor, whatever happens to the process. Raises OSError.
    """
    return tempfile.TemporaryFile(dir=folder)
