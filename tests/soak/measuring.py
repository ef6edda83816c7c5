"""What the processes of a server hold, over time, and whether that grows.

The rule. Of a process that lived for MEASURED seconds at least beyond a warm-up (the first third of its life, and WARM
seconds at least), the rest is halved. A figure grows if its floor (the lowest tenth) in the later half is above
that in the earlier one by more than is allowed, and the slope of a straight line through all samples, by least squares,
is upward. A floor is looked at since what a moment needs comes on top of what is kept. Memory is RssAnon: what the process
has written to itself, whoever else is there. Blocks are those that CPython has allocated (sys.getallocatedblocks), which show
a leak of a small object at once; an app of the soak tells them.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.processes import children, descriptors

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from tests.soak.server import Soaked

EVERY: Final = 2.0
WARM: Final = 20.0
MEASURED: Final = 30.0
ALLOWED: Final = {"master": 768, "worker": 1536, "blocks": 2000}
"""KiB, KiB, and blocks."""


class Growth(NamedTuple):
    """How a figure went: its floors, its slope per minute, and for how many seconds it was looked at."""

    earlier: float
    later: float
    slope: float
    seconds: float

    def exceeds(self, allowed: float) -> bool:
        return self.later - self.earlier > allowed and self.slope > 0


def growth(samples: Sequence[tuple[float, float]]) -> Growth | None:
    """Judge samples of (seconds, value); None if there are too few."""
    if not samples:
        return None
    born, last = samples[0][0], samples[-1][0]
    start = born + max(WARM, (last - born) / 3)
    rest = [sample for sample in samples if sample[0] >= start]
    if last - start < MEASURED or len(rest) < 10:
        return None
    middle = (start + last) / 2
    earlier = [value for when, value in rest if when < middle]
    later = [value for when, value in rest if when >= middle]
    return Growth(_floor(earlier), _floor(later), 60 * _slope(rest), last - start)


def _floor(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]


def _slope(samples: Sequence[tuple[float, float]]) -> float:
    n = len(samples)
    mean_x = sum(x for x, _ in samples) / n
    mean_y = sum(y for _, y in samples) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / sum((x - mean_x) ** 2 for x, _ in samples)


class Series(NamedTuple):
    """What was seen of one process."""

    role: str
    pid: int
    memory: list[tuple[float, float]]
    blocks: list[tuple[float, float]]


class Watch:
    """Looks at the processes of one server every now and then; asks it for blocks if `asks`."""

    def __init__(self, server: Soaked, stop: threading.Event, *, asks: bool) -> None:
        self.faults: list[str] = []
        self.series: dict[int, Series] = {}
        self.pss = 0  # KiB of all processes together, when last looked at
        self.most_descriptors = 0
        self.most_threads = 0
        self._server = server
        self._stop = stop
        self._asks = asks
        self._dead: set[int] = set()  # zombies, when last looked at

    def run(self) -> None:
        while not self._stop.wait(EVERY):
            self.look()

    def look(self) -> None:
        """Take one sample of each process."""
        server = self._server
        workers = server.workers()
        self._take("master", server.master)
        for pid in workers:
            self._take("worker", pid)
        self.pss = sum(_pss(pid) for pid in (server.master, *workers))
        dead = {pid for pid in children(server.master) if _state(pid) == "Z"}
        for pid in dead & self._dead:
            self.faults.append(f"process {pid} has ended, and the master does not collect it")
        self._dead = dead
        if self._asks:
            with contextlib.suppress(OSError, AssertionError):  # a client's view is the clients' to tell
                held = json.loads(server.get(b"/held"))
                if held["pid"] in self.series:
                    self.series[held["pid"]].blocks.append((time.monotonic(), held["blocks"]))

    def _take(self, role: str, pid: int) -> None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            open_ones = descriptors(pid)
        except OSError:
            return
        memory = re.search(r"RssAnon:\s+(\d+)", status)
        threads = re.search(r"Threads:\s+(\d+)", status)
        if not memory or not threads:
            return  # it has just ended
        series = self.series.setdefault(pid, Series(role, pid, [], []))
        series.memory.append((time.monotonic(), float(memory[1])))
        self.most_descriptors = max(self.most_descriptors, open_ones)
        self.most_threads = max(self.most_threads, int(threads[1]))

    def verdicts(self) -> list[tuple[Series, str, Growth, bool]]:
        """Return what was long enough looked at: of whom, which figure, how it went, whether it grows."""
        found = []
        for series in self.series.values():
            for figure, samples in (("KiB", series.memory), ("blocks", series.blocks)):
                if judged := growth(samples):
                    allowed = ALLOWED[series.role if figure == "KiB" else figure]
                    found.append((series, figure, judged, judged.exceeds(allowed)))
        return found


def _pss(pid: int) -> int:
    try:
        match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
