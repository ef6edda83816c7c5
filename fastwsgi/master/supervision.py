"""The master's policy as a machine: events in, actions out.

Owns which worker is forked, told to stop or killed, when, and what the log says about it. Knows no process,
descriptor or clock: pids, signal names and monotonic seconds are arguments, and master.py carries out the
actions, in order. Invariants, whatever the order of events:

- at most one worker more than `wanted` serves, to replace another; until a new configuration has proved
  itself by a worker that is ready, nobody leaves for it, however few it wants;
- a serving worker is replaced only after its replacement said that it is ready;
- every worker that was told to stop has a deadline, after which it is killed;
- `Exit` comes once, when no worker is left.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from ..errors import EXIT_OK, EXIT_WORKER_BOOT
from .actions import (
    Action,
    Call,
    Exit,
    Explain,
    Fork,
    Log,
    Policy,
    Reload,
    Renew,
    ReopenLogs,
    Rollback,
    Signal,
    Upgrade,
    Weigh,
)
from .backoff import Backoff, slow_down
from .phases import HEARD, MASTER_MOVES, MasterState
from .roster import CRASHES, Roster, Worker, WorkerState, obituary
from .succession import forks_due, not_before, surplus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Supervisor"]

YOUNG: Final = 10.0
"""A ready worker that dies within these seconds died young: several in a row are a crash loop."""

QUICK_TIMEOUT: Final = 2.0
"""Seconds that INT and QUIT leave a worker to finish the request it is in."""

KILL_PATIENCE: Final = 5.0
"""Seconds after which a worker that KILL did not end (it hangs in the kernel) is given up."""

LATE: Final = 1.0
"""A tick later than this by its own plan: the master was itself stopped, and cannot judge its workers."""

WEIGHED_EVERY: Final = 1.0
"""Seconds between looks at the workers' memory, if that is limited."""


class Supervisor:
    """The machine. Each event method returns the actions that follow from the event, at time `now`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = MasterState.STARTING
        self.wanted = policy.most_workers
        self._roster = Roster()
        self._code = EXIT_OK
        self._quick = False
        self._reload_asked = False  # a HUP that came before any worker was ready
        self._is_held = False  # nothing boots, and nothing is tried before the next HUP
        self._put_by = 0  # how many workers WINCH has stopped
        self._has_successor = False
        self._before: tuple[Policy, int] | None = None  # what a reload goes back to if it fails
        self._boots, self._crashes = Backoff(YOUNG), Backoff(YOUNG)
        self._fork_at: float | None = None  # when a fork that is due, and held back, may come
        self._drained_at = inf  # when the master stops serving on
        self._weigh_at = 0.0
        self._due: float | None = None  # when the next tick is planned
        self._answers: dict[str, Callable[[float], list[Action]]] = {
            "TERM": self._on_term,
            "INT": self._on_quit,
            "QUIT": self._on_quit,
            "HUP": self._on_hup,
            "USR1": self._on_usr1,
            "USR2": self._on_usr2,
            "WINCH": self._on_winch,
            "TTIN": lambda now: self._want(self.wanted + 1) + self._balance(now),
            "TTOU": lambda now: self._want(min(self.wanted, max(self.wanted - 1, 1))) + self._balance(now),
        }

    @property
    def pids(self) -> list[int]:
        """Processes not yet known to have ended."""
        return [worker.pid for worker in self._roster if worker.pid]

    @property
    def ready(self) -> int:
        """How many workers serve."""
        return len(self._roster.serving(WorkerState.READY))

    @property
    def revisions(self) -> set[int]:
        """Configurations in force, that may be gone back to, or with workers that were not told to stop."""
        needed = {worker.revision for worker in self._roster.serving()} | {self.policy.revision}
        return needed | {self._before[0].revision} if self._before else needed

    def state_of(self, pid: int) -> WorkerState | None:
        """Return the state of a worker, or None if there is no such worker."""
        worker = self._roster.find(pid)
        return worker.state if worker else None

    # --- events ------------------------------------------------------------------------------------------

    def started(self, now: float) -> list[Action]:
        """Begin: the sockets are bound, nothing is forked."""
        return self._balance(now)

    def forked(self, age: int, pid: int, now: float, share: float = 0.0) -> list[Action]:
        """Take note that worker `age` is process `pid`; `share` is its part of the jitter, from 0 to 1."""
        worker = self._roster[age]
        worker.pid, worker.beat, worker.share = pid, now, share
        return [Log("info", f"Booting worker with pid: {pid}")]

    def fork_failed(self, age: int, why: str, now: float) -> list[Action]:
        """Take note that the system refused to fork worker `age`, and plan the next attempt."""
        self._roster.remove(self._roster[age])
        # Even the first refusal is waited out: the system will not have changed its mind at once.
        delay = self._boots.failed(now) or self._boots.failed(now)
        text = f"Cannot fork a worker: {why}; next attempt in {delay:g} s"
        return [
            Log("error", text),
            *self._give_up_reload("a worker could not be forked"),
            *self._balance(now),
        ]

    def worker_ready(self, pid: int, now: float) -> list[Action]:
        """Take note that a worker serves from now on."""
        worker = self._roster.find(pid)
        # One that was told to stop while it booted may still say so.
        if worker is None or worker.state is not WorkerState.BOOTING:
            return []
        worker.become(WorkerState.READY)
        worker.ready_at = worker.beat = now
        self._boots.reset()
        if worker.revision == self.policy.revision:
            self._before = None  # it has proved itself
        actions: list[Action] = [Log("debug", f"Worker (pid:{pid}) is ready")]
        if self.state is MasterState.STARTING:
            self._move(MasterState.RUNNING)
            self._is_held = False
            if self._reload_asked:
                actions += self.signal("HUP", now)
        return actions + self._balance(now)

    def boot_failed(self, pid: int, code: int, line: str, detail: str, now: float) -> list[Action]:
        """Take note of what a worker says before it exits because it cannot boot.

        `code` is the server's exit code, should this end it; `line` the reason; `detail` a traceback or "".
        """
        worker = self._roster.find(pid)
        # While all is being stopped, the others would tell the same again.
        if worker is None or worker.state is not WorkerState.BOOTING:
            return []
        worker.failure = code
        actions: list[Action] = [Log("error", detail)] if detail else []
        actions.append(Log("error", line))
        if self.state is MasterState.STARTING:
            actions += self._halt(code, now)
        return actions

    def worn(self, pid: int, why: str, now: float) -> list[Action]:
        """Replace a worker that has served for long enough: it serves on until its successor is ready."""
        worker = self._roster.find(pid)
        if worker is None:
            return []
        return self._wear(worker, why) + self._balance(now)

    def weighed(self, sizes: Mapping[int, int], now: float) -> list[Action]:
        """Take note of how many bytes of memory of their own workers have."""
        actions: list[Action] = []
        for pid, size in sizes.items():
            worker = self._roster.find(pid)
            if worker is not None and size > self.policy.max_memory > 0:
                actions += self._wear(worker, f"it has grown to {size / 1048576:.0f} MiB")
        return actions + self._balance(now)

    def worker_exited(self, pid: int, code: int, signal: str, now: float) -> list[Action]:
        """Take note of the end of a worker: by `signal` ("KILL"), or with exit code `code` if that is "".

        A pid that is none of the workers is ignored.
        """
        worker = self._roster.find(pid)
        if worker is None:
            return []
        self._roster.remove(worker)
        actions: list[Action] = [obituary(worker, code, signal)]
        if self.state is MasterState.STOPPING:
            return actions + self._balance(now)
        if worker.state is WorkerState.BOOTING:
            # A signal from outside is no failure of the application; a crash while it is imported is one.
            own_fault = code or signal in CRASHES
            actions += self._boot_ended(worker, now, worker.failure or (EXIT_WORKER_BOOT if own_fault else 0))
        elif worker.state is WorkerState.READY and signal != "KILL":
            # KILL is the administrator, or the system's want of memory: replaced at once.
            young = now - worker.ready_at < YOUNG
            actions += slow_down(self._crashes.failed(now)) if young else []
        return actions + self._balance(now)

    def signal(self, name: str, now: float) -> list[Action]:
        """Act on a signal to the master, by its name without SIG."""
        if name not in HEARD[self.state]:
            return []
        return [Log("info", f"Handling signal: {name.lower()}"), *self._answers[name](now)]

    def reloaded(self, policy: Policy, now: float) -> list[Action]:
        """Replace every worker by one of the new configuration; also when a reload is under way."""
        if self.state is MasterState.STARTING:
            self._is_held = False
        elif self.state in (MasterState.RUNNING, MasterState.RELOADING):
            # A reload cut short before it got anywhere: what serves is still what served before it.
            self._before = self._before or (self.policy, self.wanted or self._put_by)
            self._move(MasterState.RELOADING)
        else:
            return []
        overtaken, self.policy = self.policy.revision, policy
        self._boots.reset()
        before = self.wanted
        actions = self._want(policy.most_workers)
        if self.wanted == before:
            # As gunicorn, at every reload: the hook may be one that was not there before.
            actions.append(Call("nworkers_changed", (self.wanted, before)))
        actions.append(Call("on_reload", ()))
        for worker in self._roster.serving(WorkerState.BOOTING):
            # A replacement now overtaken is dropped; others that boot are needed, should this reload fail.
            if self._before is None or worker.revision == overtaken != self._before[0].revision:
                actions += self._retire(worker, now)
        return actions + self._balance(now)

    def reload_refused(self, why: str, now: float) -> list[Action]:
        """Keep everything as it is: the new configuration could not be read."""
        text = f"Reload refused, the workers in service stay: {why}"
        return [Log("error", text), *self._balance(now)]

    def certificates_changed(self, now: float) -> list[Action]:
        """Replace workers by others with new certificates; if that has to wait, be told again."""
        del now
        if self.state is not MasterState.RUNNING or not self.wanted:
            return []
        return [Log("info", "Certificates have changed"), Renew(self.wanted)]

    def upgrade_failed(self, why: str, now: float) -> list[Action]:
        """Take note that a new master did not start, or has ended otherwise than in order."""
        text = f"Upgrade failed, this master serves on: {why}"
        return [Log("error", text), *self.upgrade_ended(now)]

    def upgrade_ended(self, now: float) -> list[Action]:
        """Take note that the new master has ended: this one is the only one again."""
        self._has_successor = False
        # Workers stopped for the new one's sake; without them, nobody serves.
        is_needed = self._put_by and "TTIN" in HEARD[self.state]
        return (self._want(self._put_by) if is_needed else []) + self._balance(now)

    def tick(self, now: float, beats: Mapping[int, float]) -> list[Action]:
        """Act on the passing of time; `beats` tells, by pid, when each worker last gave a sign of life."""
        late = self._due is not None and now > self._due + LATE
        if now > self._drained_at:
            return self._stop(EXIT_OK, now, quick=False)
        actions: list[Action] = []
        for worker in self._roster:
            if worker.state is WorkerState.READY:
                worker.beat = max(worker.beat, beats.get(worker.pid, 0.0))
            if late and worker.serving:
                worker.beat = max(worker.beat, now + LATE - worker.patience(self.policy))
            if now > self._deadline_of(worker):
                actions += self._abort(worker, now) if worker.serving else self._kill(worker, now)
            elif now > worker.end_of_life(self.policy):
                actions += self._wear(worker, f"it is {round(now - worker.ready_at, 1):g} s old")
        if now > self._next_weighing():
            self._weigh_at = now + WEIGHED_EVERY
            actions.append(Weigh(tuple(worker.pid for worker in self._roster.serving(WorkerState.READY))))
        return actions + self._balance(now)

    def next_tick(self, now: float) -> float | None:
        """Return in how many seconds the next tick has something to do; None: not before another event."""
        moments = [self._drained_at, self._next_weighing()]
        for worker in self._roster:
            moments += [self._deadline_of(worker), worker.end_of_life(self.policy)]
        if self._fork_at is not None:
            moments.append(self._fork_at)
        due = min(moments)
        self._due = due if due < inf else None
        # A hair later than planned, so that the tick does not find its moment still to come.
        return None if self._due is None else max(self._due - now, 0.0) + 0.001

    # --- signals -----------------------------------------------------------------------------------------

    def _on_term(self, now: float) -> list[Action]:
        # Told twice, somebody knows better; with a successor on the same sockets, nobody has to notice.
        may_wait = self.state in (MasterState.RUNNING, MasterState.RELOADING) and not self._has_successor
        if not (may_wait and self.policy.drain_delay and self.wanted):
            return self._stop(EXIT_OK, now, quick=False)
        self._move(MasterState.DRAINING)
        self._drained_at = now + self.policy.drain_delay
        return [Log("info", f"Serving on for {self.policy.drain_delay:g} s"), *self._balance(now)]

    def _on_quit(self, now: float) -> list[Action]:
        return self._stop(EXIT_OK, now, quick=True)

    def _on_hup(self, now: float) -> list[Action]:
        del now
        # Before anything serves there is nothing to replace; the wish is kept.
        self._reload_asked = self.state is MasterState.STARTING and not self._is_held
        return [] if self._reload_asked else [Reload()]

    def _on_usr1(self, now: float) -> list[Action]:
        del now
        return [ReopenLogs(), *(Signal(pid, "USR1") for pid in self.pids)]

    def _on_usr2(self, now: float) -> list[Action]:
        del now
        if self._has_successor:
            return [Log("warning", "A new master was started already; nothing was done")]
        self._has_successor = True
        return [Upgrade()]

    def _on_winch(self, now: float) -> list[Action]:
        put_by = self.wanted or self._put_by
        if self.state is MasterState.STARTING:
            # From now on, nothing that fails to boot is what the server was started for.
            self._move(MasterState.RUNNING)
        self._before = None
        actions = self._want(0)
        self._put_by = put_by
        return actions + self._balance(now)

    # --- decisions ---------------------------------------------------------------------------------------

    def _move(self, state: MasterState) -> None:
        assert state in MASTER_MOVES[self.state], (self.state, state)  # noqa: S101 - the table above holds
        self.state = state

    def _want(self, count: int) -> list[Action]:
        """Have so many workers from now on."""
        # One slot stays free for a replacement.
        before, self.wanted = self.wanted, min(count, self.policy.slots - 1)
        self._put_by = 0
        if self.wanted == before:
            return []
        return [
            Log("info", f"Workers wanted: {self.wanted}"),
            Call("nworkers_changed", (self.wanted, before)),
        ]

    def _deadline_of(self, worker: Worker) -> float:
        """Return when a worker's time is up."""
        if worker.serving:
            return worker.beat + worker.patience(self.policy)
        # One that even KILL did not end holds its slot, and is given up only if the master wants to leave.
        immortal = worker.state is WorkerState.KILLED and self.state is not MasterState.STOPPING
        return inf if immortal else worker.deadline

    def _next_weighing(self) -> float:
        is_due = self.policy.max_memory and self._roster.serving(WorkerState.READY)
        return self._weigh_at if is_due else inf

    def _balance(self, now: float) -> list[Action]:
        """Return what brings the workers to the number, and to the configuration, wanted."""
        self._fork_at = None
        if self.state is MasterState.STOPPING and not len(self._roster):
            self._move(MasterState.STOPPED)
            return [Log("info", "Shutting down"), Exit(self._code)]
        if self.state in (MasterState.STOPPING, MasterState.STOPPED):
            return []
        actions: list[Action] = []
        # Nobody leaves for a configuration that has not proved itself.
        wanted = self.wanted if self._before is None else max(self.wanted, self._before[1])
        for worker in surplus(self._roster, self.policy.revision, wanted):
            actions += self._retire(worker, now)
        for _ in range(self._forks_due(now)):
            actions += self._fork()
        serving = self._roster.serving()
        settled = all(w.state is WorkerState.READY and w.revision == self.policy.revision for w in serving)
        if self.state is MasterState.RELOADING and settled and len(serving) >= self.wanted:
            self._before = None
            self._move(MasterState.RUNNING)
            actions.append(Log("info", f"Reload complete, workers in service: {self.wanted}"))
        return actions

    def _forks_due(self, now: float) -> int:
        """Return how many workers are to be forked now; if they have to wait, a tick is planned for that."""
        # What may not boot is tried one at a time.
        cautious = self._before is not None or self._boots.failures > 0
        due = (
            0
            if self._is_held
            else forks_due(self._roster, self.policy.revision, self.wanted, cautious=cautious)
        )
        if self.state is MasterState.DRAINING:
            due = min(due, self.wanted - len(self._roster.serving()))
        moment = max(self._boots.until, self._crashes.until, not_before(self._roster, self.wanted))
        if due > 0 and now < moment:
            self._fork_at = moment
            return 0
        return 0 if self._is_held else due

    def _fork(self) -> list[Action]:
        worker = self._roster.enter(self.policy.slots, self.policy.revision)
        # Without a slot there are hundreds of workers that do not end; the next exit frees one.
        return [Fork(worker.age, worker.slot)] if worker else []

    def _wear(self, worker: Worker, why: str) -> list[Action]:
        if worker.worn or worker.state is not WorkerState.READY:
            return []
        worker.worn = True
        return [Log("info", f"Worker (pid:{worker.pid}) is to be replaced: {why}")]

    def _retire(self, worker: Worker, now: float) -> list[Action]:
        worker.become(WorkerState.RETIRING, now + self.policy.graceful_timeout, "the graceful timeout passed")
        worker.told_at = now
        return [Signal(worker.pid, "TERM")]

    def _abort(self, worker: Worker, now: float) -> list[Action]:
        silence = f"{round(now - worker.beat, 1):g} s"
        is_boot = worker.state is WorkerState.BOOTING
        reason = f"not ready after {silence}" if is_boot else f"no sign of life for {silence}"
        title = "WORKER BOOT TIMEOUT" if is_boot else "WORKER TIMEOUT"
        worker.become(WorkerState.ABORTING, now + self.policy.abort_grace, reason)
        text = f"{title} (pid:{worker.pid}): {reason}; its stacks follow"
        after = self._boot_ended(worker, now, EXIT_WORKER_BOOT) if is_boot else []
        # ABRT last: what the master says meanwhile would tear the stacks' lines, which come in pieces.
        return [Log("critical", text), Explain(worker.pid), *after, Signal(worker.pid, "ABRT")]

    def _kill(self, worker: Worker, now: float) -> list[Action]:
        if worker.state is WorkerState.KILLED:
            self._roster.remove(worker)
            return [Log("error", f"Worker (pid:{worker.pid}) does not end even by SIGKILL; given up")]
        worker.become(WorkerState.KILLED, now + KILL_PATIENCE)
        return [Signal(worker.pid, "KILL")]

    def _boot_ended(self, worker: Worker, now: float, code: int) -> list[Action]:
        """Draw the conclusions from a boot in vain; `code` is what it means for the server, 0 for nothing."""
        if code and self.state is MasterState.STARTING:
            return self._halt(code, now)
        actions: list[Action] = [*slow_down(self._boots.failed(now))]
        if worker.revision == self.policy.revision:
            actions += self._give_up_reload("the new worker did not boot")
        return actions

    def _give_up_reload(self, why: str) -> list[Action]:
        """Go back from a configuration that has not proved itself; what serves stays."""
        if self.state is not MasterState.RELOADING or self._before is None:
            return []
        (self.policy, wanted), self._before = self._before, None
        actions = self._want(wanted)
        serving = self._roster.serving()
        if all(worker.revision == self.policy.revision for worker in serving):
            self._move(MasterState.RUNNING)
        text = f"Reload failed: {why}; the workers in service ({len(serving)}) and their configuration stay"
        return [Log("error", text), Rollback(self.policy.revision), *actions]

    def _halt(self, code: int, now: float) -> list[Action]:
        """End the server because it cannot begin, or wait until somebody has mended what it serves."""
        if self._is_held:
            return []
        if self.policy.awaits_mending:
            self._is_held = True
            return [Log("error", "No worker could boot; the next change, or HUP, tries again")]
        log = Log("error", "The server cannot start: no worker could boot")
        return [log, *self._stop(code, now, quick=True)]

    def _stop(self, code: int, now: float, *, quick: bool) -> list[Action]:
        """Tell every worker to stop; asked to be quick a second time, kill what is left."""
        if self.state is MasterState.STOPPED:
            return []
        impatient = self._quick
        if self.state is not MasterState.STOPPING:
            self._move(MasterState.STOPPING)
            self._code, self._drained_at = code, inf
        self._quick = quick
        deadline = now + (QUICK_TIMEOUT if quick else self.policy.graceful_timeout)
        reason = "it did not stop quickly" if quick else "the graceful timeout passed"
        actions: list[Action] = []
        for worker in self._roster:
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
