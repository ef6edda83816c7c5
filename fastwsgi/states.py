"""The numbers that modules say to each other: states, outcomes, event bits.

Not compiled: a compiled module takes them over into C integers, which its `.pxd` declares.
"""

from __future__ import annotations

from typing import Final

# What is awaited of a descriptor, or reported of it.
READ: Final = 1
WRITE: Final = 2
HANGUP: Final = 4

# What a response still needs; see response.py.
PULLING: Final = 0
SENDING: Final = 1
EXHAUSTED: Final = 2
DONE: Final = 3

# What became of an attempt to send all that a connection has put out.
DRAINED: Final = 0
FULL: Final = 1
GONE: Final = 2

NEVER: Final = float("inf")
"""The deadline of what waits for nothing."""

BEAT: Final = 0.5
"""Seconds between two signs of life, while a thread waits for something."""

QUICK: Final = 0.001
"""Seconds; an app that takes no longer is run at once, and its answers may be held back."""

SLICE: Final = 0.01
"""Seconds for which one generator, or one pipeline, may keep the others waiting."""

ANY_NUMBER: Final = 1 << 30
"""A bound on what is counted that nothing reaches: of connections, of threads, of requests that wait."""

NO_THREAD: Final = -1
"""The leader of a crew that is led by nobody just now."""
