"""Delays that grow with failures in a row. Must not know a clock: moments are arguments."""

from __future__ import annotations

from typing import Final

from .actions import Log

__all__ = ["FIRST_DELAY", "LONGEST_DELAY", "Backoff", "slow_down"]

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 16.0
"""Seconds of back-off: none after the first failure, FIRST_DELAY after the second, then doubled."""


class Backoff:
    """Delay that grows with failures in a row, and falls to nothing after `quiet` seconds without one."""

    def __init__(self, quiet: float) -> None:
        self.failures = 0
        self.until = 0.0
        self._quiet = quiet

    def failed(self, now: float) -> float:
        """Count a failure and return the seconds to wait."""
        if now > self.until + self._quiet:
            self.failures = 0
        self.failures += 1
        # The exponent is bounded, for a worker that has been failing for weeks.
        delay = 0.0 if self.failures == 1 else FIRST_DELAY * 2 ** min(self.failures - 2, 10)
        self.until = now + min(delay, LONGEST_DELAY)
        return self.until - now

    def reset(self) -> None:
        """Forget the failures: something went well."""
        self.failures, self.until = 0, 0.0


def slow_down(delay: float) -> list[Log]:
    """Return what the log says of a delay, if there is one."""
    return [Log("warning", f"Workers die young: the next one is forked in {delay:g} s")] if delay else []
