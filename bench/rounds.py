"""Rounds become rows: what one load measured, and the medians of those that count."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .load import Counts
    from .processes import Usage

__all__ = ["Round", "Row"]


@dataclass(frozen=True)
class Round:
    """One load on one server.

    `spent` is what its processes used from before wrk to after it. `foreign` is the share of the two CPUs
    that other processes used, `stolen` the share that a hypervisor gave to other machines: the greater they
    are, the less the round says, since a client that is held up lets the server wake for single requests.
    """

    counts: Counts
    spent: Usage
    foreign: float
    stolen: float
    memory_bytes: int

    @property
    def disturbance(self) -> float:
        """Share of the two CPUs that was lost to others."""
        return self.foreign + self.stolen

    @property
    def cpu_us(self) -> float:
        """Microseconds of server CPU per request."""
        return self.spent.cpu / self.counts.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.counts.requests / self.counts.duration_us * 1e6

    @property
    def busy(self) -> float:
        """Share of the server's CPU that was used: below 1, the client or the kernel was the limit."""
        return self.spent.cpu / self.counts.duration_us * 1e6

    def as_json(self) -> dict[str, Any]:
        """Return all that was measured."""
        return {
            **asdict(self.counts),
            "usage": asdict(self.spent),
            "memory_bytes": self.memory_bytes,
            "foreign": self.foreign,
            "stolen": self.stolen,
        }


@dataclass
class Row:
    """All rounds of a server in a case; one fault makes the whole row invalid.

    Only calm rounds count, those with a disturbance of at most `tolerance`; what a round measured has no say
    in that. If there are fewer than `wanted`, the calmest that there are count, and the row tells so.
    """

    server: str
    wanted: int
    tolerance: float
    rounds: list[Round] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def calm(self) -> list[Round]:
        """The rounds that were disturbed little."""
        return [one for one in self.rounds if one.disturbance <= self.tolerance]

    @property
    def counted(self) -> list[Round]:
        """The rounds that the figures are made of."""
        by_calm = sorted(self.rounds, key=lambda one: one.disturbance)
        return by_calm[: max(self.wanted, len(self.calm))]

    @property
    def valid(self) -> bool:
        """Whether its figures may be used."""
        return bool(self.rounds) and not self.faults

    @property
    def wants_more(self) -> bool:
        """Whether another round would say something."""
        return not self.faults and len(self.calm) < self.wanted

    def figure(self, name: str) -> float | None:
        """Return the median of a figure over the rounds that count; None if the row is not valid."""
        return median(map(_FIGURES[name], self.counted)) if self.valid else None

    def as_json(self) -> dict[str, Any]:
        """Return everything that was measured and, if all of it was right, medians with their spread."""
        figures = {}
        for name, figure in _FIGURES.items() if self.valid else ():
            values = [figure(one) for one in self.counted]
            figures[name] = {"median": median(values), "min": min(values), "max": max(values)}
        return {
            "server": self.server,
            "valid": self.valid,
            "faults": self.faults if self.faults or self.rounds else ["no round"],
            "calm_rounds": len(self.calm),
            "wanted_rounds": self.wanted,
            **figures,
            "rounds": [one.as_json() for one in self.rounds],
        }


_FIGURES: dict[str, Callable[[Round], float]] = {
    "cpu_us": lambda one: one.cpu_us,
    "requests_per_second": lambda one: one.rate,
    "requests_per_cpu_second": lambda one: 1e6 / one.cpu_us if one.cpu_us else 0.0,
    "busy": lambda one: one.busy,
    "p50_us": lambda one: one.counts.p50_us,
    "p99_us": lambda one: one.counts.p99_us,
    "memory_bytes": lambda one: one.memory_bytes,
    "disturbance": lambda one: one.disturbance,
    "user_share": lambda one: one.spent.user / one.spent.cpu if one.spent.cpu else 0.0,
}
