"""fastwsgi.deadlines: what is due is found when it is due, whatever was moved in between."""

from __future__ import annotations

import random

import pytest

from fastwsgi.deadlines import Deadlines, Timed
from fastwsgi.states import NEVER


class Item(Timed):
    """An item with a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def test_nothing_is_due_at_first() -> None:
    deadlines = Deadlines()
    assert deadlines.expire(1e9) == []
    assert deadlines.wait(0.0, 5.0) == 5.0


@pytest.mark.parametrize("moves", [[1.0], [9.0, 1.0], [1.0, 9.0, 1.0], [0.5, 1.0], [1.0, NEVER, 1.0]])
def test_the_last_deadline_counts(moves: list[float]) -> None:
    deadlines = Deadlines()
    item = Item("a")
    for moment in moves:
        deadlines.schedule(item, moment)
    assert deadlines.expire(0.99) == []
    assert deadlines.expire(1.25) == [item]
    assert item.deadline == NEVER
    assert deadlines.expire(99.0) == []


def test_an_item_moved_back_is_filed_again() -> None:
    deadlines = Deadlines()
    item = Item("a")
    deadlines.schedule(item, 1.0)
    deadlines.schedule(item, 3.0)
    assert deadlines.expire(2.0) == []
    assert 0.9 < deadlines.wait(2.0, 60.0) < 1.3
    assert deadlines.expire(3.2) == [item]


def test_never_is_forgotten_when_its_bucket_comes() -> None:
    deadlines = Deadlines()
    item = Item("a")
    deadlines.schedule(item, 1.0)
    deadlines.schedule(item, NEVER)
    assert deadlines.expire(2.0) == []
    assert deadlines.next_tick == 0


def test_cancel() -> None:
    deadlines = Deadlines()
    one, two = Item("one"), Item("two")
    for item in (one, two):
        deadlines.schedule(item, 1.0)
    deadlines.cancel(one)
    deadlines.cancel(one)
    assert deadlines.expire(2.0) == [two]
    deadlines.cancel(two)


def test_wait_ends_when_the_earliest_is_due() -> None:
    deadlines = Deadlines()
    late, early = Item("late"), Item("early")
    deadlines.schedule(late, 8.0)
    deadlines.schedule(early, 2.0)
    assert 2.0 <= deadlines.wait(0.0, 60.0) <= 2.25
    deadlines.cancel(early)
    assert 8.0 <= deadlines.wait(0.0, 60.0) <= 8.25
    assert deadlines.wait(9.0, 60.0) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_model(seed: int) -> None:
    rng = random.Random(seed)
    deadlines = Deadlines()
    items: list[Timed] = [Item(str(number)) for number in range(30)]
    model: dict[Timed, float] = {}
    now = 1000.0
    for _ in range(400):
        item = rng.choice(items)
        match rng.randrange(4):
            case 0 | 1:
                model[item] = now + rng.choice((0.01, 0.2, 1.0, 5.0, 30.0))
                deadlines.schedule(item, model[item])
            case 2:
                model.pop(item, None)
                deadlines.cancel(item)
            case 3:
                now += rng.choice((0.0, 0.05, 0.3, 2.0))
                due = set(deadlines.expire(now))
                assert all(model[item] <= now for item in due)
                # Nothing may be late by more than a tick.
                assert due >= {item for item, deadline in model.items() if deadline < now - 0.126}
                for item in due:
                    del model[item]
