"""A server under measurement: a process group of its own, its readiness, its CPU time and its end.

The server is the leader of a new session, so that every process it starts is found by the session's id, also
after its parent has died, and nothing but these processes is ever signalled.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import IO

__all__ = ["RunningServer", "ServerFailedError", "Usage", "free_port", "leave_at_signals", "mapped_bytes"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 5.0


class ServerFailedError(Exception):
    """The server did not start, or died; the message ends with what it printed."""


@dataclass(frozen=True)
class Usage:
    """What the server's processes have used since they were started."""

    user: float  # seconds
    system: float  # seconds
    processes: int
    threads: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU in all."""
        return self.user + self.system


def free_port() -> int:
    """Return a TCP port of the loopback interface that the kernel has just found free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def leave_at_signals() -> None:
    """Leave by way of the context managers, which end the servers: once, so that a second ^C leaves none."""
    numbers = [signal.SIGTERM, signal.SIGINT]  # SIGINT though a shell may have it ignored
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup does that
        numbers.append(signal.SIGHUP)

    def leave(number: int, _frame: object) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in numbers:
        signal.signal(number, leave)


class RunningServer:
    """Context manager: the server runs inside, pinned to one CPU, and is ended with all its processes after.

    Args:
        command: what starts it, in the checkout's root.
        environment: variables for it, beside those of this process.
        port: where it will listen, on 127.0.0.1.
        cpu: the CPU that all its processes and threads keep to.
        log: an open file for what it prints.
        patience: seconds until it must accept connections.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        port: int,
        cpu: int,
        log: IO[bytes],
        patience: float = 20.0,
    ) -> None:
        self.port = port
        self._command = ["taskset", "-c", str(cpu), *command]
        ours = {"PYTHONPATH": str(ROOT)}
        self._environment = {**os.environ, **ours, **environment}
        self._log = log
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningServer:
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def usage(self) -> Usage:
        """Return the CPU time of all processes of the session, with that of children already waited for.

        A child that ends between two calls is not lost: it moves into the parent's sums of dead children.
        """
        user = system = threads = processes = 0
        for fields in self._members():
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
            threads += int(fields[17])
            processes += 1
        if not processes:
            raise ServerFailedError(f"no process is left{self._printed()}")
        return Usage(user / _TICKS, system / _TICKS, processes, threads)

    def pids(self) -> list[int]:
        """Return the processes of the session."""
        return [int(fields[-1]) for fields in self._members()]

    def private_bytes(self) -> int:
        """Return the memory that the processes do not share, in bytes: the kernel's is not in it."""
        return mapped_bytes("Private_", self.pids())

    def proportional_bytes(self) -> int:
        """Return the memory of all processes together, what they share counted once, in bytes."""
        return mapped_bytes("Pss:", self.pids())

    def worker_bytes(self) -> int:
        """Return the memory of the processes that have no children, as proportional_bytes() counts it."""
        members = list(self._members())
        parents = {fields[1] for fields in members}
        return mapped_bytes("Pss:", [int(fields[-1]) for fields in members if fields[-1] not in parents])

    def _wait_until_ready(self) -> None:
        process = self._running()
        deadline = time.monotonic() + self._patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                pass
            else:
                return
            # The pause between two attempts ends early if the server does.
            try:
                status = process.wait(timeout=0.002)
            except subprocess.TimeoutExpired:
                status = None
            if status is not None:
                raise ServerFailedError(f"ended with status {status} before it listened{self._printed()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(f"does not listen after {self._patience:.0f} s{self._printed()}")

    def _members(self) -> Iterator[list[str]]:
        """Yield the fields of /proc/PID/stat, from the state (field 3) on, and the pid, of each process."""
        session = str(self._running().pid)
        for entry in _PROC.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has ended meanwhile
            # The name in field 2 may hold spaces and brackets; nothing after it does.
            fields = stat[stat.rindex(")") + 2 :].split()
            if fields[3] == session and fields[0] != "Z":
                yield [*fields, entry.name]

    def _end(self) -> None:
        process = self._running()
        process.terminate()
        try:
            process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        for fields in self._members():
            try:
                os.kill(int(fields[-1]), signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailedError("not started")
        return self._process

    def _printed(self) -> str:
        self._log.flush()
        lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "; it printed: " + " | ".join(lines[-3:]) if lines else "; it printed nothing"


def mapped_bytes(field: str, pids: Iterable[int]) -> int:
    """Return the sum of the fields whose names begin so, in bytes, of what the processes have mapped."""
    total = 0
    for pid in pids:
        text = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(field))
    return total * 1024
