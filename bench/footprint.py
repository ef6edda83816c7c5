"""What a server costs before it has anything to do: its import, its start, its memory, and idle connections.

Memory is the proportional set size: of pages that processes share, each is charged its part. So a worker that
shares some with a master seems smaller than one that is alone; "server_bytes" has all processes together. The
kernel's own, for sockets, is not in it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from . import ROOT
from .load import probe
from .plan import CASES
from .processes import RunningServer, ServerFailedError, free_port, mapped_bytes
from .responses import Reader, WrongResponseError
from .servers import OURS, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .servers import Server

__all__ = ["measure"]

_HELLO = next(case for case in CASES if case.name == "hello")
_STARTS = 5
_FIRST_CONNECTIONS = 200  # what is set up once for all is set up with these
_CONNECTIONS = 1000
_REST = 0.5
_MOST_OWN = 8 * 1024 * 1024
_MOST_PER_CONNECTION = 1024
_IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
_BARE = "import bench.apps, sys; print(flush=True); sys.stdin.read()"


def measure(
    pythons: Mapping[Server, str], *, server_cpu: int, quick: bool = False, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return the section "footprint" of a result: a row for each of the servers, which has its Python."""
    rows = []
    for server, python in pythons.items():
        row = _Footprint(server, python, server_cpu, 1 if quick else _STARTS).row()
        rows.append(row)
        said = "; ".join(
            f"{name} {value:,.0f}"
            for name, value in row.items()
            if isinstance(value, (int, float)) and name != "valid"
        )
        say(f"footprint, {server.title}: {'; '.join(['INVALID', *row['faults']]) if row['faults'] else said}")
    ours = next((row for row in rows if row["server"] == OURS), {})
    return {
        "rows": rows,
        "targets": [
            _target(
                "an idle worker over bare Python and the app: at most 8 MB", ours.get("own_bytes"), _MOST_OWN
            ),
            _target(
                "memory of an idle kept-alive connection: at most 1 KB",
                ours.get("bytes_per_connection"),
                _MOST_PER_CONNECTION,
            ),
        ],
    }


def _target(text: str, value: float | None, limit: int) -> dict[str, Any]:
    reached = None if value is None else value <= limit
    return {"text": text, "value": value, "limit": limit, "reached": reached}


class _Footprint:
    def __init__(self, server: Server, python: str, cpu: int, starts: int) -> None:
        self._server = server
        self._python = python
        self._cpu = cpu
        self._starts = starts

    def row(self) -> dict[str, Any]:
        faults: list[str] = []
        figures: dict[str, Any] = dict.fromkeys(
            ("import_ms", "start_ms", "idle_bytes", "own_bytes", "server_bytes", "bytes_per_connection")
        )
        try:
            figures["import_ms"] = self._import_ms()
            figures["start_ms"] = median(self._start_ms() for _ in range(self._starts))
            figures.update(self._memory())
        except (ServerFailedError, WrongResponseError, OSError, ValueError) as exc:
            faults.append(str(exc))
        return {"server": self._server.name, "valid": not faults, "faults": faults, **figures}

    def _import_ms(self) -> float | None:
        if not self._server.imports:
            return None
        command = ["taskset", "-c", str(self._cpu), self._python, "-c", _IMPORT.format(self._server.imports)]
        environment = {**os.environ, **self._server.environment}
        seconds = []
        for _ in range(self._starts + 1):
            result = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if result.returncode:
                raise ServerFailedError(f"import {self._server.imports}: {result.stderr.strip()[-200:]}")
            seconds.append(float(result.stdout))
        # The first may have had to compile and to read from the disk.
        return median(seconds[1:]) * 1000

    def _running(self, log: Any) -> RunningServer:
        port = free_port()
        command = self._server.command(self._python, port, _HELLO.app, Shape())
        return RunningServer(command, self._server.environment, port=port, cpu=self._cpu, log=log)

    def _start_ms(self) -> float:
        with tempfile.NamedTemporaryFile(prefix="bench-") as log:
            began = time.monotonic()
            with self._running(log) as running:
                probe(running.port, _HELLO, keeps_alive=self._server.keeps_alive)
                return (time.monotonic() - began) * 1000

    def _memory(self) -> dict[str, float | None]:
        with tempfile.NamedTemporaryFile(prefix="bench-") as log, self._running(log) as running:
            probe(running.port, _HELLO, keeps_alive=self._server.keeps_alive)
            time.sleep(_REST)
            idle, whole = running.worker_bytes(), running.proportional_bytes()
            own = None if self._server.name == "floor" else idle - self._bare_bytes()
            per_connection = _per_connection(running) if self._server.keeps_alive else None
        return {
            "idle_bytes": idle,
            "own_bytes": own,
            "server_bytes": whole,
            "bytes_per_connection": per_connection,
        }

    def _bare_bytes(self) -> int:
        """Return the memory of this server's Python with the application, and no server."""
        with subprocess.Popen(
            [self._python, "-c", _BARE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as bare:
            assert bare.stdout is not None
            bare.stdout.readline()
            return mapped_bytes("Pss:", [bare.pid])


def _per_connection(running: RunningServer) -> float:
    """Return by how much the server's own memory grows with each connection that was used and is idle."""
    connections: list[socket.socket] = []
    try:
        _open(running.port, connections, _FIRST_CONNECTIONS)
        before = running.private_bytes()
        _open(running.port, connections, _CONNECTIONS)
        after = running.private_bytes()
        for connection in connections:
            connection.setblocking(False)
            try:
                connection.recv(1)
            except BlockingIOError:
                continue
            raise WrongResponseError(f"it closes idle connections when there are {len(connections)}")
    finally:
        for connection in connections:
            connection.close()
    return (after - before) / _CONNECTIONS


def _open(port: int, connections: list[socket.socket], count: int) -> None:
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connections.append(connection)
        connection.sendall(_HELLO.request)
        Reader(connection).read(_HELLO.body(), stays=True)
    time.sleep(_REST)
