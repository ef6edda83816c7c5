"""Compare servers side by side: `python -m bench.run`.

Every server is started anew for every round, the rounds of all servers are interleaved, and what is compared
are the medians of server CPU time per request. One wrong response makes a row invalid and the run fail.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .load import WrkError, WrongResponseError, probe, run_wrk
from .machine import (
    busy_seconds,
    client_seconds,
    compile_floor,
    describe_machine,
    describe_python,
    missing_module,
    missing_tool,
)
from .plan import CASES, ROOT, SERVERS, Case, Server
from .processes import RunningServer, ServerFailedError, Usage, free_port
from .table import OURS, Round, Row, case_table, target_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_T = TypeVar("_T")
_RECORDED = ("rounds", "seconds", "warm_up", "connections", "tolerance", "patience")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, write JSON; return 0 only if every row that was run is valid."""
    options = _parse(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Leave by way of the context managers, which end the servers; a shell may have SIGINT ignored.
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    problem = missing_tool()
    if problem:
        sys.stderr.write(f"Error: {problem}\n")
        return 2
    for case in options.cases:
        for python in {options.python, options.peer_python} if case.module else ():
            problem = missing_module(python, case.module, ROOT)
            if problem:
                sys.stderr.write(f"Error: case {case.name} with {python}: {problem}\n")
                return 2
    floor, no_floor = compile_floor(ROOT)
    servers: list[Server] = []
    skipped: dict[str, str] = {}
    for server in options.servers:
        python = _python(options, server)
        reason = no_floor if server.name == "floor" else ""
        if server.module:
            reason = missing_module(python, server.module, ROOT)
        if reason:
            skipped[server.name] = reason
            _say(f"skipped: {server.name}: {reason}")
        else:
            servers.append(server)
    report: dict[str, object] = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(ROOT),
        "python": describe_python(options.python, ["fastwsgi", "httptools", "cython"]),
        "peer_python": describe_python(
            options.peer_python, [*(one.package for one in SERVERS if one.package), "flask", "werkzeug"]
        ),
        "options": {name: getattr(options, name) for name in _RECORDED},
        "notes": {server.name: server.note for server in servers if server.note},
        "skipped": skipped,
    }
    results: dict[str, dict[str, Row]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as logs:
        for case in options.cases:
            try:
                results[case.name] = _run_case(case, servers, options, floor, Path(logs))
            except WrkError as exc:
                sys.stderr.write(f"Error: {exc}\n")
                return 2
    report["cases"] = {name: [row.as_json() for row in rows.values()] for name, rows in results.items()}
    verdicts = [line for case in options.cases for line in target_lines(case, results[case.name])]
    report["targets"] = verdicts
    print("\n\n".join(case_table(case, results[case.name]) for case in options.cases))
    print("\n### Targets\n\n" + "\n".join(verdicts))
    for name, reason in skipped.items():
        print(f"\nskipped: {name}: {reason}")
    _say(f"written: {_write(report, options)}")
    # A missing peer is a fact to be told, but without fastwsgi there is no comparison.
    valid = OURS not in skipped and all(row.valid for rows in results.values() for row in rows.values())
    return 0 if valid else 1


def _run_case(
    case: Case, servers: Sequence[Server], options: argparse.Namespace, floor: Path | None, logs: Path
) -> dict[str, Row]:
    taking_part = [
        server
        for server in servers
        if server.name not in case.without and (not case.only or server.name in case.only)
    ]
    rows = {server.name: Row(server.name, options.rounds, options.tolerance) for server in taking_part}
    for number in range(options.rounds * (1 + options.patience)):
        # Nobody always comes first, nor always after the same neighbor.
        start = number % max(1, len(taking_part))
        for server in taking_part[start:] + taking_part[:start]:
            row = rows[server.name]
            if row.faults or len(row.calm) >= options.rounds:
                continue
            try:
                one = _run_round(case, server, row, options, floor, logs)
            except (ServerFailedError, WrongResponseError) as exc:
                row.faults.append(str(exc))
                _say(f"{case.name} round {number + 1} {server.name}: INVALID: {exc}")
            except OSError as exc:
                row.faults.append(f"{type(exc).__name__}: {exc}")
                _say(f"{case.name} round {number + 1} {server.name}: INVALID: {exc}")
            else:
                row.rounds.append(one)
                faults = "".join(f"; INVALID: {fault}" for fault in row.faults)
                _say(
                    f"{case.name} round {number + 1} {server.name}: {one.cpu_us:.2f} µs, {one.rate:,.0f}/s, "
                    f"{one.foreign:.0%} of the CPUs to other processes, {one.stolen:.0%} stolen{faults}"
                )
    return rows


def _run_round(
    case: Case, server: Server, row: Row, options: argparse.Namespace, floor: Path | None, logs: Path
) -> Round:
    port = free_port()
    connections = case.connections or options.connections
    fills = {"python": _python(options, server), "app": case.app, "floor": str(floor), "port": str(port)}
    command = [word.format_map(fills) for word in server.command]
    with (
        (logs / f"{case.name}-{server.name}.log").open("wb") as log,
        RunningServer(command, server.environment, port=port, cpu=options.server_cpu, log=log) as running,
    ):
        size = probe(port, case)

        def load(seconds: float) -> Round:
            cpus = (options.server_cpu, options.client_cpu)
            before, client_before, machine_before = running.usage(), client_seconds(), busy_seconds(cpus)
            figures = run_wrk(
                root=ROOT,
                port=port,
                case=case,
                cpu=options.client_cpu,
                seconds=seconds,
                connections=connections,
            )
            after, client_after, machine_after = running.usage(), client_seconds(), busy_seconds(cpus)
            spent = Usage(
                after.user - before.user, after.system - before.system, after.processes, after.threads
            )
            row.faults += figures.faults(size, connections)
            if not figures.requests:
                raise WrongResponseError(f"no response within {seconds} s")
            worked, stolen = (late - early for early, late in zip(machine_before, machine_after, strict=True))
            foreign = max(0.0, worked - (client_after - client_before) - spent.cpu)
            available = 2e-6 * figures.duration_us
            return Round(figures, spent, foreign / available, stolen / available)

        load(options.warm_up)
        return load(options.seconds)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--cases", default="", help=f"comma-separated, of: {', '.join(c.name for c in CASES)}"
    )
    parser.add_argument(
        "--servers", default="", help=f"comma-separated, of: {', '.join(s.name for s in SERVERS)}"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each server in each case (5; quick: 3)")
    parser.add_argument("--seconds", type=int, help="length of a round (4; quick: 2)")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before each round (%(default)s)")
    parser.add_argument("--connections", type=int, default=50, help="open at once (%(default)s)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.04,
        help="share of the CPUs a round may lose to others (%(default)s)",
    )
    parser.add_argument(
        "--patience", type=int, default=2, help="times the rounds that disturbed ones may add (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, for a first look")
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter that runs fastwsgi (this one)"
    )
    parser.add_argument(
        "--peer-python", default="", help="the interpreter that runs the peers (that of --python)"
    )
    parser.add_argument("--server-cpu", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--client-cpu", type=int, default=1, help="(%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "bench" / "results", help="folder for the JSON file"
    )
    options = parser.parse_args(argv)
    options.peer_python = options.peer_python or options.python
    if options.rounds is None:
        options.rounds = 3 if options.quick else 5
    if options.seconds is None:
        options.seconds = 2 if options.quick else 4
    if min(options.rounds, options.seconds, options.warm_up, options.connections) < 1:
        parser.error("--rounds, --seconds, --warm-up and --connections must be at least 1")
    cpus = os.sched_getaffinity(0)
    if not {options.server_cpu, options.client_cpu} <= cpus or options.server_cpu == options.client_cpu:
        parser.error(f"server and client need a CPU each, of {sorted(cpus)}: --server-cpu, --client-cpu")
    try:
        options.cases = _choose(options.cases, {case.name: case for case in CASES}) or list(CASES)
        options.servers = _choose(options.servers, {one.name: one for one in SERVERS}) or [
            one for one in SERVERS if not one.on_request
        ]
    except KeyError as exc:
        parser.error(f"there is no {exc.args[0]!r}")
    return options


def _choose(names: str, known: dict[str, _T]) -> list[_T]:
    return [known[name.strip()] for name in names.split(",") if name.strip()]


def _python(options: argparse.Namespace, server: Server) -> str:
    return str(options.peer_python if server.package else options.python)


def _write(report: dict[str, object], options: argparse.Namespace) -> Path:
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    stamp = str(report["started"])[:19].replace(":", "")
    path = folder / f"{stamp}-{'-'.join(case.name for case in options.cases)}.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _say(text: str) -> None:
    """Show progress on standard error: standard output is the report."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
