"""One part of the server after the other, with an allocation that fails: the first, the second, and so on.

    python -m tests.starving PART

In a process of its own, since what goes wrong here is a crash. Each part does something with a fresh subject; what
comes of it is compared with what comes of it with memory. In between it may fail with a MemoryError, or be refused
with 503, and nothing else. Once all has been done, doing it again leaves nothing more in memory.
"""

from __future__ import annotations

import contextvars
import faulthandler
import functools
import gc
import importlib
import os
import socket
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastwsgi import _impl
from fastwsgi.body import Body
from fastwsgi.connection import Connection
from fastwsgi.endpoint import Endpoint
from fastwsgi.errors import HTTPError
from fastwsgi.forwarding import Forwarding
from fastwsgi.request import Limits
from fastwsgi.response import Response
from fastwsgi.states import DONE, PULLING, READ
from tests.environs import plain_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENOUGH = 30
"""Allocations, one after the other, that can fail without harm; then there are no more."""

KEEPS_LIMITS = Limits()
PLAIN = b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nCookie: a=b\r\nX-New: 1\r\nAccept: b\r\n\r\n"
ODD = b"BREW http://a/b HTTP/1.1\r\nHost: a\r\nX: \xe9\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nwiki\r\n5\r\npedia\r\n0\r\nA: b\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
FIELDS = [
    ("Content-Type", "text/plain"),
    ("X-Odd", "\xe9"),
    ("Connection", "close"),
    ("Content-Length", "12"),
]


@contextmanager
def scarcity(number: int) -> Iterator[None]:
    """Let one allocation fail."""
    _testcapi: Any = importlib.import_module("_testcapi")  # not everywhere

    # Python (3.11) crashes where an iterator over a dict gets no pair: have enough that have been used.
    del [*zip(range(100), range(100), strict=True)][:]
    _testcapi.set_nomemory(number, number + 1)
    try:
        yield
    finally:
        _testcapi.remove_mem_hooks()


BASE = plain_environ(server_port="80", errors=sys.stderr)


def known(request: Any) -> Any:
    """Return what a request says, as what can be compared."""
    if request is None:
        return None
    environ = {key: value for key, value in request.environ.items() if key != "wsgi.input"}
    body = request.environ["wsgi.input"].read()
    return request.method, request.target, request.content_length, request.head_end, environ, body


# --- parts: a function that makes a subject, and one that uses it and returns what came of it -----------------


def make_parser() -> Any:
    return _impl.Parser(KEEPS_LIMITS, Forwarding())


def make_parser_that_knows() -> Any:
    parser = make_parser()
    for data in (PLAIN, ODD) * 4:
        parser.parse(data, 0, BASE, "127.0.0.1", "1", False)
    return parser


def parse(parser: Any) -> Any:
    found = []
    for data in (PLAIN, ODD, PLAIN, PLAIN):
        # No comprehension, which needs a cell: see LOSES.
        found.append(known(parser.parse(data, 0, BASE, "127.0.0.1", "1", False)))  # noqa: PERF401
    return found


def make_serializer() -> Any:
    return _impl.Serializer("fastwsgi")


def make_serializer_that_knows() -> Any:
    serializer = make_serializer()
    for _ in range(4):
        render(serializer)
    return serializer


def render(serializer: Any) -> Any:
    serializer.stamp("Thu, 01 Jan 1970 00:00:01 GMT")
    made: list[Any] = []
    for status, fields in (("200 OK", FIELDS), ("299 \xfcber", [("X", "y" * 5000)]), ("200 OK", FIELDS)):
        block = serializer.render(status, fields)
        numbers = serializer.code, serializer.length, serializer.closes, serializer.stamps
        made.append((serializer.assemble(block, serializer.stamps, 5000, b"", b"body"), numbers))
    made.append((serializer.chunk(b"x" * 1000), ()))
    return made


@functools.cache
def make_lines() -> Any:
    fmt = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %({x-a}o)s %({A}e)s'
    return _impl.Lines(fmt, lambda: 1e9)


def log(lines: Any) -> Any:
    lines.take()  # what was left when it failed
    for agent in ("curl", 'quo"te\xe9', "\u20ac"):
        environ = {**BASE, "RAW_URI": "/", "REMOTE_ADDR": "::1", "HTTP_USER_AGENT": agent}
        lines.log(environ, "200 OK", [("X-A", "b")], 12, 0.25)
    return lines.take()


def make_endpoint(app_log: Any = None) -> Endpoint:
    return Endpoint(
        make_parser(),
        make_serializer(),
        BASE,
        KEEPS_LIMITS,
        spool_at=1000,
        open_spool=tempfile.TemporaryFile,
        log=app_log,
    )


def make_connection() -> Any:
    return Connection(make_endpoint(make_lines().log), "127.0.0.1", "1", 0.0)


def receive(connection: Any) -> Any:
    found = []
    for data in (PLAIN[:20], PLAIN[20:], POST[:100], POST[100:], CHUNKED + PLAIN + ODD, b"hello", PLAIN):
        request = connection.receive(data, 0.0)
        while request is not None:
            found.append(known(request))
            request = connection.next_request(0.0)
        if connection.is_closing():
            break
    if connection.is_closing():
        assert connection.error.status == 503, connection.error
        assert connection.out[-1].startswith(b"HTTP/1.1 503 "), connection.out
    connection.close()
    return found, connection.out


def make_body() -> Any:
    return Body(0, 10, tempfile.TemporaryFile)


def collect(body: Any) -> Any:
    try:
        for _ in range(3):
            body.write(b"12345678")
        return body.open().read()
    except HTTPError as error:
        return error.status
    finally:
        body.close()


def app(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
    if environ["PATH_INFO"] == "/list":
        return [b"a", b"b"]
    write(b"written")
    return iter([b"a", b"b" * 20000, b"c"])


def make_answers() -> Any:
    return make_endpoint(), {**BASE, "PATH_INFO": "/list"}, {**BASE, "PATH_INFO": "/stream"}


def answer(subject: Any) -> Any:
    endpoint, *environs = subject
    made = []
    for environ in environs:
        request = endpoint.parser.parse(PLAIN, 0, BASE, "127.0.0.1", "1", False)
        request.environ = environ
        out: list[Any] = []
        response = Response.__new__(Response)
        response.begin(endpoint, request, out, None, contextvars.copy_context())
        response.run(app)
        while response.state == PULLING:
            response.pull()
        if response.state != DONE:
            response.finish()
        if response.failure is not None:
            assert isinstance(response.failure, MemoryError), response.failure
            assert not response.keep_alive
            raise MemoryError
        made.append(b"".join(out))
    return made


def make_loop() -> Any:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    client.sendall(b"hello")
    listener.setblocking(False)
    return _impl.IO(), listener, client


def exchange(subject: Any) -> Any:
    poller, listener, client = subject
    fd = -1
    try:
        poller.register_listener(listener.fileno(), listener)
        assert poller.wait(5.0)
        fd = poller.accept(poller.handler(0).fileno())
        poller.register(fd, client, READ)
        poller.modify(fd, READ)
        assert poller.wait(5.0)
        data = poller.recv(fd)
        poller.send(fd, data)
        poller.sendv(fd, [b"a", data])
        poller.unregister(fd)
        return data, client.recv(5)
    finally:
        if fd >= 0:
            poller.close_fd(fd)


def close_loop(subject: Any) -> None:
    poller, listener, client = subject
    poller.close()
    listener.close()
    client.close()


def make_pair() -> Any:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def carry(subject: Any) -> Any:
    ours, theirs = subject
    courier = _impl.Courier()
    out = [b"a" * 100, b"b"]
    courier.carry(ours.fileno(), out)
    left = courier.give_back()
    try:
        sent = theirs.recv(1000)
    except BlockingIOError:
        sent = b""
    return sent + left + b"".join(out)


def close_pair(subject: Any) -> None:
    for each in subject:
        each.close()


def nothing(subject: Any) -> None:
    pass


PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], None]]] = {
    "parser": (make_parser, parse, nothing),
    "parser-that-knows": (make_parser_that_knows, parse, nothing),
    "serializer": (make_serializer, render, nothing),
    "serializer-that-knows": (make_serializer_that_knows, render, nothing),
    "lines": (make_lines, log, nothing),
    "connection": (make_connection, receive, nothing),
    "body": (make_body, collect, nothing),
    "response": (make_answers, answer, nothing),
    "io": (make_loop, exchange, close_loop),
    "courier": (make_pair, carry, close_pair),
}
ONCE = ("connection", "body", "io", "courier")
"""Subjects that are used up by what is done with them."""
LOSES = ("lines", "connection", "body")
"""Where Python itself loses references: its functions that cannot make a cell keep their arguments (3.11)."""
COUNTS = sys.version_info[:2] == (3, 11)  # whose own losses are known
ROUNDS = 4


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


def starve(part: str) -> int:
    """Let each allocation of a part fail by itself; return about how many there are."""
    make, use, close = PARTS[part]
    subject = make()
    expected = use(subject)
    close(subject)
    count = descriptors()
    unharmed = number = 0
    while unharmed < ENOUGH:
        print(part, number, file=sys.stderr, flush=True)
        subject = make()
        result = None
        try:
            with scarcity(number):
                result = use(subject)
        except MemoryError:
            pass
        unharmed = unharmed + 1 if result == expected else 0
        if part not in ONCE:
            assert use(subject) == expected  # with memory again, it is as before
        close(subject)
        del subject, result
        assert descriptors() == count
        number += 1
    return number - unharmed


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


if __name__ == "__main__":
    faulthandler.enable()
    part = sys.argv[1]
    print(starve(part))
    if COUNTS and part not in LOSES:
        starve(part)
        before = blocks()
        for _ in range(ROUNDS):
            starve(part)
        assert blocks() - before < ROUNDS, f"{blocks() - before} blocks are left of {ROUNDS} rounds"
