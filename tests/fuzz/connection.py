"""Target `connection`: a stream of requests and bodies is the same however it is cut, and whoever reads it.

Five bytes choose settings and cuts; what follows is what a client sends, maybe with a PROXY header in front. Compared are
compiled and pure, the whole and ways of cutting it, bodies collected and bodies streamed to the app, and h11.
"""

from __future__ import annotations

import contextlib
import io
import random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.environs import plain_environ
from tests.fuzz.h11_reading import IncompleteError, RefusedError, read_request
from tests.fuzz.twins import BOTH, COMPILED, PURE, Twin

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check"]

LIMITS: Final[list[dict[str, Any]]] = [
    {},
    {"request_line": 60, "fields": 4, "field_size": 60, "body": 100},
    {"request_line": 0, "fields": 0, "field_size": 0, "body": 0},
    {"fields": 3, "body": 20},
]
ALLOWED: Final = "192.0.2.1"
FORWARDING: Final[dict[str, Any]] = {
    "schemes": {b"x-forwarded-proto": b"https"},
    "underscored": {b"script_name"},
    "named": {b"x-forwarded-for", b"x-forwarded-host"},
    "proxies": (ALLOWED,),
}
SPOOL_AT: Final = (1 << 20, 8)
PROXY: Final = ("", "auto", "v1", "v2")
MOST: Final = 12  # requests of one stream that are looked at
BYTEWISE: Final = 400  # bytes of a stream that is also sent byte by byte
ERRORS: Final = io.StringIO()
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
IDLE, HEAD, BODY, BUSY, CLOSING, STREAM, PROXY_STATE = range(7)


class Setting(NamedTuple):
    """What an input chooses."""

    limits: dict[str, Any]
    spool_at: int
    proxy: str
    peer: str
    is_trusted: bool
    ends: int
    """What comes after the last byte: nothing, the end of the stream, or the deadline."""

    hands_over: bool
    """Whether an app takes the connection that asks for an upgrade."""

    seed: int


class Record(NamedTuple):
    """What came out of a stream."""

    requests: list[tuple[Any, ...]]
    status: int | None
    state: int
    out: bytes
    logged: list[tuple[Any, ...]]
    complaints: list[Any]
    deadline: float
    given: bytes | None
    """What an app that has taken the connection gets to read."""

    course: list[tuple[Any, ...]]
    """How it looked to the loop, by the way; that depends on the pieces."""


def chosen(data: bytes) -> Setting:
    first, second = data[0], data[1]
    return Setting(
        LIMITS[first & 3],
        SPOOL_AT[first >> 2 & 1],
        PROXY[first >> 3 & 3],
        ALLOWED if first & 0x60 != 0x60 else "192.0.2.9",
        bool(first & 0x80),
        (0, 0, 1, 2)[second & 3],
        bool(second & 4),
        int.from_bytes(data[2:5], "big"),
    )


class Gate(contextlib.AbstractContextManager[None]):
    """Stands in for the lock of a loop."""

    def __exit__(self, *_exc: object) -> None:
        pass


class Wire:
    """Stands in for a channel whose app reads a body while it comes: what fetch() waits for is the next piece."""

    def __init__(self, twin: Twin, connection: Any, pieces: Iterator[bytes]) -> None:
        self.connection = connection
        self.runner = self
        self.gate = Gate()
        self._twin = twin
        self._pieces = pieces

    def fetch(self, request: Any) -> bytes:
        request.stream.unasked = False
        piece = b""
        while not piece and self.connection.is_streaming():
            came = next(self._pieces, b"")
            if not came:
                raise self._twin.HTTPError(400, "the client has gone")
            piece = self.connection.take(came)
        return piece

    def interrupt(self) -> None:
        """Nobody waits."""


def endpoint(twin: Twin, setting: Setting, *, streams: bool, log: list[Any], complaints: list[Any]) -> Any:
    limits = twin.Limits(**setting.limits)
    base = plain_environ(errors=ERRORS, base_environ=twin.base_environ)
    found = twin.Endpoint(
        twin.Parser(limits, twin.forwarding(**FORWARDING)),
        twin.Serializer("fastwsgi"),
        base,
        limits,
        spool_at=setting.spool_at,
        open_spool=io.BytesIO,
        streams=streams,
        trusts=lambda _: setting.is_trusted,
        proxy_protocol=twin.ProxyProtocol(setting.proxy, ALLOWED.__eq__) if setting.proxy else None,
        log=lambda environ, status, headers, nbytes, seconds: log.append(
            (shown(environ), status, headers, nbytes, seconds)
        ),
    )
    found.complain = lambda peer, error: complaints.append((peer, error.status, error.detail))
    return found


def shown(environ: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in environ.items() if key not in ("wsgi.input", "wsgi.file_wrapper")}


def facts(request: Any) -> tuple[Any, ...]:
    return (
        shown(request.environ),
        request.method,
        request.target,
        request.version,
        request.content_length,
        request.keep_alive,
        request.expect_continue,
        request.upgrade,
    )


def look(connection: Any) -> tuple[Any, ...]:
    return (
        *(connection.state, connection.served, connection.unread, connection.deadline, connection.pending()),
        *(connection.is_over(), connection.is_idle(0.0), connection.wants_more(), connection.ahead()),
        *(connection.is_at_rest(), connection.is_closing(), connection.is_streaming()),
    )


def read_input(stream: Any, chance: random.Random) -> bytes:
    """Read a body as apps do, in whatever sizes; nothing follows its end."""
    found: list[bytes] = []
    while True:
        way = chance.randrange(5)
        size = chance.choice((1, 2, 3, 7, 64, 10_000))
        if way == 0:
            piece = stream.read(size)
            assert len(piece) <= size
        elif way == 1:
            piece = stream.readline()
            assert piece.find(b"\n") in (-1, len(piece) - 1)
        elif way == 2:
            piece = stream.readline(size)
            assert len(piece) <= size
        elif way == 3:
            piece = b"".join(stream.readlines(size))
        else:
            piece = stream.read(-1 if size > 3 else size)
        found.append(piece)
        if not piece:
            break
    for _ in range(2):
        assert stream.read() == b""
        assert stream.readline() == b""
        assert stream.read(5) == b""
        assert list(stream) == []
    return b"".join(found)


def run(
    twin: Twin, setting: Setting, cut: list[bytes], *, streams: bool = False, eager: bool = False
) -> Record:
    """Send pieces through a connection; where `eager`, the next one comes before a request is answered."""
    logged: list[Any] = []
    complaints: list[Any] = []
    target = endpoint(twin, setting, streams=streams, log=logged, complaints=complaints)
    connection = twin.Connection(target, setting.peer, "1234", 0.0)
    chance = random.Random(setting.seed)
    found: list[tuple[Any, ...]] = []
    pieces = iter(cut)
    given: bytes | None = None
    course: list[tuple[Any, ...]] = []
    now = 1.0
    for piece in pieces:
        if connection.is_closing():
            break
        request = connection.receive(piece, now)
        while request is not None:
            if eager and connection.is_busy() and not connection.is_streaming():
                more = next(pieces, b"")
                if more:
                    assert connection.receive(more, now) is None
            failed = False
            if connection.is_streaming():
                twin.attach(Wire(twin, connection, pieces), request)
                before = facts(request)
                try:
                    body = read_input(request.environ["wsgi.input"], chance)
                except twin.UnreadableBodyError:
                    failed = True
                    body = b"%d" % request.stream.error.status
                found.append((*before, "failed" if failed else "whole", body))
            else:
                assert connection.is_busy()
                found.append((*facts(request), "whole", read_input(request.environ["wsgi.input"], chance)))
            if setting.hands_over and request.upgrade and connection.is_busy() and not failed:
                given = connection.give() + b"".join(pieces)
                break
            if failed or not request.keep_alive or len(found) == MOST:
                connection.close()
                break
            course.append(look(connection))
            now += 0.25
            request = connection.next_request(now)
        course.append(look(connection))
        now += 0.25
    if not connection.is_closing():
        if setting.ends == 1:
            connection.end_of_stream()
        elif setting.ends == 2:
            connection.time_out()
    assert not connection.is_busy() or connection.is_streaming()
    status = None if connection.error is None else connection.error.status
    return Record(
        found,
        status,
        connection.state,
        b"".join(connection.out),
        logged,
        complaints,
        connection.deadline,
        given,
        course,
    )


def cuts(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut anywhere, but more often where lines end."""
    ends = [at for at in range(len(data)) if data[at] in b"\r\n:"] or [0]
    places = sorted(
        {
            min(chance.choice(ends) + chance.randrange(3), len(data))
            if chance.random() < 0.7
            else chance.randrange(len(data) + 1)
            for _ in range(chance.choice((1, 2, 3, 5, 8, 20)))
        }
    )
    found = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in found if piece]


def check(data: bytes) -> None:
    """Raise AssertionError where one reading differs from another."""
    if len(data) < 6:
        return
    setting = chosen(data)
    raw = data[5:]
    chance = random.Random(setting.seed)
    whole = alike(setting, [raw])
    read_by_h11(setting, raw, whole)
    # Of the many ways some, which the input chooses as well.
    cut = cuts(raw, chance)
    same_but_for_time(alike(setting, cut, eager=chance.random() < 0.5), whole)
    if len(raw) <= BYTEWISE and chance.random() < 0.25:
        same_but_for_time(alike(setting, [raw[at : at + 1] for at in range(len(raw))]), whole)
    if not whole.requests or any(one[4] for one in whole.requests):
        streams_as_collected(
            alike(setting, chance.choice(([raw], cut, cuts(raw, chance))), streams=True), whole
        )


def alike(setting: Setting, cut: list[bytes], **options: bool) -> Record:
    """Return what both implementations make of the same pieces."""
    found, other = (run(twin, setting, cut, **options) for twin in BOTH)
    for name, one, two in zip(Record._fields, found, other, strict=True):
        assert one == two, f"{name} in pieces {[*map(len, cut)]}, {options}: compiled {one!r}, pure {two!r}"
    return found


def same_but_for_time(one: Record, whole: Record) -> None:
    """Compare two ways of sending the same bytes."""
    assert one.requests == whole.requests, f"{one.requests!r}, and whole {whole.requests!r}"
    assert one.status == whole.status, f"{one.status}, and whole {whole.status}"
    assert one.state == whole.state
    assert one.given == whole.given
    assert one.out.replace(CONTINUE, b"") == whole.out.replace(CONTINUE, b"")
    assert [entry[:2] for entry in one.complaints] == [entry[:2] for entry in whole.complaints]
    # What is logged of a head that is refused is as much of it as has come.
    assert [entry[1:-1] for entry in one.logged] == [entry[1:-1] for entry in whole.logged]


def streams_as_collected(streamed: Record, whole: Record) -> None:
    """Compare bodies that the app takes while they come with those that are collected for it."""
    for one, other in zip(streamed.requests, whole.requests, strict=False):
        assert one[1:] == other[1:]
        environ, expected = dict(one[0]), dict(other[0])
        if one[4] < 0:  # of a body in chunks the length is told only if all of it came at once
            assert environ.pop("CONTENT_LENGTH", None) in (None, expected.pop("CONTENT_LENGTH"))
        assert environ == expected
    extra = streamed.requests[len(whole.requests) :]
    assert len(streamed.requests) >= len(whole.requests)
    if extra:  # its body fails, or does not come: one that is collected is then not handed out
        assert [one[-2] for one in extra] == ["failed"]
        if whole.status is not None and whole.status != 408:
            assert extra[0][-1] == b"%d" % whole.status
    elif whole.status != 408:
        assert streamed.status == whole.status


def read_by_h11(setting: Setting, raw: bytes, whole: Record) -> None:
    rest = raw
    if setting.proxy:
        try:
            header = PURE.ProxyProtocol(setting.proxy, ALLOWED.__eq__).read(raw, setting.peer)
        except PURE.HTTPError as error:
            assert whole.status == error.status
            assert not whole.requests
            return
        if header is None:
            assert not whole.requests
            return
        rest = raw[header.size :]
    for one in whole.requests:
        environ, method, target, version, length, keep_alive, _, is_upgrade, _, body = one
        try:
            message = read_request(rest)
        except RefusedError as error:
            assert error.is_known(), error
            return
        except IncompleteError:
            raise AssertionError(f"{method} {target} is whole for us, and not for h11") from None
        assert message.method == method.encode()
        assert message.target == target.encode()
        assert message.body == body
        assert length in (-1, len(body))
        assert environ.get("CONTENT_LENGTH", "0").lstrip("0") == (str(len(body)) if body else "")
        if version:  # what follows an Upgrade is nobody's request for us
            assert keep_alive != (message.is_last or is_upgrade)
        rest = message.rest
    if whole.given is not None:
        assert whole.given == rest
    if whole.status is None and whole.state in (HEAD, BODY) and len(whole.requests) < MOST:
        # Whoever waits for more where another reader sees a whole request lets what follows become its body.
        try:
            read_request(rest)
        except IncompleteError as error:
            assert error.has_head == (whole.state == BODY)
        except RefusedError:
            pass
        else:
            raise AssertionError("h11 sees a whole request where we wait for more")


assert COMPILED is BOTH[0]
