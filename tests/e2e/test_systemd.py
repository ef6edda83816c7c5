"""A service of systemd: sockets that it passes, and what it is told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ROOT, LiveServer, Peer
from tests.manager import Manager
from tests.processes import end, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.gate import Gate

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


# --- what systemd is told ------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(os.fspath(tmp_path / "notify")) as manager:
        yield manager


@pytest.fixture
def service(live: Callable[..., LiveServer], manager: Manager) -> Callable[..., LiveServer]:
    """Start servers that speak to the manager."""

    def start(
        app: str, *args: str, env: dict[str, str | None] | None = None, **options: object
    ) -> LiveServer:
        return live(app, *args, env={"NOTIFY_SOCKET": manager.address, **(env or {})}, **options)

    return start


def test_ready_is_said_when_a_worker_serves(
    service: Callable[..., LiveServer], manager: Manager, gate: Gate, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(
        f"open({os.fspath(gate.path)!r}).read()\nfrom tests.apps.processes import app\n"
    )
    server = service("slow:app", "--pythonpath", os.fspath(tmp_path))
    gate.wait_for_arrival()  # the master listens, and its worker loads the app
    assert manager.wait_for("STATUS=Starting: .*") == ["STATUS=Starting: no worker serves yet"]
    assert manager.take() == []
    gate.open()
    assert manager.wait_for("READY=1") == ["READY=1", "STATUS=1 worker serves"]
    assert server.get("/").status == 200
    server.stop()
    assert manager.wait_for("STOPPING=1")[1].startswith("STATUS=Stopping: ")
    assert {pid for pid, _ in manager.seen} == {server.pid}
    assert not [line for _, line in manager.seen if line.startswith("MAINPID")]


def test_an_app_that_does_not_load_is_never_ready(manager: Manager) -> None:
    done = subprocess.run(
        [*FASTWSGI, "tests.apps.processes:nothing", "-b", "127.0.0.1:0"],
        env={**os.environ, "NOTIFY_SOCKET": manager.address},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 4
    manager.take()
    assert "READY=1" not in [line for _, line in manager.seen]


def test_a_reload_is_announced(service: Callable[..., LiveServer], manager: Manager, tmp_path: Path) -> None:
    conf = tmp_path / "conf.py"
    conf.write_text("workers = 2\n")
    server = service(APP, "-c", os.fspath(conf))
    manager.wait_for("STATUS=2 workers serve")
    server.send_signal(signal.SIGHUP)
    words = manager.wait_for("RELOADING=1")
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", words[1])
    assert int(words[1].partition("=")[2]) <= time.monotonic_ns() // 1000
    assert re.fullmatch(r"EXTEND_TIMEOUT_USEC=\d+", words[3])
    assert "STATUS=2 workers serve" in manager.wait_for("READY=1")
    conf.write_text("workers = 'many'\n")
    server.send_signal(signal.SIGHUP)  # refused, which is an end as well
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    server.stop(signal.SIGINT)
    manager.wait_for("STOPPING=1")


def test_the_watchdog_hears_of_the_master(service: Callable[..., LiveServer], manager: Manager) -> None:
    server = service(APP, env={"WATCHDOG_USEC": "200000"})
    for _ in range(5):
        manager.wait_for("WATCHDOG=1")
    server.stop()


def test_a_manager_that_does_not_read_hinders_nobody(
    service: Callable[..., LiveServer], manager: Manager
) -> None:
    server = service(APP, env={"WATCHDOG_USEC": "20000"})
    for _ in range(20):
        server.send_signal(signal.SIGTTIN)
        server.send_signal(signal.SIGTTOU)
        assert server.get("/").status == 200
    server.stop()
    manager.sock.close()


@pytest.mark.parametrize("how", ["forth", "back"])
def test_the_main_process_is_always_one_that_lives(
    service: Callable[..., LiveServer], manager: Manager, how: str
) -> None:
    """As systemd with NotifyAccess=main: only the one that it takes for the main process is believed."""
    server = service(APP)
    main = server.pid
    manager.wait_for("READY=1")
    server.send_signal(signal.SIGUSR2)
    manager.wait_for("RELOADING=1")
    new = int(server.wait_for_log(r"Starting a new master \(pid:(\d+)\)")[1])
    try:
        assert manager.wait_for("MAINPID=.*")[:2] == [f"MAINPID={new}", "READY=1"]
        assert manager.seen[-1][0] == main
        assert manager.wait_for("MAINPID=.*") == [f"MAINPID={new}"]  # for those who believe all
        assert manager.wait_for("READY=1") == ["READY=1", "STATUS=1 worker serves"]
        assert manager.seen[-1][0] == new
        gone, stays = (main, new) if how == "forth" else (new, main)
        os.kill(gone, signal.SIGTERM)
        wait_for_end(gone) if gone == new else server.process.wait(DEADLINE)
        if how == "back":
            assert manager.wait_for("MAINPID=.*")[:2] == [f"MAINPID={main}", "READY=1"]
            assert manager.seen[-1][0] == new
            assert manager.wait_for("MAINPID=.*") == [f"MAINPID={main}"]
            assert manager.seen[-1][0] == main
        os.kill(stays, signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert manager.seen[-1][0] == stays
        wait_for_end(stays)
        assert [line for _, line in manager.seen].count("STOPPING=1") == 1
    finally:
        end(new)


def test_an_old_master_that_leaves_early_names_the_new_one(
    service: Callable[..., LiveServer], manager: Manager, tmp_path: Path
) -> None:
    """It must not say that it stops: that would be the end of the service."""
    conf, fifo = tmp_path / "conf.py", tmp_path / "fifo"
    os.mkfifo(fifo)
    conf.write_text("")
    server = service(APP, "-c", os.fspath(conf))
    manager.wait_for("READY=1")
    conf.write_text(f"open({os.fspath(fifo)!r}).read()\n")
    server.send_signal(signal.SIGUSR2)
    new = int(server.wait_for_log(r"Starting a new master \(pid:(\d+)\)")[1])
    try:
        with fifo.open("w"):  # it is being loaded
            server.send_signal(signal.SIGTERM)
            assert manager.wait_for("MAINPID=.*")[0] == f"MAINPID={new}"
            server.process.wait(DEADLINE)
        assert manager.wait_for("READY=1")[0] == "READY=1"
        assert manager.seen[-1][0] == new
        assert "STOPPING=1" not in [line for _, line in manager.seen]
        assert server.get("/").status == 200
    finally:
        end(new)


def test_sockets_of_systemd_go_on_to_a_new_master(
    live: Callable[..., LiveServer], sockets: list[socket.socket], tmp_path: Path
) -> None:
    server = live(APP, **passing(sockets))
    server.send_signal(signal.SIGUSR2)
    new = int(server.wait_for_log(r"The new master \(pid:(\d+)\) serves")[1])
    try:
        server.send_signal(signal.SIGTERM)
        server.process.wait(DEADLINE)
        for sock in sockets:
            assert get(sock).startswith("HTTP/1.1 200 OK\r\n")
    finally:
        end(new)
    assert (tmp_path / "app.sock").exists()


# --- units ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and not os.environ.get("CI"),
    reason="systemd-analyze is not installed",
)
def test_the_units_are_sound(tmp_path: Path) -> None:
    for unit in sorted((ROOT / "deploy" / "systemd").iterdir()):
        # The program is not where the example has it.
        text = unit.read_text().replace("/srv/app/venv/bin/fastwsgi", sys.executable)
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(os.fspath, tmp_path.iterdir()))
    assert [os.path.basename(unit) for unit in units] == ["fastwsgi.service", "fastwsgi.socket"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_arguments_in_the_unit_are_understood() -> None:
    unit = (ROOT / "deploy" / "systemd" / "fastwsgi.service").read_text()
    command = re.search(r"^ExecStart=\S+ (.*) app:app$", unit, re.MULTILINE)
    assert command
    done = subprocess.run(
        [*FASTWSGI, *command[1].split(), "--check-config", APP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
