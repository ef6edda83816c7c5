"""Request smuggling (RFC 9112 §11.2): what is not plain is refused, and nothing behind it is ever answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cases_at_once import for_each
from tests.corpus.framings import FRAMINGS, Framing
from tests.listeners import SECURE, TCP, listening

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

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
