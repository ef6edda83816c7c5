"""Processes that the app forks: nothing of the server's goes on in them.

A fork inherits all that the worker has: sockets, which keep clients waiting for an end, and an address from
being bound anew; handlers that ignore TERM; the very code of the server around the app, which would answer
the worker's client a second time. So a fork lets go of the descriptors, and ends where the app returns.
It must not know what these descriptors are, nor what the app does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import green
from .processes import stdio

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

__all__ = ["leave", "watch"]

_forker: object = None  # the greenlet that has forked this process


def watch(disown: Callable[[], None]) -> None:
    """Call `disown` in each process that this one forks, for as long as it lives."""
    os.register_at_fork(after_in_child=lambda: _begin(disown))


def leave(error_log: logging.Logger, failure: BaseException | None) -> None:
    """End this fork, whose app has returned, or raised `failure`: as a program does.

    Of greenlets, only the one that has forked ends the process; others were not meant to be here.
    """
    if green.current() is not _forker:
        green.park()
    code = 0
    if isinstance(failure, SystemExit):
        code = _code_of(failure)
    elif failure is not None:
        error_log.error("Error in process (pid:%d), forked by the application", os.getpid(), exc_info=failure)
        code = 1
    else:
        error_log.warning(
            "Process (pid:%d), forked by the application, returns from it as the worker does; it ends here",
            os.getpid(),
        )
    stdio.flush()
    os._exit(code)


def _begin(disown: Callable[[], None]) -> None:
    global _forker
    _forker = green.current()
    disown()


def _code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1
