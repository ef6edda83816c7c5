"""Times the subjects in this interpreter, by pyperf: `python -m bench.micro.timing --rows PATH`.

It runs in an environment that has pyperf and the peers; bench.micro starts it. pyperf starts it anew for each
process of its own, which then times one subject; the first process gathers what came out.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import agreement, parsers
from .subjects import SUBJECTS, Subject, missing

__all__ = ["main", "row", "timed"]

_PACKAGES = ("pyperf", "httptools", "gunicorn", "gunicorn_h1c")
_ENVIRONMENT = "PATH,PYTHONPATH,FASTWSGI_NO_EXTENSIONS,FASTWSGI_REQUIRE_EXTENSIONS"


def main() -> None:
    """Time what is asked for; write the rows as JSON."""
    import pyperf

    def pass_on(command: list[str], args: Any) -> None:
        command.extend(["--only", args.only, "--rows", args.rows])

    runner = pyperf.Runner(program_args=("-m", "bench.micro.timing"), add_cmdline_args=pass_on)
    runner.argparser.add_argument("--only", choices=("all", "quick", "ours"), default="all")
    runner.argparser.add_argument("--rows", required=True, help="where to write what was found")
    runner.argparser.set_defaults(inherit_environ=_ENVIRONMENT.split(","))
    args = runner.parse_args()
    subjects = [one for one in SUBJECTS if _is_wanted(one, args.only)]
    present = [one for one in subjects if not missing(one)]
    if not args.worker:
        _require_agreement()
    rows = []
    for subject in present:
        benchmark = runner.bench_time_func(
            title(subject), partial(timed, subject, []), inner_loops=subject.calls
        )
        if benchmark is not None and not args.worker:
            rows.append(row(subject, benchmark))
    if not args.worker:
        skipped = {one.implementation: f"{one.module} is not installed" for one in subjects if missing(one)}
        found = {"rows": rows, "skipped": skipped, "packages": _versions()}
        Path(args.rows).write_text(json.dumps(found), encoding="utf-8")


def title(subject: Subject) -> str:
    """Return by what name pyperf knows a subject."""
    return f"{subject.group}, {subject.name}: {subject.implementation}"


def timed(subject: Subject, made: list[Any], loops: int) -> float:
    """Return how long a subject takes `loops` times over; `made` keeps what was prepared for next time."""
    if not made:
        made.append(subject.make())
    run = made[0]
    began = time.perf_counter()
    for _ in range(loops):
        run()
    return time.perf_counter() - began


def row(subject: Subject, benchmark: Any) -> dict[str, Any]:
    """Return what a pyperf Benchmark says of a subject."""
    return {
        "group": subject.group,
        "name": subject.name,
        "implementation": subject.implementation,
        "mean_ns": benchmark.mean() * 1e9,
        "stdev_ns": (benchmark.stdev() if benchmark.get_nvalue() > 1 else 0.0) * 1e9,
    }


def _is_wanted(subject: Subject, which: str) -> bool:
    return which == "all" or (subject.in_quick if which == "quick" else subject.is_ours)


def _require_agreement() -> None:
    for subject in SUBJECTS:
        if subject.module.startswith("gunicorn") and not missing(subject):
            how = "fast" if subject.module == "gunicorn_h1c" else "python"
            found = agreement.differences(partial(parsers.gunicorn, how))
            if found:
                sys.exit(f"Error: {subject.implementation} finds other things than we do: {found[0]}")


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
