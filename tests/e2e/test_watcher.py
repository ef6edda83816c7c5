"""`--reload`: what changes is seen by a process of its own, and loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fastwsgi import gil
from tests.live import DEADLINE, ENGINE, ROOT, LiveServer
from tests.processes import children, command_line, eventually, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

if not os.environ.get("CI") or gil.is_optional():  # in CI, `make` has installed it
    pytest.importorskip(
        "watchfiles", reason="watchfiles is not installed; free-threaded Pythons cannot have it"
    )

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MODULE = """
import pathlib

TEXT = {text!r} + "".join(path.read_text() for path in sorted(pathlib.Path("data").glob("*.txt")))

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(TEXT)))])
    return [TEXT.encode()]
"""


@pytest.fixture(params=["inotify", "poll"])
def reloading(
    request: pytest.FixtureRequest, tmp_path: Path, live: Callable[..., LiveServer]
) -> Callable[..., LiveServer]:
    """Start servers of `changing:app` in the test's folder, which are watched once they have started."""

    def start(*args: str) -> LiveServer:
        options = ("--reload", "--reload-engine", request.param, "--log-level", "debug")
        env = {"PYTHONDONTWRITEBYTECODE": None}
        server = live("changing:app", *options, *args, cwd=os.fspath(tmp_path), env=env)
        server.wait_for_log("Watching")
        return server

    return start


def save(path: Path, text: str) -> None:
    """Write a file as editors do: aside, and renamed.

    Each is ten seconds newer than the one before: who polls, and Python with its bytecode, count in seconds.
    """
    aside = path.with_name(f".{path.name}.swp")
    aside.write_text(text)
    before = path.stat().st_mtime if path.exists() else aside.stat().st_mtime
    os.utime(aside, (before + 10, before + 10))
    aside.rename(path)


def shows(server: LiveServer, text: str) -> None:
    eventually(lambda: server.get().text == text)


def test_changed_code_is_loaded(reloading: Callable[..., LiveServer], tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text(MODULE.format(text="one"))
    server = reloading()
    assert server.get().text == "one"
    save(module, MODULE.format(text="number two"))
    server.wait_for_log(r"\[INFO\] Changed: changing.py$")
    shows(server, "number two")


def test_a_file_written_in_place(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text(MODULE.format(text="one"))
    server = live("changing:app", "--reload", "--log-level", "debug", cwd=os.fspath(tmp_path))
    server.wait_for_log("Watching")
    module.write_text(MODULE.format(text="number two"))
    shows(server, "number two")


def test_what_is_written_besides_is_no_change(reloading: Callable[..., LiveServer], tmp_path: Path) -> None:
    """Else a reload, which writes bytecode, would be the reason of the next one."""
    module = tmp_path / "changing.py"
    module.write_text(MODULE.format(text="one"))
    server = reloading("--pid", "pid", "--reload-extra-file", "data")
    (tmp_path / ".git").mkdir()
    for name in (".git/index.py", "notes.txt", "app.sqlite3", "changing.py~"):
        (tmp_path / name).write_text("x")
    for round_ in range(2):
        start = len(server.log.lines)
        save(module, MODULE.format(text=f"round {round_} of two"))
        server.wait_for_log("Reload complete", start=start)
        shows(server, f"round {round_} of two")
    assert list(tmp_path.glob("__pycache__/changing.*.pyc"))
    # Changes are told in their order, so whatever came of the first round would stand before the second's.
    changes = [line.partition("Changed: ")[2] for line in server.log.lines if "Changed: " in line]
    assert set(changes) == {"changing.py"}


def test_extra_files_and_the_configuration(reloading: Callable[..., LiveServer], tmp_path: Path) -> None:
    (tmp_path / "changing.py").write_text(MODULE.format(text=""))
    (tmp_path / "data").mkdir()
    conf = tmp_path / "fastwsgi.conf.py"
    conf.write_text("reload_extra_files = ['data/*.txt']\n")
    server = reloading()
    assert server.get().text == ""
    save(tmp_path / "data" / "word.txt", "word")
    shows(server, "word")
    start = len(server.log.lines)
    save(conf, "reload_extra_files = ['data/*.txt']\nproc_name = 'another'\n")
    server.wait_for_log("Reload complete", start=start)
    eventually(lambda: "[another]" in command_line(server.pid))


def test_broken_code_is_survived(reloading: Callable[..., LiveServer], tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text("def app(:\n")
    server = reloading()
    server.allow_traceback = True
    server.wait_for_log("SyntaxError")
    save(module, MODULE.format(text="mended"))
    shows(server, "mended")
    start = len(server.log.lines)
    save(module, "1 / 0  # broken again\n")
    server.wait_for_log("ZeroDivisionError", start=start)
    server.wait_for_log("Reload failed", start=start)
    assert server.get().text == "mended"
    save(module, MODULE.format(text="mended once more"))
    shows(server, "mended once more")


def watcher_of(server: LiveServer) -> int:
    found = [pid for pid in children(server.pid) if "watcher" in command_line(pid)]
    return found[0] if found else 0


def test_the_watcher_ends_with_the_master(tmp_path: Path) -> None:
    pytest.importorskip("setproctitle")
    (tmp_path / "changing.py").write_text(MODULE.format(text="one"))
    for number in (signal.SIGTERM, signal.SIGKILL):
        server = LiveServer("changing:app", "--reload", cwd=os.fspath(tmp_path))
        try:
            eventually(lambda server=server: watcher_of(server) > 0)  # type: ignore[misc]
            watcher = watcher_of(server)
            server.send_signal(number)
            wait_for_end(watcher)
            server.process.wait(DEADLINE)
        finally:
            server.kill()


def test_without_its_watcher_the_server_goes_on(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    pytest.importorskip("setproctitle")
    (tmp_path / "changing.py").write_text(MODULE.format(text="one"))
    server = live("changing:app", "--reload", cwd=os.fspath(tmp_path))
    server.wait_for_log("for development only")
    eventually(lambda: watcher_of(server) > 0)
    os.kill(watcher_of(server), signal.SIGKILL)
    server.wait_for_log("The watcher has ended, changes are no longer seen")
    assert server.get().text == "one"


def test_preload_gives_way(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text(MODULE.format(text="one"))
    (tmp_path / "gunicorn.conf.py").write_text("preload_app = True\n")
    server = live("changing:app", "--reload", cwd=os.fspath(tmp_path))
    server.wait_for_log(r"Warning: preload_app \(.*gunicorn.conf.py\) is left out while reload is on")
    module.write_text(MODULE.format(text="two, and not preloaded"))
    start = len(server.log.lines)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete", start=start)
    shows(server, "two, and not preloaded")


def test_without_watchfiles(tmp_path: Path) -> None:
    (tmp_path / "changing.py").write_text(MODULE.format(text="one"))
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *args: None if name == 'watchfiles' else find(name, *args)\n"
        "from fastwsgi.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *ENGINE, "--reload", "-b", "127.0.0.1:0", "changing:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    assert "Error: reload = True (command line, --reload): watchfiles is not installed; pip" in done.stderr
