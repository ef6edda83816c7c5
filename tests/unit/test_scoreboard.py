"""The shared records: what one process writes, another one sees."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap

import pytest

from fastwsgi.processes.scoreboard import BOOTING, DRAINING, SERVING, Company, Scoreboard
from tests.live import ROOT


def test_a_record_keeps_its_fields() -> None:
    board = Scoreboard(3)
    record = board.record(1)
    record.beat(12.5)
    record.requests = 2**40
    record.pid = os.getpid()
    record.state = DRAINING
    again = board.record(1)
    assert (again.last_beat, again.requests, again.pid, again.state) == (12.5, 2**40, os.getpid(), DRAINING)
    board.close()


def test_records_do_not_touch_each_other() -> None:
    board = Scoreboard(8)
    for slot in range(8):
        board.record(slot).beat(float(slot))
        board.record(slot).requests = slot * 10
    assert [board.record(slot).last_beat for slot in range(8)] == [float(slot) for slot in range(8)]
    assert [board.record(slot).requests for slot in range(8)] == [slot * 10 for slot in range(8)]
    board.close()


def test_clear_begins_anew() -> None:
    board = Scoreboard(1)
    record = board.record(0)
    record.requests, record.pid, record.state = 5, 6, SERVING
    record.clear(99.0)
    assert (record.last_beat, record.requests, record.pid, record.state) == (99.0, 0, 0, BOOTING)
    board.close()


@pytest.mark.parametrize("slot", [-1, 2, 100])
def test_there_is_no_such_slot(slot: int) -> None:
    board = Scoreboard(2)
    with pytest.raises(IndexError):
        board.record(slot)
    board.close()


def test_close_gives_the_memory_back() -> None:
    board = Scoreboard(2)
    record = board.record(0)
    board.close()
    with pytest.raises(ValueError, match="released"):
        record.beat(1.0)


# --- a company of workers ------------------------------------------------------------------------------

NOW = 1000.0


def company(*others: tuple[int, int, float], mine: int = 0) -> tuple[Scoreboard, Company]:
    """Return the company as slot 0 sees it; the others have connections, a state, and a time of their turn."""
    board = Scoreboard(len(others) + 5)
    board.record(0).state = SERVING
    for slot, (connections, state, turn) in enumerate(others, 1):
        board.record(slot).state = state
        other = board.company(slot)
        other.show_connections(connections)
        other.turn[0] = turn
    me = board.company(0)
    me.show_connections(mine)
    me.turn[0] = NOW
    return board, me


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], False),
        ([(10, SERVING, NOW)], True),
        ([(10, SERVING, math.inf)], True),  # it waits for events
        ([(10, SERVING, NOW - 1.0)], False),  # it is stuck in a request
        ([(10, BOOTING, NOW)], False),
        ([(10, DRAINING, NOW)], False),
        ([(95, SERVING, NOW)], False),  # a few more or less are even
        ([(100, SERVING, NOW), (200, SERVING, NOW)], False),
        ([(200, SERVING, NOW), (10, SERVING, NOW - 1.0), (20, SERVING, NOW)], True),
    ],
)
def test_who_takes_the_next_connection(others: list[tuple[int, int, float]], expected: bool) -> None:
    board, me = company(*others, mine=100)
    assert me.has_freer(100, NOW) is expected
    board.close()


def test_a_few_connections_need_no_sharing() -> None:
    board, me = company((0, SERVING, NOW))
    assert [me.has_freer(count, NOW) for count in (1, 2, 3, 4)] == [False, False, False, True]
    board.close()


def test_a_dead_worker_takes_nothing() -> None:
    board, me = company((0, SERVING, NOW))
    assert me.has_freer(100, NOW)
    board.record(1).clear(NOW)
    assert not me.has_freer(100, NOW)
    board.close()


def test_loops_of_a_worker_share_connections_with_all() -> None:
    board = Scoreboard(2, loops=2)
    first, second = board.record(0), board.record(1)
    loops = [board.company(slot).of_loop(number) for slot in range(2) for number in range(2)]
    for record in (first, second):
        record.clear(0.0)
        record.state = SERVING
    for number, company in enumerate(loops):
        company.turn[0] = 10.0
        company.show_connections((20, 20, 20, 5)[number])
    assert [company.has_freer(20, 10.0) for company in loops] == [True, True, True, False]
    assert [company.connections_of_siblings() for company in loops] == [20, 20, 5, 20]
    assert (first.requests, second.requests) == (0, 0)
    second.state = DRAINING
    assert not any(company.has_freer(20, 10.0) for company in loops[:2])
    for company in loops:
        company.turn.release()
    board.close()


def test_a_fork_writes_and_its_parent_reads() -> None:
    script = """
        import os
        from fastwsgi.processes.scoreboard import Scoreboard
        board = Scoreboard(4)
        record = board.record(3)
        pid = os.fork()
        if pid == 0:
            record.beat(1234.5)
            record.requests = 7
            os._exit(0)
        os.waitpid(pid, 0)
        print(record.last_beat, record.requests)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1234.5 7\n"
