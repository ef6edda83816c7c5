"""Stacks of other threads and greenlets, in text."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import green, stacks, wsgi
from tests.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


def waits_here(found: list[Callable[[], str]], there: threading.Event, end: threading.Event) -> None:
    found.append(stacks.finder())
    there.set()
    end.wait(20)


def test_another_thread_is_told_where_it_is() -> None:
    found: list[Callable[[], str]] = []
    there, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=waits_here, args=(found, there, end))
    thread.start()
    assert there.wait(20)
    text = found[0]()
    assert "in waits_here\n    end.wait(20)\n" in text
    end.set()
    thread.join()
    assert found[0]() == "  (nowhere)"


def test_frames_of_the_server_below_the_app_are_left_out() -> None:
    """The server calls the app, as far as Python sees; the app may call the server back."""

    class File:
        def read(self, _size: int) -> bytes:
            return where().encode()

    where = stacks.finder()
    text = next(wsgi.FileWrapper(File())).decode()  # type: ignore[arg-type]
    assert text.splitlines()[0].endswith("in read")
    assert "test_frames_of_the_server" not in text


def test_without_gevent_there_are_no_greenlets() -> None:
    assert stacks.greenlets() == ""


@pytest.mark.skipif(not green.is_installed(), reason="gevent is not installed")
def test_greenlets() -> None:
    code: Any = """
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from fastwsgi import stacks
        found = []
        def sleeps():
            found.append(stacks.finder())
            gevent.sleep(20)
        greenlet = gevent.spawn(sleeps)
        gevent.sleep(0)
        print("in sleeps" in found[0](), "sleeps" in stacks.greenlets())
        greenlet.kill()
        print(found[0]())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["True True", "  (nowhere)", ""]
