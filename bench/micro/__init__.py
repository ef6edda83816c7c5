"""Timings of single parts, without sockets: `python -m bench.micro`.

The timing itself is pyperf's, in an environment of its own (timing.py); this starts it, once for each of our
two implementations, and gathers the section "micro" of a result.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import ROOT
from ..environments import NotInstalled, install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MicroError", "environment", "markdown", "measure"]

_OURS = "fastwsgi"
_PURE = "fastwsgi, pure Python"
_TITLE = "the micro-benchmarks"
_NEEDED = ("pyperf>=2.8", "httptools>=0.6", "setproctitle>=1.3", "gunicorn>=27")
# gunicorn takes any from 0.4.1 on. It is compiled where there is no wheel of it, so it may be missing.
_C_PARSER = "gunicorn_h1c>=0.4.1"
# Processes, values in each after one that is thrown away, seconds that a value takes at least.
_FULL = ("--processes", "5", "--values", "3", "--warmups", "1", "--min-time", "0.05")
_QUICK = ("--processes", "1", "--values", "5", "--warmups", "1", "--min-time", "0.01")


class MicroError(Exception):
    """The timings could not be made; says why."""


def environment() -> str:
    """Return a Python with pyperf and the peers, installing them first; raises NotInstalled."""
    try:
        return install(_TITLE, (_NEEDED[0], _C_PARSER, *_NEEDED[1:]))
    except NotInstalled:
        return install(_TITLE, _NEEDED)


def measure(
    python: str | None = None,
    *,
    quick: bool = False,
    cpu: int | None = None,
    run: Callable[..., Any] = subprocess.run,
) -> dict[str, Any]:
    """Time everything, and return the section "micro" of a result.

    Args:
        python: as environment() returns it, if it was called.
        quick: fewer rows, none of them pure, and fewer repetitions: a first look in 20 seconds.
        cpu: on which everything runs.
        run: as subprocess.run.

    Raises MicroError, NotInstalled.
    """
    python = python or environment()
    how = [*(_QUICK if quick else _FULL), *([] if cpu is None else ["--affinity", str(cpu)])]
    section: dict[str, Any] = _time(run, python, [*how, "--only", "quick" if quick else "all"], pure=False)
    if not quick:
        pure = _time(run, python, [*how, "--only", "ours"], pure=True)
        section["rows"] = _merged(section["rows"], pure["rows"])
    return section


def _time(run: Callable[..., Any], python: str, arguments: Sequence[str], *, pure: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="micro-") as folder:
        rows = Path(folder) / "rows.json"
        command = [python, "-m", "bench.micro.timing", "--quiet", *arguments, "--rows", str(rows)]
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        for variable in ("FASTWSGI_NO_EXTENSIONS", "FASTWSGI_REQUIRE_EXTENSIONS"):
            environment.pop(variable, None)
        environment["FASTWSGI_NO_EXTENSIONS" if pure else "FASTWSGI_REQUIRE_EXTENSIONS"] = "1"
        # What pyperf prints is progress: standard output may be the report's.
        result = run(command, cwd=ROOT, env=environment, stdout=2, check=False)
        if result.returncode:
            raise MicroError(f"{' '.join(command)} has failed with status {result.returncode}")
        found: dict[str, Any] = json.loads(rows.read_text(encoding="utf-8"))
    if not found["rows"]:
        raise MicroError("nothing was timed")
    return found


def _merged(rows: Sequence[dict[str, Any]], pure: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `rows` with each of `pure` behind the compiled row that it is the other form of."""
    others = {(row["group"], row["name"]): row | {"implementation": _PURE} for row in pure}
    merged = []
    for row in rows:
        merged.append(row)
        if row["implementation"] == _OURS:
            merged.append(others[row["group"], row["name"]])
    return merged


def markdown(section: dict[str, Any]) -> str:
    """Return the section as a Markdown table; the ratio is to our compiled form."""
    ours = {
        (row["group"], row["name"]): row["mean_ns"]
        for row in section["rows"]
        if row["implementation"] == _OURS
    }
    lines = [
        "| what | of which kind | by | ns | ± | ratio |",
        "|---|---|---|--:|--:|--:|",
    ]
    for row in section["rows"]:
        ratio = row["mean_ns"] / ours[row["group"], row["name"]]
        lines.append(
            f"| {row['group']} | {row['name']} | {row['implementation']} | {row['mean_ns']:,.0f} "
            f"| {row['stdev_ns']:,.0f} | {ratio:.2f} |"
        )
    return "\n".join(lines)
