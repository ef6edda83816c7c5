"""One response, without a connection: every way in which an app may give it, in every framing.

What must come out is worked out by a small model of RFC 9112 §6.3 and PEP 3333, not by the code under test.
"""

from __future__ import annotations

import gc
import io
import itertools
import sys
import weakref
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import _impl
from fastwsgi.endpoint import Endpoint
from fastwsgi.forwarding import Forwarding
from fastwsgi.request import Limits, Request
from fastwsgi.response import Response
from fastwsgi.states import DONE, EXHAUSTED, PULLING, SENDING
from fastwsgi.wsgi import FileWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

App = Any


class Region:
    """Stands in for a file region."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.count = len(data)


def endpoint(region_of: Callable[[Any], Any] | None = None) -> Endpoint:
    bounds = Limits()
    return Endpoint(
        _impl.Parser(bounds, Forwarding()),
        _impl.Serializer("fastwsgi"),
        {},
        bounds,
        open_spool=io.BytesIO,
        region_of=region_of,
    )


ENDPOINT = endpoint()


class Run:
    """An app run as an engine would: pulled until it is done, and then closed."""

    def __init__(
        self,
        app: App,
        *,
        method: str = "GET",
        version: int = 1,
        keep_alive: bool = True,
        target: Endpoint = ENDPOINT,
    ) -> None:
        request = Request({"REQUEST_METHOD": method}, version, 0)
        request.is_head = method == "HEAD"
        request.keep_alive = keep_alive
        self.out: list[Any] = []
        self.response = Response.__new__(Response)
        self.response.begin(target, request, self.out, self, copy_context())
        self.response.run(app)
        while self.response.state != DONE:
            if self.response.state == PULLING:
                self.response.pull()
            else:
                assert self.response.state in (SENDING, EXHAUSTED)
                self.response.finish()

    @property
    def raw(self) -> bytes:
        return b"".join(
            piece if isinstance(piece, bytes) else piece.data[: piece.count] for piece in self.out
        )

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    def fields(self, name: bytes) -> list[bytes]:
        lines = (line.partition(b": ") for line in self.head.split(b"\r\n")[1:])
        return [value for key, _, value in lines if key.lower() == name.lower()]


def dechunked(data: bytes) -> bytes:
    """Decode a chunked body that must be whole and nothing more (RFC 9112 §7.1)."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if length == 0:
            assert data == b""
            return body


# --- framing, as a product ---------------------------------------------------------------------------------

BODIES: dict[str, list[bytes]] = {
    "nothing": [],
    "empty": [b""],
    "one": [b"hello"],
    "several": [b"he", b"", b"llo", b" world"],
}
WAYS = ["list", "tuple", "generator", "iterator", "write", "write and list", "written late"]
DECLARED = ["none", "exact", "zero", "short", "long"]
STATUSES = ["200 OK", "404 Not Found", "204 No Content", "304 Not Modified"]


def app_that(way: str, status: str, parts: list[bytes], declared: int | None) -> App:
    headers = [("X-A", "b")] + ([("Content-Length", str(declared))] if declared is not None else [])

    def app(_environ: object, start_response: Any) -> Any:
        if way == "generator":

            def generate() -> Iterator[bytes]:
                start_response(status, headers)
                yield from parts

            return generate()
        write = start_response(status, headers)
        if way == "write":
            for part in parts:
                write(part)
            return []
        if way == "write and list":
            for part in parts[:1]:
                write(part)
            return parts[1:]
        if way == "written late":
            for part in parts[:1]:
                write(part)
            return iter(parts[1:])
        make: Any = {"list": list, "tuple": tuple, "iterator": iter}[way]
        return make(parts)

    return app


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("declares", DECLARED)
def test_framing(way: str, body: str, declares: str) -> None:
    parts = BODIES[body]
    whole = b"".join(parts)
    declared = {
        "none": None,
        "exact": len(whole),
        "zero": 0,
        "short": max(0, len(whole) - 2),
        "long": len(whole) + 3,
    }[declares]
    for status, method, version, keep_alive in itertools.product(
        STATUSES, ["GET", "HEAD"], [0, 1], [True, False]
    ):
        run = Run(
            app_that(way, status, parts, declared), method=method, version=version, keep_alive=keep_alive
        )
        check_framing(run, way, status, method, version, keep_alive, whole, declared)


def check_framing(
    run: Run,
    way: str,
    status: str,
    method: str,
    version: int,
    keep_alive: bool,
    whole: bytes,
    declared: int | None,
) -> None:
    where = (way, status, method, version, keep_alive, whole, declared)
    response = run.response
    code = int(status[:3])
    has_body = method != "HEAD" and code not in (204, 304)
    assert run.raw.startswith(b"HTTP/1.1 " + status.encode() + b"\r\n"), where
    assert response.failure is None, where
    lengths, codings, connection = map(run.fields, (b"content-length", b"transfer-encoding", b"connection"))
    # RFC 9112 §6.2: never both, and never two.
    assert len(lengths) + len(codings) <= 1, where
    sent = run.body
    closes = not keep_alive
    if not has_body:
        assert sent == b"", where
        assert not codings, where
        if lengths:
            # RFC 9110 §8.6: not in 204; else what GET would say.
            assert code != 204, where
            assert int(lengths[0]) == (declared if declared is not None else len(whole)), where
    elif declared is not None:
        assert lengths == [str(declared).encode()], where
        assert sent == whole[:declared], where
        assert bool(response.complaint) == (declared != len(whole)), where
        closes_late = len(whole) < declared
        assert response.keep_alive == (keep_alive and not closes_late), where
    elif codings:
        assert version == 1, where  # RFC 9112 §6.1: a 1.0 client knows no chunks
        assert dechunked(sent) == whole, where
    elif lengths:
        assert int(lengths[0]) == len(whole) == len(sent), where
        assert sent == whole, where
    else:
        # RFC 9112 §6.3: the end of the connection is the end of the body.
        assert version == 0, where
        assert sent == whole, where
        closes = True
    if has_body and way in ("list", "tuple"):
        assert lengths, where  # its length was known
    expected = [b"close"] if closes else [b"keep-alive"] if version == 0 else []
    assert connection == expected, where
    if declared is None or not has_body:
        assert response.keep_alive == (not closes), where
    assert response.body_size == (len(whole if declared is None else whole[:declared]) if has_body else 0)


@pytest.mark.parametrize("size", [16383, 16384, 16385, 1 << 20])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("version", [0, 1])
def test_large_pieces(size: int, streamed: bool, version: int) -> None:
    data = bytes(size)
    run = Run(app_that("iterator" if streamed else "list", "200 OK", [data, data], None), version=version)
    assert (dechunked(run.body) if run.fields(b"transfer-encoding") else run.body) == data * 2


@pytest.mark.parametrize("declared", [None, 10, 4, 12])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("keep_alive", [True, False])
def test_file(declared: int | None, method: str, status: str, keep_alive: bool) -> None:
    headers = [("Content-Length", str(declared))] if declared is not None else []
    file = io.BytesIO(b"0123456789")

    def app(_environ: object, start_response: Any) -> Any:
        start_response(status, headers)
        return FileWrapper(file)

    target = endpoint(lambda filelike: Region(filelike.getvalue()))
    run = Run(app, method=method, keep_alive=keep_alive, target=target)
    assert file.closed
    code = int(status[:3])
    has_body = method == "GET" and code not in (204, 304)
    length = 10 if declared is None else declared
    assert run.body == (b"0123456789"[:length] if has_body else b"")
    assert run.fields(b"content-length") == (
        [str(length).encode()] if has_body or (code != 204 and (declared is not None or code != 304)) else []
    )
    assert run.response.keep_alive == (keep_alive and not (has_body and length > 10))


def test_a_file_that_is_no_region_is_read() -> None:
    def app(_environ: object, start_response: Any) -> Any:
        start_response("200 OK", [])
        return FileWrapper(io.BytesIO(b"x" * 10), 4)

    run = Run(app, target=endpoint(lambda _filelike: None))
    assert dechunked(run.body) == b"x" * 10
    assert run.body.startswith(b"4\r\nxxxx\r\n")


# --- start_response and write ------------------------------------------------------------------------------


def test_headers_are_the_apps_in_its_order() -> None:
    def app(_environ: object, start_response: Any) -> Any:
        start_response("200 OK", [("Set-Cookie", "a=1"), ("X-B", "2"), ("Set-Cookie", "c=3")])
        return [b""]

    assert Run(app).head.startswith(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-B: 2\r\nSet-Cookie: c=3\r\n")


def test_start_response_after_the_end() -> None:
    kept = []

    def app(_environ: object, start_response: Any) -> Any:
        kept.append(start_response)
        raise ValueError

    answer = Run(app).raw
    with pytest.raises(AssertionError, match="has ended"):
        kept[0]("200 OK", [])
    assert answer.startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("late", [False, True])
def test_a_second_start_response_replaces_the_first_with_exc_info_only(late: bool) -> None:
    def app(_environ: object, start_response: Any) -> Any:
        start_response("200 OK", [("X-First", "1"), ("Content-Length", "100")])
        if late:
            yield b""
        with pytest.raises(AssertionError):
            start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Oops", [("X-Second", "2")], sys.exc_info())
        yield b"sorry"

    run = Run(app)
    assert run.head.startswith(b"HTTP/1.1 500 Oops\r\nX-Second: 2\r\n")
    assert b"X-First" not in run.head
    assert run.fields(b"content-length") == []
    assert dechunked(run.body) == b"sorry"
    assert run.response.code == 500


def test_exc_info_after_the_head_is_raised_again() -> None:
    """PEP 3333: the error then ends the response, which the client must be able to tell."""
    seen = []

    def app(_environ: object, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("first")
        except ValueError as error:
            try:
                start_response("500 Oops", [], sys.exc_info())
            except ValueError as again:
                seen.append(again is error)
                raise

    run = Run(app)
    assert seen == [True]
    assert isinstance(run.response.failure, ValueError)
    assert run.body == b"5\r\nbegun\r\n"  # no last chunk: cut off
    assert not run.response.keep_alive


@pytest.mark.parametrize("way", ["list", "empty list", "generator", "empty generator"])
def test_an_app_that_never_starts_its_response(way: str) -> None:
    results = {"list": [b"x"], "empty list": [], "generator": iter([b"x"]), "empty generator": iter([])}
    run = Run(lambda _environ, _start_response: results[way])
    assert run.response.code == 500
    assert isinstance(run.response.failure, AssertionError)
    assert run.raw.startswith(b"HTTP/1.1 500 ")
    assert run.fields(b"connection") == [b"close"]


def test_a_bad_header_raises_where_the_app_can_see_it() -> None:
    def app(_environ: object, start_response: Any) -> Any:
        with pytest.raises(ValueError, match="control character"):
            start_response("200 OK", [("X-A", "b\r\nX-Evil: 1")])
        start_response("200 OK", [])
        return [b"fine"]

    assert Run(app).body == b"fine"


def test_write_is_sent_at_once() -> None:
    sent: list[bytes] = []
    target = endpoint()

    def app(_environ: object, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"one")
        assert b"one" in sent[-1]
        write(b"")
        write(b"two")
        assert b"two" in sent[-1]
        return [b"three"]

    target.transmit = lambda owner: sent.append(b"".join(owner.out))
    run = Run(app, target=target)
    assert dechunked(run.body) == b"onetwothree"


def test_write_after_the_end_is_an_error_of_the_app() -> None:
    kept: list[Any] = []

    def app(_environ: object, start_response: Any) -> Any:
        kept.append(start_response("200 OK", []))
        return [b"x"]

    run = Run(app)
    before = run.raw
    with pytest.raises(AssertionError):
        kept[0](b"late")
    assert run.raw == before


class Pretender(bytes):
    """A subclass is sent by its bytes, not by what it pretends."""

    def __len__(self) -> int:
        return 1

    def __str__(self) -> str:
        return "?"


@pytest.mark.parametrize("way", WAYS)
def test_a_subclass_of_bytes(way: str) -> None:
    run = Run(app_that(way, "200 OK", [Pretender(b"abc")], None))
    assert run.response.failure is None
    assert (dechunked(run.body) if run.fields(b"transfer-encoding") else run.body) == b"abc"


@pytest.mark.parametrize("piece", ["str", bytearray(b"x"), memoryview(b"x"), None, 7])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_bytes_is_refused(way: str, piece: Any) -> None:
    run = Run(app_that(way, "200 OK", [piece], None))
    assert isinstance(run.response.failure, TypeError)
    assert run.response.code == 500
    assert not run.response.keep_alive


# --- errors and close() --------------------------------------------------------------------------------------


class Iterable:
    """An app's result that fails where it is told to, and counts its close()."""

    def __init__(self, fails_at: str, error: BaseException, start: Callable[[], object]) -> None:
        self.fails_at, self.error, self.start = fails_at, error, start
        self.closed = 0
        self.given = 0

    def __iter__(self) -> Iterable:
        if self.fails_at == "iter":
            raise self.error
        return self

    def __next__(self) -> bytes:
        self.start()
        if self.given == 3:
            raise StopIteration
        self.given += 1
        if self.fails_at == f"next {self.given}":
            raise self.error
        return b"piece"

    def close(self) -> None:
        self.closed += 1
        if self.fails_at == "close":
            raise self.error


ERRORS = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("fails_at", ["iter", "next 1", "next 2", "next 3", "close", ""])
@pytest.mark.parametrize("lazy", [True, False])
def test_errors_stay_inside(error: type[BaseException], fails_at: str, lazy: bool) -> None:
    results: list[Iterable] = []
    raised = error("by the app")

    def app(_environ: object, start_response: Any) -> Any:
        once: Iterator[Callable[[], object]] = iter([lambda: start_response("200 OK", [])])
        if not lazy:
            next(once)()
        results.append(Iterable(fails_at, raised, lambda: [start() for start in once]))
        return results[0]

    run = Run(app)
    assert results[0].closed == 1
    assert run.response.failure is (raised if fails_at else None)
    if fails_at in ("iter", "next 1"):
        assert run.raw.startswith(b"HTTP/1.1 500 ")
        assert b"by the app" not in run.raw
    elif fails_at.startswith("next"):
        assert run.raw.startswith(b"HTTP/1.1 200 ")
        assert not run.raw.endswith(b"0\r\n\r\n")
    else:
        assert dechunked(run.body) == b"piece" * 3
    assert run.response.keep_alive == (fails_at in ("", "close"))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_errors_of_the_call(error: type[BaseException], started: bool, method: str) -> None:
    def app(_environ: object, start_response: Any) -> Any:
        if started:
            start_response("200 OK", [("Content-Length", "5")])
        raise error

    run = Run(app, method=method)
    assert type(run.response.failure) is error
    assert run.raw.startswith(b"HTTP/1.1 500 ")
    assert (run.body == b"") == (method == "HEAD")
    assert run.response.body_size == len(run.body)  # as the access log has it


def test_close_comes_once_when_the_client_goes() -> None:
    result = Iterable("", ValueError(), lambda: None)

    def app(_environ: object, start_response: Any) -> Any:
        start_response("200 OK", [])
        return result

    response = Response.__new__(Response)
    response.begin(ENDPOINT, Request({}, 1, 0), [], None, copy_context())
    response.run(app)
    response.pull()
    assert result.closed == 0
    response.abandon()
    response.abandon()
    assert result.closed == 1
    assert response.state == DONE
    assert not response.keep_alive


def test_nothing_is_pulled_that_would_be_thrown_away() -> None:
    result = Iterable("", ValueError(), lambda: None)

    def app(_environ: object, start_response: Any) -> Any:
        start_response("200 OK", [])
        return result

    Run(app, method="HEAD")
    assert result.given == 1
    assert result.closed == 1


def test_no_length_for_head_where_the_app_leaves_the_body_out() -> None:
    """RFC 9110 §8.6: Content-Length of HEAD MUST be that of GET, and nothing tells it here."""
    for way in WAYS:
        run = Run(app_that(way, "200 OK", [], None), method="HEAD")
        assert run.fields(b"content-length") == [], way


@pytest.mark.parametrize("way", WAYS)
def test_no_cycle_is_left(way: str) -> None:
    """What a request took is given back at once, without the garbage collector."""

    class Marker:
        pass

    gc.collect()
    gc.disable()
    try:
        marker = Marker()
        alive = weakref.ref(marker)
        response = Response.__new__(Response)
        response.begin(ENDPOINT, Request({"marker": marker}, 1, 0), [], None, copy_context())
        response.run(app_that(way, "200 OK", [b"x"], None))
        while response.state == PULLING:
            response.pull()
        response.finish()
        del response, marker
        assert alive() is None
    finally:
        gc.enable()


def test_each_response_has_its_context() -> None:
    """Two generators that take turns must not see, or undo, what the other has set."""
    variable: ContextVar[str] = ContextVar("variable")

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        token = variable.set(environ["name"])
        start_response("200 OK", [])
        for _ in range(3):
            yield variable.get().encode()
        variable.reset(token)

    outs: list[list[bytes]] = [[], []]
    responses = []
    for name, out in zip("ab", outs, strict=True):
        response = Response.__new__(Response)
        response.begin(ENDPOINT, Request({"name": name}, 1, 0), out, None, copy_context())
        response.run(app)
        responses.append(response)
    while any(response.state == PULLING for response in responses):
        for response in responses:
            if response.state == PULLING:
                response.pull()
    for name, out, response in zip("ab", outs, responses, strict=True):
        response.finish()
        assert response.failure is None
        assert dechunked(b"".join(out).partition(b"\r\n\r\n")[2]) == name.encode() * 3
    assert variable.get("nothing") == "nothing"
