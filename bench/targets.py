"""What is to be reached: claims about a figure of ours in a case, and whether a run bears them out.

A claim compares within one run only. Figures are known by case, server and name, not how they were got.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .servers import OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    # The median of a figure by case, server and name; None if it was not measured or is not valid.
    Figures = Callable[[str, str, str], float | None]

__all__ = ["BEST", "Target", "judge"]

BEST = "the best peer"
_NAMES = {"cpu_us": "CPU per request", "p99_us": "p99", "requests_per_second": "requests per second"}


@dataclass(frozen=True)
class Target:
    """Our figure is at most `limit` times that of another server, or of ours in another case.

    With `added` it is at most so much more; compared with nothing it is at least so much.
    """

    limit: float
    server: str = ""  # BEST: the lowest of all that are valid
    case: str = ""  # ours in that case
    added: bool = False
    figure: str = "cpu_us"

    @property
    def text(self) -> str:
        """The claim in words."""
        name = _NAMES[self.figure]
        if not (self.server or self.case):
            return f"{name} ≥ {self.limit:,.0f}"
        other = self.server or f"its own in {self.case}"
        if self.added:
            return f"{name} ≤ {other} + {self.limit:.1f} µs"
        return f"{name} ≤ {self.limit:.2f} × {other}"  # noqa: RUF001 - the sign of multiplication


def judge(target: Target, case: str, figures: Figures, servers: Iterable[str]) -> dict[str, Any]:
    """Return text, value, limit and whether it is reached: None if what that takes was not measured."""
    ours = figures(case, OURS, target.figure)
    value = ours
    if target.server or target.case:
        if target.server == BEST:
            peers = (figures(case, one, target.figure) for one in servers if one in PEERS)
            theirs = min((one for one in peers if one is not None), default=None)
        elif target.server:
            theirs = figures(case, target.server, target.figure)
        else:
            theirs = figures(target.case, OURS, target.figure)
        value = None
        if ours is not None and theirs:
            value = ours - theirs if target.added else ours / theirs
    reached = None
    if value is not None:
        reached = value <= target.limit if target.server or target.case else value >= target.limit
    return {"text": target.text, "value": value, "limit": target.limit, "reached": reached}
