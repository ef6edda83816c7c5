"""Compare servers side by side: `python -m bench.run`.

Installs what is compared, runs cases and sections, and writes a result file and the report made of it. One
wrong response makes a row invalid; the run fails if that is a row of ours, or if a part of it is missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ROOT, footprint, micro, mix
from .apps import write_file
from .environments import NotInstalled, install, prepare
from .machine import describe_machine, describe_python, make_certificate, missing_tool, open_files_limit
from .options import parse
from .plan import SECTIONS
from .processes import leave_at_signals
from .progress import Progress, say
from .race import Race
from .servers import OURS, PEERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from .servers import Server

__all__ = ["is_sound", "main", "wrong_rows"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the result and the report; return 0 if both are whole and all rows of ours valid."""
    options = parse(argv)
    leave_at_signals()
    problem = missing_tool()
    if problem:
        sys.stderr.write(f"Error: {problem}\n")
        return 2
    open_files_limit()
    write_file()
    started = datetime.now(timezone.utc)
    pythons, skipped = _install(options.servers)
    if OURS in skipped:
        sys.stderr.write(f"Error: without {OURS} there is no comparison: {skipped[OURS]}\n")
        return 2
    result: dict[str, Any] = {
        "format": 2,
        "started": started.isoformat(timespec="seconds"),
        "finished": "",
        "machine": describe_machine(ROOT),
        "servers": {server.name: _described(server, python) for server, python in pythons.items()},
        "skipped": skipped,
        "options": {"quick": options.quick, **vars(options.method)},
        "cases": [],
    }
    path = options.output / f"{started.strftime('%Y-%m-%dT%H%M%S')}.json"
    # What is not the server, this process with its probes too, keeps to the client's CPU.
    os.sched_setaffinity(0, {options.method.client_cpu})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for cases in _raced(options, pythons, Path(folder)):
            result["cases"] = cases
            _write(path, result)
    for name, section in _sections(options, pythons, skipped):
        result[name] = section
        _write(path, result)
    _write(path, result)
    say(f"written: {path}")
    reported = _report(path)
    for case in [*result["cases"], *(result[name] for name in SECTIONS if name in result)]:
        for target in case.get("targets", ()):
            reached = {True: "reached", False: "NOT REACHED", None: "not measured"}[target["reached"]]
            value = "" if target["value"] is None else f": {target['value']:,.3f}"
            print(f"{case.get('name', 'footprint')}: {target['text']}{value}, {reached}")
    for name, row in wrong_rows(result):
        print(f"INVALID: {name}, {row['server']}: {'; '.join(row['faults'])}")
    return 0 if reported and is_sound(result) else 1


def is_sound(result: Mapping[str, Any]) -> bool:
    """Return whether all rows of ours are valid and no section is missing.

    What is wrong with a peer, or that it does not install, is a thing to be told and no failure of the run.
    """
    ours_wrong = any(row["server"] not in PEERS for _, row in wrong_rows(result))
    return not ours_wrong and result["skipped"].keys().isdisjoint(SECTIONS)


def wrong_rows(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return every row that is not valid, with the name of its case or section."""
    return [
        (name, row)
        for name, section in [
            *((case["name"], case) for case in result["cases"]),
            *((name, result[name]) for name in ("footprint", "mix") if name in result),
        ]
        for row in section["rows"]
        if not row["valid"]
    ]


def _install(servers: Sequence[Server]) -> tuple[dict[Server, str], dict[str, str]]:
    pythons: dict[Server, str] = {}
    skipped: dict[str, str] = {}
    for server in servers:
        try:
            pythons[server] = prepare(server)
        except NotInstalled as exc:
            skipped[server.name] = str(exc)
            say(f"skipped: {server.title}: {exc}")
    return pythons, skipped


def _described(server: Server, python: str) -> dict[str, Any]:
    if server.name == "floor":
        return {"title": server.title, "python": "", "package": "", "version": "", "note": server.note}
    package = server.package or OURS
    found = describe_python(python, [package, "flask", "werkzeug", "django", "gevent", "httptools"])
    versions = dict(found["packages"])
    return {
        "title": server.title,
        "python": found["python"],
        "package": package,
        "version": versions.pop(package, ""),
        "beside": versions,
        "note": server.note,
    }


def _raced(
    options: argparse.Namespace, pythons: Mapping[Server, str], folder: Path
) -> Iterator[list[dict[str, Any]]]:
    """Run the cases and yield all that there are, as a result file has them, after each."""
    certificate = make_certificate(folder)
    races = [Race(case, options.method, pythons, folder, certificate) for case in options.cases]
    progress = Progress(sum(race.planned for race in races))
    by_name = {race.case.name: race for race in races}

    def figures(case: str, server: str, name: str) -> float | None:
        race = by_name.get(case)
        return race.figure(server, name) if race else None

    for number, race in enumerate(races, 1):
        for server, reason in race.skipped.items():
            say(f"{race.case.name}: skipped: {server}: {reason}")
        race.run(progress)
        yield [one.as_json(figures) for one in races[:number]]


def _sections(
    options: argparse.Namespace, pythons: Mapping[Server, str], skipped: dict[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure the sections that are wanted and yield each with its name, or note in `skipped` why not."""
    quick, method = options.quick, options.method
    cpus = {"server_cpu": method.server_cpu, "client_cpu": method.client_cpu}
    if "footprint" in options.sections:
        yield "footprint", footprint.measure(pythons, server_cpu=method.server_cpu, quick=quick, say=say)
    if "mix" in options.sections:
        try:
            yield "mix", mix.measure(list(pythons), **cpus, quick=quick, say=say)
        except NotInstalled as exc:
            skipped["mix"] = str(exc)
            say(f"skipped: the mix: {exc}")
    if "micro" in options.sections:
        say("micro-benchmarks")
        try:
            yield "micro", micro.measure(quick=quick, cpu=method.server_cpu)
        except (NotInstalled, micro.MicroError) as exc:
            skipped["micro"] = str(exc)
            say(f"skipped: the micro-benchmarks: {exc}")


def _report(path: Path) -> bool:
    """Write the report of a result; return whether it is whole: without matplotlib it has no page."""
    try:
        python = install("what the report needs", _requirements("report"))
    except NotInstalled as exc:
        say(f"tables only: {exc}")
        python = sys.executable
    return subprocess.run([python, "-m", "bench.report", str(path)], cwd=ROOT, check=False).returncode == 0


def _requirements(section: str) -> tuple[str, ...]:
    path = ROOT / "bench" / section / "requirements.txt"
    if not path.exists():
        raise NotInstalled(f"there is no {path}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _write(path: Path, result: dict[str, Any]) -> None:
    """Write what there is: a run that is broken off keeps what it has measured."""
    result["finished"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
