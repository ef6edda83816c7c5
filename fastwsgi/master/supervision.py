"""The master's policy as a machine: events in, actions out.

Owns which worker is forked, told to stop or killed, when, and what the log says about it. Knows no process,
descriptor or clock: pids, signal names and monotonic seconds are arguments, and master.py carries out the
actions, in order. Invariants, whatever the order of events:

- only in a reload are there more than `wanted` workers neither told to stop nor killed, and by one at most;
- a serving worker is replaced only after its replacement said that it is ready;
- every worker that was told to stop has a deadline, after which it is killed;
- `Exit` comes once, when no worker is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from ..errors import EXIT_OK, EXIT_WORKER_BOOT
from .actions import Action, Exit, Fork, Log, Policy, Reload, ReopenLogs, Rollback, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MasterState", "Supervisor", "WorkerState"]


class MasterState(Enum):
    """What the master is about."""

    STARTING = "starting"  # no worker was ever ready: a failure to boot ends the server
    RUNNING = "running"
    RELOADING = "reloading"  # stale workers are being replaced, one at a time
    STOPPING = "stopping"  # every worker was told to stop
    STOPPED = "stopped"


class WorkerState(Enum):
    """What the master knows of a worker. From each of these it may also exit, and is forgotten then."""

    BOOTING = "booting"  # forked, and not heard of since
    READY = "ready"  # serves, and is watched for hangs
    RETIRING = "retiring"  # told to stop; killed at its deadline
    ABORTING = "aborting"  # hung, told to write down its stacks and die; killed at its deadline
    KILLED = "killed"  # sent KILL; given up at its deadline


_M, _W = MasterState, WorkerState

MASTER_MOVES: Final = {
    _M.STARTING: {_M.RUNNING, _M.STOPPING},
    _M.RUNNING: {_M.RELOADING, _M.STOPPING},
    _M.RELOADING: {_M.RUNNING, _M.RELOADING, _M.STOPPING},
    _M.STOPPING: {_M.STOPPED},
    _M.STOPPED: set[MasterState](),
}

WORKER_MOVES: Final = {
    _W.BOOTING: {_W.READY, _W.RETIRING, _W.KILLED},
    _W.READY: {_W.RETIRING, _W.ABORTING, _W.KILLED},
    _W.RETIRING: {_W.KILLED},
    _W.ABORTING: {_W.KILLED},
    _W.KILLED: set[WorkerState](),
}

YOUNG: Final = 10.0
"""A ready worker that dies within these seconds died young: several in a row are a crash loop."""

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 16.0
"""Seconds of back-off: none after the first death, FIRST_DELAY after the second, then doubled."""

QUICK_TIMEOUT: Final = 2.0
"""Seconds that INT and QUIT leave a worker to finish the request it is in."""

RELOAD_PATIENCE: Final = 5.0
"""Seconds that a reload waits for a replaced worker to end before it replaces the next: idle ones are gone at
once, and one in a long request does not hold up the reload."""

KILL_PATIENCE: Final = 5.0
"""Seconds after which a worker that KILL did not end (it hangs in the kernel) is given up."""

LATE: Final = 1.0
"""A tick later than this by its own plan: the master was itself stopped, and cannot judge its workers."""


# --- state -----------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    age: int
    slot: int
    state: WorkerState = WorkerState.BOOTING
    pid: int = 0  # 0 between Fork and `forked`
    stale: bool = False  # to be replaced
    ready_at: float = 0.0
    beat: float = 0.0  # last sign of life
    told_at: float = 0.0  # when it was told to stop
    deadline: float = 0.0  # of its state, in RETIRING, ABORTING and KILLED
    reason: str = ""  # why a signal was sent to it, for the log
    failure: int = 0  # the exit code it asked for by saying that it cannot boot

    @property
    def serving(self) -> bool:
        return self.state in (WorkerState.BOOTING, WorkerState.READY)

    def become(self, state: WorkerState, deadline: float = 0.0, reason: str = "") -> None:
        assert state in WORKER_MOVES[self.state], (self, state)  # noqa: S101 - the table above holds
        self.state, self.deadline = state, deadline
        self.reason = reason or self.reason


class _Backoff:
    """Delay that grows with failures in a row, and falls to nothing when one is followed by quiet."""

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0

    def failed(self, now: float) -> float:
        """Count a failure and return the seconds to wait."""
        if now > self.until + YOUNG:
            self.failures = 0
        self.failures += 1
        # The exponent is bounded, for a worker that has been failing for weeks.
        delay = 0.0 if self.failures == 1 else FIRST_DELAY * 2 ** min(self.failures - 2, 10)
        self.until = now + min(delay, LONGEST_DELAY)
        return self.until - now

    def reset(self) -> None:
        self.failures, self.until = 0, 0.0


class Supervisor:
    """The machine. Each event method returns the actions that follow from the event, at time `now`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = MasterState.STARTING
        self.wanted = min(policy.workers, policy.slots - 1)
        self._workers: dict[int, _Worker] = {}  # by age, so in the order of forking
        self._ages = 0
        self._code = EXIT_OK
        self._quick = False
        self._reload_asked = False  # a HUP that came before any worker was ready
        self._before = (policy, self.wanted)  # what a failed reload goes back to
        self._boots, self._crashes = _Backoff(), _Backoff()
        self._fork_at: float | None = None  # when a fork that is due, and held back, may come
        self._due: float | None = None  # when the next tick is planned

    @property
    def pids(self) -> list[int]:
        """Processes not yet known to have ended."""
        return [worker.pid for worker in self._workers.values() if worker.pid]

    @property
    def revisions(self) -> set[int]:
        """Configurations that are in force or may be gone back to."""
        return {self.policy.revision, self._before[0].revision}

    def state_of(self, pid: int) -> WorkerState | None:
        """Return the state of a worker, or None if there is no such worker."""
        worker = self._find(pid)
        return worker.state if worker else None

    # --- events ------------------------------------------------------------------------------------------

    def started(self, now: float) -> list[Action]:
        """Begin: the sockets are bound, nothing is forked."""
        return self._balance(now)

    def forked(self, age: int, pid: int, now: float) -> list[Action]:
        """Take note that worker `age` is process `pid`."""
        worker = self._workers[age]
        worker.pid, worker.beat = pid, now
        return [Log("info", f"Booting worker with pid: {pid}")]

    def fork_failed(self, age: int, why: str, now: float) -> list[Action]:
        """Take note that the system refused to fork worker `age`, and plan the next attempt."""
        del self._workers[age]
        # Even the first refusal is waited out: the system will not have changed its mind at once.
        delay = self._boots.failed(now) or self._boots.failed(now)
        text = f"Cannot fork a worker: {why}; next attempt in {delay:g} s"
        actions = [Log("error", text), *self._give_up_reload("a worker could not be forked")]
        return actions + self._balance(now)

    def worker_ready(self, pid: int, now: float) -> list[Action]:
        """Take note that a worker serves from now on."""
        worker = self._find(pid)
        # One that was told to stop while it booted may still say so.
        if worker is None or worker.state is not WorkerState.BOOTING:
            return []
        worker.become(WorkerState.READY)
        worker.ready_at = worker.beat = now
        self._boots.reset()
        actions: list[Action] = [Log("debug", f"Worker (pid:{pid}) is ready")]
        if self.state is MasterState.STARTING:
            self._move(MasterState.RUNNING)
            if self._reload_asked:
                actions += self.signal("HUP", now)
        return actions + self._balance(now)

    def boot_failed(self, pid: int, code: int, line: str, detail: str, now: float) -> list[Action]:
        """Take note of what a worker says before it exits because it cannot boot.

        `code` is the server's exit code, should this end it; `line` the reason; `detail` a traceback or "".
        """
        worker = self._find(pid)
        # While all is being stopped, the others would tell the same again.
        if worker is None or worker.state is not WorkerState.BOOTING:
            return []
        worker.failure = code
        actions: list[Action] = [Log("error", detail)] if detail else []
        actions.append(Log("error", line))
        if self.state is MasterState.STARTING:
            actions += self._halt(code, now)
        return actions

    def worker_exited(self, pid: int, code: int, signal: str, now: float) -> list[Action]:
        """Take note of the end of a worker: by `signal` ("KILL"), or with exit code `code` if that is "".

        A pid that is none of the workers is ignored.
        """
        worker = self._find(pid)
        if worker is None:
            return []
        del self._workers[worker.age]
        actions: list[Action] = [_obituary(worker, code, signal)]
        if self.state is MasterState.STOPPING:
            return actions + self._balance(now)
        delay = 0.0
        if worker.state is WorkerState.BOOTING:
            # A signal from outside is no failure of the application; a crash while it is imported is one.
            own_fault = code or signal in _CRASHES
            if own_fault and self.state is MasterState.STARTING:
                return actions + self._halt(worker.failure or EXIT_WORKER_BOOT, now)
            delay = self._boots.failed(now)
            actions += [] if worker.stale else self._give_up_reload("the new worker did not boot")
        elif worker.state is WorkerState.READY and (code or signal not in ("", "KILL")):
            # KILL is the administrator, or the system's want of memory: replaced at once.
            young = now - worker.ready_at < YOUNG
            delay = self._crashes.failed(now) if young else 0.0
        if delay:
            actions.append(Log("warning", f"Workers die young: the next one is forked in {delay:g} s"))
        return actions + self._balance(now)

    def signal(self, name: str, now: float) -> list[Action]:
        """Act on a signal to the master, by its name without SIG."""
        stopping = self.state in (MasterState.STOPPING, MasterState.STOPPED)
        actions: list[Action] = [Log("info", f"Handling signal: {name.lower()}")]
        if name == "TERM":
            return [] if stopping else actions + self._stop(EXIT_OK, now, quick=False)
        if name in ("INT", "QUIT"):
            return actions + self._stop(EXIT_OK, now, quick=True)
        if name == "USR1":
            told: list[Action] = [Signal(pid, "USR1") for pid in self.pids]
            return [*actions, ReopenLogs(), *told]
        if stopping:
            return []
        if name == "HUP":
            # Before anything serves there is nothing to replace; the wish is kept.
            self._reload_asked = self.state is MasterState.STARTING
            return actions if self._reload_asked else [*actions, Reload()]
        if name in ("TTIN", "TTOU"):
            # One slot stays free for the replacement in a reload.
            wanted = max(1, min(self.wanted + (1 if name == "TTIN" else -1), self.policy.slots - 1))
            if wanted != self.wanted:
                self.wanted = wanted
                actions.append(Log("info", f"Workers wanted: {wanted}"))
            return actions + self._balance(now)
        return [Log("warning", f"Signal {name.lower()} is not supported yet; nothing was done")]

    def reloaded(self, policy: Policy, now: float) -> list[Action]:
        """Replace every worker by one of the new configuration; also when a reload is under way."""
        if self.state not in (MasterState.RUNNING, MasterState.RELOADING):
            return []
        if any(worker.state is WorkerState.READY and not worker.stale for worker in self._workers.values()):
            # Else a reload is cut short before it got anywhere: what serves is still what served before it.
            self._before = (self.policy, self.wanted)
        self.policy, self.wanted = policy, min(policy.workers, policy.slots - 1)
        self._boots.reset()
        actions: list[Action] = []
        for worker in self._workers.values():
            # A replacement now overtaken is dropped; others that boot are needed, should this reload fail.
            overtaken = self.state is MasterState.RELOADING and not worker.stale
            if overtaken and worker.state is WorkerState.BOOTING:
                actions += self._retire(worker, now)
            worker.stale = True
        self._move(MasterState.RELOADING)
        return actions + self._balance(now)

    def reload_refused(self, why: str, now: float) -> list[Action]:
        """Keep everything as it is: the new configuration could not be read."""
        text = f"Reload refused, the workers in service stay: {why}"
        return [Log("error", text), *self._balance(now)]

    def tick(self, now: float, beats: Mapping[int, float]) -> list[Action]:
        """Act on the passing of time; `beats` tells, by pid, when each worker last gave a sign of life."""
        late = self._due is not None and now > self._due + LATE
        actions: list[Action] = []
        for worker in list(self._workers.values()):
            if worker.state is WorkerState.READY:
                worker.beat = max(worker.beat, beats.get(worker.pid, 0.0))
                if late:
                    worker.beat = max(worker.beat, now + LATE - self.policy.timeout)
            if now > self._deadline_of(worker):
                actions += self._abort(worker, now) if worker.serving else self._kill(worker, now)
        return actions + self._balance(now)

    def next_tick(self, now: float) -> float | None:
        """Return in how many seconds the next tick has something to do; None: not before another event."""
        due = min((self._deadline_of(worker) for worker in self._workers.values()), default=inf)
        if self._fork_at is not None:
            due = min(due, self._fork_at)
        self._due = due if due < inf else None
        # A hair later than planned, so that the tick does not find its moment still to come.
        return None if self._due is None else max(self._due - now, 0.0) + 0.001

    # --- decisions ---------------------------------------------------------------------------------------

    def _find(self, pid: int) -> _Worker | None:
        return next((worker for worker in self._workers.values() if worker.pid == pid), None)

    def _deadline_of(self, worker: _Worker) -> float:
        """Return when the next tick finds something to do about a worker."""
        if worker.state is WorkerState.READY and self.policy.timeout:
            return worker.beat + self.policy.timeout
        if worker.serving:
            return inf
        # One that even KILL did not end holds its slot, and is given up only if the master wants to leave.
        immortal = worker.state is WorkerState.KILLED and self.state is not MasterState.STOPPING
        return inf if immortal else worker.deadline

    def _move(self, state: MasterState) -> None:
        assert state in MASTER_MOVES[self.state], (self.state, state)  # noqa: S101 - the table above holds
        self.state = state

    def _balance(self, now: float) -> list[Action]:
        """Return what brings the workers to the number, and in a reload to the configuration, wanted."""
        self._fork_at = None
        if self.state is MasterState.STOPPING and not self._workers:
            self._move(MasterState.STOPPED)
            return [Log("info", "Shutting down"), Exit(self._code)]
        if self.state in (MasterState.STOPPING, MasterState.STOPPED):
            return []
        if self.state is MasterState.RELOADING:
            return self._replace(now)
        serving = [worker for worker in self._workers.values() if worker.serving]
        missing = self.wanted - len(serving)
        actions: list[Action] = []
        # Whoever serves nobody yet is dropped first, then the oldest.
        serving.sort(key=lambda worker: (worker.state is WorkerState.READY, worker.age))
        for worker in serving[: max(-missing, 0)]:
            actions += self._retire(worker, now)
        if missing <= 0 or not self._may_fork(now):
            return actions
        if self._boots.failures:
            # Boots fail: one is tried at a time, and the others follow when it got through.
            missing = min(missing, 0 if any(w.state is WorkerState.BOOTING for w in serving) else 1)
        for _ in range(missing):
            actions += self._fork()
        return actions

    def _replace(self, now: float) -> list[Action]:
        """Return the next step of a reload."""
        serving = [worker for worker in self._workers.values() if worker.serving]
        ready = [worker for worker in serving if worker.state is WorkerState.READY]
        fresh = [worker for worker in serving if not worker.stale]
        # Stale workers go first, the oldest of them before the others, and only as far as others serve.
        leaving = sorted(ready, key=lambda worker: (not worker.stale, worker.age))
        leaving = leaving[: max(len(ready) - self.wanted, 0)]
        # Then those that boot what nobody wants any more, as far as they are too many.
        spare = [worker for worker in serving if worker.stale and worker.state is WorkerState.BOOTING]
        total = len(ready) - len(leaving) + len(spare)
        leaving += spare if len(fresh) >= self.wanted else spare[: max(total - self.wanted, 0)]
        actions: list[Action] = []
        for worker in leaving:
            actions += self._retire(worker, now)
        booting = any(worker.state is WorkerState.BOOTING for worker in fresh)
        if len(fresh) < self.wanted:
            # The worker replaced last is given time to end, unless capacity is missing.
            told = [w.told_at for w in self._workers.values() if w.state is WorkerState.RETIRING]
            patience = max(told) + RELOAD_PATIENCE if told and len(ready) >= self.wanted else now
            if not booting and self._may_fork(now, patience):
                actions += self._fork()
            return actions
        if booting or any(worker.serving and worker.stale for worker in serving):
            return actions
        self._move(MasterState.RUNNING)
        return [*actions, Log("info", f"Reload complete, {self.wanted} workers serve")]

    def _may_fork(self, now: float, patience: float = 0.0) -> bool:
        """Return whether a fork that is due may come now; if not, a tick is planned for when it may."""
        moment = max(self._boots.until, self._crashes.until, patience)
        self._fork_at = moment if now < moment else None
        return self._fork_at is None

    def _fork(self) -> list[Action]:
        taken = {worker.slot for worker in self._workers.values()}
        slot = next((slot for slot in range(self.policy.slots) if slot not in taken), None)
        if slot is None:
            # Only with hundreds of workers that do not end; the next exit frees one.
            return []
        self._ages += 1
        self._workers[self._ages] = _Worker(self._ages, slot)
        return [Fork(self._ages, slot)]

    def _retire(self, worker: _Worker, now: float) -> list[Action]:
        worker.become(WorkerState.RETIRING, now + self.policy.graceful_timeout, "the graceful timeout passed")
        worker.told_at = now
        return [Signal(worker.pid, "TERM")]

    def _abort(self, worker: _Worker, now: float) -> list[Action]:
        reason = f"no sign of life for {now - worker.beat:.0f} s"
        worker.become(WorkerState.ABORTING, now + self.policy.abort_grace, reason)
        text = f"WORKER TIMEOUT (pid:{worker.pid}): {reason}; its stacks follow"
        return [Log("critical", text), Signal(worker.pid, "ABRT")]

    def _kill(self, worker: _Worker, now: float) -> list[Action]:
        if worker.state is WorkerState.KILLED:
            del self._workers[worker.age]
            return [Log("error", f"Worker (pid:{worker.pid}) does not end even by SIGKILL; given up")]
        worker.become(WorkerState.KILLED, now + KILL_PATIENCE)
        return [Signal(worker.pid, "KILL")]

    def _give_up_reload(self, why: str) -> list[Action]:
        """End a reload whose replacement failed; what serves stays."""
        if self.state is not MasterState.RELOADING:
            return []
        serving = [worker for worker in self._workers.values() if worker.serving]
        replaced = sum(1 for worker in serving if not worker.stale)
        for worker in serving:
            worker.stale = False
        self._move(MasterState.RUNNING)
        if replaced:
            # Some already run what is new; the configuration cannot be both.
            text = f"Reload ended: {why}; {replaced} workers were replaced, {len(serving) - replaced} stay"
            return [Log("error", text)]
        self.policy, self.wanted = self._before
        text = f"Reload failed: {why}; the {len(serving)} workers in service and their configuration stay"
        return [Log("error", text), Rollback(self.policy.revision)]

    def _halt(self, code: int, now: float) -> list[Action]:
        """End the server because it cannot begin."""
        log = Log("error", "The server cannot start: no worker could boot")
        return [log, *self._stop(code, now, quick=True)]

    def _stop(self, code: int, now: float, *, quick: bool) -> list[Action]:
        """Tell every worker to stop; asked to be quick a second time, kill what is left."""
        if self.state is MasterState.STOPPED:
            return []
        impatient = self._quick
        if self.state is not MasterState.STOPPING:
            self._move(MasterState.STOPPING)
            self._code = code
        self._quick = quick
        deadline = now + (QUICK_TIMEOUT if quick else self.policy.graceful_timeout)
        reason = "it did not stop quickly" if quick else "the graceful timeout passed"
        actions: list[Action] = []
        for worker in list(self._workers.values()):
            if impatient and worker.state is not WorkerState.KILLED:
                actions += self._kill(worker, now)
            elif worker.state in (WorkerState.KILLED, WorkerState.ABORTING):
                # Its end is near already.
                continue
            elif worker.state is WorkerState.RETIRING:
                # Told already; only the hurry is new.
                worker.deadline, worker.reason = min(worker.deadline, deadline), reason
                actions += [Signal(worker.pid, "QUIT")] if quick else []
            else:
                worker.become(WorkerState.RETIRING, deadline, reason)
                worker.told_at = now
                actions.append(Signal(worker.pid, "QUIT" if quick else "TERM"))
        return actions + self._balance(now)


_CRASHES: Final = frozenset({"SEGV", "ABRT", "BUS", "FPE", "ILL", "SYS", "TRAP"})
"""Signals by which a process ends itself."""


def _obituary(worker: _Worker, code: int, signal: str) -> Log:
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
    if signal in _CRASHES:
        return Log("error", f"{who} crashed with SIG{signal}")
    return Log("warning", f"{who} was ended by SIG{signal} from outside")
