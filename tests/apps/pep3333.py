"""One small application per path, each leaning on one rule of PEP 3333.

`/closed` tells how often close() was called on the iterables of the other paths, by path, which is why
tests run this module in one worker.
"""

from __future__ import annotations

import collections
import io
import itertools
import json
import os
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

APPS: dict[str, Any] = {}
CLOSED: collections.Counter[str] = collections.Counter()
PLAIN = [("Content-Type", "text/plain")]


def path(name: str) -> Callable[[Any], Any]:
    """Serve the decorated application at /name."""

    def register(application: Any) -> Any:
        APPS[f"/{name}"] = application
        return application

    return register


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    application = APPS.get(environ["PATH_INFO"])
    if application is None:
        start_response("404 Not Found", PLAIN)
        return [b"no such path"]
    result: Iterable[bytes] = application(environ, start_response)
    return result


class Closing:
    """An iterable, not its own iterator, that counts how often it is closed."""

    def __init__(self, name: str, pieces: Iterable[bytes]) -> None:
        self.name = name
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        CLOSED[self.name] += 1


def closing(name: str, pieces: Callable[[WSGIEnvironment], Iterable[bytes]], status: str = "200 OK") -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, PLAIN)
        return Closing(name, pieces(environ))

    APPS[f"/{name}"] = application


def failing(*pieces: bytes) -> Iterator[bytes]:
    yield from pieces
    msg = "the application fails on purpose"
    raise RuntimeError(msg)


closing("close", lambda _: [b"a", b"b"])
closing("close-empty", lambda _: [])
closing("close-generator", lambda _: (piece for piece in (b"a", b"b")))
closing("close-fails-first", lambda _: failing())
closing("close-fails-later", lambda _: failing(b"first"))
closing("close-endless", lambda _: itertools.repeat(b"x" * 65536))
closing("close-204", lambda _: [], "204 No Content")
closing("close-not-bytes", lambda _: ["text"])  # type: ignore[list-item]


@path("close-start-response-fails")
def close_no_start(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return Closing("close-start-response-fails", [b"never started"])


@path("closed")
def closed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    return [json.dumps(CLOSED).encode()]


# --- bodies of every kind ------------------------------------------------------------------------------


def answering(
    name: str, result: Callable[[], Any], headers: list[Any] | None = None, status: str = "200 OK"
) -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, PLAIN if headers is None else headers)
        body: Iterable[bytes] = result()
        return body

    APPS[f"/{name}"] = application


class Pieces:
    """An old-style sequence: no __iter__, and a length that is a lie to nobody."""

    def __getitem__(self, index: int) -> bytes:
        return (b"old", b"-", b"style")[index]


LENGTH_5 = [*PLAIN, ("Content-Length", "5")]

answering("list", lambda: [b"hello ", b"world"])
answering("list-empty", list)
answering("list-of-empty", lambda: [b"", b""])
answering("tuple", lambda: (b"hello",))
answering("generator", lambda: (piece for piece in (b"a", b"", b"bc", b"def")))
answering("generator-empty", lambda: iter(()))
answering("generator-of-empty", lambda: iter((b"", b"")))
answering("iterator-class", lambda: iter([b"hello"]))
answering("getitem", Pieces)
answering("bytes", lambda: b"hi")
answering("big-pieces", lambda: (bytes([65 + n]) * 100_000 for n in range(5)))
answering("big", lambda: [b"0123456789abcdef" * (5 * 65536)], [*PLAIN, ("Content-Length", str(5 << 20))])
answering("big-generator", lambda: (b"0123456789abcdef" * 4096 for _ in range(80)))
answering("long", lambda: [b"hello!!!"], LENGTH_5)
answering("long-generator", lambda: iter([b"hel", b"lo!", b"!!"]), LENGTH_5)
answering("short", lambda: [b"hel"], LENGTH_5)
answering("short-generator", lambda: iter([b"h", b"el"]), LENGTH_5)
answering("short-empty", list, LENGTH_5)
answering("exact-generator", lambda: iter([b"hel", b"lo"]), LENGTH_5)
answering("204", list, [], "204 No Content")
answering("204-body", lambda: [b"hello"], [("Content-Length", "5")], "204 No Content")
answering("204-generator", lambda: iter([b"he", b"llo"]), [], "204 No Content")
answering("304", list, [("ETag", '"x"'), ("Content-Length", "5")], "304 Not Modified")
answering("304-body", lambda: [b"hello"], [("ETag", '"x"')], "304 Not Modified")
answering("none", lambda: None)
answering("number", lambda: 5)
answering("text", lambda: ["text"])
answering("text-later", lambda: iter([b"ok", "text"]))
answering("bytearray", lambda: [bytearray(b"hello")])
answering("fails-first", failing)
answering("fails-later", lambda: failing(b"first"))
answering("fails-after-empty", lambda: failing(b"", b""))

# --- headers -----------------------------------------------------------------------------------------
answering("own-date", lambda: [b"x"], [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("server", "mine")])
answering("cookies", lambda: [b"x"], [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
answering("latin1", lambda: [b"x"], [("X-Name", "caf\xe9")])
answering("close-wanted", lambda: [b"x"], [("Connection", "close")])
answering(
    "hop-by-hop",
    lambda: [b"hello"],
    [
        ("Connection", "X-Foo"),
        ("Keep-Alive", "timeout=99"),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Transfer-Encoding", "chunked"),
        ("X-Kept", "1"),
    ],
)
answering("reason", lambda: [b"x"], PLAIN, "299 Quite A Reason, Indeed")
answering("reason-empty", lambda: [b"x"], PLAIN, "200 ")

BAD_HEADERS: dict[str, list[Any]] = {
    "crlf-value": [("X-Evil", "a\r\nSet-Cookie: x=1")],
    "cr-value": [("X-Evil", "a\rb")],
    "lf-value": [("X-Evil", "a\nb")],
    "nul-value": [("X-Evil", "a\0b")],
    "control-value": [("X-Evil", "a\x01b")],
    "del-value": [("X-Evil", "a\x7fb")],
    "crlf-name": [("X-Evil\r\nX", "a")],
    "space-name": [("X Evil", "a")],
    "colon-name": [("X-Evil:", "a")],
    "empty-name": [("", "a")],
    "latin1-name": [("X-\xe9", "a")],
    "not-latin1-value": [("X-Evil", "€")],
    "bytes-value": [("X-Evil", b"a")],
    "bytes-name": [(b"X-Evil", "a")],
    "number-value": [("X-Evil", 5)],
    "none-value": [("X-Evil", None)],
    "list-item": [["X-Evil", "a"]],
    "triple": [("X-Evil", "a", "b")],
    "single": [("X-Evil",)],
    "length-letters": [("Content-Length", "abc")],
    "length-negative": [("Content-Length", "-1")],
    "length-twice": [("Content-Length", "1"), ("Content-Length", "2")],
}
for _name, _headers in BAD_HEADERS.items():
    answering(f"bad-header-{_name}", lambda: [b"never seen"], _headers)
answering("bad-headers-dict", lambda: [b"never seen"], {"X-A": "b"})  # type: ignore[arg-type]
answering("bad-headers-tuple", lambda: [b"never seen"], (("X-A", "b"),))  # type: ignore[arg-type]

BAD_STATUS: dict[str, Any] = {
    "crlf": "200 OK\r\nX-Evil: 1",
    "lf": "200 OK\nX-Evil: 1",
    "nul": "200 O\0K",
    "letters": "OK",
    "two-digits": "20 OK",
    "four-digits": "2000 OK",
    "no-space": "200OK",
    "leading-space": " 200 OK",
    "empty": "",
    "bytes": b"200 OK",
    "number": 200,
    "not-latin1": "200 €",
    "hundred": "099 Low",
    "interim": "100 Continue",
    "hints": "103 Early Hints",
}
for _name, _status in BAD_STATUS.items():
    answering(f"bad-status-{_name}", lambda: [b"never seen"], PLAIN, _status)


# --- start_response and write ----------------------------------------------------------------------


@path("lazy")
def lazy(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Call start_response only when iterated."""
    start_response("201 Created", [*PLAIN, ("X-Lazy", "1")])
    yield b"lazy"


@path("lazy-empty-first")
def lazy_empty(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Yield nothing, then replace the head: it may not have gone out yet."""
    start_response("200 OK", PLAIN)
    yield b""
    try:
        msg = "changed my mind"
        raise ValueError(msg)
    except ValueError:
        start_response("503 Service Unavailable", [*PLAIN, ("X-Second", "1")], sys.exc_info())
    yield b"sorry"


@path("lazy-never")
def lazy_never(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    yield b"without a head"


@path("never")
def never(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return [b"without a head"]


@path("raises")
def raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    msg = "secret-of-the-application"
    raise RuntimeError(msg)


@path("raises-after-start")
def raises_after_start(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("X-Leak", "secret-of-the-application")])
    msg = "secret-of-the-application"
    raise RuntimeError(msg)


@path("system-exit")
def system_exit(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    sys.exit(3)


@path("start-twice")
def start_twice(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    start_response("201 Created", PLAIN)
    return [b"never seen"]


@path("exc-info-before")
def exc_info_before(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    try:
        start_response("200 OK", [*PLAIN, ("X-First", "1"), ("Content-Length", "99")])
        msg = "replaces the head"
        raise ValueError(msg)
    except ValueError:
        start_response("500 Ours", [*PLAIN, ("X-Second", "1")], sys.exc_info())
    return [b"error page"]


@path("exc-info-first")
def exc_info_first(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    try:
        msg = "before any head"
        raise ValueError(msg)
    except ValueError:
        start_response("502 Ours", PLAIN, sys.exc_info())
    return [b"error page"]


@path("exc-info-after")
def exc_info_after(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", PLAIN)
    yield b"begun"
    try:
        msg = "too late for another head"
        raise ValueError(msg)
    except ValueError:
        start_response("500 Never Sent", PLAIN, sys.exc_info())
    yield b"never seen"


@path("write")
def write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    send = start_response("200 OK", PLAIN)
    send(b"one ")
    send(b"")
    send(b"two ")
    return [b"three ", b"four"]


@path("write-length")
def write_length(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    send = start_response("200 OK", LENGTH_5)
    send(b"hel")
    return [b"lo"]


@path("write-only")
def write_only(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)(b"all of it")
    return []


@path("write-big")
def write_big(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    send = start_response("200 OK", PLAIN)
    for _ in range(80):
        send(b"0123456789abcdef" * 4096)
    return []


@path("write-fails")
def write_fails(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)(b"begun")
    msg = "after write"
    raise RuntimeError(msg)


@path("write-text")
def write_text(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)("text")  # type: ignore[arg-type]
    return []


@path("errors")
def errors(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ["wsgi.errors"]
    stream.write("the application says: grüße\n")
    stream.writelines(["and ", "this\n"])
    stream.flush()
    start_response("200 OK", PLAIN)
    return [b"ok"]


@path("environ-is-mine")
def environ_is_mine(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A dict of this request alone, free to be changed."""
    fresh = type(environ) is dict and "mine" not in environ
    environ["mine"] = True
    environ["SERVER_NAME"] = "changed"
    start_response("200 OK", PLAIN)
    return [b"fresh" if fresh else b"stale"]


KEPT: list[Any] = []


@path("keep-everything")
def keep_everything(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Hold on to all that was handed over, as a leaky application does."""
    body = environ["wsgi.input"].read()
    KEPT.append((environ, start_response, environ["wsgi.input"], body))
    start_response("200 OK", PLAIN)
    distinct = len({id(kept[0]) for kept in KEPT}) == len(KEPT)
    return [b"%d %s" % (len(body), b"distinct" if distinct else b"shared")]


# --- input -------------------------------------------------------------------------------------------


@path("input")
def read_input(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read as the query says, say `read(2)|readline()|rest`, and answer with each result's repr."""
    source = environ["wsgi.input"]
    calls: dict[str, Callable[[], object]] = {
        "read()": source.read,
        "read(-1)": lambda: source.read(-1),
        "read(None)": lambda: source.read(None),
        "read(0)": lambda: source.read(0),
        "read(3)": lambda: source.read(3),
        "read(1000)": lambda: source.read(1000),
        "readline()": source.readline,
        "readline(-1)": lambda: source.readline(-1),
        "readline(2)": lambda: source.readline(2),
        "readline(0)": lambda: source.readline(0),
        "readlines()": source.readlines,
        "readlines(3)": lambda: source.readlines(3),
        "readlines(-1)": lambda: source.readlines(-1),
        "list": lambda: list(source),
        "next": lambda: next(iter(source)),
    }
    results = [calls[call]() for call in environ["QUERY_STRING"].split("|")]
    start_response("200 OK", PLAIN)
    return [repr(results).encode()]


@path("digest")
def digest(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the length and CRC of the body, read in pieces."""
    import zlib

    total = crc = 0
    while piece := environ["wsgi.input"].read(70_000):
        total += len(piece)
        crc = zlib.crc32(piece, crc)
    start_response("200 OK", PLAIN)
    return [f"{total} {crc} {environ.get('CONTENT_LENGTH')}".encode()]


@path("unread")
def unread(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    return [b"not looked at"]


@path("read-one")
def read_one(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    first = environ["wsgi.input"].read(1)
    start_response("200 OK", PLAIN)
    return [first]


# --- files --------------------------------------------------------------------------------------------

CONTENT = b"".join(b"%07d\n" % n for n in range(40_000))


def temporary() -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the wrapper closes it
    file.write(CONTENT)
    file.seek(0)
    return file


class Unseekable:
    """A file-like object with read() alone."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size)

    def close(self) -> None:
        CLOSED["file-like"] += 1


def wrapping(name: str, make: Callable[[], Any], headers: list[tuple[str, str]] | None = None) -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN if headers is None else headers)
        file = make()
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 8192)
        return wrapped

    APPS[f"/{name}"] = application


class CountedFile(io.FileIO):
    """A real file that counts how often it is closed."""

    def close(self) -> None:
        if not self.closed:
            CLOSED["file"] += 1
        super().close()


def counted() -> CountedFile:
    fd, name = tempfile.mkstemp()
    os.write(fd, CONTENT)
    os.close(fd)
    file = CountedFile(name)
    os.unlink(name)
    return file


def at(offset: int) -> IO[bytes]:
    file = temporary()
    file.seek(offset)
    return file


def pipe() -> IO[bytes]:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as filling:  # not os.close(), which gevent puts off
        filling.write(b"through a pipe")
    return os.fdopen(read_end, "rb")


wrapping("file", temporary)
wrapping("file-counted", counted)
wrapping("file-length", temporary, [*PLAIN, ("Content-Length", str(len(CONTENT)))])
wrapping("file-offset", lambda: at(100_000))
wrapping("file-part", lambda: at(8), [*PLAIN, ("Content-Length", "16")])
wrapping("file-at-end", lambda: at(len(CONTENT)))
wrapping("file-short", temporary, [*PLAIN, ("Content-Length", str(len(CONTENT) + 10))])
wrapping("file-bytesio", lambda: io.BytesIO(b"in memory" * 1000))
wrapping("file-like", lambda: Unseekable(b"like a file" * 1000))
wrapping("file-like-length", lambda: Unseekable(b"like a file"), [*PLAIN, ("Content-Length", "11")])
wrapping("file-pipe", pipe)
wrapping("file-like-long", lambda: Unseekable(b"hello!!!"), LENGTH_5)


@path("file-iterated")
def file_iterated(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Wrap, but hand out something else, as middleware does."""
    start_response("200 OK", PLAIN)
    wrapper = environ["wsgi.file_wrapper"](temporary(), 8192)
    try:
        for piece in wrapper:
            yield piece.lower()
    finally:
        wrapper.close()


@path("file-upload")
def file_upload(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Send wsgi.input back through the file wrapper."""
    start_response("200 OK", PLAIN)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](environ["wsgi.input"])
    return wrapped
