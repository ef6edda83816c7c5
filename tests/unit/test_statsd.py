"""Figures for statsd, as they come out of a socket."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.config.settings import Config
from fastwsgi.errors import ConfigError
from fastwsgi.logs import error_log
from fastwsgi.logs.statsd import Statsd
from tests.live import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Statsd]

pytestmark = pytest.mark.usefixtures("fresh_logs")


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(DEADLINE)
        yield sock


@pytest.fixture
def make() -> Iterator[Callable[..., Statsd]]:
    """Make clients that are closed when the test ends; for a daemon or an address."""
    made: list[Statsd] = []

    def client(daemon: socket.socket | str, **settings: Any) -> Statsd:
        where = daemon if isinstance(daemon, str) else f"127.0.0.1:{daemon.getsockname()[1]}"
        made.append(Statsd(Config(statsd_host=where, **settings)))
        return made[-1]

    yield client
    for each in made:
        each.close()


def finish(statsd: Statsd, status: str = "200 OK", seconds: float = 0.0123456) -> None:
    statsd.log({}, status, None, 5, seconds)


def lines(daemon: socket.socket) -> list[str]:
    return daemon.recv(65536).decode().split("\n")


REQUEST = [
    "gunicorn.request.duration:12.346|ms",
    "gunicorn.requests:1|c|@1.0",
    "gunicorn.request.status.200:1|c|@1.0",
]


def test_requests_of_a_batch_are_one_datagram(daemon: socket.socket, make: Make) -> None:
    statsd = make(daemon)
    finish(statsd)
    finish(statsd)
    statsd.flush()
    assert lines(daemon) == REQUEST * 2
    statsd.flush()
    finish(statsd, "503 Service Unavailable")
    statsd.close()
    assert lines(daemon)[2] == "gunicorn.request.status.503:1|c|@1.0"


def test_a_long_batch_is_several_datagrams_of_whole_lines(daemon: socket.socket, make: Make) -> None:
    statsd = make(daemon)
    for _ in range(100):
        finish(statsd)
    statsd.flush()
    got: list[str] = []
    while len(got) < 300:
        datagram = daemon.recv(65536)
        assert len(datagram) <= 1432
        got += datagram.decode().split("\n")
    assert got == REQUEST * 100


def test_what_is_not_flushed_does_not_grow_for_ever(daemon: socket.socket, make: Make) -> None:
    statsd = make(daemon)
    for _ in range(500):
        finish(statsd)
    assert lines(daemon)[:3] == REQUEST


def test_other_figures_go_out_at_once(daemon: socket.socket, make: Make) -> None:
    statsd = make(daemon)
    statsd.gauge("g", 5)
    statsd.increment("c", 2)
    statsd.decrement("c", 3, 0.5)
    statsd.timer("t", 1.5)
    statsd.histogram("h", 7)
    assert [daemon.recv(100) for _ in range(5)] == [
        b"g:5|g",
        b"c:2|c|@1.0",
        b"c:-3|c|@0.5",
        b"t:1.5|ms",
        b"h:7|h",
    ]


@pytest.mark.parametrize(
    ("prefix", "expected"), [("", ""), ("app", "app."), ("app.", "app."), ("a.b..", "a.b.")]
)
def test_prefix(daemon: socket.socket, make: Make, prefix: str, expected: str) -> None:
    make(daemon, statsd_prefix=prefix).gauge("g", 1)
    assert daemon.recv(100).decode() == f"{expected}g:1|g"


def test_tags(daemon: socket.socket, make: Make) -> None:
    make(daemon, dogstatsd_tags=("env:prod", "zone:1")).increment("c", 1)
    assert daemon.recv(100) == b"c:1|c|@1.0|#env:prod,zone:1"


def test_a_path(tmp_path: Path, make: Make) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "statsd"))
        daemon.settimeout(DEADLINE)
        make(f"unix://{tmp_path}/statsd").gauge("g", 1)
        assert daemon.recv(100) == b"g:1|g"


def test_a_daemon_that_is_away_or_full_costs_nothing(tmp_path: Path, make: Make) -> None:
    statsd = make(f"unix://{tmp_path}/nobody")
    finish(statsd)
    statsd.flush()
    statsd.gauge("g", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "full"))
        statsd = make(f"unix://{tmp_path}/full")
        for _ in range(10_000):  # nobody reads: a socket that blocks would never return
            statsd.gauge("g", 1)


def test_a_host_that_is_not_found_is_told_and_no_more(caplog: pytest.LogCaptureFixture, make: Make) -> None:
    logging.getLogger("fastwsgi.error").propagate = True
    make("no-such-host.invalid:8125").gauge("g", 1)
    assert "cannot be found" in caplog.text


@pytest.mark.parametrize("address", ["h:p", "h:99999", "a:b:c", "[::1", "unix://"])
def test_a_bad_address(address: str, make: Make) -> None:
    with pytest.raises(ConfigError, match=r"statsd_host = .*: must be HOST:PORT or unix://PATH"):
        make(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "unix:8125"])
def test_a_port_is_not_needed_and_a_host_may_be_named_unix(address: str, make: Make) -> None:
    make(address)


def test_lines_of_the_error_log_are_counted(daemon: socket.socket) -> None:
    log = error_log.setup(Config(statsd_host=f"127.0.0.1:{daemon.getsockname()[1]}", loglevel="critical"))
    log.info("nothing")
    log.warning("x")
    log.error("x")
    log.critical("x")
    try:
        raise ValueError
    except ValueError:
        log.exception("x")
    assert [daemon.recv(100).decode().split(":")[0] for _ in range(4)] == [
        "gunicorn.log.warning",
        "gunicorn.log.error",
        "gunicorn.log.critical",
        "gunicorn.log.exception",
    ]


def test_figures_of_lines_are_sent_whatever_the_level(daemon: socket.socket) -> None:
    log = error_log.setup(Config(statsd_host=f"127.0.0.1:{daemon.getsockname()[1]}"))
    for kind in ("gauge", "counter", "histogram", "timer", "nothing"):
        log.debug("", extra={"metric": "my", "value": 0, "mtype": kind})
    log.info("words", extra={"other": 1})
    log.debug("", extra={"metric": "end", "value": 1, "mtype": "gauge"})
    assert [daemon.recv(100) for _ in range(5)] == [
        b"my:0|g",
        b"my:0|c|@1.0",
        b"my:0|h",
        b"my:0|ms",
        b"end:1|g",
    ]
