"""Apps that do what no app should: the worker ends at once or goes on, one line says why, and others are served."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer, head
from tests.processes import children, eventually, open_files, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = "tests.apps.faulty:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def ask_once(server: LiveServer, target: str) -> bytes:
    """Return all that is answered until the server closes, which it does though children live."""
    with server.connect() as peer:
        peer.send(head(target, "Connection: close"))
        return peer.read_to_end()


# --- descriptors that are not its own ------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["all", "sockets", "poller", "pipes", "mine", "over-mine"])
def test_closed_descriptors(live: Callable[..., LiveServer], what: str) -> None:
    server = live(APP, *DEBUG)
    (old,) = wait_for_workers(server, 1)
    with server.connect() as other, server.connect() as peer:
        assert other.request(GET).text == "ok"
        assert peer.request(GET).text == "ok"
        peer.send(head(f"/in-app/close?{what}"))
        if what == "over-mine":
            assert peer.is_closed()  # it may have been the only connection that was harmed
        else:
            server.wait_for_log(
                rf"Worker \(pid:{old}\) fails: descriptors of the server were closed or replaced"
            )
            server.wait_for_log(rf"Worker \(pid:{old}\) exited with code 1")
    assert server.get().text == "ok"
    assert len([line for line in server.log.lines if "[CRITICAL]" in line]) <= 1


# --- forks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def forking(live: Callable[..., LiveServer]) -> Iterator[LiveServer]:
    server = live(APP, *DEBUG)
    server.allow_traceback = True
    wait_for_workers(server, 1)
    yield server
    for pid in offspring(server):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def offspring(server: LiveServer) -> list[int]:
    return [int(pid) for pid in server.get("/children").text.split()]


def test_forks_that_end_where_the_app_returns(forking: LiveServer) -> None:
    (worker,) = children(forking.pid)
    for place in ("in-app", "in-body", "in-close", "in-thread"):
        for how in ("_exit", "exit", "raises", "returns"):
            if place == "in-thread" and how != "_exit":
                continue  # there it is the thread's end
            answer = ask_once(forking, f"/{place}/fork?{how}")
            assert answer.count(b"HTTP/1.1 200 OK") == 1, (place, how)
            assert b" 500 " not in answer, (place, how)
            assert forking.get("/pid").text == str(worker)
    forking.wait_for_log(r"Process \(pid:\d+\), forked by the application, returns from it")
    forking.wait_for_log(r"Error in process \(pid:\d+\), forked by the application")


def test_forks_that_live_on_hold_nothing(forking: LiveServer) -> None:
    with forking.connect() as other:
        assert other.request(GET).text == "ok"
        for how in ("lasts", "multiprocessing", "subprocess"):
            assert ask_once(forking, f"/in-app/fork?{how}").endswith(b"ok")
        born = offspring(forking)
        assert len(born) == 3
        # On gevent, a subprocess needs a moment until it is another program.
        eventually(lambda: not any(name.startswith("socket:") for pid in born for name in open_files(pid)))
        assert other.request(GET).text == "ok"
        for pid in born:
            os.kill(pid, signal.SIGTERM)  # as Process.terminate() does; a worker's handlers would ignore it
        eventually(lambda: all(is_over(pid) for pid in born))


def is_over(pid: int) -> bool:
    """Return whether a process has ended, also if its parent has not asked for it."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_fork_that_lives_on_does_not_hold_the_address(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *DEBUG)
    assert ask_once(server, "/in-app/fork?lasts").endswith(b"ok")
    (child,) = offspring(server)
    server.send_signal(signal.SIGTERM)
    server.process.wait()
    try:
        assert live(APP, bind=server.url.partition("://")[2]).get().text == "ok"
    finally:
        os.kill(child, signal.SIGKILL)


# --- the end of the process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_exceptions_that_end_programs_are_errors_like_others(
    live: Callable[..., LiveServer], how: str
) -> None:
    server = live(APP, *DEBUG)
    server.allow_traceback = True
    (worker,) = wait_for_workers(server, 1)
    assert ask_once(server, f"/in-app/end?{how}").startswith(b"HTTP/1.1 500 ")
    for place in ("in-body", "in-close", "in-thread"):
        ask_once(server, f"/{place}/end?{how}")
    calls = ast.literal_eval(server.get("/calls").text)
    assert calls["made"] == calls["close"] == 2
    assert server.get("/pid").text == str(worker)


@pytest.mark.parametrize(
    ("place", "how", "words"),
    [
        ("in-app", "_exit", r"exited with code 7"),
        ("in-body", "abort", "SIGABRT"),
        ("in-close", "kill", "SIGKILL"),
        ("in-thread", "segv", "SIGSEGV"),
    ],
)
def test_the_end_of_a_worker_is_told(
    live: Callable[..., LiveServer], place: str, how: str, words: str
) -> None:
    server = live(APP, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    ask = server.connect()
    with ask:
        ask.send(head(f"/{place}/end?{how}"))
        server.wait_for_log(rf"pid:{worker}\).*{words}")
    assert server.get("/pid").text != str(worker)
