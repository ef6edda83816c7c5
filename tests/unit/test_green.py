"""What of gevent is not gevent's own: the way round its patches, the wait, locks that hold.

Patching is for good: each of these tests has an interpreter of its own.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from fastwsgi import green
from tests.live import DEADLINE, ROOT

needs_gevent = pytest.mark.skipif(not green.is_installed(), reason="gevent is not installed")


def run(code: str) -> str:
    """Return what `code` prints in a fresh interpreter, where warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "from fastwsgi import green\n" + textwrap.dedent(code)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_nothing_imports_gevent_unasked() -> None:
    code = """
        import sys
        green.is_installed(), green.is_patched(), green.unpatched("os", "fork"), green.after_fork()
        print("gevent" in sys.modules)
    """
    assert run(code) == "False"


def test_is_installed_where_the_import_is_blocked() -> None:
    assert run("import sys; sys.modules['gevent'] = None; print(green.is_installed())") == "False"


@needs_gevent
def test_patch() -> None:
    code = """
        import threading, time
        print(green.is_patched())
        for _ in range(2):
            green.patch()
            print(green.is_patched(), threading.Thread.start.__module__, time.sleep.__module__)
        import gevent
        print(type(threading.Lock()).__module__)
    """
    assert run(code).split("\n") == [
        "False",
        *["True threading gevent.hub"] * 2,
        "gevent.thread",
    ]


@needs_gevent
def test_a_crew_is_made_of_what_gevent_has_patched() -> None:
    code = """
        def show():
            made = green.primitives()
            print(made["make_lock"]().acquire(), made["make_lock"] is green.Lock, made["switch_interval"] < 1)
        show()
        green.patch()
        show()
    """
    assert run(code).split("\n") == ["True False True", "True True False"]


@needs_gevent
def test_a_module_that_is_imported_is_not_yet_patched() -> None:
    assert run("import gevent.monkey; print(green.is_patched())") == "False"


@needs_gevent
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "close"),
        ("os", "fork"),
        ("os", "waitpid"),
        ("select", "poll"),
        ("selectors", "DefaultSelector"),
        ("signal", "set_wakeup_fd"),
        ("signal", "signal"),
        ("socket", "socket"),
    ],
)
def test_unpatched(module: str, name: str) -> None:
    code = f"""
        import {module}
        before = {module}.{name}
        assert green.unpatched("{module}", "{name}") is before
        green.patch()
        print(green.unpatched("{module}", "{name}") is before)
    """
    assert run(code) == "True"


def test_after_fork_only_a_hub_that_is_there_is_renewed() -> None:
    code = """
        import sys
        from types import SimpleNamespace
        green.after_fork()
        sys.modules["gevent.hub"] = SimpleNamespace(reinit=lambda: print("renewed"))
        green.after_fork()
    """
    assert run(code) == "renewed"


@needs_gevent
@pytest.mark.parametrize("seconds", [0, 0.01, 10])
def test_wait_lets_others_run(seconds: float) -> None:
    """It ends when the time is over, or when something is there to read."""
    code = f"""
        import os
        import gevent
        read, write = os.pipe()
        wait = green.make_wait(read)
        def other():
            print("other")
            os.write(write, b"x")
        if {seconds} == 0.01:
            wait({seconds})
            print("nothing came")
        gevent.spawn(other)
        wait({seconds})
        print("ready")
    """
    expected = ["nothing came"] if seconds == 0.01 else []
    assert run(code).split("\n") == [*expected, "other", "ready"]


STRAYS = ["gevent.Timeout(1)", "gevent.GreenletExit()", "ValueError()"]
FATAL = ["SystemExit()", "KeyboardInterrupt()"]


@needs_gevent
@pytest.mark.parametrize("error", STRAYS)
def test_what_is_thrown_at_one_that_waits_does_not_break_it(error: str) -> None:
    """It was meant for a request that is over."""
    code = f"""
        import os
        import gevent
        lock = green.Lock()
        lock.acquire()
        wait = green.make_wait(os.pipe()[0])
        def waits():
            print(lock.acquire())
            lock.release()
            wait(10)
            print("waited")
        greenlet = gevent.spawn(waits)
        gevent.sleep(0)
        gevent.kill(greenlet, {error})
        gevent.sleep(0)
        lock.release()
        gevent.sleep(0)
        gevent.kill(greenlet, {error})
        gevent.sleep(0)
        greenlet.join()
        print(greenlet.exception)
    """
    assert run(code).split("\n") == ["True", "waited", "None"]


@needs_gevent
@pytest.mark.parametrize("error", FATAL)
@pytest.mark.parametrize("call", ["lock.acquire()", "wait(10)"])
def test_what_ends_the_process_ends_a_wait(error: str, call: str) -> None:
    code = f"""
        import os
        import gevent
        lock = green.Lock()
        lock.acquire()
        wait = green.make_wait(os.pipe()[0])
        def ends():
            raise {error}
        gevent.get_hub().print_exception = lambda *_: None
        gevent.spawn(ends)
        try:
            {call}
        except (SystemExit, KeyboardInterrupt):
            print("ended")
    """
    assert run(code) == "ended"
