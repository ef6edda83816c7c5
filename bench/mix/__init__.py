"""The mix: a site, the users that bench/locustfile.py makes of locust, and servers measured under them.

The site and the users are imported from here in environments that have no use for the measuring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .measuring import measure

__all__ = ["measure"]


def __getattr__(name: str) -> Any:
    if name != "measure":
        raise AttributeError(name)
    from .measuring import measure  # noqa: PLC0415

    return measure
