"""USR2: a new master beside the old one, forth and back, with real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.live import ENGINE, ROOT, LiveServer, Peer, head
from tests.processes import children, end, eventually, wait_for_end
from tests.traffic import Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = "tests.apps.traffic:app"
PROCESSES = "tests.apps.processes:app"
DEBUG = ("--log-level", "debug")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Masters:
    """A server whose master is replaced; `pid` is the one in charge."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.pid = server.pid

    def send(self, name: str, pid: int = 0) -> None:
        os.kill(pid or self.pid, getattr(signal, f"SIG{name}"))

    def upgrade(self) -> int:
        """Start a new master beside the one in charge, and return its pid once it serves."""
        start = len(self.server.log.lines)
        self.send("USR2")
        return int(self.server.wait_for_log(r"The new master \(pid:(\d+)\) serves", start=start)[1])

    def complete(self, new: int) -> None:
        """Let the old master go."""
        start = len(self.server.log.lines)
        old, self.pid = self.pid, new
        for name in ("WINCH", "TERM"):
            self.send(name, old)
        wait_for_end(old)
        self.server.wait_for_log("The old master is gone", start=start)

    def back(self, new: int) -> None:
        """Let the new master go."""
        start = len(self.server.log.lines)
        self.send("HUP")
        self.server.wait_for_log("Reload complete", start=start)
        self.send("TERM", new)
        wait_for_end(new)
        eventually(lambda: new not in children(self.pid))

    def workers(self, pid: int = 0) -> list[int]:
        log = self.server.log.text
        return [child for child in children(pid or self.pid) if f"(pid:{child}) is ready" in log]


@pytest.fixture
def masters(live: Callable[..., LiveServer]) -> Iterator[Callable[..., Masters]]:
    """Start servers whose masters may come and go; all of them are ended after the test."""
    started: list[LiveServer] = []

    def start(app: str, *args: str, **options: object) -> Masters:
        server = live(app, *DEBUG, *args, **options)
        started.append(server)
        return Masters(server)

    yield start
    for server in started:
        news = [int(pid) for pid in re.findall(r"Starting a new master \(pid:(\d+)\)", server.log.text)]
        for pid in [server.pid, *news]:
            end(pid)


@pytest.fixture
def traffic(rng: random.Random) -> Callable[[Masters], Traffic]:
    return lambda masters: Traffic(masters.server.address, seed=rng.getrandbits(32))


# --- under load ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_up_and_back_and_up_again_loses_nothing(
    masters: Callable[..., Masters], traffic: Callable[[Masters], Traffic], tmp_path: Path, kind: str
) -> None:
    bind = "127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/app.sock"
    group = masters(APP, "-w", "2", bind=bind)
    with traffic(group) as load:
        load.wait_for(50)
        group.complete(group.upgrade())
        load.wait_for(100)
        new = group.upgrade()
        group.send("WINCH")
        eventually(lambda: group.workers() == [])
        load.wait_for(100)
        group.back(new)
        load.wait_for(100)
        group.complete(group.upgrade())
        load.wait_for(100)
    assert load.failures == []
    assert load.refused == 0
    assert load.told_to_close > 0  # or nobody has noticed anything


# --- pidfiles, socket files ----------------------------------------------------------------------------------


def test_pidfiles_at_every_stage(masters: Callable[..., Masters], tmp_path: Path) -> None:
    path, beside = tmp_path / "pid", tmp_path / "pid.2"
    group = masters(PROCESSES, "-p", os.fspath(path))
    first = group.pid
    second = group.upgrade()
    assert path.read_text() == f"{first}\n"
    assert beside.read_text() == f"{second}\n"
    group.back(second)
    assert path.read_text() == f"{first}\n"
    assert not beside.exists()
    third = group.upgrade()
    assert beside.read_text() == f"{third}\n"
    group.complete(third)
    eventually(lambda: path.exists() and path.read_text() == f"{third}\n")
    assert not beside.exists()
    group.send("TERM")
    wait_for_end(third)
    assert not path.exists()


def test_an_old_master_that_is_killed_is_followed(masters: Callable[..., Masters], tmp_path: Path) -> None:
    path, beside = tmp_path / "pid", tmp_path / "pid.2"
    group = masters(PROCESSES, "-p", os.fspath(path))
    new = group.upgrade()
    group.server.process.kill()
    group.server.process.wait()
    group.pid = new
    group.server.wait_for_log("The old master is gone")
    eventually(lambda: path.read_text() == f"{new}\n" and not beside.exists())
    with group.server.connect() as peer:
        assert peer.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    group.send("TERM")
    wait_for_end(new)
    assert not path.exists()
    group.server.process.returncode = 0  # as was meant


def test_the_socket_file_stays_until_the_last_master_has_gone(
    masters: Callable[..., Masters], tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    group = masters(PROCESSES, bind=f"unix:{path}")
    group.back(group.upgrade())
    assert group.server.get("/").status == 200
    new = group.upgrade()
    group.complete(new)
    assert group.server.get("/").status == 200
    group.send("TERM")
    wait_for_end(new)
    assert not path.exists()


def test_the_socket_file_of_a_master_that_goes_back(masters: Callable[..., Masters], tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    group = masters(PROCESSES, bind=f"unix:{path}")
    group.back(group.upgrade())
    group.server.stop()
    assert not path.exists()


# --- what is started -----------------------------------------------------------------------------------------

SURROUNDINGS = """
    import json, os, sys

    def app(environ, start_response):
        start_response("200 OK", [])
        names = sorted(name for name in os.environ if name.startswith(("FASTWSGI_UPGRADE", "LISTEN_")))
        what = [sys.orig_argv[1:], os.getcwd(), os.environ.get("PWD"), os.environ.get("RAW"), names]
        return [json.dumps(what).encode()]
"""

PROGRAM = """
    import fastwsgi, os, sys, surroundings
    os.environ["RAW"] = os.environ.get("RAW", "") + "x"
    os.chdir("/")
    sys.exit(fastwsgi.serve(surroundings.app, bind=sys.argv[sys.argv.index("-b") + 1], loglevel="debug"))
"""


@pytest.mark.parametrize("how", ["module", "script", "program"])
def test_the_same_command_is_run_again(masters: Callable[..., Masters], tmp_path: Path, how: str) -> None:
    (tmp_path / "surroundings.py").write_text(textwrap.dedent(SURROUNDINGS))
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "script").write_text("import sys\nfrom fastwsgi.__main__ import main\nsys.exit(main())\n")
    (tmp_path / "link").symlink_to(tmp_path)
    command = {
        "module": (sys.executable, "-X", "utf8", "-m", "fastwsgi"),
        "script": (sys.executable, "script"),
        "program": (sys.executable, "-u", "program.py"),
    }[how]
    args = () if how == "program" else ("--chdir", "/", "--pythonpath", os.fspath(tmp_path), "-e", "RAW=1")
    group = masters(
        "" if how == "program" else "surroundings:app",
        *args,
        command=command,
        cwd=os.fspath(tmp_path / "link"),
        env={"PWD": os.fspath(tmp_path / "link"), "PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    before = group.server.get("/").text
    group.complete(group.upgrade())
    assert group.server.get("/").text == before
    assert before.endswith("[]]")


def test_a_new_release_under_the_same_link(masters: Callable[..., Masters], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "release.py").write_text(
            f"def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{name}']\n"
        )
    link = tmp_path / "current"
    link.symlink_to("one")
    group = masters(
        "release:app", cwd=os.fspath(link), env={"PWD": os.fspath(link), "PYTHONPATH": os.fspath(ROOT)}
    )
    assert group.server.get("/").text == "one"
    link.unlink()
    link.symlink_to("two")
    group.complete(group.upgrade())
    assert group.server.get("/").text == "two"


def test_the_new_master_reads_its_configuration_anew(masters: Callable[..., Masters], tmp_path: Path) -> None:
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text("workers = 1\n")
    group = masters(PROCESSES, "-c", os.fspath(conf))
    conf.write_text(f"workers = 2\nbind = ['unix:{tmp_path}/more.sock']\n")
    new = group.upgrade()
    eventually(lambda: len(group.workers(new)) == 2)
    group.complete(new)
    assert group.server.get("/").status == 200


def test_a_daemon_stays_one(masters: Callable[..., Masters], tmp_path: Path) -> None:
    path, log, sock = tmp_path / "pid", tmp_path / "log", tmp_path / "sock"
    options = ("-D", "-p", f"{path}", "--error-logfile", f"{log}", "-b", f"unix:{sock}")
    command = [sys.executable, "-m", "fastwsgi", *ENGINE, *DEBUG, *options, PROCESSES]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    old = int(path.read_text())
    try:
        os.kill(old, signal.SIGUSR2)
        eventually(lambda: "serves; end this one" in log.read_text())
        new = int((tmp_path / "pid.2").read_text())
        assert children(old).count(new) == 1  # it has not gone into the background once more
        os.kill(old, signal.SIGTERM)
        wait_for_end(old)
        eventually(lambda: path.exists() and path.read_text() == f"{new}\n")
        with Peer(os.fspath(sock)) as peer:
            assert peer.request(head("/")).status == 200
    finally:
        for pid in re.findall(r"Starting a new master \(pid:(\d+)\)", log.read_text()):
            end(int(pid))
        end(old)


def test_hooks_know_of_the_other_master(masters: Callable[..., Masters], tmp_path: Path) -> None:
    conf, seen = tmp_path / "conf.py", tmp_path / "seen"
    conf.write_text(
        "import os\n"
        "def note(what, server):\n"
        f"    with open({os.fspath(seen)!r}, 'a') as file:\n"
        "        print(what, os.getpid() == server.pid, bool(server.master_pid), file=file)\n"
        "def pre_exec(server): note('pre_exec', server)\n"
        "def when_ready(server): note('when_ready', server)\n"
        "def on_exit(server): note('on_exit', server)\n"
    )
    group = masters(PROCESSES, "-c", os.fspath(conf))
    new = group.upgrade()
    group.complete(new)
    group.send("TERM")
    wait_for_end(new)
    assert seen.read_text().splitlines() == [
        "when_ready True False",
        "pre_exec False False",  # in the process that is to be the new master
        "when_ready True True",
        "on_exit True False",
        "on_exit True False",
    ]


def test_an_inherited_descriptor_goes_on(masters: Callable[..., Masters]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        group = masters(PROCESSES, bind=f"fd://{given.fileno()}", pass_fds=[given.fileno()])
        group.complete(group.upgrade())
        group.complete(group.upgrade())
        assert group.server.get("/").status == 200


def test_a_reload_of_the_new_master_while_both_are_there(
    masters: Callable[..., Masters], tmp_path: Path
) -> None:
    conf, path, other = tmp_path / "conf.py", tmp_path / "pid", tmp_path / "other"
    conf.write_text(f"pidfile = {os.fspath(path)!r}\n")
    group = masters(PROCESSES, "-c", os.fspath(conf))
    new = group.upgrade()
    conf.write_text(f"pidfile = {os.fspath(other)!r}\n")
    group.send("HUP", new)
    group.server.wait_for_log("Reload complete")
    assert path.read_text() == f"{group.pid}\n"
    assert (tmp_path / "other.2").read_text() == f"{new}\n"
    group.complete(new)
    eventually(lambda: other.exists() and other.read_text() == f"{new}\n")
    assert not path.exists()


# --- refused, and failed -------------------------------------------------------------------------------------


def test_there_are_two_masters_at_most(masters: Callable[..., Masters]) -> None:
    group = masters(PROCESSES)
    new = group.upgrade()
    start = len(group.server.log.lines)
    group.send("USR2")
    group.server.wait_for_log("A new master was started already", start=start)
    group.send("USR2", new)
    group.server.wait_for_log(rf"the old master \(pid:{group.pid}\) is still there", start=start)
    assert group.server.get("/").status == 200
    assert len(re.findall("Starting a new master", group.server.log.text)) == 1
    group.complete(new)
    group.complete(group.upgrade())


BROKEN = {
    "settings": ("workers = 'many'\n", "cannot start: .*workers = 'many'"),
    "syntax": ("workers = (\n", "cannot start: .*never closed"),
    "file": (f"wsgi_app = {PROCESSES!r}\naccesslog = '/nowhere/log'\n", "cannot start: .*'/nowhere/log'"),
    "application": ("wsgi_app = 'tests.apps.processes:nothing'\n", "exited with code 4"),
    "preloaded": (
        "wsgi_app = 'tests.apps.processes:nothing'\npreload_app = True\n",
        "cannot start: cannot load 'tests.apps.processes:nothing'",
    ),
    "death": ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", "was ended by SIGTERM"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_new_master_that_cannot_start(masters: Callable[..., Masters], tmp_path: Path, what: str) -> None:
    text, message = BROKEN[what]
    conf, sock, pid = tmp_path / "conf.py", tmp_path / "app.sock", tmp_path / "pid"
    sound = f"wsgi_app = {PROCESSES!r}\n"
    conf.write_text(sound)
    group = masters("", "-c", os.fspath(conf), "-p", os.fspath(pid), bind=f"unix:{sock}")
    group.server.allow_traceback = True
    workers = group.server.get("/").text
    conf.write_text(text)
    group.send("USR2")
    group.server.wait_for_log(rf"Upgrade failed, this master serves on: the new master \(pid:\d+\) {message}")
    assert group.server.get("/").text == workers
    assert children(group.pid) == [int(workers)]  # and no zombie
    assert pid.read_text() == f"{group.pid}\n"
    assert not (tmp_path / "pid.2").exists()
    conf.write_text(sound)
    group.complete(group.upgrade())
    assert group.server.get("/").text != workers


def test_a_directory_that_is_gone(masters: Callable[..., Masters], tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    group = masters(PROCESSES, "--chdir", os.fspath(ROOT), cwd=os.fspath(here))
    here.rmdir()
    group.send("USR2")
    group.server.wait_for_log(rf"Upgrade failed, .* cannot start: {here}: No such file or directory")
    assert group.server.get("/").status == 200


def test_workers_stopped_for_a_new_master_that_fails_come_back(
    masters: Callable[..., Masters], tmp_path: Path
) -> None:
    group = masters(PROCESSES, "-w", "2")
    new = group.upgrade()
    group.send("WINCH")
    eventually(lambda: children(group.pid) == [new])
    os.kill(new, signal.SIGKILL)
    group.server.wait_for_log("the new master .* was ended by SIGKILL")
    eventually(lambda: len(group.workers()) == 2)
    assert group.server.get("/").status == 200


def test_a_signal_that_comes_early_is_not_lost(masters: Callable[..., Masters], tmp_path: Path) -> None:
    """USR1 and HUP while the new master is being loaded would end it, if they were not kept."""
    fifo, conf = tmp_path / "fifo", tmp_path / "conf.py"
    os.mkfifo(fifo)
    conf.write_text("")
    group = masters(PROCESSES, "-c", os.fspath(conf))
    conf.write_text(f"open({os.fspath(fifo)!r}).read()\n")
    group.send("USR2")
    new = int(group.server.wait_for_log(r"Starting a new master \(pid:(\d+)\)")[1])
    with fifo.open("w"):  # it is there
        conf.write_text("")
        for name in ("USR1", "HUP"):
            group.send(name, new)
    group.server.wait_for_log(rf"The new master \(pid:{new}\) serves")
    group.server.wait_for_log("Reload complete")
    group.complete(new)


# --- the script ----------------------------------------------------------------------------------------------


@contextmanager
def script(group: Masters, pidfile: Path, *check: str) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run deploy/upgrade.sh to its end."""
    yield subprocess.run(
        [os.fspath(ROOT / "deploy" / "upgrade.sh"), os.fspath(pidfile), *check],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CHECK_SECONDS": "1" if check == ("false",) else "60"},
    )


def test_the_script_upgrades(
    masters: Callable[..., Masters], traffic: Callable[[Masters], Traffic], tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    group = masters(APP, "-w", "2", "-p", os.fspath(path))
    with traffic(group) as load:
        load.wait_for(50)
        with script(group, path, "true") as done:
            assert done.returncode == 0, done.stderr
        wait_for_end(group.pid)
        load.wait_for(50)
    assert load.failures == []
    new = int(re.findall(r"Starting a new master \(pid:(\d+)\)", group.server.log.text)[-1])
    eventually(lambda: path.exists() and path.read_text() == f"{new}\n")


def test_the_script_goes_back(masters: Callable[..., Masters], tmp_path: Path) -> None:
    path = tmp_path / "pid"
    group = masters(PROCESSES, "-p", os.fspath(path))
    with script(group, path, "false") as done:
        assert done.returncode == 1
        assert "the check does not succeed" in done.stderr
    eventually(lambda: not (tmp_path / "pid.2").exists())
    assert path.read_text() == f"{group.pid}\n"
    assert group.server.get("/").status == 200
