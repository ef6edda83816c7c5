"""Where lines and figures go: files that are moved away, syslog, statsd, logging's configurations."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ENGINE, ROOT, LiveServer, LogReader, head
from tests.processes import eventually, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = "tests.apps.logs:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready


@pytest.fixture
def datagrams() -> Iterator[Datagrams]:
    daemon = Datagrams()
    yield daemon
    daemon.sock.close()


class Datagrams:
    """A daemon that listens for datagrams."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(DEADLINE)
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"

    def wait_for(self, pattern: str) -> list[str]:
        """Return all lines up to the first that matches."""
        lines: list[str] = []
        while not lines or not re.search(pattern, lines[-1]):
            lines += self.sock.recv(65536).decode().rstrip("\0").split("\n")
        return lines


def all_lines(folder: Path) -> list[str]:
    return [line for path in folder.glob("access.log*") for line in path.read_text().splitlines()]


def test_no_line_is_lost_while_logs_are_rotated(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    where = ("--access-logfile", os.fspath(log), "--error-logfile", os.fspath(tmp_path / "error.log"))
    server = live(
        APP, "-w", "2", *where, "--access-logformat", "%(U)s.", "--capture-output",
        error_log=tmp_path / "error.log",
    )  # fmt: skip
    done: list[str] = []
    stop = threading.Event()

    def ask(name: int) -> None:
        count = 0
        while not stop.is_set():
            with server.connect() as peer:
                for _ in range(50):
                    path = f"/{name}-{count}"
                    assert peer.request(head(path)).status == 200
                    done.append(f"{path}.")
                    count += 1

    clients = [threading.Thread(target=ask, args=(name,)) for name in range(3)]
    for client in clients:
        client.start()
    try:
        for number in range(20):
            before = len(done)
            log.rename(tmp_path / f"access.log.{number}")
            (tmp_path / "error.log").rename(tmp_path / f"error.log.{number}")
            server.send_signal(signal.SIGUSR1)
            eventually(lambda: log.exists() and (tmp_path / "error.log").exists())
            while len(done) < before + 20:
                stop.wait(0.001)
    finally:
        stop.set()
        for client in clients:
            client.join()
    eventually(lambda: len(all_lines(tmp_path)) >= len(done))
    assert sorted(all_lines(tmp_path)) == sorted(done)


def test_lines_by_way_of_logging_are_rotated_too(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "logconfig_dict = {'version': 1, 'root': {'handlers': []},\n"
        " 'formatters': {'plain': {'format': '%(message)s'}},\n"
        " 'handlers': {'file': {'class': 'logging.FileHandler', 'formatter': 'plain',\n"
        f"                       'filename': {os.fspath(tmp_path / 'access.log')!r}}}}},\n"
        " 'loggers': {'gunicorn.access': {'level': 'INFO', 'handlers': ['file'], 'propagate': False}}}\n"
        "access_log_format = '%(U)s.'\n"
    )
    server = live(APP, "-c", os.fspath(tmp_path / "gunicorn.conf.py"), *DEBUG, "-w", "2")
    wait_for_workers(server, 2)
    wanted: list[str] = []
    with server.connect() as peer:
        for number in range(5):
            for _ in range(10):
                wanted.append(f"/{len(wanted)}.")
                assert peer.request(head(wanted[-1][:-1])).status == 200
            (tmp_path / "access.log").rename(tmp_path / f"access.log.{number}")
            server.send_signal(signal.SIGUSR1)
            eventually((tmp_path / "access.log").exists)
    eventually(lambda: len(all_lines(tmp_path)) >= len(wanted))
    assert sorted(all_lines(tmp_path)) == sorted(wanted)


def test_lines_to_syslog(live: Callable[..., LiveServer], datagrams: Datagrams) -> None:
    server = live(
        APP, "--log-syslog", "--log-syslog-to", f"udp://{datagrams.address}", "--log-syslog-prefix", "mine",
        "--access-logformat", "%(r)s %(s)s",
    )  # fmt: skip
    assert server.get("/path").status == 200
    lines = datagrams.wait_for("/path")
    assert re.fullmatch(r"<14>gunicorn\.mine\.access: \[\d+\] GET /path HTTP/1\.1 200", lines[-1])
    assert any(re.fullmatch(r"<14>gunicorn\.mine\.error: \[\d+\] Listening at: .*", line) for line in lines)


def test_a_syslog_daemon_that_is_away_stops_nobody(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    server = live(APP, "--log-syslog", "--log-syslog-to", f"unix://{tmp_path}/nobody#stream")
    server.wait_for_log("syslog at .*/nobody: .*; lines to it are lost")
    assert server.get("/").status == 200


def types(lines: list[str]) -> dict[str, str]:
    return {line.partition(":")[0]: line.partition("|")[2] for line in lines}


@pytest.mark.skipif(ENGINE != (), reason="gunicorn is started with the same arguments")
def test_figures_are_named_as_gunicorns(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    got = {}
    for module in ("fastwsgi", "gunicorn"):
        daemon = Datagrams()
        args = [
            "-b", f"unix:{tmp_path}/{module}.sock", "--statsd-host", daemon.address, "--statsd-prefix", "my",
            "--dogstatsd-tags", "a:1,b:2", "--enable-backlog-metric",
        ]  # fmt: skip
        (tmp_path / "gunicorn.conf.py").write_text("def post_worker_init(worker): worker.log.warning('x')\n")
        server = subprocess.Popen(
            [sys.executable, "-m", module, *args, APP],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert server.stderr is not None
        try:
            LogReader(server.stderr).wait_for("Listening at")
            lines: list[str] = []
            for path, status in (("/", 200), ("/missing", 404)):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.settimeout(DEADLINE)
                    sock.connect(f"{tmp_path}/{module}.sock")
                    sock.sendall(head(path, "Connection: close"))
                    while sock.recv(65536):
                        pass
                lines += daemon.wait_for(rf"status\.{status}:")
            if not any("workers" in line for line in lines):  # the master's
                lines += daemon.wait_for("workers")
        finally:
            server.terminate()
            server.wait(DEADLINE)
            server.stderr.close()
            daemon.sock.close()
        got[module] = {name: kind for name, kind in types(lines).items() if name != "my.gunicorn.log.error"}
    assert got["fastwsgi"] == got["gunicorn"]
    assert set(got["fastwsgi"]) == {
        f"my.gunicorn.{name}"
        for name in (
            "log.warning", "request.duration", "request.status.200", "request.status.404", "requests", "workers",
        )
    }  # fmt: skip


def test_the_backlog_is_told(live: Callable[..., LiveServer], datagrams: Datagrams) -> None:
    live(APP, "--statsd-host", datagrams.address, "--enable-backlog-metric")
    assert re.fullmatch(r"gunicorn\.backlog:\d+\|h", datagrams.wait_for("backlog")[-1])


def test_a_class_of_ones_own(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = live(APP, "--logger-class", "tests.apps.logs.Skips", "--access-logfile", os.fspath(log))
    assert server.get("/health").status == 200
    assert server.exchange(b"BAD\r\n\r\n")[9:12] == b"400"
    assert server.get("/other").status == 200
    eventually(lambda: log.read_text().count("\n") == 2)
    assert "BAD - -" in log.read_text()
    assert "health" not in log.read_text()


def test_json_lines(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--access-logfile", "-", "--access-logformat", "json")
    assert server.get("/path?q=1", 'User-Agent: "me"\\').status == 200
    line = json.loads(server.stdout.wait_for(r"\{.*\}")[0])
    assert (line["path"], line["query"], line["status"], line["user_agent"]) == (
        "/path",
        "q=1",
        200,
        '"me"\\',
    )


@pytest.mark.parametrize("preload", [False, True])
def test_what_the_app_prints_is_in_the_error_log(
    live: Callable[..., LiveServer], tmp_path: Path, preload: bool
) -> None:
    log = tmp_path / "error.log"
    args = ("--capture-output", "--error-logfile", os.fspath(log), *(["--preload"] if preload else []))
    server = live(APP, *args, error_log=log)
    assert server.get("/print").status == 200
    eventually(lambda: all(word in log.read_text() for word in ("loaded", "printed", "by a child")))
    log.rename(tmp_path / "old.log")
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)

    def is_printed_anew() -> bool:
        assert server.get("/print").status == 200
        return "by a child" in log.read_text()

    eventually(is_printed_anew)
    server.stop()  # its standard error is empty: all is in the file
    assert server.stdout.text == ""


def test_what_a_reload_changes(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text("loglevel = 'info'\n")
    server = live(APP, "-c", os.fspath(conf))
    conf.write_text("loglevel = 'debug'\nlogconfig = '/no/such/file'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log(r"logconfig = '/no/such/file' .*: /no/such/file: No such file or directory")
    assert server.get("/").status == 200
    conf.write_text("loglevel = 'debug'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log(r"\[DEBUG\]")
    assert server.get("/").status == 200


@pytest.mark.parametrize(
    "args",
    [
        ("--log-config", "/no/such/file"),
        ("--log-config-json", "/no/such/file"),
        ("--log-syslog", "--log-syslog-to", "nowhere"),
        ("--log-syslog", "--log-syslog-facility", "nothing"),
        ("--statsd-host", "host:port"),
        ("--logger-class", "no.such.Class"),
        ("--error-logfile", "/no/such/log"),
        ("--access-logfile", "/no/such/log"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastwsgi", "-b", "127.0.0.1:0", *args, APP],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"Error: \w+ = .*\n", done.stderr)
