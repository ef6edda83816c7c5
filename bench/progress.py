"""What a person sees while it runs: a line per round, and how long the rest will take.

Progress goes to standard error; standard output is for what was found.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Progress", "say"]


def say(text: str) -> None:
    """Show a line at once."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts rounds, all of which take about as long, and tells when the last will end.

    Args:
        planned: rounds in all.
        show: takes a line.
        clock: seconds that never go back.
    """

    def __init__(
        self, planned: int, show: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.planned = planned
        self.done = 0
        self._show = show
        self._clock = clock
        self._started = clock()

    @property
    def seconds_left(self) -> float:
        """How long the rest takes if it goes on like this."""
        if not self.done:
            return 0.0
        return (self._clock() - self._started) / self.done * max(0, self.planned - self.done)

    def step(self, text: str) -> None:
        """Show the round that has ended."""
        self.done += 1
        minutes, seconds = divmod(round(self.seconds_left), 60)
        self._show(f"[{self.done}/{self.planned}, {minutes}:{seconds:02d} left] {text}")

    def expect(self, rounds: int) -> None:
        """Take note of more rounds than were planned, or of fewer."""
        self.planned += rounds
