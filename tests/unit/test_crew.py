"""Every row of the table in crew.py, played by one thread: locks, clock and sleep are the test's.

A lock that would block raises instead, at the point where a thread would wait; being woken is `join` again.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.crew import Crew
from fastwsgi.states import NO_THREAD
from tests.live import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 0.005


class Waits(Exception):  # noqa: N818 - nothing is wrong
    """A thread would wait here."""


class Lock:
    def __init__(self) -> None:
        self.is_held = False

    def acquire(self) -> bool:
        if self.is_held:
            raise Waits
        self.is_held = True
        return True

    def release(self) -> None:
        assert self.is_held
        self.is_held = False


class Stage:
    """A crew, and what it does to the world around it."""

    def __init__(self, size: int, *, can_start: bool = True, interval: float = INTERVAL) -> None:
        self.now = 0.0
        self.started: list[int] = []
        self.pauses: list[float] = []
        self.locks: list[Lock] = []
        self.can_start = can_start
        self.meanwhile: list[Callable[[], None]] = []  # happens while one that stands by pauses
        self.crew = Crew(
            size,
            start=self.start,
            switch_interval=interval,
            clock=lambda: self.now,
            sleep=self.sleep,
            lock=self.make_lock(),
            make_lock=self.make_lock,
        )

    def make_lock(self) -> Lock:
        self.locks.append(Lock())
        return self.locks[-1]

    def start(self, number: int) -> bool:
        if self.can_start:
            self.started.append(number)
        return self.can_start

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def rests(self, me: int) -> bool:
        """Let a thread lie down; return whether it sleeps now."""
        try:
            assert self.crew.rest(me)
        except Waits:
            return True
        return False

    def is_awake(self, me: int) -> bool:
        return not self.locks[1 + me].is_held


@pytest.fixture
def stage() -> Stage:
    return Stage(3)


def test_a_quick_app_costs_no_hand_over(stage: Stage) -> None:
    for _ in range(100):
        stage.crew.step_down(0)
        assert stage.crew.leader == NO_THREAD
        stage.crew.step_up(0)
        assert stage.crew.leader == 0
    assert stage.started == [1]  # once, and it has not run yet
    stage.crew.leave()  # the leader waits for events
    with pytest.raises(Waits):
        stage.crew.join(1)  # it runs at last, finds a leader, and rests
    assert stage.crew.leader == 0


def test_when_the_app_blocks_the_one_that_stands_by_leads(stage: Stage) -> None:
    stage.crew.step_down(0)
    assert stage.crew.join(1)
    assert stage.crew.leader == 1
    stage.crew.leave()
    stage.crew.step_up(0)
    assert stage.crew.leader == 1  # who comes back while another leads
    assert stage.rests(0)


def test_nobody_stands_by_twice(stage: Stage) -> None:
    stage.crew.step_down(0)
    assert stage.crew.join(1)
    stage.crew.step_down(1)
    assert stage.started == [1, 2]
    stage.crew.step_up(0)  # before 2 has run
    stage.crew.step_down(0)
    assert stage.started == [1, 2]
    assert stage.crew.join(2)
    assert stage.crew.leader == 2


def test_the_last_to_rest_is_woken_first(stage: Stage) -> None:
    stage.crew.step_down(0)
    stage.crew.join(1)
    stage.crew.step_down(1)
    stage.crew.join(2)
    stage.crew.leave()
    for each in (0, 1):
        stage.crew.step_up(each)
        assert stage.rests(each)
    stage.crew.take()
    stage.crew.step_down(2)
    assert stage.is_awake(1)
    assert not stage.is_awake(0)
    assert stage.started == [1, 2]  # a thread is started only if none rests


def all_in_the_app(stage: Stage) -> None:
    """Nobody leads, and nobody can be woken."""
    stage.crew.step_down(0)
    stage.crew.join(1)
    stage.crew.step_down(1)
    stage.crew.join(2)
    stage.crew.step_down(2)
    assert stage.crew.leader == NO_THREAD


def test_who_comes_back_leads_if_the_others_are_blocked(stage: Stage) -> None:
    """They do not want the GIL: after letting go of it, it has it again at once."""
    all_in_the_app(stage)
    stage.crew.step_up(1)
    assert stage.crew.leader == NO_THREAD  # its answer is sent first
    assert not stage.rests(1)
    assert stage.crew.leader == 1
    assert len(stage.pauses) == 1
    assert stage.pauses[0] < INTERVAL / 10


def test_of_threads_that_compute_one_goes_on(stage: Stage) -> None:
    """Whoever comes back while another computes rests when that one leads."""
    all_in_the_app(stage)
    stage.crew.step_up(1)
    stage.meanwhile = [lambda: setattr(stage, "now", stage.now + INTERVAL)] * 3

    def returns() -> None:
        for other in (0, 2):  # the first finds the second in the app still
            stage.crew.step_up(other)
            stage.crew.leave()

    stage.meanwhile.append(returns)
    assert stage.rests(1)
    assert stage.crew.leader == 2
    assert len(stage.pauses) == 4


def test_two_that_come_back_while_another_computes(stage: Stage) -> None:
    """One stands by, the other rests at once."""
    all_in_the_app(stage)
    stage.crew.step_up(1)

    def another_comes_back() -> None:
        stage.now += INTERVAL
        stage.crew.step_up(0)
        assert stage.rests(0)

    stage.meanwhile = [another_comes_back]
    assert not stage.rests(1)
    assert stage.crew.leader == 1


def test_quick_requests_beside_threads_that_are_blocked(stage: Stage) -> None:
    """Who has led last leads on, however many others are in the app."""
    stage.crew.step_down(0)
    stage.crew.join(1)
    for _ in range(100):
        stage.crew.step_down(1)
        stage.crew.step_up(1)
        assert stage.crew.leader == 1
    assert stage.started == [1, 2]


def test_who_is_not_needed_naps_while_the_app_is_called(stage: Stage) -> None:
    """Otherwise it would be woken with each call that the leader makes after it has waited for events."""
    stage.crew.step_down(0)
    stage.crew.step_up(0)
    stage.crew.leave()

    def is_called() -> None:
        stage.crew.take()
        stage.crew.step_down(0)
        stage.crew.step_up(0)
        stage.crew.leave()

    stage.meanwhile = [is_called] * 10
    with pytest.raises(Waits):
        stage.crew.join(1)
    assert len(stage.pauses) == 11
    assert stage.started == [1]


@pytest.mark.parametrize("interval", [0.0, math.inf])
def test_where_none_takes_the_gil_from_another_who_comes_back_leads(interval: float) -> None:
    """Without a GIL, and of greenlets: if others compute, they are not in the way, or this one would not run."""
    stage = Stage(3, interval=interval)
    all_in_the_app(stage)
    stage.crew.step_up(1)
    assert stage.crew.leader == 1


def test_who_goes_to_rest_leads_if_nobody_does(stage: Stage) -> None:
    """The leader has stepped down after this one found it leading, and before it lay down."""
    stage = Stage(2)
    stage.crew.step_down(0)
    stage.crew.join(1)
    stage.crew.leave()
    stage.crew.step_up(0)
    assert stage.crew.leader == 1
    stage.crew.leave()
    stage.crew.take()
    stage.crew.step_down(1)  # nobody rests, and no more may be started
    stage.crew.take()
    assert not stage.rests(0)
    assert stage.crew.leader == 0


def test_a_computing_app_is_not_joined_by_others(stage: Stage) -> None:
    """CPython took the GIL from it for the other: that one pauses, and rests when the app is done."""
    stage.crew.step_down(0)
    stage.now += INTERVAL

    def returns() -> None:
        stage.crew.step_up(0)
        stage.crew.leave()

    stage.meanwhile = [lambda: setattr(stage, "now", stage.now + INTERVAL), returns]
    with pytest.raises(Waits):
        stage.crew.join(1)
    assert stage.crew.leader == 0
    assert stage.pauses[0] < INTERVAL / 10 < stage.pauses[1]


def test_an_app_that_computes_first_and_blocks_then(stage: Stage) -> None:
    """The pause ends in time: nobody holds the GIL any more."""
    stage.crew.step_down(0)
    stage.now += INTERVAL
    assert stage.crew.join(1)
    assert stage.crew.leader == 1
    assert len(stage.pauses) == 1


def test_an_app_that_computes_for_long_is_joined_at_last(stage: Stage) -> None:
    stage.crew.step_down(0)
    stage.now += INTERVAL
    stage.meanwhile = [lambda: setattr(stage, "now", stage.now + INTERVAL)] * 1000
    assert stage.crew.join(1)
    assert stage.crew.leader == 1
    assert 0.1 <= stage.now < 0.2


def test_a_quick_app_is_not_joined_however_long_it_is_busy(stage: Stage) -> None:
    """One that stands by has the GIL only when it takes it from the app, which is in another call each time."""
    stage.crew.step_down(0)
    stage.now += INTERVAL

    def goes_on() -> None:
        stage.now += INTERVAL
        app_is_called_again(stage)

    stage.meanwhile = [goes_on] * 1000 + [lambda: app_returns(stage)]
    with pytest.raises(Waits):
        stage.crew.join(1)
    assert stage.now > 1.0
    assert stage.crew.leader == 0


def app_returns(stage: Stage) -> None:
    stage.crew.step_up(0)
    stage.crew.leave()


def app_is_called_again(stage: Stage) -> None:
    stage.crew.step_up(0)
    stage.crew.step_down(0)


def test_without_a_gil_a_quick_app_is_not_joined_by_others() -> None:
    """The one that stands by runs at once; it pauses, and finds that it is not needed."""
    stage = Stage(3, interval=0.0)
    stage.crew.step_down(0)
    stage.meanwhile = [lambda: app_returns(stage)]
    with pytest.raises(Waits):
        stage.crew.join(1)
    assert stage.crew.leader == 0
    assert len(stage.pauses) == 1
    assert 0.0001 < stage.pauses[0] <= 0.001


def test_without_a_gil_an_app_that_takes_long_is_joined() -> None:
    stage = Stage(3, interval=0.0)
    stage.crew.step_down(0)
    assert stage.crew.join(1)
    assert stage.crew.leader == 1
    assert len(stage.pauses) == 1


def test_without_a_gil_each_call_is_given_a_moment() -> None:
    """That nobody leads at this instant does not mean that the app takes long; nor is anybody woken meanwhile."""
    stage = Stage(3, interval=0.0)
    stage.crew.step_down(0)
    stage.meanwhile = [lambda: app_is_called_again(stage)] * 3
    assert stage.crew.join(1)
    assert stage.crew.leader == 1
    assert len(stage.pauses) == 4
    assert stage.started == [1]


def test_without_a_gil_the_end_comes_during_the_pause() -> None:
    stage = Stage(3, interval=0.0)
    stage.crew.step_down(0)
    stage.meanwhile = [stage.crew.dismiss]
    assert not stage.crew.join(1)


def test_no_thread_can_be_started() -> None:
    """It goes on with those that there are, and does not try again with each request."""
    stage = Stage(3, can_start=False)
    stage.crew.step_down(0)
    stage.crew.step_up(0)
    stage.can_start = True
    stage.crew.step_down(0)
    assert stage.started == []
    stage.crew.step_up(0)
    assert stage.crew.leader == 0


def test_dismissed(stage: Stage) -> None:
    stage.crew.step_down(0)
    stage.crew.join(1)
    stage.crew.leave()
    stage.crew.step_up(0)
    assert stage.rests(0)
    stage.crew.take()
    stage.crew.dismiss()
    assert stage.is_awake(0)
    assert not stage.crew.rest(1)
    stage.crew.leave()
    assert not stage.crew.join(0)


def test_real_threads_take_turns() -> None:
    """Each holds the lock while it works on what all share, and each waits for the other in "the app"."""
    size, turns = 4, 500
    shared = {"inside": 0, "done": 0}
    ended = threading.Barrier(size + 1)
    faults: list[BaseException] = []

    def work(me: int) -> None:
        while shared["done"] < turns:
            assert shared["inside"] == 0
            shared["inside"] += 1
            shared["done"] += 1
            shared["inside"] -= 1
            crew.step_down(me)
            threading.Event().wait(0.0001)
            crew.step_up(me)
            if crew.leader != me and not crew.rest(me):
                return

    def run(me: int) -> None:
        try:
            if me == 0 or crew.join(me):
                work(me)
            crew.dismiss()
            crew.leave()
        except BaseException as error:
            faults.append(error)
        ended.wait(DEADLINE)

    def start(number: int) -> bool:
        threading.Thread(target=run, args=(number,), daemon=True).start()
        return True

    crew: Any = None

    def main() -> None:
        nonlocal crew
        crew = Crew(
            size,
            start=start,
            switch_interval=INTERVAL,
            clock=time.monotonic,
            sleep=time.sleep,
            lock=None,
            make_lock=threading.Lock,
        )
        run(0)

    threading.Thread(target=main, daemon=True).start()
    ended.wait(DEADLINE)
    assert faults == []
    assert shared["done"] >= turns
