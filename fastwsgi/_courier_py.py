"""Pieces of a response that are sent together: those that an app yields in quick succession.

A piece may wait for the next one only if its transmission goes on while the app makes that (PEP 3333,
"Buffering and Streaming"). In the compiled form a thread of its own sees to it, which needs no GIL: within
a few milliseconds it sends what still waits. Here there is none, for a thread of Python would have to wait
for the GIL, which the app may hold: nothing is carried, and each piece is sent by itself.

Each thread that calls the app has a courier, which carries for one connection at a time. Invariant: between
carry() and give_back() nobody else sends on that descriptor, or closes it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Courier"]


class Courier:
    """The pieces of one connection that wait to be sent."""

    def __init__(self) -> None:
        """Carry nothing yet."""
        self.sends = 0  # that took bytes before the last give_back()

    def carry(self, fd: int, out: list[Any]) -> bool:  # noqa: ARG002
        """Take all of `out` to be sent to `fd`, and empty it; return False if others have to send it."""
        return False

    def give_back(self) -> bytes:
        """Return what was not sent, and carry nothing any more. Raises OSError if the client has gone."""
        return b""
