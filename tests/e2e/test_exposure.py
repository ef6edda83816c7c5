"""What others on the machine could get at: descriptors in programs that the app starts, and files' permissions."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import LiveServer, head
from tests.processes import end, eventually, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

APP = """
    import json, os, subprocess, sys

    LIST = "import os, json; print(json.dumps([os.listdir('/proc/self/fd'), sorted(os.environ)]))"

    def app(environ, start_response):
        status = os.fstat(environ["wsgi.input"].fileno())
        # close_fds is Python's own care; programs may be started in other ways.
        done = subprocess.run([sys.executable, "-c", LIST], close_fds=False, capture_output=True)
        numbers, names = json.loads(done.stdout)
        start_response("200 OK", [])
        spool = [status.st_mode, status.st_nlink]
        return [json.dumps({"descriptors": len(numbers), "names": names, "spool": spool}).encode()]
"""

PRIVATE = ("sh", "-c", 'umask 077; exec "$0" "$@"', sys.executable, "-m", "fastwsgi")


@pytest.fixture
def server(live: Callable[..., LiveServer], tmp_path: Path) -> LiveServer:
    (tmp_path / "exposed.py").write_text(textwrap.dedent(APP))
    files = ("access-logfile", "error-logfile", "pid")
    options = [word for name in files for word in (f"--{name}", f"{tmp_path}/{name}")]
    return live(
        "exposed:app",
        *("--body-buffer-size", "100", "-b", f"unix:{tmp_path}/app.sock", "-m", "0027"),
        *("--pythonpath", os.fspath(tmp_path), *options),
        command=PRIVATE,
        error_log=tmp_path / "error-logfile",
    )


def told(server: LiveServer) -> dict[str, Any]:
    body = b"x" * 1000
    reply = server.request(head("/", f"Content-Length: {len(body)}", method="POST") + body)
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def check(answer: dict[str, Any]) -> None:
    assert answer["descriptors"] == 4  # standard input, output, error, and the folder that is being read
    assert [name for name in answer["names"] if name.startswith(("LISTEN_", "FASTWSGI_UPGRADE"))] == []


def test_programs_that_the_app_starts_get_no_descriptor(server: LiveServer, tmp_path: Path) -> None:
    """Nor do they after an upgrade, which hands descriptors over."""
    check(told(server))
    server.send_signal(signal.SIGUSR2)
    eventually(lambda: "serves; end this one" in (tmp_path / "error-logfile").read_text())
    new = int((tmp_path / "pid.2").read_text())
    try:
        server.send_signal(signal.SIGTERM)
        wait_for_end(server.pid)
        check(told(server))
    finally:
        end(new)


def test_files_are_as_private_as_the_umask(server: LiveServer, tmp_path: Path) -> None:
    """The setting is for sockets alone; a pidfile may be read by all, or it would be of no use."""
    mode, links = told(server)["spool"]
    assert (stat.S_IMODE(mode), links) == (0o600, 0)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    expected = {"access-logfile": 0o600, "error-logfile": 0o600, "pid": 0o644, "app.sock": 0o750}
    assert {name: found[name] for name in expected} == expected
