"""The client's side: one response looked at closely, then wrk.

wrk's figures count only if all responses were right.
"""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .plan import Case

__all__ = ["Figures", "WrkError", "WrongResponseError", "probe", "run_wrk"]


class WrongResponseError(Exception):
    """The server answered, but not as the case asks."""


class WrkError(Exception):
    """wrk is missing or did not do its work: the run must not go on with no figures."""


@dataclass(frozen=True)
class Figures:
    """What wrk saw in one round; times are in microseconds."""

    requests: int
    bytes: int
    duration_us: int
    p50_us: float
    p99_us: float
    max_us: float
    connect: int
    read: int
    write: int
    status: int
    timeout: int

    def faults(self, response_size: int, connections: int) -> list[str]:
        """Return why the round does not count; nothing if it does.

        wrk reports socket errors and statuses above 399. A response that is wrong otherwise shows in its
        size, since all responses of a case are equally long: the bytes must be those of `requests` responses,
        and of one more at most for each connection, which the end of the round may have cut.
        """
        found = [
            f"{count} {name} errors"
            for name, count in (
                ("connect", self.connect),
                ("read", self.read),
                ("write", self.write),
                ("status", self.status),
                ("timeout", self.timeout),
            )
            if count
        ]
        if not self.requests:
            found.append("no response at all")
        excess = self.bytes - self.requests * response_size
        if not 0 <= excess <= connections * response_size:
            found.append(
                f"{self.bytes} bytes for {self.requests} responses of {response_size}: not all were right"
            )
        return found


def probe(port: int, case: Case) -> int:
    """Ask twice on one connection and return the size of one response in bytes.

    Raises WrongResponseError unless status and body are those of the case and the connection stays open.
    """
    request = f"GET {case.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        sizes = []
        for _ in range(2):
            connection.sendall(request)
            sizes.append(_read_response(connection, case.body))
    if sizes[0] != sizes[1]:
        raise WrongResponseError(f"the same request gave {sizes[0]} and then {sizes[1]} bytes")
    return sizes[0]


def _read_response(connection: socket.socket, body: bytes) -> int:
    data = b""
    while True:
        head, blank, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        if blank and len(rest) >= int(fields.get(b"content-length", b"0")):
            break
        received = connection.recv(65536)
        if not received:
            raise WrongResponseError(f"the connection was closed after {len(data)} bytes: no keep-alive?")
        data += received
    if not lines[0].startswith(b"HTTP/1.1 200"):
        raise WrongResponseError(f"status line {lines[0].decode('latin-1')!r}")
    if b"content-length" not in fields:
        raise WrongResponseError("no Content-Length, though the application set one")
    if fields.get(b"connection", b"").lower() == b"close":
        raise WrongResponseError("Connection: close, though HTTP/1.1 was spoken")
    if rest != body:
        raise WrongResponseError(f"body {rest[:40]!r} instead of {body[:40]!r}")
    return len(data)


def run_wrk(*, root: Path, port: int, case: Case, cpu: int, seconds: float, connections: int) -> Figures:
    """Load the server for `seconds` from one thread pinned to `cpu` and return what wrk measured."""
    # wrk takes whole seconds only.
    whole = max(1, round(seconds))
    command = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "5s"]
    command += ["-s", f"bench/wrk/{case.script}", f"http://127.0.0.1:{port}{case.path}"]
    try:
        result = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=whole + 30, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise WrkError(f"wrk did not end within {exc.timeout:.0f} s") from exc
    for line in result.stdout.splitlines():
        if line.startswith("JSON "):
            return Figures(**json.loads(line[5:]))
    last = (result.stderr.strip() or result.stdout.strip() or "nothing").splitlines()[-1]
    raise WrkError(f"wrk gave no figures (status {result.returncode}); it printed: {last}")
