"""Times a call: the best of several repetitions, since whatever disturbs can only make it longer."""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["microseconds", "show"]

_REPEATS = 7


def microseconds(call: Callable[[], object]) -> float:
    """Return how many microseconds one `call` takes; the call itself, about 0.02, is included."""
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    number = max(1, number // 2)
    return min(timer.repeat(_REPEATS, number)) / number * 1e6


def show(name: str, call: Callable[[], object], calls: int = 1) -> None:
    """Print the time of `call`, divided by the `calls` it makes of what is measured."""
    print(f"{name:<44} {microseconds(call) / calls:8.3f} µs")
