"""The corpus over real sockets: what is valid is served, what is not is refused, and nothing follows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases_at_once import for_each
from tests.corpus import cases
from tests.listeners import SECURE, TCP, UNIX, listening
from tests.live import ENGINE, LiveServer, Peer, head

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from tests.corpus.cases import Case
    from tests.gate import Gate

ECHO = "tests.apps.echo:app"
# Of more, the middle comes at once: byte by byte it is a test of the test's patience.
BYTEWISE_UP_TO = 600


@pytest.fixture(scope="module", params=[TCP, UNIX, SECURE])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with listening(request.param, tmp_path_factory, ECHO) as running:
        yield running
        assert not running.stdout.text


def serve(peer: Peer, case: Case) -> None:
    """Read what the valid requests of a case are answered with, and check it."""
    for expected in case.requests:
        # RFC 9110 §15.2: interim responses may come before the final one.
        reply = peer.response(expected["method"])
        while reply.status == 100:
            reply = peer.response(expected["method"])
        assert reply.status == 200, reply
        assert reply.get("Date")
        if expected["method"] != "HEAD":
            seen: dict[str, Any] = json.loads(reply.body)
            cases.check(expected, seen["method"], seen["environ"], seen["body"].encode("latin-1"))


def served_whole(server: LiveServer, case: Case, pieces: Sequence[bytes]) -> None:
    with server.connect() as peer:
        peer.send(*pieces)
        serve(peer, case)
        if case.closes:
            assert peer.is_closed()
        else:
            # Still in step: the next request on this connection is the next one to be answered.
            peer.send(b"GET /after HTTP/1.1\r\nHost: after\r\nConnection: close\r\n\r\n")
            assert json.loads(peer.response().body)["environ"]["PATH_INFO"] == "/after"
            assert peer.read_to_end() == b""


def refused(server: LiveServer, case: Case, pieces: Sequence[bytes]) -> None:
    with server.connect() as peer:
        peer.send(*pieces)
        serve(peer, case)
        reply = peer.response()
        assert reply.status in case.statuses, reply
        assert reply.get("Connection") == "close"
        assert reply.get("Date")
        assert reply.framing == "length"
        assert b"evil" not in reply.body
        # RFC 9112 §9.6: after an error nothing of what follows is taken for a request.
        assert peer.read_to_end() == b""


def whole(case: Case, _rng: random.Random) -> list[bytes]:
    return [case.raw]


def split(case: Case, rng: random.Random) -> list[bytes]:
    return case.pieces(rng)


def bytewise(case: Case, _rng: random.Random) -> list[bytes]:
    """Return the bytes one by one; the middle of what is long comes at once."""
    edge = BYTEWISE_UP_TO // 2
    raw = case.raw
    middle = [raw[edge:-edge]] if len(raw) > BYTEWISE_UP_TO else []
    first, last = raw[:edge], raw[max(edge, len(raw) - edge) :]
    return [*(bytes([byte]) for byte in first), *middle, *(bytes([byte]) for byte in last)]


@pytest.mark.parametrize("cut", [whole, split, bytewise])
@pytest.mark.parametrize(
    ("corpus", "check"), [(cases.VALID, served_whole), (cases.INVALID, refused)], ids=["valid", "invalid"]
)
def test_corpus(
    server: LiveServer,
    rng: random.Random,
    corpus: Sequence[Case],
    check: Callable[[LiveServer, Case, Sequence[bytes]], None],
    cut: Callable[[Case, random.Random], list[bytes]],
) -> None:
    drawn = [(case.name, (case, cut(case, rng))) for case in corpus]
    for_each(drawn, lambda each: check(server, *each))


def test_what_comes_too_late_costs_nobody_an_answer(live: Callable[..., LiveServer], gate: Gate) -> None:
    """RFC 9112 §9.6: a client that has asked for the end should send no more, but some do."""
    server = live("tests.apps.processes:app")
    with server.connect() as peer:
        peer.send(head(f"/block?{gate.path}", "Connection: close"))
        gate.wait_for_arrival()
        peer.send(b"\r\n")
        gate.open()
        assert peer.response().status == 200


def test_environ_of_tcp_and_unix(server: LiveServer) -> None:
    with server.connect() as peer:
        seen = json.loads(peer.request(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").body)
        environ = seen["environ"]
        if isinstance(server.address, str):
            assert environ["REMOTE_ADDR"] == ""
            assert environ["REMOTE_PORT"] == ""
        else:
            host, port = peer.sock.getsockname()
            assert environ["REMOTE_ADDR"] == host
            assert environ["REMOTE_PORT"] == str(port)
            # RFC 3875 §4.1.14: where the request came to, not what it called itself.
            assert environ["SERVER_NAME"] == "127.0.0.1"
            assert environ["SERVER_PORT"] == str(server.address[1])
    assert environ["SERVER_SOFTWARE"].startswith("fastwsgi")
    assert environ["wsgi.url_scheme"] == ("https" if server.url.startswith("https") else "http")
    assert environ["wsgi.multithread"] is (ENGINE != ())
    assert environ["wsgi.multiprocess"] in (True, False)  # the master may fork more of them at any time
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    assert seen["version"] == [1, 0]
    wsgi_values = {"tuple", "bool", "str"}
    for key, kind in seen["types"].items():
        if not key.startswith("wsgi."):
            assert kind == "str", key
        elif key not in {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"}:
            assert kind in wsgi_values, key


def test_cut_short(server: LiveServer, rng: random.Random) -> None:
    """A client that goes away in the middle of a request is never an application's business."""

    def check(data: bytes) -> None:
        with server.connect() as peer:
            peer.send(data)
        # The next client is served as if nothing had been.
        assert server.get("/next").status == 200

    kept = [case for case in cases.VALID if not case.closes][:40]
    for_each([(case.name, case.raw[: rng.randrange(len(case.raw))]) for case in kept], check)


def test_reset_in_the_middle(server: LiveServer) -> None:
    import socket
    import struct

    for data in (
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    ):
        with server.connect() as peer:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.send(data)
        assert server.get("/next").status == 200


def test_error_reaches_a_client_that_still_sends(server: LiveServer) -> None:
    """RFC 9112 §9.6: closing with unread input must not reset the connection before the answer is read."""
    with server.connect() as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", *[b"x" * 50_000] * 20)
        reply = peer.response()
        assert reply.status == 400


def test_half_closed_client_is_answered(server: LiveServer) -> None:
    if server.url.startswith("https"):
        pytest.skip("Python's ssl cannot end one direction; test_tls.py does it by hand")
    answer = server.exchange(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n", half_close=True)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_errors_of_ours_tell_nothing(server: LiveServer) -> None:
    """A short page with its length and date, without version, traceback or the request's own words."""
    reply = server.request(b"GET /x HTTP/1.1\r\nHost: a\r\nEvil-Word : b\r\n\r\n")
    assert reply.status == 400
    assert reply.get("Content-Length") == str(len(reply.body))
    assert (reply.get("Content-Type") or "").startswith(("text/plain", "text/html"))
    assert b"Evil" not in reply.body
    assert b"Python" not in reply.body
    assert not any(character.isdigit() for character in reply.get("Server") or "")
