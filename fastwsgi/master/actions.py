"""Words between the policy, supervision.py, and the master that carries it out: numbers in, actions out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Action",
    "Call",
    "Exit",
    "Explain",
    "Fork",
    "Log",
    "Policy",
    "Reload",
    "Renew",
    "ReopenLogs",
    "Rollback",
    "Signal",
    "Upgrade",
    "Weigh",
]


@dataclass(frozen=True)
class Policy:
    """What the configuration says to the machine; times in seconds, 0 switches a limit off.

    `slots` is the number of the scoreboard's records: there are never more workers than that. `revision`
    names the configuration these numbers are of, for `Fork` and `Rollback`. With `awaits_mending` a failure
    to boot at the first start does not end the server: it waits for the next HUP.
    """

    workers: int = 1
    timeout: float = 30.0
    graceful_timeout: float = 30.0
    boot_timeout: float = 0.0
    abort_grace: float = 1.0
    drain_delay: float = 0.0
    max_memory: int = 0  # bytes
    max_lifetime: float = 0.0
    max_lifetime_jitter: float = 0.0
    awaits_mending: bool = False
    slots: int = 1024
    revision: int = 0

    @property
    def most_workers(self) -> int:
        """How many workers there are, as far as slots allow: one stays free for a replacement."""
        return min(self.workers, self.slots - 1)


@dataclass(frozen=True)
class Fork:
    """Fork a worker of the configuration in force; answer with `forked` or `fork_failed` before all else."""

    age: int  # counts the workers ever forked, from 1
    slot: int  # its record on the scoreboard


@dataclass(frozen=True)
class Signal:
    """Send signal `name` ("TERM") to process `pid`; that it is gone already is no error."""

    pid: int
    name: str


@dataclass(frozen=True)
class Explain:
    """Write to the error log what worker `pid` is doing, as far as others can see; it is aborted next."""

    pid: int


@dataclass(frozen=True)
class Log:
    """Write `text` to the error log at `level`, a method name of a logger."""

    level: str
    text: str


@dataclass(frozen=True)
class Call:
    """Call hook `name` of the configuration with the master and these arguments."""

    name: str
    arguments: tuple[int | None, ...]


@dataclass(frozen=True)
class Weigh:
    """Find out how much memory of their own these workers have; answer with `weighed`."""

    pids: tuple[int, ...]


@dataclass(frozen=True)
class Reload:
    """Read the configuration again; answer with `reloaded` or `reload_refused`."""


@dataclass(frozen=True)
class Renew:
    """Load certificates again, for so many `workers`; answer with `reloaded` or `reload_refused`."""

    workers: int


@dataclass(frozen=True)
class Rollback:
    """Go back to the configuration of this revision."""

    revision: int


@dataclass(frozen=True)
class Upgrade:
    """Start a new master on the same sockets; answer with `upgrade_failed` if that fails, or once it ends."""


@dataclass(frozen=True)
class ReopenLogs:
    """Open the master's log files anew."""


@dataclass(frozen=True)
class Exit:
    """Leave with this exit code: nothing is left to watch."""

    code: int


Action = (
    Fork | Signal | Explain | Log | Call | Weigh | Reload | Renew | Rollback | Upgrade | ReopenLogs | Exit
)
