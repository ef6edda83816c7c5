"""gevent: one request in a greenlet each, on one thread.

The loop is the same as with threads: locks, threads and sleep are gevent's once it has patched the standard
library, so that the crew of a loop (crew.py) is made of greenlets. What is left is the wait for events, which
has to let the others run, here.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_installed", "make_wait", "patch"]


def is_installed() -> bool:
    """Return whether gevent can be imported; it is not imported by this."""
    return importlib.util.find_spec("gevent") is not None


def patch() -> None:
    """Make what blocks in the standard library give way to other greenlets; a second time changes nothing."""
    from gevent import monkey  # noqa: PLC0415 - an extra, and heavy

    if not monkey.is_module_patched("threading"):
        monkey.patch_all()


def make_wait(fd: int) -> Callable[[float], Any]:
    """Return a function that lets other greenlets run until `fd` is readable, or for some seconds.

    With 0 seconds it only lets those run that are ready. A poller's descriptor is readable when the poller
    has something to report.
    """
    import gevent  # noqa: PLC0415
    from gevent.hub import get_hub  # noqa: PLC0415
    from gevent.socket import wait  # noqa: PLC0415

    watcher = get_hub().loop.io(fd, 1)  # 1: READ

    def wait_readable(seconds: float) -> None:
        if seconds > 0:
            try:
                wait(watcher, seconds)
            except TimeoutError:
                pass
        else:
            gevent.sleep(0)

    return wait_readable
