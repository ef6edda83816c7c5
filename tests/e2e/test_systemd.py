"""A service of systemd: sockets that it passes, and what it is told."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import ROOT, LiveServer, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = "tests.apps.processes:app"
FASTWSGI = (sys.executable, "-m", "fastwsgi")
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")

PASS = """
import fcntl, os, sys
count = int(sys.argv[1])
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in sys.argv[2 : 2 + count]]
for number, fd in enumerate(given):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="a:b:c")
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""
"""Passes the descriptors given by number to a program as systemd does: from 3 on."""


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Return a TCP, an IPv6 and a Unix socket that listen."""
    sockets = [socket.socket(), socket.socket(socket.AF_INET6), socket.socket(socket.AF_UNIX)]
    sockets[0].bind(("127.0.0.1", 0))
    sockets[1].bind(("::1", 0))
    sockets[2].bind(os.fspath(tmp_path / "app.sock"))
    for sock in sockets:
        sock.listen(100)
    yield sockets
    for sock in sockets:
        sock.close()


def passing(sockets: list[socket.socket], *command: str) -> dict[str, object]:
    """Return the options of a server that is started with sockets passed to it."""
    fds = [sock.fileno() for sock in sockets]
    return {
        "command": (sys.executable, "-c", PASS, str(len(fds)), *map(str, fds), *(command or FASTWSGI)),
        "pass_fds": fds,
    }


def get(sock: socket.socket) -> str:
    """Return the answer that a server gives on a socket that this test has bound."""
    with socket.socket(sock.family) as client:
        client.settimeout(60)
        client.connect(sock.getsockname())
        client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return b"".join(iter(lambda: client.recv(4096), b"")).decode()


# --- sockets -------------------------------------------------------------------------------------------------


def test_sockets_passed_by_systemd_replace_bind(
    live: Callable[..., LiveServer], sockets: list[socket.socket], tmp_path: Path
) -> None:
    server = live(APP, "-w", "2", bind="no-such-host.invalid:80", **passing(sockets))
    for sock in sockets:
        assert get(sock).startswith("HTTP/1.1 200 OK\r\n")
    assert re.findall("Listening at: (\\S+)", server.log.text) == [
        f"http://127.0.0.1:{sockets[0].getsockname()[1]}",
        f"http://[::1]:{sockets[1].getsockname()[1]}",
        f"unix:{tmp_path}/app.sock",
    ]
    server.stop()
    assert (tmp_path / "app.sock").exists()
    # They are systemd's, and listen on.
    for sock in sockets:
        with socket.socket(sock.family) as client:
            client.connect(sock.getsockname())


def test_children_do_not_see_the_variables(
    live: Callable[..., LiveServer], sockets: list[socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "looking.py").write_text(
        "import os\n"
        "found = [name for name in os.environ if name.startswith(('LISTEN_', 'FASTWSGI_UPGRADE'))]\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [repr(found).encode()]\n"
    )
    live("looking:app", cwd=os.fspath(tmp_path), **passing(sockets))
    assert get(sockets[0]).endswith("\r\n\r\n[]")


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None and not os.environ.get("CI"),
    reason="systemd-socket-activate is not installed",
)
def test_systemd_socket_activate(
    live: Callable[..., LiveServer], sockets: list[socket.socket], tmp_path: Path
) -> None:
    """The real program: it hands on what was passed to it, adds a socket, and waits for a client."""
    path = tmp_path / "more.sock"
    wanted = [name for name in os.environ if name.startswith("FASTWSGI_")]
    names = [f"--setenv={name}" for name in ["PYTHONPATH", "PYTHONUNBUFFERED", *wanted]]
    program = shutil.which("systemd-socket-activate")
    assert program
    peer = Peer(sockets[0].getsockname())
    with peer:
        peer.send(GET)
        live(APP, **passing(sockets, program, *names, f"--listen={path}", *FASTWSGI))
        assert peer.response().status == 200
    with Peer(os.fspath(path)) as other:
        assert other.request(GET).status == 200


def test_an_inherited_descriptor(
    live: Callable[..., LiveServer], sockets: list[socket.socket], tmp_path: Path
) -> None:
    tcp, _, unix = sockets
    fds = [tcp.fileno(), unix.fileno()]
    server = live(APP, "-b", f"fd://{fds[1]}", bind=f"fd://{fds[0]}", pass_fds=fds)
    for sock in (tcp, unix):
        assert get(sock).startswith("HTTP/1.1 200 OK\r\n")
    server.stop()
    assert (tmp_path / "app.sock").exists()


def test_a_datagram_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        options = passing([sock])
        done = subprocess.run(
            [*options["command"], APP],  # type: ignore[misc]
            pass_fds=[sock.fileno()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(
        r"Error: descriptor 3 \(a\), .* use ListenStream= and .*\n", done.stderr.splitlines(keepends=True)[-1]
    )


def test_two_servers_on_one_port(live: Callable[..., LiveServer]) -> None:
    first = live(APP, "--reuse-port")
    second = live(APP, "--reuse-port", bind=first.url.removeprefix("http://"))
    assert first.address == second.address
    first.stop()
    assert second.get("/").status == 200
