"""What is told of a soak: a line each minute, tables at the end, and the same for machines."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fastwsgi import _impl

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.trial import Trial

MOST_FAULTS: Final = 40
MOST_SAMPLES: Final = 60


def minute(trials: list[Trial], began: float, before: dict[str, int]) -> str:
    """Return the line of a minute; `before` is what was counted at the last one."""
    now = Counter[str]()
    for trial in trials:
        ledger = trial.server.ledger
        now["answers"] += ledger.answers
        now["deeds"] += sum(count for kind, count in ledger.kinds.items() if ": " in kind)
        now["faults"] += trial.faults.counts.total()
        now["excused"] += sum(ledger.excused.values())
        now["failures"] += len(ledger.failures)
        now["late"] += sum(client.late for client in trial.clients)
    passed = now - Counter(before)
    before.update(now)
    memory = ", ".join(f"{trial.server.kind} {trial.watch.pss / 1024:.0f}" for trial in trials)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    return (
        f"{minutes:3d}:{seconds:02d}  {passed['answers']:6d} answered  {passed['deeds']:5d} hostile deeds  "
        f"{passed['faults']:3d} faults  {passed['excused']:2d} excused  {passed['late']:2d} late  "
        f"{now['failures']} FAILED  MB: {memory}"
    )


def result(trials: list[Trial], seconds: float, seed: int, wrong: list[str]) -> dict[str, Any]:
    """Return all that was counted and measured."""
    return {
        "fastwsgi": _impl.describe(),
        "seconds": round(seconds, 1),
        "seed": seed,
        "wrong": wrong,
        "servers": [_server(trial) for trial in trials],
    }


def _server(trial: Trial) -> dict[str, Any]:
    ledger, watch = trial.server.ledger, trial.watch
    return {
        "kind": trial.server.kind,
        "steady": trial.is_steady,
        "asked": ledger.asked,
        "answered": ledger.answers,
        "connections": sum(client.connections for client in trial.clients),
        "late": sum(client.late for client in trial.clients),
        "log_lines": ledger.lines,
        "workers_killed": ledger.deaths,
        "excused": sum(ledger.excused.values()),
        "log_lines_excused": ledger.lines_excused,
        "workers_worn": sum(" has served " in line for line in trial.server.live.log.lines),
        "slowest_reload": round(trial.faults.slowest_reload, 1),
        "faults": dict(sorted(trial.faults.counts.items())),
        "kinds": dict(sorted(ledger.kinds.items())),
        "processes": len(watch.series),
        "most_descriptors": watch.most_descriptors,
        "most_threads": watch.most_threads,
        "growth": [
            {
                "role": series.role,
                "pid": series.pid,
                "figure": figure,
                "earlier": growth.earlier,
                "later": growth.later,
                "slope_per_minute": round(growth.slope, 2),
                "seconds": round(growth.seconds),
                "grows": grows,
                "samples": _thinned(series.memory if figure == "KiB" else series.blocks),
            }
            for series, figure, growth, grows in watch.verdicts()
        ],
    }


def _thinned(samples: list[tuple[float, float]]) -> list[tuple[int, float]]:
    """Return at most some dozens of samples, with seconds from the first one."""
    step = len(samples) // MOST_SAMPLES + 1
    return [(round(when - samples[0][0]), value) for when, value in samples[::step]]


def show(found: dict[str, Any]) -> None:
    """Print it for people."""
    kinds: Counter[str] = Counter()
    for server in found["servers"]:
        kinds.update(server["kinds"])
    print("\nwhat clients did, and what came of it")
    for kind, count in sorted(kinds.items()):
        print(f"{count:9d}  {kind}")
    print(
        "\nservers"
        + " " * 9
        + "answered  log lines  connections  killed  worn  excused (lines)  late  reload s  fds  threads"
    )
    for server in found["servers"]:
        print(
            f"{server['kind']:14s} {server['answered']:9d} {server['log_lines']:10d} {server['connections']:12d} "
            f"{server['workers_killed']:7d} {server['workers_worn']:5d} {server['excused']:8d} {'(' + str(server['log_lines_excused']) + ')':>7s} "
            f"{server['late']:5d} {server['slowest_reload']:9.1f} {server['most_descriptors']:4d} {server['most_threads']:8d}"
        )
        faults = ", ".join(f"{count} {name}" for name, count in server["faults"].items())
        print(f"    {faults}")
    print("\nmemory: floors of the earlier and the later half after warming up, slope of all samples")
    for server in found["servers"]:
        for each in server["growth"]:
            print(
                f"{server['kind']:14s} {each['role']:6s} {each['pid']:7d} {each['seconds']:5d} s  "
                f"{each['earlier']:9.0f} -> {each['later']:9.0f} {each['figure']:6s} {each['slope_per_minute']:+9.1f} a minute"
                f"{'  GROWS' if each['grows'] else ''}"
            )
    print()
    for line in found["wrong"][:MOST_FAULTS]:
        print(f"WRONG  {line}")
    answered, lines = (sum(server[name] for server in found["servers"]) for name in ("answered", "log_lines"))
    excused = sum(server["excused"] for server in found["servers"])
    print(
        f"{found['seconds']:g} s: {answered} requests answered, {lines} lines in access logs, "
        f"{excused} excused by a worker's death, {len(found['wrong'])} wrong"
    )


def write(found: dict[str, Any], path: Path) -> None:
    """Write it as JSON."""
    path.write_text(json.dumps(found, indent=1) + "\n")
