"""How much memory a process has of its own, as /proc tells; only Linux does."""

from __future__ import annotations

import os
import sys
from typing import Final

__all__ = ["IS_KNOWN", "own_memory"]

IS_KNOWN: Final = sys.platform == "linux"


def own_memory(pid: int) -> int:
    """Return the bytes in RAM that are not mapped from files or shared memory; 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * os.sysconf("SC_PAGESIZE")
