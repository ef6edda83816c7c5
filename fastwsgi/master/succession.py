"""Who leaves and who follows: the one way in which workers are replaced, whatever the reason.

The successor is forked first, and who is replaced is told to stop when it is ready. Must not know why a
worker is to be replaced, nor a clock. Invariant: at most one worker more than wanted serves, and one
successor at a time boots beside a full number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .roster import WorkerState

if TYPE_CHECKING:
    from .roster import Roster, Worker

__all__ = ["REPLACEMENT_PATIENCE", "forks_due", "not_before", "surplus"]

REPLACEMENT_PATIENCE: Final = 5.0
"""Seconds to wait for a replaced worker to end before the next is replaced: idle ones are gone at once, and
one in a long request does not hold up the others."""


def surplus(roster: Roster, revision: int, wanted: int) -> list[Worker]:
    """Return who is to stop: whoever is to be replaced first, then the oldest, as far as others serve."""
    ready = roster.serving(WorkerState.READY)
    ready.sort(key=lambda worker: (not worker.leaves(revision), worker.age))
    too_many = max(len(ready) - wanted, 0)
    leaving, staying = ready[:too_many], ready[too_many:]
    # Then those that boot what nobody wants any more, as far as they are too many.
    booting = roster.serving(WorkerState.BOOTING)
    spare = [worker for worker in booting if worker.leaves(revision)]
    fresh = [worker for worker in booting if not worker.leaves(revision)]
    count = len(fresh) + sum(1 for worker in staying if not worker.leaves(revision))
    leaving += spare if count >= wanted else spare[: max(len(staying) + len(spare) - wanted, 0)]
    return leaving + fresh[: max(count - wanted, 0)]


def forks_due(roster: Roster, revision: int, wanted: int, *, cautious: bool) -> int:
    """Return how many workers are to be forked: all that are missing, or one to succeed another.

    If `cautious`, one at a time in any case: the others follow when it got through.
    """
    serving = roster.serving()
    fresh = [worker for worker in serving if not worker.leaves(revision)]
    missing = wanted - len(serving)
    if len(fresh) >= wanted:
        return 0
    if missing > 0 and not cautious:
        return missing
    return 0 if any(worker.state is WorkerState.BOOTING for worker in fresh) else 1


def not_before(roster: Roster, wanted: int) -> float:
    """Return when the next successor may be forked, so that those replaced end one after the other."""
    told = [worker.told_at for worker in roster if worker.state is WorkerState.RETIRING]
    is_missing = len(roster.serving(WorkerState.READY)) < wanted
    return 0.0 if is_missing or not told else max(told) + REPLACEMENT_PATIENCE
