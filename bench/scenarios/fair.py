"""How evenly the workers share the work, and (--stuck) whether anybody waits behind one that is stuck.

The application answers with the pid of its worker. Connections are kept and ask again as soon as they are
answered; they come all at once or one after another, since the kernel and the server spread them differently.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from .client import Answer, ClosedLoop, Connection, Loop, OpenLoop, Tally, get
from .servers import FIGURES, Disturbance, run_scenario, scenario_parser, start_server, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .servers import Rows

__all__ = ["main"]

_TARGET = 1.3
_ARRIVALS = {"at once": 0.0, "500/s": 500.0}
_SETTLE = 0.5  # seconds after the last connection has come

_STUCK_SECONDS = 2.0
_STUCK_ROUNDS = 3
_STUCK_RATE = 100.0
_STUCK_BURST = 10  # browsers open several connections at a time
_BEHIND = 0.25  # seconds: whoever has waited for so long has waited for the worker that is stuck

_COLUMNS = {
    "workers": "workers",
    "connections": "connections",
    "arrival": "opened",
    "rate": "requests/s",
    "connections_per_worker": "connections per worker",
    "requests_per_worker": "requests per worker",
    "ratio": "busiest ÷ laziest",
    "verdict": f"≤ {_TARGET}",
    "others": "CPU lost to others",
}

_STUCK_COLUMNS = {
    "workers": "workers",
    **FIGURES | {"sent": "new connections"},
    "behind": f"over {_BEHIND} s",
    "others": "CPU lost to others",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = scenario_parser(__name__, __doc__)
    parser.add_argument("--workers", default="2,8", help="comma-separated (%(default)s)")
    parser.add_argument("--connections", default="50,1000", help="comma-separated (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    parser.add_argument("--stuck", action="store_true", help="put one worker into a slow request instead")
    options = parser.parse_args(argv)
    return run_scenario(options, _stuck if options.stuck else _shared)


def _shared(options: argparse.Namespace) -> Rows:
    rows = [
        _share(options, int(workers), int(connections), arrival)
        for workers in options.workers.split(",")
        for connections in options.connections.split(",")
        for arrival in _ARRIVALS
    ]
    print(f"### fair: {options.server} {options.server_args or ''}\n\n{table(rows, _COLUMNS)}")
    return rows


def _share(options: argparse.Namespace, workers: int, connections: int, arrival: str) -> dict[str, object]:
    requests: Counter[bytes] = Counter()
    worker_of: dict[Connection, bytes] = {}

    def count(connection: Connection, answer: Answer) -> None:
        if answer.status == 200:
            requests[answer.body] += 1
            worker_of[connection] = answer.body
        else:
            worker_of.pop(connection, None)

    # All of them could come to one worker, which must not refuse them.
    with (
        start_server(options, "fair", workers=workers, connections=2 * connections) as running,
        Loop() as loop,
    ):
        per_second = _ARRIVALS[arrival]
        closed = ClosedLoop(
            loop, running.port, "/", connections=connections, per_second=per_second, on_answer=count
        )
        loop.run((connections / per_second if per_second else 0.0) + _SETTLE)
        requests.clear()
        disturbance = Disturbance(running, options.server_cpu)
        loop.run(options.seconds)
        others = disturbance.share()
        closed.close()
    # A worker that has answered nothing is not in the counters.
    shares = [*sorted(requests.values(), reverse=True), *[0] * workers][:workers]
    ratio = shares[0] / shares[-1] if shares[-1] else math.inf
    failed = {str(status): number for status, number in closed.tally.statuses.items() if status != 200}
    return {
        "workers": workers,
        "connections": connections,
        "arrival": arrival,
        "rate": sum(shares) / options.seconds,
        "connections_per_worker": sorted(Counter(worker_of.values()).values(), reverse=True),
        "requests_per_worker": shares,
        "ratio": ratio,
        "verdict": "reached" if ratio <= _TARGET else "**not reached**",
        "others": others,
        "failed": failed,
    }


def _stuck(options: argparse.Namespace) -> Rows:
    rows = [_wait_beside(options, int(workers)) for workers in options.workers.split(",")]
    print(
        f"### fair --stuck: {options.server} {options.server_args or ''}\n\n"
        f"One worker sleeps for {_STUCK_SECONDS:g} s, {_STUCK_ROUNDS} times; beside it {_STUCK_RATE:g} new "
        f"connections per second, {_STUCK_BURST} at a time.\n\n{table(rows, _STUCK_COLUMNS)}"
    )
    return rows


def _wait_beside(options: argparse.Namespace, workers: int) -> dict[str, object]:
    slow = Tally()
    seconds = _STUCK_ROUNDS * (_STUCK_SECONDS + 1.0)
    with start_server(options, "fair", workers=workers) as running, Loop() as loop:

        def stick() -> None:
            connection = Connection(loop, running.port, lambda _, answer: slow.add(answer))
            connection.ask(get(f"/?{_STUCK_SECONDS}", close=True), timeout=3 * _STUCK_SECONDS)

        disturbance = Disturbance(running, options.server_cpu)
        now = time.monotonic()
        for number in range(_STUCK_ROUNDS):
            # Just before a burst of the others, of which the worker may have accepted some by then.
            loop.at(now + 0.5 + number * (_STUCK_SECONDS + 1.0), stick)
        traffic = OpenLoop(
            loop, running.port, "/", rate=_STUCK_RATE, seconds=seconds, fresh=True, burst=_STUCK_BURST
        )
        loop.run(
            seconds + 4 * _STUCK_SECONDS,
            lambda: traffic.is_done() and slow.statuses.total() == _STUCK_ROUNDS,
        )
        others = disturbance.share()
    return {
        "workers": workers,
        **traffic.tally.figures(),
        "behind": sum(one > _BEHIND for one in traffic.tally.seconds),
        "stuck_statuses": {str(status): number for status, number in slow.statuses.items()},
        "others": others,
    }


if __name__ == "__main__":
    sys.exit(main())
