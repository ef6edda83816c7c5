"""fork() and the end of a fork: no signal is lost, and no output is written twice; and wait statuses.

Must not know the master's policy or the settings.
"""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import signal
import threading
import traceback
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import EXIT_WORKER_BOOT
from ..green import after_fork, unpatched
from .signals import HANDLED
from .stdio import flush

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Ending", "Selector", "fork", "join_threads", "leave", "reap", "wait"]

# gevent's would have its hub wait for our children.
_fork: Final = unpatched("os", "fork")
_waitpid: Final = unpatched("os", "waitpid")


class Selector(selectors.PollSelector):
    """Not epoll: a fork would share its set of descriptors with the child. Nor gevent's poll."""

    _selector_cls = unpatched("select", "poll")


def fork(child: Callable[[], int]) -> int:
    """Fork a process that runs `child` and exits with the code it returns.

    Args:
        child: begins with the signals in HANDLED blocked; `Signals.install` unblocks them.

    Returns:
        The pid of the child; in the child, this does not return.

    Raises:
        OSError: the system has no process or memory to spare.
    """
    # What is buffered now would be written by both.
    flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid: int = _fork()
        if pid == 0:
            _run(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _run(child: Callable[[], int]) -> None:
    code = EXIT_WORKER_BOOT
    try:
        # Exit functions registered so far are the parent's, and may delete its files; logging's is for all.
        atexit._clear()  # noqa: SLF001
        atexit.register(logging.shutdown)
        after_fork()
        code = child()
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)


def leave(code: int) -> None:
    """Exit from a fork: run exit functions and flush, but never return into the parent's frames."""
    try:
        atexit._run_exitfuncs()  # noqa: SLF001
        flush()
    finally:
        os._exit(code)


def join_threads() -> None:
    """Wait for the application's threads that are not daemons, as the interpreter does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - the interpreter's own call


class Ending(NamedTuple):
    """How a process ended: `signal` is a name without SIG, or empty if it exited with `code`."""

    pid: int
    code: int
    signal: str

    @classmethod
    def of(cls, pid: int, status: int) -> Ending:
        """Decode the status that wait() gave."""
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            try:
                name = signal.Signals(number).name.removeprefix("SIG")
            except ValueError:
                # Real-time signals have no names of their own.
                name = str(number)
            return cls(pid, 0, name)
        return cls(pid, os.WEXITSTATUS(status), "")


def reap(pids: Iterable[int]) -> list[Ending]:
    """Collect children that have ended, without waiting.

    Args:
        pids: our children. Others are left to the program around us; but as process 1, we collect every
            orphan of the container.
    """
    endings = []
    for wanted in [-1] if os.getpid() == 1 else pids:
        while True:
            try:
                pid, status = _waitpid(wanted, os.WNOHANG)
            except ChildProcessError:
                # A program around us that ignores SIGCHLD, or waits for all, took the status.
                if wanted > 0:
                    endings.append(Ending(wanted, 0, ""))
                break
            if pid == 0:
                break
            endings.append(Ending.of(pid, status))
            if wanted > 0:
                break
    return endings


def wait(pid: int) -> None:
    """Wait until a child has ended."""
    try:
        _waitpid(pid, 0)
    except ChildProcessError:
        # A program around us ignores SIGCHLD, or waits for all.
        pass
