"""How much memory all processes take together, with the app loaded after they are forked, and before.

PSS of master and workers, which counts what they share once: after the start; after some hundred requests,
each of which looks at a few of the app's objects (Python writes to their reference counts, so these pages are
copied); and after Python's collector has been through everything it keeps track of, in each worker.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .client import ClosedLoop, Loop
from .servers import run_scenario, scenario_parser, start_server, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.processes import RunningServer

    from .servers import Rows

__all__ = ["main"]

_CONNECTIONS = 40  # so that every worker gets some
_PATIENCE = 60.0  # seconds for them to be answered

_COLUMNS = {
    "arguments": "options",
    "at_start": "MB after the start",
    "later": "MB after the requests",
    "collected": "MB after a collection",
    "requests": "requests",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = scenario_parser(__name__, __doc__)
    parser.add_argument("--workers", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=800, help="(%(default)s)")
    return run_scenario(parser.parse_args(argv), _scenario)


def _scenario(options: argparse.Namespace) -> Rows:
    rows = [_measure(options, arguments) for arguments in ("", "--preload")]
    print(
        f"### preload: {options.server} {options.server_args or ''}\n\n"
        f"{options.workers} workers and their master, an app with about 50 MB of objects.\n\n"
        f"{table(rows, _COLUMNS)}"
    )
    return rows


def _measure(options: argparse.Namespace, arguments: str) -> dict[str, object]:
    given = f"{options.server_args or ''} {arguments}"
    changed = argparse.Namespace(**{**vars(options), "server_args": given})
    with start_server(changed, "load_heavy()", workers=options.workers) as running, Loop() as loop:
        at_start = running.proportional_bytes()
        answered = _ask(loop, running, "/", options.requests)
        later = running.proportional_bytes()
        _ask(loop, running, "/collect", _CONNECTIONS)
        collected = running.proportional_bytes()
    return {
        "arguments": arguments or "none",
        "at_start": at_start / 1e6,
        "later": later / 1e6,
        "collected": collected / 1e6,
        "requests": answered,
    }


def _ask(loop: Loop, running: RunningServer, path: str, count: int) -> int:
    """Make at least `count` requests; return how many were answered."""
    closed = ClosedLoop(loop, running.port, path, connections=_CONNECTIONS)
    loop.run(_PATIENCE, lambda: closed.tally.statuses[200] >= count)
    answered = closed.tally.statuses[200]
    closed.close()
    if answered < count:
        sys.exit(f"Error: {answered} requests were answered in {_PATIENCE:.0f} s")
    return answered


if __name__ == "__main__":
    sys.exit(main())
