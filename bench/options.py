"""What a run is told: which cases, sections and servers, and how rounds are run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import ROOT
from .plan import CASES, QUICK_CASES, QUICK_SERVERS, SECTIONS
from .race import Method
from .servers import OURS, SERVERS, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Case

__all__ = ["choose", "parse"]

_QUICK = {"rounds": 1, "few_rounds": 1, "seconds": 2, "patience": 0.0}


def choose(only: str, servers: str, *, quick: bool) -> tuple[list[Case], list[str], list[Server]]:
    """Return the cases, the sections and the servers of a run; raise KeyError with a name that is none.

    Args:
        only: comma-separated names of cases and sections; empty for all, or the first of them if `quick`.
        servers: names of servers; ours is always one.
        quick: as in `make bench-quick`.
    """
    cases = {case.name: case for case in CASES}
    names = _names(only) or ([*QUICK_CASES, "footprint"] if quick else [*cases, *SECTIONS])
    for name in names:
        if name not in cases and name not in SECTIONS:
            raise KeyError(name)
    wanted = _names(servers)
    if not wanted:
        all_of_them = [one.name for one in SERVERS.values() if not one.on_request]
        wanted = list(QUICK_SERVERS) if quick else all_of_them
    elif OURS not in wanted:
        wanted.insert(0, OURS)
    return (
        [cases[name] for name in names if name in cases],
        [name for name in names if name in SECTIONS],
        [SERVERS[name] for name in wanted],
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a run, with the cases, sections and servers that they choose, and its method."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description=(__doc__ or "").partition("\n")[0]
    )
    known = [*(case.name for case in CASES), *SECTIONS]
    parser.add_argument("--only", default="", help=f"cases and sections, comma-separated: {', '.join(known)}")
    parser.add_argument("--servers", default="", help=f"comma-separated: {', '.join(SERVERS)}")
    parser.add_argument("--quick", action="store_true", help="few of both and short rounds, for a first look")
    usual = Method()
    for name, help_text in {
        "rounds": "calm rounds of each server in each case",
        "few_rounds": "of servers that are factors behind",
        "seconds": "length of a round",
        "warm_up": "seconds before each round",
        "tolerance": "share of the CPUs a round may lose to others",
        "patience": "times the rounds that disturbed ones may add",
        "server_cpu": "which CPU the server has",
        "client_cpu": "which CPU wrk has",
    }.items():
        default = getattr(usual, name)
        flag = f"--{name.replace('_', '-')}"
        quick = f"; quick: {_QUICK[name]}" if name in _QUICK else ""
        parser.add_argument(flag, type=type(default), metavar="N", help=f"{help_text} ({default}{quick})")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "bench" / "results", help="folder for the result"
    )
    options = parser.parse_args(argv)
    given = {name: getattr(options, name) for name in vars(usual) if getattr(options, name) is not None}
    options.method = Method(**{**(_QUICK if options.quick else {}), **given})
    method: Method = options.method
    if min(method.rounds, method.few_rounds, method.seconds, method.warm_up) < 1:
        parser.error("--rounds, --few-rounds, --seconds and --warm-up must be at least 1")
    cpus = os.sched_getaffinity(0)
    if not {method.server_cpu, method.client_cpu} <= cpus or method.server_cpu == method.client_cpu:
        parser.error(f"server and client need a CPU each, of {sorted(cpus)}: --server-cpu, --client-cpu")
    try:
        options.cases, options.sections, options.servers = choose(
            options.only, options.servers, quick=options.quick
        )
    except KeyError as exc:
        parser.error(f"there is no {exc.args[0]!r}")
    return options
