"""gevent: one request in a greenlet each, on one thread.

The loop is the same as with threads: locks, threads and sleep are gevent's once it has patched the standard
library, so that the crew of a loop (crew.py) is made of greenlets. What is left is here: the wait for events,
which has to let the others run; locks that a request's timeout does not break; and the way round the patches,
for what must not become a matter of gevent (a master that forks, a poller of our own).

A program or a configuration file may have patched before any of this is imported. So what counts is whether
gevent has patched, wherever the answer does not depend on a setting.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from . import gil
from .states import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Lock",
    "after_fork",
    "current",
    "is_installed",
    "is_patched",
    "make_wait",
    "park",
    "patch",
    "primitives",
    "unpatched",
]


def is_installed() -> bool:
    """Return whether gevent can be imported; it is not imported by this."""
    return importlib.util.find_spec("gevent") is not None


def is_patched() -> bool:
    """Return whether threads are greenlets in this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def patch() -> None:
    """Make what blocks in the standard library give way to other greenlets; a second time changes nothing."""
    from gevent import monkey  # noqa: PLC0415 - an extra, and heavy

    if not is_patched():
        monkey.patch_all()


def unpatched(module: str, name: str) -> Any:
    """Return what `module` of the standard library has under `name` when gevent has replaced nothing."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return getattr(importlib.import_module(module), name)
    return monkey.get_original(module, name)


def after_fork() -> None:
    """Give the new process a hub of its own, if there is one; its poller would be the parent's as well."""
    hub = sys.modules.get("gevent.hub")
    if hub is not None:
        hub.reinit()


def current() -> object:
    """Return the greenlet that runs, None where there are none."""
    if not is_patched():
        return None
    from gevent import getcurrent  # noqa: PLC0415

    greenlet: object = getcurrent()
    return greenlet


def park() -> None:
    """Run no more: whoever calls is of another process than this, which was forked from it."""
    from gevent.exceptions import LoopExit  # noqa: PLC0415
    from gevent.hub import get_hub  # noqa: PLC0415

    while True:
        try:
            get_hub().switch()
        except LoopExit:
            os._exit(0)  # nobody else is left
        except BaseException:  # noqa: S112 - meant for what is no more
            continue


def make_wait(fd: int) -> Callable[[float], Any]:
    """Return a function that lets other greenlets run until `fd` is readable, or for some seconds.

    With 0 seconds it only lets those run that are ready. A poller's descriptor is readable when the poller
    has something to report.
    """
    import gevent  # noqa: PLC0415
    from gevent.hub import get_hub  # noqa: PLC0415
    from gevent.socket import wait  # noqa: PLC0415

    process = os.getpid()
    watcher = get_hub().loop.io(fd, 1)  # 1: READ
    fatal = _fatal()

    def wait_readable(seconds: float) -> None:
        try:
            if seconds > 0:
                wait(watcher, seconds)
            else:
                gevent.sleep(0)
        except fatal:
            raise
        except BaseException:  # noqa: S110 - the time is over, or see Lock
            pass
        if os.getpid() != process:
            park()

    return wait_readable


def primitives() -> dict[str, Any]:
    """Return what a Crew takes that depends on whether it is made of greenlets: arguments by name."""
    is_green = is_patched()
    return {
        "switch_interval": NEVER if is_green else sys.getswitchinterval() if gil.has_gil() else 0.0,
        "clock": time.monotonic,
        "sleep": time.sleep,
        "lock": Lock() if is_green else None,
        "make_lock": Lock if is_green else threading.Lock,
    }


class Lock:
    """A lock of greenlets, whose acquire() succeeds whatever is thrown at the greenlet meanwhile.

    A gevent.Timeout that a request has left running, or a kill() that comes late, hits the greenlet when it
    has become the server's again: it is for a request that is over, and must not end the loop.
    """

    __slots__ = ("_fatal", "_semaphore", "release")

    def __init__(self) -> None:
        """Be free."""
        from gevent.lock import Semaphore  # noqa: PLC0415

        self._semaphore = Semaphore()
        self._fatal = _fatal()
        self.release = self._semaphore.release

    def acquire(self) -> bool:
        """Wait until it is free, and take it."""
        while True:
            try:
                return bool(self._semaphore.acquire())
            except self._fatal:
                raise
            except BaseException:  # noqa: S112
                continue


def _fatal() -> tuple[type[BaseException], ...]:
    """Return what ends the process: gevent throws SystemExit of any greenlet at the main one."""
    from gevent.exceptions import LoopExit  # noqa: PLC0415

    return (KeyboardInterrupt, SystemExit, LoopExit)
