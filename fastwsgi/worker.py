"""One worker process, from just after the fork to its end.

Owns the order of its life: signals, title, the application, the loop, the word to the master that it is ready
(or why not), draining, exit. Must not know the master's policy, or other workers. Invariants:

- it exits when the master is gone: their socket pair is at its end, or the parent has changed;
- the master hears of a failure to boot, with its reason, before the process exits;
- until the loop runs, a signal to stop ends it at once; afterwards signals are events of the loop;
- however it ends, if Python code can still run, the hook worker_exit is called last, and once.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import gc
import logging
import os
import random
import signal
import traceback
from typing import TYPE_CHECKING, Final

from . import app, gil, green, offspring, parallel, stacks
from .engine import Engine
from .errors import (
    EXIT_APP_LOAD,
    EXIT_OK,
    EXIT_WORKER_BOOT,
    AppImportError,
    ConfigError,
    HookError,
    is_of_foreign_hands,
)
from .hooks.observer import Observer
from .logs import captured_output, error_log, request_log
from .processes import fork, scoreboard, stdio
from .processes.report import WORN, Report
from .processes.signals import Signals
from .processes.title import set_title

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from types import FrameType

    from _typeshed.wsgi import WSGIApplication

    from .config.settings import Config
    from .hooks.calls import WorkerHooks
    from .logs.access_log import AccessLog
    from .logs.request_log import RequestLog
    from .parallel import Parallel
    from .processes.identity import Identity
    from .processes.scoreboard import Company, Record
    from .processes.sockets import Listener

__all__ = ["Worker", "load_app"]

EXIT_ERROR: Final = 1
"""The loop itself failed. Not one of the codes that mean a failure to boot."""

_SIGNALS: Final = ("TERM", "INT", "QUIT", "USR1", "HUP", "USR2", "WINCH", "TTIN", "TTOU")
"""Taken over from the master's handlers; those that mean nothing to a worker are so ignored, not deadly."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Worker:
    """A worker; made and run in the forked process.

    Args:
        cfg: the configuration.
        listeners: sockets to accept from, shared with the other workers.
        identity: the user to become.
        application: the WSGI application, or its name if it is to be loaded here.
        record: this worker's place on the scoreboard.
        company: all workers, on the scoreboard.
        memory: where it shows what it has in the app.
        channel: our end of a socket pair whose other end only the master has.
        master: pid of the master.
        error_log: the error log.
        access_log: the access log, if there is one.
        hooks: the hooks that are called here.
        tls: how TLS is spoken on all listeners, if it is.
    """

    def __init__(
        self,
        cfg: Config,
        listeners: Sequence[Listener],
        *,
        identity: Identity,
        application: WSGIApplication | str,
        record: Record,
        company: Company,
        memory: memoryview,
        channel: int,
        master: int,
        error_log: logging.Logger,
        access_log: AccessLog | None,
        hooks: WorkerHooks,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._cfg, self._listeners, self._application = cfg, listeners, application
        self._identity = identity
        self._record, self._company, self._memory = record, company, memory
        self._channel, self._master = channel, master
        self._error_log, self._file_of_accesslog = error_log, access_log
        self._access_log: RequestLog | None = None
        self._hooks = hooks
        self._tls = tls
        self._engine: Engine | Parallel
        self._max_requests = cfg.max_requests
        if cfg.max_requests:
            self._max_requests += random.randint(0, cfg.max_requests_jitter)  # noqa: S311 - no secret
        self._is_worn = False
        self._belongings: dict[int, tuple[int, int]] = {}  # which files its lasting descriptors are of
        self._in_order = True  # time to let the application's threads end

    def run(self) -> int:
        """Live; return the exit code of the process."""
        self._hooks.worker.pid = os.getpid()
        # Before the signals: an ABRT that comes early must find its handler.
        has_to_tell = self._hooks.await_abort or self._cfg.worker_class == "gevent" or green.is_patched()
        signal.signal(signal.SIGABRT, self._on_abort if has_to_tell else signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._enable_stack_dumps()
        signals = Signals(_SIGNALS)
        signals.install(self._leave_boot)
        offspring.watch(functools.partial(self._disown, signals))
        set_title(f"fastwsgi: worker [{self._cfg.proc_name}]")
        self._record.pid = os.getpid()
        try:
            self._boot()
        except BaseException as exc:
            # BaseException: an application may raise SystemExit while it is imported.
            report = _failure(exc)
            _ignore_stops()
            self._hooks.worker_exit()
            report.write(self._channel)
            return report.code
        signals.hand_over()
        code = self._serve(signals)
        if self._in_order and code == EXIT_OK:
            fork.join_threads()
        self._error_log.info("Worker exiting (pid: %d)", os.getpid())
        self._hooks.worker_exit()
        return code

    def _enable_stack_dumps(self) -> None:
        """Write all Python stacks to the error log on ABRT, as on a crash, and then die of it.

        Done in C by the signal handler itself: it works while the app sleeps, spins, or holds the GIL. The
        handler that was there before calls the hooks afterwards, as soon as Python code can run.
        """
        for handler in self._error_log.handlers:
            if isinstance(handler, logging.StreamHandler):
                try:
                    faulthandler.enable(handler.stream.fileno(), all_threads=True)
                except (OSError, ValueError, RuntimeError):
                    # A stream without a descriptor: a test's, or that of a program around us.
                    pass

    def _boot(self) -> None:
        self._hooks.post_fork()
        self._identity.take_on(self._cfg)
        application = load_app(self._cfg, self._application, self._error_log)
        self._access_log = request_log.choose(self._error_log, self._file_of_accesslog)
        self._engine = parallel.make_engine(
            self._hooks.post_worker_init(application),
            self._listeners,
            self._cfg,
            error_log=self._error_log,
            access_log=self._access_log,
            heartbeat=self._beat,
            multiprocess=self._cfg.workers > 1,
            company=self._company,
            memory=self._memory,
            max_requests=self._max_requests,
            leave=self._leave,
            observer=Observer.of(self._hooks),
            tls=self._tls,
            worn=self.ask_for_successor,
        )
        offspring.watch(self._engine.disown)
        self._engine.add_reader(self._channel, self._on_master_gone)
        # What is here now is for good: no collection need go through it again.
        if hasattr(gc, "freeze"):  # not in PyPy
            gc.freeze()

    def _serve(self, signals: Signals) -> int:
        self._engine.add_reader(signals.fd, lambda: self._on_signals(signals.take()))
        for fd in (signals.fd, self._channel, *(listener.fd for listener in self._listeners)):
            self._belongings[fd] = _file_of(fd)
        self._record.state = scoreboard.SERVING
        self._hooks.worker.serve(
            count=lambda: self._engine.requests,
            beat=self._record.beat,
            stop=lambda: self.ask_for_successor("a hook has set alive to False"),
        )
        Report().write(self._channel)
        try:
            self._engine.run()
        except Exception as error:
            self._tell_of_failure(error)
            return EXIT_ERROR
        finally:
            if self._access_log is not None:
                self._access_log.flush()
        return EXIT_OK

    def _leave(self, error: BaseException | None) -> None:
        """End the process in place of the main thread, which is in the app."""
        is_lost = isinstance(self._engine, Engine) and self._engine.is_main_thread_lost()
        if error is None and self._in_order and not is_lost:
            return  # the graceful timeout has passed: the master kills this process, and says so
        if error is not None:
            self._tell_of_failure(error)
        self._error_log.info("Worker exiting (pid: %d)", os.getpid())
        self._hooks.worker_exit()
        fork.leave(EXIT_OK if error is None else EXIT_ERROR)

    def _tell_of_failure(self, error: BaseException) -> None:
        # Where closing the connections has failed as well, that came on top.
        for cause in (error.__context__, error):
            if cause is not None and is_of_foreign_hands(cause):
                why = "descriptors of the server were closed or replaced by the application"
                self._error_log.critical("Worker (pid:%d) fails: %s (%s)", os.getpid(), why, cause)
                break
        else:
            self._error_log.error("Worker (pid:%d) fails", os.getpid(), exc_info=error)

    def _disown(self, signals: Signals) -> None:
        """Let go of what is not the engine's, in a process that the app has forked."""
        with contextlib.suppress(OSError):
            signals.disown()
            os.close(self._channel)
            for listener in self._listeners:
                listener.sock.close()

    def _leave_boot(self, number: int, _frame: FrameType | None) -> None:
        """Exit at once when told to stop before the first request; other signals are kept for later."""
        if number in _STOPS:
            _ignore_stops()
            if number != signal.SIGTERM:
                self._hooks.worker_int()
            self._hooks.worker_exit()
            stdio.flush()
            os._exit(EXIT_OK)

    def _on_abort(self, number: int, _frame: FrameType | None) -> None:
        """Tell what faulthandler cannot, call the hooks, and die of the signal all the same."""
        greenlets = stacks.greenlets()
        if greenlets:
            self._error_log.error("Greenlets of worker (pid:%d):\n%s", os.getpid(), greenlets)
        self._hooks.worker_abort()
        self._hooks.worker_exit()
        stdio.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    # --- events of the loop --------------------------------------------------------------------------------

    def _beat(self, progress: float) -> None:
        """Show a sign of life, the last there was; OSError if somebody has taken what a worker needs."""
        if self._record.state == scoreboard.SERVING:
            for fd, file in self._belongings.items():
                if _file_of(fd) != file:
                    raise OSError(errno.EBADF, f"descriptor {fd} is of something else")
        self._record.beat(progress)
        self._record.requests = self._engine.requests
        if self._engine.requests >= self._max_requests > 0:
            self.ask_for_successor(f"it has served {self._engine.requests} requests")
        # A preloaded application may have forked processes that hold the master's end of the pair open.
        if os.getppid() != self._master and self._record.state == scoreboard.SERVING:
            self._on_master_gone()

    def ask_for_successor(self, why: str) -> None:
        """Have the master replace this worker, which serves on until its successor is ready."""
        if not self._is_worn and self._record.state == scoreboard.SERVING:
            self._is_worn = True
            Report(WORN, why).write(self._channel)

    def _on_signals(self, names: Sequence[str]) -> None:
        for name in names:
            if name == "TERM":
                self._drain()
            elif name in ("INT", "QUIT"):
                self._in_order = False
                self._hooks.worker_int()
                self._engine.stop()
            elif name == "USR1":
                error_log.reopen()
                if self._access_log is not None:
                    self._access_log.reopen()

    def _on_master_gone(self) -> None:
        # The channel would be reported as readable for ever; a pipe that is silent for ever takes its number.
        silent, keep_open = os.pipe()
        os.dup2(silent, self._channel, inheritable=False)
        os.close(silent)
        self._keep_open = keep_open
        if self._record.state == scoreboard.SERVING:
            self._error_log.warning("The master is gone; worker (pid:%d) stops", os.getpid())
            # Nobody would end us if a thread of the application did not.
            self._in_order = False
            self._drain()

    def _drain(self) -> None:
        self._hooks.worker.end()
        self._record.state = scoreboard.DRAINING
        self._engine.shutdown(self._cfg.graceful_timeout)
        # If the master is gone as well, the address is free for the next server from now on.
        for listener in self._listeners:
            listener.sock.close()


def _file_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def load_app(cfg: Config, application: WSGIApplication | str, error_log: logging.Logger) -> WSGIApplication:
    """Return the application, loaded if it is a name, with gevent's patches in place before.

    Raises what app.load() does.
    """
    if cfg.capture_output:
        captured_output.capture(cfg)
    if cfg.worker_class == "gevent":
        green.patch()
    with gil.reporting(error_log):
        return app.load(application)


def _ignore_stops() -> None:
    """Let a worker that ends already have its last word; a master without patience has SIGKILL."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def _failure(exc: BaseException) -> Report:
    """Put into words why the worker cannot boot."""
    if isinstance(exc, AppImportError):
        return Report(EXIT_APP_LOAD, str(exc), app.explain(exc).removeprefix(str(exc)).strip())
    if isinstance(exc, ConfigError):
        return Report(EXIT_WORKER_BOOT, str(exc))
    told = exc.__cause__ if isinstance(exc, HookError) and exc.__cause__ else exc
    reason = f"{exc}" if told is not exc else f"{type(exc).__name__}: {exc}"
    line = " ".join(f"Worker failed to boot: {reason}".split())
    return Report(EXIT_WORKER_BOOT, line, "".join(traceback.format_exception(told)).rstrip())
