"""Server-sent events beside normal traffic, and whether either waits for the other.

The application sleeps between two events, so that each stream holds a thread for as long as its client stays.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from .apps import EVENT_SECONDS
from .client import Loop, OpenLoop, connect, get, receive
from .servers import Disturbance, run_scenario, scenario_parser, start_server, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .servers import Rows

__all__ = ["main"]

_CONNECT_SECONDS = 0.2

_THREADS = {"granian": "--blocking-threads 8"}

_COLUMNS = {
    "name": "normal traffic",
    "sent": "sent",
    "ok": "answered",
    "gave_up": "gave up",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "max_ms": "max ms",
    "lag_p99_ms": "client's lag p99 ms",
    "others": "CPU lost to others",
}


class _Stream:
    """A client that takes events for as long as they come."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.events = 0
        self.longest_gap = 0.0
        self.ended = False  # by the server
        self._loop = loop
        self._last = time.monotonic()
        self._sock = connect(port)
        loop.watch(self._sock.fileno(), self._on_event)
        loop.at(self._last + _CONNECT_SECONDS, self._ask)

    def close(self) -> None:
        """Leave; the wait that is not over yet counts as well."""
        self.longest_gap = max(self.longest_gap, time.monotonic() - self._last)
        self._loop.forget(self._sock.fileno())
        self._sock.close()

    def _ask(self) -> None:
        self._last = time.monotonic()
        try:
            self._sock.send(get("/events"))
        except OSError:
            self.ended = True

    def _on_event(self, _events: int) -> None:
        data = receive(self._sock)
        if data is None:
            return
        if not data:
            self.ended = True
            self._loop.forget(self._sock.fileno())
            return
        # An event is sent in one piece, and is too short to be cut.
        events = data.count(b"data: ")
        if events:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self._last)
            self._last = now
            self.events += events


def main(argv: Sequence[str] | None = None) -> int:
    parser = scenario_parser(__name__, __doc__)
    parser.add_argument("--streams", type=int, default=6, help="(%(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="normal requests per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="without, and with (%(default)s)")
    parser.add_argument("--client-timeout", type=float, default=5.0, help="seconds (%(default)s)")
    return run_scenario(parser.parse_args(argv), _scenario)


def _scenario(options: argparse.Namespace) -> Rows:
    rows: Rows = []
    arguments = _THREADS.get(options.server, "--threads 8")
    with start_server(options, "streams", arguments=arguments) as running, Loop() as loop:
        streams: list[_Stream] = []
        for name, count in (("without streams", 0), (f"with {options.streams} streams", options.streams)):
            began = time.monotonic()
            streams = [_Stream(loop, running.port) for _ in range(count)]
            loop.run(2 * _CONNECT_SECONDS)
            disturbance = Disturbance(running, options.server_cpu)
            traffic = OpenLoop(
                loop,
                running.port,
                "/",
                rate=options.rate,
                seconds=options.seconds,
                timeout=options.client_timeout,
            )
            loop.run(options.seconds + 2 * options.client_timeout, traffic.is_done)
            lasted = time.monotonic() - began - _CONNECT_SECONDS
            traffic.close()
            for stream in streams:
                stream.close()
            rows.append({"name": name, **traffic.tally.figures(), "others": disturbance.share()})
    due = lasted / EVENT_SECONDS
    given = arguments if options.server_args is None else options.server_args
    print(f"### streams: {options.server} {given}\n\n{table(rows, _COLUMNS)}\n")
    print(
        f"Events per stream: {min(stream.events for stream in streams)} to "
        f"{max(stream.events for stream in streams)} of {due:.0f}; longest gap "
        f"{max(stream.longest_gap for stream in streams):.2f} s, {EVENT_SECONDS:g} s expected; "
        f"ended by the server: {sum(stream.ended for stream in streams)}."
    )
    rows[-1]["events"] = [stream.events for stream in streams]
    rows[-1]["events_due"] = due
    rows[-1]["longest_gap_s"] = max(stream.longest_gap for stream in streams)
    return rows


if __name__ == "__main__":
    sys.exit(main())
