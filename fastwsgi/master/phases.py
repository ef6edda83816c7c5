"""What the master is about, what may follow upon it, and which signals mean something then."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HEARD", "MASTER_MOVES", "MasterState", "without_repeats"]


class MasterState(Enum):
    """What the master is about."""

    STARTING = "starting"  # no worker was ever ready: a failure to boot ends the server
    RUNNING = "running"
    RELOADING = "reloading"  # workers of another configuration are being replaced, one at a time
    DRAINING = "draining"  # told to stop, and serving on until load balancers have noticed
    STOPPING = "stopping"  # every worker was told to stop
    STOPPED = "stopped"


_M = MasterState

MASTER_MOVES: Final = {
    _M.STARTING: {_M.RUNNING, _M.STOPPING},
    _M.RUNNING: {_M.RELOADING, _M.DRAINING, _M.STOPPING},
    _M.RELOADING: {_M.RUNNING, _M.RELOADING, _M.DRAINING, _M.STOPPING},
    _M.DRAINING: {_M.STOPPING},
    _M.STOPPING: {_M.STOPPED},
    _M.STOPPED: set[MasterState](),
}

_SIGNALS: Final = frozenset({"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"})

HEARD: Final = {
    _M.STARTING: _SIGNALS,
    _M.RUNNING: _SIGNALS,
    _M.RELOADING: _SIGNALS,
    _M.DRAINING: frozenset({"TERM", "INT", "QUIT", "USR1"}),
    _M.STOPPING: frozenset({"INT", "QUIT", "USR1"}),
    _M.STOPPED: frozenset[str](),
}
"""Signals that mean something, by what the master is about; others are passed over."""

_COUNTED: Final = frozenset({"TTIN", "TTOU", "INT", "QUIT"})
"""Signals that say more when they come twice; of the others, one of a bunch is enough."""


def without_repeats(names: Iterable[str]) -> list[str]:
    """Leave out of a bunch of signals those that say nothing more the second time, and CHLD."""
    kept: list[str] = []
    for name in names:
        if name != "CHLD" and (name not in kept or name in _COUNTED):
            kept.append(name)
    return kept
