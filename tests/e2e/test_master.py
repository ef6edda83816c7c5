"""The master with real processes and real signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ROOT, LiveServer, Peer
from tests.processes import children, command_line, eventually, wait_for_end, wait_for_workers

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.gate import Gate

APP = "tests.apps.processes:app"
DEBUG = ("--log-level", "debug")
GET = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

pytestmark = LINUX


# --- helpers -------------------------------------------------------------------------------------------------


def write_app(directory: Path, text: str, *, prelude: str = "") -> None:
    (directory / "changing.py").write_text(
        textwrap.dedent(prelude)
        + textwrap.dedent(f"""
            def app(environ, start_response):
                start_response("200 OK", [("Content-Length", "{len(text)}")])
                return [b"{text}"]
        """)
    )


class Clients:
    """Threads that make requests without a pause in a `with` block, and count what goes wrong."""

    def __init__(self, server: LiveServer, *, keep_alive: bool) -> None:
        self.failures: list[str] = []
        self.bodies: set[str] = set()
        self.answered = 0
        self._server, self._keep_alive = server, keep_alive
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set() and len(self.failures) < 5:
            try:
                with self._server.connect() as peer:
                    self._use(peer)
            except (OSError, AssertionError) as exc:
                self.failures.append(repr(exc))

    def _use(self, peer: Peer) -> None:
        while not self._stop.is_set():
            reply = peer.request(GET % b"/")
            self.answered += 1
            self.bodies.add(reply.text)
            if reply.status != 200:
                self.failures.append(repr(reply))
            if not self._keep_alive or reply.get("Connection") == "close":
                return


@pytest.fixture
def live(live: Callable[..., LiveServer]) -> Callable[..., LiveServer]:
    """Start servers that also say which worker is ready."""
    return lambda app, *args, **options: live(app, *DEBUG, *args, **options)


@pytest.fixture
def changing(tmp_path: Path, live: Callable[..., LiveServer]) -> Callable[..., LiveServer]:
    """Start a server of the module `changing` in this test's folder."""

    def start(*args: str) -> LiveServer:
        env = {"PYTHONDONTWRITEBYTECODE": "1"}
        return live("changing:app", *args, cwd=os.fspath(tmp_path), env=env)

    return start


# --- start ---------------------------------------------------------------------------------------------------


def test_boot_log_and_titles(live: Callable[..., LiveServer]) -> None:
    pytest.importorskip("setproctitle")
    server = live(APP, "-w", "2")
    assert server.get("/").status == 200
    workers = wait_for_workers(server, 2)
    assert re.search(r"Starting fastwsgi [\d.]+ \((compiled|pure)", server.log.text)
    for pid in workers:
        server.wait_for_log(rf"Booting worker with pid: {pid}")
        eventually(lambda pid=pid: command_line(pid) == f"fastwsgi: worker [{APP}]")  # type: ignore[misc]
    assert command_line(server.pid) == f"fastwsgi: master [{APP}]"


def test_name_is_in_the_title(live: Callable[..., LiveServer]) -> None:
    pytest.importorskip("setproctitle")
    server = live(APP, "-n", "shop")
    eventually(lambda: command_line(server.pid) == "fastwsgi: master [shop]")


def test_workers_share_the_socket(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "-w", "3")
    workers = set(wait_for_workers(server, 3))
    assert {int(server.get("/").text) for _ in range(20)} <= workers
    assert server.get("/environ").text.endswith(" True")


def test_pidfile(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = live(APP, "-p", os.fspath(path))
    assert path.read_text() == f"{server.pid}\n"
    server.stop()
    assert not path.exists()


def test_closed_standard_input(live: Callable[..., LiveServer]) -> None:
    command = ("sh", "-c", 'exec "$0" "$@" <&-', sys.executable, "-m", "fastwsgi")
    server = live(APP, command=command)
    assert server.get("/").status == 200


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes root and unshare")
def test_as_process_1() -> None:
    probe = subprocess.run(["unshare", "-fp", "--mount-proc", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("namespaces are not allowed here")
    command = ("unshare", "-fp", "--mount-proc", "--kill-child", sys.executable, "-m", "fastwsgi")
    server = LiveServer(APP, "-w", "2", command=command)
    try:
        assert server.get("/").status == 200
        (master,) = children(server.pid)
        server.wait_for_log("Listening at: .* \\(1\\)")
        os.kill(master, signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.kill()


def test_preload_loads_once(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--preload", "-w", "2")
    assert server.get("/loaded-by").text == str(server.pid)
    assert int(server.get("/").text) in children(server.pid)


def test_embedding_leaves_signals_as_they_were(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
            import atexit, signal, sys
            import fastwsgi
            from tests.apps.processes import app

            def state():
                names = ("TERM", "INT", "QUIT", "HUP", "USR1", "CHLD", "TTIN")
                handlers = [signal.getsignal(getattr(signal, "SIG" + name)) for name in names]
                wakeup = signal.set_wakeup_fd(-1)
                return handlers, wakeup, signal.pthread_sigmask(signal.SIG_BLOCK, [])

            atexit.register(print, "program ends")
            signal.signal(signal.SIGHUP, lambda *_: None)
            before = state()
            code = fastwsgi.serve(app, bind=sys.argv[-1], workers=2)
            print("code", code, state() == before, flush=True)
        """)
    )
    server = LiveServer("", command=(sys.executable, os.fspath(script)))
    try:
        assert server.get("/").status == 200
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.stdout.text == "code 0 True\nprogram ends"
    finally:
        server.kill()


# --- addresses -----------------------------------------------------------------------------------------------


def test_several_binds(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = live(APP, "-b", "[::1]:0", "-b", f"unix:{path}", "-w", "2")
    port = int(server.wait_for_log(r"Listening at: http://\[::1\]:(\d+)")[1])
    # live() binds 127.0.0.1 as well.
    assert server.get("/").status == 200
    with Peer(os.fspath(path)) as peer:
        assert peer.request(GET % b"/environ").text == "localhost 80 True"
    with socket.create_connection(("::1", port), DEADLINE) as sock:
        sock.sendall(b"GET /environ HTTP/1.0\r\n\r\n")
        assert sock.makefile("rb").read().endswith(f"\r\n\r\n::1 {port} True".encode())
    server.stop()
    assert not path.exists()


def test_unix_socket_left_by_a_killed_server(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 'app.sock'}"
    first = LiveServer(APP, *DEBUG, bind=bind)
    workers = wait_for_workers(first, 1)
    first.kill()
    for pid in workers:
        wait_for_end(pid)
    assert (tmp_path / "app.sock").exists()
    with LiveServer(APP, bind=bind) as second:
        assert second.get("/").status == 200


def run(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastwsgi", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ("127.0.0.1:nothing", "port 'nothing' is not a number"),
        ("unix:/nonexistent/app.sock", "'/nonexistent' does not exist"),
        ("fd://999", "descriptor 999"),
    ],
)
def test_addresses_that_cannot_be_had(bind: str, words: str) -> None:
    done = run("-b", bind, APP)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run("-b", f"127.0.0.1:{other.getsockname()[1]}", APP)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "in use by another server" in done.stderr


# --- failures to boot ----------------------------------------------------------------------------------------


def started_in_vain(directory: Path, *args: str) -> tuple[int, str]:
    done = run("-b", "127.0.0.1:0", *args, cwd=directory)
    return done.returncode, done.stderr


def test_wrong_module(tmp_path: Path) -> None:
    code, log = started_in_vain(tmp_path, "-w", "3", "no_such_module:app")
    assert code == 4
    assert log.count("cannot load 'no_such_module:app'") == 1
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("import no_such_dependency", "no_such_dependency"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
@pytest.mark.parametrize("preload", [False, True])
def test_app_that_fails_to_import(tmp_path: Path, source: str, words: str, *, preload: bool) -> None:
    (tmp_path / "broken.py").write_text(source)
    args = ["--preload"] if preload else []
    code, log = started_in_vain(tmp_path, "-w", "3", *args, "broken:app")
    assert code == 4
    assert log.count("cannot load 'broken:app'") == 1
    assert log.count("Traceback") <= 1
    assert words in log


def test_app_that_ends_the_process_at_import(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text("import os; os._exit(7)")
    code, log = started_in_vain(tmp_path, "leaving:app")
    assert code == 3
    assert "exited with code 7" in log
    assert log.count("no worker could boot") == 1


def test_later_boot_failure_keeps_what_works(changing: Callable[..., LiveServer], tmp_path: Path) -> None:
    write_app(tmp_path, "one")
    server = changing("-w", "2")
    first, _ = wait_for_workers(server, 2)
    write_app(tmp_path, "two", prelude="raise RuntimeError('bad release')")
    os.kill(first, signal.SIGKILL)
    server.wait_for_log("Workers die young")
    server.allow_traceback = True
    assert server.get("/").text == "one"
    write_app(tmp_path, "three")
    eventually(lambda: {server.get("/").text for _ in range(10)} >= {"three"})


# --- stopping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
@pytest.mark.parametrize("workers", ["1", "3"])
def test_stop_exits_0_and_leaves_nobody(live: Callable[..., LiveServer], name: str, workers: str) -> None:
    server = live(APP, "-w", workers)
    assert server.get("/").status == 200
    pids = wait_for_workers(server, int(workers))
    server.stop(getattr(signal, f"SIG{name}"))
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert "error" not in server.log.text.lower()


def test_stop_at_once_after_the_start(live: Callable[..., LiveServer]) -> None:
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        server = live(APP, "-w", "2")
        server.stop(name)


def test_asked_again_while_it_ends(live: Callable[..., LiveServer], gate: Gate, tmp_path: Path) -> None:
    """What the interpreter does last may take its time; the exit code stays."""
    conf = tmp_path / "conf.py"
    conf.write_text(f"import atexit\natexit.register(lambda: open({os.fspath(gate.path)!r}).read())\n")
    server = live(APP, "-c", os.fspath(conf))
    assert server.get("/").status == 200
    server.send_signal(signal.SIGTERM)
    gate.wait_for_arrival()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        server.send_signal(number)
    gate.open()
    assert server.wait() == 0


def test_term_lets_a_request_end(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP)
    peer = gate.enter(server)
    server.send_signal(signal.SIGTERM)
    server.wait_for_log("Handling signal: term")
    gate.open()
    reply = peer.response()
    assert reply.status == 200
    peer.sock.close()
    assert server.wait() == 0


def test_term_kills_after_the_graceful_timeout(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--graceful-timeout", "0.5")
    peer = gate.enter(server)
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "master's SIGKILL: the graceful timeout passed" in server.log.text
    gate.open()
    peer.sock.close()


def test_int_does_not_wait_for_long(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP, "--graceful-timeout", str(10 * DEADLINE))
    peer = gate.enter(server)
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0
    gate.open()
    peer.sock.close()


def test_second_int_kills(live: Callable[..., LiveServer], gate: Gate) -> None:
    server = live(APP)
    peer = gate.enter(server)
    server.send_signal(signal.SIGINT)
    server.wait_for_log("Handling signal: int")
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0
    gate.open()
    peer.sock.close()


def test_stop_while_the_app_is_being_loaded(tmp_path: Path, gate: Gate) -> None:
    source = f"open({os.fspath(gate.path)!r}).read()\ndef app(environ, start_response): pass\n"
    (tmp_path / "slow.py").write_text(source)
    with LiveServer("slow:app", cwd=os.fspath(tmp_path)):
        gate.wait_for_arrival()


def test_workers_end_when_the_master_is_killed() -> None:
    server = LiveServer(APP, *DEBUG, "-w", "3")
    pids = wait_for_workers(server, 3)
    server.process.kill()
    for pid in pids:
        wait_for_end(pid)
    server.kill()
    assert server.log.text.count("The master is gone") == 3


def test_orphans_finish_their_request_and_free_the_port(gate: Gate) -> None:
    server = LiveServer(APP, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    peer = gate.enter(server)
    server.process.kill()
    server.process.wait()
    gate.open()
    assert peer.response().status == 200
    peer.sock.close()
    wait_for_end(worker)
    with LiveServer(APP, bind="{}:{}".format(*server.address)) as second:
        assert second.get("/").status == 200
    server.kill()


# --- workers that die or hang --------------------------------------------------------------------------------


def test_killed_worker_is_replaced(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "-w", "2")
    for _ in range(5):
        workers = wait_for_workers(server, 2)
        lines = len(server.log.lines)
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_log(rf"pid:{workers[0]}\) was killed by SIGKILL from outside", start=lines)
        server.wait_for_log("Booting worker", start=lines)
        assert server.get("/").status == 200


def test_crashed_worker_leaves_its_stacks(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    server.exchange(GET % b"/abort")
    server.wait_for_log("crashed with SIGABRT")
    assert "processes.py" in server.log.text
    assert server.get("/").status == 200


def test_a_worker_that_talks_nonsense_is_replaced(live: Callable[..., LiveServer]) -> None:
    """The master may be root, and the worker's user anybody."""
    server = live(APP)
    (before,) = wait_for_workers(server, 1)
    server.get("/garble")
    server.wait_for_log(rf"Worker \(pid:{before}\) is to be replaced: what it reports cannot be understood")
    wait_for_end(before)
    assert int(server.get().text) in set(children(server.pid)) - {before}


def test_a_child_that_a_worker_leaves_does_not_keep_the_master(live: Callable[..., LiveServer]) -> None:
    """What it reports in the worker's name has no end; the master hangs up."""
    server = live(APP)
    (before,) = wait_for_workers(server, 1)
    server.exchange(GET % b"/flood")
    wait_for_end(before)
    assert int(server.get().text) != before


def test_crash_loop_slows_down(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    for _ in range(2):
        server.exchange(GET % b"/exit?9")
        server.wait_for_log("exited with code 9")
    server.wait_for_log("Workers die young: the next one is forked in 0.5 s")
    assert server.get("/").status == 200


@pytest.mark.parametrize("how", ["sleeps", "holds-the-gil"])
def test_hung_worker_is_explained_and_replaced(live: Callable[..., LiveServer], gate: Gate, how: str) -> None:
    server = live(APP, "--timeout", "2", "-w", "2", "--threads", "1")
    if how == "sleeps":
        peer = gate.enter(server)
    else:
        peer = server.connect()
        peer.send(GET % b"/hold-the-gil")
    hung = server.wait_for_log(r"WORKER TIMEOUT \(pid:(\d+)\)")[1]
    server.wait_for_log(rf"\(pid:{hung}\) has in flight: thread 0 \(0x[0-9a-f]{{16}}\): GET /\S+ for \d+")
    server.wait_for_log(r'processes.py", line \d+ in app')
    server.wait_for_log(rf"Worker \(pid:{hung}\) was ended by the master's SIGABRT")
    assert server.get("/").text != hung
    assert len(wait_for_workers(server, 2)) == 2
    peer.sock.close()


@pytest.mark.parametrize("name", ["HUP", "USR2", "WINCH", "USR1", "TTIN"])
def test_these_do_not_kill_a_worker(live: Callable[..., LiveServer], name: str) -> None:
    server = live(APP)
    worker = int(server.get("/").text)
    os.kill(worker, getattr(signal, f"SIG{name}"))
    assert server.get("/").text == str(worker)


@pytest.mark.parametrize("name", ["TERM", "QUIT"])
def test_worker_told_to_stop_is_replaced(live: Callable[..., LiveServer], name: str) -> None:
    server = live(APP)
    worker = int(server.get("/").text)
    os.kill(worker, getattr(signal, f"SIG{name}"))
    server.wait_for_log(rf"Worker exiting \(pid: {worker}\)")
    assert server.get("/").text != str(worker)


# --- reload --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [False, True])
def test_reload_serves_the_new_code_and_loses_nothing(
    changing: Callable[..., LiveServer], tmp_path: Path, *, keep_alive: bool
) -> None:
    write_app(tmp_path, "one")
    server = changing("-w", "3")
    old = wait_for_workers(server, 3)
    with Clients(server, keep_alive=keep_alive) as clients:
        for text in ("two", "three"):
            write_app(tmp_path, text)
            lines = len(server.log.lines)
            server.send_signal(signal.SIGHUP)
            server.wait_for_log("Reload complete, workers in service: 3", start=lines)
    for pid in old:
        wait_for_end(pid)
    assert clients.failures == []
    assert clients.bodies <= {"one", "two", "three"}
    eventually(lambda: {server.get("/").text for _ in range(10)} == {"three"})
    assert clients.answered > 10


def test_reload_of_broken_code_keeps_the_old_serving(
    changing: Callable[..., LiveServer], tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    server = changing("-w", "2")
    workers = wait_for_workers(server, 2)
    write_app(tmp_path, "two", prelude="raise RuntimeError('bad release')")
    server.allow_traceback = True
    with Clients(server, keep_alive=False) as clients:
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("Reload failed: the new worker did not boot; the workers in service .2.")
    assert clients.failures == []
    assert clients.bodies == {"one"}
    assert wait_for_workers(server, 2) == workers
    assert server.log.text.count("cannot load 'changing:app'") == 1
    write_app(tmp_path, "three")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete")
    eventually(lambda: {server.get("/").text for _ in range(10)} == {"three"})


def test_reload_of_settings(changing: Callable[..., LiveServer], tmp_path: Path) -> None:
    write_app(tmp_path, "one")
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text("workers = 1\n")
    server = changing()
    assert server.get("/").text == "one"
    conf.write_text("workers = 3\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete, workers in service: 3")
    wait_for_workers(server, 3)
    conf.write_text("workers = 'many'\n")
    lines = len(server.log.lines)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload refused, .* workers = 'many'", start=lines)
    assert server.get("/").text == "one"
    conf.write_text("workers = 2\nbind = '127.0.0.1:1'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete, workers in service: 2", start=lines)
    wait_for_workers(server, 2)


# --- more and fewer ------------------------------------------------------------------------------------------


def test_ttin_and_ttou(live: Callable[..., LiveServer]) -> None:
    server = live(APP)
    assert server.get("/").status == 200
    for count in (2, 3):
        server.send_signal(signal.SIGTTIN)
        wait_for_workers(server, count)
    for count in (2, 1):
        server.send_signal(signal.SIGTTOU)
        wait_for_workers(server, count)
    server.send_signal(signal.SIGTTOU)
    assert server.get("/").status == 200
    assert len(wait_for_workers(server, 1)) == 1


def test_winch_and_back(live: Callable[..., LiveServer]) -> None:
    """A connection made meanwhile waits for the workers to come."""
    server = live(APP, "-w", "2")
    wait_for_workers(server, 2)
    for back, count in ((signal.SIGHUP, 2), (signal.SIGTTIN, 1)):
        server.send_signal(signal.SIGWINCH)
        eventually(lambda: children(server.pid) == [])
        with server.connect() as peer:
            peer.send(GET % b"/")
            server.send_signal(back)
            assert int(peer.response().text) in wait_for_workers(server, count)
    server.send_signal(signal.SIGWINCH)


def test_second_term_cuts_the_delay_short(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--drain-delay", "600")
    assert server.get("/").status == 200
    server.send_signal(signal.SIGTERM)
    server.wait_for_log("Serving on for 600 s")
    assert server.get("/").get("Connection") is None
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_logs_are_reopened(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    log, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    server = live(APP, "--access-logfile", os.fspath(log), "-w", "2")
    server.get("/before")
    eventually(lambda: "/before" in log.read_text())
    log.rename(moved)
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)

    def is_in_the_new_file() -> bool:
        server.get("/after")
        return "/after" in log.read_text()

    eventually(is_in_the_new_file)


def test_storm_of_signals(live: Callable[..., LiveServer], rng: random.Random) -> None:
    server = live(APP, "-w", "2")
    assert server.get("/").status == 200
    with Clients(server, keep_alive=False) as clients:
        for _ in range(150):
            server.send_signal(rng.choice([signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH]))
        # The system hands over by number what waits: a WINCH of the storm could come behind a HUP sent later.
        server.send_signal(signal.SIGTTIN)
        server.wait_for_log("Handling signal: ttin")
        server.send_signal(signal.SIGHUP)
        wait_for_workers(server, 2)
    assert clients.failures == []
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTERM, signal.SIGTERM):
        server.send_signal(number)
    assert server.wait() == 0
