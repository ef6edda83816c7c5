"""Markdown tables of results, and their place in the README.

In the README they stand between two comments; the first names the files they are made of, so that a test can
make them anew and compare.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeAlias

from .measures import CPU, FOOTPRINT, MIX, PEAK, ratio
from .results import Results
from .standings import OURS, comparable, our_row, standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .measures import Measure
    from .results import Row

__all__ = ["insert", "sources", "tables"]

# The peers that have a column; the last column tells of all.
_PEERS = ("fastpysgi", "bjoern", "granian", "uwsgi", "gunicorn-gthread")
_Place: TypeAlias = "tuple[str, Sequence[Row], Measure]"
_BLOCK = re.compile(r"<!-- bench:begin ?(?P<files>.*?) ?-->\n(?P<tables>.*?)<!-- bench:end -->", re.DOTALL)


def tables(results: Results) -> str:
    """Return what a README says of results."""
    peers = [name for name in _PEERS if name in results.servers]
    lines = [_conditions(results), ""]
    compared = [
        (_words(case.title), case.rows, CPU)
        for case in results.cases.values()
        if our_row(case.rows) is not None
    ]
    if compared:
        lines += _table("µs of server CPU per request", results, peers, compared)
    others: list[_Place] = [(_title(measure), results.footprint.rows, measure) for measure in FOOTPRINT]
    others.append((f"{PEAK.title}, requests per second", results.mix, PEAK))
    others += _last_stage(results)
    others = [(title, rows, measure) for title, rows, measure in others if standing(title, rows, measure)]
    if others:
        lines += ["", *_table("besides", results, peers, others)]
    lines += ["", *_verdicts(results, [*compared, *others])]
    return "\n".join(lines) + "\n"


def insert(paths: Sequence[Path], readme: Path) -> None:
    """Put the tables of result files between the markers of a file.

    Raises:
        ValueError: it has no markers, or one of `paths` is not a result file.
    """
    text = readme.read_text(encoding="utf-8")
    if not _BLOCK.search(text):
        raise ValueError(f"{readme} has no lines <!-- bench:begin --> and <!-- bench:end -->")
    files = " ".join(os.path.relpath(path, readme.parent) for path in paths)
    block = f"<!-- bench:begin {files} -->\n{tables(Results.load(paths))}<!-- bench:end -->"
    readme.write_text(_BLOCK.sub(lambda _: block, text, count=1), encoding="utf-8")


def sources(readme: Path) -> tuple[list[Path], str]:
    """Return the files that the tables in `readme` are made of, and these tables."""
    found = _BLOCK.search(readme.read_text(encoding="utf-8"))
    if not found:
        return [], ""
    return [readme.parent / name for name in found["files"].split()], found["tables"]


def _table(
    head: str, results: Results, peers: Sequence[str], places: Iterable[tuple[str, Sequence[Row], Measure]]
) -> list[str]:
    names = ["floor", *peers] if "floor" in results.servers and head != "besides" else peers
    titles = [f"**{results.title(OURS)}**", *(_words(results.title(name)) for name in names)]
    lines = [
        f"| {head} | {' | '.join(titles)} | to the best peer |",
        f"| --- |{' --: |' * len(titles)} --- |",
    ]
    for title, rows, measure in places:
        us = our_row(rows)
        cells = [f"**{_cell(us, measure)}**" if us and us.valid else _cell(us, measure)]
        by_name = {row.server: row for row in rows}
        cells += [_cell(by_name.get(name), measure) for name in names]
        lines.append(f"| {title} | {' | '.join(cells)} | {_comparison(results, rows, measure)} |")
    return lines


def _cell(row: Row | None, measure: Measure) -> str:
    if row is None:
        return ""
    if not row.valid:
        return "invalid"
    figure = row.figures.get(measure.key)
    return measure.show(figure.median) + ("\\*" if row.disturbed else "") if figure else ""


def _comparison(results: Results, rows: Sequence[Row], measure: Measure) -> str:
    """Return our ratio to the best peer, in bold if that is ahead of us."""
    one = standing("", rows, measure)
    if one is None:
        return ""
    best = _words(results.title(one.best_server))
    if one.ours is None:
        return f"**behind {best}**"
    told = "" if one.ratio is None else f"{ratio(one.ratio)} "
    return f"{told}× {best}" if one.first else f"**{told}× {best}: behind**"


def _conditions(results: Results) -> str:
    run = results.runs[-1]
    ours = results.servers.get(OURS)
    revisions = dict.fromkeys(str(one.machine.get("revision") or "") for one in results.runs)
    parts = [
        run.started[:10],
        f"fastwsgi {' and '.join(filter(None, revisions)) or (ours.version if ours else '')}".strip(),
        f"CPython {ours.python}" if ours and ours.python else "",
        str(run.machine.get("cpu") or ""),
        f"{run.machine.get('cpus')} CPUs" if run.machine.get("cpus") else "",
        f"Linux {run.machine.get('kernel')}" if run.machine.get("kernel") else "",
    ]
    return f"Measured {', '.join(_words(part) for part in parts if part)}."


def _last_stage(results: Results) -> list[tuple[str, Sequence[Row], Measure]]:
    """Return the place of the greatest load that we and a peer have had, if there was any."""
    latency = next(measure for measure in MIX if measure.key == "p99_ms")
    found: list[tuple[str, Sequence[Row], Measure]] = []
    for stage in results.stages:
        rows = comparable(stage, latency)
        if our_row(rows) and standing("", rows, latency):
            found = [(f"mix, {stage.users:,} users: p99 of latency, ms", rows, latency)]
    return found


def _verdicts(results: Results, places: Sequence[tuple[str, Sequence[Row], Measure]]) -> list[str]:
    """Return in words what is lost, missed, invalid and left out."""
    found = [standing(title, rows, measure) for title, rows, measure in places]
    behind = [one.place for one in found if one and not one.first]
    lines = [
        f"**Behind the best peer in {len(behind)} of {sum(one is not None for one in found)} rows**"
        f": {'; '.join(behind)}."
        if behind
        else "In none of these rows is a peer ahead."
        if any(found)
        else "No peer was measured."
    ]
    missed = [
        f"{_words(place)}: {_words(one.text)}" for place, one in results.targets if one.reached is False
    ]
    if missed:
        lines.append(f"**Targets missed, {len(missed)} of {len(results.targets)}:** {'; '.join(missed)}.")
    untold = [f"{_words(place)}: {_words(one.text)}" for place, one in results.targets if one.reached is None]
    if untold:
        lines.append(f"Targets not measured, {len(untold)} of {len(results.targets)}: {'; '.join(untold)}.")
    if results.targets and not missed and not untold:
        lines.append(f"All {len(results.targets)} targets are reached.")
    if results.invalid:
        rows = "; ".join(f"{_words(place)}: {results.title(row.server)}" for place, row in results.invalid)
        lines.append(f"Invalid, since not every response was right: {rows}.")
    if results.skipped:
        lines.append(
            f"Left out, since they could not be had: {', '.join(map(results.title, results.skipped))}."
        )
    if any(row.disturbed for case in results.cases.values() for row in case.rows):
        lines.append("\\* measured while the machine was not calm.")
    return lines


def _title(measure: Measure) -> str:
    return f"{measure.title}, {measure.unit}"


def _words(text: str) -> str:
    """Return a text that cannot end a cell or begin a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
