"""The master process: binds, forks, watches; it never touches a request.

Owns the descriptors of supervision and carries out what supervision.py decides, without a policy of its own.
Must not know HTTP. Invariants: one thread, no handler that does anything; every action of the machine is
carried out, in order; when `run` returns, signals, title and files are as they were before.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import __version__, _impl, gil, green, parallel
from ..errors import EXIT_OK, ConfigError
from ..logs import error_log
from ..logs.access_log import AccessLog
from ..processes import fork, stdio
from ..processes.pidfile import Pidfile
from ..processes.report import Report
from ..processes.scoreboard import Record, Scoreboard
from ..processes.signals import Signals
from ..processes.title import set_title
from ..worker import Worker, load_app
from . import actions, supervision

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import WSGIApplication

    from ..config.settings import Config
    from ..processes.launch import Launch
    from ..processes.sockets import Listener
    from .actions import Action

__all__ = ["Master"]

SLOTS: Final = 1024
"""Records on the scoreboard, so the most workers at a time; unused ones cost nothing."""

_SIGNALS: Final = ("CHLD", "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "TTIN", "TTOU")

_COUNTED: Final = frozenset({"TTIN", "TTOU", "INT", "QUIT"})
"""Signals that say more when they come twice; of the others, one of a bunch is enough."""


class _Selector(selectors.PollSelector):
    """Not epoll: a fork would share its set of descriptors with the child. Nor gevent's poll."""

    _selector_cls = green.unpatched("select", "poll")


class _Hand(NamedTuple):
    """What the master holds of a worker."""

    pid: int
    channel: socket.socket  # the worker's report; its end tells the worker of ours
    record: Record
    received: bytearray


class _Setup(NamedTuple):
    """A configuration with what was opened for it."""

    cfg: Config
    access_log: AccessLog | None


class Master:
    """The master of a server.

    Args:
        load_config: reads the configuration anew, at HUP; raises ConfigError.
        cfg: the configuration to start with.
        launch: how this process was started.
    """

    def __init__(self, load_config: Callable[[], Config], cfg: Config, launch: Launch) -> None:
        self._load_config = load_config
        self._launch = launch
        self._preloaded: WSGIApplication | None = None
        self._listeners: list[Listener] = []
        self._hands: dict[int, _Hand] = {}
        self._setups: dict[int, _Setup] = {}  # by revision, those that may be gone back to
        self._revision = 0
        self._setup = _Setup(cfg, None)
        self._exit_code: int | None = None
        self._log: logging.Logger
        self._machine: supervision.Supervisor
        self._selector: selectors.BaseSelector
        self._scoreboard: Scoreboard
        self._signals: Signals

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
                return self._watch()
            except BaseException:
                self._log.exception("The master fails, and stops its workers")
                for pid in self._hands:
                    _send(pid, "TERM")
                raise

    # --- beginning and end ---------------------------------------------------------------------------------

    def _start(self, stack: ExitStack) -> None:
        cfg = self._setup.cfg
        self._log = error_log.setup(cfg)
        self._setup = self._setups[0] = _Setup(cfg, _open_access_log(cfg))
        stack.callback(self._close_setups)
        if cfg.pidfile:
            stack.callback(Pidfile(cfg.pidfile).remove)
        self._listeners = self._launch.listen(
            cfg.bind, backlog=cfg.backlog, umask=cfg.umask, reuse_port=cfg.reuse_port
        )
        for listener in self._listeners:
            stack.callback(listener.close)
        self._log.info("Starting fastwsgi %s (%s)", __version__, _impl.describe())
        if self._launch.warning:
            self._log.warning("%s", self._launch.warning)
        if gil.is_optional() and gil.has_gil() and cfg.threads > 1:
            self._log.warning("The GIL is on, threads take turns; PYTHON_GIL=0 would keep it off")
        if cfg.preload_app:
            self._preloaded = load_app(cfg, _named_app(cfg), self._log)
            # What is here now is for good: no collection in a worker touches it, so its pages stay shared.
            gc.collect()
            gc.freeze()
        self._scoreboard = Scoreboard(SLOTS, parallel.loops_at_most())
        stack.callback(self._scoreboard.close)
        self._selector = stack.enter_context(_Selector())
        self._signals = Signals(_SIGNALS)
        self._signals.install()
        stack.callback(self._signals.restore)
        self._selector.register(self._signals.fd, selectors.EVENT_READ)
        before = set_title(f"fastwsgi: master [{cfg.proc_name}]")
        if before:
            stack.callback(set_title, before)
        self._machine = supervision.Supervisor(self._policy(cfg))
        # Said only now that every signal is answered: whoever waits for this line may send one.
        for listener in self._listeners:
            self._log.info("Listening at: %s (%d)", listener.url, os.getpid())

    def _policy(self, cfg: Config) -> actions.Policy:
        return actions.Policy(
            workers=cfg.workers,
            timeout=cfg.timeout,
            graceful_timeout=cfg.graceful_timeout,
            slots=SLOTS,
            revision=self._revision,
        )

    def _close_setups(self) -> None:
        for log in {setup.access_log for setup in self._setups.values()}:
            if log is not None:
                log.close()

    # --- events --------------------------------------------------------------------------------------------

    def _watch(self) -> int:
        machine = self._machine
        self._carry_out(machine.started(time.monotonic()))
        while self._exit_code is None:
            ready = self._selector.select(machine.next_tick(time.monotonic()))
            names: list[str] = []
            for key, _ in ready:
                if key.data is None:
                    names = self._signals.take()
                else:
                    self._hear(key.data)
            if "CHLD" in names:
                self._reap()
            for name in _without_repeats(names):
                self._carry_out(machine.signal(name, time.monotonic()))
            beats = {hand.pid: hand.record.last_beat for hand in self._hands.values()}
            self._carry_out(machine.tick(time.monotonic(), beats))
        return self._exit_code

    def _hear(self, hand: _Hand) -> bool:
        """Read what a worker reports; return whether more may be there."""
        try:
            data = hand.channel.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._hang_up(hand)
            return False
        hand.received.extend(data)
        report = Report.read(bytes(hand.received))
        if report is not None:
            hand.received.clear()
            now = time.monotonic()
            if report.code == EXIT_OK:
                self._carry_out(self._machine.worker_ready(hand.pid, now))
            else:
                failed = self._machine.boot_failed(hand.pid, report.code, report.line, report.detail, now)
                self._carry_out(failed)
        return True

    def _hang_up(self, hand: _Hand) -> None:
        if hand.channel.fileno() >= 0:
            self._selector.unregister(hand.channel)
            hand.channel.close()

    def _reap(self) -> None:
        for ending in fork.reap(list(self._hands)):
            hand = self._hands.pop(ending.pid, None)
            if hand is None:
                # An orphan that process 1 inherits.
                continue
            hand.record.clear(time.monotonic())  # nobody is to leave connections to it
            # Its last words may still be on the way.
            while self._hear(hand):
                pass
            self._hang_up(hand)
            now = time.monotonic()
            self._carry_out(self._machine.worker_exited(ending.pid, ending.code, ending.signal, now))

    # --- actions -------------------------------------------------------------------------------------------

    def _carry_out(self, wanted: Iterable[Action]) -> None:
        waiting = deque(wanted)
        while waiting:
            action = waiting.popleft()
            if isinstance(action, actions.Log):
                getattr(self._log, action.level)("%s", action.text)
            elif isinstance(action, actions.Signal):
                _send(action.pid, action.name)
            elif isinstance(action, actions.Fork):
                waiting.extend(self._fork(action))
            elif isinstance(action, actions.Reload):
                waiting.extend(self._reload())
            elif isinstance(action, actions.Rollback):
                self._roll_back(action.revision)
            elif isinstance(action, actions.ReopenLogs):
                error_log.reopen()
                if self._setup.access_log is not None:
                    self._setup.access_log.reopen()
            else:
                self._exit_code = action.code

    def _fork(self, action: actions.Fork) -> list[Action]:
        now = time.monotonic()
        cfg = self._setup.cfg
        application = _named_app(cfg) if self._preloaded is None else self._preloaded
        record = self._scoreboard.record(action.slot)
        record.clear(now)
        master = os.getpid()
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            return self._machine.fork_failed(action.age, exc.strerror or str(exc), now)

        def child() -> int:
            self._leave_to_child()
            ours.close()
            return Worker(
                cfg,
                self._listeners,
                application=application,
                record=record,
                company=self._scoreboard.company(action.slot),
                channel=theirs.fileno(),
                master=master,
                error_log=self._log,
                access_log=self._setup.access_log,
            ).run()

        try:
            pid = fork.fork(child)
        except OSError as exc:
            ours.close()
            return self._machine.fork_failed(action.age, exc.strerror or str(exc), now)
        finally:
            theirs.close()
        ours.setblocking(False)
        hand = self._hands[pid] = _Hand(pid, ours, record, bytearray())
        self._selector.register(ours, selectors.EVENT_READ, hand)
        return self._machine.forked(action.age, pid, now)

    def _leave_to_child(self) -> None:
        """Close, in a worker, what is the master's alone: so that each can see the master's end."""
        for hand in self._hands.values():
            hand.channel.close()
        self._selector.close()
        self._signals.close()

    def _reload(self) -> list[Action]:
        old = self._setup.cfg
        try:
            cfg = self._load_config()
            self._log = error_log.setup(cfg)
            log = self._setup.access_log
            if (cfg.accesslog, cfg.access_log_format) != (old.accesslog, old.access_log_format):
                log = _open_access_log(cfg)
            elif log is not None:
                log.reopen()
        except ConfigError as exc:
            error_log.setup(old)
            return self._machine.reload_refused(str(exc), time.monotonic())
        except Exception as exc:
            self._log.exception("The configuration cannot be read")
            return self._machine.reload_refused(repr(exc), time.monotonic())
        for name in ("bind", "backlog", "reuse_port", "umask", "pidfile", "preload_app"):
            if getattr(cfg, name) != getattr(old, name):
                self._log.warning("%s was changed; that takes a restart of the server", name)
        if self._preloaded is not None:
            self._log.warning("The app is preloaded: new workers get the new settings, but the old code")
        self._revision += 1
        self._setup = self._setups[self._revision] = _Setup(cfg, log)
        set_title(f"fastwsgi: master [{cfg.proc_name}]")
        steps = self._machine.reloaded(self._policy(cfg), time.monotonic())
        self._forget_setups()
        return steps

    def _roll_back(self, revision: int) -> None:
        self._setup = self._setups[revision]
        self._log = error_log.setup(self._setup.cfg)
        set_title(f"fastwsgi: master [{self._setup.cfg.proc_name}]")
        self._forget_setups()

    def _forget_setups(self) -> None:
        needed = self._machine.revisions
        kept = {revision: setup for revision, setup in self._setups.items() if revision in needed}
        in_use = {setup.access_log for setup in kept.values()}
        for setup in self._setups.values():
            if setup.access_log is not None and setup.access_log not in in_use:
                setup.access_log.close()
                in_use.add(setup.access_log)
        self._setups = kept


def _named_app(cfg: Config) -> WSGIApplication | str:
    if cfg.wsgi_app is None:
        raise ConfigError("no application is named; set wsgi_app")
    return cfg.wsgi_app


def _open_access_log(cfg: Config) -> AccessLog | None:
    return AccessLog.open(cfg.accesslog, cfg.access_log_format) if cfg.accesslog else None


def _without_repeats(names: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for name in names:
        if name != "CHLD" and (name not in kept or name in _COUNTED):
            kept.append(name)
    return kept


def _send(pid: int, name: str) -> None:
    try:
        os.kill(pid, getattr(signal, f"SIG{name}"))
    except ProcessLookupError:
        pass
