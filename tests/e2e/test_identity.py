"""Root's workers become the user of the settings, and go on with what they need."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ENGINE, ROOT, Peer
from tests.processes import children, eventually, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live import LiveServer

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

NOBODY = pwd.getpwnam("nobody")
OWNER = (NOBODY.pw_uid, NOBODY.pw_gid)
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

# Of modules that the server has loaded already: the interpreter may lie where only root can read.
WHO = """
import os

def who():
    return f"{os.getresuid()} {os.getresgid()} {os.getgroups()}"

LOADED_BY = who()

def app(environ, start_response):
    body = f"{LOADED_BY}; {who()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
AS_NOBODY = f"{(OWNER[0],) * 3} {(OWNER[1],) * 3} [{OWNER[1]}]"


@pytest.fixture
def nobody(public_path: Path, live: Callable[..., LiveServer]) -> Callable[..., LiveServer]:
    """Start servers of `who:app` as root, in a folder of nobody's."""
    (public_path / "who.py").write_text(WHO)
    os.chown(public_path, *OWNER)
    return lambda *args, **options: live(
        "who:app", "-u", "nobody", "--log-level", "debug", *args, cwd=os.fspath(public_path), **options
    )


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


@pytest.mark.skipif("gevent" in ENGINE, reason="nobody may not read this gevent")
@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_the_app_is_loaded_and_served_by_the_user(
    nobody: Callable[..., LiveServer], preload: tuple[str, ...]
) -> None:
    server = nobody(*preload)
    assert server.get().text == f"{AS_NOBODY}; {AS_NOBODY}"
    # Only a master that has loaded the app has changed.
    assert os.stat(f"/proc/{server.pid}").st_uid == (NOBODY.pw_uid if preload else 0)


@pytest.mark.skipif("gevent" in ENGINE, reason="nobody may not read this gevent")
def test_logs_are_reopened_by_workers(nobody: Callable[..., LiveServer], public_path: Path) -> None:
    logs = public_path / "log"
    logs.mkdir()  # root's: nobody can neither make nor rename a file in it
    error, access = logs / "error.log", logs / "access.log"
    options = ("--error-logfile", os.fspath(error), "--access-logfile", os.fspath(access))
    path = public_path / "app.sock"
    command = [
        sys.executable,
        "-m",
        "fastwsgi",
        *ENGINE,
        "-u",
        "nobody",
        *options,
        "-b",
        f"unix:{path}",
        "who:app",
    ]
    process = subprocess.Popen(command, cwd=public_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        eventually(path.exists)
        eventually(lambda: "Listening at" in error.read_text())
        assert [owner(file) for file in (error, access, path)] == [OWNER] * 3
        with Peer(os.fspath(path)) as peer:
            assert peer.request(GET).status == 200
        for file in (error, access):
            file.rename(f"{file}.1")
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: all(file.exists() and owner(file) == OWNER for file in (error, access)))
        (worker,) = children(process.pid)
        files = {os.fspath(error), os.fspath(access)}
        eventually(lambda: files <= {os.readlink(fd) for fd in descriptors(worker)})
        with Peer(os.fspath(path)) as peer:
            assert peer.request(GET).status == 200
        eventually(lambda: "GET / HTTP/1.1" in access.read_text())
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert "Traceback" not in error.read_text()
        assert f"[{worker}] [INFO] Worker exiting" in error.read_text()
        assert "cannot reopen" not in error.read_text()
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def descriptors(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return [f"{folder}/{name}" for name in os.listdir(folder) if os.path.lexists(f"{folder}/{name}")]


@pytest.mark.skipif("gevent" in ENGINE, reason="nobody may not read this gevent")
def test_reload_to_another_user(nobody: Callable[..., LiveServer], public_path: Path) -> None:
    conf = public_path / "fastwsgi.conf.py"
    server = nobody()
    assert server.get().text.endswith(AS_NOBODY)
    conf.write_text("group = 1\n")
    start = len(server.log.lines)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete", start=start)
    # One that leaves may still answer.
    eventually(lambda: f"({OWNER[0]}, {OWNER[0]}, {OWNER[0]}) (1, 1, 1) [1]" in server.get().text)
    conf.write_text("group = 'nosuchgroup'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload refused.*group = 'nosuchgroup' .*: there is no such group")
    assert len(wait_for_workers(server, 1)) == 1


def run(*args: str, cwd: Path, command: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, sys.executable, "-m", "fastwsgi", *ENGINE, "-b", "127.0.0.1:0", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.mark.parametrize(("preload", "code"), [((), 3), (("--preload",), 1)])
def test_who_cannot_change_does_not_serve(public_path: Path, preload: tuple[str, ...], code: int) -> None:
    probe = subprocess.run(["unshare", "-r", "true"], check=False) if shutil.which("unshare") else None
    if probe is None or probe.returncode:
        pytest.skip("takes unshare and user namespaces")
    (public_path / "who.py").write_text(WHO)
    done = run("-u", "nobody", *preload, "who:app", cwd=public_path, command=("unshare", "-r"))
    assert done.returncode == code
    assert f"cannot run as user {OWNER[0]}, group {OWNER[1]}: " in done.stderr


@pytest.mark.skipif("gevent" in ENGINE, reason="nobody may not read this gevent")
def test_a_check_loads_the_app_as_the_user(public_path: Path) -> None:
    (public_path / "who.py").write_text(f"{WHO}\nprint(LOADED_BY)\n")
    done = run("--check-config", "-u", "nobody", "who:app", cwd=public_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{AS_NOBODY}\n", "")


def test_unknown_users_are_told_before_anything_starts(public_path: Path) -> None:
    done = run("-u", "nosuchuser", "who:app", cwd=public_path)
    assert done.returncode == 1
    assert "Error: user = 'nosuchuser' (command line, -u): there is no such user here" in done.stderr
    assert "Listening" not in done.stderr
