"""What has become of every request, as its client saw it and as the access log has it; and what must not be.

A request has a token, which is its query, and a fate:

- answered: exactly one line, with this status and as many bytes;
- left, by a client that did not wait for the answer: one line at most;
- untaken, sent behind one whose answer said that the connection closes: no line;
- refused, so early that its query may not be known: a line with this status, with the token or without;
- lost: a failure, unless a worker was killed just then that had it, or may have had it. Then one line at most.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FORMAT: Final = "%(p)s %(s)s %(B)s %(q)s %(m)s %(U)s"
"""Of the access log's lines."""

MOST_FAILURES: Final = 50
"""After so many, more of them would tell nothing new."""

_LINE: Final = re.compile(rb"<(\d+)> (\d{3}) (\d+|-) (\S*) \S* ?(.*)")
_SLACK: Final = 0.5
_LINES_OF_THE_DEAD: Final = 5.0
"""Seconds before its death that a killed worker may have answered requests whose lines it had not yet written."""

LEFT: Final = 0
UNTAKEN: Final = -1
REFUSED: Final = -2


class Death(NamedTuple):
    """The end of a worker that was killed, or exited, on purpose."""

    worker: int
    when: float


class Answer(NamedTuple):
    """What a client was answered; `nbytes` is -1 if its body was not counted."""

    status: int
    nbytes: int
    worker: int
    when: float


class Ledger:
    """The accounts of one server. Any thread may write to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: Counter[str] = Counter()  # of requests answered, and of what else clients did
        self.failures: list[str] = []
        self.excused: Counter[Death] = Counter()
        self.lines = 0
        self.asked = 0
        self.answers = 0
        self.lines_excused = 0
        self._lock = threading.Lock()
        self._deaths: list[Death] = []
        self._open: set[bytes] = set()  # the fate is not known yet
        self._answered: dict[bytes, Answer] = {}  # the line has not been seen yet
        self._other: dict[bytes, int] = {}  # LEFT, UNTAKEN or REFUSED, and no line seen
        self._early: dict[bytes, tuple[int, int]] = {}  # status and bytes of a line whose request is open
        self._refusals: Counter[int] = Counter()  # seen by clients, by status
        self._refusal_lines: Counter[int] = Counter()
        self._unseen = 0

    # --- clients ---------------------------------------------------------------------------------------------

    def issue(self) -> bytes:
        """Return the token of a new request."""
        with self._lock:
            self.asked += 1
            token = b"%b-%d." % (self.name.encode(), self.asked)
            self._open.add(token)
            return token

    def answered(self, token: bytes, kind: str, status: int, worker: int = 0, nbytes: int = -1) -> None:
        """Note an answer; `worker` is 0 if it is not known whose."""
        answer = Answer(status, nbytes, worker, time.monotonic())
        with self._lock:
            self.answers += 1
            self.kinds[kind] += 1
            self._open.discard(token)
            if line := self._early.pop(token, None):
                self._compare(token, answer, *line)
            else:
                self._answered[token] = answer

    def left(self, token: bytes, fate: int = LEFT) -> None:
        """Note a request whose answer nobody waited for, or (UNTAKEN) to which none is due."""
        with self._lock:
            self._open.discard(token)
            if line := self._early.pop(token, None):
                self._settle_other(token, fate, line[0])
            else:
                self._other[token] = fate

    def refused(self, status: int, token: bytes = b"") -> None:
        """Note a refusal, of a request that may have a token."""
        with self._lock:
            self._refusals[status] += 1
        if token:
            self.left(token, REFUSED)

    def unseen(self) -> None:
        """Note that something without a token was sent which may be refused unseen."""
        with self._lock:
            self._unseen += 1

    def did(self, what: str) -> None:
        """Count something that a client did."""
        with self._lock:
            self.kinds[what] += 1

    def lost(self, tokens: Iterable[bytes], what: str, *, since: float, worker: int = 0) -> None:
        """Note that a connection ended before its answers.

        Args:
            tokens: of the requests that were not answered.
            what: how the client saw it.
            since: when the connection was last known to be good.
            worker: who answered on it before; 0 for nobody.
        """
        for token in tokens:
            self.left(token)
        with self._lock:
            now = time.monotonic()
            for death in self._deaths:
                if since - _SLACK <= death.when <= now and worker in {0, death.worker}:
                    self.excused[death] += 1
                    return
        self.failed(what)

    def failed(self, what: str) -> None:
        """Note what must not be."""
        with self._lock:
            self.failures.append(f"{time.monotonic():.1f} {what}"[:300])

    def expect_death(self, worker: int) -> None:
        """Say that a worker is killed now, or told to exit: to be said before."""
        with self._lock:
            self._deaths.append(Death(worker, time.monotonic()))

    @property
    def deaths(self) -> int:
        return len(self._deaths)

    # --- the access log --------------------------------------------------------------------------------------

    def read(self, path: Path) -> None:
        """Take the lines of a file that nobody writes to any more."""
        with path.open("rb") as file:
            for line in file:
                with self._lock:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        self.lines += 1
        match = _LINE.fullmatch(line.rstrip(b"\n"))
        if not match or not line.endswith(b"\n"):
            self.failures.append(f"a line is broken: {line[:200]!r}")
            return
        status, token = int(match[2]), match[4]
        nbytes = 0 if match[3] == b"-" else int(match[3])
        if b"smuggled" in match[5]:
            self.failures.append(f"smuggled: {line!r}")
        if token in self._open:
            if token in self._early:
                self.failures.append(f"a second line: {line!r}")
            self._early[token] = (status, nbytes)
        elif token in self._answered:
            self._compare(token, self._answered.pop(token), status, nbytes)
        elif token in self._other:
            self._settle_other(token, self._other.pop(token), status)
        elif token.startswith(self.name.encode() + b"-") and token.endswith(b"."):
            self.failures.append(f"a second line, or one for nobody: {line!r}")
        else:
            self._refusal_lines[status] += 1

    def _compare(self, token: bytes, answer: Answer, status: int, nbytes: int) -> None:
        if answer.status != status or answer.nbytes not in {-1, nbytes}:
            self.failures.append(f"{token!r} was {answer}; its line has {status} and {nbytes} bytes")

    def _settle_other(self, token: bytes, fate: int, status: int) -> None:
        if fate == UNTAKEN:
            self.failures.append(
                f"{token!r} came behind the last of its connection, and has a line: {status}"
            )
        elif fate == REFUSED:
            self._refusal_lines[status] += 1

    def close(self) -> list[str]:
        """Return all that must not be, once all clients have gone and all lines were read."""
        found = list(self.failures)
        missing = [
            (token, answer) for token, answer in self._answered.items() if not self._may_have_died(answer)
        ]
        self.lines_excused = len(self._answered) - len(missing)
        found += [f"no line for {token!r}: {answer}" for token, answer in missing[:MOST_FAILURES]]
        if len(missing) > MOST_FAILURES:
            found.append(f"no line for {len(missing)} requests in all")
        if self._open:
            found.append(f"{len(self._open)} requests without a fate, such as {next(iter(self._open))!r}")
        # Those of the dead cannot be told one by one, since they have no token.
        allowed = sum(self.excused.values()) + 5 * len(self._deaths)
        for status, count in self._refusals.items():
            if self._refusal_lines[status] < count - allowed:
                found.append(f"{count} were refused with {status}, {self._refusal_lines[status]} have a line")
        told, written = self._refusals.total() + self._unseen, self._refusal_lines.total()
        if written > told + sum(self.excused.values()):
            found.append(f"{written} lines of refused requests, and {told} can have been refused")
        return found

    def _may_have_died(self, answer: Answer) -> bool:
        return any(
            answer.worker in {0, death.worker}
            and death.when - _LINES_OF_THE_DEAD <= answer.when <= death.when + _SLACK
            for death in self._deaths
        )
