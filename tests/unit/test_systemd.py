"""What a service manager is told, on a socket as systemd's."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from fastwsgi.processes.systemd import MOST_UNSENT, RETRY, Notifier
from tests.manager import Manager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(os.fspath(tmp_path / "notify")) as manager:
        yield manager


def test_the_life_of_a_service(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.show("starting", "no worker serves yet", 1.0)
    assert manager.take() == [["STATUS=no worker serves yet"]]
    notifier.show("running", "1 of 2 workers serves", 2.0)
    assert manager.take() == [["READY=1", "STATUS=1 of 2 workers serves"]]
    notifier.show("running", "1 of 2 workers serves", 3.0)
    assert manager.take() == []
    notifier.show("running", "2 workers serve", 3.0)
    assert manager.take() == [["STATUS=2 workers serve"]]
    notifier.show("reloading", "reloading", 4.25)
    assert manager.take() == [["RELOADING=1", "MONOTONIC_USEC=4250000", "STATUS=reloading"]]
    notifier.show("running", "2 workers serve", 5.0)
    assert manager.take() == [["READY=1", "STATUS=2 workers serve"]]
    notifier.show("draining", "stopping", 6.0, extend=30.5)
    assert manager.take() == [["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=30500000"]]
    notifier.show("stopping", "stopping", 6.0, extend=30.5)
    notifier.show("stopped", "stopping", 7.0, extend=30.5)
    assert manager.take() == []


def test_a_server_that_never_served_is_not_ready(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.show("starting", "", 1.0)
    notifier.show("stopping", "", 2.0)
    assert manager.take() == [["STOPPING=1"]]


def test_a_status_is_one_line(manager: Manager) -> None:
    Notifier({"NOTIFY_SOCKET": manager.address}).show("starting", "one\nREADY=1", 1.0)
    assert manager.take() == [["STATUS=one READY=1"]]


def test_more_time_is_asked_for_only_while_it_counts(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.show("starting", "", 1.0, extend=9.0)
    notifier.show("starting", "loading", 1.0, extend=9.0)
    notifier.show("running", "", 2.0, extend=9.0)
    assert manager.take() == [["STATUS=loading", "EXTEND_TIMEOUT_USEC=9000000"], ["READY=1", "STATUS="]]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_name() -> None:
    with Manager(f"@fastwsgi-test-{os.getpid()}") as manager:
        Notifier({"NOTIFY_SOCKET": manager.address}).show("running", "", 1.0)
        assert manager.take() == [["READY=1"]]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_without_a_manager_nothing_is_done(address: str | None) -> None:
    environ = {} if address is None else {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
    notifier = Notifier(environ)
    notifier.show("running", "", 1.0)
    notifier.hand_over(1, "")
    notifier.take_over()
    assert not notifier.speaks
    assert notifier.next_tick(1.0) is None


# --- watchdog ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pid", [None, str(os.getpid())], ids=["everybody", "us"])
def test_signs_of_life_come_twice_in_the_time(manager: Manager, pid: str | None) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}
    notifier = Notifier(environ if pid is None else {**environ, "WATCHDOG_PID": pid})
    assert notifier.next_tick(10.0) == 0.0
    notifier.show("starting", "", 10.0)
    assert manager.take() == [["WATCHDOG=1"]]
    assert notifier.next_tick(10.5) == 1.0
    notifier.show("starting", "", 11.0)
    assert manager.take() == []
    notifier.show("running", "", 11.5)
    assert manager.take() == [["READY=1", "WATCHDOG=1"]]


@pytest.mark.parametrize(
    ("usec", "pid"), [("3000000", "1"), ("", None), ("0", None), ("many", None)], ids=str
)
def test_no_signs_of_life_unless_they_are_asked_of_us(manager: Manager, usec: str, pid: str | None) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": usec}
    notifier = Notifier(environ if pid is None else {**environ, "WATCHDOG_PID": pid})
    notifier.show("starting", "", 10.0)
    assert manager.take() == []
    assert notifier.next_tick(10.0) is None


# --- two masters ---------------------------------------------------------------------------------------------


def test_only_the_main_process_speaks(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"}
    old, us = Notifier(environ), os.getpid()
    old.show("running", "2 workers serve", 1.0)
    manager.take()
    old.take_over()
    assert manager.take() == []  # that is so already
    old.hand_over(1, "the new master serves")
    old.hand_over(1, "the new master serves")
    assert manager.take() == [["MAINPID=1", "READY=1", "STATUS=the new master serves"]]
    old.show("stopping", "stopping", 9.0)
    assert manager.take() == []
    assert old.next_tick(9.0) is None
    old.take_over()
    assert manager.take() == [[f"MAINPID={us}"]]
    old.show("running", "2 workers serve", 9.0)
    assert manager.take() == [["READY=1", "STATUS=2 workers serve", "WATCHDOG=1"]]


def test_a_new_master_is_silent_until_it_takes_over(manager: Manager) -> None:
    new = Notifier({"NOTIFY_SOCKET": manager.address}, main=1)
    new.show("stopping", "", 1.0)
    assert manager.take() == []
    new.take_over()
    new.show("running", "1 worker serves", 2.0)
    assert manager.take() == [[f"MAINPID={os.getpid()}"], ["READY=1", "STATUS=1 worker serves"]]


# --- a manager that does not answer --------------------------------------------------------------------------


def test_a_socket_that_is_gone_is_no_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        notifier = Notifier({"NOTIFY_SOCKET": os.fspath(path)})
        notifier.show("running", "", 1.0)
        assert notifier.next_tick(1.0) is None  # nothing to be tried again


def test_nobody_reads(manager: Manager) -> None:
    """The queue of a socket is full at some time; what came last is kept, and sent later."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    count = 0
    while notifier.next_tick(1.0) is None:
        notifier.show("starting", f"status {count}", 1.0)
        count += 1
        assert count < 10_000
    assert notifier.next_tick(1.0) == RETRY
    for _ in range(2 * MOST_UNSENT):
        notifier.show("starting", f"status {count}", 1.0)
        count += 1
    sent = manager.take()
    assert sent[0] == ["STATUS=status 0"]
    kept = []
    while notifier.next_tick(2.0) is not None:
        notifier.show("starting", f"status {count - 1}", 2.0)
        kept += manager.take()
    assert len(kept) == MOST_UNSENT
    assert re.fullmatch(r"STATUS=status \d+", kept[0][0])
    assert kept[-1] == [f"STATUS=status {count - 1}"]
    assert notifier.next_tick(2.0) is None
