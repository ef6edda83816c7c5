"""The workers as the policy knows them: their states, and which of them serve.

Owns the table of a worker's life and the slots of the scoreboard. Knows no process or clock; when a
worker changes its state is for supervision.py to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from .actions import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .actions import Policy

__all__ = ["CRASHES", "WORKER_MOVES", "Roster", "Worker", "WorkerState", "obituary"]


class WorkerState(Enum):
    """What the master knows of a worker. From each of these it may also exit, and is forgotten then."""

    BOOTING = "booting"  # forked, and not heard of since
    READY = "ready"  # serves, and is watched for hangs
    RETIRING = "retiring"  # told to stop; killed at its deadline
    ABORTING = "aborting"  # hung, told to write down its stacks and die; killed at its deadline
    KILLED = "killed"  # sent KILL; given up at its deadline


_W = WorkerState

WORKER_MOVES: Final = {
    _W.BOOTING: {_W.READY, _W.RETIRING, _W.ABORTING, _W.KILLED},
    _W.READY: {_W.RETIRING, _W.ABORTING, _W.KILLED},
    _W.RETIRING: {_W.KILLED},
    _W.ABORTING: {_W.KILLED},
    _W.KILLED: set[WorkerState](),
}

CRASHES: Final = frozenset({"SEGV", "ABRT", "BUS", "FPE", "ILL", "SYS", "TRAP"})
"""Signals by which a process ends itself."""


@dataclass
class Worker:
    """One worker, from the decision to fork it to its end."""

    age: int
    slot: int
    revision: int  # of the configuration it runs
    state: WorkerState = WorkerState.BOOTING
    pid: int = 0  # 0 between Fork and `forked`
    share: float = 0.0  # of the lifetime's jitter, from 0 to 1
    worn: bool = False  # serves until its successor is ready
    ready_at: float = 0.0
    beat: float = 0.0  # last sign of life; of one that boots, the fork
    told_at: float = 0.0  # when it was told to stop
    deadline: float = 0.0  # of its state, in RETIRING, ABORTING and KILLED
    reason: str = ""  # why a signal was sent to it, for the log
    failure: int = 0  # the exit code that its failure to boot means for the server

    @property
    def serving(self) -> bool:
        """Whether it serves, or will."""
        return self.state in (WorkerState.BOOTING, WorkerState.READY)

    def leaves(self, revision: int) -> bool:
        """Return whether it is to be replaced, where the configuration in force is `revision`."""
        return self.worn or self.revision != revision

    def patience(self, policy: Policy) -> float:
        """Return for how long it may be silent while it boots or serves; infinity for ever."""
        return (policy.boot_timeout if self.state is WorkerState.BOOTING else policy.timeout) or inf

    def end_of_life(self, policy: Policy) -> float:
        """Return when it has served for long enough, unless that was said already."""
        if self.state is not WorkerState.READY or self.worn or not policy.max_lifetime:
            return inf
        return self.ready_at + policy.max_lifetime + self.share * policy.max_lifetime_jitter

    def become(self, state: WorkerState, deadline: float = 0.0, reason: str = "") -> None:
        """Change its state, as the table allows."""
        assert state in WORKER_MOVES[self.state], (self, state)  # noqa: S101 - the table above holds
        self.state, self.deadline = state, deadline
        self.reason = reason or self.reason


class Roster:
    """All workers not yet known to have ended, in the order of forking."""

    def __init__(self) -> None:
        self._by_age: dict[int, Worker] = {}
        self._ages = 0

    def __iter__(self) -> Iterator[Worker]:
        """Go through them; some may be removed meanwhile."""
        return iter(list(self._by_age.values()))

    def __len__(self) -> int:
        """Count them."""
        return len(self._by_age)

    def __getitem__(self, age: int) -> Worker:
        """Return the worker of this age."""
        return self._by_age[age]

    def find(self, pid: int) -> Worker | None:
        """Return the worker with this pid, if there is one."""
        return next((worker for worker in self._by_age.values() if worker.pid == pid), None)

    def serving(self, *states: WorkerState) -> list[Worker]:
        """Return those that serve or will, or of these those in one of `states`."""
        return [worker for worker in self if worker.serving and (not states or worker.state in states)]

    def enter(self, slots: int, revision: int) -> Worker | None:
        """Enter a worker to be forked, in the lowest free one of so many slots; None if there is none."""
        taken = {worker.slot for worker in self}
        slot = next((slot for slot in range(slots) if slot not in taken), None)
        if slot is None:
            return None
        self._ages += 1
        worker = self._by_age[self._ages] = Worker(self._ages, slot, revision)
        return worker

    def remove(self, worker: Worker) -> None:
        """Strike out a worker that has ended, or never began."""
        del self._by_age[worker.age]


def obituary(worker: Worker, code: int, signal: str) -> Log:
    """Return the log line on the end of a worker: how, and by whom as far as that can be known."""
    who = f"Worker (pid:{worker.pid})"
    if not signal:
        if code and not worker.failure:
            return Log("error", f"{who} exited with code {code}")
        return Log("debug", f"{who} exited" + (f" with code {code}" if code else ""))
    if worker.state is WorkerState.KILLED and signal == "KILL":
        return Log("error", f"{who} was killed by the master's SIGKILL: {worker.reason}")
    if worker.state is WorkerState.ABORTING and signal == "ABRT":
        return Log("error", f"{who} was ended by the master's SIGABRT: {worker.reason}")
    if signal == "KILL":
        return Log("error", f"{who} was killed by SIGKILL from outside, perhaps for want of memory")
    if signal in CRASHES:
        return Log("error", f"{who} crashed with SIG{signal}")
    return Log("warning", f"{who} was ended by SIG{signal} from outside")
