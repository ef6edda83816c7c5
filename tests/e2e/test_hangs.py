"""Workers that hang, in the ways in which they do: each is ended, and the log says what it was at."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live import ENGINE, LiveServer, head
from tests.processes import eventually, wait_for_end, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gate import Gate

APP = "tests.apps.hanging:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
SHORT = ("--timeout", "1")
THREAD = r"thread \d \((0x[0-9a-f]{16})\): "

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(ENGINE != (), reason="names its engine itself"),
]


@pytest.mark.parametrize("engine", ["--threads 1", "--threads 4"])
def test_code_in_c_that_holds_the_gil(live: Callable[..., LiveServer], engine: str) -> None:
    """Nothing of the worker can run: it is the master that names the request, and faulthandler the place."""
    server = live(APP, *engine.split(), *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        peer.send(head("/spin?for=ever"))
        server.wait_for_log(rf"WORKER TIMEOUT \(pid:{worker}\)")
        stay = rf"\(pid:{worker}\) has in flight: {THREAD}GET /spin\?for=ever for \d+\.\d s$"
        identity = server.wait_for_log(stay)[1]
        server.wait_for_log(rf"hread {identity} (\[.*\] )?\(most recent call first\)")
        server.wait_for_log(r'hanging\.py", line \d+ in spin')
        server.wait_for_log(rf"\(pid:{worker}\) was ended by the master's SIGABRT")
        wait_for_end(worker)
        assert peer.is_closed()
    assert server.get("/pid").text != str(worker)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_threads_sleep(live: Callable[..., LiveServer], threads: int) -> None:
    server = live(APP, "--threads", str(threads), *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        for number in range(threads + 1):  # one more waits for them, else it is no hang of threads
            peer = stack.enter_context(server.connect())
            peer.send(head(f"/sleep?{number}" if number < threads else "/"))
        server.wait_for_log(rf"WORKER TIMEOUT \(pid:{worker}\)")
        told = server.wait_for_log(rf"\(pid:{worker}\) has in flight: .*")[0]
        for number in range(threads):
            assert f"GET /sleep?{number} for " in told
        eventually(lambda: server.log.text.count('hanging.py", line') >= threads)
        wait_for_end(worker)
    assert server.get("/").text == "ok"
    assert server.log.text.count(" has in flight: ") == 1


def test_a_stream_that_hangs(live: Callable[..., LiveServer], gate: Gate) -> None:
    """Between two pieces it is named, too; when the app is called again, its time begins anew."""
    server = live(APP, "--threads", "1", *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        peer.send(head(f"/stream?{gate.path}"))
        peer.read_until(b"before")
        told = server.wait_for_log(rf"\(pid:{worker}\) has in flight: {THREAD}(.*)$")[2]
        assert told.startswith(f"GET /stream?{gate.path} for ")
        server.wait_for_log(r'hanging\.py", line \d+ in before_and_after')
        wait_for_end(worker)


def test_what_is_long_is_cut_and_told_escaped(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--threads", "1", *SHORT)
    with server.connect() as peer:
        peer.send(head("/sleep?%0a" + "x" * 1000))
        server.wait_for_log(rf"has in flight: {THREAD}GET /sleep\?%0ax{{100,200}}\.\.\. for \d+\.\d s$")


def test_an_import_that_does_not_end(tmp_path: Path, gate: Gate) -> None:
    source = f"def load():\n    open({os.fspath(gate.path)!r}).read()\nload()\n"
    (tmp_path / "stuck.py").write_text(source)
    server = LiveServer("stuck:app", "--boot-timeout", "2", "--chdir", os.fspath(tmp_path))
    worker = server.wait_for_log(r"WORKER BOOT TIMEOUT \(pid:(\d+)\)")[1]
    server.wait_for_log(r'stuck\.py", line 2 in load')
    server.wait_for_log(rf"\(pid:{worker}\) was ended by the master's SIGABRT: not ready after")
    assert server.wait() == 3
    assert "SIGKILL" not in server.log.text


def test_who_does_not_even_die_of_abrt_is_killed(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    """A hook is called when Python code can run. Here it cannot, and the stacks are there all the same."""
    config = tmp_path / "config.py"
    config.write_text("def worker_abort(worker):\n    worker.log.error('the hook was called')\n")
    server = live(APP, "-c", os.fspath(config), "--threads", "1", *SHORT, "--abort-grace", "0.5", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        peer.send(head("/spin"))
        server.wait_for_log(r'hanging\.py", line \d+ in spin')
        server.wait_for_log(rf"\(pid:{worker}\) was killed by the master's SIGKILL")
    assert "the hook was called" not in server.log.text
    wait_for_end(worker)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        peer.send(head("/sleep"))
        server.wait_for_log("the hook was called")
        server.wait_for_log(rf"\(pid:{worker}\) was ended by the master's SIGABRT")


def has_open(pid: str, path: Path) -> bool:
    """Return whether a process has opened a file that is called so now."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if entry.readlink() == path:
                return True
    return False


def test_stacks_go_to_the_log_file_also_when_it_was_reopened(
    live: Callable[..., LiveServer], tmp_path: Path
) -> None:
    log, moved = tmp_path / "error.log", tmp_path / "error.log.1"
    config = tmp_path / "config.py"  # LiveServer reads the address from standard error
    config.write_text(
        "import sys\n"
        "def when_ready(server):\n"
        "    print('Listening at:', server.LISTENERS[0], file=sys.stderr)\n"
    )
    server = live(APP, "-c", os.fspath(config), "--threads", "1", *SHORT, "--error-logfile", os.fspath(log))
    pid = server.get("/pid").text
    log.rename(moved)
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: has_open(pid, log))  # the worker, which reopens it last
    with server.connect() as peer:
        peer.send(head("/spin"))
        eventually(lambda: f"(pid:{pid}) was ended by the master's SIGABRT" in log.read_text())
    text = log.read_text()
    assert f"(pid:{pid}) has in flight: thread 0 " in text
    assert "in spin" in text
    assert "in spin" not in moved.read_text()
    assert "in spin" not in server.log.text


def test_greenlets_are_told_as_well(live: Callable[..., LiveServer]) -> None:
    """faulthandler knows only the one that runs; the others are told if Python code can run."""
    pytest.importorskip("gevent", reason="gevent is not installed; free-threaded Pythons cannot have it")
    server = live(APP, "-k", "gevent", *SHORT, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as sleeping, server.connect() as computing:
        sleeping.send(head("/sleep?in-a-greenlet"))
        assert server.get("/").text == "ok"
        computing.send(head("/compute"))
        stay = rf"{THREAD}GET /\S+ for \d+\.\d s"
        told = server.wait_for_log(rf"\(pid:{worker}\) has in flight: {stay}; {stay}$")[0]
        assert "GET /sleep?in-a-greenlet" in told
        assert "GET /compute" in told
        server.wait_for_log(r'hanging\.py", line \d+ in compute')
        server.wait_for_log(rf"Greenlets of worker \(pid:{worker}\)")
        server.wait_for_log(r'hanging\.py", line \d+, in app')
        server.wait_for_log(rf"\(pid:{worker}\) was ended by the master's SIGABRT")
    assert server.get("/").text == "ok"
