"""A server in the background, and the command that started it: it waits until the server serves, or cannot.

Owns the two forks, the new session, the standard streams of the daemon, and a pipe by which it tells the
command what to say on its standard error, and when to go with which exit code. Must not know what is started.
Invariants: the command ends only once the daemon serves or is gone; whoever reads what the command writes is
not kept waiting by the daemon; only the daemon itself writes to the pipe.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from typing import IO, TYPE_CHECKING, Final

from ..errors import EXIT_OK, EXIT_WORKER_BOOT
from . import fork, stdio
from .signals import HANDLED

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Command", "start"]

_UMASK: Final = 0o022
"""As gunicorn's daemon has; the setting umask is about sockets."""


class Command(logging.Handler):
    """The command that waits for a daemon, as the daemon sees it; a log's handler, to tell of mistakes.

    Args:
        fd: of the pipe to the command.
        is_mute: whether the daemon's own standard error leads nowhere, so that the command has to say things.
    """

    def __init__(self, fd: int, *, is_mute: bool) -> None:
        super().__init__(logging.WARNING)
        self._log: logging.Logger | None = None
        self._fd, self._pid, self._is_mute = fd, os.getpid(), is_mute
        self._write("pid", self._pid)

    def say(self, text: str) -> None:
        """Have it write this on its standard error."""
        if self._is_mute:
            self._write("say", text)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Have it tell what went wrong."""
        if self._is_mute and os.getpid() == self._pid:
            title = "Error" if record.levelno >= logging.ERROR else "Warning"
            self._write("say", f"{title}: {self.format(record)}\n")

    def follow(self, log: logging.Logger) -> None:
        """Have it tell of each warning and error in a log, until it is let go."""
        self._log = log
        log.addHandler(self)

    def let_go(self, code: int = EXIT_OK) -> None:
        """Let it go with this exit code; a second time changes nothing."""
        if self._fd >= 0:
            self._write("exit", code)
            self.leave()

    def leave(self) -> None:
        """Close the pipe; in a worker, which says nothing by it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._log is not None:
                self._log.removeHandler(self)

    def _write(self, word: str, value: object) -> None:
        try:
            if self._fd >= 0:
                stdio.write_all(self._fd, json.dumps([word, value]).encode() + b"\n")
        except OSError:
            # The command was ended; the server goes on.
            pass


def start(serve: Callable[[Command], int], *, keep_output: bool) -> int:
    """Run `serve` in a daemon; return, in the command, the exit code.

    Args:
        serve: calls `Command.let_go` once it serves; returns the exit code of the daemon.
        keep_output: leave standard output and error where they are, if that is no terminal.
    """
    stdio.fill_standard_descriptors()
    is_mute = not keep_output or os.isatty(2)
    ours, theirs = os.pipe()

    def leader() -> int:
        # A session of its own: no terminal's hang-up or ^C comes here. Not its leader: it gets no terminal.
        os.setsid()
        fork.fork(daemon)
        return EXIT_OK

    def daemon() -> int:
        # What the app does while it is loaded must be as stoppable as in the foreground.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        os.close(ours)
        os.umask(_UMASK)
        stdio.silence(0)
        for fd in (1, 2):
            if not keep_output or os.isatty(fd):
                stdio.silence(fd)
        command = Command(theirs, is_mute=is_mute)
        code = EXIT_WORKER_BOOT
        try:
            code = serve(command)
        except BaseException:
            command.say(traceback.format_exc())
        command.let_go(code)
        return code

    # Whoever is interrupted must know whom to stop: until then, ^C waits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    pid = fork.fork(leader)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        fork.wait(pid)
        first = pipe.readline()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return _wait(pipe)
        except KeyboardInterrupt:
            # Who stops the command before the server serves does not want it.
            if first:
                os.kill(json.loads(first)[1], signal.SIGINT)
            raise


def _wait(pipe: IO[bytes]) -> int:
    """Say what the daemon has the command say, until it lets it go; return the exit code."""
    for line in pipe:
        word, value = json.loads(line)
        if word == "exit":
            return int(value)
        sys.stderr.write(value)
        sys.stderr.flush()
    sys.stderr.write("Error: the daemon ended while it was starting; the error log may tell why\n")
    return EXIT_WORKER_BOOT
