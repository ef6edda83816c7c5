"""The corpus through the sans-IO connection: whole, byte by byte and at random splits."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import _impl
from fastwsgi.connection import Connection
from fastwsgi.endpoint import Endpoint
from fastwsgi.forwarding import Forwarding
from fastwsgi.request import Limits
from tests.corpus import cases, make
from tests.environs import plain_environ

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from tests.corpus.cases import Case

SPLITS = 25
"""Random ways of cutting each case, drawn anew in every run."""


def endpoint(**limits: Any) -> Endpoint:
    bounds = Limits(
        **{
            "request_line": 4094,
            "fields": 100,
            "field_size": 8190,
            "body": 1 << 30,
            "header_map": "drop",
            **limits,
        }
    )
    environ = plain_environ()
    return Endpoint(
        _impl.Parser(bounds, Forwarding()),
        _impl.Serializer("fastwsgi"),
        environ,
        bounds,
        open_spool=io.BytesIO,
    )


ENDPOINT = endpoint()


def feed(
    pieces: Iterable[bytes], target: Endpoint = ENDPOINT
) -> tuple[list[tuple[str, dict[str, Any], bytes]], Connection]:
    """Return the requests that come out of these bytes, and the connection as it stands then."""
    connection = Connection(target, "192.0.2.1", "1234", 0.0)
    found = []
    for piece in pieces:
        request = connection.receive(piece, 1.0)
        while request is not None:
            found.append(
                (request.environ["REQUEST_METHOD"], request.environ, request.environ["wsgi.input"].read())
            )
            if not request.keep_alive:
                connection.close()
            request = connection.next_request(2.0)
        if connection.is_closing():
            break
    return found, connection


def served(case: Case, pieces: Iterable[bytes]) -> None:
    found, connection = feed(pieces)
    assert connection.error is None, connection.error
    for expected, (method, environ, body) in zip(case.requests, found, strict=True):
        cases.check(expected, method, environ, body)
    assert connection.is_closing() == case.closes


def refused(case: Case, pieces: Iterable[bytes]) -> int:
    found, connection = feed(pieces)
    for expected, (method, environ, body) in zip(case.requests, found, strict=True):
        cases.check(expected, method, environ, body)
    assert connection.error is not None, "it was taken, or more was waited for"
    assert connection.is_closing()
    assert connection.error.status in case.statuses, connection.error
    assert connection.error.detail
    answer = b"".join(connection.out)
    assert answer.startswith(b"HTTP/1.1 ")
    final = answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    assert final.startswith(b"HTTP/1.1 %d " % connection.error.status)
    # Whatever comes after an error is thrown away.
    assert connection.receive(b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 3.0) is None
    assert b"".join(connection.out) == answer
    return connection.error.status


def every_byte(case: Case) -> list[bytes]:
    return [case.raw[i : i + 1] for i in range(len(case.raw))]


@pytest.mark.parametrize("case", cases.VALID, ids=lambda case: case.name)
class TestValid:
    def test_whole(self, case: Case) -> None:
        served(case, [case.raw])

    def test_bytewise(self, case: Case) -> None:
        served(case, every_byte(case))

    def test_split(self, case: Case, rng: random.Random) -> None:
        for _ in range(SPLITS):
            served(case, case.pieces(rng))

    def test_line_by_line(self, case: Case) -> None:
        served(case, case.raw.splitlines(keepends=True))


@pytest.mark.parametrize("case", cases.INVALID, ids=lambda case: case.name)
class TestInvalid:
    def test_whole(self, case: Case) -> None:
        refused(case, [case.raw])

    def test_bytewise(self, case: Case) -> None:
        refused(case, every_byte(case))

    def test_split(self, case: Case, rng: random.Random) -> None:
        for _ in range(SPLITS):
            refused(case, case.pieces(rng))

    def test_same_status_however_it_comes(self, case: Case, rng: random.Random) -> None:
        whole = refused(case, [case.raw])
        assert refused(case, every_byte(case)) == whole
        assert refused(case, case.pieces(rng)) == whole


@pytest.mark.parametrize("case", cases.VALID, ids=lambda case: case.name)
def test_no_limits(case: Case) -> None:
    """All limits off: the same requests, and nothing divides by zero."""
    found, connection = feed([case.raw], endpoint(request_line=0, fields=0, field_size=0, body=0))
    assert connection.error is None
    for expected, (method, environ, body) in zip(case.requests, found, strict=True):
        cases.check(expected, method, environ, body)


def test_data_is_what_the_tables_say() -> None:
    wanted = make.all_files()
    there = {
        path: path.read_bytes() for kind in ("valid", "invalid") for path in (make.HERE / kind).iterdir()
    }
    assert there == wanted, "run python tests/corpus/make.py"


def test_there_is_enough_of_it() -> None:
    assert len(cases.VALID) >= 70
    assert len(cases.INVALID) >= 120
