"""Workers that come and go while clients make requests without a pause: nothing is lost but what must be."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ROOT, LiveServer
from tests.processes import eventually, wait_for_end, wait_for_workers
from tests.traffic import Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = "tests.apps.traffic:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
CONNECTIONS = 40  # of wrk

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None and not os.environ.get("CI"), reason="wrk is not installed"
)


@pytest.fixture
def traffic(rng: random.Random) -> Callable[[LiveServer], Traffic]:
    return lambda server: Traffic(server.address, seed=rng.getrandbits(32))


def reload(server: LiveServer) -> None:
    """HUP, and wait until every worker has been replaced, and the old ones are gone."""
    old = wait_for_workers(server, 4)
    start = len(server.log.lines)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("Reload complete, workers in service: 4", start=start)
    for pid in old:
        wait_for_end(pid)


# --- clients of our own --------------------------------------------------------------------------------------


def test_reloads(live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]) -> None:
    server = live(APP, "-w", "4", *DEBUG)
    with traffic(server) as load:
        load.wait_for(100)
        for _ in range(2):
            reload(server)
            load.wait_for(100)
    assert load.failures == []
    assert load.refused == 0
    assert load.told_to_close > 0  # or the reloads have not met anybody


def test_more_and_fewer_workers(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]
) -> None:
    server = live(APP, "-w", "2", *DEBUG)
    with traffic(server) as load:
        load.wait_for(50)
        for number, count in (
            (signal.SIGTTIN, 3),
            (signal.SIGTTIN, 4),
            (signal.SIGTTOU, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
            (signal.SIGTTIN, 2),
        ):
            server.send_signal(number)
            wait_for_workers(server, count)
            load.wait_for(50)
    assert load.failures == []
    assert load.told_to_close > 0


@pytest.mark.parametrize("engine", [(), ("--threads", "4")], ids=["inline", "threads"])
def test_workers_that_have_served_enough(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic], engine: tuple[str, ...]
) -> None:
    """Each serves on until its successor is ready, ends then, and no request is lost."""
    options = ("--max-requests", "50", "--max-requests-jitter", "20")
    server = live(APP, "-w", "2", *engine, *options, *DEBUG)
    with traffic(server) as load:
        for _ in range(4):
            start = len(server.log.lines)
            worn = int(server.wait_for_log(r"\(pid:(\d+)\) is to be replaced", start=start)[1])
            wait_for_end(worn)
    assert load.failures == []
    counts = [int(n) for n in re.findall(r"to be replaced: it has served (\d+) requests", server.log.text)]
    assert len(counts) >= 4
    assert min(counts) >= 50
    log = server.log.text
    for worn in re.findall(r"\(pid:(\d+)\) is to be replaced", log)[:3]:
        told, ends = log.index(f"(pid:{worn}) is to be replaced"), log.index(f"Worker exiting (pid: {worn})")
        assert "is ready" in log[told:ends]


def test_workers_that_are_old(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]
) -> None:
    options = ("--max-worker-lifetime", "0.5", "--max-worker-lifetime-jitter", "0.5")
    server = live(APP, "-w", "2", *options, *DEBUG)
    old = wait_for_workers(server, 2)
    with traffic(server) as load:
        for pid in old:
            wait_for_end(pid)
        load.wait_for(50)
    assert load.failures == []
    for pid in old:
        assert re.search(rf"Worker \(pid:{pid}\) is to be replaced: it is \S+ s old", server.log.text)


def test_a_worker_that_grows(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]
) -> None:
    server = live(APP, "-w", "2", "--max-worker-memory", "300M", *DEBUG)
    workers = wait_for_workers(server, 2)
    with traffic(server) as load:
        load.wait_for(50)
        large = int(server.get("/grow?400").get("X-Worker") or 0)
        server.wait_for_log(rf"Worker \(pid:{large}\) is to be replaced: it has grown to \d+ MiB")
        wait_for_end(large)
        load.wait_for(50)
        assert set(workers) - set(wait_for_workers(server, 2)) == {large}
    assert load.failures == []


def test_serving_on_after_term(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]
) -> None:
    """Nothing is noticed of TERM until the delay is over; what was begun by then is answered."""
    server = live(APP, "-w", "2", "--drain-delay", "1", *DEBUG)
    wait_for_workers(server, 2)
    with traffic(server) as load:
        load.wait_for(50)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("Serving on for 1 s")
        load.wait_for(20)
        load.expect_the_end()
        assert server.wait() == 0
        load.join()
    assert load.failures == []
    assert load.told_to_close > 0


def test_workers_stopped_and_brought_back(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]
) -> None:
    """Meanwhile connections wait in the backlog."""
    server = live(APP, "-w", "2", *DEBUG)
    with traffic(server) as load:
        for _ in range(2):
            old = wait_for_workers(server, 2)
            load.wait_for(50)
            server.send_signal(signal.SIGWINCH)
            for pid in old:
                wait_for_end(pid)
            start = len(server.log.lines)
            server.send_signal(signal.SIGHUP)
            server.wait_for_log("Reload complete, workers in service: 2", start=start)
        load.wait_for(50)
    assert load.failures == []
    assert load.told_to_close > 0


def test_killed_worker(live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic]) -> None:
    """Only connections that it held are lost, each once, and another worker comes."""
    server = live(APP, "-w", "4", *DEBUG)
    old = wait_for_workers(server, 4)
    with traffic(server) as load:
        load.wait_for(100)
        holders = Counter(load.wait_for_everyone().values())
        victim, held = holders.most_common(1)[0]
        start = len(server.log.lines)
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(rf"pid:{victim}\) was killed by SIGKILL from outside", start=start)
        new = int(server.wait_for_log(r"\(pid:(\d+)\) is ready", start=start)[1])
        eventually(lambda: load.total > 0 and len(load.failures) >= 1)
    assert new not in old
    # 0: one whose first request was on its way. Of those used once there are two.
    assert {failure.worker for failure in load.failures} <= {victim, 0}, load.failures
    assert len(load.failures) <= held + 2 + load.gave_up, (load.failures, holders)
    assert server.get("/?after").text == "after"
    with traffic(server) as load:
        load.wait_for(200)
    assert load.failures == []


def test_term(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic], tmp_path: Path
) -> None:
    """What was accepted is answered, and by the access log's account nothing was served to nobody."""
    log = tmp_path / "access.log"
    server = live(
        APP, "-w", "4", "--access-logfile", os.fspath(log), "--access-logformat", "%(s)s %(U)s", *DEBUG
    )
    wait_for_workers(server, 4)
    with traffic(server) as load:
        load.wait_for(200)
        load.expect_the_end()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        load.join()
    assert load.failures == []
    served = Counter(log.read_text().splitlines())
    answered = Counter({f"200 {path}": count for path, count in load.answered.items() if path != "/chunked"})
    answered["200 /echo"] += load.answered["/chunked"]
    assert load.late or served == answered
    assert load.told_to_close > 0
    assert "Traceback" not in server.log.text


def test_term_with_connections_in_the_backlog(live: Callable[..., LiveServer]) -> None:
    """They were made before the word came; the workers are stopped meanwhile, so that nobody takes them earlier."""
    server = live(APP, "-w", "2", *DEBUG)
    workers = wait_for_workers(server, 2)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        peers = [server.connect() for _ in range(100)]
        for peer in peers[::2]:
            peer.send(b"GET /?early HTTP/1.1\r\nHost: a\r\n\r\n")
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("Handling signal: term")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    for peer in peers[1::2]:
        peer.send(b"GET /?early HTTP/1.1\r\nHost: a\r\n\r\n")
    for peer in peers:
        with peer:
            reply = peer.response()
            assert reply.text == "early"
            assert peer.read_to_end() == b""  # told so, or after the last call
    assert server.wait() == 0


def test_term_with_more_in_the_backlog_than_a_worker_may_have(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "-w", "1", "--worker-connections", "10", "--backlog", "200", *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    os.kill(worker, signal.SIGSTOP)
    try:
        peers = [server.connect() for _ in range(150)]
        for peer in peers:
            peer.send(b"GET /?early HTTP/1.1\r\nHost: a\r\n\r\n")
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("Handling signal: term")
    finally:
        os.kill(worker, signal.SIGCONT)
    for peer in peers:
        with peer:
            reply = peer.response()
            assert reply.text == "early"
            assert peer.read_to_end() == b""
    assert server.wait() == 0


def test_reload_of_a_module_that_broke(
    live: Callable[..., LiveServer], traffic: Callable[[LiveServer], Traffic], tmp_path: Path
) -> None:
    """The workers in service stay, and go when the module is mended."""
    module = tmp_path / "breaking.py"
    sound = "from tests.apps.traffic import app\n"
    module.write_text(sound)
    server = live(
        "breaking:app",
        "-w",
        "4",
        *DEBUG,
        cwd=os.fspath(tmp_path),
        env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.fspath(ROOT)},
    )
    server.allow_traceback = True
    workers = wait_for_workers(server, 4)
    with traffic(server) as load:
        load.wait_for(50)
        for broken in ("def app(:", f"{sound}raise SystemExit(1)", "import no_such_module"):
            module.write_text(broken)
            start = len(server.log.lines)
            server.send_signal(signal.SIGHUP)
            server.wait_for_log(
                "Reload failed: the new worker did not boot; the workers in service .4.", start=start
            )
            load.wait_for(50)
            assert wait_for_workers(server, 4) == workers
        assert load.told_to_close == 0
        module.write_text(sound)
        reload(server)
        load.wait_for(50)
    assert load.failures == []


# --- wrk -----------------------------------------------------------------------------------------------------


@contextmanager
def wrk(server: LiveServer, seconds: int) -> Iterator[dict[str, int]]:
    """Load a server with wrk meanwhile; its counts of requests, and of what went wrong, are there afterwards."""
    counts: dict[str, int] = {}
    wait_for_workers(server, 4)  # the seconds are to be of serving
    patience = f"{DEADLINE:.0f}s"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", patience, f"{server.url}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield counts
            output, _ = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    total = re.search(r"(\d+) requests in", output)
    assert total, output
    counts["requests"] = int(total[1])
    for name, count in re.findall(r"\b(connect|read|write|timeout|responses:) (\d+)", output):
        if int(count):
            counts[name] = int(count)


@needs_wrk
def test_wrk_sees_nothing_of_a_reload(live: Callable[..., LiveServer]) -> None:
    server = live("examples.flask_app:app", "-w", "4", *DEBUG)
    with wrk(server, 4) as counts:
        for _ in range(2):
            old = wait_for_workers(server, 4)
            start = len(server.log.lines)
            server.send_signal(signal.SIGHUP)
            for pid in old:
                server.wait_for_log(rf"Worker exiting \(pid: {pid}\)", start=start)
    assert counts.pop("requests") > CONNECTIONS
    assert counts == {}


@needs_wrk
def test_wrk_sees_a_killed_worker_only_on_its_connections(live: Callable[..., LiveServer]) -> None:
    server = live("examples.flask_app:app", "-w", "4", *DEBUG)
    with wrk(server, 2) as counts:
        with server.connect() as peer:
            assert peer.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        start = len(server.log.lines)
        os.kill(wait_for_workers(server, 4)[0], signal.SIGKILL)
        server.wait_for_log("Booting worker", start=start)
    assert counts.pop("requests") > CONNECTIONS
    assert counts.pop("read", 0) + counts.pop("write", 0) <= CONNECTIONS
    assert counts == {}
