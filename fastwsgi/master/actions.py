"""Words between the policy, supervision.py, and the master that carries it out: numbers in, actions out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Action", "Exit", "Fork", "Log", "Policy", "Reload", "ReopenLogs", "Rollback", "Signal"]


@dataclass(frozen=True)
class Policy:
    """What the configuration says to the machine; times in seconds, 0 switches a limit off.

    `slots` is the number of the scoreboard's records: there are never more workers than that. `revision`
    names the configuration these numbers are of, for `Rollback`.
    """

    workers: int = 1
    timeout: float = 30.0
    graceful_timeout: float = 30.0
    abort_grace: float = 1.0
    slots: int = 1024
    revision: int = 0


@dataclass(frozen=True)
class Fork:
    """Fork a worker; answer with `forked` or `fork_failed` before any other event."""

    age: int  # counts the workers ever forked, from 1
    slot: int  # its record on the scoreboard


@dataclass(frozen=True)
class Signal:
    """Send signal `name` ("TERM") to process `pid`; that it is gone already is no error."""

    pid: int
    name: str


@dataclass(frozen=True)
class Log:
    """Write `text` to the error log at `level`, a method name of a logger."""

    level: str
    text: str


@dataclass(frozen=True)
class Reload:
    """Read the configuration again; answer with `reloaded` or `reload_refused`."""


@dataclass(frozen=True)
class Rollback:
    """Go back to the configuration of this revision."""

    revision: int


@dataclass(frozen=True)
class ReopenLogs:
    """Open the master's log files anew."""


@dataclass(frozen=True)
class Exit:
    """Leave with this exit code: nothing is left to watch."""

    code: int


Action = Fork | Signal | Log | Reload | Rollback | ReopenLogs | Exit
