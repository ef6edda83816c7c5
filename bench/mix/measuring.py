"""The section "mix": each server in turn under the users of bench/locustfile.py, at rising load.

The server has one CPU and the users have another, in a process of locust's own environment. A server that can
has 32 threads, since parts of the mix block. Up to the peak every answer must be right, or the row is
invalid; what goes wrong beyond it is a figure.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import ROOT
from bench.environments import NotInstalled, install, prepare
from bench.machine import busy_seconds
from bench.processes import RunningServer, ServerFailedError, free_port
from bench.servers import OURS, Shape, Unsupported

from . import ladder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from bench.servers import Server

__all__ = ["measure"]

_TITLE = "a mix of pages, JSON, forms, uploads, downloads, reports and event streams"
_APP = "bench.mix.shop:app"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_THREADS = 32
_MOST_USERS = 800  # each may have a descriptor open, and the client's select() takes 1,024
_PATIENCE = 120.0  # seconds; all users come and have their stage in far less
_WITHIN_REACH = 0.5  # of our peak: below it, a server at our load would only lose requests


class UsersGoneError(Exception):
    """Locust has ended, so that there are no figures."""


class Users:
    """Context manager: locust's users of the server at a port, kept to one CPU."""

    def __init__(self, port: int, cpu: int) -> None:
        words = ["taskset", "-c", str(cpu), _locust(), "-m", "bench.mix.users"]
        self._process = subprocess.Popen(
            [*words, f"http://127.0.0.1:{port}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Users:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, began: Callable[[], None], **wanted: float) -> dict[str, Any]:
        """Run a stage; return what the users saw from the moment on at which `began` is called."""
        assert self._process.stdin is not None
        print(json.dumps(wanted), file=self._process.stdin)
        self._next_line()
        began()
        return self._next_line()

    def _next_line(self) -> dict[str, Any]:
        """Return what locust tells next; one that says nothing for long is ended."""
        assert self._process.stdout is not None
        watch = threading.Timer(_PATIENCE, self._process.kill)
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            raise UsersGoneError(f"locust has ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Trial:
    """One server and its row."""

    def __init__(
        self, server: Server, cpus: tuple[int, int], quick: bool, say: Callable[[str], None]
    ) -> None:
        self._server = server
        self._cpus = cpus
        self._say = say
        self._settle, self._seconds = (1.0, 2.5) if quick else (1.5, 5.0)
        self._first, self._most = (100, _MOST_USERS // 2) if quick else (50, _MOST_USERS)
        self._threads, note = _THREADS, f"{_THREADS} threads" if server.threads else server.note
        try:
            server.command(prepare(server), 0, _APP, Shape(threads=_THREADS))
        except Unsupported as exc:
            self._threads, note = 1, str(exc)
        self.stages: list[dict[str, Any]] = []
        self.row: dict[str, Any] = {"server": server.name, "note": note, "faults": [], "stages": self.stages}

    def climb(self) -> None:
        """Run stages of ever more users, until the peak is well behind."""
        self._run(lambda: ladder.next_users(self.stages, self._first, self._most))

    def run_with(self, users: int) -> None:
        """Run one stage, on a server that has just been started, unless it has been run or is too many."""
        if users <= self._most and not self._has_run_with(users):
            self._run(lambda: 0 if self._has_run_with(users) else users)

    def _has_run_with(self, users: int) -> bool:
        return any(stage["users"] == users for stage in self.stages)

    def _run(self, next_users: Callable[[], int]) -> None:
        port = free_port()
        server_cpu, client_cpu = self._cpus
        command = self._server.command(prepare(self._server), port, _APP, Shape(threads=self._threads))
        try:
            with (
                tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log") as log,
                RunningServer(
                    command, self._server.environment, port=port, cpu=server_cpu, log=log
                ) as running,
                Users(port, client_cpu) as users,
            ):
                while wanted := next_users():
                    self._stage(running, users, wanted)
        except (ServerFailedError, UsersGoneError) as exc:
            self.row["faults"].append(str(exc))
        except (OSError, ValueError) as exc:
            self.row["faults"].append(repr(exc))
        self._judge()

    def _stage(self, running: RunningServer, users: Users, wanted: int) -> None:
        began: list[tuple[float, float]] = []
        stage = users.run(
            lambda: began.append((running.usage().cpu, sum(busy_seconds(self._cpus)))),
            users=wanted,
            settle=self._settle,
            seconds=self._seconds,
        )
        cpu = running.usage().cpu - began[0][0]
        busy, client_busy = cpu / self._seconds, stage["client_busy"]
        all_busy = (sum(busy_seconds(self._cpus)) - began[0][1]) / self._seconds
        self.stages.append(
            {
                "users": wanted,
                **stage,
                "cpu_us": cpu / stage["requests"] * 1e6 if stage["requests"] else None,
                "busy": busy,
                # Of the two CPUs, the share that others had.
                "disturbance": max(0.0, all_busy - busy - client_busy) / 2,
                "memory_bytes": running.proportional_bytes(),
            }
        )
        p99 = "no p99" if stage["p99_ms"] is None else f"p99 {stage['p99_ms']:.0f} ms"
        self._say(
            f"mix {self._server.name}: {wanted} users, {stage['requests_per_second']:.0f} requests/s, {p99}, "
            f"server {busy:.0%} busy, client {client_busy:.0%}"
            + f", {stage['failures']} FAILURES: {stage['faults']}"
            * bool(stage["failures"])
        )

    def _judge(self) -> None:
        """Say in the row where its peak is, and whether all was right up to there."""
        row = self.row
        highest = ladder.peak(self.stages)
        users = highest["users"] if highest else 0
        for stage in self.stages:
            stage["relative_load"] = stage["users"] / users if users else None
            if stage["users"] <= users or not users:
                for fault in stage["faults"]:
                    if fault not in row["faults"]:
                        row["faults"].append(fault)
        if highest is None:
            row["faults"].append("at no number of users was every answer right")
        row["valid"] = not row["faults"]
        row["peak_users"] = users
        row["peak_rps"] = highest["requests_per_second"] if highest else None
        # The server could have done more then, and nobody has seen how much.
        row["client_bound"] = bool(highest and highest["client_busy"] > ladder.CLIENT_BUSY)


def _locust() -> str:
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return install("locust", tuple(line for line in lines if not line.startswith("#")))


def measure(
    servers: Sequence[Server],
    *,
    server_cpu: int,
    client_cpu: int,
    quick: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the mix against each of `servers` and return the section of the result.

    A server that cannot be measured is told under "skipped". Raises NotInstalled if locust is not to be had.
    """
    _locust()
    trials: dict[str, Trial] = {}
    skipped: dict[str, str] = {}
    for server in servers:
        if server.name == "floor":
            skipped[server.name] = "it runs no application"
            continue
        try:
            trial = trials[server.name] = Trial(server, (server_cpu, client_cpu), quick, say)
        except NotInstalled as exc:
            skipped[server.name] = str(exc)
        else:
            trial.climb()
    rows = [trial.row for trial in trials.values()]
    section: dict[str, Any] = {
        "name": "mix",
        "title": _TITLE,
        "rows": rows,
        "skipped": skipped,
        "equal_load_users": ladder.equal_load(rows),
        "targets": [],
    }
    ours = trials.get(OURS)
    if ours is not None and ours.row["valid"]:
        users = 2 * ours.row["peak_users"]
        for trial in trials.values():
            if trial.row["valid"] and trial.row["peak_rps"] > _WITHIN_REACH * ours.row["peak_rps"]:
                trial.run_with(users)
        section["targets"] = ladder.overload_targets(rows, OURS, users)
    return section
