"""What befalls a server while it serves: reloads, rotation, more and fewer workers, upgrades, killing, freezing.

One after the other, each waited for, and each with what must hold afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.live import head
from tests.processes import eventually, wait_for_end
from tests.soak.server import WORKERS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from tests.soak.server import Soaked

MOST_FAILURES: Final = 5
PAUSE: Final = 3.0
"""Seconds between two faults, at most."""

FROZEN: Final = 1.5
"""Seconds; less than any time-out of the server's."""


class Faults:
    """Those of one server. With `is_steady`, only such as leave its processes where they are."""

    def __init__(
        self,
        server: Soaked,
        seed: str,
        stop: threading.Event,
        *,
        upgrade_every: float,
        is_steady: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest_reload = 0.0
        self._server = server
        self._rng = random.Random(seed)
        self._stop = stop
        self._is_steady = is_steady
        self._upgrade_every = upgrade_every
        self._upgraded = time.monotonic() - upgrade_every / 2
        self._failed = 0

    def run(self) -> None:
        """Have one after the other, in an order that varies, each as often as its share."""
        every: list[Callable[[], None]] = [self.reload] * 3 + [self.rotate] * 2 + [self.kill] * 2
        every += [self.more_and_fewer, self.exit, self.freeze, self.freeze, self.freeze_master]
        every += [self.kill_in_a_reload, self.many_at_once]
        while not self._stop.wait(self._rng.uniform(1.0, PAUSE)) and self._failed < MOST_FAILURES:
            if self._is_steady:
                self._do(self.rotate)
                self._stop.wait(20)
                continue
            deck = every.copy()
            self._rng.shuffle(deck)
            for fault in deck:
                if time.monotonic() - self._upgraded > self._upgrade_every:
                    self._do(self._rng.choice((self.upgrade, self.upgrade_and_back)))
                    self._upgraded = time.monotonic()
                self._do(fault)
                if self._stop.wait(self._rng.uniform(0.5, PAUSE)) or self._failed >= MOST_FAILURES:
                    return

    def _do(self, fault: Callable[[], None]) -> None:
        name = fault.__name__.replace("_", " ")
        try:
            fault()
        except (OSError, AssertionError) as exc:
            self._failed += 1
            self._server.ledger.failed(f"fault: {name}: {exc!r}")
        else:
            self.counts[name] += 1

    # --- orders ----------------------------------------------------------------------------------------------

    def reload(self) -> None:
        began, old = time.monotonic(), self._server.wait_for_workers()
        self._reload()
        for pid in old:
            wait_for_end(pid)
        self.slowest_reload = max(self.slowest_reload, time.monotonic() - began)

    def _reload(self) -> None:
        start = self._server.line()
        self._server.send("HUP")
        self._server.live.wait_for_log(f"Reload complete, workers in service: {WORKERS}", start=start)

    def rotate(self) -> None:
        self._server.rotate()

    def more_and_fewer(self) -> None:
        self._server.send("TTIN")
        self._server.wait_for_workers(WORKERS + 1)
        self._server.send("TTOU")
        self._server.wait_for_workers()

    def many_at_once(self) -> None:
        """Send signals without waiting; a HUP makes up for what the numbers of workers have become."""
        start = self._server.line()
        for name in ("TTIN", "USR1", "HUP", "TTOU", "USR1", "HUP"):
            self._server.send(name)
        self._server.live.wait_for_log("Reload complete", start=start)
        self._server.wait_for_workers()

    def upgrade(self) -> None:
        server = self._server
        start, old = server.line(), server.master
        new = self._new_master()
        for name in ("WINCH", "TERM"):
            server.send(name, old)
        wait_for_end(old)
        server.live.wait_for_log("The old master is gone", start=start)
        self._reap(old)
        server.master = new
        server.wait_for_workers()

    def upgrade_and_back(self) -> None:
        server = self._server
        new = self._new_master()
        server.send("WINCH")
        eventually(lambda: server.workers() == [])
        start = server.line()
        server.send("HUP")
        server.live.wait_for_log("Reload complete", start=start)
        server.send("TERM", new)
        wait_for_end(new)
        server.wait_for_workers()

    def _new_master(self) -> int:
        start = self._server.line()
        self._server.send("USR2")
        return int(self._server.live.wait_for_log(r"The new master \(pid:(\d+)\) serves", start=start)[1])

    def _reap(self, old: int) -> None:
        if old == self._server.live.pid:
            code = self._server.live.process.wait()
        else:
            code = os.waitstatus_to_exitcode(os.waitpid(old, 0)[1])
        assert code == 0, f"the old master ended with exit code {code}"

    # --- misfortunes -----------------------------------------------------------------------------------------

    def kill(self) -> None:
        victim = self._rng.choice(self._server.wait_for_workers())
        start = self._server.line()
        self._kill(victim)
        self._server.live.wait_for_log(rf"\(pid:{victim}\) was killed by SIGKILL from outside", start=start)
        self._server.wait_for_workers(without=frozenset({victim}))

    def _kill(self, victim: int) -> None:
        self._server.ledger.expect_death(victim)
        self._server.send("KILL", victim)

    def kill_in_a_reload(self) -> None:
        old = self._server.wait_for_workers()
        start = self._server.line()
        self._server.send("HUP")
        self._kill(self._rng.choice(old))
        self._server.live.wait_for_log(f"Reload complete, workers in service: {WORKERS}", start=start)
        self._server.wait_for_workers(without=frozenset(old))

    def exit(self) -> None:
        """Have the app end its worker, with os._exit()."""
        server, ledger = self._server, self._server.ledger
        token, last = ledger.issue(), ledger.issue()
        start = server.line()
        with server.connect() as peer:
            reply = peer.request(head(f"/?{token.decode()}"))
            victim = int(reply.get("X-Worker") or 0)
            ledger.answered(token, "/", reply.status, victim, len(reply.body))
            ledger.left(last)
            if reply.get("Connection") == "close":
                return  # it stops already
            ledger.expect_death(victim)
            peer.send(head(f"/exit?{last.decode()}"))
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                assert peer.read_to_end() == b""
        server.live.wait_for_log(rf"\(pid:{victim}\) exited with code 7", start=start)
        server.wait_for_workers(without=frozenset({victim}))

    def freeze(self) -> None:
        self._freeze(self._rng.choice(self._server.wait_for_workers()))

    def freeze_master(self) -> None:
        self._freeze(self._server.master)

    def _freeze(self, pid: int) -> None:
        try:
            self._server.send("STOP", pid)
            self._stop.wait(FROZEN)
            self._server.send("CONT", pid)
        except ProcessLookupError:
            assert pid != self._server.master  # or it has served enough just now
