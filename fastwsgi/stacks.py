"""Where threads and greenlets are: their Python stacks, for a log.

Must not know what they are doing there.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import green

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["finder", "greenlets"]

_OURS: Final = str(Path(__file__).parent) + os.sep


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
    """Return a stack in text, from where it leaves the server."""
    if frame is None:
        return "  (nowhere)"
    stack = traceback.extract_stack(frame)
    is_ours = [entry.filename.startswith(_OURS) for entry in stack]
    start = next((at for at in range(1, len(stack)) if is_ours[at - 1] and not is_ours[at]), 0)
    return "".join(traceback.format_list(stack[start:])).rstrip()
