"""Behind HAProxy, as deploy/haproxy has it: PROXY headers of both versions, health checks, a server that stops."""

from __future__ import annotations

import csv
import json
import re
import signal
import socket
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority, needs_openssl, own_certificates
from tests.live import LiveServer, Peer, head
from tests.processes import eventually
from tests.programs import Port, needs, running, substituted
from tests.traffic import Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    Start = Callable[..., LiveServer]
    Change = tuple[str, str]

ECHO = "tests.apps.echo:app"
NAMED = ("--trusted-proxy-headers", "x-forwarded-for")
OVER_TCP: tuple[Change, ...] = (("    option httpchk GET /health\n    http-check expect status 200\n", ""),)

pytestmark = needs("haproxy")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a directory whose name leaves room for that of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="fastwsgi-") as name:
        yield Path(name)


def start(live: Start, app: str, *args: str, version: str = "v2") -> LiveServer:
    """Start a server as the example assumes it, with all that it does in its logs."""
    options = (
        "--proxy-protocol",
        version,
        "--keep-alive",
        "75",
        "--access-logfile",
        "-",
        "--log-level",
        "debug",
    )
    return live(app, *options, *args)


@contextmanager
def haproxy(
    folder: Path, servers: Sequence[LiveServer], *changes: Change, version: str = "v2"
) -> Iterator[Port]:
    """Run HAProxy in front of two servers, with quick checks, until both are found to be up."""
    port = Port()
    config = substituted(
        "haproxy/haproxy.cfg",
        ("127.0.0.1:8001", place_of(servers[0])),
        ("127.0.0.1:8002", place_of(servers[1])),
        ("bind :80\n", f"bind {port.text}\n"),
        ("inter 2s", "inter 50ms"),
        ("timeout check 2s", "timeout check 60s"),
        ("maxconn 2000", "maxconn 200"),
        ("global\n", f"global\n    stats socket {folder}/stats\n"),
        *changes,
        *([("send-proxy-v2", "send-proxy")] if version == "v1" else []),
    )
    (folder / "haproxy.cfg").write_text(config)
    with running(["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"], folder / "output", port):
        is_http = "httpchk" in config
        wanted = ["L7OK" if is_http else "L4OK"] * 2
        eventually(lambda: checks(folder) == wanted)
        yield port


def place_of(server: LiveServer) -> str:
    address = server.address
    return f"unix@{address}" if isinstance(address, str) else "{}:{}".format(*address)


def checks(folder: Path) -> list[str]:
    """Return what HAProxy's last health check of each server has come to."""
    with socket.socket(socket.AF_UNIX) as stats, stats.makefile("r") as answer:
        try:
            stats.connect(f"{folder}/stats")
        except OSError:  # it is not there yet
            return []
        stats.sendall(b"show stat\n")
        rows = csv.DictReader(line.removeprefix("# ") for line in answer if line.strip())
        return [row["check_status"] for row in rows if row["svname"] in ("app1", "app2")]


def told_of_trouble(server: LiveServer) -> list[str]:
    return [line for line in server.log.lines if re.search(r"\[(WARNING|ERROR|CRITICAL)\]", line)]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_client_is_known(live: Start, folder: Path, version: str) -> None:
    servers = [start(live, ECHO, version=version) for _ in range(2)]
    with haproxy(folder, servers, version=version) as port:
        for number in range(4):
            with Peer(port.address) as peer:
                for _ in range(2):
                    found = json.loads(peer.request(head(f"/{number}", "X-Forwarded-Proto: https")).body)[
                        "environ"
                    ]
                    me = peer.sock.getsockname()
                    assert (found["REMOTE_ADDR"], int(found["REMOTE_PORT"])) == me
                    assert found["PROXY_PROTOCOL"] == "TCP4"
                    assert (found["PROXY_ADDR"], int(found["PROXY_PORT"])) == port.address
                    assert found["wsgi.url_scheme"] == "http"
                    assert found["HTTP_X_FORWARDED_HOST"] == "test"
    assert [told_of_trouble(server) for server in servers] == [[], []]


def test_https_in_front(live: Start, folder: Path) -> None:
    servers = [start(live, ECHO) for _ in range(2)]
    with haproxy(folder, servers, ("{ ssl_fc }", "{ always_true }")) as port, Peer(port.address) as peer:
        found = json.loads(peer.request(head("/")).body)["environ"]
        assert found["wsgi.url_scheme"] == "https"


@needs_openssl
@own_certificates
@pytest.mark.skipif(sys.platform != "linux", reason="has 127.0.0.2")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_tls_that_is_passed_on(live: Start, folder: Path, version: str) -> None:
    """In mode tcp, HAProxy cannot look into what it passes on, and puts its header before TLS."""
    authority = Authority(folder)
    server = start(live, ECHO, *authority.issue().arguments, *NAMED, version=version)
    changes = [("mode http", "mode tcp"), ("    http-request", "    # http-request"), *OVER_TCP]
    with haproxy(folder, [server] * 2, *changes, version=version) as port:
        for number in range(4):
            # HAProxy is believed, this one is not, and it is this one who writes the fields.
            with Peer(port.address, tls=authority.client(), source="127.0.0.2") as peer:
                me = peer.sock.getsockname()
                forged = ("X-Forwarded-Proto: http", "SCRIPT_NAME: /evil", "X-Forwarded-For: 203.0.113.9")
                found = json.loads(peer.request(head(f"/{number}", *forged)).body)["environ"]
            assert (found["REMOTE_ADDR"], int(found["REMOTE_PORT"])) == me
            assert (found["PROXY_ADDR"], int(found["PROXY_PORT"])) == port.address
            assert found["wsgi.url_scheme"] == "https"
    assert told_of_trouble(server) == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_health_checks_by_http(live: Start, folder: Path, version: str) -> None:
    servers = [start(live, ECHO, version=version) for _ in range(2)]
    with haproxy(folder, servers, version=version):
        for server in servers:
            server.stdout.wait_for(r'^127\.0\.0\.1 .*"GET /health HTTP/1\.[01]" 200')
    assert [told_of_trouble(server) for server in servers] == [[], []]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_health_checks_by_tcp_leave_no_line(live: Start, folder: Path, version: str) -> None:
    servers = [start(live, ECHO, version=version) for _ in range(2)]
    with haproxy(folder, servers, *OVER_TCP, version=version):
        pass
    for server in servers:
        server.stop()
        assert told_of_trouble(server) == []
        assert server.stdout.lines == []


@pytest.mark.alone
def test_a_server_that_stops_is_not_missed(live: Start, folder: Path, rng: random.Random) -> None:
    servers = [start(live, "tests.apps.traffic:app", "-w", "2") for _ in range(2)]
    with haproxy(folder, servers) as port, Traffic(port.address, seed=rng.getrandbits(32)) as load:
        load.wait_for(200)
        servers[0].send_signal(signal.SIGTERM)
        assert servers[0].wait() == 0
        load.wait_for(200)
    assert load.failures == []
