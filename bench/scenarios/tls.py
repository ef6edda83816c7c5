"""What TLS costs the server: CPU for a request and for a handshake, memory for a connection that is idle.

The certificate is made for the run: P-256, or RSA with `--rsa`. Requests on kept connections come from wrk,
at full load; handshakes from a client of the standard library, one after the other, without resumption, then
with. The figures are the server's CPU time, so a slow client does not matter.
"""

from __future__ import annotations

import argparse
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .servers import run_scenario, scenario_parser, start_server, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.processes import RunningServer

    from .servers import Rows

__all__ = ["main"]

_GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_CONNECTIONS = 50  # of wrk

_COLUMNS = {
    "name": "",
    "requests_per_second": "requests/s",
    "kept_us": "CPU µs a request",
    "new_us": "CPU µs a new connection",
    "resumed_us": "CPU µs a resumed one",
    "idle_kb": "KB an idle connection",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = scenario_parser(__name__, __doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of wrk (%(default)s)")
    parser.add_argument("--handshakes", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--idle", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--rsa", action="store_true", help="a certificate of RSA, 2048 bits")
    return run_scenario(parser.parse_args(argv), _scenario)


def _scenario(options: argparse.Namespace) -> Rows:
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as folder:
        certificate, key = _make_certificate(Path(folder), is_rsa=options.rsa)
        words = f"--certfile {certificate} --keyfile {key}"
        given = argparse.Namespace(**{**vars(options), "server_args": f"{options.server_args or ''} {words}"})
        context = ssl.create_default_context(cafile=str(certificate))
        with start_server(given, "slow", connections=4000) as running:
            row = {"name": f"{options.server} {options.server_args or ''}".strip()}
            rows = [{**row, **_measure(options, running, context)}]
    print(f"### tls: {'RSA 2048' if options.rsa else 'P-256'}\n\n{table(rows, _COLUMNS)}")
    return rows


def _measure(
    options: argparse.Namespace, running: RunningServer, context: ssl.SSLContext
) -> dict[str, object]:
    figures: dict[str, object] = {"idle_kb": _idle(running, context, options.idle) / 1024}
    before = running.usage().cpu
    printed = subprocess.run(
        ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{options.seconds}", f"https://127.0.0.1:{running.port}/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = running.usage().cpu - before
    found = re.search(r"(\d+) requests in", printed)
    if found is None or "Socket errors" in printed or "Non-2xx" in printed:
        sys.exit(f"Error: wrk says\n{printed}")
    figures["requests_per_second"] = int(found[1]) / options.seconds
    figures["kept_us"] = used / int(found[1]) * 1e6
    figures["new_us"] = _handshakes(options, running, context, None)
    session = _ask(running, context, None)
    # gunicorn makes a context for each connection: nothing of one is known to the next.
    if _is_resumed(running, context, session):
        figures["resumed_us"] = _handshakes(options, running, context, session)
    return figures


def _ask(
    running: RunningServer, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSession | None:
    """Connect, ask once, and return the session."""
    with _connect(running, context, session) as sock:
        sock.sendall(_GET)
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit("Error: the server does not answer")
        return sock.session


def _handshakes(
    options: argparse.Namespace,
    running: RunningServer,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None,
) -> float:
    """Return the server's microseconds for a connection with one request."""
    before = running.usage().cpu
    for _ in range(options.handshakes):
        _ask(running, context, session)
    used = running.usage().cpu - before
    return used / int(options.handshakes) * 1e6


def _is_resumed(running: RunningServer, context: ssl.SSLContext, session: ssl.SSLSession | None) -> bool:
    with _connect(running, context, session) as sock:
        return bool(sock.session_reused)


def _idle(running: RunningServer, context: ssl.SSLContext, count: int) -> float:
    """Return the bytes that a connection takes which has been asked once, and then nothing."""
    _ask(running, context, None)
    before = running.private_bytes()
    kept = []
    for _ in range(count):
        sock = _connect(running, context, None)
        sock.sendall(_GET)
        sock.recv(65536)
        kept.append(sock)
    taken = running.private_bytes() - before
    for sock in kept:
        sock.close()
    return taken / count


def _connect(
    running: RunningServer, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", running.port), 20.0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname="127.0.0.1", session=session)


def _make_certificate(folder: Path, *, is_rsa: bool) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    kind = ["rsa:2048"] if is_rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "2", "-subj", "/CN=bench"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


if __name__ == "__main__":
    sys.exit(main())
