"""Result files of `bench.run`, read and merged.

A case of a later file takes the place of the same case of an earlier one as a whole, since figures compare
only within one run; so do the other sections. Must not know: what is good or bad about a figure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["FORMAT", "Case", "Results", "Row", "Run", "Section", "Server", "Spread", "Stage", "Target"]

FORMAT = 2
# Numbers of a row that are not figures of its server.
_ABOUT_ROUNDS = frozenset({"calm_rounds", "wanted_rounds"})


@dataclass(frozen=True)
class Spread:
    """One figure over the rounds that count."""

    median: float
    least: float
    greatest: float

    @classmethod
    def read(cls, value: object) -> Spread | None:
        """Read what a file has for a figure: median, min and max, or one number; None if it is neither."""
        if isinstance(value, dict) and isinstance(value.get("median"), int | float):
            middle = float(value["median"])
            return cls(middle, float(value.get("min", middle)), float(value.get("max", middle)))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return cls(float(value), float(value), float(value))
        return None

    def overlaps(self, other: Spread) -> bool:
        """Return whether the two ranges have a value in common."""
        return self.least <= other.greatest and other.least <= self.greatest


@dataclass(frozen=True)
class Row:
    """What was measured of one server; an invalid one has no figures."""

    server: str
    faults: tuple[str, ...] = ()
    figures: Mapping[str, Spread] = field(default_factory=dict)
    calm_rounds: int | None = None
    wanted_rounds: int | None = None
    note: str = ""

    @classmethod
    def read(cls, raw: Mapping[str, Any], server: str = "") -> Row:
        """Read a row of any section, or of a stage of a mix, which does not name its `server`."""
        faults = tuple(str(fault) for fault in raw.get("faults") or ())
        if raw.get("valid") is False and not faults:
            faults = ("invalid, and the file does not say why",)
        spreads = {name: Spread.read(value) for name, value in raw.items() if name not in _ABOUT_ROUNDS}
        return cls(
            server or str(raw["server"]),
            faults,
            {} if faults else {name: spread for name, spread in spreads.items() if spread is not None},
            raw.get("calm_rounds"),
            raw.get("wanted_rounds"),
            "the client was the limit" if raw.get("client_bound") else str(raw.get("note") or ""),
        )

    @property
    def valid(self) -> bool:
        """Whether its figures may be used."""
        return not self.faults

    @property
    def disturbed(self) -> bool:
        """Whether it had fewer calm rounds than were wanted."""
        return self.calm_rounds is not None and self.calm_rounds < (self.wanted_rounds or 0)


@dataclass(frozen=True)
class Target:
    """What was to be reached; `reached` is None if it could not be told."""

    text: str
    value: float | None
    limit: float | None
    reached: bool | None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Target:
        """Read one of a file."""
        return cls(str(raw["text"]), raw.get("value"), raw.get("limit"), raw.get("reached"))


@dataclass(frozen=True)
class Case:
    """One load on all servers; `run` is the place of its run in `Results.runs`."""

    name: str
    title: str
    group: str
    rows: tuple[Row, ...]
    skipped: Mapping[str, str]
    targets: tuple[Target, ...]
    run: int

    def row(self, server: str) -> Row | None:
        """Return the row of a server, None if it took no part."""
        return next((row for row in self.rows if row.server == server), None)


@dataclass(frozen=True)
class Section:
    """Rows that are not a case: the footprint."""

    rows: tuple[Row, ...] = ()
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Stage:
    """The servers under the same number of users; `kinds` has the rows again for each kind of request."""

    users: int
    rows: tuple[Row, ...]
    kinds: Mapping[str, tuple[Row, ...]]


@dataclass(frozen=True)
class Server:
    """Who was measured, and what is unequal about it."""

    name: str
    title: str
    version: str = ""
    note: str = ""
    python: str = ""


@dataclass(frozen=True)
class Run:
    """When and where a file was made."""

    source: str
    started: str
    finished: str
    machine: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass
class Results:
    """All that the report is made of."""

    runs: list[Run] = field(default_factory=list)
    servers: dict[str, Server] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    footprint: Section = field(default_factory=Section)
    mix_title: str = ""
    mix: tuple[Row, ...] = ()
    mix_targets: tuple[Target, ...] = ()
    mix_skipped: dict[str, str] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    micro: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    micro_skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Results:
        """Read files and merge them in the order given.

        Raises:
            ValueError: one of them is not a result file of this format.
        """
        results = cls()
        for path in paths:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(raw, dict) or raw.get("format") != FORMAT:
                raise ValueError(f"{path} is no result file of format {FORMAT}")
            results.add(raw, path.name)
        return results

    def add(self, raw: Mapping[str, Any], source: str) -> None:
        """Merge the content of one file."""
        self.runs.append(
            Run(
                source,
                str(raw.get("started", "")),
                str(raw.get("finished", "")),
                raw.get("machine") or {},
                raw.get("options") or {},
            )
        )
        for name, known in (raw.get("servers") or {}).items():
            self.servers[name] = Server(
                name,
                str(known.get("title") or name),
                _versions(known, self.servers.get(name)),
                str(known.get("note") or ""),
                str(known.get("python") or ""),
            )
        self.skipped.update(raw.get("skipped") or {})
        for case in raw.get("cases") or ():
            self._add_case(case)
        if raw.get("footprint"):
            self.footprint = Section(_rows(raw["footprint"]), _targets(raw["footprint"]))
        if raw.get("mix"):
            self._add_mix(raw["mix"])
        if raw.get("micro"):
            self._add_micro(raw["micro"])
        # One that was there in another run is not missing.
        for name in {"mix", "micro"} & raw.keys() | {row.server for rows in self._all_rows() for row in rows}:
            self.skipped.pop(name, None)

    @property
    def left_out(self) -> list[tuple[str, Mapping[str, str]]]:
        """What single cases were measured without, and why, with the title of the case."""
        places = [(case.title, case.skipped) for case in self.cases.values()]
        places += [(self.mix_title, self.mix_skipped), ("micro-benchmarks", self.micro_skipped)]
        return [(title, skipped) for title, skipped in places if skipped]

    def title(self, server: str) -> str:
        """Return the name by which readers know a server."""
        known = self.servers.get(server)
        return known.title if known else server

    @property
    def invalid(self) -> list[tuple[str, Row]]:
        """Every row that does not count, with the title of its place."""
        places = [(case.title, case.rows) for case in self.cases.values()]
        places += [("footprint", self.footprint.rows), (self.mix_title, self.mix)]
        return [(title, row) for title, rows in places for row in rows if not row.valid]

    @property
    def targets(self) -> list[tuple[str, Target]]:
        """Every target with the title of its place."""
        places = [(case.title, case.targets) for case in self.cases.values()]
        places += [("footprint", self.footprint.targets), (self.mix_title, self.mix_targets)]
        return [(title, target) for title, targets in places for target in targets]

    def _all_rows(self) -> list[tuple[Row, ...]]:
        return [*(case.rows for case in self.cases.values()), self.footprint.rows, self.mix]

    def _add_case(self, raw: Mapping[str, Any]) -> None:
        self.cases[raw["name"]] = Case(
            raw["name"],
            str(raw.get("title") or raw["name"]),
            str(raw.get("group") or ""),
            _rows(raw),
            raw.get("skipped") or {},
            _targets(raw),
            len(self.runs) - 1,
        )

    def _add_mix(self, raw: Mapping[str, Any]) -> None:
        self.mix_title = str(raw.get("title") or "mix")
        self.mix = _rows(raw)
        self.mix_targets = _targets(raw)
        self.mix_skipped = raw.get("skipped") or {}
        valid = {row.server for row in self.mix if row.valid}
        by_users: dict[int, list[tuple[str, Mapping[str, Any]]]] = {}
        for row in raw.get("rows") or ():
            for stage in row.get("stages") or () if row["server"] in valid else ():
                by_users.setdefault(int(stage["users"]), []).append((row["server"], stage))
        self.stages = tuple(_stage(users, by_users[users]) for users in sorted(by_users))

    def _add_micro(self, raw: Mapping[str, Any]) -> None:
        self.micro = {}
        self.micro_skipped = raw.get("skipped") or {}
        for one in raw.get("rows") or ():
            mean, deviation = float(one["mean_ns"]), float(one.get("stdev_ns") or 0)
            figures = {"mean_ns": Spread(mean, mean - deviation, mean + deviation)}
            title = ": ".join(word for word in (one.get("group"), one.get("name")) if word)
            self.micro[title] = (*self.micro.get(title, ()), Row(str(one["implementation"]), (), figures))


def _stage(users: int, found: Iterable[tuple[str, Mapping[str, Any]]]) -> Stage:
    """Read what servers did under so many users; that some requests failed is one of the figures there."""
    rows: list[Row] = []
    kinds: dict[str, list[Row]] = {}
    for server, raw in found:
        rows.append(Row.read({**raw, "faults": ()}, server))
        for kind, figures in (raw.get("kinds") or {}).items():
            kinds.setdefault(kind, []).append(Row.read({**figures, "faults": ()}, server))
    return Stage(users, tuple(rows), {kind: tuple(kinds[kind]) for kind in sorted(kinds)})


def _rows(raw: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(Row.read(row) for row in raw.get("rows") or ())


def _targets(raw: Mapping[str, Any]) -> tuple[Target, ...]:
    return tuple(Target.read(target) for target in raw.get("targets") or ())


def _versions(raw: Mapping[str, Any], before: Server | None) -> str:
    """Return a server's version, and those it had in earlier files if they differ."""
    version = str(raw.get("version") or "")
    earlier = before.version if before else ""
    return earlier if version in earlier.split(", ") else ", ".join(filter(None, (earlier, version)))
