"""Generators whose pieces come in quick succession."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def released(gate: str) -> Iterator[bytes]:
    """Wait in a system call, behind four pieces, until the test opens the other end of a FIFO."""
    yield from (b"%d." % n for n in range(4))
    Path(gate).read_bytes()
    yield b"after"


def held(gate: str) -> Iterator[bytes]:
    """Wait in the same way, without releasing the GIL."""
    yield from (b"%d." % n for n in range(4))
    os.close(ctypes.PyDLL(None).open(os.fsencode(gate), os.O_RDONLY))
    yield b"after"


def sized(gate: str) -> Iterator[bytes]:
    """Give all of a declared length, and then wait as released() does."""
    yield from (b"%d." % n for n in range(4))
    Path(gate).read_bytes()


def many(count: str) -> Iterator[bytes]:
    return (b"%03d" % (n % 1000) * n for n in range(int(count)))


def fails(_query: str) -> Iterator[bytes]:
    yield from (b"%d." % n for n in range(3))
    msg = "on purpose"
    raise RuntimeError(msg)


def writes(_query: str, write: Callable[[bytes], object]) -> Iterator[bytes]:
    for n in range(3):
        yield b"%d." % n
        write(b"written ")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    fields = [("Content-Type", "text/plain")]
    if environ["PATH_INFO"] == "/sized":
        fields.append(("Content-Length", "8"))
    write = start_response("200 OK", fields)
    if environ["PATH_INFO"] == "/writes":
        return writes("", write)
    ways = {"/released": released, "/held": held, "/sized": sized, "/many": many, "/fails": fails}
    return ways[environ["PATH_INFO"]](environ["QUERY_STRING"])
