"""The page: a single file of HTML that needs nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from .measures import CASE, CPU, EFFICIENCY, FOOTPRINT, MICRO, MIX, PEAK, RATE, number, ratio
from .standings import OURS, by_measure, is_peer, our_row, role, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from .measures import Measure
    from .results import Case, Results, Row

__all__ = ["render"]

_FOLDER = Path(__file__).parent
_CURVES = tuple(measure for measure in MIX if measure.key not in {"failures", "p95_ms"})


def render(results: Results, plots: ModuleType | None) -> str:
    """Return the page; without `plots`, the module that draws, it has tables only."""
    comparisons = by_measure(results)
    cpu = [standing(case.title, case.rows, CPU) for case in results.cases.values()]
    compared = [one for one in cpu if one is not None]
    targets = results.targets
    return _template().render(
        results=results,
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        title=results.title,
        role=role,
        ours=OURS,
        compared=len(compared),
        first=sum(one.first for one in compared),
        comparisons=comparisons,
        losses=[(title, them, [one for one in them if not one.first]) for title, them in comparisons],
        targets=targets,
        missed=[(place, target) for place, target in targets if target.reached is False],
        untold=[(place, target) for place, target in targets if target.reached is None],
        disturbed=_disturbed(results),
        groups=_groups(results),
        standings={case.name: standing(case.title, case.rows, CPU) for case in results.cases.values()},
        columns=_columns(results),
        CPU=CPU,
        RATE=RATE,
        EFFICIENCY=EFFICIENCY,
        CASE=CASE,
        FOOTPRINT=[measure for measure in FOOTPRINT if _has(results.footprint.rows, measure)],
        MIX=MIX,
        MICRO=MICRO,
        PEAK=PEAK,
        facts=_facts(results),
        drawn=_draw(results, plots) if plots else {},
    )  # fmt: skip


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "ratio": ratio}
    return environment.get_template("page.html.jinja")


def ordered(rows: Sequence[Row], measure: Measure) -> list[Row]:
    """Return rows with the best first and those without the figure last."""

    def key(row: Row) -> tuple[bool, float]:
        spread = row.figures.get(measure.key)
        if spread is None:
            return True, 0.0
        return False, -spread.median if measure.more_is_better else spread.median

    return sorted(rows, key=key)


def _disturbed(results: Results) -> list[tuple[Case, Row]]:
    rows = [(case, row) for case in results.cases.values() for row in case.rows]
    return [(case, row) for case, row in rows if row.valid and row.disturbed]


def _groups(results: Results) -> list[tuple[str, list[Case]]]:
    groups: dict[str, list[Case]] = {}
    for case in results.cases.values():
        groups.setdefault(case.group, []).append(case)
    return list(groups.items())


def _columns(results: Results) -> list[str]:
    """Return all servers that have a row in a case: the floor, ours, then peers in the order of the file."""
    present = {row.server for case in results.cases.values() for row in case.rows}
    known = [*results.servers, *sorted(present - set(results.servers))]
    return sorted((name for name in known if name in present), key=lambda name: (is_peer(name), name != OURS))


def _facts(results: Results) -> list[str]:
    """Return what the files tell of their machines in a word or a number."""
    names = [
        name for run in results.runs for name, value in run.machine.items() if isinstance(value, str | int)
    ]
    return list(dict.fromkeys(names))


def _has(rows: Sequence[Row], measure: Measure) -> bool:
    return any(measure.key in row.figures for row in rows)


def _draw(results: Results, plots: ModuleType) -> dict[str, Markup]:
    """Return every figure by its name."""
    drawn: dict[str, str] = {}

    def bars(name: str, rows: Sequence[Row], *measures: Measure) -> None:
        if any(_has(rows, measure) for measure in measures):
            drawn[name] = plots.bars(
                name,
                [_bar(results, row, measures, plots.Bar) for row in ordered(rows, measures[0])],
                unit=measures[0].unit,
                kinds=[measure.title for measure in measures] if len(measures) > 1 else ("",),
            )

    for case in results.cases.values():
        bars(f"cpu-{case.name}", case.rows, CPU)
        bars(f"rate-{case.name}", case.rows, RATE, EFFICIENCY)
    for measure in FOOTPRINT:
        bars(f"footprint-{measure.key}", results.footprint.rows, measure)
    bars("peak", results.mix, PEAK)
    for place, rows in enumerate(results.micro.values()):
        bars(f"micro-{place}", rows, MICRO)
    lines = _ratios(results, plots)
    if lines:
        drawn["ratios"] = plots.ratios("ratios", lines)
    for measure in _CURVES:
        found = _curves(results, measure, plots.Curve)
        if found:
            drawn[f"mix-{measure.key}"] = plots.curves(
                f"mix-{measure.key}",
                found,
                unit=measure.unit,
                load="users at a time",
                logarithmic=measure.unit == "ms",  # what is late is late by powers of ten
            )
    return {name: Markup(svg) for name, svg in drawn.items()}  # drawn by us; texts are escaped


def _bar(results: Results, row: Row, measures: Sequence[Measure], make: Callable[..., Any]) -> Any:
    spreads = [row.figures.get(measure.key) for measure in measures]
    values = tuple(
        spread.median * measure.scale
        for spread, measure in zip(spreads, measures, strict=True)
        if spread is not None
    )
    if len(values) < len(measures) or spreads[0] is None:
        text = "not measured" if row.valid else "invalid"
        return make(label=results.title(row.server), role=role(row.server), values=(), text=text)
    return make(
        label=results.title(row.server),
        role=role(row.server),
        values=values,
        least=spreads[0].least * measures[0].scale,
        greatest=spreads[0].greatest * measures[0].scale,
    )


def _ratios(results: Results, plots: ModuleType) -> list[Any]:
    lines = []
    for case in results.cases.values():
        us = our_row(case.rows)
        ours = us.figures.get(CPU.key) if us else None
        if ours is None:
            continue
        marks = [
            plots.Mark(results.title(row.server), role(row.server), row.figures[CPU.key].median / ours.median)
            for row in case.rows
            if CPU.key in row.figures and (row is us or role(row.server) != "ours")
        ]
        lines.append(plots.Ratios(case.title, tuple(marks)))
    return lines


def _curves(results: Results, measure: Measure, make: Callable[..., Any]) -> list[Any]:
    points: dict[str, list[tuple[float, float]]] = {}
    for stage in results.stages:
        for row in stage.rows:
            spread = row.figures.get(measure.key)
            if spread is not None and spread.median > 0:
                points.setdefault(row.server, []).append((stage.users, spread.median * measure.scale))
    return [make(results.title(name), role(name), tuple(found)) for name, found in points.items()]
