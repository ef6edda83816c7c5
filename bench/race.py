"""One case on all servers that can run it: rounds in turn, each of a server that was started for it.

A server that cannot be had in the shape of the case is skipped with its reason; one that does anything wrong
keeps its row, which is invalid and says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .load import WrkError, probe, run_wrk
from .machine import busy_seconds, client_seconds
from .processes import RunningServer, ServerFailedError, Usage, free_port
from .responses import WrongResponseError
from .rounds import Round, Row
from .servers import Shape, Unsupported
from .targets import judge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .plan import Case
    from .progress import Progress
    from .responses import Size
    from .servers import Certificate, Server
    from .targets import Figures

__all__ = ["Method", "Race"]

# What says in words what was wrong. The run goes on with the other servers, whatever one of them does.
_FAILURES = (ServerFailedError, WrongResponseError, WrkError)


@dataclass(frozen=True)
class Method:
    """How rounds are run."""

    rounds: int = 3
    few_rounds: int = 2  # of servers that are factors behind
    seconds: int = 2
    warm_up: int = 1
    tolerance: float = 0.04  # share of the CPUs a round may lose to others
    patience: float = 0.5  # times the rounds that disturbed ones may add
    server_cpu: int = 0
    client_cpu: int = 1


@dataclass
class Race:
    """A case, the rows of those that take part, and who does not and why.

    Args:
        case: what is asked.
        method: how.
        pythons: the servers, each with its Python.
        folder: where logs are kept while it runs.
        certificate: for cases with TLS.
    """

    case: Case
    method: Method
    pythons: Mapping[Server, str]
    folder: Path
    certificate: Certificate
    rows: dict[str, Row] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self._shape
        for server, python in self.pythons.items():
            reason = self.case.without.get(server.name, "")
            try:
                server.command(python, 0, self.case.app, shape)
            except Unsupported as exc:
                reason = reason or str(exc)
            if reason:
                self.skipped[server.name] = reason
            else:
                wanted = self.method.few_rounds if server.is_slow else self.method.rounds
                self.rows[server.name] = Row(server.name, wanted, self.method.tolerance)

    @property
    def planned(self) -> int:
        """How many rounds it takes if none is disturbed."""
        return sum(row.wanted for row in self.rows.values())

    @property
    def _shape(self) -> Shape:
        return self.case.shape(self.folder / "access.log", self.certificate)

    def run(self, progress: Progress) -> None:
        """Run the rounds of all in turn, until each has enough that are calm or patience is over."""
        taking_part = [server for server in self.pythons if server.name in self.rows]
        most = max((row.wanted for row in self.rows.values()), default=0)
        for number in range(most + round(most * self.method.patience)):
            # Nobody always comes first, nor always after the same neighbor.
            start = number % max(1, len(taking_part))
            for server in taking_part[start:] + taking_part[:start]:
                row = self.rows[server.name]
                if not row.wants_more or number >= row.wanted * (1 + self.method.patience):
                    continue
                if number >= row.wanted:
                    progress.expect(1)
                told = f"{self.case.name}, round {number + 1} of {row.wanted}, {server.title}: "
                progress.step(told + self._round_of(server, row))
                if row.faults:
                    progress.expect(-max(0, row.wanted - number - 1))

    def _round_of(self, server: Server, row: Row) -> str:
        """Run one round of the row and return what is to be said about it."""
        try:
            one = self._run_round(server, row)
        except (*_FAILURES, OSError, ValueError) as exc:
            text = str(exc) if isinstance(exc, _FAILURES) else repr(exc)
            row.faults.append(text)
            return f"INVALID: {text}"
        row.rounds.append(one)
        text = f"{one.cpu_us:.2f} µs, {one.rate:,.0f}/s"
        if one.disturbance > row.tolerance:
            text += f", disturbed ({one.foreign:.0%} of the CPUs to other processes, {one.stolen:.0%} stolen)"
        return text + "".join(f"; INVALID: {fault}" for fault in row.faults)

    def _run_round(self, server: Server, row: Row) -> Round:
        case, method, shape, port = self.case, self.method, self._shape, free_port()
        command = server.command(self.pythons[server], port, case.app, shape)
        if shape.access_log is not None:
            shape.access_log.unlink(missing_ok=True)  # that of the server before
        with (
            (self.folder / f"{case.name}-{server.name}.log").open("wb") as log,
            RunningServer(command, server.environment, port=port, cpu=method.server_cpu, log=log) as running,
        ):
            keeps_alive = server.keeps_alive and server.name not in case.closing
            size = probe(port, case, keeps_alive=keeps_alive)
            warm_up = self._load(running, row, size, method.warm_up)
            one = self._load(running, row, size, method.seconds)
            if probe(port, case, keeps_alive=keeps_alive) != size:
                raise WrongResponseError("a response of another size after the load than before it")
        if shape.access_log is not None:
            written = _count_lines(shape.access_log)
            answered = warm_up.counts.requests + one.counts.requests
            if written < answered:
                row.faults.append(f"{written} lines in the access log for {answered} requests")
        return one

    def _load(self, running: RunningServer, row: Row, size: Size, seconds: int) -> Round:
        case, cpus = self.case, (self.method.server_cpu, self.method.client_cpu)
        before, client_before, machine_before = running.usage(), client_seconds(), busy_seconds(cpus)
        counts = run_wrk(port=running.port, case=case, cpu=self.method.client_cpu, seconds=seconds)
        after, client_after, machine_after = running.usage(), client_seconds(), busy_seconds(cpus)
        spent = Usage(after.user - before.user, after.system - before.system, after.processes, after.threads)
        row.faults += counts.faults(size, case.connections * case.responses)
        if not counts.requests:
            raise WrongResponseError(f"no response within {seconds} s")
        worked, stolen = (late - early for early, late in zip(machine_before, machine_after, strict=True))
        foreign = max(0.0, worked - (client_after - client_before) - spent.cpu)
        available = 2e-6 * counts.duration_us
        return Round(counts, spent, foreign / available, stolen / available, running.proportional_bytes())

    def figure(self, server: str, name: str) -> float | None:
        """Return the median of a figure of a server; None if it has none that is valid."""
        row = self.rows.get(server)
        return row.figure(name) if row else None

    def as_json(self, figures: Figures) -> dict[str, Any]:
        """Return the case as a result file has it; `figures` are those of the whole run."""
        case = self.case
        return {
            "name": case.name,
            "title": case.title,
            "group": case.group,
            "rows": [row.as_json() for row in self.rows.values()],
            "skipped": self.skipped,
            "targets": [judge(target, case.name, figures, self.rows) for target in case.targets],
        }


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0
