"""Behind nginx, as deploy/nginx has it: over TCP without buffering, and over a Unix socket."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import LiveServer, Peer, head
from tests.processes import wait_for_workers
from tests.programs import Port, needs, running, substituted
from tests.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gate import Gate

    Start = Callable[..., LiveServer]

ECHO = "tests.apps.echo:app"
BODY = random.Random(1).randbytes(8 << 20)

pytestmark = [needs("nginx"), pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

MAIN = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a directory whose name leaves room for that of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="fastwsgi-") as name:
        yield Path(name)


@pytest.fixture(params=["tcp", "unix"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def start(live: Start, kind: str, folder: Path, app: str, *args: str) -> LiveServer:
    """Start the server that the example assumes."""
    bind = f"unix:{folder}/app.sock" if kind == "unix" else "127.0.0.1:0"
    return live(app, "--keep-alive", "75", *args, bind=bind)


@contextmanager
def nginx(server: LiveServer, kind: str, folder: Path, *changes: tuple[str, str]) -> Iterator[Port]:
    """Run nginx in front of a server, on the port that is returned; its error log must stay empty."""
    port = Port()
    if kind == "unix":
        where = ("unix:/run/app/app.sock", f"unix:{server.address}")
    else:
        where = ("127.0.0.1:8000", "{}:{}".format(*server.address))
    (folder / "site.conf").write_text(
        substituted(f"nginx/{kind}.conf", where, ("listen 80;", f"listen {port.text};"), *changes)
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
    command = ["nginx", "-p", os.fspath(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    with running(command, folder / "output", port):
        yield port


def errors(folder: Path) -> list[str]:
    return [line for line in (folder / "error.log").read_text().splitlines() if "[notice]" not in line]


def environ(port: Port, target: str, *fields: str) -> dict[str, Any]:
    with Peer(port.address) as peer:
        reply = peer.request(head(target, *fields))
        assert reply.status == 200, reply
        seen: dict[str, Any] = json.loads(reply.body)["environ"]
        return seen


def test_what_the_app_is_told(live: Start, kind: str, folder: Path) -> None:
    server = start(live, kind, folder, ECHO)
    spoofed = ("X-Forwarded-Proto: https", "SCRIPT_NAME: /evil", "X-Forwarded-Host: evil")
    with nginx(server, kind, folder) as port:
        found = environ(port, "/a%20b?q", "X-Forwarded-For: 203.0.113.9", *spoofed)
        assert found["wsgi.url_scheme"] == "http"
        assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["QUERY_STRING"]) == ("", "/a b", "q")
        assert found["HTTP_X_FORWARDED_FOR"] == "203.0.113.9, 127.0.0.1"
        assert found["HTTP_HOST"] == found["HTTP_X_FORWARDED_HOST"] == "test"
        assert found["REMOTE_ADDR"] == ("" if kind == "unix" else "127.0.0.1")
        # Of those that contradict each other, one is not from nginx.
        with Peer(port.address) as peer:
            assert peer.request(head("/", "X-Forwarded-Ssl: on")).status == 400
    assert errors(folder) == []


def test_https_and_a_script_name(live: Start, kind: str, folder: Path) -> None:
    server = start(live, kind, folder, ECHO)
    told = ("X-Forwarded-Proto $scheme;", "X-Forwarded-Proto https; proxy_set_header SCRIPT_NAME /app;")
    with nginx(server, kind, folder, told) as port:
        found = environ(port, "/app/x")
        assert found["wsgi.url_scheme"] == "https"
        assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/app", "/x")


def test_its_connections_are_kept(live: Start, folder: Path) -> None:
    server = start(live, "tcp", folder, ECHO)
    with nginx(server, "tcp", folder) as port:
        ports = {environ(port, "/")["REMOTE_PORT"] for _ in range(20)}
    assert len(ports) == 1


def test_what_is_streamed_arrives_at_once(live: Start, folder: Path, gate: Gate) -> None:
    server = start(live, "tcp", folder, "tests.apps.concurrency:app")
    with nginx(server, "tcp", folder) as port, Peer(port.address) as peer:
        peer.send(head(f"/stream?{gate.path}"))
        peer.read_until(b"before")
        gate.wait_for_arrival()
        gate.open()
        peer.read_until(b"0\r\n\r\n")


def test_uploads_of_slow_clients_beside_others(live: Start, kind: str, folder: Path) -> None:
    server = start(live, kind, folder, "tests.apps.pep3333:app")
    with nginx(server, kind, folder) as port, ExitStack() as stack:
        slow = stack.enter_context(Peer(port.address))
        slow.send(head("/digest", f"Content-Length: {len(BODY)}", method="POST"), BODY[:100_000])
        for _ in range(3):
            with Peer(port.address) as peer:
                peer.send(head("/digest", f"Content-Length: {len(BODY)}", method="POST"), BODY)
                assert peer.response().text == f"{len(BODY)} {zlib.crc32(BODY)} {len(BODY)}"
        slow.send(BODY[100_000:])
        assert slow.response().text == f"{len(BODY)} {zlib.crc32(BODY)} {len(BODY)}"
    assert [line for line in errors(folder) if "buffered to a temporary file" not in line] == []


def test_clients_that_take_their_answers_slowly(live: Start, kind: str, folder: Path) -> None:
    server = start(live, kind, folder, "tests.apps.traffic:app")
    with nginx(server, kind, folder) as port, Peer(port.address, receive_buffer=32768) as slow:
        slow.send(head("/write-much?x"))
        slow.read_until(b"\r\n\r\n")
        for number in range(20):
            with Peer(port.address) as peer:
                assert peer.request(head(f"/?{number}")).text == str(number)
        assert slow.read_until(b"0\r\n\r\n").count(b"x") >= 5_000_000


@pytest.mark.alone
def test_workers_that_come_and_go_are_not_seen(
    live: Start, kind: str, folder: Path, rng: random.Random
) -> None:
    """HUP, and workers that have served enough. nginx tries a GET again if it meets the end of an idle connection."""
    server = start(
        live,
        kind,
        folder,
        "tests.apps.traffic:app",
        "-w",
        "2",
        "--log-level",
        "debug",
        "--max-requests",
        "150",
    )
    wait_for_workers(server, 2)
    gets = ("/", "/", "/stream", "/write", "/big")
    with (
        nginx(server, kind, folder) as port,
        Traffic(port.address, seed=rng.getrandbits(32), paths=gets) as load,
    ):
        load.wait_for(100)
        for _ in range(2):
            begin = len(server.log.lines)
            server.send_signal(signal.SIGHUP)
            server.wait_for_log("Reload complete", start=begin)
            load.wait_for(300)
        server.wait_for_log("it has served 150 requests")
    assert load.failures == []
