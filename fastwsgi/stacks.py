"""Where threads and greenlets are: their Python stacks, for a log.

Must not know what they are doing there.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING

from . import green

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["finder", "greenlets"]


def finder() -> Callable[[], str]:
    """Return a function that tells where the thread, or greenlet, is that has called this."""
    if green.is_patched():
        from gevent import getcurrent  # noqa: PLC0415 - an extra

        greenlet = getcurrent()
        return lambda: _show(greenlet.gr_frame)
    identity = threading.get_ident()
    return lambda: _show(sys._current_frames().get(identity))  # noqa: SLF001 - documented, for debuggers


def greenlets() -> str:
    """Return the stacks of all greenlets, "" if there are none; faulthandler knows only the one that runs."""
    if not green.is_patched():
        return ""
    from gevent.util import format_run_info  # noqa: PLC0415

    return "\n".join(format_run_info(thread_stacks=False))


def _show(frame: FrameType | None) -> str:
    return "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "  (nowhere)"
