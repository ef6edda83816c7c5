"""Many cases in one test: several at a time against one server, and the first that fail are told by name.

One test for each of a few thousand cases would cost more than the cases themselves.
"""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Case = TypeVar("Case")

AT_ONCE: Final = 6
FAILURES: Final = 3
"""After so many, what is wrong is wrong with all of them, and nobody waits for the rest."""


def for_each(
    cases: Iterable[tuple[str, Case]], check: Callable[[Case], object], at_once: int = AT_ONCE
) -> int:
    """Call `check` with each of the named cases, on threads; return how many there were."""
    failures: list[str] = []

    def attempt(named: tuple[str, Case]) -> None:
        name, case = named
        if len(failures) >= FAILURES:
            return
        try:
            check(case)
        except Exception:
            failures.append(f"{name}:\n{traceback.format_exc()}")

    with ThreadPoolExecutor(at_once) as pool:
        count = sum(1 for _ in pool.map(attempt, cases))
    assert not failures, "\n".join(failures)
    return count
