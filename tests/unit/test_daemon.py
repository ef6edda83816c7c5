"""A daemon and the command that waits for it, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ROOT
from tests.processes import eventually, is_asleep, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
    import logging, os, sys, time
    from fastwsgi.processes import daemon
    log = logging.getLogger("test")
    log.propagate = False
"""


def run(serve: str, *, keep_output: bool = False) -> subprocess.CompletedProcess[str]:
    """Start a daemon that does this; the command's own streams are pipes, which are read to their end."""
    script = textwrap.dedent(HEAD) + textwrap.dedent(serve)
    script += f"\nsys.exit(daemon.start(serve, keep_output={keep_output}))\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


def test_the_command_goes_when_the_daemon_serves(tmp_path: Path) -> None:
    """And its pipes end, although the daemon goes on."""
    gate, told = tmp_path / "gate", tmp_path / "told"
    os.mkfifo(gate)
    done = run(f"""
        def serve(command):
            print("never seen")
            command.let_go()
            open({os.fspath(gate)!r}).read()  # from now on, who led the session is gone
            streams = [os.readlink(f"/proc/self/fd/{{fd}}") for fd in range(3)]
            facts = [os.getpid(), os.getsid(0), os.getppid() != os.getsid(0), os.umask(0), *streams]
            with open({os.fspath(told)!r} + ".new", "w") as file:
                print(*facts, file=file, end="")
            os.rename({os.fspath(told)!r} + ".new", {os.fspath(told)!r})
            return 0
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not told.exists()
    gate.write_bytes(b"")  # as soon as the daemon waits there
    eventually(told.exists)
    pid, session, is_orphan, umask, *streams = told.read_text().split()
    assert pid != session  # no leader of it, so it gets no terminal
    assert (is_orphan, int(umask)) == ("True", 0o022)
    assert streams == ["/dev/null"] * 3
    wait_for_end(int(pid))


def test_the_command_says_why_it_fails() -> None:
    done = run("""
        def serve(command):
            command.follow(log)
            log.warning("it is %s", "cloudy")
            log.info("no matter")
            log.error("no luck")
            command.say("Error: the reason\\n")
            return 4
    """)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "Warning: it is cloudy\nError: no luck\nError: the reason\n"


def test_nothing_more_is_said_once_it_serves() -> None:
    done = run("""
        def serve(command):
            command.follow(log)
            command.let_go()
            assert log.handlers == []
            command.say("too late")
            return 3
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_our_own_is_told() -> None:
    done = run("""
        def serve(command):
            return 1 / 0
    """)
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr


def test_a_daemon_that_dies() -> None:
    done = run("""
        def serve(command):
            os.kill(os.getpid(), 9)
    """)
    assert done.returncode == 3
    assert "the daemon ended while it was starting" in done.stderr


def test_output_may_be_kept() -> None:
    done = run(
        """
        def serve(command):
            command.follow(log)
            log.error("is in the log already")
            command.say("by itself\\n")
            print("seen", flush=True)
            command.let_go()
            print("still seen", flush=True)
            return 0
        """,
        keep_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\nstill seen\n", "by itself\n")


def test_interrupted_the_command_takes_the_daemon_with_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"""
        import signal

        def serve(command):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            with open({os.fspath(gate)!r}):
                signal.sigwait([signal.SIGINT])
            return 0

        try:
            sys.exit(daemon.start(serve, keep_output=False))
        except KeyboardInterrupt:
            print("interrupted")
    """
    command = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(script)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    opened: list[int] = []

    def waits() -> bool:
        try:
            opened.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    eventually(waits)
    # Python does not notice a signal that comes just before it blocks.
    eventually(lambda: is_asleep(command.pid))
    command.send_signal(signal.SIGINT)
    output, _ = command.communicate(timeout=DEADLINE)
    assert output == "interrupted\n"

    def is_gone() -> bool:
        try:
            os.write(opened[0], b"x")
        except BrokenPipeError:
            return True
        return False

    eventually(is_gone)
    os.close(opened[0])


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
