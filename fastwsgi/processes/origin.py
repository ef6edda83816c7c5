"""The directory and environment that this process was started in, noted when the package is imported.

A program may change both before it serves; a new master is to find what the first one found.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["AT_IMPORT", "Origin"]


class Origin(NamedTuple):
    """Where a process was started; `directory` is "" if it is gone."""

    environ: dict[str, str]
    directory: str

    @classmethod
    def here(cls) -> Origin:
        """Look at this process as it is now."""
        try:
            return cls(dict(os.environ), os.getcwd())
        except OSError:
            return cls(dict(os.environ), "")


AT_IMPORT: Final = Origin.here()
