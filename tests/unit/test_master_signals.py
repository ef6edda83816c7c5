"""The master's policy: WINCH, USR2, the drain delay after TERM, and the number of workers that hooks are told."""

from __future__ import annotations

import pytest

from fastwsgi.master.phases import HEARD, MasterState
from tests.world import BOOTING, READY, RETIRING, World

SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH")


# --- WINCH -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_winch_stops_the_workers_and_not_the_master(workers: int) -> None:
    world = World(workers).serve().signal("WINCH")
    pids = world.pids()
    assert world.take() == [(pid, "TERM") for pid in pids]
    for pid in pids:
        world.ends(pid)
    assert world.wait(600).pids() == []
    assert world.exit_code is None
    assert world.machine.state is MasterState.RUNNING


def test_winch_kills_after_the_graceful_timeout() -> None:
    world = World(1, graceful_timeout=7).serve().signal("WINCH").wait(7.1)
    assert world.take() == [(101, "TERM"), (101, "KILL")]


@pytest.mark.parametrize("workers", [1, 3])
def test_hup_brings_workers_back(workers: int) -> None:
    world = World(workers).serve().signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    world.hup(workers=workers).settle()
    assert len(world.pids(READY)) == workers
    assert world.machine.state is MasterState.RUNNING


def test_after_winch_the_first_of_a_reload_proves_it_and_the_others_follow_at_once() -> None:
    world = World(4).serve().signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    world.hup(workers=4)
    assert len(world.pids(BOOTING)) == 1
    world.ready(*world.pids(BOOTING))
    assert len(world.pids(BOOTING)) == 3


def test_ttin_brings_one_back() -> None:
    world = World(3).serve().signal("WINCH").signal("TTIN")
    assert world.machine.wanted == 1
    assert len(world.pids(BOOTING)) == 1


def test_ttou_brings_none_back() -> None:
    world = World(3).serve().signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    assert world.signal("TTOU").pids() == []
    assert world.machine.wanted == 0


def test_second_winch_changes_nothing() -> None:
    world = World(2).serve().signal("WINCH")
    world.take()
    assert world.signal("WINCH").take() == []


def test_reload_after_winch_that_fails_brings_back_the_old_ones() -> None:
    world = World(2).serve().signal("WINCH").ends(101).ends(102).hup(workers=3)
    (pid,) = world.pids(BOOTING)
    world.fails(pid).ends(pid, 4)
    assert world.rollbacks == [0]
    assert world.machine.wanted == 2
    world.wait(1)
    world.ready(*world.pids(BOOTING))
    world.ready(*world.pids(BOOTING))
    assert len(world.pids(READY)) == 2


def test_winch_in_a_reload() -> None:
    world = World(2).serve().hup().signal("WINCH")
    assert set(world.take()) == {(101, "TERM"), (102, "TERM"), (103, "TERM")}
    for pid in world.pids():
        world.ends(pid)
    assert world.wait(60).pids() == []
    assert world.machine.state is MasterState.RUNNING
    assert world.rollbacks == []


def test_winch_at_the_start() -> None:
    world = World(2).start().signal("WINCH")
    assert world.take() == [(101, "TERM"), (102, "TERM")]
    world.ends(101).ends(102)
    assert world.exit_code is None
    world.hup(workers=1).settle()
    assert len(world.pids(READY)) == 1


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_stop_after_winch(name: str) -> None:
    world = World(1, drain_delay=10).serve().signal("WINCH").ends(101).signal(name)
    assert world.exit_code == 0


# --- USR2 ------------------------------------------------------------------------------------------------------


def test_usr2_starts_a_new_master_once() -> None:
    world = World(2).serve().signal("USR2")
    assert world.upgrades == 1
    assert world.take() == []
    world.signal("USR2")
    assert world.upgrades == 1
    assert "was started already" in world.log[-1]


def test_a_new_master_that_fails_can_be_started_again() -> None:
    world = World(2).serve().signal("USR2")
    world.do(world.machine.upgrade_failed("it exited with code 1", world.now))
    assert "Upgrade failed, this master serves on: it exited with code 1" in world.log
    assert world.pids(READY) == [101, 102]
    assert world.signal("USR2").upgrades == 2


def test_workers_stopped_for_a_new_master_come_back_when_that_ends() -> None:
    world = World(3).serve().signal("USR2").signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    world.do(world.machine.upgrade_failed("it has ended", world.now))
    assert len(world.pids(BOOTING)) == 3
    assert world.machine.wanted == 3


@pytest.mark.parametrize("back", ["HUP", "TTIN"])
def test_workers_brought_back_before_are_as_many_as_were_asked_for(back: str) -> None:
    world = World(3).serve().signal("USR2").signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    if back == "HUP":
        world.hup(workers=2).settle()
    else:
        world.signal("TTIN")
    wanted = world.machine.wanted
    world.do(world.machine.upgrade_failed("it has ended", world.now))
    assert world.machine.wanted == wanted


@pytest.mark.parametrize("name", ["HUP", "TTIN", "TTOU", "WINCH", "USR1"])
def test_signals_mean_the_same_beside_a_new_master(name: str) -> None:
    alone, beside = World(2).serve(), World(2).serve().signal("USR2")
    for world in (alone, beside):
        if name == "HUP":
            world.hup(workers=3).settle()
        else:
            world.signal(name)
    assert beside.pids() == alone.pids()
    assert beside.sent == alone.sent


def test_with_a_successor_there_is_nothing_to_wait_for() -> None:
    world = World(1, drain_delay=30).serve().signal("USR2").signal("TERM")
    assert world.take() == [(101, "TERM")]


def test_an_end_of_the_new_master_while_this_one_stops() -> None:
    world = World(2).serve().signal("USR2").signal("WINCH").signal("TERM")
    world.do(world.machine.upgrade_failed("it has ended", world.now))
    assert world.pids(BOOTING) == []
    for pid in world.pids():
        world.ends(pid)
    assert world.exit_code == 0


# --- drain delay -----------------------------------------------------------------------------------------------


def test_after_term_the_server_serves_on_for_the_delay() -> None:
    world = World(2, drain_delay=20).serve().signal("TERM")
    assert world.state() is MasterState.DRAINING
    world.wait(19.9)
    assert world.take() == []
    assert world.pids(READY) == [101, 102]
    world.wait(0.2)
    assert world.take() == [(101, "TERM"), (102, "TERM")]
    assert world.state() is MasterState.STOPPING
    world.ends(101).ends(102)
    assert world.exit_code == 0


@pytest.mark.parametrize(("name", "told"), [("TERM", "TERM"), ("INT", "QUIT"), ("QUIT", "QUIT")])
def test_the_delay_is_cut_short(name: str, told: str) -> None:
    world = World(1, drain_delay=20).serve().signal("TERM").wait(5).signal(name)
    assert world.take() == [(101, told)]
    world.wait(60)
    assert world.take()[:1] == [(101, "KILL")]


def test_the_graceful_timeout_begins_after_the_delay() -> None:
    world = World(1, drain_delay=20, graceful_timeout=10).serve().signal("TERM").wait(29.9)
    assert world.take() == [(101, "TERM")]
    world.wait(0.2)
    assert world.take() == [(101, "KILL")]


def test_who_dies_in_the_delay_is_replaced() -> None:
    world = World(2, drain_delay=20).serve().signal("TERM").ends(101, signal="KILL")
    assert world.pids(BOOTING) == [103]


def test_who_hangs_in_the_delay_is_aborted() -> None:
    world = World(1, drain_delay=60, timeout=5).serve().signal("TERM").wait(5.1, alive=False)
    assert world.take() == [(101, "ABRT")]


def test_who_is_worn_in_the_delay_serves_to_the_end() -> None:
    world = World(2, drain_delay=20, max_lifetime=5).serve().signal("TERM").worn(101).wait(19)
    assert world.pids() == [101, 102]
    assert world.take() == []


def test_a_reload_stands_still_in_the_delay() -> None:
    world = World(3, drain_delay=20).serve().hup().signal("TERM")
    world.ready(104).ends(101).wait(19)
    assert world.pids(READY) == [102, 103, 104]
    assert world.pids(BOOTING) == []
    world.wait(1.1)
    for pid in world.pids(RETIRING):
        world.ends(pid)
    assert world.exit_code == 0


def test_before_anything_serves_nothing_is_waited_for() -> None:
    assert World(1, drain_delay=20).start().signal("TERM").take() == [(101, "TERM")]


# --- in every state --------------------------------------------------------------------------------------------


def in_state(state: MasterState) -> World:
    world = World(2, drain_delay=10)
    if state is MasterState.STARTING:
        return world.start()
    world.serve()
    if state is MasterState.RELOADING:
        world.hup()
    elif state is MasterState.DRAINING:
        world.signal("TERM")
    elif state in (MasterState.STOPPING, MasterState.STOPPED):
        world.signal("TERM").signal("TERM")
    if state is MasterState.STOPPED:
        world.ends(101).ends(102)
    assert world.state() is state
    return world


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("state", list(MasterState))
def test_every_signal_is_heard_where_the_table_says(state: MasterState, name: str) -> None:
    world = in_state(state)
    steps = world.machine.signal(name, world.now)
    assert bool(steps) == (name in HEARD[state])


@pytest.mark.parametrize("state", list(MasterState))
def test_signals_that_are_none_of_ours_mean_nothing(state: MasterState) -> None:
    world = in_state(state)
    assert world.machine.signal("CHLD", world.now) == []


@pytest.mark.parametrize("state", list(MasterState))
def test_the_new_master_may_end_at_any_time(state: MasterState) -> None:
    world = in_state(state)
    pids = world.pids()
    steps = world.machine.upgrade_failed("it has ended", world.now)
    if state is not MasterState.STOPPED:
        world.do(steps)
    assert world.pids() == pids


# --- the number of workers -------------------------------------------------------------------------------------


def test_hooks_are_told_of_every_change_of_the_number() -> None:
    """And at a reload in any case, as by gunicorn."""
    world = World(2).serve().signal("TTIN").signal("TTOU").signal("USR1").hup(workers=5)
    world.settle().hup(workers=5).settle().signal("WINCH").signal("TTIN")
    assert world.numbers == [(3, 2), (2, 3), (5, 2), (5, 5), (0, 5), (1, 0)]


def test_a_number_that_cannot_be_had_is_no_change() -> None:
    world = World(1, slots=2).serve().signal("TTIN").signal("TTOU")
    assert world.numbers == []
