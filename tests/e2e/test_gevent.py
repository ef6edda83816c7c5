"""`-k gevent`: a greenlet for each request, on one thread."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ENGINE, ROOT, LiveServer, Peer, head
from tests.processes import children, eventually, wait_for_end, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("gevent", reason="gevent is not installed; free-threaded Pythons cannot have it")

APP = "tests.apps.green:app"
GEVENT = ("-k", "gevent")
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")
MANY = 1000
WRITTEN = 300  # pieces of 100,000 bytes

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(ENGINE != () and "gevent" not in ENGINE, reason="names its engine itself"),
]


class Door:
    """Where requests wait, in the app, until it is opened: sockets, since a FIFO would block all greenlets."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self._waiting: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def wait_for_arrival(self) -> None:
        self._waiting.append(self._listener.accept()[0])

    def enter(self, server: LiveServer, path: str = "/block") -> Peer:
        """Start a request that waits here."""
        peer = server.connect()
        peer.send(head(f"{path}?{self.port}"))
        self.wait_for_arrival()
        return peer

    def open(self) -> None:
        while self._waiting:
            self._waiting.pop().close()

    def close(self) -> None:
        self.open()
        self._listener.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    """Let this process and the servers it starts have a connection for each of many requests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * MANY
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- many at once ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_many_descriptors")
def test_a_thousand_requests_at_once(live: Callable[..., LiveServer]) -> None:
    """All are in the app of one worker before the first is answered; and a quick one is answered meanwhile."""
    server = live(APP, *GEVENT, "--worker-connections", str(MANY + 10), "-w", "1")
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(MANY)]
        for peer in peers[1:]:
            peer.send(head(f"/meet?{MANY}"))
        for _ in range(10):
            assert server.get("/").text == "ok"
        peers[0].send(head(f"/meet?{MANY}"))
        for peer in peers:
            assert peer.response().text == "ok"
        assert peers[MANY // 2].request(GET).text == "ok"


def test_worker_connections_is_the_most_at_once(live: Callable[..., LiveServer], door: Door) -> None:
    server = live(APP, *GEVENT, "--worker-connections", "2")
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(door.enter(server))
        third = stack.enter_context(server.connect())
        third.send(GET)
        third.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.fill()
        third.sock.settimeout(DEADLINE)
        door.open()
        assert third.response().text == "ok"


def test_each_request_has_its_own_locals_and_context(live: Callable[..., LiveServer]) -> None:
    """gevent's local, threading's local, and contextvars; and so again on greenlets that are there already."""
    server = live(APP, *GEVENT)
    names = [f"name{number}" for number in range(8)]
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in names]
        for _ in range(2):
            for peer, name in zip(peers, names, strict=True):
                peer.send(head(f"/remember?{len(names)}-{name}"))
            for peer, name in zip(peers, names, strict=True):
                assert peer.response().text == f"{name} {name} {name}"


# --- what the app finds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [GEVENT, (*GEVENT, "--preload"), ("-k", "gunicorn.workers.ggevent.GeventWorker")]
)
def test_the_app_is_imported_after_patching(
    live: Callable[..., LiveServer], arguments: tuple[str, ...]
) -> None:
    server = live(APP, *arguments)
    assert server.get("/patched").text == "socket threading time select"
    assert server.get("/multithread").text == "True"
    assert server.get("/spawned").text == "42\n"
    assert "Warning" not in server.log.text


def test_without_the_option_nothing_is_patched(live: Callable[..., LiveServer]) -> None:
    assert live(APP, "-k", "sync").get("/patched").text == ""


@pytest.mark.parametrize("setting", ["worker_class = 'gevent'", "threads = 4"])
def test_a_configuration_file_that_patches(
    live: Callable[..., LiveServer], tmp_path: Path, door: Door, setting: str
) -> None:
    """Master and worker run on what gevent has made of the modules that they import only afterwards."""
    config = tmp_path / "conf.py"
    config.write_text(f"from gevent import monkey; monkey.patch_all()\n{setting}\n")
    server = live(APP, "-c", os.fspath(config), *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with door.enter(server) as peer:
        assert server.get("/").text == "ok"
        door.open()
        assert peer.response().text == "ok"
    os.kill(worker, signal.SIGKILL)
    server.wait_for_log("was killed by SIGKILL from outside")
    assert server.get("/spawned").text == "42\n"


@pytest.mark.parametrize("arguments", [GEVENT, ("-k", "sync", "--threads", "1")])
def test_greenlets_of_the_app_run_while_nobody_asks(
    live: Callable[..., LiveServer], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    config = tmp_path / "conf.py"
    config.write_text("from gevent import monkey; monkey.patch_all()\n")
    server = live(APP, "-c", os.fspath(config), *arguments)
    assert server.get("/later").text == "ok"
    eventually(lambda: server.get("/counted?later").text == "1")


def test_a_program_that_patches(tmp_path: Path, door: Door) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
            from gevent import monkey
            monkey.patch_all()
            import sys
            import fastwsgi
            sys.exit(fastwsgi.serve("tests.apps.green:app", bind=sys.argv[-1], worker_class="gevent"))
        """)
    )
    with LiveServer("", command=(sys.executable, os.fspath(script))) as server, door.enter(server) as peer:
        assert server.get("/").text == "ok"
        door.open()
        assert peer.response().text == "ok"


@pytest.mark.parametrize("name", ["gevent", "gunicorn.workers.ggevent.GeventWorker"])
def test_without_gevent_it_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['gevent'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "fastwsgi", "-k", name, "-b", "127.0.0.1:0", APP],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "Error: worker_class = 'gevent' (command line, -k): gevent is not installed; pip install gevent\n"
    )


# --- streams ---------------------------------------------------------------------------------------------


def test_a_stream_that_sleeps(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *GEVENT)
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(20)]
        for peer in peers:
            peer.send(head("/ticks?5"))
        for peer in peers:
            assert peer.response().text == "0 1 2 3 4 "


def test_a_stream_that_waits_holds_nobody(live: Callable[..., LiveServer], door: Door) -> None:
    server = live(APP, *GEVENT)
    with server.connect() as stream:
        stream.send(head(f"/stream?{door.port}"))
        stream.read_until(b"before ")
        door.wait_for_arrival()
        for _ in range(20):
            assert server.get("/").text == "ok"
        door.open()
        assert stream.read_until(b"0\r\n\r\n").endswith(b"after\r\n0\r\n\r\n")


def test_streams_are_closed_when_their_clients_go(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *GEVENT)
    for number in range(1, 4):
        with server.connect() as stream:
            stream.send(head("/endless?"))
            stream.read_until(b"xxx")
        eventually(lambda number=number: server.get("/counted?closed").text == str(number))  # type: ignore[misc]


def test_write_to_a_slow_client_holds_nobody(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *GEVENT)
    with server.connect(receive_buffer=1 << 16) as slow:
        slow.send(head(f"/write?{WRITTEN}"))
        slow.fill()
        for _ in range(20):
            assert server.get("/").text == "ok"
        assert slow.response().body == b"x" * 100_000 * WRITTEN


# --- what is thrown at a greenlet ------------------------------------------------------------------------


def test_a_timeout_that_the_app_does_not_catch(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *GEVENT)
    server.allow_traceback = True
    worker = server.get("/pid").text
    assert server.get("/time-out").status == 500
    server.wait_for_log("Error handling request GET /time-out")
    assert server.get("/pid").text == worker


def test_what_comes_too_late_for_a_request_does_not_hit_the_server(
    live: Callable[..., LiveServer], door: Door
) -> None:
    """Each has had a greenlet of its own, and most of those rest when it comes."""
    server = live(APP, *GEVENT)
    worker = server.get("/pid").text
    with ExitStack() as stack:
        peers = [stack.enter_context(door.enter(server, "/leave-a-timeout")) for _ in range(4)]
        door.open()
        for peer in peers:
            assert peer.response().text == "ok"
        eventually(lambda: server.get("/counted?after").text == "4")
        for peer in peers:
            assert peer.request(head("/pid")).text == worker


# --- stopping, hanging, dying ----------------------------------------------------------------------------


def test_graceful_stop_answers_what_is_in_flight(live: Callable[..., LiveServer], door: Door) -> None:
    server = live(APP, *GEVENT)
    with ExitStack() as stack:
        peers = [stack.enter_context(door.enter(server)) for _ in range(5)]
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("Handling signal: term")
        door.open()
        for peer in peers:
            assert peer.response().text == "ok"
        assert server.wait() == 0
        assert "SIGKILL" not in server.log.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_quick_stop_waits_for_nobody(
    live: Callable[..., LiveServer], door: Door, number: signal.Signals
) -> None:
    """Not for the first request either, which the main greenlet has in the app."""
    server = live(APP, *GEVENT)
    with ExitStack() as stack:
        peers = [stack.enter_context(door.enter(server)) for _ in range(3)]
        server.send_signal(number)
        assert server.wait() == 0
        assert "Worker exiting" in server.log.text
        assert "SIGKILL" not in server.log.text
        for peer in peers:
            assert peer.is_closed()


def test_workers_end_with_their_master(door: Door) -> None:
    server = LiveServer(APP, *GEVENT, *DEBUG)
    try:
        (worker,) = wait_for_workers(server, 1)
        with door.enter(server) as peer:
            server.process.kill()
            server.process.wait()
            server.wait_for_log("The master is gone")
            door.open()
            assert peer.response().text == "ok"
        wait_for_end(worker)
    finally:
        server.kill()


def test_orphans_end_although_a_request_does_not(door: Door) -> None:
    """Nobody would kill them when the graceful timeout has passed."""
    server = LiveServer(APP, *GEVENT, *DEBUG, "--graceful-timeout", "0.5")
    try:
        (worker,) = wait_for_workers(server, 1)
        with door.enter(server) as peer:
            server.process.kill()
            server.process.wait()
            wait_for_end(worker)
            assert peer.is_closed()
    finally:
        server.kill()


def test_one_that_computes_for_ever_is_explained_and_replaced(live: Callable[..., LiveServer]) -> None:
    server = live(APP, *GEVENT, "--timeout", "1", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with server.connect() as peer:
        peer.send(head("/compute"))
        server.wait_for_log(rf"WORKER TIMEOUT \(pid:{worker}\)")
        server.wait_for_log(r'green.py", line \d+ in compute')
        wait_for_end(worker)
    assert server.get("/").text == "ok"


def test_those_that_only_wait_are_not_taken_for_hung(live: Callable[..., LiveServer], door: Door) -> None:
    server = live(APP, *GEVENT, "--timeout", "1")
    with door.enter(server) as peer:
        with pytest.raises(AssertionError):
            server.wait_for_log("WORKER TIMEOUT", 2.5)
        door.open()
        assert peer.response().text == "ok"


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_master_sees_to_its_workers(live: Callable[..., LiveServer], preload: tuple[str, ...]) -> None:
    """A preloaded app has the master patched as well: it forks, waits and hears signals as before."""
    server = live(APP, *GEVENT, *preload, "-w", "2", *DEBUG)
    before = wait_for_workers(server, 2)
    os.kill(before[0], signal.SIGKILL)
    server.wait_for_log(rf"pid:{before[0]}\) was killed by SIGKILL from outside")
    wait_for_workers(server, 2)
    server.send_signal(signal.SIGHUP)
    eventually(lambda: not set(before) & set(children(server.pid)))
    wait_for_workers(server, 2)
    assert server.get("/spawned").text == "42\n"
    server.stop()
