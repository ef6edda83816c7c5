"""Pieces of a generator that are sent together: no app may notice, but by what it costs (PEP 3333)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live import head

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gate import Gate
    from tests.live import LiveServer

APP = "tests.apps.gathering:app"


@pytest.mark.parametrize("how", ["released", "held"])
def test_a_piece_does_not_wait_for_the_next(live: Callable[..., LiveServer], gate: Gate, how: str) -> None:
    """It reaches the client while the app makes the next one, also in code of C that keeps the GIL."""
    server = live(APP)
    with server.connect() as peer:
        peer.send(head(f"/{how}?{gate.path}"))
        peer.read_until(b"2\r\n3.\r\n")
        gate.wait_for_arrival()
        gate.open()
        assert peer.read_until(b"0\r\n\r\n").endswith(b"5\r\nafter\r\n0\r\n\r\n")


def test_the_last_piece_does_not_wait_for_what_the_app_does_after_it(
    live: Callable[..., LiveServer], gate: Gate
) -> None:
    server = live(APP)
    with server.connect() as peer:
        peer.send(head(f"/sized?{gate.path}"))
        assert peer.response().body == b"0.1.2.3."
        gate.wait_for_arrival()
        gate.open()


@pytest.mark.parametrize(("count", "buffer"), [(500, 0), (200, 4096)], ids=["quick", "slow"])
def test_all_arrives_in_order(live: Callable[..., LiveServer], count: int, buffer: int) -> None:
    server = live(APP)
    with server.connect(receive_buffer=buffer) as peer:
        peer.send(head(f"/many?{count}") * 2)
        for _ in range(2):
            assert peer.response().body == b"".join(b"%03d" % (n % 1000) * n for n in range(count))


def test_what_was_given_before_an_error_is_sent(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    server.allow_traceback = True
    with server.connect() as peer:
        peer.send(head("/fails?"))
        assert peer.read_to_end().endswith(b"\r\n2\r\n0.\r\n2\r\n1.\r\n2\r\n2.\r\n")
    server.wait_for_log("RuntimeError: on purpose")


def test_write_keeps_its_place(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    assert server.get("/writes?").text == "0.written 1.written 2.written "
