"""The applications that every server in the comparison runs.

Those of Flask and Django stand in modules of their own, so that nothing else loads them.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from . import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Start = Callable[..., object]

__all__ = [
    "BODY",
    "CHUNKS",
    "FILE",
    "LARGE",
    "chunks",
    "file_bytes",
    "hello",
    "large",
    "post",
    "send_file",
    "sleep",
    "write_file",
]

BODY = b"Hello, world!"
LARGE = bytes(range(256)) * 4096  # 1 MiB
CHUNKS = [f"{number:02d} ".encode() + b"x" * 60 + b"\n" for number in range(16)]
FILE = ROOT / "build" / "bench" / "file.bin"

_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_BINARY = ("Content-Type", "application/octet-stream")
_HEADERS = [_TEXT, ("Content-Length", str(len(BODY)))]
_LARGE_HEADERS = [_BINARY, ("Content-Length", str(len(LARGE)))]
_FILE_MEBIBYTES = 10
_FILE_HEADERS = [_BINARY, ("Content-Length", str(_FILE_MEBIBYTES * len(LARGE)))]
_FORM_BYTES = 10240
_BLOCK = 65536


def hello(environ: dict[str, Any], start_response: Start) -> list[bytes]:  # noqa: ARG001
    """Answer every request with one short body of known length: what is measured is the server."""
    # A fresh list, as an application makes one: a server may not profit from seeing the same object again.
    start_response("200 OK", _HEADERS[:])
    return [BODY]


def sleep(environ: dict[str, Any], start_response: Start) -> list[bytes]:
    """Answer the same after 10 ms, as one that has asked a database."""
    time.sleep(0.01)
    return hello(environ, start_response)


def post(environ: dict[str, Any], start_response: Start) -> list[bytes]:
    """Answer the same to a form of 10 KB that arrived whole."""
    form = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    if len(form) != _FORM_BYTES or not form.endswith(b"abcdef"):
        start_response("400 Bad Request", [_TEXT, ("Content-Length", "0")])
        return []
    return hello(environ, start_response)


def large(environ: dict[str, Any], start_response: Start) -> list[bytes]:  # noqa: ARG001
    """Answer with one body of 1 MiB."""
    start_response("200 OK", _LARGE_HEADERS[:])
    return [LARGE]


def send_file(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Answer with a file of 10 MiB, which the server may send as it likes if it has a wsgi.file_wrapper."""
    file = FILE.open("rb")
    start_response("200 OK", _FILE_HEADERS[:])
    if "wsgi.file_wrapper" in environ:
        sent: Iterable[bytes] = environ["wsgi.file_wrapper"](file, _BLOCK)
        return sent
    return _blocks(file)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block


def chunks(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:  # noqa: ARG001
    """Answer with 16 pieces, whose sum the server is not told."""
    start_response("200 OK", [_TEXT])
    yield from CHUNKS


def file_bytes() -> bytes:
    """Return what is in the file."""
    return LARGE * _FILE_MEBIBYTES


def write_file() -> None:
    """Have the file there, before a server that sends it is started."""
    if not FILE.exists() or FILE.stat().st_size != _FILE_MEBIBYTES * len(LARGE):
        FILE.parent.mkdir(parents=True, exist_ok=True)
        part = FILE.with_name(f"{FILE.name}.{os.getpid()}")
        part.write_bytes(file_bytes())
        part.replace(FILE)
