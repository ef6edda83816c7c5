"""`-D`: the command ends when the server serves, or says why it does not."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ENGINE, ROOT, Peer
from tests.processes import children, eventually, open_files, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

APP = "tests.apps.processes:app"
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run the command with a pidfile in the test's folder; the daemon is ended when the test ends."""

    def run(app: str, *args: str) -> subprocess.CompletedProcess[str]:
        files = ("-p", os.fspath(tmp_path / "pid"), "-b", f"unix:{tmp_path / 'sock'}")
        return subprocess.run(
            [sys.executable, "-m", "fastwsgi", *ENGINE, "-D", *files, *args, app],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    yield run
    if (tmp_path / "pid").exists():
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for_end(pid)


def get(tmp_path: Path) -> int:
    with Peer(os.fspath(tmp_path / "sock")) as peer:
        return peer.request(GET).status


def test_the_command_ends_when_the_server_serves(
    daemon: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    done = daemon(APP, "--error-logfile", os.fspath(log))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert get(tmp_path) == 200
    pid = int((tmp_path / "pid").read_text())
    assert f"[{pid}] [INFO] Listening at" in log.read_text()
    assert os.getsid(pid) not in (pid, os.getsid(0))
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    # The pipe to the command is closed, in the workers as well.
    for each in (pid, *children(pid)):
        files = open_files(each)
        assert sum(name.startswith("pipe:") for name in files) <= 2, files  # both ends of the signals'
    os.kill(pid, signal.SIGTERM)
    wait_for_end(pid)
    assert not (tmp_path / "pid").exists()
    assert "Shutting down" in log.read_text()


def test_a_daemon_is_upgraded(
    daemon: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The new master is in the background already, and is not forked away from the old one's eyes."""
    log, pidfile = tmp_path / "log", tmp_path / "pid"
    assert daemon(APP, "--error-logfile", os.fspath(log)).returncode == 0
    old = int(pidfile.read_text())
    os.kill(old, signal.SIGUSR2)
    eventually(lambda: "The new master (pid:" in log.read_text())
    eventually((tmp_path / "pid.2").exists)
    new = int((tmp_path / "pid.2").read_text())
    eventually(lambda: f"The new master (pid:{new}) serves" in log.read_text())
    os.kill(old, signal.SIGTERM)
    wait_for_end(old)
    eventually(lambda: pidfile.exists() and int(pidfile.read_text()) == new)
    assert os.getsid(new) not in (new, os.getsid(0))
    assert get(tmp_path) == 200


def test_why_the_app_cannot_be_loaded_is_told(
    daemon: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no luck today')\n")
    log = tmp_path / "log"
    done = daemon("broken:app", "--error-logfile", os.fspath(log))
    assert done.returncode == 4
    assert "no luck today" in done.stderr
    assert done.stderr.startswith("Error: ")
    assert "no luck today" in log.read_text()
    assert not (tmp_path / "pid").exists()
    done = daemon("broken:app", "--preload")
    assert done.returncode == 4
    assert "Error: cannot load 'broken:app'" in done.stderr


def test_mistakes_are_told(daemon: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = daemon(APP, "-b", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"Error: cannot listen on '127.0.0.1:{port}': it is in use" in done.stderr
    done = daemon(APP, "--workers", "none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_log_that_nobody_hears_is_warned_of(
    daemon: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = daemon(APP)
    assert done.returncode == 0
    assert (
        done.stderr == "Warning: a daemon's standard error leads nowhere; set errorlog to a file, or syslog\n"
    )
    assert get(tmp_path) == 200


def test_output_may_be_kept(daemon: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = f"{sys.executable} -m fastwsgi {' '.join(ENGINE)} -D -R -p {tmp_path}/pid -b unix:{tmp_path}/sock {APP}"
    subprocess.run(["sh", "-c", f"{line} 2>{log}"], cwd=ROOT, check=True, timeout=DEADLINE)
    assert get(tmp_path) == 200
    assert re.search(r"\[INFO\] Listening at: unix:", log.read_text())
