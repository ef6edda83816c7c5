"""The variables that the setting raw_env puts into the environment of this process, and how it was before.

Must not know where the setting comes from. Invariant: `put` begins with the environment that was there
before: what the setting no longer names is as it was.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Variables"]


class Variables:
    """What was put into the environment, and what had been in its place."""

    def __init__(self) -> None:
        self._ours: tuple[str, ...] = ()
        self._before: dict[str, str | None] = {}

    def put(self, variables: Iterable[str]) -> None:
        """Set these, as NAME=VALUE, in place of those set before."""
        self.restore()
        self._ours = tuple(variables)
        for variable in self._ours:
            name, _, value = variable.partition("=")
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def restore(self) -> None:
        """Make the environment what it was."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._ours, self._before = (), {}

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Make the environment what it was for a time, in which the configuration is read."""
        ours = self._ours
        self.restore()
        try:
            yield
        finally:
            self.put(ours)
