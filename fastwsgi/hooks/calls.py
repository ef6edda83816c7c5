"""The hooks of a configuration: each by its name, with what becomes of an error in it.

A hook that fails is told with its name and traceback in the error log, and what it was called at goes on. The
exceptions: on_starting keeps the server from starting, post_fork and post_worker_init the worker, and a
request whose pre_request has failed is not for the application. SystemExit is an error like any other.

Must not know: when hooks are called; processes. Invariant: nothing but what is said here is raised.
"""

from __future__ import annotations

import inspect
import traceback
from typing import TYPE_CHECKING, Any

from ..errors import HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import WSGIApplication

    from ..config.settings import Config
    from ..processes.sockets import Listener
    from .actors import Server, WorkerView
    from .views import RequestView, ResponseView

__all__ = ["Hooks", "MasterHooks", "WorkerHooks"]


class Hooks:
    """The hooks of one configuration.

    Args:
        cfg: the configuration.
        log: the error log.
    """

    def __init__(self, cfg: Config, log: Any) -> None:
        self._cfg = cfg
        self._log = log
        self.has_abort_hooks = cfg.worker_abort is not None or cfg.worker_exit is not None
        self.has_request_hooks = cfg.pre_request is not None or cfg.post_request is not None
        self.post_request_takes = _most_arguments(cfg.post_request, (4, 3, 2))

    # In the master.

    def nworkers_changed(self, server: Server, new: int, old: int | None) -> None:
        """Tell that another number of workers is wanted; `old` is None at the start."""
        self._call("nworkers_changed", server, new, old)

    def on_starting(self, server: Server) -> None:
        """Tell that the server is about to start.

        Raises:
            ConfigError: the hook has failed; the server is not to start.
        """
        if self._cfg.on_starting is None:
            return
        try:
            self._cfg.on_starting(server)
        except (Exception, SystemExit) as exc:
            raise self._cfg.mistake("on_starting", f"it failed: {_in_words(exc)}") from exc

    def when_ready(self, server: Server) -> None:
        """Tell that the sockets listen."""
        self._call("when_ready", server)

    def on_reload(self, server: Server) -> None:
        """Tell that the configuration was read again, and workers are about to be replaced."""
        self._call("on_reload", server)

    def pre_fork(self, server: Server, worker: WorkerView) -> None:
        """Tell that a worker is about to be forked."""
        self._call("pre_fork", server, worker)

    def child_exit(self, server: Server, worker: WorkerView) -> None:
        """Tell that a worker has ended."""
        self._call("child_exit", server, worker)

    def pre_exec(self, server: Server) -> None:
        """Tell, in the process that is to be the new master, that the program is about to be run."""
        self._call("pre_exec", server)

    def on_exit(self, server: Server) -> None:
        """Tell that the master is about to end."""
        self._call("on_exit", server)

    # In a worker.

    def post_fork(self, server: Server, worker: WorkerView) -> None:
        """Tell that this worker was forked; raises HookError, and then the worker is not to boot."""
        self._demand("post_fork", server, worker)

    def post_worker_init(self, worker: WorkerView) -> None:
        """Tell that the application is loaded; raises HookError, and then the worker is not to serve."""
        self._demand("post_worker_init", worker)

    def worker_int(self, worker: WorkerView) -> None:
        """Tell that the worker was told to end at once."""
        self._call("worker_int", worker)

    def worker_abort(self, worker: WorkerView) -> None:
        """Tell that the worker hangs and is about to be killed."""
        self._call("worker_abort", worker)

    def worker_exit(self, server: Server, worker: WorkerView) -> None:
        """Tell that this worker is about to end."""
        self._call("worker_exit", server, worker)

    def pre_request(self, worker: WorkerView, request: RequestView) -> bool:
        """Tell that the application is about to be called; return whether it may be."""
        return self._call("pre_request", worker, request)

    def post_request(
        self, worker: WorkerView, request: RequestView, environ: dict[str, Any], response: ResponseView | None
    ) -> None:
        """Tell that a response is complete."""
        self._call("post_request", *(worker, request, environ, response)[: self.post_request_takes])

    def _call(self, name: str, *args: object) -> bool:
        """Call a hook, if it is set; return whether nothing was wrong with it."""
        hook = getattr(self._cfg, name)
        if hook is not None:
            try:
                hook(*args)
            except BaseException:  # an exit, a timeout of gevent: whatever it is, it is the hook's own
                self._log.exception("Error in the hook %s", name)
                return False
        return True

    def _demand(self, name: str, *args: object) -> None:
        """Call a hook without which a worker cannot go on, if it is set."""
        hook = getattr(self._cfg, name)
        if hook is not None:
            try:
                hook(*args)
            except BaseException as exc:
                raise HookError(f"the hook {name} failed: {_in_words(exc)}") from exc


class MasterHooks:
    """The hooks that are called in the master, those of the configuration in force, with what they are shown.

    Args:
        cfg: the configuration to start with.
        log: the error log.
        server: what is shown of the master.
    """

    def __init__(self, cfg: Config, log: Any, server: Server) -> None:
        self.server = server
        self._hooks = Hooks(cfg, log)

    def put_in_force(self, cfg: Config, log: Any, listeners: Iterable[Listener]) -> None:
        """Call the hooks of this configuration from now on."""
        self.server.adopt(cfg, log)
        self.server.listen_on(listeners)
        self._hooks = Hooks(cfg, log)

    def on_starting(self) -> None:
        """Tell that the server is about to start; raises ConfigError, and then it is not to."""
        self.nworkers_changed(self.server.num_workers, None)
        self._hooks.on_starting(self.server)

    def when_ready(self) -> None:
        """Tell that the sockets listen."""
        self._hooks.when_ready(self.server)

    def on_reload(self) -> None:
        """Tell that workers are about to be replaced."""
        self._hooks.on_reload(self.server)

    def nworkers_changed(self, new: int, old: int | None) -> None:
        """Tell that so many workers are wanted from now on."""
        self.server.num_workers = new
        self._hooks.nworkers_changed(self.server, new, old)

    def pre_fork(self, age: int) -> WorkerHooks:
        """Tell that a worker is about to be forked; return the hooks that are called in it."""
        worker = self.server.make_worker(age)
        self._hooks.pre_fork(self.server, worker)
        return WorkerHooks(self._hooks, self.server, worker)

    def forked(self, pid: int, hooks: WorkerHooks) -> None:
        """Take note of a worker."""
        hooks.worker.pid = pid
        self.server.WORKERS[pid] = hooks.worker

    def aborted(self, pid: int) -> None:
        """Take note that a worker is ended since it hangs."""
        worker = self.server.WORKERS.get(pid)
        if worker is not None:
            worker.aborted = True

    def child_exit(self, pid: int) -> None:
        """Tell that a worker has ended."""
        worker = self.server.WORKERS.pop(pid, None)
        if worker is not None:
            worker.end()
            self._hooks.child_exit(self.server, worker)

    def pre_exec(self) -> None:
        """Tell, in the process that is to be the new master, that the program is about to be run."""
        self._hooks.pre_exec(self.server)

    def on_exit(self) -> None:
        """Tell that the master is about to end."""
        self._hooks.on_exit(self.server)


class WorkerHooks:
    """The hooks that are called in a worker, with what they are shown."""

    def __init__(self, hooks: Hooks, server: Server, worker: WorkerView) -> None:
        self.hooks = hooks
        self.server = server
        self.worker = worker
        self.await_abort = hooks.has_abort_hooks
        self._has_exited = False

    def post_fork(self) -> None:
        """Tell that this worker was forked; raises HookError."""
        self.hooks.post_fork(self.server, self.worker)

    def post_worker_init(self, application: WSGIApplication) -> WSGIApplication:
        """Tell that the application is loaded, and return what the hook has made of it; raises HookError."""
        self.worker.boot(application)
        self.hooks.post_worker_init(self.worker)
        return self.worker.wsgi or application

    def worker_int(self) -> None:
        """Tell that the worker was told to end at once."""
        self.worker.end()
        self.hooks.worker_int(self.worker)

    def worker_abort(self) -> None:
        """Tell that the worker hangs."""
        self.worker.end()
        self.hooks.worker_abort(self.worker)

    def worker_exit(self) -> None:
        """Tell, once, that this worker is about to end."""
        if not self._has_exited:
            self._has_exited = True
            self.worker.end()
            self.hooks.worker_exit(self.server, self.worker)


def _most_arguments(hook: Callable[..., Any] | None, counts: tuple[int, ...]) -> int:
    """Return the first of `counts` that `hook` takes; the first of all if it does not tell."""
    try:
        signature = inspect.signature(hook) if hook is not None else None
    except (ValueError, TypeError):
        signature = None
    if signature is not None:
        for count in counts:
            try:
                signature.bind(*[None] * count)
            except TypeError:
                continue
            return count
    return counts[0]


def _in_words(exc: BaseException) -> str:
    """Say on one line what was raised, and where."""
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    frames = traceback.extract_tb(exc.__traceback__)[1:]
    return f"{reason} ({frames[-1].filename}:{frames[-1].lineno})" if frames else reason
