"""Answer as the request's body dictates, which is a pickled Dictation: so a test chooses what the app does."""

from __future__ import annotations

import io
import pickle
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

INJECTED = "\r\nX-Injected: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninjected"


class Liar(str):
    """A str that is another one to whoever asks it, and not its memory."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"X{INJECTED}"

    def __format__(self, spec: str) -> str:
        return f"X{INJECTED}"

    def __repr__(self) -> str:
        return f"'X{INJECTED}'"

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return hash("Content-Length")

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter("X")

    def __contains__(self, key: object) -> bool:
        return False

    def __getitem__(self, key: Any) -> str:
        return "200"

    def encode(self, *_: object) -> bytes:
        return f"X{INJECTED}".encode()

    def lower(self) -> str:
        return "content-length"

    def strip(self, *_: object) -> str:
        return "5"


class LiarBytes(bytes):
    """A bytes object of the same kind."""

    __slots__ = ()

    def __bytes__(self) -> bytes:
        return b"x" + INJECTED.encode()

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return False


@dataclass
class Dictation:
    """What the app is to do."""

    status: Any = "200 OK"
    headers: Any = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    how: str = "list"
    hints: list[Any] = field(default_factory=list)
    first: tuple[Any, Any] | None = None
    """Status and headers of a start_response() before, which is then replaced."""
    fails: bool = False
    """Whether an exception comes after the parts, where there is an iterator."""


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/next":
        start_response("200 OK", [("Content-Length", "4")])
        return [b"next"]
    told: Dictation = pickle.loads(environ["wsgi.input"].read())
    for fields in told.hints:
        environ["wsgi.early_hints"](fields)
    if told.first is not None:
        start_response(*told.first)
        try:
            raise ValueError
        except ValueError:
            write = start_response(told.status, told.headers, sys.exc_info())
    else:
        write = start_response(told.status, told.headers)
    return answer(told, environ, write)


def answer(told: Dictation, environ: WSGIEnvironment, write: Any) -> Iterable[bytes]:
    if told.how == "tuple":
        return tuple(told.parts)
    if told.how == "generator":
        return generated(told)
    if told.how in ("write", "write and list"):
        for part in told.parts:
            write(part)
        return [b"end"] if told.how == "write and list" else []
    if told.how in ("file", "file-like"):
        file = tempfile.TemporaryFile() if told.how == "file" else io.BytesIO()  # noqa: SIM115 - the wrapper closes it
        file.write(b"".join(told.parts))
        file.seek(0)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped
    return told.parts


def generated(told: Dictation) -> Iterator[bytes]:
    yield from told.parts
    if told.fails:
        raise RuntimeError
