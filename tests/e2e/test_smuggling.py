"""Request smuggling (RFC 9112 §11.2): what is not plain is refused, and nothing behind it is ever answered."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.cases_at_once import for_each
from tests.corpus.framings import FRAMINGS, Framing
from tests.listeners import SECURE, TCP, listening
from tests.live import TLS, Peer
from tests.programs import Port, needs, running

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live import LiveServer

RECORDING = "tests.apps.recording:app"
TAKEN = [framing for framing in FRAMINGS if framing.body is not None]
REFUSED = [framing for framing in FRAMINGS if framing.body is None]
DRAWN = 250
"""Of each, in every run; test_framings.py has them all, without sockets."""


STREAMING = ("--threads", "4", "--no-request-buffering")


@pytest.fixture(scope="module", params=[TCP, SECURE, "streaming"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    arguments = STREAMING if request.param == "streaming" else ()
    with listening(request.param, tmp_path_factory, RECORDING, *arguments) as running:
        yield running


def drawn(framings: list[Framing], rng: random.Random) -> list[tuple[str, tuple[Framing, list[bytes]]]]:
    """Return some with their names, in one piece or in two."""
    cases = []
    for framing in rng.sample(framings, DRAWN):
        cut = rng.randrange(2 * len(framing.raw))
        cases.append((framing.name, (framing, [framing.raw[:cut], framing.raw[cut:]])))
    return cases


def seen(server: LiveServer) -> list[str]:
    found: list[str] = json.loads(server.get("/seen").body.partition(b" ")[2])
    return found


def test_what_is_plain_is_served_and_so_is_the_next(server: LiveServer, rng: random.Random) -> None:
    def check(case: tuple[Framing, list[bytes]]) -> None:
        framing, pieces = case
        with server.connect() as peer:
            peer.send(*pieces)
            reply = peer.response()
            while reply.status == 100:
                reply = peer.response()
            assert framing.body is not None
            assert reply.body == b"/first/%d %b" % (framing.number, framing.body)
            if framing.closes:
                assert peer.is_closed()
            else:
                assert peer.response().body == b"/second/%d " % framing.number

    for_each(drawn(TAKEN, rng), check)


def test_what_is_not_plain_is_refused_and_so_is_what_follows(
    request: pytest.FixtureRequest, server: LiveServer, rng: random.Random
) -> None:
    # Where bodies are streamed, the app has begun with the first: it may have been asked for, too.
    is_streaming = request.node.callspec.params["server"] == "streaming"
    cases = drawn(REFUSED, rng)
    before = set(seen(server))

    def check(case: tuple[Framing, list[bytes]]) -> None:
        with server.connect() as peer:
            peer.send(*case[1])
            reply = peer.response()
            while reply.status == 100 and is_streaming:
                reply = peer.response()
            assert reply.status in (400, 413, 501), reply
            assert reply.get("Connection") == "close"
            assert peer.is_closed()

    for_each(cases, check)
    numbers = {framing.number for _, (framing, _) in cases}
    paths = {f"/second/{number}" for number in numbers}
    if not is_streaming:
        paths |= {f"/first/{number}" for number in numbers}
    assert not (set(seen(server)) - before) & paths


# --- behind real front ends ---------------------------------------------------------------------------------

THIRD = b"GET /third/%d HTTP/1.1\r\nHost: third\r\nConnection: close\r\n\r\n"
FRONTS = {
    # Bodies go through as they come, and connections to us are shared by all clients.
    "nginx": """\
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_header_timeout 1s;
    client_body_timeout 1s;
    upstream app {{ server {app}; keepalive 8; }}
    server {{
        listen {front};
        underscores_in_headers on;
        ignore_invalid_headers off;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
}}
""",
    "haproxy": """\
defaults
    mode http
    timeout connect 30s
    timeout client 1s
    timeout http-request 1s
    timeout server 30s
    http-reuse always
    option accept-invalid-http-request
listen front
    bind {front}
    server app {app}
""",
}


@pytest.mark.skipif(TLS is not None, reason="front ends speak plain HTTP to it")
@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in FRONTS])
def test_behind_a_front_end_everybody_gets_the_own_answers(
    live: Callable[..., LiveServer], tmp_path: Path, rng: random.Random, program: str
) -> None:
    """As lax as the front end can be set: what it takes for one request, the app must not see as two."""
    server = live(RECORDING, "--keep-alive", "75")
    port = Port()
    config = tmp_path / "front.conf"
    config.write_text(
        FRONTS[program].format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=tmp_path,
            app="{}:{}".format(*server.address),
            front=port.text,
        )
    )
    command = {
        "nginx": ["nginx", "-p", f"{tmp_path}", "-e", f"{tmp_path}/errors", "-c", f"{config}"],
        "haproxy": ["haproxy", "-db", "-f", f"{config}"],
    }
    answered: set[str] = set()

    def check(framing: Framing) -> None:
        with Peer(port.address) as peer:
            peer.send(framing.raw + THIRD % framing.number)
            try:
                while peer.fill():
                    pass
            except ConnectionResetError:  # a front end that leaves something unread
                pass
            answer = peer.buffer
        paths = [path.decode() for path in re.findall(rb"/(?:first|second|third)/[0-9]+(?= )", answer)]
        assert all(path.endswith(f"/{framing.number}") for path in paths), answer
        answered.update(paths)

    chosen = rng.sample(TAKEN, 60) + rng.sample(REFUSED, 140)
    with running(command[program], tmp_path / "output", port):
        for_each([(framing.name, framing) for framing in chosen], check, at_once=40)
    assert len(answered) > 60
    assert set(seen(server)) <= answered
