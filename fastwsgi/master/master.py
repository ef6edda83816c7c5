"""The master process: binds, forks, watches; it never touches a request.

Owns the descriptors of supervision and carries out what supervision.py decides, without a policy of its own.
Must not know HTTP. Invariants: one thread, no handler that does anything; every action of the machine is
carried out, in order; when `run` returns, signals, title and files are as they were before.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .. import __version__, _impl, gil, parallel
from ..errors import EXIT_OK, ConfigError
from ..hooks.actors import Server
from ..hooks.calls import MasterHooks
from ..logs import error_log
from ..processes import fork, memory, stdio
from ..processes.environment import Variables
from ..processes.in_flight import InFlight
from ..processes.report import WORN
from ..processes.scoreboard import Scoreboard
from ..processes.signals import Signals
from ..processes.title import set_title
from ..processes.watcher import Watcher
from ..worker import Worker, load_app
from . import actions, supervision
from .figures import Figures
from .generation import Generation, close_others
from .hands import Hand, send
from .herald import Herald
from .phases import MasterState, without_repeats
from .upgrade import Upgrade

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed.wsgi import WSGIApplication

    from ..config.settings import Config
    from ..processes.daemon import Command
    from ..processes.fork import Ending
    from ..processes.launch import Launch
    from ..processes.report import Report
    from .actions import Action

    LoadConfig = Callable[[Callable[[str], object]], Config]

__all__ = ["Master"]

SLOTS: Final = 1024
"""Records on the scoreboard, so the most workers at a time; unused ones cost nothing."""

LAST_READS: Final = 16  # of what a worker that has ended has said
_SIGNALS: Final = ("CHLD", "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "TTIN", "TTOU")


class Master:
    """The master of a server.

    Args:
        load_config: reads the configuration anew, at HUP, and calls its argument with what it warns of;
            raises ConfigError.
        cfg: the configuration to start with.
        launch: how this process was started.
        command: the command that waits until a worker serves, if this is a daemon.
    """

    def __init__(
        self, load_config: LoadConfig, cfg: Config, launch: Launch, command: Command | None = None
    ) -> None:
        self._load_config = load_config
        self._cfg = cfg
        self._launch = launch
        self._command = command
        self._variables = Variables()
        self._watcher: Watcher | None = None
        self._other = Upgrade(launch)
        self._herald = Herald(launch, self._other)
        self._preloaded: WSGIApplication | None = None
        self._hands: dict[int, Hand] = {}  # by pid
        self._generations: dict[int, Generation] = {}  # by revision, those that somebody needs
        self._revisions = 0
        self._exit_code: int | None = None
        self._figures = Figures()
        self._log: logging.Logger
        self._generation: Generation  # in force
        self._hooks: MasterHooks
        self._machine: supervision.Supervisor
        self._selector: selectors.BaseSelector
        self._scoreboard: Scoreboard
        self._in_flight: InFlight
        self._signals: Signals
        self._acts: dict[type, Callable[[Any], Sequence[Action] | None]] = {
            actions.Log: self._write_log,
            actions.Fork: self._fork,
            actions.Signal: self._signal,
            actions.Explain: self._explain,
            actions.Call: self._call,
            actions.Weigh: self._weigh,
            actions.Reload: self._reload,
            actions.Renew: self._renew,
            actions.Rollback: self._roll_back,
            actions.Upgrade: self._upgrade,
            actions.ReopenLogs: lambda _: self._generation.reopen_logs(),
            actions.Exit: self._exit,
        }

    def run(self) -> int:
        """Serve until told to stop; return the exit code.

        Raises:
            ConfigError: an address or a file cannot be had; nothing was started.
            AppImportError: the application was to be preloaded and cannot be.
            RuntimeError: called in a thread, where no signal would arrive.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("fastwsgi handles signals, and must be run in the main thread")
        stdio.fill_standard_descriptors()
        with ExitStack() as stack:
            self._start(stack)
            try:
                code = self._watch()
                self._hooks.on_exit()
                return code
            except BaseException:
                self._log.exception("The master fails, and stops its workers")
                for pid in self._hands:
                    send(pid, "TERM")
                raise

    # --- beginning and end ---------------------------------------------------------------------------------

    def _start(self, stack: ExitStack) -> None:
        """Do, in order, what the first worker needs; what is to be undone at the end goes to `stack`."""
        self._variables.put(self._cfg.raw_env)
        stack.callback(self._variables.restore)
        self._log = error_log.setup(self._cfg)
        if self._command is not None:
            self._command.follow(error_log.ERROR_LOG)
        server = Server(self._cfg, self._log, master_pid=self._launch.predecessor)
        self._hooks = MasterHooks(self._cfg, self._log, server)
        self._hooks.on_starting()
        stack.callback(self._other.let_go)
        self._generation = self._generations[0] = Generation.first(self._cfg, self._launch)
        stack.callback(self._close_generations)
        self._say_who_starts()
        if self._cfg.preload_app:
            self._preload()
        self._scoreboard = Scoreboard(SLOTS, parallel.loops_at_most())
        stack.callback(self._scoreboard.close)
        self._in_flight = InFlight(SLOTS)
        stack.callback(self._in_flight.close)
        self._take_signals(stack)
        before = set_title(f"fastwsgi: master [{self._cfg.proc_name}]")
        if before:
            stack.callback(set_title, before)
        if self._cfg.reload:
            self._watcher = Watcher(self._cfg, self._log, self._leave_to_watcher)
            stack.callback(self._stop_watching)
        self._machine = supervision.Supervisor(self._generation.policy(SLOTS))
        # Said only now that every signal is answered: whoever waits for this line may send one.
        self._generation.announce(self._log)
        server.listen_on(self._generation.listeners)
        self._hooks.when_ready()

    def _say_who_starts(self) -> None:
        self._log.info("Starting fastwsgi %s (%s)", __version__, _impl.describe())
        if self._launch.warning:
            self._log.warning("%s", self._launch.warning)
        if gil.is_optional() and gil.has_gil() and self._cfg.threads > 1:
            self._log.warning("The GIL is on, threads take turns; PYTHON_GIL=0 would keep it off")

    def _preload(self) -> None:
        # An app is never loaded by root if it is to run as somebody else.
        self._generation.identity.take_on(self._cfg)
        self._preloaded = load_app(self._cfg, self._generation.application, self._log)
        # What is here now is for good: no collection in a worker touches it, so its pages stay shared.
        gc.collect()
        gc.freeze()

    def _take_signals(self, stack: ExitStack) -> None:
        self._selector = stack.enter_context(fork.Selector())
        self._signals = Signals(_SIGNALS)
        self._signals.install()
        stack.callback(self._signals.restore)
        self._selector.register(self._signals.fd, selectors.EVENT_READ, self._on_signals)
        if self._other.channel is not None:
            self._selector.register(self._other.channel, selectors.EVENT_READ, self._hear_other)

    def _close_generations(self) -> None:
        for generation in self._generations.values():
            generation.close()

    # --- events --------------------------------------------------------------------------------------------

    def _watch(self) -> int:
        machine = self._machine
        self._carry_out(machine.started(time.monotonic()))
        while self._exit_code is None:
            now = time.monotonic()
            self._herald.tell(machine, self._generation.cfg, now)
            keepers = (machine, self._herald, self._figures, self._generation.certificates)
            moments = [due for keeper in keepers if (due := keeper.next_tick(now)) is not None]
            ready = self._selector.select(min(moments, default=None))
            # Signals last: who is ready, and said so before, counts for what they ask.
            for key, _ in sorted(ready, key=lambda found: found[0].fd == self._signals.fd):
                key.data()
            beats = {hand.pid: hand.record.last_beat for hand in self._hands.values()}
            self._carry_out(machine.tick(time.monotonic(), beats))
            if self._generation.certificates.have_changed(time.monotonic()):
                self._carry_out(machine.certificates_changed(time.monotonic()))
            self._figures.tell(self._log, self._generation, len(self._hands), time.monotonic())
        self._herald.tell(machine, self._generation.cfg, time.monotonic())
        return self._exit_code

    def _on_signals(self) -> None:
        names = self._signals.take()
        if "CHLD" in names:
            self._reap()
        for name in without_repeats(names):
            self._carry_out(self._machine.signal(name, time.monotonic()))

    def _hear(self, hand: Hand) -> bool:
        """Act on what a worker reports; return whether more may be there."""
        reports = hand.hear()
        if reports is None:
            self._hang_up(hand)
            return False
        for report in reports:
            self._carry_out(self._on_report(hand.pid, report, time.monotonic()))
        return bool(reports)

    def _on_report(self, pid: int, report: Report, now: float) -> list[Action]:
        if report.code == EXIT_OK:
            if self._command is not None:
                self._command.let_go()
            return self._machine.worker_ready(pid, now)
        if report.code == WORN:
            return self._machine.worn(pid, report.line, now)
        return self._machine.boot_failed(pid, report.code, report.line, report.detail, now)

    def _hang_up(self, hand: Hand) -> None:
        if hand.channel.fileno() >= 0:
            self._selector.unregister(hand.channel)
            hand.channel.close()

    def _reap(self) -> None:
        watcher = [] if self._watcher is None else [self._watcher.pid]
        successor = [self._other.successor] if self._other.successor else []
        for ending in fork.reap([*self._hands, *watcher, *successor]):
            if ending.pid in watcher:
                self._watcher = None
                self._log.warning("The watcher has ended, changes are no longer seen")
                continue
            if ending.pid in successor:
                self._on_successor_ended(ending)
                continue
            hand = self._hands.pop(ending.pid, None)
            if hand is None:
                # An orphan that process 1 inherits.
                continue
            hand.record.clear(time.monotonic())  # nobody is to leave connections to it
            self._hooks.child_exit(hand.pid)
            # Its last words may still be on the way; those of a child that it has left may have no end.
            all(self._hear(hand) for _ in range(LAST_READS))
            self._hang_up(hand)
            now = time.monotonic()
            self._carry_out(self._machine.worker_exited(ending.pid, ending.code, ending.signal, now))

    # --- the other master ----------------------------------------------------------------------------------

    def _hear_other(self) -> None:
        reports = self._other.hear()
        for report in reports or ():
            if line := self._herald.on_report(report):
                self._log.info("%s", line)
        if reports is None:
            self._leave_other()
            if self._other.predecessor:
                self._take_over()

    def _leave_other(self) -> None:
        if self._other.channel is not None:
            self._selector.unregister(self._other.channel)
            self._other.hang_up()

    def _take_over(self) -> None:
        self._other.take_over()
        self._hooks.server.stand_beside()
        self._log.info("The old master is gone, this one takes its place")
        for generation in self._generations.values():
            if problem := generation.take_over():
                self._log.error("%s", problem)
        self._herald.on_other_gone()

    def _on_successor_ended(self, ending: Ending) -> None:
        how = self._other.ended(ending)
        self._hooks.server.stand_beside()
        self._leave_other()
        self._herald.on_other_gone()
        now = time.monotonic()
        if how:
            self._carry_out(self._machine.upgrade_failed(how, now))
        else:
            self._log.info("The new master (pid:%d) has ended, this one serves on", ending.pid)
            self._carry_out(self._machine.upgrade_ended(now))

    # --- actions -------------------------------------------------------------------------------------------

    def _carry_out(self, wanted: Iterable[Action]) -> None:
        waiting = deque(wanted)
        while waiting:
            action = waiting.popleft()
            waiting.extend(self._acts[type(action)](action) or ())
        self._forget_generations()

    def _write_log(self, action: actions.Log) -> None:
        getattr(self._log, action.level)("%s", action.text)

    def _exit(self, action: actions.Exit) -> None:
        self._exit_code = action.code

    def _explain(self, action: actions.Explain) -> None:
        """Log what a worker about to be aborted has in flight: it may be unable to tell."""
        shown = self._in_flight.show(self._hands[action.pid].record.slot, time.monotonic())
        self._log.error("Worker (pid:%d) has in flight: %s", action.pid, shown)

    def _call(self, action: actions.Call) -> None:
        """Call a hook."""
        getattr(self._hooks, action.name)(*action.arguments)

    def _signal(self, action: actions.Signal) -> None:
        if action.name == "ABRT":
            self._hooks.aborted(action.pid)
        send(action.pid, action.name)

    def _upgrade(self, _: actions.Upgrade) -> list[Action] | None:
        """Start a new master on our sockets."""
        if self._other.predecessor:
            why = f"the old master (pid:{self._other.predecessor}) is still there; end that one first"
            return self._machine.upgrade_failed(why, time.monotonic())
        try:
            channel = self._other.start(self._generation.listeners, self._hooks.pre_exec)
        except OSError as exc:
            return self._machine.upgrade_failed(exc.strerror or str(exc), time.monotonic())
        self._selector.register(channel, selectors.EVENT_READ, self._hear_other)
        self._hooks.server.stand_beside(reexec_pid=self._other.successor)
        self._log.info("Starting a new master (pid:%d)", self._other.successor)
        return None

    def _weigh(self, action: actions.Weigh) -> list[Action]:
        sizes = {pid: memory.own_memory(pid) for pid in action.pids}
        return self._machine.weighed(sizes, time.monotonic())

    def _fork(self, action: actions.Fork) -> list[Action]:
        now = time.monotonic()
        generation = self._generation
        application = generation.application if self._preloaded is None else self._preloaded
        record = self._scoreboard.record(action.slot)
        record.clear(now)
        self._in_flight.clear(action.slot)
        master = os.getpid()
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            return self._machine.fork_failed(action.age, exc.strerror or str(exc), now)
        hooks = self._hooks.pre_fork(action.age)

        def child() -> int:
            self._leave_to_child()
            ours.close()
            return Worker(
                generation.cfg,
                generation.listeners,
                identity=generation.identity,
                application=application,
                record=record,
                company=self._scoreboard.company(action.slot),
                memory=self._in_flight.memory(action.slot),
                channel=theirs.fileno(),
                master=master,
                error_log=self._log,
                access_log=generation.access_log,
                hooks=hooks,
                tls=generation.tls,
            ).run()

        try:
            pid = fork.fork(child)
        except OSError as exc:
            ours.close()
            return self._machine.fork_failed(action.age, exc.strerror or str(exc), now)
        finally:
            theirs.close()
        self._hooks.forked(pid, hooks)
        hand = self._hands[pid] = Hand(pid, action.age, ours, record)
        self._selector.register(ours, selectors.EVENT_READ, functools.partial(self._hear, hand))
        return self._machine.forked(action.age, pid, now, random.random())  # noqa: S311 - no secret

    def _leave_to_child(self) -> None:
        """Close, in a worker, what is the master's alone: so that each can see the master's end."""
        for hand in self._hands.values():
            hand.channel.close()
        for generation in self._generations.values():
            if generation is not self._generation:
                generation.close(kept=[self._generation])
        self._other.hang_up()
        self._selector.close()
        self._signals.close()
        if self._command is not None:
            self._command.leave()

    def _leave_to_watcher(self) -> None:
        self._leave_to_child()
        self._generation.close_sockets()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()

    # --- reload --------------------------------------------------------------------------------------------

    def _reload(self, _: actions.Reload) -> list[Action]:
        def read() -> Config:
            with self._variables.left_out():
                return self._load_config(self._log.warning)

        return self._succeed(read)

    def _renew(self, action: actions.Renew) -> list[Action]:
        """Have the configuration in force succeed itself, with certificates that have changed."""
        self._generation.certificates.accept()
        return self._succeed(lambda: self._generation.cfg, action.workers)

    def _succeed(self, read: Callable[[], Config], workers: int = 0) -> list[Action]:
        """Put a new generation in force; with so many workers, or as many as its configuration says."""
        before = self._generation
        self._herald.tell_of_reload(time.monotonic())
        try:
            cfg = read()
            generation = Generation.next(cfg, self._revisions + 1, list(self._generations.values()))
        except ConfigError as exc:
            return self._machine.reload_refused(str(exc), time.monotonic())
        except Exception as exc:
            self._log.exception("The configuration cannot be read")
            return self._machine.reload_refused(repr(exc), time.monotonic())
        try:
            self._put_in_force(generation)
        except (ConfigError, OSError) as exc:
            self._roll_back(actions.Rollback(before.revision))
            generation.close(kept=self._generations.values())
            return self._machine.reload_refused(str(exc), time.monotonic())
        self._revisions = generation.revision
        self._generations[generation.revision] = generation
        generation.announce(self._log, before)
        for name in ("preload_app", "reload", "reload_engine", "reload_extra_files"):
            if getattr(cfg, name) != getattr(before.cfg, name):
                self._log.warning("%s was changed; that takes a restart of the server", name)
        if self._preloaded is not None and cfg is not before.cfg:
            self._log.warning("The app is preloaded: new workers get the new settings, but the old code")
        policy = replace(generation.policy(SLOTS), workers=workers or cfg.workers)
        return self._machine.reloaded(policy, time.monotonic())

    def _roll_back(self, action: actions.Rollback) -> None:
        try:
            self._put_in_force(self._generations[action.revision])
        except (ConfigError, OSError) as exc:
            self._log.error("Not all of the configuration could be restored: %s", exc)

    def _put_in_force(self, generation: Generation) -> None:
        """Have the next workers forked, and the master log, as a generation says."""
        self._variables.put(generation.cfg.raw_env)
        self._log = generation.take_effect(self._generation)
        self._generation = generation
        self._hooks.put_in_force(generation.cfg, self._log, generation.listeners)
        set_title(f"fastwsgi: master [{generation.cfg.proc_name}]")

    def _forget_generations(self) -> None:
        """Close what nobody needs any more; workers have descriptors of their own, to take a backlog by."""
        needed = self._machine.revisions | {self._generation.revision}
        for listener in close_others(self._generations, needed):
            self._log.info("No longer listening at: %s", listener.url)
        if self._machine.state is MasterState.STOPPING:
            # Whoever connects when the last worker has taken the backlog is refused, and waits not in vain.
            for generation in self._generations.values():
                generation.close_sockets()
