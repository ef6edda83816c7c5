"""The master's policy: start, respawn, stop, hangs and reloads, and any order of events."""

from __future__ import annotations

import random

import pytest

from fastwsgi.errors import EXIT_APP_LOAD, EXIT_WORKER_BOOT
from fastwsgi.master.actions import Call, Fork, Log, Policy
from fastwsgi.master.backoff import FIRST_DELAY, LONGEST_DELAY
from fastwsgi.master.phases import HEARD, MASTER_MOVES, MasterState
from fastwsgi.master.roster import WORKER_MOVES, WorkerState
from fastwsgi.master.succession import REPLACEMENT_PATIENCE
from fastwsgi.master.supervision import KILL_PATIENCE, QUICK_TIMEOUT, YOUNG
from tests.world import ABORTING, BOOTING, KILLED, READY, RETIRING, World

# --- start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_start_forks_all_at_once(workers: int) -> None:
    world = World(workers).start()
    assert len(world.pids(BOOTING)) == workers
    assert sorted(world.slots.values()) == list(range(workers))
    assert world.machine.state is MasterState.STARTING
    assert f"Booting worker with pid: {world.pids()[0]}" in world.log


def test_running_once_one_is_ready() -> None:
    world = World(2).start().ready(101)
    assert world.machine.state is MasterState.RUNNING


@pytest.mark.parametrize("code", [EXIT_WORKER_BOOT, EXIT_APP_LOAD])
def test_first_boot_failure_ends_the_server_with_its_code(code: int) -> None:
    world = World(3).start().fails(101, code, "the reason", "Traceback ...")
    assert world.log.count("the reason") == 1
    assert world.log.index("Traceback ...") < world.log.index("the reason")
    world.fails(102, code, "the reason", "Traceback ...")
    assert world.log.count("the reason") == 1
    assert (103, "QUIT") in world.sent
    world.ends(101, code).ends(102, code)
    assert world.exit_code is None
    world.ends(103)
    assert world.exit_code == code


@pytest.mark.parametrize(("code", "signal"), [(7, ""), (1, ""), (0, "SEGV"), (0, "ABRT")])
def test_first_boot_ending_without_a_word_halts_with_3(code: int, signal: str) -> None:
    world = World(1).start().ends(101, code, signal)
    assert world.exit_code == EXIT_WORKER_BOOT


@pytest.mark.parametrize("signal", ["KILL", "TERM", "HUP"])
def test_first_boot_ended_from_outside_is_tried_again(signal: str) -> None:
    world = World(1).start().ends(101, signal=signal)
    assert world.exit_code is None
    assert world.pids(BOOTING) == [102]


def test_boot_failure_after_another_was_ready_backs_off_and_serves_on() -> None:
    world = World(2).start().ready(101).fails(102).ends(102, EXIT_APP_LOAD)
    assert world.exit_code is None
    assert world.pids() == [101, 103]


def test_stuck_boot_of_the_others_is_killed_when_halting() -> None:
    world = World(2).start().fails(101).ends(101, 4)
    world.wait(QUICK_TIMEOUT + 0.1)
    assert world.sent[-1] == (102, "KILL")
    assert world.ends(102, signal="KILL").exit_code == EXIT_APP_LOAD


def test_fork_refused_at_start_is_tried_again() -> None:
    world = World(2)
    world.fork_error = "Resource temporarily unavailable"
    world.start()
    assert world.pids() == []
    assert any("Resource temporarily" in line for line in world.log)
    world.fork_error = ""
    world.wait(60)
    assert world.pids(BOOTING) == [101]
    world.ready(101)
    assert world.pids(BOOTING) == [102]


# --- respawn and back-off --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "signal"), [(0, ""), (1, ""), (0, "KILL"), (0, "SEGV"), (0, "TERM")])
def test_an_old_worker_is_replaced_at_once(code: int, signal: str) -> None:
    world = World(2).serve().wait(YOUNG + 1).ends(101, code, signal)
    assert world.pids(BOOTING) == [103]
    assert world.slots[103] == 0


def test_kill_nine_in_a_row_is_replaced_at_once_each_time() -> None:
    world = World(1).serve()
    for _ in range(50):
        (pid,) = world.pids()
        world.ends(pid, signal="KILL")
        (pid,) = world.pids()
        world.ready(pid)


def crash_delays(world: World, times: int, code: int, signal: str, *, ready: bool) -> list[float]:
    delays = []
    for _ in range(times):
        (pid,) = world.pids()
        if ready:
            world.ready(pid)
        world.ends(pid, code, signal)
        before = world.now
        while not world.pids():
            delay = world.machine.next_tick(world.now)
            assert delay is not None
            world.now += delay
            world.tick()
        delays.append(world.now - before)
    return delays


@pytest.mark.parametrize(("code", "signal"), [(1, ""), (0, ""), (0, "SEGV"), (0, "TERM")])
def test_crash_loop_slows_down(code: int, signal: str) -> None:
    """Also of workers that exit in order, unasked: an application may end its process."""
    delays = crash_delays(World(1).start(), 9, code, signal, ready=True)
    expected = [0, 0.5, 1, 2, 4, 8, 16, 16, 16]
    assert delays == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("signal", ["", "KILL", "SEGV"])
def test_boot_loop_slows_down(signal: str) -> None:
    world = World(1).serve().ends(101, signal="KILL")
    delays = crash_delays(world, 8, 4, signal, ready=False)
    assert delays == pytest.approx([0, 0.5, 1, 2, 4, 8, 16, 16], abs=0.05)
    assert max(delays) <= LONGEST_DELAY + 0.1


def test_back_off_for_weeks_does_not_overflow() -> None:
    world = World(1).serve().ends(101, signal="KILL")
    assert crash_delays(world, 3000, 4, "", ready=False)[-1] == pytest.approx(LONGEST_DELAY, abs=0.05)


def test_quiet_ends_the_back_off() -> None:
    world = World(1).start()
    crash_delays(world, 6, 1, "", ready=True)
    world.ready(*world.pids()).wait(YOUNG + 1)
    delays = crash_delays(world, 3, 1, "", ready=True)
    # The first to die was an old one, and the next is the first young one.
    assert delays == pytest.approx([0, 0, FIRST_DELAY], abs=0.05)


def test_failing_boots_are_tried_one_at_a_time_and_recover_together() -> None:
    world = World(4).serve()
    for pid in world.pids():
        world.ends(pid, signal="KILL")
    for pid in world.pids(BOOTING):
        world.ends(pid, 4)
    assert world.pids() == []
    world.wait(LONGEST_DELAY)
    assert len(world.pids()) == 1
    world.ready(*world.pids())
    assert len(world.pids(BOOTING)) == 3


def test_a_crash_loop_of_one_leaves_the_others() -> None:
    world = World(3).serve().wait(YOUNG + 1)
    old = world.pids()[1:]
    world.ends(101, signal="SEGV")
    for _ in range(5):
        world.ready(*world.pids(BOOTING))
        young = [pid for pid in world.pids() if pid not in old]
        for pid in young:
            world.ends(pid, signal="SEGV")
        world.wait(LONGEST_DELAY + 0.1)
    assert set(old) <= set(world.pids(READY))


def test_unknown_pids_are_ignored() -> None:
    machine = World(1).serve().machine
    assert machine.worker_exited(999, 0, "", 0) == []
    assert machine.worker_ready(999, 0) == []
    assert machine.boot_failed(999, 4, "", "", 0) == []


# --- stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("name", "told"), [("TERM", "TERM"), ("INT", "QUIT"), ("QUIT", "QUIT")])
def test_stop_tells_all_and_exits_0_after_the_last(workers: int, name: str, told: str) -> None:
    world = World(workers).serve().signal(name)
    pids = world.pids()
    assert world.take() == [(pid, told) for pid in pids]
    for pid in pids:
        assert world.exit_code is None
        world.ends(pid)
    assert world.exit_code == 0
    assert world.machine.state is MasterState.STOPPED
    assert world.machine.signal("TERM", world.now) == []
    assert world.machine.signal("INT", world.now)[1:] == []


@pytest.mark.parametrize(("name", "seconds"), [("TERM", 30.0), ("TERM", 5.0), ("INT", QUICK_TIMEOUT)])
def test_stop_kills_after_its_time(name: str, seconds: float) -> None:
    world = World(2, graceful_timeout=seconds).serve().signal(name)
    world.take()
    world.wait(seconds - 0.1)
    assert world.take() == []
    world.wait(0.2)
    assert world.take() == [(101, "KILL"), (102, "KILL")]
    world.ends(101, signal="KILL").ends(102, signal="KILL")
    assert world.exit_code == 0


def test_killed_but_immortal_workers_are_given_up() -> None:
    world = World(1, graceful_timeout=1).serve().signal("TERM").wait(1 + KILL_PATIENCE + 1)
    assert world.exit_code == 0
    assert any("given up" in line for line in world.log)


def test_second_term_changes_nothing() -> None:
    world = World(2).serve().signal("TERM")
    world.take()
    lines = len(world.log)
    world.signal("TERM")
    assert world.take() == []
    assert len(world.log) == lines


def test_int_hurries_a_graceful_stop() -> None:
    world = World(2, graceful_timeout=30).serve().signal("TERM").wait(3)
    world.take()
    world.signal("INT")
    assert world.take() == [(101, "QUIT"), (102, "QUIT")]
    world.wait(QUICK_TIMEOUT + 0.1)
    assert world.take() == [(101, "KILL"), (102, "KILL")]


def test_second_int_kills_at_once() -> None:
    world = World(2).serve().signal("INT")
    world.take()
    world.signal("INT")
    assert world.take() == [(101, "KILL"), (102, "KILL")]
    world.signal("INT")
    assert world.take() == []


@pytest.mark.parametrize("name", ["HUP", "TTIN", "TTOU", "WINCH", "USR2"])
def test_other_signals_mean_nothing_while_stopping(name: str) -> None:
    world = World(2).serve().signal("TERM")
    world.take()
    world.signal(name)
    assert world.take() == []
    assert world.reloads == 0
    assert len(world.pids()) == 2


# --- a new master --------------------------------------------------------------------------------------------


def test_a_new_master_is_started_once() -> None:
    world = World(2).serve().signal("USR2").signal("USR2")
    assert world.upgrades == 1
    assert "A new master was started already; nothing was done" in world.log
    world.do(world.machine.upgrade_failed("it is bad", world.now))
    assert "Upgrade failed, this master serves on: it is bad" in world.log
    assert len(world.pids(READY)) == 2
    world.signal("USR2")
    world.do(world.machine.upgrade_ended(world.now))
    assert sum("Upgrade failed" in line for line in world.log) == 1
    assert world.signal("USR2").upgrades == 3


def test_workers_put_by_for_a_new_master_come_back_if_it_ends() -> None:
    world = World(2).serve().signal("USR2").signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    assert world.pids() == []
    world.do(world.machine.upgrade_ended(world.now))
    assert len(world.pids(BOOTING)) == 2


def test_going_back_to_code_that_does_not_load_goes_on_trying() -> None:
    world = World(2).serve().signal("USR2").signal("WINCH")
    for pid in world.pids():
        world.ends(pid)
    world.hup(workers=2)
    for pid in world.pids(BOOTING):
        world.fails(pid).ends(pid, EXIT_APP_LOAD)
    assert world.rollbacks == [0]
    assert world.machine.wanted == 2
    world.wait(60, alive=False)
    assert world.pids(BOOTING) != []


def test_stop_while_booting() -> None:
    world = World(2).start().signal("TERM")
    assert world.take() == [(101, "TERM"), (102, "TERM")]
    world.ready(101)
    assert world.machine.state is MasterState.STOPPING
    world.ends(101).ends(102)
    assert world.exit_code == 0


def test_stop_with_no_worker_left_exits_at_once() -> None:
    world = World(1).serve().ends(101, signal="KILL").ends(102, 4).ends(103, 4)
    assert world.pids() == []
    world.signal("TERM")
    assert world.exit_code == 0


def test_deaths_while_stopping_are_not_replaced() -> None:
    world = World(3).serve().signal("TERM").ends(101, signal="KILL").ends(102, 1)
    assert world.pids() == [103]


def test_answer_to_reload_comes_too_late() -> None:
    world = World(1).serve().signal("TERM")
    assert world.machine.reloaded(Policy(workers=5), world.now) == []


# --- workers more and fewer ------------------------------------------------------------------------------------


def test_ttin_and_ttou() -> None:
    world = World(1).serve().signal("TTIN").signal("TTIN")
    assert world.machine.wanted == 3
    world.ready(*world.pids(BOOTING))
    world.signal("TTOU")
    assert world.take() == [(101, "TERM")]
    world.ends(101)
    assert world.pids() == [102, 103]


def test_ttou_drops_who_does_not_serve_yet() -> None:
    world = World(2).serve().signal("TTIN").signal("TTOU")
    assert world.take() == [(103, "TERM")]
    assert world.ends(103).pids() == [101, 102]


def test_ttou_leaves_one() -> None:
    world = World(1).serve().signal("TTOU")
    assert world.machine.wanted == 1
    assert world.take() == []


def test_slots_bound_the_workers() -> None:
    world = World(2, slots=4).serve()
    for _ in range(5):
        world.signal("TTIN").ready(*world.pids(BOOTING))
    assert len(world.pids()) == 3


def test_slots_taken_by_workers_that_do_not_end() -> None:
    world = World(3, slots=4).serve().hup()
    assert len(world.pids()) == 4
    world.ready(104).wait(REPLACEMENT_PATIENCE + 1)
    assert len(world.pids()) == 4
    world.ends(101)
    assert len(world.pids()) == 4


def test_retired_by_ttou_is_killed_after_graceful_timeout() -> None:
    world = World(2, graceful_timeout=7).serve().signal("TTOU").wait(7.1)
    assert world.take() == [(101, "TERM"), (101, "KILL")]
    world.ends(101, signal="KILL")
    assert any("graceful timeout" in line for line in world.log)


# --- hangs -----------------------------------------------------------------------------------------------------


def test_hang_is_aborted_killed_replaced() -> None:
    world = World(1, timeout=30).serve().wait(29.9, alive=False)
    assert world.take() == []
    world.wait(0.2, alive=False)
    assert world.take() == [(101, "ABRT")]
    assert any("WORKER TIMEOUT (pid:101)" in line for line in world.log)
    assert "critical" in world.levels
    # Its replacement need not wait for its end.
    assert world.pids(BOOTING) == [102]
    world.wait(0.8)
    assert world.take() == []
    world.wait(0.3)
    assert world.take() == [(101, "KILL")]
    world.ends(101, signal="KILL")
    assert world.pids() == [102]
    assert any("master's SIGKILL: no sign of life" in line for line in world.log)


def test_hang_ended_by_abort_is_replaced_at_once() -> None:
    world = World(1, timeout=5).serve().wait(5.1, alive=False).ends(101, signal="ABRT")
    assert any("master's SIGABRT" in line for line in world.log)
    assert len(world.pids(BOOTING)) == 1


def test_signs_of_life_keep_alive() -> None:
    world = World(3, timeout=5).serve().wait(1000)
    assert world.take() == []


def test_only_the_hung_one_is_aborted() -> None:
    world = World(3, timeout=5).serve()
    for _ in range(20):
        world.now += 0.5
        world.beats = {101: world.now, 103: world.now}
        world.tick(alive=False)
    assert [sent for sent in world.take() if sent[1] == "ABRT"] == [(102, "ABRT")]


def test_timeout_0_never_aborts() -> None:
    world = World(1, timeout=0).serve()
    assert world.machine.next_tick(world.now) is None
    world.now += 1e6
    assert world.tick(alive=False).take() == []


def test_boot_is_not_under_the_timeout() -> None:
    world = World(1, timeout=5).start()
    world.now += 100
    world.tick()
    assert world.take() == []
    world.ready(101).wait(4.9, alive=False)
    assert world.take() == []


def test_a_draining_worker_has_its_own_deadline() -> None:
    world = World(2, timeout=5, graceful_timeout=30).serve().signal("TTOU")
    world.take()
    for _ in range(20):
        world.now += 1
        world.beats = {102: world.now}
        world.tick(alive=False)
    assert world.take() == []


def test_a_master_that_was_stopped_does_not_judge() -> None:
    world = World(2, timeout=5).serve()
    world.machine.next_tick(world.now)
    world.now += 3600
    world.tick(alive=False)
    assert world.take() == []
    world.wait(0.5, alive=True)
    world.tick(alive=True)
    world.wait(20)
    assert world.take() == []


def test_a_master_that_was_stopped_still_finds_the_hung() -> None:
    world = World(1, timeout=5).serve()
    world.machine.next_tick(world.now)
    world.now += 3600
    world.tick(alive=False).wait(1.1, alive=False)
    assert world.take() == [(101, "ABRT")]


def test_stop_leaves_the_abort_its_short_deadline() -> None:
    world = World(2, timeout=5).serve()
    world.now += 4
    world.beats[102] = world.now
    world.tick(alive=False).wait(1.5, alive=False)
    assert world.take() == [(101, "ABRT")]
    world.signal("TERM")
    assert world.take() == [(102, "TERM"), (103, "TERM")]
    world.wait(1)
    assert world.take() == [(101, "KILL")]


def test_the_machine_sleeps_until_something_can_happen() -> None:
    world = World(2, timeout=30).serve()
    assert world.machine.next_tick(world.now) == pytest.approx(30, abs=0.01)
    assert World(2, timeout=30).start().machine.next_tick(1000) is None


# --- reload ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_reload_replaces_one_at_a_time_new_ready_first(workers: int) -> None:
    world = World(workers).serve()
    old = world.pids()
    world.hup()
    for count in range(workers):
        assert world.take() == []
        (new,) = world.pids(BOOTING)
        assert len(world.pids(READY)) == workers
        world.ready(new)
        assert world.take() == [(old[count], "TERM")]
        assert world.pids(BOOTING) == []
        world.ends(old[count])
    assert world.machine.state is MasterState.RUNNING
    assert len(world.pids(READY)) == workers
    assert not set(old) & set(world.pids())
    assert "Reload complete" in world.log[-2] or "Reload complete" in world.log[-1]


def test_a_long_request_does_not_hold_up_the_reload() -> None:
    world = World(2).serve().hup().ready(103)
    assert world.pids(BOOTING) == []
    world.wait(REPLACEMENT_PATIENCE + 0.1)
    assert world.pids(BOOTING) == [104]
    world.ready(104)
    assert world.pids(RETIRING) == [101, 102]
    assert world.machine.state is MasterState.RUNNING


def test_reload_waits_without_spinning() -> None:
    world = World(2, timeout=0).serve().hup().ready(103)
    world.wait(REPLACEMENT_PATIENCE + 1)
    ticks = 0
    end = world.now + 20
    while world.now < end:
        delay = world.machine.next_tick(world.now)
        if delay is None:
            break
        world.now += delay
        world.tick()
        ticks += 1
    assert ticks < 10


@pytest.mark.parametrize("ending", [(4, ""), (0, "KILL"), (0, "SEGV"), (0, "")])
def test_replacement_that_does_not_boot_leaves_the_old_ones(ending: tuple[int, str]) -> None:
    world = World(3).serve().hup(workers=5).ends(104, *ending)
    assert world.take() == []
    assert world.pids(READY) == [101, 102, 103]
    assert world.machine.state is MasterState.RUNNING
    assert world.machine.wanted == 3
    assert world.rollbacks == [0]
    assert any("Reload failed" in line for line in world.log)
    world.wait(60)
    assert world.pids() == [101, 102, 103]


def test_a_configuration_that_has_proved_itself_is_tried_on() -> None:
    """One worker of it serves: that another does not boot is no fault of the configuration."""
    world = World(3).serve().hup().ready(104).ends(101).fails(105).ends(105, 4)
    assert world.rollbacks == []
    assert world.machine.state is MasterState.RELOADING
    assert world.pids(READY) == [102, 103, 104]
    for _ in range(5):
        world.wait(LONGEST_DELAY)
        (pid,) = world.pids(BOOTING)
        world.fails(pid).ends(pid, 4)
    assert world.pids(READY) == [102, 103, 104]
    world.wait(LONGEST_DELAY).settle()
    assert world.rollbacks == []
    assert not {102, 103} & set(world.pids())
    assert len(world.pids(READY)) == 3


def test_reload_after_one_that_got_stuck_replaces_all() -> None:
    world = World(2).serve().hup().ready(103).ends(101).ends(104, 4).hup().settle()
    assert world.machine.state is MasterState.RUNNING
    assert set(world.pids()) & {101, 102, 103} == set()
    assert len(world.pids(READY)) == 2


def test_failed_reload_after_one_that_got_stuck_goes_on_with_that() -> None:
    world = World(2).serve().hup().ready(103).ends(101).fails(104).ends(104, 4).hup()
    for pid in world.pids(RETIRING):
        world.ends(pid)
    (pid,) = world.pids(BOOTING)
    world.fails(pid).ends(pid, 4)
    assert world.rollbacks == [1]
    assert world.machine.state is MasterState.RELOADING
    world.settle()
    assert world.machine.policy.revision == 1
    assert not {101, 102} & set(world.pids())
    assert 103 in world.pids(READY)


def test_refused_configuration_changes_nothing() -> None:
    world = World(2).serve().signal("HUP")
    world.do(world.machine.reload_refused("workers = 'x' must be a number", world.now))
    assert world.pids(READY) == [101, 102]
    assert world.machine.state is MasterState.RUNNING
    assert any("workers = 'x'" in line for line in world.log)


def test_reload_to_more_workers() -> None:
    world = World(2).serve().hup(workers=4)
    old = {101, 102}
    while world.machine.state is MasterState.RELOADING:
        assert len(world.pids(BOOTING)) == 1
        assert len(world.pids(READY)) >= 2
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert len(world.pids(READY)) == 4
    assert not old & set(world.pids())


def test_reload_to_fewer_workers() -> None:
    """Nobody leaves before one of the new is ready."""
    world = World(4).serve().hup(workers=2)
    assert world.take() == []
    assert world.pids(READY) == [101, 102, 103, 104]
    world.ready(105)
    assert world.pids(RETIRING) == [101, 102, 103]
    world.settle()
    assert len(world.pids()) == 2
    assert not {101, 102, 103, 104} & set(world.pids())


def test_failed_reload_to_fewer_keeps_all() -> None:
    world = World(4).serve().hup(workers=2).fails(105).ends(105, 4)
    assert world.pids() == [101, 102, 103, 104]
    assert world.machine.wanted == 4
    assert world.numbers == [(2, 4), (4, 2)]
    assert world.take() == []


@pytest.mark.parametrize("workers", [2, 3])
def test_hooks_are_told_of_a_reload_before_it_begins(workers: int) -> None:
    """As gunicorn does, also where the number of workers stays."""
    world = World(2).serve()
    told, reload, *rest = [
        action
        for action in world.machine.reloaded(Policy(workers=workers, revision=1), world.now)
        if not isinstance(action, Log)
    ]
    assert told == Call("nworkers_changed", (workers, 2))
    assert reload == Call("on_reload", ())
    assert any(isinstance(action, Fork) for action in rest)


def test_new_certificates_replace_workers_and_keep_their_number() -> None:
    world = World(2).serve().signal("TTIN").ready(103).renew()
    assert world.renewals == 1
    assert "Certificates have changed" in world.log
    for pid, old in ((104, 101), (105, 102), (106, 103)):
        assert world.ready(pid).sent[-1] == (old, "TERM")
        world.ends(old)
    assert world.machine.state is MasterState.RUNNING
    assert world.pids() == [104, 105, 106]
    assert "Reload complete, workers in service: 3" in world.log


def test_new_certificates_wait_for_what_the_master_is_about() -> None:
    world = World(2).start().renew()  # nothing serves yet
    assert world.renewals == 0
    world.ready(101, 102).hup().renew()
    assert world.renewals == 0
    world.ready(103).ends(101).ready(104).ends(102).renew()
    assert world.renewals == 1
    # Nobody is to serve here, perhaps since a new master does, which has them.
    world = World(2).serve().signal("WINCH").renew()
    assert world.renewals == 0
    assert World(2).serve().signal("TERM").renew().renewals == 0


def test_second_hup_starts_over() -> None:
    world = World(2).serve().hup().ready(103).ends(101)
    assert world.pids(BOOTING) == [104]
    world.hup()
    assert world.take()[-1] == (104, "TERM")
    world.ends(104)
    for _ in range(2):
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert world.machine.state is MasterState.RUNNING
    assert min(world.pids()) > 104


def test_second_hup_failing_goes_back_to_what_serves() -> None:
    world = World(2).serve().hup(workers=3).hup(workers=4)
    assert world.machine.revisions == {0, 2}
    retired = world.pids(RETIRING)
    for pid in retired:
        world.ends(pid)
    (pid,) = world.pids(BOOTING)
    world.ends(pid, 4)
    assert world.rollbacks == [0]
    assert world.machine.wanted == 2
    assert world.machine.revisions == {0}


def test_hup_while_some_still_boot_keeps_them_in_case_it_fails() -> None:
    world = World(3).start().ready(101).hup()
    assert world.take() == []
    assert world.pids(BOOTING) == [102, 103, 104]
    world.ends(104, 4)
    assert world.rollbacks == [0]
    world.ready(102, 103)
    assert world.pids(READY) == [101, 102, 103]


def test_hup_while_some_still_boot_replaces_them_too() -> None:
    world = World(3).start().ready(101).hup().ready(102)
    while world.machine.state is MasterState.RELOADING:
        world.ready(next(pid for pid in world.pids(BOOTING) if pid != 103))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert (103, "TERM") in world.sent
    assert len(world.pids(READY)) == 3
    assert min(world.pids(READY)) > 103


def test_boot_failure_of_an_old_one_does_not_end_the_reload() -> None:
    world = World(2).start().ready(101).hup().ends(102, 1)
    assert world.machine.state is MasterState.RELOADING
    assert world.rollbacks == []


def test_hup_to_fewer_drops_who_still_boots() -> None:
    world = World(4).start().ready(101).hup(workers=1)
    assert world.take() == []
    world.ready(105)
    assert world.pids(RETIRING) == [101, 102, 103, 104]
    assert world.settle().pids(READY) == [105]


def test_storm_of_hups() -> None:
    world = World(2).serve()
    for _ in range(30):
        world.hup()
        assert len(world.pids(READY)) == 2
        assert len(world.pids(BOOTING)) <= 1
        for pid in world.pids(RETIRING):
            world.ends(pid)
    while world.machine.state is MasterState.RELOADING:
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert len(world.pids()) == 2


def test_hup_before_anything_serves_is_kept() -> None:
    world = World(2).start().signal("HUP").signal("HUP")
    assert world.reloads == 0
    world.ready(101)
    assert world.reloads == 1


@pytest.mark.parametrize("victim", [101, 102])
def test_old_worker_dies_in_a_reload(victim: int) -> None:
    world = World(2).serve().hup().ends(victim, signal="KILL").ready(103)
    assert world.take() == []
    world.ready(*world.pids(BOOTING))
    for pid in world.pids(RETIRING):
        world.ends(pid)
    assert world.machine.state is MasterState.RUNNING
    assert world.pids(READY) == [103, 104]


def test_fresh_worker_dies_in_a_reload() -> None:
    world = World(2).serve().hup().ready(103).ends(101).ends(103, signal="KILL")
    while world.machine.state is MasterState.RELOADING:
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert len(world.pids(READY)) == 2
    assert 102 not in world.pids()


def test_ttin_and_ttou_in_a_reload() -> None:
    world = World(2).serve().hup().signal("TTIN").signal("TTIN").signal("TTOU")
    while world.machine.state is MasterState.RELOADING:
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING):
            world.ends(pid)
    assert len(world.pids(READY)) == 3
    assert min(world.pids()) > 102


def test_term_in_a_reload() -> None:
    world = World(2).serve().hup().signal("TERM")
    assert {pid for pid, name in world.take() if name == "TERM"} == {101, 102, 103}
    for pid in world.pids():
        world.ends(pid)
    assert world.exit_code == 0
    assert world.rollbacks == []


def test_fork_refused_in_a_reload() -> None:
    world = World(2).serve()
    world.fork_error = "Cannot allocate memory"
    world.hup()
    assert world.machine.state is MasterState.RUNNING
    assert world.rollbacks == [0]
    assert world.pids(READY) == [101, 102]


def test_new_timeouts_hold_after_a_reload() -> None:
    world = World(1, timeout=30).serve().hup(timeout=5.0).ready(102).ends(101)
    world.take()
    world.wait(5.1, alive=False)
    assert world.take() == [(102, "ABRT")]


# --- logs ------------------------------------------------------------------------------------------------------


def test_usr1_reopens_everywhere() -> None:
    world = World(2).serve().signal("USR1")
    assert world.reopened == 1
    assert world.take() == [(101, "USR1"), (102, "USR1")]


@pytest.mark.parametrize(
    ("code", "signal", "level", "words"),
    [
        (0, "", "debug", "Worker (pid:101) exited"),
        (1, "", "error", "exited with code 1"),
        (0, "KILL", "error", "SIGKILL from outside, perhaps for want of memory"),
        (0, "SEGV", "error", "crashed with SIGSEGV"),
        (0, "TERM", "warning", "ended by SIGTERM from outside"),
    ],
)
def test_obituaries(code: int, signal: str, level: str, words: str) -> None:
    world = World(1).serve().wait(YOUNG + 1)
    lines = len(world.log)
    world.ends(101, code, signal)
    assert words in world.log[lines]
    assert world.levels[lines] == level


# --- any order of events ---------------------------------------------------------------------------------------


class Chance:
    """Events in any order, each possible where it is."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.world = World(
            rng.randint(1, 4),
            timeout=rng.choice([0, 5, 30]),
            graceful_timeout=rng.choice([1, 10]),
            boot_timeout=rng.choice([0, 0, 10]),
            max_lifetime=rng.choice([0, 0, 20]),
            max_lifetime_jitter=rng.choice([0, 10]),
            max_memory=rng.choice([0, 1 << 20]),
            drain_delay=rng.choice([0, 5]),
        ).serve()

    def event(self) -> None:
        rng, world = self.rng, self.world
        world.share = rng.random()
        booting, ending = world.pids(BOOTING), world.pids(RETIRING, ABORTING, KILLED)
        chance = rng.random()
        if chance < 0.25 and booting:
            world.ready(rng.choice(booting))
        elif chance < 0.35 and booting:
            pid = rng.choice(booting)
            world.fails(pid).ends(pid, 4)
        elif chance < 0.55 and ending:
            world.ends(rng.choice(ending), signal=rng.choice(["", "KILL"]))
        elif chance < 0.6 and world.pids():
            world.ends(rng.choice(world.pids()), signal=rng.choice(["KILL", "SEGV", "TERM"]))
        elif chance < 0.65 and world.pids():
            world.worn(rng.choice(world.pids())).renew()
        elif chance < 0.67 and world.pids():
            world.memory = {rng.choice(world.pids()): 2 << 20}
        elif chance < 0.77:
            self.signal(rng.choice(["HUP", "HUP", "TTIN", "TTOU", "USR1", "WINCH", "USR2"]))
        elif chance < 0.96:
            world.wait(rng.choice([0.01, 0.5, 3]), alive=rng.random() < 0.9)
        else:
            world.fork_error = rng.choice(["", "", "no memory"])

    def signal(self, name: str) -> None:
        world = self.world
        if name == "HUP" and self.rng.random() < 0.2:
            world.signal("HUP")
            world.do(world.machine.reload_refused("a mistake", world.now))
        elif name == "HUP":
            world.hup(workers=self.rng.randint(1, 5))
        else:
            world.signal(name)
            if name == "USR2" and self.rng.random() < 0.5:
                world.do(world.machine.upgrade_failed("it has ended", world.now))


@pytest.mark.parametrize("seed", range(400))
def test_invariants_hold_in_any_order_of_events(seed: int) -> None:
    chance = Chance(seed)
    world = chance.world
    machine = world.machine
    most = machine.wanted  # while a configuration has not proved itself
    for _ in range(200):
        serving_before = set(world.pids(READY))
        chance.event()
        most = max(most, machine.wanted) if machine.state is MasterState.RELOADING else machine.wanted
        assert len(world.pids(BOOTING, READY)) <= most + 1
        told = {pid for pid, name in world.take() if name == "TERM"} & serving_before
        # Whoever was told to stop, so many others serve as are wanted.
        assert not told or len(world.pids(READY)) >= machine.wanted
        assert world.exit_code is None
        assert machine.policy.revision in machine.revisions
    # Left in peace, it comes to the number of workers wanted, all of one configuration.
    world.fork_error = ""
    world.memory = {}
    for _ in range(60):
        world.ready(*world.pids(BOOTING))
        for pid in world.pids(RETIRING, ABORTING, KILLED):
            world.ends(pid, signal="KILL")
        world.wait(1)
    assert abs(len(world.pids(READY)) - machine.wanted) <= 1
    assert machine.state is MasterState.RUNNING
    assert machine.revisions == {machine.policy.revision}
    world.signal("TERM")
    world.wait(60)
    for pid in world.pids():
        world.ends(pid, signal="KILL")
    assert world.exit_code == 0


def test_tables_name_every_state() -> None:
    assert set(MASTER_MOVES) == set(MasterState) == set(HEARD)
    assert set(WORKER_MOVES) == set(WorkerState)
