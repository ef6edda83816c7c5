"""Seats in the app, shared by loops: how many are taken, whose turn it is, and who is told of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from fastwsgi.seats import Seats, SharedSeats
from tests.live import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

ANY = 1 << 30


class Loop:
    """What a loop is to the seats: something that can be woken."""

    def __init__(self) -> None:
        self.woken = 0
        self.wake: Callable[[], None] = self.count  # a bound method is made anew each time

    def count(self) -> None:
        self.woken += 1


@pytest.fixture
def seats() -> Seats:
    return SharedSeats(2, threading.Lock)


@pytest.fixture
def one() -> Loop:
    return Loop()


@pytest.fixture
def other() -> Loop:
    return Loop()


def test_seats_are_taken_and_given_back(seats: Seats, one: Loop) -> None:
    for time in (1.0, 2.0):
        assert seats.has_room()
        assert seats.take(time, True) is None
    assert not seats.has_room()
    assert seats.last_return([], 9.0) == 2.0
    seats.give_back(one.wake)
    assert seats.has_room()
    assert one.woken == 0


def test_who_comes_too_late_waits_for_its_turn(seats: Seats, one: Loop) -> None:
    """Two loops have seen the last free seat at the same time."""
    seats.take(1.0, True)
    seats.take(1.0, True)
    turns = [seats.take(1.0, True) for _ in range(2)]
    assert all(turn.locked() for turn in turns)
    seats.give_back(one.wake)
    assert [turn.locked() for turn in turns] == [False, True]
    assert not seats.has_room()
    seats.give_back(one.wake)
    assert [turn.locked() for turn in turns] == [False, False]
    assert not seats.has_room()
    seats.give_back(one.wake)
    assert seats.has_room()


def test_cleaning_up_does_not_wait(seats: Seats, one: Loop) -> None:
    for _ in range(3):
        assert seats.take(1.0, False) is None
    turn = seats.take(1.0, True)
    seats.give_back(one.wake)
    assert turn.locked()
    seats.give_back(one.wake)
    assert not turn.locked()


def test_the_first_to_come_has_the_next_seat(seats: Seats, one: Loop, other: Loop) -> None:
    seats.take(1.0, True)
    seats.take(1.0, True)
    assert seats.line_up(other.wake, ANY)
    assert seats.line_up(one.wake, ANY)
    assert not seats.is_next(other.wake)
    seats.give_back(one.wake)
    assert (one.woken, other.woken) == (0, 1)
    assert not seats.has_room()  # for one that comes now
    assert not seats.is_next(one.wake)
    assert seats.is_next(other.wake)
    seats.leave_queue(other.wake)
    seats.take(2.0, True)
    assert not seats.is_next(one.wake)
    seats.give_back(one.wake)  # and looks itself
    assert (one.woken, other.woken) == (0, 1)
    assert seats.is_next(one.wake)


def test_loops_do_not_wait_for_each_other_while_there_are_seats(seats: Seats, one: Loop, other: Loop) -> None:
    seats.line_up(one.wake, ANY)
    seats.line_up(other.wake, ANY)
    seats.line_up(other.wake, ANY)
    assert seats.is_next(one.wake)
    assert seats.is_next(other.wake)
    assert not seats.has_room()


def test_a_seat_that_is_not_used_is_passed_on(seats: Seats, one: Loop, other: Loop) -> None:
    seats.take(1.0, True)
    seats.take(1.0, True)
    seats.line_up(one.wake, ANY)
    seats.line_up(other.wake, ANY)
    seats.give_back(other.wake)
    assert (one.woken, other.woken) == (1, 0)
    seats.leave_queue(one.wake)  # its client has gone
    seats.pass_on(one.wake)
    assert (one.woken, other.woken) == (1, 1)
    assert seats.is_next(other.wake)


def test_the_queue_has_a_limit_over_all_loops(seats: Seats, one: Loop, other: Loop) -> None:
    assert seats.line_up(one.wake, 2)
    assert seats.line_up(other.wake, 2)
    assert not seats.line_up(one.wake, 2)
    seats.leave_queue(other.wake)
    assert seats.line_up(one.wake, 2)


def test_threads_never_have_more_than_there_are(seats: Seats) -> None:
    """Whatever they have seen before: taking is what counts."""
    inside: list[int] = []
    most: list[int] = []

    def run(loop: Loop) -> None:
        for _ in range(300):
            turn = seats.take(0.0, True)
            if turn is not None:
                assert turn.acquire(timeout=DEADLINE)
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            seats.give_back(loop.wake)

    threads = [threading.Thread(target=run, args=(Loop(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(most) == 4 * 300
    assert max(most) <= 2
    assert seats.has_room()
