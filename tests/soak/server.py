"""A server that is soaked: its processes, who of them is in charge, its addresses, its logs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Final

from tests.apps.soaking import DOWNLOAD
from tests.live import LiveServer, Peer
from tests.processes import children, descriptors, eventually, open_files
from tests.soak.accounting import FORMAT, Ledger

if TYPE_CHECKING:
    import random
    import ssl
    from pathlib import Path

    from tests.certificates import Authority

WORKERS: Final = 2
MOST_BODY: Final = 1_000_000
PATIENT: Final = 5
"""Seconds that the server waits for a client; clients that are good take less, on a busy machine too."""

KINDS: Final = {"inline": (), "threads": ("--threads", "4"), "gevent": ("-k", "gevent")}
SETTINGS: Final = (
    *("--workers", str(WORKERS), "--log-level", "debug", "--access-logformat", FORMAT),
    *("--keep-alive", str(PATIENT), "--header-timeout", str(PATIENT), "--body-timeout", str(PATIENT)),
    *("--write-timeout", str(PATIENT)),
    *("--body-buffer-size", "65536", "--limit-request-body", str(MOST_BODY)),
)
MUST_NOT_BE_LOGGED: Final = re.compile(
    r"Error in the server itself|WORKER TIMEOUT|crashed with|Reload (failed|ended|refused)|Upgrade failed"
    r"|exited with code (?!7\b)|the master's SIG(KILL|ABRT)|fails$|CRITICAL|The master is gone"
)
_KILLED: Final = re.compile(r"Worker .*(was killed by SIGKILL from outside|exited with code 7)")


class Soaked:
    """A running server of one kind, such as "threads-tls", with its accounts.

    `master` is the pid of the master in charge, which an upgrade replaces.
    """

    def __init__(self, kind: str, number: int, folder: Path, authority: Authority | None, *args: str) -> None:
        engine, _, tls = kind.partition("-")
        self.kind = kind
        self.takes_over = engine != "inline"  # an app may take connections over: WebSockets
        self.ledger = Ledger(f"s{number}")
        self.folder = folder / f"{number}-{kind}"
        self.spool = self.folder / "spool"
        self.spool.mkdir(parents=True)
        self.log = self.folder / "access.log"
        self._socket = os.fspath(self.folder / "app.sock")
        self.tls: ssl.SSLContext | None = None
        secure: tuple[str, ...] = ()
        if tls:
            assert authority
            secure, self.tls = authority.issue().arguments, authority.client()
        self._rotations = 0
        self._looked = 0
        self._ready: set[int] = set()
        self.live = LiveServer(
            "tests.apps.soaking:app",
            *(*KINDS[engine], *SETTINGS, *secure, *args),
            *("--access-logfile", os.fspath(self.log), "-b", f"unix:{self._socket}"),
            env={"TMPDIR": os.fspath(self.spool), DOWNLOAD: os.fspath(folder / "download")},
            tls=self.tls,
        )
        self.master = self.live.pid
        self.wait_for_workers()
        for _ in range(10):
            self.get(b"/")
        self.fresh = max(descriptors(pid) for pid in self.workers())
        self.fresh_master = descriptors(self.master)

    # --- clients ---------------------------------------------------------------------------------------------

    def connect(self, rng: random.Random | None = None, *, receive_buffer: int = 0) -> Peer:
        """Connect to one of its addresses; TLS is begun where it is spoken."""
        return Peer(self.address(rng), receive_buffer=receive_buffer, tls=self.tls)

    def address(self, rng: random.Random | None = None) -> tuple[str, int] | str:
        return self._socket if rng is not None and rng.random() < 0.3 else self.live.address

    def get(self, path: bytes) -> bytes:
        """Ask once, with a token, and return the body."""
        token = self.ledger.issue()
        with self.connect() as peer:
            reply = peer.request(
                b"GET %b?%b HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" % (path, token)
            )
        assert reply.status == 200
        self.ledger.answered(token, path.decode(), 200, int(reply.get("X-Worker") or 0), len(reply.body))
        return reply.body

    # --- processes -------------------------------------------------------------------------------------------

    def send(self, name: str, pid: int = 0) -> None:
        os.kill(pid or self.master, getattr(signal, f"SIG{name}"))

    def _look(self) -> None:
        lines = self.live.log.lines
        for line in lines[self._looked :]:
            self._looked += 1
            if match := re.search(r"Worker \(pid:(\d+)\) is ready", line):
                self._ready.add(int(match[1]))

    def workers(self, master: int = 0) -> list[int]:
        """Return the workers of the master that are ready, those that stop among them."""
        self._look()
        return [pid for pid in children(master or self.master) if pid in self._ready]

    def processes(self) -> list[int]:
        """Return all there are: the masters and all that is below them."""
        found, new = [], [self.master]
        while new:
            found += new
            new = [child for pid in new for child in children(pid)]
        return found

    def wait_for_workers(self, count: int = WORKERS, without: frozenset[int] = frozenset()) -> list[int]:
        """Return the workers, once there are so many, all ready and none of `without`."""

        def they_are_there() -> bool:
            pids = children(self.master)
            return len(pids) == count == len(self.workers()) and not without & set(pids)

        eventually(they_are_there)
        return self.workers()

    def line(self) -> int:
        """Return the number of the next line of the error log."""
        return len(self.live.log.lines)

    # --- logs ------------------------------------------------------------------------------------------------

    def rotate(self) -> None:
        """Have the log rotated, and account for what is in the old file once nobody has it open."""
        self._rotations += 1
        old = self.folder / f"access.log.{self._rotations}"
        self.log.rename(old)
        self.send("USR1")

        def all_have_left() -> bool:
            return all(os.fspath(old) not in _files(pid) for pid in self.processes())

        eventually(all_have_left)
        self.ledger.read(old)
        old.unlink()

    # --- the end ---------------------------------------------------------------------------------------------

    def settle(self) -> list[str]:
        """Return what is left in processes that has to be gone once all clients have."""
        found = []
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._held():
            time.sleep(0.2)
        found += self._held()
        found += [f"the spool file {path.name} is left" for path in self.spool.iterdir()]
        return found

    def _held(self) -> list[str]:
        found = []
        for pid in self.workers():
            with contextlib.suppress(OSError):
                if (count := descriptors(pid)) > self.fresh:
                    found.append(f"worker {pid} holds {count} descriptors, a fresh one {self.fresh}")
                found += [
                    f"worker {pid} holds {name}" for name in _files(pid) if os.fspath(self.spool) in name
                ]
        if (count := descriptors(self.master)) > self.fresh_master:
            found.append(f"master {self.master} holds {count} descriptors, {self.fresh_master} at the start")
        return found

    def stop(self) -> list[str]:
        """End it; return what was wrong with that, and what was logged that must not be."""
        found = []
        self.live.allow_traceback = True  # of the app, which is asked for it
        try:
            self.send("TERM")
            if self.master != self.live.pid:
                code = os.waitstatus_to_exitcode(os.waitpid(self.master, 0)[1])
                if code:
                    found.append(f"the last master ended with exit code {code}")
            self.live.stop()
        except (AssertionError, OSError) as exc:
            found.append(f"at the end: {exc}"[:500])
        self.ledger.read(self.log)
        lines = self.live.log.lines
        found += [f"log: {line}" for line in lines if MUST_NOT_BE_LOGGED.search(line)]
        killed = sum(bool(_KILLED.search(line)) for line in lines)
        if killed != self.ledger.deaths:
            found.append(f"{self.ledger.deaths} workers were killed, and the log tells of {killed}")
        told = self.ledger.kinds["meets_an_error: 500"]
        errors = sum("Error handling request GET /error?" in line for line in lines)
        if errors < told:
            found.append(f"{told} errors of the app were answered, and {errors} logged")
        return found

    def kill(self) -> None:
        """End all that is left of it, at once."""
        for pid in self.processes():
            if pid != self.live.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.live.kill()


def _files(pid: int) -> list[str]:
    try:
        return open_files(pid)
    except OSError:
        return []
