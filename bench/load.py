"""The client's side: one response looked at closely, then wrk.

wrk's counts are worth something only if all responses were right.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import ROOT
from .responses import Reader, Size, WrongResponseError

if TYPE_CHECKING:
    from .plan import Case

__all__ = ["Counts", "WrkError", "probe", "run_wrk"]

_PATIENCE = 10.0


class WrkError(Exception):
    """wrk did not end, or could not begin, as when the server has died: there are no figures."""


@dataclass(frozen=True)
class Counts:
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

    def faults(self, size: Size, in_flight: int) -> list[str]:
        """Return why the round does not count; nothing if it does.

        wrk reports socket errors and statuses above 399. A response that is wrong otherwise shows in its
        size, since all responses of a case are equally long: the bytes must be those of `requests` responses,
        and besides of those in flight that the end of the round cut, of which a head at least has come.
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
        excess = self.bytes - self.requests * size.whole
        cut = min(max(0, excess) // size.head, in_flight)  # as many as there can be
        if not 0 <= excess <= cut * size.whole:
            found.append(
                f"{self.bytes} bytes for {self.requests} responses of {size.whole}: not all were right"
            )
        return found


def probe(port: int, case: Case, *, keeps_alive: bool) -> Size:
    """Ask as wrk does and return the size of one response.

    Every byte of the bodies is compared. Asks twice: on one connection, if the server `keeps_alive` and the
    case does. Raises WrongResponseError.
    """
    stays = keeps_alive and not case.closes
    body = case.body()
    sizes = set()
    for _ in range(1 if stays else 2):
        with _connection(port, tls=case.tls) as connection:
            for _ in range(2 if stays else 1):
                connection.sendall(case.request)
                reader = Reader(connection)
                for left in reversed(range(case.responses)):
                    sizes.add(reader.read(body, stays=stays, more=left > 0))
    if len(sizes) != 1:
        raise WrongResponseError(
            f"the same request gave {' and '.join(str(size.whole) for size in sorted(sizes))} bytes"
        )
    return sizes.pop()


def _connection(port: int, *, tls: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    if not tls:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who it is has been settled: we have just started it. Its certificate signs itself.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def run_wrk(*, port: int, case: Case, cpu: int, seconds: float) -> Counts:
    """Load the server for `seconds` from one thread pinned to `cpu` and return what wrk counted."""
    # wrk takes whole seconds only.
    whole = max(1, round(seconds))
    scheme = "https" if case.tls else "http"
    command = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{case.connections}", f"-d{whole}s"]
    command += [
        "--timeout",
        "5s",
        "-s",
        f"bench/wrk/{case.script}",
        f"{scheme}://127.0.0.1:{port}{case.path}",
    ]
    try:
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=whole + 30, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise WrkError(f"wrk did not end within {exc.timeout:.0f} s") from exc
    for line in result.stdout.splitlines():
        if line.startswith("JSON "):
            return Counts(**json.loads(line[5:]))
    last = (result.stderr.strip() or result.stdout.strip() or "nothing").splitlines()[-1]
    raise WrkError(f"wrk gave no figures (status {result.returncode}); it printed: {last}")
