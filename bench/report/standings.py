"""Where fastwsgi stands: its figure beside that of the best peer, in every row.

The floor is no server, and our pure build is no peer. Who is best is decided by medians alone; that two
ranges overlap is told beside it, and excuses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .measures import CASE, FOOTPRINT, MICRO, MIX, PEAK
from .results import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .measures import Measure
    from .results import Results, Row, Stage

__all__ = ["FLOOR", "OURS", "Standing", "by_measure", "comparable", "is_peer", "our_row", "role", "standing"]

OURS = "fastwsgi"
FLOOR = "floor"


@dataclass(frozen=True)
class Standing:
    """Our figure and the best peer's in one place.

    `ours` is None if we have none there, which is no better than to be last: `fault` says why.
    """

    place: str
    measure: Measure
    ours: Spread | None
    fault: str
    best: Spread
    best_server: str

    @property
    def first(self) -> bool:
        """Whether no peer is better."""
        return self.ours is not None and not self.measure.better(self.best.median, self.ours.median)

    @property
    def ratio(self) -> float | None:
        """Ours divided by the best peer's."""
        return self.ours.median / self.best.median if self.ours and self.best.median else None

    @property
    def single(self) -> bool:
        """Whether there are no ranges, but one value of each."""
        return self.ours is not None and all(
            figure.least == figure.greatest for figure in (self.ours, self.best)
        )

    @property
    def overlap(self) -> bool:
        """Whether both have had the same value in some round."""
        return self.ours is not None and self.ours.overlaps(self.best)


def role(server: str) -> str:
    """Return what a row is to a reader: "ours", "floor" or "peer"."""
    if server == FLOOR:
        return "floor"
    return "peer" if is_peer(server) else "ours"


def is_peer(server: str) -> bool:
    """Return whether a server is one that we compare ourselves with."""
    return server != FLOOR and server.split("-", 1)[0].split(" ", 1)[0].split(",", 1)[0] != OURS


def our_row(rows: Iterable[Row]) -> Row | None:
    """Return the row of fastwsgi, compiled, under whatever name a section gives it."""
    ours = [row for row in rows if role(row.server) == "ours" and "pure" not in row.server]
    return next((row for row in ours if row.server == OURS), ours[0] if ours else None)


def standing(place: str, rows: Sequence[Row], measure: Measure) -> Standing | None:
    """Compare us with the peers by one figure; None if no peer has it."""
    best: tuple[Spread, str] | None = None
    for row in rows:
        spread = row.figures.get(measure.key)
        if spread is None or not is_peer(row.server):
            continue
        if best is None or measure.better(spread.median, best[0].median):
            best = spread, row.server
    if best is None:
        return None
    us = our_row(rows)
    ours = us.figures.get(measure.key) if us else None
    fault = ""
    if ours is None:
        fault = "; ".join(us.faults) if us and us.faults else "not measured"
    return Standing(place, measure, ours, fault, *best)


def comparable(stage: Stage, measure: Measure) -> list[Row]:
    """Return the rows of a stage by which a figure is compared.

    A peer that has lost answers is no example in anything else: what it has not served took it no time.
    """
    if measure.key == "failures":
        return list(stage.rows)
    clean = Spread(0.0, 0.0, 0.0)
    return [
        row for row in stage.rows if not is_peer(row.server) or row.figures.get("failures", clean).median == 0
    ]


def by_measure(results: Results) -> list[tuple[str, list[Standing]]]:
    """Return all comparisons there are, by what is compared."""
    found: list[tuple[str, list[Standing]]] = []

    def add(title: str, measure: Measure, places: Iterable[tuple[str, Sequence[Row]]]) -> None:
        standings = [standing(place, rows, measure) for place, rows in places]
        present = [one for one in standings if one is not None]
        if present:
            found.append((title, present))

    for measure in CASE:
        add(measure.title, measure, [(case.title, case.rows) for case in results.cases.values()])
    for measure in FOOTPRINT:
        add(measure.title, measure, [("footprint", results.footprint.rows)])
    add(PEAK.title, PEAK, [(results.mix_title, results.mix)])
    for measure in MIX:
        add(
            f"mix: {measure.title}",
            measure,
            [
                (f"{stage.users:,} users", comparable(stage, measure))
                for stage in results.stages
                if our_row(stage.rows)
            ],
        )
    add("micro-benchmarks", MICRO, results.micro.items())
    return found
