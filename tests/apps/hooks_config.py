"""A configuration, for fastwsgi and gunicorn alike, that sets every hook and writes down its calls."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def note(name: str, *args: object) -> None:
    """Append a line: hook, pid, arguments."""
    fd = os.open(os.environ["HOOKS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, json.dumps([name, os.getpid(), *args]).encode() + b"\n")
    os.close(fd)
    if name in os.environ.get("HOOKS_FAIL", "").split(","):
        raise RuntimeError(f"{name} was to fail")
    if name in os.environ.get("HOOKS_EXIT", "").split(","):
        raise SystemExit(5)


def on_starting(server: Any) -> None:
    assert server.pid == os.getpid()
    note("on_starting", server.cfg.workers, server.proc_name)


def on_reload(server: Any) -> None:
    note("on_reload", server.num_workers, server.cfg.timeout)


def when_ready(server: Any) -> None:
    server.log.info("listening: %s", ", ".join(map(str, server.LISTENERS)))
    note("when_ready", *server.LISTENERS[0].getsockname())


def pre_fork(server: Any, worker: Any) -> None:
    assert worker.ppid == server.pid
    note("pre_fork", worker.age, str(worker), len(server.WORKERS))


def post_fork(server: Any, worker: Any) -> None:
    assert worker.pid == os.getpid() != server.pid
    assert str(worker) == f"<Worker {worker.pid}>"
    note("post_fork", worker.age, worker.booted)


def post_worker_init(worker: Any) -> None:
    assert worker.app.wsgi() is worker.wsgi
    note("post_worker_init", worker.age, worker.alive)


def worker_int(worker: Any) -> None:
    note("worker_int", worker.age, worker.alive)


def worker_abort(worker: Any) -> None:
    note("worker_abort", worker.age, worker.alive)


def pre_exec(server: Any) -> None:
    note("pre_exec", server.num_workers)


def pre_request(worker: Any, req: Any) -> None:
    req.mark = "of pre_request"
    note("pre_request", worker.age, req.method, req.uri, req.path, req.query, req.version)


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    note("post_request", worker.age, req.mark, environ["PATH_INFO"], resp.status, resp.sent, worker.nr)
    if req.path == os.environ.get("HOOKS_RETIRE"):
        worker.alive = False
    if "HOOKS_WAIT" in os.environ:
        Path(os.environ["HOOKS_WAIT"]).read_bytes()


def child_exit(server: Any, worker: Any) -> None:
    assert worker.pid not in server.WORKERS
    note("child_exit", worker.age, worker.aborted)


def worker_exit(server: Any, worker: Any) -> None:
    assert worker.pid == os.getpid() != server.pid
    note("worker_exit", worker.age)


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    assert server.num_workers == new
    note("nworkers_changed", new, old)


def on_exit(server: Any) -> None:
    assert server.pid == os.getpid()
    note("on_exit", len(server.WORKERS))
