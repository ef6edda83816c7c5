"""More requests than the server has CPU for, and how many of them are still answered in time.

Each request burns the same CPU time. Capacity is what a closed loop gets out of the server; then requests
come by schedule, at shares of it. A client gives up after a while, and an answer that comes later is wasted:
a server that serves all in turn, however late, serves nobody.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .client import ClosedLoop, Loop, OpenLoop
from .servers import Disturbance, run_scenario, scenario_parser, start_server, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .servers import Rows

__all__ = ["main"]

_AT_ONCE = 8  # requests under way while the capacity is measured
_CAPACITY_SECONDS = 3.0

_COLUMNS = {
    "load": "load",
    "rate": "requests/s",
    "goodput": "goodput/s",
    "of_capacity": "of capacity",
    "refused": "503",
    "gave_up": "gave up",
    "lost": "lost",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "lag_p99_ms": "client's lag p99 ms",
    "others": "CPU lost to others",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = scenario_parser(__name__, __doc__)
    parser.add_argument("--workers", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--burn", type=float, default=2.0, help="ms of CPU per request (%(default)s)")
    parser.add_argument("--loads", default="0.5,1,2", help="shares of the capacity (%(default)s)")
    parser.add_argument("--client-timeout", type=float, default=2.0, help="seconds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured for each load (%(default)s)")
    parser.add_argument("--settle", type=float, default=4.0, help="seconds before that (%(default)s)")
    parser.add_argument(
        "--new-connections", action="store_true", help="one for each request; else they are kept"
    )
    return run_scenario(parser.parse_args(argv), _scenario)


def _scenario(options: argparse.Namespace) -> Rows:
    path = f"/?{options.burn}"
    with start_server(options, "overload", workers=options.workers) as running, Loop() as loop:
        closed = ClosedLoop(loop, running.port, path, connections=_AT_ONCE)
        loop.run(_CAPACITY_SECONDS)
        capacity = closed.tally.statuses[200] / _CAPACITY_SECONDS
        closed.close()
    if not capacity:
        sys.exit("Error: no request was answered, so that there is no capacity to take shares of")
    kind = "a new connection for each" if options.new_connections else "connections kept"
    print(
        f"### overload: {options.server} {options.server_args or ''}\n\n"
        f"{options.burn:g} ms of CPU per request, {kind}, capacity {capacity:.0f}/s, "
        f"clients give up after {options.client_timeout:g} s.\n"
    )
    rows: Rows = []
    for load in options.loads.split(","):
        # A server of its own for each: what the load before has left in queues is no part of this one.
        with start_server(options, "overload", workers=options.workers) as running, Loop() as loop:
            disturbance = Disturbance(running, options.server_cpu)
            traffic = OpenLoop(
                loop,
                running.port,
                path,
                rate=float(load) * capacity,
                seconds=options.seconds,
                settle=options.settle,
                timeout=options.client_timeout,
                fresh=options.new_connections,
            )
            loop.run(options.settle + options.seconds + 2 * options.client_timeout, traffic.is_done)
            figures = traffic.tally.figures()
            traffic.close()
            rows.append(
                {
                    "load": f"{load} ×",  # noqa: RUF001 - the sign of multiplication
                    "rate": float(load) * capacity,
                    "goodput": figures["ok"] / options.seconds,
                    "of_capacity": figures["ok"] / options.seconds / capacity,
                    **figures,
                    "others": disturbance.share(),
                }
            )
    print(table(rows, _COLUMNS))
    return rows


if __name__ == "__main__":
    sys.exit(main())
