"""Server, worker and application as hooks see them: with the attributes that users of gunicorn read.

They are shown, they do not act: master and worker keep them true. Only `worker.alive = False` does what
it does in gunicorn: the worker ends once its requests are answered, and is replaced.

Must not know: how a master or a worker works.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from .. import app as apps

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import WSGIApplication

    from ..config.settings import Config
    from ..processes.sockets import Listener

__all__ = ["App", "ListenerView", "Server", "WorkerView"]

BOOTING = "[booting]"


class App(apps.Loadable):
    """The application, by name or as it is."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @property
    def app_uri(self) -> str:
        """The name of the application."""
        spec = self.cfg.wsgi_app
        return spec if isinstance(spec, str) else getattr(spec, "__qualname__", type(spec).__qualname__)

    def load(self) -> WSGIApplication:
        """Load the application anew."""
        return apps.load(self.cfg.wsgi_app or "")


class ListenerView:
    """A listening socket, `sock`; in text its address, as "http://127.0.0.1:8000"."""

    def __init__(self, listener: Listener) -> None:
        self.sock: socket.socket = listener.sock
        self._url = listener.url

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url}>"

    def fileno(self) -> int:
        """Return its descriptor."""
        return self.sock.fileno()

    def getsockname(self) -> Any:
        """Return its address, as the socket tells it."""
        return self.sock.getsockname()


class Server:
    """The master, which gunicorn calls the arbiter.

    Args:
        cfg: the configuration.
        log: the error log.
        master_pid: pid of the master that this one is to replace; 0 for none.
    """

    def __init__(self, cfg: Config, log: Any, *, master_pid: int = 0) -> None:
        self.pid = os.getpid()
        self.stand_beside(master_pid=master_pid)
        self.worker_age = 0
        self.num_workers = cfg.workers
        self.WORKERS: dict[int, WorkerView] = {}
        self.LISTENERS: list[ListenerView] = []
        self.address: list[Any] = []  # (host, port), or the path of a Unix socket
        self.adopt(cfg, log)

    def stand_beside(self, *, master_pid: int = 0, reexec_pid: int = 0) -> None:
        """Show another master: the one that this one is to replace, or the one that is to replace it."""
        self.master_pid = master_pid
        self.master_name = "Master.2" if master_pid else "Master"
        self.reexec_pid = reexec_pid

    def adopt(self, cfg: Config, log: Any) -> None:
        """Show another configuration."""
        self.cfg = cfg
        self.log = log
        spec: Any = cfg.wsgi_app
        self.app: apps.Loadable = spec if isinstance(spec, apps.Loadable) else App(cfg)
        self.timeout = cfg.timeout

    @property
    def proc_name(self) -> str | None:
        """The server's name, with .2 at its end as long as another master is to be replaced."""
        return f"{self.cfg.proc_name}.2" if self.master_pid else self.cfg.proc_name

    def listen_on(self, listeners: Iterable[Listener]) -> None:
        """Show these listening sockets."""
        self.LISTENERS = [ListenerView(listener) for listener in listeners]
        self.address = [listener.getsockname() for listener in self.LISTENERS]

    def make_worker(self, age: int) -> WorkerView:
        """Return what is to be shown of a worker that is about to be forked."""
        self.worker_age = age
        return WorkerView(self, age)


class WorkerView:
    """A worker; its pid is "[booting]" until it was forked."""

    def __init__(self, server: Server, age: int) -> None:
        self.age = age
        self.pid: int | str = BOOTING
        self.ppid = server.pid
        self.cfg = server.cfg
        self.log = server.log
        self.app = server.app
        self.sockets = list(server.LISTENERS)
        self.timeout = server.cfg.timeout / 2  # as in gunicorn: how often it shows that it lives
        self.wsgi: WSGIApplication | None = None
        self.booted = False
        self.aborted = False
        self._alive = True
        self._count: Callable[[], int] = int
        self._beat: Callable[[float], None] | None = None
        self._stop: Callable[[], None] | None = None

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    __repr__ = __str__

    def boot(self, wsgi: WSGIApplication) -> None:
        """Show the loaded application."""
        self.wsgi = self.app.callable = wsgi

    def serve(
        self, *, count: Callable[[], int], beat: Callable[[float], None], stop: Callable[[], None]
    ) -> None:
        """Show what a worker that serves has: a count of requests, a sign of life, a way to end."""
        self.booted = True
        self._count, self._beat, self._stop = count, beat, stop

    def end(self) -> None:
        """Show that the worker is about to end."""
        self._alive = False

    @property
    def nr(self) -> int:
        """Requests answered; the master's copy does not count."""
        return self._count()

    @property
    def alive(self) -> bool:
        """Whether it goes on; setting it to False ends the worker once its requests are answered."""
        return self._alive

    @alive.setter
    def alive(self, value: bool) -> None:
        if self._alive and not value:
            self._alive = False
            if self._stop is not None:
                self._stop()

    def notify(self) -> None:
        """Show the master that the worker lives."""
        if self._beat is not None:
            self._beat(time.monotonic())
