"""A file system without room: requests get 503 or are answered, the loss is told once, and all recovers.

/dev/full is a full one to whoever writes to it; RLIMIT_FSIZE, where each file may have so many bytes and SIGXFSZ is
ignored, as Python does, is one that has room for small files. Both are there without root.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer, head
from tests.processes import children, eventually, open_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APP = "tests.apps.traffic:app"
ROOM = 100_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="has /dev/full, and prlimit(2)")


def upload(nbytes: int, framing: str) -> bytes:
    body = b"x" * nbytes
    if framing == "chunked":
        return head("/echo", "Transfer-Encoding: chunked", method="POST") + b"%x\r\n%b\r\n0\r\n\r\n" % (
            nbytes,
            body,
        )
    return head("/echo", f"Content-Length: {nbytes}", method="POST") + body


def the_worker(server: LiveServer) -> int:
    assert server.get("/?x").status == 200  # so it is there
    (worker,) = children(server.pid)
    return worker


def limit(pid: int, nbytes: int) -> None:
    """Let no file of a process have more bytes."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (nbytes, most))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_spool_on_a_full_disk(live: Callable[..., LiveServer], framing: str) -> None:
    server = live(APP, "--body-buffer-size", "1000")
    worker = the_worker(server)
    assert server.request(upload(3 * ROOM, framing)).status == 200
    count = len(open_files(worker))
    limit(worker, ROOM)
    for _ in range(20):
        with server.connect() as peer:
            peer.send(upload(3 * ROOM, framing))
            assert peer.response().status == 503
            assert peer.is_closed()
    eventually(lambda: len(open_files(worker)) <= count)  # some may still wait for the client's end
    assert server.request(upload(2000, framing)).body == b"x" * 2000  # for which there is room
    limit(worker, resource.RLIM_INFINITY)
    assert server.request(upload(3 * ROOM, framing)).body == b"x" * (3 * ROOM)
    assert children(server.pid) == [worker]


def test_access_log_on_a_full_disk(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    """Who asks is answered, and that lines are lost is told once; with room again, so is how many."""
    path = tmp_path / "access"
    server = live(APP, "--access-logfile", str(path))
    worker = the_worker(server)
    server.get("/?x")
    limit(worker, path.stat().st_size)
    for _ in range(50):
        assert server.get("/?x").body == b"x"
    server.wait_for_log(r"access log: cannot write: ")
    assert server.log.text.count("access log: cannot write") == 1
    limit(worker, resource.RLIM_INFINITY)
    assert server.get("/?again").body == b"again"
    server.wait_for_log(r"access log: writing works again; \d+ lines were lost")
    eventually(lambda: "again" in path.read_text())


def test_access_log_that_is_full_from_the_start(live: Callable[..., LiveServer]) -> None:
    server = live(APP, "--access-logfile", "/dev/full")
    for _ in range(10):
        assert server.get("/?x").body == b"x"
    server.wait_for_log("access log: cannot write: No space left on device")
    assert server.log.text.count("access log: cannot write") == 1


def test_error_log_on_a_full_disk(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = live(APP, "--error-logfile", str(log), error_log=log)
    server.allow_traceback = True
    worker = the_worker(server)
    for pid in (server.pid, worker):
        limit(pid, log.stat().st_size)
    for _ in range(10):
        assert server.get("/error").status == 500  # which there is no room to tell
        assert server.get("/?x").body == b"x"
    assert children(server.pid) == [worker]
    limit(worker, resource.RLIM_INFINITY)
    server.get("/error")
    assert "Fails" in log.read_text()
