"""Clients that load a server, with every request accounted for.

What counts as a failure. A client sends only on a connection that was in use less than PATIENCE seconds ago;
the server keeps such connections open even when it stops (its last call takes a second). So nothing is tried
a second time: a request that is not answered whole, and as it must be, is a failure, as is a connection that
cannot be made. Two things are told apart from failures, and counted: a client that was itself kept from
running for so long that the server was free to close (`late`; `gave_up` if it saw that in time), and, once `expect_the_end()` was called,
connections begun after that which nobody took any more (`refused`).
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.apps.traffic import expected
from tests.live import Peer, Reply, head
from tests.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

PATIENCE: Final = 0.8
"""Seconds; below the server's last call of one, and below any keep-alive used with these clients."""

MOST_FAILURES: Final = 50
LONGEST: Final = 600.0
"""Seconds after which clients stop of themselves."""

PATHS: Final = ("/",) * 6 + ("/stream", "/write", "/big", "/echo", "/chunked", "/pause")


class Failure(NamedTuple):
    """A request without its answer, and the worker that answered before on its connection (0: nobody yet)."""

    worker: int
    what: str


def request_for(path: str, token: bytes) -> bytes:
    """Return a request that is to be answered with `expected(path, token)`."""
    if path == "/echo":
        return head("/echo", f"Content-Length: {len(token)}", method="POST") + token
    if path == "/chunked":
        pieces = (token[:3], token[3:])
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return head("/echo", "Transfer-Encoding: chunked", method="POST") + body + b"0\r\n\r\n"
    return head(f"{path}?{token.decode()}")


def fault_of(reply: Reply, path: str, token: bytes) -> str:
    """Return what is wrong with an answer; nothing if it is right."""
    if reply.status != 200:
        return f"status {reply.status} for {path}"
    if reply.body != expected(path, token):
        return f"{len(reply.body)} other bytes than expected for {path}: {reply.body[:60]!r}"
    return ""


class Traffic:
    """Threads that make requests in a `with` block, each on a connection that it keeps while it may.

    They ask for `paths`. `one_shot` clients use a connection once. After `most` requests each, or LONGEST seconds, clients stop.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        clients: int = 12,
        one_shot: int = 2,
        most: int = 100_000,
        seed: int = 0,
        paths: Sequence[str] = PATHS,
    ) -> None:
        self.answered: Counter[str] = Counter()  # by path
        self.failures: list[Failure] = []
        self.connections = 0
        self.told_to_close = 0
        self.late = 0
        self.gave_up = 0
        self.refused = 0
        self.holders: dict[int, int] = {}  # which worker answered last on the open connection of a client
        self._address = address
        self._one_shot, self._most, self._seed = one_shot, most, seed
        self._paths = paths
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        with self._lock:
            return self.answered.total()

    def expect_the_end(self) -> None:
        """From now on nobody need take a new connection; what is open already is to be answered."""
        self._ending.set()

    def wait_for(self, count: int) -> None:
        """Return when `count` more requests were answered, or as soon as something failed."""
        goal = self.total + count
        eventually(lambda: self.total >= goal or bool(self.failures))

    def wait_for_everyone(self) -> dict[int, int]:
        """Return who holds which client's connection, once every client that keeps its own has one."""
        wanted = len(self._threads) - self._one_shot
        eventually(lambda: len(self._held()) == wanted or bool(self.failures))
        return self._held()

    def _held(self) -> dict[int, int]:
        with self._lock:
            return {number: pid for number, pid in self.holders.items() if number >= self._one_shot}

    def _run(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        end = time.monotonic() + LONGEST
        left = self._most
        while left > 0 and not self._stop.is_set() and time.monotonic() < end:
            if len(self.failures) >= MOST_FAILURES:
                return
            is_early = not self._ending.is_set()
            try:
                peer = Peer(self._address)
            except OSError as exc:
                self._lost(0, f"connect: {exc!r}", is_early=is_early)
                if not is_early:
                    return
                continue
            # Only a connection that was there before the word is sure to be taken.
            is_early = not self._ending.is_set()
            with self._lock:
                self.connections += 1
            with peer:
                used = self._use(peer, number, rng, 1 if number < self._one_shot else left, is_early=is_early)
            left -= max(used, 1)
            with self._lock:
                self.holders.pop(number, None)
            if not is_early and not used:
                return

    def _use(self, peer: Peer, number: int, rng: random.Random, most: int, *, is_early: bool) -> int:
        """Make requests on a connection until it is to be closed; return how many were answered."""
        worker, rest = 0, time.monotonic()
        for done in range(most):
            if self._stop.is_set():
                return done
            if time.monotonic() - rest > PATIENCE:
                with self._lock:
                    self.gave_up += 1
                return done
            path = rng.choice(self._paths)
            token = b"%d-%016x" % (number, rng.getrandbits(64))
            waited = 0.0
            try:
                peer.send(request_for(path, token))
                waited = time.monotonic() - rest
                reply = peer.response()
                closes = reply.get("Connection") == "close"
                if closes:
                    assert peer.read_to_end() == b"", "bytes after the last answer"
            except (OSError, AssertionError) as exc:
                if waited > PATIENCE:
                    with self._lock:
                        self.late += 1
                else:
                    self._lost(worker, f"{path}: {exc!r}", is_early=is_early or done > 0)
                return done
            if fault := fault_of(reply, path, token):
                self._lost(worker, fault, is_early=True)
                return done
            worker = int(reply.get("X-Worker") or 0)
            with self._lock:
                self.answered[path] += 1
                self.told_to_close += closes
                self.holders[number] = worker
            if closes:
                return done + 1
            rest = time.monotonic()
            if rng.random() < 0.2:
                self._stop.wait(rng.random() * 0.05)
        return most

    def _lost(self, worker: int, what: str, *, is_early: bool) -> None:
        with self._lock:
            if is_early:
                self.failures.append(Failure(worker, what))
            else:
                self.refused += 1
