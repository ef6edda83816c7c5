"""Hooks of a configuration file, beside gunicorn's: in the same processes, in the same order, with the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import DEADLINE, ENGINE, ROOT, LiveServer, Peer, head
from tests.processes import eventually, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gate import Gate

# Not by -m: at USR2, gunicorn would come upon its own modules instead of others of the same name.
SERVERS = {
    "fastwsgi": (sys.executable, "-m", "fastwsgi"),
    "gunicorn": (str(Path(sysconfig.get_path("scripts"), "gunicorn")), "--no-control-socket"),
}
INLINE_ONLY = pytest.mark.skipif(bool(ENGINE), reason="a request hangs this engine's worker inline only")


class Journal:
    """What the hooks of a server have written down, and the server."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self._path = path
        self.process = process

    @property
    def calls(self) -> list[list[Any]]:
        """All calls: hook, pid, arguments."""
        text = self._path.read_text() if self._path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def count(self, name: str) -> int:
        return sum(call[0] == name for call in self.calls)

    def wait_for(self, name: str, count: int = 1) -> list[Any]:
        """Return the last of so many calls of a hook, once there are so many."""
        eventually(lambda: self.count(name) >= count or self.process.poll() is not None)
        calls = [call for call in self.calls if call[0] == name]
        assert len(calls) == count, (name, self.calls)
        return calls[-1]

    def wait_until_ready(self, count: int) -> None:
        """Wait until so many workers have been ready, as our log tells: TTOU ends first one that still boots."""
        self.wait_for("post_worker_init", count)
        log = self._path.with_suffix(".log")
        eventually(lambda: self._path.name == "gunicorn" or log.read_text().count(") is ready") == count)

    def request(self, target: str, *, close: bool = True) -> Peer:
        """Send a request; its answer may not come for long."""
        host, port = self.wait_for("when_ready")[2:]
        peer = Peer((host, port))
        peer.send(head(target, *(["Connection: close"] if close else [])))
        return peer

    def get(self, target: str) -> int:
        """Return the status of an answer."""
        with self.request(target) as peer:
            return peer.response().status

    def signal(self, name: str) -> None:
        self.process.send_signal(getattr(signal, f"SIG{name}"))

    def by_process(self) -> dict[str, list[Any]]:
        """Return the calls of each process, in order, without what differs between two runs."""
        found: dict[str, list[Any]] = defaultdict(list)
        ages: dict[int, str] = {}
        masters: list[int] = []
        for name, pid, *args in self.calls:
            if name == "post_fork":
                ages[pid] = f"worker {args[0]} of master {len(masters)}"
            elif pid not in ages and pid not in masters:
                masters.append(pid)
            who = ages.get(pid) or f"master {masters.index(pid) + 1}"
            found[who].append((name, *(args if name != "when_ready" else ())))
        return found


@contextlib.contextmanager
def running(
    server: str, path: Path, *args: str, app: str = "tests.apps.hooked:app", **env: str
) -> Iterator[Journal]:
    """Run a server with every hook set; the test ends it."""
    log = path.with_suffix(".log").open("w")
    with log:
        process = subprocess.Popen(
            [
                *(*SERVERS[server], *ENGINE),
                *("-c", "python:tests.apps.hooks_config", "-b", "127.0.0.1:0", *args, app),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOOKS_FILE": str(path), **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            yield Journal(path, process)
        except BaseException:
            sys.stderr.write(path.with_suffix(".log").read_text())
            raise
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(DEADLINE)


def log_of(path: Path) -> str:
    return path.with_suffix(".log").read_text()


# --- beside gunicorn --------------------------------------------------------------------------------------


def gracefully(it: Journal) -> None:
    it.wait_for("post_worker_init")
    assert it.get("/path%20a?q=1") == 200
    it.wait_for("post_request")
    it.signal("HUP")
    it.wait_until_ready(2)
    it.wait_for("child_exit")
    it.signal("TTIN")
    it.wait_until_ready(3)
    it.signal("TTOU")
    it.wait_for("child_exit", 2)
    it.signal("TERM")


def quickly(it: Journal) -> None:
    it.wait_for("post_worker_init")
    it.signal("INT")


def hanging(it: Journal) -> None:
    it.wait_for("post_worker_init")
    with it.request("/hang"):
        it.wait_for("worker_abort")
        it.wait_for("child_exit")
        it.wait_for("post_worker_init", 2)
    it.signal("TERM")


def upgrading(it: Journal) -> None:
    it.wait_for("post_worker_init")
    it.signal("USR2")
    successor = it.wait_for("pre_exec")[1]
    it.wait_for("post_worker_init", 2)
    os.kill(successor, signal.SIGTERM)
    it.wait_for("on_exit")
    wait_for_end(successor)
    it.signal("TERM")


@pytest.mark.parametrize(
    ("drive", "args"),
    [
        pytest.param(gracefully, ("--log-level", "debug"), id="gracefully"),
        pytest.param(upgrading, (), id="upgrading"),
        pytest.param(quickly, (), id="quickly"),
        pytest.param(hanging, ("--timeout", "1"), id="hanging", marks=INLINE_ONLY),
    ],
)
def test_calls_are_those_of_gunicorn(
    drive: Callable[[Journal], None], args: tuple[str, ...], tmp_path: Path
) -> None:
    calls = {}
    for server in SERVERS:
        with running(server, tmp_path / server, *args) as it:
            drive(it)
            assert it.process.wait(DEADLINE) == 0
        calls[server] = it.by_process()
    if drive is hanging:
        # Our master forks the next worker when it aborts one, and does not wait for that one's end.
        for found in calls.values():
            found["master 1"] = sorted(call[:2] for call in found["master 1"])
        # gunicorn raises SystemExit in the application, and gets as far as its next SIGKILL lets it.
        aborted = {server: found["worker 1 of master 1"] for server, found in calls.items()}
        assert [call[0] for call in aborted["fastwsgi"][-2:]] == ["worker_abort", "worker_exit"]
        del aborted["fastwsgi"][-1:], aborted["gunicorn"][len(aborted["fastwsgi"]) :]
    assert calls["fastwsgi"].keys() == calls["gunicorn"].keys()
    for who, ours in calls["fastwsgi"].items():
        theirs = calls["gunicorn"][who]
        assert ours == theirs, f"of {who}:\n{ours}\n{theirs}"


# --- hooks that fail --------------------------------------------------------------------------------------

HARMLESS = (
    *("nworkers_changed", "when_ready", "pre_fork", "post_request", "on_reload", "child_exit"),
    *("worker_exit", "worker_int", "on_exit"),
)


@pytest.mark.parametrize("way", ["HOOKS_FAIL", "HOOKS_EXIT"])
def test_hooks_that_fail_harm_nothing(way: str, tmp_path: Path) -> None:
    with running("fastwsgi", tmp_path / "calls", **{way: ",".join(HARMLESS)}) as it:
        it.wait_for("post_worker_init")
        with it.request("/first", close=False) as peer:
            assert peer.response().status == 200
            assert peer.request(head("/second")).status == 200
        it.wait_for("post_request", 2)
        it.signal("HUP")
        it.wait_for("post_worker_init", 2)
        it.wait_for("child_exit")
        assert it.get("/third") == 200
        it.signal("INT")
        assert it.process.wait(DEADLINE) == 0
    log = log_of(tmp_path / "calls")
    for name in HARMLESS:
        assert f"Error in the hook {name}\n" in log
    error = "RuntimeError: {} was to fail" if way == "HOOKS_FAIL" else "SystemExit: 5"
    for name in HARMLESS:
        assert error.format(name) in log


@pytest.mark.parametrize("way", ["HOOKS_FAIL", "HOOKS_EXIT"])
def test_on_starting_that_fails_keeps_the_server_from_starting(way: str, tmp_path: Path) -> None:
    with running("fastwsgi", tmp_path / "calls", **{way: "on_starting"}) as it:
        assert it.process.wait(DEADLINE) == 1
        assert [call[0] for call in it.calls] == ["nworkers_changed", "on_starting"]
    (line,) = log_of(tmp_path / "calls").splitlines()
    assert line.startswith("Error: on_starting = <on_starting> (")
    assert "it failed: " in line


@pytest.mark.parametrize("way", ["HOOKS_FAIL", "HOOKS_EXIT"])
@pytest.mark.parametrize("name", ["post_fork", "post_worker_init"])
def test_a_worker_does_not_boot_with_a_hook_that_fails(name: str, way: str, tmp_path: Path) -> None:
    with running("fastwsgi", tmp_path / "calls", **{way: name}) as it:
        assert it.process.wait(DEADLINE) == 3
        assert it.count("worker_exit") == it.count("child_exit") == it.count("on_exit") == 1
    log = log_of(tmp_path / "calls")
    assert f"Worker failed to boot: the hook {name} failed: " in log
    assert "hooks_config.py" in log


def test_a_request_whose_pre_request_fails_does_not_reach_the_app(tmp_path: Path) -> None:
    with running("fastwsgi", tmp_path / "calls", HOOKS_FAIL="pre_request") as it:
        it.wait_for("post_worker_init")
        with it.request("/fails", close=False) as peer:
            assert peer.response().status == 500
            assert peer.request(head("/again")).status == 500  # the connection stays
        assert it.wait_for("post_request", 2)[-3] == "500 Internal Server Error"
        it.signal("TERM")
        assert it.process.wait(DEADLINE) == 0
    log = log_of(tmp_path / "calls")
    assert log.count("Error in the hook pre_request") == 2
    assert "it was to fail" not in log.replace("pre_request was to fail", "")


# --- around requests --------------------------------------------------------------------------------------


def test_post_request_whatever_becomes_of_the_response(tmp_path: Path, gate: Gate) -> None:
    with running("fastwsgi", tmp_path / "calls") as it:
        it.wait_for("post_worker_init")
        assert it.get("/fails") == 500
        assert it.wait_for("post_request")[3:] == [
            "of pre_request",
            "/fails",
            "500 Internal Server Error",
            len(b"500 Internal Server Error\n"),
            1,
        ]
        with it.request(f"/file?{__file__}") as peer:
            size = len(peer.response().body)
        assert it.wait_for("post_request", 2)[5:] == ["200 OK", size, 2]
        peer = it.request(f"/wait?{gate.path}")
        gate.wait_for_arrival()
        peer.sock.close()
        gate.open()
        assert it.wait_for("post_request", 3)[4] == "/wait"
        assert it.get("/") == 200
        it.signal("TERM")
        assert it.process.wait(DEADLINE) == 0


def test_the_client_does_not_wait_for_post_request(tmp_path: Path, gate: Gate) -> None:
    with running("fastwsgi", tmp_path / "calls", HOOKS_WAIT=str(gate.path)) as it:
        it.wait_for("post_worker_init")
        with it.request("/") as peer:
            assert peer.read_exactly(12) == b"HTTP/1.1 200"
            gate.wait_for_arrival()
            gate.open()
        it.signal("TERM")
        assert it.process.wait(DEADLINE) == 0


@pytest.mark.skipif(ENGINE == ("-k", "gevent"), reason="a hook that blocks a greenlet blocks them all")
def test_a_hook_that_takes_longer_than_a_request_may(tmp_path: Path, gate: Gate) -> None:
    args = ("--request-timeout", "0.5", *(() if ENGINE else ("--threads", "2")))
    with running("fastwsgi", tmp_path / "calls", *args, HOOKS_WAIT=str(gate.path)) as it:
        it.wait_for("post_worker_init")
        with it.request("/", close=False) as peer:
            assert peer.response().status == 200
            gate.wait_for_arrival()
            assert peer.is_closed()
            eventually(lambda: ": the end of a request for " in log_of(tmp_path / "calls"))
            gate.open()
        it.signal("TERM")
        assert it.process.wait(DEADLINE) == 0


def test_a_hook_ends_its_worker(tmp_path: Path) -> None:
    with running("fastwsgi", tmp_path / "calls", HOOKS_RETIRE="/retire") as it:
        it.wait_for("post_worker_init")
        assert it.get("/retire") == 200
        assert it.wait_for("post_worker_init", 2)[2] == 2
        assert it.wait_for("child_exit")[2] == 1
        assert it.get("/") == 200
        assert it.wait_for("post_request", 2)[2] == 2
        it.signal("TERM")
        assert it.process.wait(DEADLINE) == 0
    assert "a hook has set alive to False" in log_of(tmp_path / "calls")


# --- a program's own server -------------------------------------------------------------------------------


def test_an_application_reads_its_settings_again_at_hup(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text("one 1")
    command = (sys.executable, "-m", "tests.apps.standalone")
    with LiveServer("", command=command, env={"STANDALONE": str(settings)}) as server:
        assert server.get().text == "one"
        settings.write_text("two 2")
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("Reload complete, workers in service: 2")
        server.wait_for_log("Worker exiting")  # until then the old one takes what has connected already
        assert server.get().text == "two"
        settings.write_text("three 0")
        server.send_signal(signal.SIGHUP)
        server.wait_for_log(r"Reload refused, .*workers = '0' \(load_config\(\)\): must be ")
        assert server.get().text == "two"


def test_an_application_that_cannot_be_loaded(tmp_path: Path) -> None:
    code = "import fastwsgi; fastwsgi.Application().run()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=env,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 4
    assert "cannot load 'Application.load()': NotImplementedError" in done.stderr
