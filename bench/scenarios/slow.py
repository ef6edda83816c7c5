"""A crowd of slow and idle clients on one worker, and whether a normal client notices.

The crowd: request heads and bodies that come a byte at a time, answers of five megabytes that are taken at a
few kilobytes per second, and thousands of connections kept idle. It runs in a process of its own, with less
right to the CPU, so that the normal client's figures are the server's and not those of a busy client.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from .client import Answer, Connection, Loop, OpenLoop, Tally, connect, get
from .servers import FIGURES, Disturbance, run_scenario, scenario_parser, start_server, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from multiprocessing.connection import Connection as Pipe

    from bench.processes import RunningServer

    from .servers import Rows

__all__ = ["main"]

_TARGET_MS = 20.0
_WORKER_CONNECTIONS = 20_000

_HEAD = b"GET /" + 600 * b"a" + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 600\r\n\r\n"
_BODY = 600 * b"b"
_PAUSES = (0.2, 0.5)  # seconds between two bytes: between these
_BYTES_AT_A_TIME = 2048  # that a slow reader takes
_READ_PAUSE = 0.5
_OPENING = 64  # idle connections that are being opened at a time
_OPEN_SECONDS = 60.0
_IDLE_TIMEOUT = 10.0
_BACK_AFTER = 0.5  # seconds before a client that was cut comes back
_MEMORY_PAUSE = 1.0

_COLUMNS = {
    "name": "normal client",
    "connections": "connections",
    **FIGURES,
    "verdict": f"p99 < {_TARGET_MS:g} ms",
    "lag_p99_ms": "client's lag p99 ms",
    "others": "CPU lost to others",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = scenario_parser(__name__, __doc__)
    parser.add_argument("--heads", type=int, default=500, help="that dribble (%(default)s)")
    parser.add_argument("--bodies", type=int, default=200, help="that dribble (%(default)s)")
    parser.add_argument("--readers", type=int, default=200, help="of a large answer (%(default)s)")
    parser.add_argument("--idle", type=int, default=10_000, help="kept connections (%(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="normal requests per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (%(default)s)")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds before it (%(default)s)")
    return run_scenario(parser.parse_args(argv), _scenario)


def _scenario(options: argparse.Namespace) -> Rows:
    with start_server(options, "slow", connections=_WORKER_CONNECTIONS) as running:
        rows = _normal_client(options, running, "alone")
    # Another server: memory that it has got before would not show as that of idle connections.
    with start_server(options, "slow", connections=_WORKER_CONNECTIONS) as running:
        _normal_client(options, running, "warm-up", seconds=1.0)
        before = running.private_bytes()
        ours, theirs = multiprocessing.Pipe()
        crowd = multiprocessing.get_context("spawn").Process(
            target=_crowd,
            args=(theirs, running.port, options.heads, options.bodies, options.readers, options.idle),
            daemon=True,
        )
        crowd.start()
        theirs.close()
        try:
            idle = _hear(ours, _OPEN_SECONDS + 10)["idle open"]
            time.sleep(_MEMORY_PAUSE)
            per_idle = (running.private_bytes() - before) / idle if idle else float("nan")
            ours.send("go")
            time.sleep(options.settle)
            rows += _normal_client(options, running, "in the crowd")
            ours.send("stop")
            counts = _hear(ours, 10)
        finally:
            crowd.terminate()
            crowd.join()
    print(f"### slow: {options.server} {options.server_args or ''}\n\n{table(rows, _COLUMNS)}\n")
    print(f"Memory per idle connection: {per_idle:,.0f} bytes (of the processes, without the kernel's).")
    print(f"Crowd: {', '.join(f'{name} {number:,}' for name, number in counts.items())}.")
    rows.append({"name": "crowd", "memory_per_idle": per_idle, **counts})
    return rows


def _hear(pipe: Pipe, seconds: float) -> dict[str, int]:
    """Return what the crowd says next."""
    if not pipe.poll(seconds):
        sys.exit(f"Error: nothing was heard of the crowd for {seconds:.0f} s")
    counts: dict[str, int] = pipe.recv()
    return counts


def _normal_client(
    options: argparse.Namespace, running: RunningServer, name: str, seconds: float = 0.0
) -> Rows:
    """Ask by schedule, half on connections that are kept and half on new ones; return a row for each half."""
    seconds = seconds or options.seconds
    with Loop() as loop:
        disturbance = Disturbance(running, options.server_cpu)
        halves = {
            kind: OpenLoop(
                loop, running.port, "/", rate=options.rate / 2, seconds=seconds, fresh=kind == "new"
            )
            for kind in ("kept", "new")
        }
        loop.run(seconds + 10, lambda: all(half.is_done() for half in halves.values()))
        rows: Rows = []
        for kind, half in halves.items():
            half.close()
            figures = half.tally.figures()
            is_served = figures["ok"] == figures["sent"] and figures["p99_ms"] < _TARGET_MS
            rows.append(
                {
                    "name": name,
                    "connections": kind,
                    **figures,
                    "verdict": "reached" if is_served else "**not reached**",
                    "others": disturbance.share(),
                }
            )
        return rows


# --- the crowd, a process of its own ------------------------------------------------------------------------


def _crowd(pipe: Pipe, port: int, heads: int, bodies: int, readers: int, idle: int) -> None:
    """Open the idle connections and say so; at a word start the rest; at another tell what became of all."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with Loop() as loop:
        idlers = _Idlers(loop, port, idle)
        loop.run(_OPEN_SECONDS, idlers.are_open)
        pipe.send({"idle open": idlers.count_open()})
        pipe.recv()
        dribbling = {
            "heads": [_Dribbler(loop, port, b"", _HEAD) for _ in range(heads)],
            "bodies": [_Dribbler(loop, port, _POST, _BODY) for _ in range(bodies)],
        }
        reading = [_SlowReader(loop, port) for _ in range(readers)]
        told: list[object] = []
        loop.watch(pipe.fileno(), lambda _: told.append(pipe.recv()))
        loop.run(600.0, lambda: bool(told))
        counts: Counter[str] = Counter()
        counts["idle open"] = idlers.count_open()
        counts["idle refused"] = idlers.tally.statuses.total() - idlers.tally.statuses[200]
        for name, members in dribbling.items():
            counts[f"{name} open"] = sum(one.is_open for one in members)
            counts[f"{name} restarted"] = sum(one.restarts for one in members)
            counts[f"bytes of {name} sent"] = sum(one.sent for one in members)
        counts["readers open"] = sum(one.is_open for one in reading)
        counts["readers that have got something"] = sum(one.received > 0 for one in reading)
        counts["readers restarted"] = sum(one.restarts for one in reading)
        counts["bytes read"] = sum(one.received for one in reading)
        pipe.send(dict(counts))
        pipe.recv()  # stay until we are ended: the end of all of these is not to be measured


class _Idlers:
    """Connections that have asked once and then stay."""

    def __init__(self, loop: Loop, port: int, count: int) -> None:
        self.tally = Tally()
        self._loop = loop
        self._port = port
        self._left = count
        self._opening = 0
        self._all: list[Connection] = []
        for _ in range(min(count, _OPENING)):
            self._open_one()

    def are_open(self) -> bool:
        """Return whether all have been answered, or have failed."""
        return not self._left and not self._opening

    def count_open(self) -> int:
        """Return how many the server has kept."""
        return sum(one.is_open for one in self._all) - self._opening

    def _open_one(self) -> None:
        if self._left:
            self._left -= 1
            self._opening += 1
            connection = Connection(self._loop, self._port, self._on_answer)
            self._all.append(connection)
            connection.ask(get("/"), timeout=_IDLE_TIMEOUT)

    def _on_answer(self, _connection: Connection, answer: Answer) -> None:
        self._opening -= 1
        self.tally.add(answer)
        # Not from here: one that fails at once would call the next without end.
        self._loop.at(time.monotonic(), self._open_one)


class _Member:
    """A client with a connection of its own that it opens anew when the server cuts it."""

    def __init__(self, loop: Loop, port: int, receive_buffer: int = 0) -> None:
        self.is_open = False
        self.restarts = -1
        self._loop = loop
        self._port = port
        self._receive_buffer = receive_buffer
        # Not all in the same instant.
        loop.at(time.monotonic() + random.uniform(0.0, 1.0), self._restart)

    def _restart(self) -> None:
        self.restarts += 1
        self._sock = connect(self._port, receive_buffer=self._receive_buffer)
        self.is_open = True
        self._began()

    def _began(self) -> None:
        """Go on with a connection that was just opened."""
        raise NotImplementedError

    def _cut(self) -> None:
        self.is_open = False
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._loop.at(time.monotonic() + _BACK_AFTER, self._restart)


class _Dribbler(_Member):
    """Sends `lead` at once, and then a byte of `rest` at a time."""

    def __init__(self, loop: Loop, port: int, lead: bytes, rest: bytes) -> None:
        self.sent = 0
        self._lead = lead
        self._rest = rest
        self._unsent = b""
        super().__init__(loop, port)

    def _began(self) -> None:
        self._unsent = self._lead + self._rest
        self._loop.watch(self._sock.fileno(), self._on_event)
        self._later(self.restarts)

    def _later(self, restarts: int) -> None:
        self._loop.at(time.monotonic() + random.uniform(*_PAUSES), partial(self._go_on, restarts))

    def _go_on(self, restarts: int) -> None:
        if not self.is_open or restarts != self.restarts:
            return  # the timer of a connection that was cut
        piece = max(1, len(self._unsent) - len(self._rest))
        try:
            count = self._sock.send(self._unsent[:piece]) if self._unsent else 0
        except BlockingIOError:
            count = 0
        except OSError:
            self._cut()
            return
        self._unsent = self._unsent[count:]
        self.sent += count
        self._later(restarts)

    def _on_event(self, _events: int) -> None:
        """Take what the server says, and be cut by any of it: a refusal, an answer, the end."""
        try:
            self._sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            pass
        self._cut()


class _SlowReader(_Member):
    """Asks for a large answer and takes it a little at a time; it is not woken by what there is to read."""

    def __init__(self, loop: Loop, port: int) -> None:
        self.received = 0
        self._is_asked = False
        super().__init__(loop, port, receive_buffer=_BYTES_AT_A_TIME)

    def _began(self) -> None:
        self._is_asked = False
        self._loop.at(time.monotonic() + _READ_PAUSE, self._go_on)

    def _go_on(self) -> None:
        try:
            if not self._is_asked:
                self._sock.send(get("/large"))
                self._is_asked = True
            data = self._sock.recv(_BYTES_AT_A_TIME)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            self._cut()
            return
        self.received += len(data or b"")
        self._loop.at(time.monotonic() + _READ_PAUSE * random.uniform(0.8, 1.2), self._go_on)


if __name__ == "__main__":
    sys.exit(main())
