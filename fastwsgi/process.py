"""Processes of Unix: fork, signals as bytes on a descriptor, wait statuses, titles, the pidfile.

Owns what must be done right around fork() so that no signal is lost and no output is written twice. Must not
know the master's policy or the settings. Invariants:

- a signal in HANDLED is blocked from before fork() until the child has its own handlers;
- handlers do nothing: a signal becomes a byte on the wake-up descriptor, read by whoever polls it;
- every descriptor made here is closed by exec().
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import EXIT_WORKER_BOOT, ConfigError
from .green import after_fork, unpatched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

__all__ = ["Ending", "Pidfile", "Report", "Signals", "fill_standard_descriptors", "fork", "reap", "set_title"]

HANDLED: Final = frozenset(
    getattr(signal, f"SIG{name}")
    for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "CHLD", "ABRT")
)
"""Signals that master or worker handle in their own way."""

# gevent's would have its hub wait for our children, and deliver their signal.
_fork: Final = unpatched("os", "fork")
_waitpid: Final = unpatched("os", "waitpid")
_signal: Final = unpatched("signal", "signal")
_set_wakeup_fd: Final = unpatched("signal", "set_wakeup_fd")


# --- signals ---------------------------------------------------------------------------------------------


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the byte on the wake-up descriptor is the message."""


class Signals:
    """Signals of this process as bytes on a descriptor that a poller can watch.

    Args:
        names: the signals, without SIG ("TERM").

    Of the main thread only, as Python's handlers are.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {int(getattr(signal, f"SIG{name}")): name for name in names}
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._handlers: dict[int, object] = {}
        self._wakeup_fd = -1
        self._mask: set[int] = set()

    def install(self, handler: Handler = _ignore) -> None:
        """Take the signals over, also those that were blocked until now.

        Args:
            handler: called for each of them, for a time in which nobody reads the descriptor.
        """
        # A full pipe holds 64 Ki signals; what comes on top of that repeats what is in it.
        self._wakeup_fd = _set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in self._names:
            before = _signal(number, handler)
            self._handlers.setdefault(number, before)
        # A launcher may have blocked some; a fork of ours has blocked all.
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def hand_over(self) -> None:
        """From now on, someone reads the descriptor; what came before is still in it."""
        for number in self._names:
            _signal(number, _ignore)
            # A system call is taken up again after a signal, in C code as well.
            signal.siginterrupt(number, False)

    def take(self) -> list[str]:
        """Return the names of the signals that came since the last call, in order."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        # The application may have handlers of its own; their bytes come here, too.
        return [self._names[number] for number in data if number in self._names]

    def restore(self) -> None:
        """Give the signals back to the handlers that had them, and close."""
        for number, handler in self._handlers.items():
            # None: the handler was not set by Python and cannot be set by it.
            _signal(number, signal.SIG_DFL if handler is None else handler)
        self.close()
        _set_wakeup_fd(self._wakeup_fd)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._mask & HANDLED)

    def close(self) -> None:
        """Close the descriptors; in a fork, whose handlers are about to be replaced."""
        _set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write_fd)


# --- fork and the end of a fork --------------------------------------------------------------------------


def flush() -> None:
    """Write out what standard output and error hold back."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            # Closed, or nobody reads it any more.
            pass


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


# --- what a worker tells its master ----------------------------------------------------------------------


class Report(NamedTuple):
    """A worker's word on its boot: it is ready (code 0), or why not.

    `code` is the exit code this means for the server, `line` the reason in one line, `detail` a traceback.
    """

    code: int = 0
    line: str = ""
    detail: str = ""

    def write(self, fd: int) -> None:
        """Write it to a pipe; a master that is gone is no error."""
        # Bounded to what an empty pipe takes at once, so the last, telling, part of a traceback is kept.
        data = json.dumps([self.code, self.line[:4000], self.detail[-8000:]])
        try:
            os.write(fd, data.encode() + b"\n")
        except BrokenPipeError:
            pass

    @classmethod
    def read(cls, data: bytes) -> Report | None:
        """Return the report in what came from the pipe so far, or None if it is not yet whole."""
        line, newline, _ = data.partition(b"\n")
        return cls(*json.loads(line)) if newline else None


# --- surroundings ----------------------------------------------------------------------------------------


def fill_standard_descriptors() -> None:
    """Open /dev/null for those of the descriptors 0 to 2 that are closed.

    Else a socket would get such a number, and be written to by whoever prints.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # open() takes the lowest free number, which is this one.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)


def set_title(title: str) -> str:
    """Set what `ps` shows of this process, if setproctitle is installed; return what it showed before."""
    try:
        import setproctitle  # noqa: PLC0415 - the pure installation may be without it
    except ModuleNotFoundError:
        return ""
    before = setproctitle.getproctitle()
    setproctitle.setproctitle(title)
    return before


class Pidfile:
    """A file with the pid of the master.

    Raises ConfigError if it names a process that lives, or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        other = self._read()
        if other not in (0, self._pid) and _lives(other):
            raise ConfigError(
                f"pidfile {path!r}: process {other} is running; stop it, or name another file, "
                "or delete this one if that process is not fastwsgi"
            )
        # Written aside and renamed: a reader never sees half a number.
        aside = f"{path}.{self._pid}"
        try:
            with open(aside, "w", encoding="ascii") as file:
                file.write(f"{self._pid}\n")
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except OSError as exc:
            raise ConfigError(f"pidfile {path!r}: {exc.strerror}; name a file that can be written") from None

    def _read(self) -> int:
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return 0

    def remove(self) -> None:
        """Delete it, if it is still ours."""
        if os.getpid() == self._pid and self._read() == self._pid:
            try:
                os.unlink(self.path)
            except OSError:
                pass


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return pid > 0
