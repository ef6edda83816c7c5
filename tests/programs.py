"""Programs of the system that a test starts: nginx, HAProxy, logrotate. Each ends by its pid, with the test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.live import DEADLINE, ROOT
from tests.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPLOY = ROOT / "deploy"


def needs(program: str) -> pytest.MarkDecorator:
    is_missing = shutil.which(program) is None and not os.environ.get("CI")
    return pytest.mark.skipif(is_missing, reason=f"{program} is not installed")


def substituted(example: str, *changes: tuple[str, str]) -> str:
    """Return an example of deploy/ for the addresses of a test; each change must meet something in it."""
    text = (DEPLOY / example).read_text()
    for old, new in changes:
        assert old in text, f"{old!r} is not in {example}"
        text = text.replace(old, new)
    return text


class Port:
    """A port of the kernel's choice, which it gives nobody else until the program listens that is told of it.

    Our socket is bound and does not listen, so that a server's SO_REUSEADDR lets it bind as well.
    """

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._sock.getsockname()
        self.text = "{}:{}".format(*self.address)

    def is_taken(self) -> bool:
        """Return whether somebody listens there by now; our own socket is let go of then."""
        try:
            socket.create_connection(self.address, DEADLINE).close()
        except ConnectionRefusedError:
            return False
        self._sock.close()
        return True

    def close(self) -> None:
        self._sock.close()


@contextmanager
def running(command: list[str], log: Path, port: Port) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that listens on a port; its output goes to a file, which is shown if it does not come up."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        eventually(lambda: process.poll() is not None or port.is_taken())
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        port.close()
        process.terminate()
        try:
            process.wait(DEADLINE)
        finally:
            process.kill()
            process.wait()
