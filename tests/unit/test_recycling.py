"""The master's policy: workers that are worn, too old, too large, or do not boot."""

from __future__ import annotations

import pytest

from fastwsgi.errors import EXIT_WORKER_BOOT
from fastwsgi.master.backoff import LONGEST_DELAY
from fastwsgi.master.phases import MasterState
from fastwsgi.master.succession import REPLACEMENT_PATIENCE
from fastwsgi.master.supervision import WEIGHED_EVERY
from tests.world import ABORTING, BOOTING, KILLED, READY, RETIRING, World

MIB = 1 << 20


# --- worn ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_worn_worker_serves_until_its_successor_is_ready(workers: int) -> None:
    world = World(workers).serve().worn(101)
    assert world.take() == []
    (new,) = world.pids(BOOTING)
    assert len(world.pids(READY)) == workers
    world.ready(new)
    assert world.take() == [(101, "TERM")]
    assert len(world.pids(READY)) == workers
    world.ends(101).wait(60)
    assert world.take() == []
    assert len(world.pids()) == workers


def test_the_log_says_why() -> None:
    world = World(1).serve().worn(101, "it has served 100 requests")
    assert "Worker (pid:101) is to be replaced: it has served 100 requests" in world.log
    lines = len(world.log)
    world.worn(101, "it has served 101 requests")
    assert len(world.log) == lines


def test_of_many_worn_one_at_a_time_is_replaced() -> None:
    world = World(4).serve()
    for pid in (101, 102, 103, 104):
        world.worn(pid)
    for old, new in ((101, 105), (102, 106), (103, 107), (104, 108)):
        assert world.pids(BOOTING) == [new]
        assert len(world.pids(READY)) == 4
        world.ready(new)
        assert world.take() == [(old, "TERM")]
        assert world.pids(BOOTING) == []
        world.ends(old)
    world.wait(60)
    assert world.pids() == [105, 106, 107, 108]


def test_one_that_takes_long_to_end_does_not_hold_up_the_others() -> None:
    world = World(2).serve().worn(101).worn(102).ready(103)
    assert world.pids(BOOTING) == []
    world.wait(REPLACEMENT_PATIENCE + 0.1)
    assert world.pids(BOOTING) == [104]


def test_a_successor_that_does_not_boot_leaves_the_worn_serving() -> None:
    world = World(1).serve().worn(101)
    for _ in range(6):
        (pid,) = world.pids(BOOTING)
        world.fails(pid).ends(pid, 4)
        assert world.pids(READY) == [101]
        world.wait(LONGEST_DELAY)
    assert [sent for sent in world.take() if sent[0] == 101] == []
    assert world.machine.state is MasterState.RUNNING
    world.ready(*world.pids(BOOTING))
    assert world.take() == [(101, "TERM")]


def test_successors_that_do_not_boot_come_slower_and_slower() -> None:
    world = World(1).serve().worn(101)
    forks = 0
    end = world.now + 100
    while world.now < end:
        for pid in world.pids(BOOTING):
            forks += 1
            world.fails(pid).ends(pid, 4)
        world.wait(0.25)
    assert 5 < forks < 14


def test_a_worn_worker_that_dies_is_replaced_as_any() -> None:
    world = World(2).serve().worn(101).ends(101, signal="KILL")
    # The successor that boots already is enough.
    assert world.pids(BOOTING) == [103]
    assert world.ready(103).take() == []
    assert world.pids() == [102, 103]


def test_missing_workers_come_before_successors() -> None:
    world = World(3).serve().worn(101)
    world.ends(102, signal="KILL").ends(103, signal="KILL")
    assert world.pids(BOOTING) == [104, 105]
    world.ready(104)
    assert world.take() == []
    world.ready(105)
    assert world.pids(BOOTING) == [106]
    world.ready(106)
    assert world.take() == [(101, "TERM")]


def test_with_fewer_wanted_the_worn_leave_first() -> None:
    world = World(3).serve().worn(103)
    world.signal("TTOU")
    assert set(world.take()) == {(103, "TERM"), (104, "TERM")}
    assert world.ends(103).ends(104).pids() == [101, 102]


def test_with_more_wanted_the_worn_stay_until_there_are_enough() -> None:
    world = World(1).serve().worn(101).signal("TTIN")
    assert world.pids(BOOTING) == [102]
    world.ready(102)
    assert world.take() == []
    world.ready(*world.pids(BOOTING))
    assert world.take() == [(101, "TERM")]
    assert len(world.pids(READY)) == 2


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_worn_while_stopping(name: str) -> None:
    world = World(2).serve().signal(name)
    world.take()
    world.worn(101)
    assert world.take() == []
    assert len(world.pids()) == 2


def test_worn_before_it_is_ready_or_unknown() -> None:
    world = World(1).start().worn(101).worn(999)
    assert not any("to be replaced" in line for line in world.log)
    assert world.pids() == [101]


def test_worn_in_a_reload_goes_with_the_others() -> None:
    world = World(2).serve().hup().worn(102)
    assert world.pids(BOOTING) == [103]
    world.settle()
    assert not {101, 102} & set(world.pids())
    assert len(world.pids(READY)) == 2
    assert len(world.slots) == 2


def test_a_new_worker_worn_in_a_reload_does_not_hold_up_its_end() -> None:
    world = World(2).serve().hup().ready(103).ends(101).worn(103).settle()
    assert any("Reload complete" in line for line in world.log)
    world.wait(1)
    for _ in range(3):
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert not {101, 102, 103} & set(world.pids())


def test_reload_with_worn_workers_that_fails() -> None:
    world = World(2).serve().worn(101)
    world.hup()
    for pid in world.pids(RETIRING):
        world.ends(pid)
    (pid,) = world.pids(BOOTING)
    world.fails(pid).ends(pid, 4)
    assert world.rollbacks == [0]
    assert world.pids(READY) == [101, 102]
    # What was worn still is.
    world.wait(LONGEST_DELAY)
    world.ready(*world.pids(BOOTING))
    assert world.take()[-1] == (101, "TERM")


# --- lifetime --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "age"), [(0.0, 100), (0.5, 120), (0.99, 139.6)])
def test_a_lifetime_and_its_jitter(share: float, age: float) -> None:
    world = World(1, max_lifetime=100, max_lifetime_jitter=40)
    world.share = share
    world.serve().wait(age - 0.1)
    assert world.pids() == [101]
    world.wait(0.2)
    assert world.pids(BOOTING) == [102]
    assert world.pids(READY) == [101]
    assert f"Worker (pid:101) is to be replaced: it is {age:g} s old" in world.log
    world.ready(102)
    assert world.take() == [(101, "TERM")]


def test_a_lifetime_begins_when_a_worker_is_ready() -> None:
    world = World(1, max_lifetime=10).start().wait(8).ready(101).wait(9)
    assert world.pids() == [101]
    assert world.wait(1.1).pids(BOOTING) == [102]


def test_workers_that_began_together_are_replaced_one_by_one() -> None:
    world = World(3, max_lifetime=10).serve().wait(10.1)
    assert len(world.pids(BOOTING)) == 1
    assert len(world.pids(READY)) == 3
    for _ in range(3):
        world.ready(*world.pids(BOOTING))
        assert len(world.pids(READY)) == 3
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert not {101, 102, 103} & set(world.pids())


def test_a_lifetime_of_0_is_none() -> None:
    world = World(1, timeout=0, max_lifetime_jitter=10).serve()
    assert world.machine.next_tick(world.now) is None


def test_a_lifetime_changed_by_a_reload() -> None:
    world = World(1, timeout=0).serve().hup(max_lifetime=50).ready(102).ends(101)
    assert world.machine.next_tick(world.now) == pytest.approx(50, abs=0.01)


def test_the_machine_sleeps_between_lifetimes() -> None:
    world = World(1, timeout=0, max_lifetime=50).serve()
    assert world.machine.next_tick(world.now) == pytest.approx(50, abs=0.01)
    world.wait(50.1)
    # Its successor boots; nothing is left to wait for.
    assert world.machine.next_tick(world.now) is None


# --- memory ----------------------------------------------------------------------------------------------------


def test_a_worker_that_has_grown_is_replaced() -> None:
    world = World(2, max_memory=100 * MIB).serve()
    world.memory = {101: 100 * MIB, 102: 99 * MIB}
    world.wait(WEIGHED_EVERY * 3)
    assert len(world.pids()) == 2
    world.memory[101] += 1
    world.wait(WEIGHED_EVERY + 0.1)
    assert world.pids(BOOTING) == [103]
    assert world.pids(READY) == [101, 102]
    assert "Worker (pid:101) is to be replaced: it has grown to 100 MiB" in world.log
    world.ready(103)
    assert world.take() == [(101, "TERM")]


def test_nobody_is_weighed_without_a_limit() -> None:
    world = World(1, timeout=0).serve()
    world.memory = {101: 1 << 40}
    assert world.machine.next_tick(world.now) is None
    assert world.wait(100).pids() == [101]


def test_nobody_is_weighed_more_often_than_needed() -> None:
    world = World(1, timeout=0, max_memory=MIB).serve().wait(0.1)
    assert world.machine.next_tick(world.now) == pytest.approx(WEIGHED_EVERY, abs=0.11)


def test_who_does_not_serve_yet_is_not_weighed() -> None:
    world = World(1, timeout=0, max_memory=MIB).start()
    assert world.machine.next_tick(world.now) is None


# --- boot ------------------------------------------------------------------------------------------------------


def test_a_boot_that_takes_too_long_halts_the_first_start() -> None:
    world = World(2, boot_timeout=10, abort_grace=3).start().wait(9.9)
    assert world.take() == []
    world.wait(0.2)
    assert world.explained == [101]
    assert world.take() == [(102, "QUIT"), (101, "ABRT")]  # what is logged before does not tear its stacks
    assert any("WORKER BOOT TIMEOUT (pid:101): not ready after 10 s" in line for line in world.log)
    world.wait(1.9)
    assert world.take() == []
    world.wait(1.2)
    assert set(world.take()) == {(101, "KILL"), (102, "KILL")}
    world.ends(101, signal="KILL").ends(102, signal="KILL")
    assert world.exit_code == EXIT_WORKER_BOOT


def test_a_boot_in_time() -> None:
    world = World(1, boot_timeout=10, timeout=0).start().wait(9.9).ready(101)
    assert world.machine.next_tick(world.now) is None
    assert world.wait(100).take() == []


@pytest.mark.parametrize("ending", ["ABRT", "KILL"])
def test_a_later_boot_that_takes_too_long_backs_off(ending: str) -> None:
    world = World(1, boot_timeout=5, timeout=0).serve().worn(101)
    for _ in range(4):
        (pid,) = world.pids(BOOTING)
        world.take()
        world.wait(5.1)
        assert world.take() == [(pid, "ABRT")]
        assert world.pids(READY) == [101]
        assert world.pids(ABORTING) == [pid]
        world.ends(pid, signal=ending)
        while not world.pids(BOOTING):
            world.wait(0.5)
    assert any("Workers die young" in line for line in world.log)
    assert world.exit_code is None


def test_a_reload_whose_new_worker_does_not_get_ready_fails() -> None:
    world = World(2, boot_timeout=10).serve().hup().wait(10.1)
    assert world.take() == [(103, "ABRT")]
    assert world.rollbacks == [0]
    world.wait(1.1)
    assert world.take() == [(103, "KILL")]
    assert world.pids(KILLED) == [103]
    world.ends(103, signal="KILL")
    assert world.pids() == [101, 102]


def test_boots_are_not_judged_by_a_master_that_was_stopped() -> None:
    world = World(1, boot_timeout=10).start()
    world.machine.next_tick(world.now)
    world.now += 3600
    world.tick()
    assert world.take() == []
    assert world.ready(101).pids(READY) == [101]


@pytest.mark.parametrize("grace", [0.5, 1.0, 20.0])
def test_the_grace_after_abrt(grace: float) -> None:
    world = World(1, timeout=5, abort_grace=grace).serve().wait(5.1, alive=False)
    assert world.take() == [(101, "ABRT")]
    world.wait(grace - 0.2)
    assert world.take() == []
    world.wait(0.3)
    assert world.take() == [(101, "KILL")]


# --- while developing ------------------------------------------------------------------------------------------


def test_code_that_does_not_load_is_waited_for() -> None:
    world = World(2, awaits_mending=True).start()
    for pid in world.pids():
        world.fails(pid, 4, "SyntaxError").ends(pid, 4)
    assert world.exit_code is None
    assert sum("No worker could boot" in line for line in world.log) == 1
    world.wait(600)
    assert world.pids() == []
    # The change that mends one mistake and makes another.
    world.hup()
    assert len(world.pids(BOOTING)) == 2
    for pid in world.pids():
        world.ends(pid, 1)
    assert world.wait(600).pids() == []
    world.hup()
    world.ready(*world.pids(BOOTING))
    assert len(world.pids(READY)) == 2
    assert world.machine.state is MasterState.RUNNING
    assert world.machine.revisions == {2}


def test_a_configuration_refused_while_mending() -> None:
    world = World(1, awaits_mending=True).start().fails(101).ends(101, 4).signal("HUP")
    world.do(world.machine.reload_refused("no", world.now))
    assert world.wait(100).pids() == []
    assert world.hup().pids(BOOTING) == [102]


def test_a_change_while_the_others_still_boot() -> None:
    world = World(2, awaits_mending=True).start().fails(101).ends(101, 4).hup()
    assert world.take() == [(102, "TERM")]
    assert world.pids(BOOTING) == [103, 104]


def test_hup_before_the_first_failure_is_kept_until_there_is_something() -> None:
    world = World(1, awaits_mending=True).start().signal("HUP")
    assert world.reloads == 0
    assert world.ready(101).reloads == 1


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_stop_while_waiting_for_mending(name: str) -> None:
    world = World(1, awaits_mending=True).start().fails(101).ends(101, 4).signal(name)
    assert world.exit_code == 0


def test_boot_timeout_while_developing() -> None:
    world = World(1, awaits_mending=True, boot_timeout=5).start().wait(5.1).wait(1.1)
    assert world.take() == [(101, "ABRT"), (101, "KILL")]
    world.ends(101, signal="KILL").wait(100)
    assert world.exit_code is None
    assert world.pids() == []
