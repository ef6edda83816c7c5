"""raw_env, pidfiles that move, and process 1."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer
from tests.processes import children, eventually, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

APP = """
import os

AT_IMPORT = os.environ.get("COLOUR", "none"), os.environ.get("SIZE", "none")

def app(environ, start_response):
    if environ["PATH_INFO"] == "/orphan":
        # Its parent has ended before the answer, so it is the child of process 1 by then.
        child = os.fork()
        if child == 0:
            os.fork()
            os._exit(0)
        os.waitpid(child, 0)
    body = " ".join(AT_IMPORT).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_variables_are_there_when_the_app_is_loaded(
    live: Callable[..., LiveServer], tmp_path: Path, preload: tuple[str, ...]
) -> None:
    (tmp_path / "shown.py").write_text(APP)
    options = ("-e", "COLOUR=red=green", "--env", "SIZE=", *preload)
    server = live("shown:app", *options, cwd=os.fspath(tmp_path))
    assert server.get().text == "red=green "


@pytest.mark.skipif(not hasattr(gc, "freeze"), reason="PyPy's collector has other means")
def test_the_collector_leaves_the_app_alone(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    """What was loaded is for good; only what requests make is gone through."""
    (tmp_path / "frozen.py").write_text(
        "import gc\n"
        "LOADED = [[] for _ in range(100_000)]\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(gc.get_freeze_count() >= len(LOADED)).encode()]\n"
    )
    assert live("frozen:app", cwd=os.fspath(tmp_path)).get().text == "True"


def test_variables_at_reload(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    """They are what the configuration says now, which is read as if they were not there."""
    (tmp_path / "shown.py").write_text(APP)
    conf = tmp_path / "fastwsgi.conf.py"

    def configure(*variables: str) -> None:
        conf.write_text(
            "import os\n"
            f"raw_env = {list(variables)!r}\n"
            "proc_name = os.environ.get('COLOUR', 'none') + os.environ.get('SIZE', 'none')\n"
        )

    configure("COLOUR=red", "SIZE=big")
    server = live("shown:app", cwd=os.fspath(tmp_path), env={"COLOUR": None, "SIZE": "small"})
    assert server.get().text == "red big"
    for variables, expected in ((["COLOUR=green"], "green small"), ([], "none small")):
        configure(*variables)
        start = len(server.log.lines)
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("Reload complete", start=start)
        # One that leaves may still answer.
        eventually(lambda expected=expected: server.get().text == expected)  # type: ignore[misc]
        eventually(lambda: b"[nonesmall]" in cmdline(server.pid))


def test_variables_of_a_reload_that_fails(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(APP)
    conf = tmp_path / "fastwsgi.conf.py"
    conf.write_text("raw_env = ['COLOUR=red']\n")
    server = live("shown:app", "--log-level", "debug", cwd=os.fspath(tmp_path))
    assert server.get().text == "red none"
    (tmp_path / "shown.py").write_text("raise RuntimeError\n")
    conf.write_text("raw_env = ['COLOUR=green']\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload failed")
    (tmp_path / "shown.py").write_text(APP)
    start = len(server.log.lines)
    server.send_signal(signal.SIGTTIN)
    pid = int(server.wait_for_log(r"Worker \(pid:(\d+)\) is ready", start=start)[1])
    server.allow_traceback = True
    for each in set(children(server.pid)) - {pid}:
        # So that one answers that was forked since.
        os.kill(each, signal.SIGKILL)
        wait_for_end(each)
    assert server.get().text == "red none"


def cmdline(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def test_the_pidfile_moves_at_reload(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    conf = tmp_path / "fastwsgi.conf.py"
    conf.write_text("pidfile = 'one'\n")
    server = live("tests.apps.processes:app", cwd=os.fspath(tmp_path))
    assert (tmp_path / "one").read_text() == f"{server.pid}\n"
    conf.write_text("pidfile = 'two'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete")
    eventually(lambda: not (tmp_path / "one").exists())
    assert (tmp_path / "two").read_text() == f"{server.pid}\n"
    server.stop()
    assert not (tmp_path / "two").exists()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes root and unshare")
def test_orphans_are_collected_by_process_1(tmp_path: Path) -> None:
    probe = subprocess.run(["unshare", "-fp", "--mount-proc", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("namespaces are not allowed here")
    (tmp_path / "shown.py").write_text(APP)
    command = ("unshare", "-fp", "--mount-proc", "--kill-child", sys.executable, "-m", "fastwsgi")
    server = LiveServer("shown:app", cwd=os.fspath(tmp_path), command=command)
    try:
        (master,) = children(server.pid)
        eventually(lambda: len(children(master)) == 1)
        (worker,) = children(master)
        assert server.get("/orphan").status == 200
        eventually(lambda: children(master) == [worker])
        os.kill(master, signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.kill()
