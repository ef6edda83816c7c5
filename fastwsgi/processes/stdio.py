"""The standard streams of a process, and their descriptors."""

from __future__ import annotations

import os
import sys

__all__ = ["fill_standard_descriptors", "flush", "silence", "write_all"]


def flush() -> None:
    """Write out what standard output and error hold back."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            # Closed, or nobody reads it any more.
            pass


def fill_standard_descriptors() -> None:
    """Open /dev/null for those of the descriptors 0 to 2 that are closed.

    Else a socket would get such a number, and be written to by whoever prints.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # open() takes the lowest free number, which is this one.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)


def silence(fd: int) -> None:
    """Have a standard descriptor, which must be open, lead nowhere."""
    flush()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it to a descriptor that blocks."""
    while data:
        data = data[os.write(fd, data) :]
