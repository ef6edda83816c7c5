"""Where requests end: what is not plain is refused, and what is taken ends where another strict reader ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import pytest

from tests.corpus.framings import FRAMINGS, Framing
from tests.unit.test_corpus import feed

if TYPE_CHECKING:
    import random


def check(framing: Framing, pieces: list[bytes]) -> None:
    found, connection = feed(pieces)
    seen = [(environ["PATH_INFO"], body) for _, environ, body in found]
    answer = b"".join(connection.out)
    if framing.body is None:
        assert connection.error is not None
        assert connection.is_closing()
        assert seen == []
        assert b"100 Continue" not in answer
        assert answer.startswith(b"HTTP/1.1 %d " % connection.error.status)
        assert connection.error.status in (400, 413, 501)
    else:
        assert connection.error is None, connection.error
        assert seen[0] == (f"/first/{framing.number}", framing.body)
        assert seen[1:] == ([] if framing.closes else [(f"/second/{framing.number}", b"")])


def test_whole_and_in_pieces(rng: random.Random) -> None:
    wrong = []
    for framing in FRAMINGS:
        raw = framing.raw
        cut = rng.randrange(len(raw))
        try:
            check(framing, [raw])
            check(framing, [raw[:cut], raw[cut:]])
        except AssertionError as error:
            wrong.append(f"{framing.name}: {error}")
    assert not wrong, f"{len(wrong)} of {len(FRAMINGS)}:\n" + "\n".join(wrong[:20])


def test_byte_by_byte(rng: random.Random) -> None:
    for framing in rng.sample(FRAMINGS, 300):
        check(framing, [bytes([byte]) for byte in framing.raw])


@pytest.mark.parametrize("is_taken", [True, False])
def test_there_are_enough_of_both(is_taken: bool) -> None:
    assert sum((framing.body is not None) is is_taken for framing in FRAMINGS) > 300


def test_another_strict_reader_ends_them_alike() -> None:
    for framing in FRAMINGS:
        if framing.body is not None:
            reader = h11.Connection(h11.SERVER)
            reader.receive_data(framing.raw)
            body = b""
            request = reader.next_event()
            assert isinstance(request, h11.Request), framing
            assert request.target == b"/first/%d" % framing.number
            while isinstance(event := reader.next_event(), h11.Data):
                body += event.data
            assert isinstance(event, h11.EndOfMessage), framing
            assert body == framing.body
            rest = framing.raw[framing.raw.index(b"GET /second/") :]
            assert reader.trailing_data[0] == rest
