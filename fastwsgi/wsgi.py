"""The WSGI side of a request: what an app finds in environ beyond the request itself (PEP 3333).

It owns the environ that all requests of one listener begin with, the empty `wsgi.input`, and
`wsgi.file_wrapper`. It must not know connections or descriptors.
"""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any, Final

from . import http11

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["EMPTY_INPUT", "SERVER_SOFTWARE", "FileWrapper", "base_environ", "overloaded"]

SERVER_SOFTWARE: Final = "fastwsgi"


class EmptyInput:
    """The `wsgi.input` of a request without a body.

    It has no state, so that one serves all requests.
    """

    __slots__ = ()

    def read(self, _size: int | None = -1, /) -> bytes:
        """Return b"", the end of the body."""
        return b""

    def readline(self, _size: int | None = -1, /) -> bytes:
        """Return b"", the end of the body."""
        return b""

    def readlines(self, _hint: int | None = -1, /) -> list[bytes]:
        """Return no lines."""
        return []

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over no lines."""
        return iter(())

    def __next__(self) -> bytes:
        """Raise StopIteration, as a file at its end does."""
        raise StopIteration

    def readable(self) -> bool:
        """Return True, as of any file that one may read."""
        return True

    def seekable(self) -> bool:
        """Return True: the only position is 0."""
        return True

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        """Return 0, the only position."""
        return 0

    def tell(self) -> int:
        """Return 0, the only position."""
        return 0

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    @property
    def closed(self) -> bool:
        """False, for ever."""
        return False


EMPTY_INPUT: Final = EmptyInput()


class FileWrapper:
    """`wsgi.file_wrapper`: a file as the iterable of a response.

    Returned as it is, a regular file goes out by sendfile(2) from its current offset; anything else with
    a `read` method, or a wrapped wrapper, is read in blocks.
    """

    __slots__ = ("block_size", "filelike")

    def __init__(self, filelike: IO[bytes], block_size: int = 64 * 1024) -> None:
        """Wrap `filelike`, to be read `block_size` bytes at a time."""
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        """Return self, which gives the blocks."""
        return self

    def __next__(self) -> bytes:
        """Return the next block."""
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


def base_environ(
    *,
    server_name: str,
    server_port: str,
    url_scheme: str,
    errors: object,
    multithread: bool,
    multiprocess: bool,
    early_hints: object = None,
    script_name: str = "",
) -> dict[str, Any]:
    """Return the environ that every request of a listener is a copy of.

    What almost every request says is there already, and is set again only where it differs. A copy of a
    dict is as roomy as the original: this one has room for a browser's fields, so that no request pays for
    a dict that grows.
    """
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": script_name,
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "RAW_URI": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": server_name,
        "SERVER_PORT": server_port,
        "SERVER_SOFTWARE": SERVER_SOFTWARE,
        "REMOTE_ADDR": "",
        "REMOTE_PORT": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url_scheme,
        "wsgi.input": EMPTY_INPUT,
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        # Bodies are collected before the app is called. Werkzeug tests that the key is there.
        "wsgi.input_terminated": True,
        "wsgi.early_hints": early_hints,
    }
    _make_roomy(environ)
    return environ


def _make_roomy(environ: dict[str, Any]) -> None:
    """Let the table of a dict grow by one step."""
    before = sys.getsizeof(environ)
    fillers: list[str] = []
    while sys.getsizeof(environ) == before:
        fillers.append(f"filler {len(fillers)}")
        environ[fillers[-1]] = None
    for filler in fillers:
        del environ[filler]


_UNAVAILABLE: Final = http11.status_text(503)


def overloaded(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Be the app for requests that are not to reach the real one (RFC 9110 §15.6.4)."""
    start_response(_UNAVAILABLE, [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "1")])
    return [f"{_UNAVAILABLE}\n".encode()]
