"""Requests in flight in shared memory: both forms of the writer, and the one reader."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest

from fastwsgi import _impl
from fastwsgi._places_py import PLACES, SIZE, TARGET, THREADS
from fastwsgi._places_py import Places as PurePlaces
from fastwsgi.processes import in_flight
from fastwsgi.processes.in_flight import InFlight, Stay

IMPLEMENTATIONS: list[Any] = [PurePlaces, _impl.Places] if _impl.compiled else [PurePlaces]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: implementation.__module__)
def make(request: pytest.FixtureRequest) -> Any:
    """Return a form of Places."""
    return request.param


@pytest.fixture
def memory() -> memoryview:
    return memoryview(bytearray(SIZE))


def requests(memory: memoryview) -> list[tuple[int, str]]:
    return [(stay.thread, stay.request) for stay in in_flight.read(memory)[0]]


def test_a_request_is_shown_while_it_is_in_the_app(make: Any, memory: memoryview) -> None:
    places = make(memory)
    assert in_flight.read(memory) == ([], 0)
    places.sit(3, 0x7F0011223344)
    places.enter(3, 12.5, "GET", "/report?x=1")
    assert in_flight.read(memory) == ([Stay(3, 0x7F0011223344, 12.5, "GET /report?x=1")], 0)
    places.leave(3)
    assert in_flight.read(memory) == ([], 0)
    places.enter(3, 13.0, "OPTIONS", "*")
    assert in_flight.read(memory) == ([Stay(3, 0x7F0011223344, 13.0, "OPTIONS *")], 0)


def test_an_entry_leaves_nothing_of_the_one_before(make: Any, memory: memoryview) -> None:
    places = make(memory)
    places.enter(0, 1.0, "PROPFIND", "/a/long/path")
    places.enter(0, 2.0, "GET", "/")
    assert requests(memory) == [(0, "GET /")]


def test_the_oldest_comes_first(make: Any, memory: memoryview) -> None:
    places = make(memory)
    for thread, since in enumerate([5.0, 3.0, 4.0]):
        places.enter(thread, since, "GET", f"/{thread}")
    assert requests(memory) == [(1, "GET /1"), (2, "GET /2"), (0, "GET /0")]


@pytest.mark.parametrize("excess", [-1, 0, 1, 5000])
def test_what_is_long_is_cut(make: Any, memory: memoryview, excess: int) -> None:
    places = make(memory)
    places.enter(1, 1.0, "GET", "/neighbour")
    places.enter(0, 2.0, "GET", "/" + "x" * (TARGET - 1 + excess))
    whole = "/" + "x" * (TARGET - 1 + min(excess, 0))
    assert requests(memory) == [(1, "GET /neighbour"), (0, f"GET {whole}" + "..." * (excess > 0))]
    places.enter(0, 3.0, "M" * 100, "/")
    assert requests(memory)[1] == (0, "M" * 24 + "... /")


def test_what_could_forge_a_log_line_is_escaped(make: Any, memory: memoryview) -> None:
    places = make(memory)
    places.enter(0, 1.0, "GET", "/a\nb\x1b[0m\xff\\")
    assert requests(memory) == [(0, r"GET /a\nb\x1b[0m\xff\\")]
    places.enter(0, 1.0, "", "")
    assert requests(memory) == [(0, "? ?")]


def test_beyond_the_places_they_are_only_counted(make: Any, memory: memoryview) -> None:
    places = make(memory)
    for thread in (PLACES - 1, PLACES, THREADS - 1, THREADS, 10**6):
        places.sit(thread, 1)
        places.enter(thread, 1.0, "GET", f"/{thread}")
    stays, more = in_flight.read(memory)
    assert ([stay.thread for stay in stays], more) == ([PLACES - 1], 2)
    for thread in (PLACES - 1, PLACES, THREADS - 1, THREADS, 10**6):
        places.leave(thread)
    assert in_flight.read(memory) == ([], 0)


def test_nothing_is_written_beside_the_memory(make: Any) -> None:
    around = bytearray(b"\xee" * (SIZE + 32))
    inner = memoryview(around)[16:-16]
    inner[:] = bytes(SIZE)
    places = make(inner)
    for thread in range(THREADS + 2):
        places.sit(thread, 2**64 - 1)
        places.enter(thread, 1.0, "M" * 300, "/" * 300)
    assert around[:16] == around[-16:] == b"\xee" * 16


def test_memory_that_will_not_do(make: Any) -> None:
    with pytest.raises(ValueError, match="not enough memory"):
        make(bytearray(SIZE - 1))
    with pytest.raises((BufferError, TypeError)):
        make(bytes(SIZE)).enter(0, 1.0, "GET", "/")


def test_loops_of_a_worker_do_not_meet(make: Any, memory: memoryview) -> None:
    loops = [make(memory, number, 3) for number in range(3)]
    for number, places in enumerate(loops):
        for thread in range(4):
            places.enter(thread, 1.0, "GET", f"/{number}-{thread}")
    assert sorted(requests(memory)) == [
        (thread * 3 + n, f"GET /{n}-{thread}") for thread in range(4) for n in range(3)
    ]


def test_half_an_entry_is_not_read(make: Any, memory: memoryview) -> None:
    """The writer is stopped in the middle, as if its process had been: its place is empty."""
    places = make(memory)
    places.enter(0, 1.0, "GET", "/old")
    places.enter(1, 1.0, "GET", "/other")
    struct.pack_into("d", memory, 0, 0.0)
    memory[64:68] = b"/new"
    assert requests(memory) == [(1, "GET /other")]


def test_an_entry_that_changes_meanwhile_is_read_again(
    make: Any, memory: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = make(memory)
    places.enter(0, 1.0, "GET", "/0")
    left = [1]

    class Head(struct.Struct):
        def unpack_from(self, *arguments: Any) -> Any:
            found = super().unpack_from(*arguments)
            if found[0] and left[0]:  # the next request of the same batch comes between two looks
                left[0] -= 1
                places.leave(0)
                places.enter(0, 1.0, "GET", f"/{left[0]}-more")
            return found

    monkeypatch.setattr(in_flight, "_HEAD", Head("=dQQQQ"))
    assert in_flight.read(memory) == ([Stay(0, 0, 1.0, "GET /0-more")], 0)
    left[0] = 100
    assert in_flight.read(memory) == ([], 1)  # it is quick, and no hang


def test_a_reader_beside_a_writer_sees_whole_entries(make: Any) -> None:
    """In another process, as fast as both can."""
    board = InFlight(1)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        places = make(board.memory(0))
        number = 0
        os.write(told, b"x")
        while os.getppid() != 1 and number < 10**9:
            number += 1
            letter = "abcdefgh"[number % 8]
            places.enter(0, 1.0 + number % 3, letter * (1 + number % 24), letter * (1 + number % TARGET))
            if number % 5 == 0:
                places.leave(0)
        os._exit(0)
    try:
        os.read(ready, 1)
        seen = set()
        with board.memory(0) as memory:
            for _ in range(3000):
                for stay in in_flight.read(memory)[0]:
                    letters = set(stay.request.replace(" ", ""))
                    assert len(letters) == 1, stay
                    seen |= letters
        assert len(seen) > 1
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)
    board.close()


def test_words(make: Any) -> None:
    board = InFlight(2)
    assert board.show(1, 10.0) == "nothing"
    places = make(board.memory(1))
    for thread in range(25):
        places.sit(thread, 0xABC0 + thread)
        places.enter(thread, 1.0 + thread, "GET", f"/{thread}")
    text = board.show(1, 32.25)
    assert text.startswith(
        "thread 0 (0x000000000000abc0): GET /0 for 31.2 s; thread 1 (0x000000000000abc1): GET /1 for 30.2 s; "
    )
    assert text.endswith("GET /19 for 12.2 s; and 5 more")
    places.enter(PLACES, 1.0, "GET", "/")
    assert board.show(1, 32.25).endswith("and 6 more")
    assert board.show(0, 32.25) == "nothing"
    board.clear(1)
    assert board.show(1, 32.25) == "nothing"
    del places
    board.close()


def test_a_child_writes_and_its_parent_reads(make: Any) -> None:
    board = InFlight(3)
    child = os.fork()
    if child == 0:
        places = make(board.memory(2))
        places.enter(7, 4.0, "GET", "/from-the-child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert "thread 7 (0x0000000000000000): GET /from-the-child" in board.show(2, 5.0)
    board.close()
