"""Rounds become medians, ratios, kept and missed targets, and a Markdown table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from .plan import REFERENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .load import Figures
    from .plan import Case, Target
    from .processes import Usage

__all__ = ["OURS", "Round", "Row", "case_table", "target_lines"]

OURS = "fastwsgi"


@dataclass(frozen=True)
class Round:
    """One load on one server.

    `spent` is what its processes used from before wrk to after it. `foreign` is the share of the two CPUs
    that other processes used, `stolen` the share that a hypervisor gave to other machines: the greater they
    are, the less the round says, since a client that is held up lets the server wake for single requests.
    """

    figures: Figures
    spent: Usage
    foreign: float
    stolen: float

    @property
    def disturbance(self) -> float:
        """Share of the two CPUs that was lost to others."""
        return self.foreign + self.stolen

    @property
    def cpu_us(self) -> float:
        """Microseconds of server CPU per request."""
        return self.spent.cpu / self.figures.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.figures.requests / self.figures.duration_us * 1e6

    @property
    def busy(self) -> float:
        """Share of the server's CPU that was used: below 1, the client or the kernel was the limit."""
        return self.spent.cpu / self.figures.duration_us * 1e6


@dataclass
class Row:
    """All rounds of a server in a case; one fault makes the whole row invalid.

    Only calm rounds count, those with a disturbance of at most `tolerance`; what a round measured has no say
    in that. If there are fewer than `wanted`, the calmest that there are count, and the table says so.
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

    def over(self, figure: Callable[[Round], float]) -> tuple[float, float, float]:
        """Return median, least and greatest of `figure` over the rounds that count."""
        values = [figure(one) for one in self.counted]
        return median(values), min(values), max(values)

    @property
    def cpu_us(self) -> float:
        """Microseconds of server CPU per request, the median."""
        return self.over(lambda one: one.cpu_us)[0]

    def as_json(self) -> dict[str, object]:
        """Return everything that was measured, and the medians."""
        medians = {}
        if self.valid:
            for name, figure in _FIGURES.items():
                middle, least, greatest = self.over(figure)
                medians[name] = {"median": middle, "min": least, "max": greatest}
        rounds = [
            asdict(one.figures) | {"usage": asdict(one.spent), "foreign": one.foreign, "stolen": one.stolen}
            for one in self.rounds
        ]
        return {
            "server": self.server,
            "valid": self.valid,
            "faults": self.faults,
            **medians,
            "rounds": rounds,
        }


_FIGURES: dict[str, Callable[[Round], float]] = {
    "cpu_us": lambda one: one.cpu_us,
    "requests_per_second": lambda one: one.rate,
    "busy": lambda one: one.busy,
    "p50_us": lambda one: one.figures.p50_us,
    "p99_us": lambda one: one.figures.p99_us,
    "disturbance": lambda one: one.disturbance,
    "user_share": lambda one: one.spent.user / one.spent.cpu if one.spent.cpu else 0.0,
}


def case_table(case: Case, rows: Mapping[str, Row]) -> str:
    """Return the Markdown table of one case, cheapest server first."""
    references = [name for name in REFERENCES if name in rows and rows[name].valid]
    heads = [
        "server",
        "CPU µs/request (min to max)",
        "of it user",
        "requests/s",
        "CPU busy",
        "p50 ms",
        "p99 ms",
        "calm rounds",
    ]
    heads += [f"÷ {name}" for name in references]
    lines = [f"### {case.name}: {case.title}", "", _line(heads), _line(["---"] + ["--:"] * (len(heads) - 1))]
    valid = sorted((row for row in rows.values() if row.valid), key=lambda row: row.cpu_us)
    for row in valid:
        cpu, least, greatest = row.over(lambda one: one.cpu_us)
        cells = [
            f"**{row.server}**" if row.server == OURS else row.server,
            f"{cpu:.2f} ({least:.2f} to {greatest:.2f})",
            f"{row.over(_FIGURES['user_share'])[0]:.0%}",
            f"{row.over(_FIGURES['requests_per_second'])[0]:,.0f}",
            f"{row.over(_FIGURES['busy'])[0]:.0%}",
            f"{row.over(_FIGURES['p50_us'])[0] / 1000:.2f}",
            f"{row.over(_FIGURES['p99_us'])[0] / 1000:.2f}",
            f"{len(row.calm)}/{len(row.rounds)}" + ("" if len(row.calm) >= row.wanted else " (!)"),
        ]
        cells += [f"{row.cpu_us / rows[name].cpu_us:.2f}" for name in references]
        lines.append(_line(cells))
    lines += [
        _line([row.server, "INVALID: " + "; ".join(row.faults or ["no round"])] + [""] * (len(heads) - 2))
        for row in rows.values()
        if not row.valid
    ]
    return "\n".join(lines)


def target_lines(case: Case, rows: Mapping[str, Row]) -> list[str]:
    """Return a line per target of the case that says whether it is reached."""
    return [_judge(case, target, rows) for target in case.targets]


def _judge(case: Case, target: Target, rows: Mapping[str, Row]) -> str:
    ours, theirs = rows.get(target.ours), rows.get(target.server)
    figure = _FIGURES[target.figure]
    claim = f"{case.name}, {target.ours}, {target.figure}"
    if not target.server:
        claim += f" ≥ {target.ratio:,.0f}"
        if ours is None or not ours.valid:
            return f"- {claim}: not measured"
        reached = ours.over(figure)[0]
        return f"- {claim}: {reached:,.0f}, {'reached' if reached >= target.ratio else '**not reached**'}"
    claim += f" ≤ {target.ratio:.2f} × {target.server}"  # noqa: RUF001 - the sign of multiplication
    if ours is None or theirs is None or not (ours.valid and theirs.valid):
        return f"- {claim}: not measured"
    ratio = ours.over(figure)[0] / theirs.over(figure)[0]
    return f"- {claim}: {ratio:.3f}, {'reached' if ratio <= target.ratio else '**not reached**'}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
