"""Lines to syslog, as they come out of a daemon's socket."""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fastwsgi.config.settings import Config
from fastwsgi.errors import ConfigError
from fastwsgi.logs import error_log
from tests.live import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("fresh_logs")


def listen(kind: socket.SocketKind, address: tuple[str, int] | str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, kind)
    sock.settimeout(DEADLINE)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def config(address: str, **settings: object) -> Config:
    values = {"syslog": True, "syslog_addr": address, "proc_name": "app:app", "loglevel": "debug", **settings}
    return Config(**values)  # type: ignore[arg-type]


def test_udp() -> None:
    with listen(socket.SOCK_DGRAM, ("127.0.0.1", 0)) as daemon:
        log = error_log.setup(config(f"udp://127.0.0.1:{daemon.getsockname()[1]}", syslog_facility="local3"))
        log.info("hello %s", "world")
        log.error("bad")
        assert daemon.recv(1000).decode() == f"<158>gunicorn.app.app.error: [{os.getpid()}] hello world\0"
        assert daemon.recv(1000).decode() == f"<155>gunicorn.app.app.error: [{os.getpid()}] bad\0"


@pytest.mark.parametrize("suffix", ["", "#dgram"])
def test_a_path_of_datagrams(tmp_path: Path, suffix: str) -> None:
    with listen(socket.SOCK_DGRAM, str(tmp_path / "log")) as daemon:
        error_log.setup(config(f"unix://{tmp_path}/log{suffix}", syslog_prefix="100%")).warning("x")
        assert daemon.recv(1000).decode() == f"<12>gunicorn.100%.error: [{os.getpid()}] x\0"


@pytest.mark.parametrize("suffix", ["", "#stream"])
def test_a_path_of_a_stream(tmp_path: Path, suffix: str) -> None:
    with listen(socket.SOCK_STREAM, str(tmp_path / "log")) as daemon:
        error_log.setup(config(f"unix://{tmp_path}/log{suffix}")).warning("x")
        with closing(daemon.accept()[0]) as peer:
            assert peer.recv(1000).endswith(b"x\0")


def test_tcp() -> None:
    with listen(socket.SOCK_STREAM, ("127.0.0.1", 0)) as daemon:
        log = error_log.setup(config(f"tcp://127.0.0.1:{daemon.getsockname()[1]}"))
        log.warning("1")
        log.warning("2")
        with closing(daemon.accept()[0]) as peer:
            got = b""
            while got.count(b"\0") < 2:
                got += peer.recv(1000)
    assert [line[-1:] for line in got.split(b"\0")] == [b"1", b"2", b""]


def test_a_daemon_that_is_away_is_told_once_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = str(tmp_path / "log")
    log = error_log.setup(config(f"unix://{path}"))
    log.info("1")
    log.info("2")
    err = capsys.readouterr().err
    assert err.count("lines to it are lost") == 1
    assert "[INFO] 1\n" in err
    with listen(socket.SOCK_DGRAM, path) as daemon:
        log.info("3")  # it is not looked for at each line
        now += 6
        log.info("4")
        assert daemon.recv(1000).endswith(b"] 4\0")
    (tmp_path / "log").unlink()
    with listen(socket.SOCK_DGRAM, path) as daemon:  # started anew
        log.info("5")
        assert daemon.recv(1000).endswith(b"] 5\0")
    assert "lost" not in capsys.readouterr().err


def test_nobody_there_by_tcp_or_name(capsys: pytest.CaptureFixture[str]) -> None:
    with listen(socket.SOCK_STREAM, ("127.0.0.1", 0)) as daemon:
        port = daemon.getsockname()[1]
    error_log.setup(config(f"tcp://127.0.0.1:{port}")).info("1")
    error_log.setup(config("udp://no-such-host.invalid")).info("2")
    assert capsys.readouterr().err.count("lines to it are lost") == 2


def test_a_forked_process_has_a_stream_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listen(socket.SOCK_STREAM, str(tmp_path / "log")) as daemon:
        log = error_log.setup(config(f"unix://{tmp_path}/log"))
        log.info("1")
        with closing(daemon.accept()[0]):
            pid = os.getpid()
            monkeypatch.setattr(os, "getpid", lambda: pid + 1)
            log.info("2")
            with closing(daemon.accept()[0]) as peer:
                assert peer.recv(1000).endswith(b"2\0")


def test_access_lines(tmp_path: Path) -> None:
    access = logging.getLogger("gunicorn.access")
    with listen(socket.SOCK_DGRAM, str(tmp_path / "log")) as daemon:
        error_log.setup(config(f"unix://{tmp_path}/log"))
        access = logging.getLogger("gunicorn.access")
        access.info("line")
        assert daemon.recv(1000).decode() == f"<14>gunicorn.app.app.access: [{os.getpid()}] line\0"
        error_log.setup(config(f"unix://{tmp_path}/log", disable_redirect_access_to_syslog=True))
        assert not access.hasHandlers()


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "unix:/dev/log", "unix://", "unix:///x#y", "tcp://h:x", "tcp://h:99999", "udp://[::1"],
)
def test_a_bad_address(address: str) -> None:
    with pytest.raises(ConfigError, match=r"syslog_addr = .*: must be unix://PATH"):
        error_log.setup(config(address))


def test_a_bad_facility() -> None:
    with pytest.raises(
        ConfigError, match=r"syslog_facility = 'x' \(default\): must be one of auth, authpriv"
    ):
        error_log.setup(config("udp://localhost", syslog_facility="x"))
