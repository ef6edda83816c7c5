"""Rotated by the real logrotate, as deploy/logrotate has it, while clients make requests: no line is lost."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.live import ENGINE, Peer, head
from tests.processes import children, eventually, open_files
from tests.programs import Port, needs, running, substituted
from tests.traffic import Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [needs("logrotate"), pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

ACCESS = "%(s)s %(U)s"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)  # logrotate leaves alone what others may write to
    return folder


@contextmanager
def serving(logs: Path) -> Iterator[tuple[Port, int]]:
    """Run a server whose logs are files, both; give its port and its pid."""
    port = Port()
    pid = logs.parent / "master.pid"
    files = (
        "--access-logfile",
        f"{logs}/access.log",
        "--error-logfile",
        f"{logs}/error.log",
        "--pid",
        f"{pid}",
    )
    options = (*ENGINE, "-w", "2", "-b", port.text, "--access-logformat", ACCESS, *files)
    command = [sys.executable, "-m", "fastwsgi", *options, "tests.apps.traffic:app"]
    with running(command, logs.parent / "output", port) as process:
        yield port, process.pid
    assert process.returncode == 0


def rotate(logs: Path, example: str, *changes: tuple[str, str]) -> None:
    """Rotate now, whatever the time."""
    config = logs.parent / "logrotate.conf"
    config.write_text(substituted(f"logrotate/{example}", ("/var/log/app/", f"{logs}/"), *changes))
    config.chmod(0o644)
    command = ["logrotate", "--force", "--state", f"{logs.parent}/state", f"{config}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def written(logs: Path, name: str) -> bytes:
    """Return what is in a log and all that came of it."""
    found = b""
    for path in logs.iterdir():
        if path.name.startswith(name):
            found += gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return found


def has_left(master: int, path: Path) -> bool:
    """Return whether no process of the server has a file open any more."""
    for pid in (master, *children(master)):
        try:
            if os.fspath(path) in open_files(pid):
                return False
        except OSError:
            return False
    return True


def expected(load: Traffic) -> Counter[str]:
    answered = Counter({f"200 {path}": count for path, count in load.answered.items() if path != "/chunked"})
    answered["200 /echo"] += load.answered["/chunked"]
    return answered


@pytest.mark.alone
def test_usr1(logs: Path, rng: random.Random) -> None:
    with serving(logs) as (port, master), Traffic(port.address, seed=rng.getrandbits(32)) as load:
        load.wait_for(100)
        for _ in range(3):
            rotate(logs, "fastwsgi", ("/run/app/master.pid", f"{logs.parent}/master.pid"))
            for name in ("access", "error"):
                eventually(lambda name=name: has_left(master, logs / f"{name}.log.1"))  # type: ignore[misc]
            load.wait_for(100)
    assert load.failures == []
    assert sorted(path.name for path in logs.iterdir() if path.name.startswith("access")) == [
        "access.log",
        "access.log.1",
        "access.log.2.gz",
        "access.log.3.gz",
    ]
    served = Counter(written(logs, "access").decode().splitlines())
    assert load.late or served == expected(load)
    text = written(logs, "error").decode()
    assert text.count("Listening at: ") == text.count("Shutting down") == 1


def test_copytruncate(logs: Path) -> None:
    """What is written between copy and truncation is lost by logrotate; nothing else is, and there are no holes."""
    count = 0
    with serving(logs) as (port, _), Peer(port.address) as peer:
        for round_ in range(3):
            for number in range(20):
                peer.request(head(f"/?{round_}-{number}"))
                count += 1
            eventually(lambda count=count: written(logs, "access").count(b"\n") == count)  # type: ignore[misc]
            rotate(logs, "copytruncate")
        peer.request(head("/?last"))
    found = written(logs, "access")
    assert found == b"200 /\n" * (count + 1)
    assert (logs / "access.log").read_bytes() == b"200 /\n"
    assert b"\0" not in written(logs, "error")
