"""One deployment under two servers: what gunicorn does with it, this one does, too.

The same configuration file, application, requests and signals; compared is what clients, the access log and
scripts see.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import ENGINE, ROOT, LiveServer, head
from tests.processes import children, eventually

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("gunicorn")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(ENGINE != (), reason="gunicorn would be given the options, too"),
]

APP = "tests.apps.drop_in:app"

CONFIG = """
import os

workers = 2
control_socket_disable = True
threads = 2
worker_class = "gthread"
timeout = 20
graceful_timeout = 10
keepalive = 5
backlog = 128
max_requests = 10000
max_requests_jitter = 100
pidfile = "server.pid"
proc_name = "shop"
accesslog = "access.log"
access_log_format = '%(h)s %(l)s %(u)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %({x-who}i)s %({x-kind}o)s'
loglevel = "debug"
raw_env = ["SETTING=from the file"]
forwarded_allow_ips = "127.0.0.1"
limit_request_line = 4000
pythonpath = os.environ["CHECKOUT"]


def post_worker_init(worker):
    with open("ready", "a") as file:
        file.write(f"{worker.pid}\\n")
"""

REQUESTS = [
    head("/environ?a=1&b=%20c"),
    head("/environ", "X-Forwarded-Proto: https", "X-Who: me"),
    head("/a%20b%2Fc", 'Referer: http://x/"quoted"', "User-Agent: test/1.0"),
    head("/body", "Content-Length: 5", "Authorization: Basic dXNlcjpwYXNz", method="POST") + b"hello",
    head("/body", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
    head("/generator"),
    head("/generator", version="1.0"),
    head("/nothing", method="DELETE"),
    head("/error"),
]


class Deployment:
    """The deployment, under one of the servers."""

    def __init__(self, folder: Path, server: str) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "gunicorn.conf.py").write_text(CONFIG)
        self.server = LiveServer(
            APP,
            cwd=os.fspath(folder),
            command=(sys.executable, "-m", server),
            env={"CHECKOUT": os.fspath(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.server.allow_traceback = True  # of /error

    @property
    def ready(self) -> list[int]:
        """Workers that have loaded the application, ever."""
        path = self.folder / "ready"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_for_workers(self, count: int, *, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        """Return the workers once there are so many, all of them ready and none `without`."""

        def there() -> bool:
            pids = set(children(self.server.pid))
            return len(pids) == count and pids <= set(self.ready) and not pids & without

        eventually(there)
        return set(children(self.server.pid))

    def answers(self) -> list[Any]:
        """Return what is answered to each of the requests, but for what may differ."""
        found: list[Any] = []
        for request in REQUESTS:
            with self.server.connect() as peer:
                reply = peer.request(request)
            fields = sorted(
                (name.lower(), value)
                for name, value in reply.fields
                if name.lower() not in ("date", "server", "connection")
            )
            if reply.status >= 500:
                found.append(reply.status)  # the page is each server's own
            elif b"wsgi.version" in reply.body:
                found.append((reply.status, json.loads(reply.body) | {"cwd": None}))
            else:
                found.append((reply.status, reply.framing, fields, reply.body))
        return found

    def lines(self, name: str = "access.log") -> list[str]:
        """Return the lines of the access log so far, but for those of failures, whose pages differ."""
        text = (self.folder / name).read_text()
        return sorted(line for line in text.splitlines() if "/error" not in line)

    def signal(self, number: signal.Signals) -> None:
        os.kill(int((self.folder / "server.pid").read_text()), number)


def test_one_deployment_under_both(tmp_path: Path) -> None:
    seen = {}
    for name in ("gunicorn", "fastwsgi"):
        deployment = Deployment(tmp_path / name, name)
        with deployment.server:
            seen[name] = live_through(deployment)
        assert not (deployment.folder / "server.pid").exists()
    theirs, ours = seen["gunicorn"], seen["fastwsgi"]
    for what, value in theirs.items():
        for mine, its in zip(ours[what], value, strict=True):
            assert mine == its, what


def live_through(deployment: Deployment) -> dict[str, Any]:
    """Do what is done to a server in its life; return what was seen."""
    seen: dict[str, Any] = {}
    first = deployment.wait_for_workers(2)
    seen["answers"] = deployment.answers()
    eventually(lambda: len(deployment.lines()) == len(REQUESTS) - 1)
    seen["log"] = [re.sub(r"^127\.0\.0\.1", "client", line) for line in deployment.lines()]

    # A deploy script: new configuration, HUP.
    changed = CONFIG.replace("from the file", "after HUP").replace("workers = 2", "workers = 3")
    (deployment.folder / "gunicorn.conf.py").write_text(changed)
    deployment.signal(signal.SIGHUP)
    deployment.wait_for_workers(3, without=first)
    seen["after HUP"] = deployment.answers()

    # An operator: one more, two fewer.
    deployment.signal(signal.SIGTTIN)
    deployment.wait_for_workers(4, without=first)
    for count in (3, 2):  # one after the other: the system makes one of two signals that wait
        deployment.signal(signal.SIGTTOU)
        deployment.wait_for_workers(count, without=first)

    # logrotate: the file is moved away, and USR1 sent.
    eventually(lambda: len(deployment.lines()) == 2 * (len(REQUESTS) - 1))
    (deployment.folder / "access.log").rename(deployment.folder / "access.log.1")
    deployment.signal(signal.SIGUSR1)
    eventually((deployment.folder / "access.log").exists)

    def answered_into_the_new_file() -> bool:
        assert deployment.server.get("/rotated").status == 404
        return bool(deployment.lines())

    eventually(answered_into_the_new_file)
    seen["rotated"] = deployment.lines()[:1]
    return seen
