"""The processes of a server, as /proc shows them, and waiting for them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests.live import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live import LiveServer

T = TypeVar("T")


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    except FileNotFoundError:
        return ""


def eventually(claim: Callable[[], bool]) -> None:
    """Check a claim until it holds; AssertionError if it does not within DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not claim():
        assert time.monotonic() < end, "it never came true"
        pause.wait(0.01)


def in_one_of(attempts: int, measure: Callable[[], T], is_right: Callable[[T], bool]) -> None:
    """Measure until it is right; AssertionError with all that was measured if it is not in so many attempts."""
    seen = []
    for _ in range(attempts):
        seen.append(measure())
        if is_right(seen[-1]):
            return
    raise AssertionError(seen)


def wait_for_end(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], DEADLINE)[0], f"process {pid} does not end"
    finally:
        os.close(fd)


def end(pid: int) -> None:
    """End a server that is not our child, if it is still there, and wait for that."""
    # A pid that is gone is not another's yet: the kernel takes new ones first.
    if re.search("fastwsgi|python", command_line(pid)):
        os.kill(pid, signal.SIGTERM)
        wait_for_end(pid)


def wait_for_workers(server: LiveServer, count: int) -> list[int]:
    """Return the workers, once there are so many and all are ready."""

    def all_are_ready() -> bool:
        pids, log = children(server.pid), server.log.text
        return len(pids) == count and all(f"(pid:{pid}) is ready" in log for pid in pids)

    eventually(all_are_ready)
    return children(server.pid)


def is_asleep(pid: int) -> bool:
    """Whether it waits in the kernel for something to happen."""
    return _stat(pid)[0] == "S"


def _stat(pid: int) -> list[str]:
    """Return the fields of its stat from the third on, the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Return the bytes of memory that are the process's own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE))


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def open_files(pid: int) -> list[str]:
    """Return what its descriptors are open on, but for those that it closes meanwhile."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(link))
    return names
