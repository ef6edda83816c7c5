"""What the scenarios share beside the load: options, the server under test, tables and raw figures."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from bench import ROOT
from bench.environments import NotInstalled, prepare
from bench.machine import busy_seconds, describe_machine, describe_python, open_files_limit
from bench.processes import RunningServer, ServerFailedError, free_port, leave_at_signals
from bench.servers import SERVERS, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Rows = list[dict[str, object]]

__all__ = [
    "FIGURES",
    "Disturbance",
    "run_scenario",
    "scenario_parser",
    "start_server",
    "table",
]

# The servers that scenarios know, each with its option for the connections that one worker must take; what
# follows a command has the last word.
_CONNECTIONS = {
    "fastwsgi": "--worker-connections {}",
    "fastwsgi-pure": "--worker-connections {}",
    "granian": "--backpressure {}",
    "gunicorn-gthread": "--worker-connections {}",
}

# Columns for what Tally.figures() tells, by key.
FIGURES = {
    "sent": "sent",
    "ok": "answered",
    "gave_up": "gave up",
    "lost": "lost",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "max_ms": "max ms",
}

_REST = 0.25  # seconds without work, and
_RESTS = 2  # how many of them, after which a server has started; one alone may be a wait for a busy CPU
_PATIENCE = 10.0


class Disturbance:
    """How much of the server's CPU went to other processes and other machines since it was made.

    A latency that was measured beside much of it says little about the server.
    """

    def __init__(self, running: RunningServer, cpu: int) -> None:
        self._running = running
        self._cpu = cpu
        self._began = time.monotonic()
        self._before = self._worked()

    def share(self) -> float:
        """Return the share of the CPU that was lost."""
        return max(0.0, self._worked() - self._before) / (time.monotonic() - self._began)

    def _worked(self) -> float:
        worked, stolen = busy_seconds([self._cpu])
        return worked + stolen - self._running.usage().cpu


def scenario_parser(module_name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all scenarios have."""
    name = module_name if module_name != "__main__" else Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.scenarios.{name.rpartition('.')[2]}",
        description=doc.splitlines()[0] if doc else "",
    )
    parser.add_argument("--server", default="fastwsgi", choices=list(_CONNECTIONS), help="(%(default)s)")
    parser.add_argument("--server-args", help='more options of the server, as in --server-args "--threads 8"')
    parser.add_argument("--server-cpu", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--client-cpu", type=int, default=1, help="(%(default)s)")
    parser.add_argument(
        "--python", help="the interpreter of the server (this one; a peer's, from build/bench)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures there")
    return parser


def run_scenario(options: argparse.Namespace, scenario: Callable[[argparse.Namespace], Rows]) -> int:
    """Pin this process, run `scenario`, write the rows that it returns; return the exit code."""
    leave_at_signals()
    cpus = os.sched_getaffinity(0)
    if not {options.server_cpu, options.client_cpu} <= cpus or options.server_cpu == options.client_cpu:
        sys.stderr.write(f"Error: server and client need a CPU each, of {sorted(cpus)}\n")
        return 2
    os.sched_setaffinity(0, {options.client_cpu})
    open_files_limit()
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    server = SERVERS[options.server]
    try:
        options.python = options.python or prepare(server)
        rows = scenario(options)
    except (NotInstalled, ServerFailedError) as exc:
        sys.stderr.write(f"Error: {options.server}: {exc}\n")
        return 1
    if options.json:
        report = {
            "started": started,
            "machine": describe_machine(ROOT),
            "python": describe_python(options.python, ["fastwsgi", *filter(None, [server.package])]),
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "rows": [_finite(row) for row in rows],
        }
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


@contextmanager
def start_server(
    options: argparse.Namespace, app: str, *, workers: int = 1, connections: int = 0, arguments: str = ""
) -> Iterator[RunningServer]:
    """Run the server that the options name inside; it listens at once and all its workers are up.

    Args:
        options: those of scenario_parser().
        app: the attribute of bench.scenarios.apps to serve.
        workers: how many processes serve.
        connections: how many one of them must take; 0: as many as bench/servers.py says.
        arguments: more options of the server, unless --server-args says otherwise.
    """
    server = SERVERS[options.server]
    port = free_port()
    command = server.command(options.python, port, f"bench.scenarios.apps:{app}", Shape(workers=workers))
    if connections:
        command += _CONNECTIONS[options.server].format(connections).split()
    command += shlex.split(arguments if options.server_args is None else options.server_args)
    with (
        tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log") as log,
        RunningServer(
            command,
            server.environment,
            port=port,
            cpu=options.server_cpu,
            log=log,
        ) as running,
    ):
        _wait_until_at_rest(running, workers)
        yield running


def table(rows: Rows, columns: Mapping[str, str]) -> str:
    """Return a Markdown table of what `columns` names: key of the rows to heading."""
    lines = [list(columns.values()), ["---"] + ["--:"] * (len(columns) - 1)]
    lines += [[_cell(row.get(key, "")) for key in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
    if isinstance(value, (list, tuple)):
        return " ".join(str(one) for one in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _finite(row: Mapping[str, object]) -> dict[str, object]:
    """Return the row with None for what JSON has no number for."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _wait_until_at_rest(running: RunningServer, workers: int) -> None:
    """Wait until the master and its workers are there and have nothing more to do.

    A port that accepts says little: the first worker that comes up would get all connections.
    """
    deadline = time.monotonic() + _PATIENCE
    used = -1.0
    at_rest = 0
    while time.monotonic() < deadline:
        usage = running.usage()
        is_at_rest = usage.processes > workers and usage.cpu == used
        at_rest = at_rest + 1 if is_at_rest else 0
        if at_rest == _RESTS:
            return
        used = usage.cpu
        time.sleep(_REST)
    raise ServerFailedError(f"has not come to rest with {workers} workers after {_PATIENCE:.0f} s")
