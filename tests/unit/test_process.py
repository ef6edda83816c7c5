"""Forks, signals, wait statuses and pidfiles; what forks does so in an interpreter of its own."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from fastwsgi.errors import ConfigError
from fastwsgi.processes import stdio
from fastwsgi.processes.environment import Variables
from fastwsgi.processes.fork import Ending
from fastwsgi.processes.pidfile import Pidfile
from fastwsgi.processes.report import WORN, Inbox, Report
from fastwsgi.processes.signals import Signals
from tests.live import DEADLINE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


# --- fork --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_a_fork_exits_with_the_code_of_its_function(code: int) -> None:
    done = run(f"""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os
        pid = fork.fork(lambda: {code})
        print(fork.Ending.of(*os.waitpid(pid, 0)) == (pid, {code}, ""))
    """)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_output_is_written_once() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os
        print("before", end=" ")
        pid = fork.fork(lambda: print("child", end=" ") or 0)
        os.waitpid(pid, 0)
        print("parent")
    """)
    assert done.stdout == "before child parent\n"


def test_an_exception_in_a_fork_does_not_return_into_the_parents_code() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os
        try:
            pid = fork.fork(lambda: 1 / 0)
        finally:
            print("one")
        print(fork.Ending.of(*os.waitpid(pid, 0)).code)
    """)
    assert done.stdout == "one\n3\n"
    assert "ZeroDivisionError" in done.stderr


def test_exit_functions_of_the_parent_are_not_run_by_a_fork() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import atexit, os
        atexit.register(print, "parent ends")
        def child():
            atexit.register(print, "child ends")
            return 0
        os.waitpid(fork.fork(child), 0)
    """)
    assert done.stdout == "child ends\nparent ends\n"


def test_threads_of_the_application_may_end() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os, threading
        def child():
            may_end = threading.Event()
            def work():
                may_end.wait()
                print("worked")
            threading.Thread(target=work).start()
            may_end.set()
            fork.join_threads()
            return 0
        os.waitpid(fork.fork(child), 0)
    """)
    assert (done.stdout, done.stderr) == ("worked\n", "")


def test_no_signal_is_lost_between_fork_and_set_up() -> None:
    """Sent while the child has no handlers yet, and with a default action that would end it."""
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os, select, signal
        told_r, told_w = os.pipe()
        def child():
            os.read(told_r, 1)
            signals = sig.Signals(["TERM", "HUP"])
            signals.install()
            names = []
            while len(names) < 2:
                assert select.select([signals.fd], [], [], 10)[0]
                names += signals.take()
            print(sorted(names))
            return 0
        pid = fork.fork(child)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGHUP)
        os.write(told_w, b"x")
        print(fork.Ending.of(*os.waitpid(pid, 0))[1:], signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """)
    assert done.stdout == "['HUP', 'TERM']\n(0, '') set()\n"


# --- signals -----------------------------------------------------------------------------------------------


def test_signals_are_names_in_order_and_are_given_back() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os, signal
        mine = lambda *_: None
        signal.signal(signal.SIGHUP, mine)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        before = [signal.getsignal(n) for n in (signal.SIGHUP, signal.SIGQUIT, signal.SIGINT, signal.SIGTERM)]
        signals = sig.Signals(["HUP", "QUIT", "INT", "TERM"])
        signals.install()
        print(signals.take())
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        print(signals.take(), signals.take())
        signals.restore()
        after = [signal.getsignal(n) for n in (signal.SIGHUP, signal.SIGQUIT, signal.SIGINT, signal.SIGTERM)]
        print(before == after, signal.set_wakeup_fd(-1))
    """)
    assert done.stdout == "[]\n['TERM', 'HUP', 'INT', 'TERM'] []\nTrue -1\n"


def test_signals_of_the_application_are_not_ours() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os, signal
        signals = sig.Signals(["TERM"])
        signals.install()
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        os.kill(os.getpid(), signal.SIGALRM)
        print(signals.take(), seen)
    """)
    assert done.stdout == "[] [1]\n"


def test_inherited_block_is_lifted() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        signals = sig.Signals(["TERM"])
        signals.install()
        print(signals.take())
        signals.restore()
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGTERM})
    """)
    assert done.stdout == "['TERM']\nTrue\n"


def test_a_storm_does_not_block() -> None:
    signals = Signals(["USR1"])
    before = signal.getsignal(signal.SIGUSR1)
    signals.install()
    try:
        for _ in range(70000):
            signal.raise_signal(signal.SIGUSR1)
        assert set(signals.take()) == {"USR1"}
    finally:
        signals.restore()
    assert signal.getsignal(signal.SIGUSR1) is before


# --- endings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, (5, 0, "")),
        (3 << 8, (5, 3, "")),
        (9, (5, 0, "KILL")),
        (11 | 0x80, (5, 0, "SEGV")),
        (40, (5, 0, "40")),
    ],
)
def test_wait_statuses(status: int, expected: tuple[int, int, str]) -> None:
    assert Ending.of(5, status) == expected


def test_reap_takes_only_what_it_is_asked_for() -> None:
    done = run("""
        from fastwsgi.processes import fork, signals as sig, stdio, title
        import os
        go_r, go_w = os.pipe()
        ours = fork.fork(lambda: 7)
        theirs = fork.fork(lambda: 8)
        living = fork.fork(lambda: len(os.read(go_r, 1)) + 8)
        os.waitid(os.P_PID, ours, os.WEXITED | os.WNOWAIT)
        os.waitid(os.P_PID, theirs, os.WEXITED | os.WNOWAIT)
        print(fork.reap([ours, living]) == [(ours, 7, "")], fork.reap([living]))
        print(os.waitpid(theirs, 0)[1] >> 8)
        os.write(go_w, b"x")
        os.waitid(os.P_PID, living, os.WEXITED | os.WNOWAIT)
        print(fork.reap([living])[0][1:])
        print(fork.reap([living])[0][1:])
    """)
    assert done.stdout == "True []\n8\n(9, '')\n(0, '')\n", done.stderr


# --- reports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report",
    [Report(), Report(4, "cannot load 'x'", "Traceback\n  line\nérror"), Report(3, "l" * 9999, "d" * 99999)],
)
def test_reports_cross_a_socket(report: Report) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = Inbox(ours)
        assert inbox.take() == []
        report.write(theirs.fileno())
        data = ours.recv(1 << 20)
        theirs.sendall(data[:-1])
        assert inbox.take() == []
        theirs.sendall(data[-1:] + data + b"[0")
        read, again = inbox.take() or []
        assert again == read
        assert read.code == report.code
        assert report.line.startswith(read.line)
        assert report.detail.endswith(read.detail)
        theirs.sendall(b', "", ""]\n')
        assert inbox.take() == [Report()]
        theirs.close()
        assert inbox.take() is None


def test_the_longest_report_is_understood() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = Inbox(ours)
        writer = threading.Thread(
            target=Report(3, "\U0001f600" * 4000, "\U0001f600" * 8000).write, args=[theirs.fileno()]
        )
        writer.start()
        reports: list[Report] = []
        while not reports:
            assert select.select([ours], [], [], DEADLINE)[0]
            reports = inbox.take() or []
        writer.join()
    assert (reports[0].code, len(reports[0].line), len(reports[0].detail)) == (3, 4000, 8000)


@pytest.mark.parametrize(
    "said",
    [
        b"garbage",
        b"\xff\0",
        b"null",
        b"[]",
        b'[0, "", "", ""]',
        b'["0", "", ""]',
        b'[true, "", ""]',
        b'[0, 1, ""]',
        b'{"code": 0}',
        b"[" * 60_000,
    ],
    ids=lambda said: said[:20].decode("latin-1"),
)
def test_what_is_no_report_asks_for_another_worker(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = Inbox(ours)
        theirs.sendall(said + b"\n")
        Report().write(theirs.fileno())
        garbled, ready = inbox.take() or []
    assert (garbled.code, garbled.line) == (WORN, "what it reports cannot be understood")
    assert ready == Report()


def test_a_report_that_does_not_end_is_not_kept() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = Inbox(ours)
        reports: list[Report] = []
        for _ in range(5):
            theirs.sendall(b"x" * 65536)
            reports += inbox.take() or []
        assert [report.code for report in reports] == [WORN]


def test_a_master_that_is_gone_is_no_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    Report().write(write_fd)
    os.close(write_fd)


# --- surroundings ------------------------------------------------------------------------------------------


def test_closed_standard_descriptors_are_filled() -> None:
    done = run("""
        import os
        os.close(0)
        os.close(2)
        from fastwsgi.processes import fork, signals as sig, stdio, title
        stdio.fill_standard_descriptors()
        print(os.fstat(0).st_rdev == os.fstat(2).st_rdev == os.stat(os.devnull).st_rdev, os.get_inheritable(0))
        r, w = os.pipe()
        print(min(r, w) > 2)
    """)
    assert done.stdout == "True True\nTrue\n"


def test_titles_without_setproctitle() -> None:
    done = run("""
        import sys
        sys.modules["setproctitle"] = None
        from fastwsgi.processes import fork, signals as sig, stdio, title
        print(repr(title.set_title("fastwsgi: master [x]")))
    """)
    assert (done.stdout, done.stderr) == ("''\n", "")


def test_pidfile_is_written_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = Pidfile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == ["pid"]
    pidfile.remove()
    assert not path.exists()


@pytest.mark.parametrize("stale", ["", "not a number", "0", "-5", "999999999", "99999999999999999999"])
def test_stale_pidfile_is_replaced(tmp_path: Path, stale: str) -> None:
    path = tmp_path / "pid"
    path.write_text(stale)
    Pidfile(str(path)).remove()
    assert not path.exists()


def test_pidfile_is_not_written_through_a_link(tmp_path: Path) -> None:
    """The workers' user may be able to write to the folder, and can guess the name that is written aside."""
    path, precious = tmp_path / "pid", tmp_path / "precious"
    precious.write_text("as before")
    precious.chmod(0o600)
    for name in ("pid", f"pid.{os.getpid()}"):
        (tmp_path / name).symlink_to(precious)
    pidfile = Pidfile(str(path))
    assert (precious.read_text(), precious.stat().st_mode & 0o777) == ("as before", 0o600)
    assert (path.read_text(), path.is_symlink()) == (f"{os.getpid()}\n", False)
    pidfile.remove()
    assert os.listdir(tmp_path) == ["precious"]


def test_a_fifo_in_place_of_the_pidfile_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = Pidfile(str(path))
    path.unlink()
    os.mkfifo(path)
    pidfile.remove()  # it is not ours
    assert path.is_fifo()
    Pidfile(str(path)).remove()
    assert not path.exists()


@pytest.fixture
def other() -> Iterator[Callable[..., int]]:
    """Start processes that wait for the end of the test; return the pid."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> int:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"started\n")
        process.stdin.flush()
        # It answers, so its command line is its own and no more that of the fork.
        assert process.stdout.readline() == b"started\n"
        return process.pid

    yield start
    for process in started:
        process.communicate()


PYTHON_CAT = (sys.executable, "-c", "import sys\nfor line in sys.stdin: print(line, end='', flush=True)")


@pytest.mark.parametrize("command", [PYTHON_CAT, ("bash", "-c", "exec -a 'fastwsgi: master [app]' cat")])
def test_pidfile_of_a_living_server_is_respected(
    tmp_path: Path, command: tuple[str, ...], other: Callable[..., int]
) -> None:
    path = tmp_path / "pid"
    pid = other(*command)
    path.write_text(f"{pid}\n")
    with pytest.raises(ConfigError, match=rf"process {pid} \(.*\) is running; stop it"):
        Pidfile(str(path))
    assert path.read_text() == f"{pid}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_pid_that_went_to_another_program_is_taken_over(tmp_path: Path, other: Callable[..., int]) -> None:
    path = tmp_path / "pid"
    pid = other("cat")
    path.write_text(f"{pid}\n")
    pidfile = Pidfile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert f"process {pid} (cat) is no server of this kind" in pidfile.notice


def test_pidfile_on_a_full_disk(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(ConfigError, match="File too large; name a file that can be written"):
            Pidfile(str(tmp_path / "pid"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_pidfile_does_not_take_the_place_of_a_device() -> None:
    with pytest.raises(ConfigError, match="it is a device"):
        Pidfile(os.devnull)


def test_pidfile_is_renamed(tmp_path: Path) -> None:
    path, other_path = tmp_path / "pid", tmp_path / "pid.2"
    pidfile = Pidfile(str(path))
    pidfile.rename(str(other_path))
    assert os.listdir(tmp_path) == ["pid.2"]
    assert other_path.read_text() == f"{os.getpid()}\n"
    pidfile.remove()
    assert os.listdir(tmp_path) == []


def test_pidfile_stays_where_it_cannot_be_renamed(tmp_path: Path, other: Callable[..., int]) -> None:
    path, taken = tmp_path / "pid", tmp_path / "taken"
    taken.write_text(f"{other(*PYTHON_CAT)}\n")
    pidfile = Pidfile(str(path))
    with pytest.raises(ConfigError, match="is running"):
        pidfile.rename(str(taken))
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.remove()
    assert os.listdir(tmp_path) == ["taken"]


def test_pidfile_that_became_anothers_is_left(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = Pidfile(str(path))
    path.write_text("1\n")
    pidfile.remove()
    assert path.exists()


def test_pidfile_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        Pidfile(str(tmp_path / "missing" / "pid"))


# --- environment -------------------------------------------------------------------------------------------


@pytest.fixture
def _some_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "as it was")
    for name in ("NEW", "EMPTY", "BY_THE_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_some_variables")
def test_variables_are_put_and_restored() -> None:
    before = dict(os.environ)
    variables = Variables()
    variables.put(("KEPT=ours", "NEW=a=b", "EMPTY=", "NEW=twice"))
    assert dict(os.environ) == {**before, "KEPT": "ours", "NEW": "twice", "EMPTY": ""}
    variables.put(("NEW=again",))
    assert dict(os.environ) == {**before, "NEW": "again"}
    variables.restore()
    assert dict(os.environ) == before
    variables.restore()
    assert dict(os.environ) == before


@pytest.mark.usefixtures("_some_variables")
def test_configuration_is_read_without_our_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    variables = Variables()
    variables.put(("KEPT=ours", "NEW=1"))
    with variables.left_out():
        assert dict(os.environ) == before
        monkeypatch.setenv("BY_THE_FILE", "x")
    assert dict(os.environ) == {**before, "KEPT": "ours", "NEW": "1", "BY_THE_FILE": "x"}
    with pytest.raises(ConfigError), variables.left_out():
        raise ConfigError("unreadable")
    assert os.environ["NEW"] == "1"
    variables.restore()


def test_flush_survives_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    stdio.flush()
