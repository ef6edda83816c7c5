"""A thread of the loop, as far as requests are concerned: what it has to itself, and what it is doing.

Threads are in the app at the same time, each between its start_response and the head that is made of it: so
each has a serializer and a courier. And each has a `contextvars.Context`, which only one thread can be in.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from . import stacks

if TYPE_CHECKING:
    from contextvars import Context

    from ._courier_py import Courier
    from ._places_py import Places
    from ._serializer_py import Serializer

__all__ = ["Runner"]


class Runner:
    """Thread `number` of a loop."""

    __slots__ = (
        "_clean",
        "_date",
        "context",
        "courier",
        "find",
        "gate",
        "identity",
        "job",
        "number",
        "place",
        "relieves",
        "serializer",
        "since",
    )

    def __init__(self, number: int, serializer: Serializer, courier: Courier, clean: Context) -> None:
        """Do nothing yet. Requests begin with what is set in `clean`."""
        self.number = number
        self.serializer = serializer
        self.courier = courier
        self.context = clean.copy()
        self._clean = clean
        self._date = ""
        self.job: Any = None  # the channel whose request it has in the app
        self.relieves = False  # it has come back when all seats were taken, and who leads may be asleep
        self.since = 0.0  # when the app was called for it, or for its next piece, monotonic
        self.gate: Any = threading.Lock()  # taken by the app's thread while it talks with the client itself
        # Of the thread, once it runs: its number in the worker, its identity, and what tells its stack.
        self.place, self.identity = number, 0
        self.find: Any = None

    def sit(self, places: Places) -> None:
        """Become the thread that calls this."""
        self.identity = threading.get_ident()
        self.place = places.sit(self.number, self.identity)
        self.find = stacks.finder()

    def is_parted(self) -> bool:
        """Return whether the app has taken over the connection of its request."""
        return self.job is not None and bool(self.job.is_given())

    def stamp(self, date: str) -> None:
        """Set the Date of answers; to be called by this thread, who alone knows that it makes none now."""
        if self._date is not date:
            self._date = date
            self.serializer.stamp(date)

    def renew_context(self) -> None:
        """Leave the context to the response that is not done with it, and take a fresh one."""
        self.context = self._clean.copy()
