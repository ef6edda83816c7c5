"""`python -m tests.soak [--minutes N]`: soak servers side by side; exit code 1 if anything came that must not."""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from fastwsgi import _impl
from tests.certificates import OPENSSL, Authority
from tests.processes import children
from tests.soak import report
from tests.soak.accounting import MOST_FAILURES
from tests.soak.clients import write_download
from tests.soak.server import KINDS, Soaked
from tests.soak.trial import Trial

FAULTY: Final = "inline,threads-tls,gevent"
STEADY: Final = "threads,inline-tls"
MAX_REQUESTS: Final = ("--max-requests", "300", "--max-requests-jitter", "200")
_SET_CHILD_SUBREAPER: Final = 36


def kinds_of(text: str) -> list[str]:
    """Return the kinds of servers in an option; one that cannot be had here is left out, which is said."""
    found = []
    for kind in filter(None, text.split(",")):
        engine, _, tls = kind.partition("-")
        if engine not in KINDS or tls not in {"", "tls"}:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(KINDS)}, with -tls or without")
        if engine == "gevent" and importlib.util.find_spec("gevent") is None:
            print("gevent is not installed: its server is left out")
        elif tls and not OPENSSL:
            print("openssl, which makes certificates, is not installed: servers with TLS are left out")
        else:
            found.append(kind)
    return found


def adopt_orphans() -> None:
    """Become the parent of processes below that lose theirs: new masters, whose exit codes we want, and strays."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def watch_over(trials: list[Trial], seconds: float, began: float) -> None:
    """Print a line each minute, until the time is over or too much has failed."""
    pause, before = threading.Event(), dict[str, int]()
    next_line = began + 60
    while (now := time.monotonic()) < began + seconds:
        pause.wait(min(1.0, began + seconds - now))
        if time.monotonic() >= next_line:
            next_line += 60
            print(report.minute(trials, began, before), flush=True)
        if all(len(trial.server.ledger.failures) >= MOST_FAILURES for trial in trials):
            break
    if next_line - time.monotonic() < 50:
        print(report.minute(trials, began, before), flush=True)


def wrong_with(trial: Trial) -> list[str]:
    """Return what must not be, once all clients have gone; the server is ended."""
    found = trial.server.settle()
    found += trial.watch.faults
    found += trial.server.stop()
    found += trial.server.ledger.close()
    found += [
        f"{series.role} {series.pid} grows: {growth.earlier:.0f} -> {growth.later:.0f} {figure}"
        for series, figure, growth, grows in trial.watch.verdicts()
        if grows
    ]
    return [f"{trial.server.kind}: {what}" for what in found]


def soak(faulty: list[str], steady: list[str], seconds: float, seed: int) -> dict[str, object]:
    """Return what came of it."""
    end, end_of_faults = threading.Event(), threading.Event()
    trials: list[Trial] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fastwsgi-soak-") as name:
        folder = Path(name)
        write_download(os.fspath(folder / "download"))
        authority = Authority(folder) if any("-tls" in kind for kind in (*faulty, *steady)) else None
        try:
            for number, kind in enumerate((*faulty, *steady)):
                is_steady = number >= len(faulty)
                server = Soaked(kind, number, folder, authority, *(() if is_steady else MAX_REQUESTS))
                trials.append(
                    Trial(
                        server,
                        f"{seed} {number}",
                        seconds,
                        is_steady=is_steady,
                        end=end,
                        end_of_faults=end_of_faults,
                    )
                )
            began = time.monotonic()
            for trial in trials:
                trial.start()
            watch_over(trials, seconds, began)
            end_of_faults.set()
            for trial in trials:
                trial.join_faults()
            took = time.monotonic() - began
            end.set()
            for trial in trials:
                trial.join()
            for trial in trials:
                wrong += wrong_with(trial)
        finally:
            for trial in trials:
                trial.server.kill()
    wrong += [f"process {pid} has lost its parent, and lives" for pid in children(os.getpid())]
    return report.result(trials, took, seed, wrong)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--faulty", type=kinds_of, default=FAULTY, help=f"servers that all befalls; {FAULTY}")
    parser.add_argument("--steady", type=kinds_of, default=STEADY, help=f"servers of one life; {STEADY}")
    parser.add_argument("--json", type=Path, help="a file for what came of it")
    options = parser.parse_args()
    seconds = options.minutes * 60 + options.seconds or 120.0
    print(f"fastwsgi: {_impl.describe()}; {seconds:g} s, --seed {options.seed}", flush=True)
    adopt_orphans()
    found = soak(options.faulty, options.steady, seconds, options.seed)
    report.show(found)
    if options.json:
        report.write(found, options.json)
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())
