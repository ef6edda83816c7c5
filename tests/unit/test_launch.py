"""How a process was started: variables, and descriptors that came along."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fastwsgi.errors import ConfigError
from fastwsgi.processes import launch
from fastwsgi.processes.launch import Launch
from fastwsgi.processes.origin import Origin
from tests.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastwsgi.processes.sockets import Listener

PID = str(os.getpid())


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[int]]]:
    """Pass sockets to this process under neighbouring numbers, which begin where there is room."""
    fds: list[int] = []

    def start(*sockets: socket.socket) -> list[int]:
        first = 200
        for number, sock in enumerate(sockets):
            os.dup2(sock.fileno(), first + number)
            fds.append(first + number)
        monkeypatch.setattr(launch, "FIRST_GIVEN", first)
        return fds

    yield start
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass


def bound(
    family: int = socket.AF_INET, address: tuple[str, int] | str = ("127.0.0.1", 0), *, listens: bool = True
) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(address)
    if listens:
        sock.listen(5)
    return sock


def close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def test_nothing_came(tmp_path: Path) -> None:
    environ = {"A": "b"}
    started = Launch.take(environ, os.fspath(tmp_path))
    assert started.environ == {"A": "b"}
    assert started.environ is not environ
    assert started.directory == os.fspath(tmp_path)
    assert started.command == [sys.executable, *sys.orig_argv[1:]]
    assert (started.predecessor, started.channel, started.warning) == (0, None, "")
    listeners = started.listen(["127.0.0.1:0"], backlog=5)
    assert [listener.address for listener in listeners] == ["127.0.0.1:0"]
    close(listeners)


def test_a_program_that_has_gone_elsewhere(tmp_path: Path) -> None:
    origin = Origin({"A": "b", "LISTEN_FDS": "1"}, os.fspath(tmp_path))
    started = Launch.take({"A": "c", "D": "e"}, "/", origin)
    assert started.environ == {"A": "b"}
    assert (started.directory, started.started_in) == ("/", os.fspath(tmp_path))
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert Launch.take({}, os.fspath(link), origin).started_in == ""
    assert Launch.take({}, "/", Origin({}, "")).started_in == ""
    assert Launch.take({}, "/", Origin({}, os.fspath(tmp_path / "gone"))).started_in.endswith("gone")


# --- from systemd --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listens", [True, False])
def test_given_sockets_replace_the_addresses(
    passed: Callable[..., list[int]], tmp_path: Path, *, listens: bool
) -> None:
    path = tmp_path / "app.sock"
    sockets = [
        bound(listens=listens),
        bound(socket.AF_INET6, ("::1", 0), listens=listens),
        bound(socket.AF_UNIX, os.fspath(path), listens=listens),
    ]
    fds = passed(*sockets)
    environ = {"LISTEN_FDS": "3", "LISTEN_PID": PID, "LISTEN_FDNAMES": "web:six:api", "A": "b"}
    started = Launch.take(environ, ".")
    assert environ == started.environ == {"A": "b"}
    assert not any(os.get_inheritable(fd) for fd in fds)
    listeners = started.listen(["no-such-host.invalid:80"], backlog=5)
    assert [listener.fd for listener in listeners] == fds
    assert [listener.address for listener in listeners] == ["", "", ""]
    port4, port6 = (sock.getsockname()[1] for sock in sockets[:2])
    assert [listener.url for listener in listeners] == [
        f"http://127.0.0.1:{port4}",
        f"http://[::1]:{port6}",
        f"unix:{path}",
    ]
    for listener in listeners:
        assert not listener.sock.getblocking()
        with socket.socket(listener.sock.family) as client:
            client.connect(listener.sock.getsockname())
    close(listeners)
    assert path.exists()  # it is systemd's
    more = started.listen(["127.0.0.1:0"], backlog=5)
    assert more[0].address  # a second server is not given them again
    close(more)
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": "1"}, {"LISTEN_PID": "x"}], ids=str)
def test_sockets_of_another_process_are_left(environ: dict[str, str]) -> None:
    environ = {**environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    started = Launch.take(environ, ".")
    assert environ == {}
    assert "which is not this one" in started.warning
    listeners = started.listen(["127.0.0.1:0"], backlog=5)
    assert listeners[0].address == "127.0.0.1:0"
    close(listeners)


@pytest.mark.parametrize("count", ["0", "", "x", "-1"])
def test_no_number_of_sockets(count: str) -> None:
    environ = {"LISTEN_FDS": count, "LISTEN_PID": PID}
    assert Launch.take(environ, ".").warning == ""
    assert environ == {}


@pytest.mark.parametrize("kind", ["closed", "datagram", "connected", "file"])
def test_given_what_is_no_listener(passed: Callable[..., list[int]], tmp_path: Path, kind: str) -> None:
    server = bound()
    if kind == "connected":
        other = socket.create_connection(server.getsockname())
    else:
        other = socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    fds = passed(server, other)
    if kind == "closed":
        os.close(fds[1])
    elif kind == "file":
        with (tmp_path / "file").open("w") as file:
            os.dup2(file.fileno(), fds[1])
    environ = {"LISTEN_FDS": "2", "LISTEN_PID": PID, "LISTEN_FDNAMES": "web:odd"}
    with pytest.raises(ConfigError, match=rf"descriptor {fds[1]} \(odd\), .*ListenStream="):
        Launch.take(environ, ".").listen(["127.0.0.1:0"], backlog=5)
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)
    server.close()
    other.close()


# --- from an old master --------------------------------------------------------------------------------------

START = f"""
import os, socket, sys
sys.path.insert(0, {os.fspath(ROOT)!r})
from fastwsgi.processes.launch import Launch
"""

OLD = (
    START
    + """
started = Launch.take(os.environ, sys.argv[1])
started.command[1:] = ["-c", sys.argv[2]]
listeners = started.listen(sys.argv[3].split(), backlog=5)
print(*(listener.url for listener in listeners), flush=True)
ours, theirs = socket.socketpair()
os.environ["LATER"] = "1"
os.chdir("/")
pid = os.fork()
if pid == 0:
    try:
        started.start_again(listeners, theirs)
    except OSError as exc:
        print(exc, flush=True)
        os._exit(9)
theirs.close()
print(ours.recv(3).decode(), pid, flush=True)
print("left:", *(os.path.exists(listener.made.path) for listener in listeners if listener.made))
print("said:", ours.makefile().read())
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
for listener in listeners:
    listener.close()
sys.exit(code)
"""
)

MANAGER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""

NEW = (
    START
    + """
import json
started = Launch.take(os.environ, os.getcwd())
started.channel.send(b"new")
listeners = started.listen(os.environ["BIND"].split(), backlog=5)
print(json.dumps({
    "urls": [listener.url for listener in listeners],
    "addresses": [listener.address for listener in listeners],
    "made": [listener.made is not None for listener in listeners],
    "pid": os.getpid(), "parent": os.getppid(), "predecessor": started.predecessor,
    "cwd": os.getcwd(), "environ": dict(os.environ), "same": started.environ == dict(os.environ),
    "inheritable": [fd for fd in range(3, 50) if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(fd)],
}))
for listener in listeners:
    listener.close()
started.report_failure(4, "no app")
started.channel.close()
started.report_failure(4, "not heard")
"""
)


def upgrade(directory: Path, bind: str, new_bind: str, **environ: str) -> tuple[list[str], dict[str, object]]:
    """Return the URLs of an old master, and what a new one has found."""
    done = subprocess.run(
        [sys.executable, "-c", OLD, os.fspath(directory), NEW, bind],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "BIND": new_bind, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    found = json.loads(next(line for line in lines if line.startswith("{")))
    assert f"new {found['pid']}" in lines
    assert 'said: [4, "no app", ""]' in lines
    assert "left: False" not in lines
    return lines[0].split(), found


def test_a_new_master_has_the_same_sockets_and_surroundings(tmp_path: Path) -> None:
    binds = f"127.0.0.1:0 127.0.0.1:0 unix:{tmp_path}/app.sock"
    urls, found = upgrade(tmp_path, binds, binds)
    assert len(set(urls)) == 3
    assert found["urls"] == urls
    assert found["addresses"] == binds.split()
    assert found["made"] == [False, False, True]
    assert found["predecessor"] == found["parent"]
    assert found["cwd"] == os.fspath(tmp_path)
    assert found["same"] is True
    assert found["environ"].keys() - {"LC_CTYPE"} == {"PATH", "BIND"}  # type: ignore[attr-defined]
    if sys.platform == "linux":
        assert found["inheritable"] == []
    assert not (tmp_path / "app.sock").exists()  # the old one ended last


def test_a_new_master_with_other_addresses(tmp_path: Path) -> None:
    """It keeps what is still wanted, in the new order, and binds the rest."""
    urls, found = upgrade(tmp_path, "127.0.0.1:0 [::1]:0", f"unix:{tmp_path}/new.sock [::1]:0")
    assert found["urls"] == [f"unix:{tmp_path}/new.sock", urls[1]]


def test_sockets_from_systemd_go_on_to_the_new_master(tmp_path: Path) -> None:
    with bound() as given:
        command = [sys.executable, "-c", OLD, os.fspath(tmp_path), NEW, "127.0.0.1:0"]
        done = subprocess.run(
            [sys.executable, "-c", MANAGER, str(given.fileno()), *command],
            env={"PATH": os.environ["PATH"], "LISTEN_FDS": "1", "BIND": "127.0.0.1:0"},
            pass_fds=[given.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        port = given.getsockname()[1]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert found["urls"] == [f"http://127.0.0.1:{port}"]
    assert found["addresses"] == [""]
    assert found["environ"]["WATCHDOG_PID"] == str(found["pid"])
    assert not [name for name in found["environ"] if re.match("LISTEN_|FASTWSGI_", name)]


def test_another_process_takes_no_hand_over() -> None:
    environ = {
        launch.HANDOVER: json.dumps({"pid": 1, "master": 2, "channel": 3, "sockets": [[4, "x", None]]})
    }
    started = Launch.take(environ, ".")
    assert environ == {}
    assert started.predecessor == 0
    listeners = started.listen(["127.0.0.1:0"], backlog=5)
    assert listeners[0].address == "127.0.0.1:0"
    close(listeners)


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    started = Launch.take({}, os.fspath(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError), socket.socket() as sock:
        started.start_again([], sock)
