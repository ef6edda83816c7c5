"""A world of pretended processes and a pretended clock, that the master's policy is driven in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastwsgi.errors import EXIT_APP_LOAD
from fastwsgi.master.actions import (
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
from fastwsgi.master.phases import MasterState
from fastwsgi.master.roster import WorkerState
from fastwsgi.master.supervision import Supervisor

if TYPE_CHECKING:
    from fastwsgi.master.actions import Action

BOOTING, READY, RETIRING, ABORTING, KILLED = WorkerState


class World:
    """What the master would be: carries out actions on pids that count up from 101."""

    def __init__(self, workers: int = 2, **policy: float) -> None:
        self.now = 1000.0
        self.machine = Supervisor(Policy(workers=workers, **policy))  # type: ignore[arg-type]
        self.next_pid = 101
        self.slots: dict[int, int] = {}  # of living processes
        self.beats: dict[int, float] = {}
        self.sent: list[tuple[int, str]] = []
        self.log: list[str] = []
        self.levels: list[str] = []
        self.exit_code: int | None = None
        self.reloads = 0
        self.renewals = 0
        self.rollbacks: list[int] = []
        self.reopened = 0
        self.upgrades = 0
        self.numbers: list[tuple[int | None, ...]] = []  # of workers wanted: new, old
        self.explained: list[int] = []
        self.memory: dict[int, int] = {}
        self.share = 0.0
        self.fork_error = ""

    def do(self, actions: list[Action]) -> None:
        waiting = list(actions)
        while waiting:
            action = waiting.pop(0)
            assert self.exit_code is None, action
            if isinstance(action, Fork):
                if self.fork_error:
                    waiting += self.machine.fork_failed(action.age, self.fork_error, self.now)
                    continue
                assert action.slot not in self.slots.values()
                pid, self.next_pid = self.next_pid, self.next_pid + 1
                self.slots[pid] = action.slot
                waiting += self.machine.forked(action.age, pid, self.now, self.share)
            elif isinstance(action, Signal):
                assert action.pid in self.slots
                assert action.name != "ABRT" or self.explained[-1] == action.pid
                self.sent.append((action.pid, action.name))
            elif isinstance(action, Log):
                self.log.append(action.text)
                self.levels.append(action.level)
            elif isinstance(action, Reload):
                self.reloads += 1
            elif isinstance(action, Renew):
                assert action.workers == self.machine.wanted > 0
                self.renewals += 1
            elif isinstance(action, Rollback):
                self.rollbacks.append(action.revision)
            elif isinstance(action, ReopenLogs):
                self.reopened += 1
            elif isinstance(action, Upgrade):
                self.upgrades += 1
            elif isinstance(action, Explain):
                self.explained.append(action.pid)
            elif isinstance(action, Call):
                if action.name == "nworkers_changed":
                    self.numbers.append(action.arguments)
                else:
                    assert action == Call("on_reload", ())
            elif isinstance(action, Weigh):
                sizes = {pid: self.memory.get(pid, 0) for pid in action.pids}
                waiting += self.machine.weighed(sizes, self.now)
            else:
                assert isinstance(action, Exit)
                self.exit_code = action.code

    def start(self) -> World:
        self.do(self.machine.started(self.now))
        return self

    def serve(self) -> World:
        """Start, and let every worker get ready."""
        self.start()
        return self.ready(*self.pids(BOOTING))

    def ready(self, *pids: int) -> World:
        for pid in pids:
            self.beats[pid] = self.now
            self.do(self.machine.worker_ready(pid, self.now))
        return self

    def ends(self, pid: int, code: int = 0, signal: str = "") -> World:
        del self.slots[pid]
        self.beats.pop(pid, None)
        self.do(self.machine.worker_exited(pid, code, signal, self.now))
        return self

    def fails(
        self, pid: int, code: int = EXIT_APP_LOAD, line: str = "no module 'x'", detail: str = ""
    ) -> World:
        self.do(self.machine.boot_failed(pid, code, line, detail, self.now))
        return self

    def worn(self, pid: int, why: str = "it has served 100 requests") -> World:
        self.do(self.machine.worn(pid, why, self.now))
        return self

    def signal(self, name: str) -> World:
        self.do(self.machine.signal(name, self.now))
        return self

    def hup(self, **policy: float) -> World:
        """Send HUP and answer the re-read configuration."""
        reloads = self.reloads
        self.signal("HUP")
        assert self.reloads == reloads + 1
        values = {"workers": self.machine.wanted, "revision": self.reloads, **policy}
        fresh = replace(self.machine.policy, **values)  # type: ignore[arg-type]
        self.do(self.machine.reloaded(fresh, self.now))
        return self

    def renew(self) -> World:
        """Tell of new certificates, and answer that they were loaded, if they were."""
        renewals = self.renewals
        self.do(self.machine.certificates_changed(self.now))
        if self.renewals > renewals:
            fresh = replace(self.machine.policy, workers=self.machine.wanted, revision=1000 + self.renewals)
            self.do(self.machine.reloaded(fresh, self.now))
        return self

    def wait(self, seconds: float, *, alive: bool = True) -> World:
        """Let time pass, ticking when the machine asks to; workers give signs of life if `alive`."""
        end = self.now + seconds
        while self.exit_code is None:
            delay = self.machine.next_tick(self.now)
            assert delay is None or delay > 0
            if delay is None or self.now + delay > end:
                break
            self.now += delay
            self.tick(alive=alive)
        self.now = max(self.now, end)
        return self

    def tick(self, *, alive: bool = True) -> World:
        if alive:
            self.beats = dict.fromkeys(self.pids(READY), self.now)
        self.do(self.machine.tick(self.now, self.beats))
        return self

    def state(self) -> MasterState:
        """Return what the master is about; a call, so that nobody takes it to stay so."""
        return self.machine.state

    def settle(self) -> World:
        """Let all that boots get ready, and all that was told to stop end, until a reload is through."""
        while self.machine.state is MasterState.RELOADING:
            self.ready(*self.pids(BOOTING))
            for pid in self.pids(RETIRING):
                self.ends(pid)
            self.wait(1)
        return self

    def pids(self, *states: WorkerState) -> list[int]:
        return [pid for pid in self.slots if self.machine.state_of(pid) in (states or tuple(WorkerState))]

    def take(self) -> list[tuple[int, str]]:
        sent, self.sent = self.sent, []
        return sent
