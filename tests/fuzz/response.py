"""Target `response`: whatever an app does, its client reads exactly the body it gave, or sees that it was cut off.

The input is a program for an app (`Script`): start_response, write(), pieces, exceptions, early hints. It is run three
times with the same objects, since the serializer knows them again, and once more with a field changed. Compared are
compiled and pure, in bytes and in what the app and the log are told; h11 reads the answer as a client.
"""

from __future__ import annotations

import io
import json
from contextvars import copy_context
from typing import Any, Final

import h11

from tests.fuzz.twins import BOTH, COMPILED, Twin

__all__ = ["check"]

METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")
STATUSES: Final = (
    *(
        "200 OK",
        "204 No Content",
        "304 Not Modified",
        "404",
        "500 ",
        "101 Switching Protocols",
        "103 Early Hints",
    ),
    *("999 \xff\t", "200OK", "20", "200 O\nK", "200 \u20ac", "099 No", None, b"200 OK"),
)
NAMES: Final = (
    *(
        "Content-Length",
        "content-length",
        "Connection",
        "Transfer-Encoding",
        "Date",
        "Server",
        "X-A",
        "Set-Cookie",
    ),
    *(
        "Upgrade",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Content-Type",
        "",
        "X A",
        "X:",
        "\xc4",
        "\u20ac",
        "Proxy-Connection",
    ),
)
VALUES: Final = (
    *(
        "0",
        "1",
        "5",
        "05",
        "00000000000000000005",
        " 5 ",
        "5,5",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
    ),
    *(
        "close",
        "keep-alive",
        "Close, x",
        "chunked",
        "a\r\nb: c",
        "a\0",
        "\x7f",
        "\t\xe9 ",
        "\u20ac",
        "",
        "\u0665",
    ),
)
FORMATS: Final = (
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    '%(m)s %(U)s?%(q)s %(H)s %(B)d %(T)s %(M)s %(D)s %(L)s %(p)s "%({X-Thing}i)s" %({x-a}o)s %({thing}e)s %(none)s 100%%',
    "json",
)
FIELDS: Final = (
    *(
        "REMOTE_ADDR",
        "REQUEST_METHOD",
        "RAW_URI",
        "PATH_INFO",
        "QUERY_STRING",
        "SERVER_PROTOCOL",
        "HTTP_HOST",
    ),
    *("HTTP_REFERER", "HTTP_USER_AGENT", "HTTP_AUTHORIZATION", "HTTP_X_THING", "THING", "thing"),
)
HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer trailers"
    b" transfer-encoding upgrade".split()
)
NOON: Final = 1_700_000_000.25
KEEPERS: Final = {(twin.name, fmt): twin.Lines(fmt, lambda: NOON) for twin in BOTH for fmt in FORMATS}
LAZY: Final = (2, 3, 7)
"""Kinds of programs whose pieces are made while the answer is sent, and so between calls of write()."""
PULLING, SENDING, EXHAUSTED, DONE = range(4)
MOST: Final = 60  # steps


class Script:
    """Bytes taken for numbers and texts."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return the next byte as a number, 0 behind the end."""
        found = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return found % below

    def data(self) -> bytes:
        """Return as many bytes as the next one says."""
        size = self.number(256)
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def text(self) -> str:
        """Return a text of latin-1, or of what is UTF-8."""
        raw = self.data()
        return raw[1:].decode("utf-8", "replace") if raw[:1] == b"\xff" else raw.decode("latin-1")

    def has_more(self) -> bool:
        """Return whether there are bytes left."""
        return self._at < len(self._data)


def one_of(script: Script, table: tuple[Any, ...]) -> Any:
    """Return an item of a table, or a text of the script's own."""
    number = script.number(len(table) + 4)
    return table[number] if number < len(table) else script.text()


class Region:
    """Stands in for a region of a file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.count = len(data)


class File(io.BytesIO):
    """A file that sendfile(2) could send, where `is_plain`."""

    is_plain = False


class Program:
    """What an app does, step by step, as far as it is known before it runs."""

    def __init__(self, data: bytes) -> None:
        script = Script(data)
        first = script.number(256)
        self.method = METHODS[first & 3]
        self.version = 0 if first & 4 else 1
        self.keep_alive = not first & 8
        self.kind = first >> 4 & 7
        self.is_plain_file = bool(first & 0x80)
        self.steps: list[tuple[Any, ...]] = []
        fields: list[Any] = []
        while script.has_more() and len(self.steps) < MOST:
            code = script.number(12)
            if code < 3:
                fields.append((one_of(script, NAMES), one_of(script, VALUES)))
            elif code == 3:
                self.steps.append(("start", one_of(script, STATUSES), fields, script.number(3)))
                fields = []
            elif code == 4:
                self.steps.append(("write", script.data()))
            elif code < 7:
                self.steps.append(("yield", script.data()))
            elif code == 7:
                self.steps.append(("yield", script.data() * script.number(256)))
            elif code == 8:
                self.steps.append(("raise", (ValueError, OSError, SystemExit)[script.number(3)]))
            elif code == 9:
                self.steps.append(("hint", fields))
                fields = []
            elif code == 10:
                self.steps.append(("odd", ([], "text", None, bytearray(b"x"), 5)[script.number(5)]))
            else:
                fields.append((("A", "b"), ["A", "b"], ("A",), ("A", 5), None)[script.number(5)])
        self.environ = {name: script.text() for name in FIELDS[:: 1 + script.number(3)]}
        self.nanoseconds = int.from_bytes(script.data()[:6], "big")

    def change(self) -> None:
        """Change a field of the first list in place, as an app may that keeps its list."""
        for step in self.steps:
            if step[0] == "start" and step[2]:
                step[2][-1] = ("X-Changed", "yes")
                return


class Run:
    """One run of a program, and what came of it."""

    def __init__(self, twin: Twin, endpoint: Any, program: Program) -> None:
        self.written: list[bytes] = []
        self.yielded: list[bytes] = self.written if program.kind in LAZY else []
        self.told: list[Any] = []
        self.hints = 0
        self.closed = 0
        self._program = program
        self._twin = twin
        request = twin.Request({"REQUEST_METHOD": program.method}, program.version, 0)
        request.is_head = program.method == "HEAD"
        request.method = program.method
        request.keep_alive = program.keep_alive
        self.out: list[Any] = []
        self.response = twin.Response.__new__(twin.Response)
        self.response.begin(endpoint, request, self.out, self, copy_context())
        self.response.run(self._app)
        turns = 0
        while self.response.state != DONE:
            turns += 1
            assert turns < 10 * MOST + 10, "it does not end"
            if self.response.state == PULLING:
                self.response.pull()
            else:
                self.response.finish()
        assert self.closed == (1 if self._closes else 0), "close() is called once, and once only (PEP 3333)"
        self.pieces = [
            piece.data[: piece.count] if isinstance(piece, Region) else piece for piece in self.out
        ]

    _closes = False

    def _app(self, _environ: dict[str, Any], start_response: Any) -> Any:
        program = self._program
        pieces = self._play(start_response, program.steps)
        if program.kind == 0:
            return self._collect(pieces)
        if program.kind == 1:
            return tuple(self._collect(pieces))
        if program.kind in (2, 3):
            steps = iter(pieces)
            first = next(steps, None)  # so that start_response() is called at once
            wrapper = Closing(self, first, steps)
            self._closes = True
            return wrapper
        if program.kind == 4:
            file = File(b"".join(piece for piece in pieces if isinstance(piece, (bytes, bytearray))))
            file.is_plain = program.is_plain_file
            return self._twin.FileWrapper(file, 700)
        if program.kind == 5:
            return iter(self._collect(pieces))
        if program.kind == 6:
            return b"".join(
                piece for piece in pieces if isinstance(piece, (bytes, bytearray))
            )  # iterates over numbers
        return pieces

    @staticmethod
    def _collect(pieces: Any) -> list[Any]:
        return list(pieces)

    def _play(self, start_response: Any, steps: list[tuple[Any, ...]]) -> Any:
        write: Any = None
        for step in steps:
            if step[0] == "start":
                _, status, fields, way = step
                info: Any = None
                if way == 2:
                    error = ValueError("an error of the app")
                    info = (ValueError, error, None)
                try:
                    write = start_response(status, fields, info) if way else start_response(status, fields)
                except Exception as error:
                    self.told.append((type(error).__name__, str(error)))
                    if way == 1:
                        raise
            elif step[0] == "write":
                if write is not None:
                    try:
                        write(step[1])
                    except Exception as error:
                        self.told.append((type(error).__name__, str(error)))
                        raise
                    self.written.append(step[1])
            elif step[0] == "yield":
                self.yielded.append(step[1])
                yield step[1]
            elif step[0] == "raise":
                raise step[1]("raised by the app")
            elif step[0] == "hint":
                sent = len(self.out)
                try:
                    self.response.hint(step[1])
                except Exception as error:
                    self.told.append(type(error).__name__)  # some words are Cython's own
                self.hints += len(self.out) - sent
            else:
                if isinstance(step[1], bytearray):
                    self.yielded.append(bytes(step[1]))  # among others in a list it is taken
                yield step[1]

    def given(self) -> bytes:
        """Return the body: what was written, and the rest behind it unless they took turns."""
        return b"".join(self.written if self.yielded is self.written else [*self.written, *self.yielded])

    def facts(self) -> dict[str, Any]:
        """Return what must be the same in both implementations."""
        response = self.response
        return {
            "out": self.pieces,
            "told": self.told,
            "status": response.status,
            "code": response.code,
            "headers": response.headers,
            "keep_alive": response.keep_alive,
            "body_size": response.body_size,
            "chunked": response.chunked,
            "complaint": response.complaint,
            "failure": (type(response.failure).__name__, str(response.failure)),
        }


class Closing:
    """An iterator that counts how often it is closed."""

    def __init__(self, run: Run, first: Any, rest: Any) -> None:
        self._run = run
        self._first = first
        self._rest = rest

    def __iter__(self) -> Closing:
        return self

    def __next__(self) -> Any:
        first, self._first = self._first, None
        return next(self._rest) if first is None else first

    def close(self) -> None:
        """Count."""
        self._run.closed += 1


def endpoint(twin: Twin) -> Any:
    limits = twin.Limits()
    return twin.Endpoint(
        twin.Parser(limits, twin.Forwarding()),
        twin.Serializer("fastwsgi"),
        {},
        limits,
        open_spool=io.BytesIO,
        region_of=lambda file: Region(file.read()) if getattr(file, "is_plain", False) else None,
    )


def check(data: bytes) -> None:
    """Raise AssertionError where implementations differ, or a client reads what was not given."""
    if len(data) < 3:
        return
    program = Program(data)
    endpoints = [endpoint(twin) for twin in BOTH]
    for number in range(4):
        if number == 3:
            program.change()
            for target in endpoints:
                target.keeps_alive = False  # as when a worker stops
        runs = [Run(twin, target, program) for twin, target in zip(BOTH, endpoints, strict=True)]
        found, other = (one.facts() for one in runs)
        for name, value in found.items():
            assert value == other[name], f"{name} of run {number}: compiled {value!r}, pure {other[name]!r}"
        if number in (0, 3):
            read_as_client(program, runs[0])
        if number == 0:
            for fmt in FORMATS:
                logged(fmt, program, runs[0].response)


def read_as_client(program: Program, run: Run) -> None:
    response = run.response
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 24)
    client.send(h11.Request(method=program.method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"".join(run.pieces))
    given = run.given()
    if response.code < 200 and run.pieces:  # RFC 9110 §15.2: an interim response, behind which nothing comes
        assert not response.keep_alive
        event: Any = None
        for _ in range(run.hints + 1):
            if response.code == 101:  # h11 takes it for an answer to Upgrade alone
                assert b"".join(run.pieces).count(b"\r\n\r\n") == run.hints + 1
                assert b"".join(run.pieces).endswith(b"\r\n\r\n")
                return
            event = client.next_event()
            assert type(event) is h11.InformationalResponse, event
        assert event.status_code == response.code
        assert type(client.next_event()) in (h11.NEED_DATA, h11.PAUSED)
        assert client.trailing_data[0] == b""
        return
    events: list[Any] = []
    body: list[bytes] = []
    is_whole = True
    hints = 0
    at_end = False
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError:
            assert at_end, "the answer is malformed"
            is_whole = False
            break
        if type(event) is h11.InformationalResponse:
            hints += 1
        elif type(event) is h11.Data:
            body.append(bytes(event.data))
        elif type(event) is h11.EndOfMessage:
            assert not list(event.headers)
            break
        elif event is h11.NEED_DATA:
            assert not at_end
            assert not response.keep_alive, "a client waits for what does not come"
            at_end = True
            client.receive_data(b"")
        else:
            events.append(event)
    read = b"".join(body)
    assert hints == run.hints
    assert [type(event) for event in events] == [h11.Response]
    head = events[0]
    assert head.status_code == response.code
    fields = [(bytes(name), bytes(value)) for name, value in head.headers]
    names = [name for name, _ in fields]
    assert names.count(b"content-length") <= 1
    assert not (b"content-length" in names and b"transfer-encoding" in names)
    assert b"date" in names
    assert b"server" in names
    # Nothing but what the app has sent, in its order, and our own fields behind it.
    sent = app_fields(response)
    assert fields[: len(sent)] == sent
    own = [name for name, _ in fields[len(sent) :]]
    assert len(own) == len({*own})
    assert {*own} <= {b"content-length", b"transfer-encoding", b"connection", b"date", b"server"}
    if response.headers is None:  # a page of ours
        assert response.failure is not None
        assert read == (b"" if program.method == "HEAD" else f"{response.status}\n".encode())
        assert is_whole
        assert not response.keep_alive
        return
    has_body = program.method != "HEAD" and response.code not in (204, 304)
    assert len(read) == response.body_size
    if response.failure is not None or response.complaint:
        assert given.startswith(read)
        if response.failure is not None or "less" in response.complaint:
            assert not response.keep_alive
    elif has_body:
        assert is_whole
        # Of a file, a shorter Content-Length sends a part (PEP 3333).
        assert read == (given[: len(read)] if program.kind == 4 and program.is_plain_file else given)
    if not has_body:
        assert read == b""
        assert is_whole
    assert client.trailing_data[0] == b""
    closes = client.their_state in (h11.MUST_CLOSE, h11.CLOSED)
    if response.keep_alive:
        assert is_whole
        assert not at_end
        assert not closes
    elif response.failure is None and not response.complaint:  # else it turns out behind the head
        assert closes
        assert b"close" in [value.lower() for name, value in fields if name == b"connection"]


def app_fields(response: Any) -> list[tuple[bytes, bytes]]:
    """Return what a client should read of the fields of an app (PEP 3333: none of those from hop to hop)."""
    if response.headers is None:  # a page of ours
        return [(b"content-type", b"text/plain; charset=utf-8")]
    found: list[tuple[bytes, bytes]] = []
    for name, value in response.headers:
        key = name.lower().encode("latin-1")
        is_length = key == b"content-length"
        if key in HOP_BY_HOP or (is_length and (response.code == 204 or key in dict(found))):
            continue
        found.append((key, value.encode("latin-1").strip(b" \t")))
    return found


def logged(fmt: str, program: Program, response: Any) -> None:
    """Have a request logged by both; a line is one line."""
    lines = []
    for twin in BOTH:
        keeper = KEEPERS[twin.name, fmt]
        for _ in range(2):
            keeper.log(
                program.environ,
                response.status,
                response.headers,
                response.body_size,
                program.nanoseconds / 1e9,
            )
        lines.append(keeper.take())
    if fmt == "json":
        found, other = ([json.loads(line) for line in data.splitlines()] for data in lines)
        assert found == other
    else:
        assert lines[0] == lines[1], f"compiled {lines[0]!r}, pure {lines[1]!r}"
    assert lines[0].count(b"\n") == 2
    assert lines[0].isascii()
    assert not any(byte < 32 and byte != 10 for byte in lines[0])


assert COMPILED is BOTH[0]
