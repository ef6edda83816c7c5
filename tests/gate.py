"""A gate that requests wait at, in the app, until the test opens it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.live import head
from tests.processes import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import LiveServer, Peer


class Gate:
    """FIFOs that an application reads to their end: it waits from when it opens one until the test lets it go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: list[Path] = []
        self._fds: list[int] = []
        self.path = self.place()

    def place(self) -> Path:
        """Return a FIFO for one more to wait at."""
        path = self._folder / f"gate-{len(self._paths)}"
        os.mkfifo(path)
        self._paths.append(path)
        return path

    def enter(self, server: LiveServer) -> Peer:
        """Start a request that waits here."""
        path = self.place()
        peer = server.connect()
        peer.send(head(f"/block?{path}"))
        self.wait_for_arrival(path)
        return peer

    def wait_for_arrival(self, path: Path | None = None) -> None:
        eventually(lambda: self._has_arrived(path or self.path))

    def _has_arrived(self, path: Path) -> bool:
        try:
            self._fds.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def open(self) -> None:
        """Let all go on that have arrived."""
        while self._fds:
            os.close(self._fds.pop())
