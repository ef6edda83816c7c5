"""The socket of a service manager, by which services tell it what they are about."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from tests.live import DEADLINE

if TYPE_CHECKING:
    from types import TracebackType


class Manager:
    """Listens at a path or, as "@name", by an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.seen: list[tuple[int, str]] = []  # pid and line of all that was waited for or passed over

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.sock.close()

    def take(self) -> list[list[str]]:
        """Return the lines of each message that has come."""
        messages = []
        self.sock.setblocking(False)
        while True:
            try:
                messages.append(self._read())
            except BlockingIOError:
                return messages

    def wait_for(self, pattern: str) -> list[str]:
        """Return the lines of the next message with a line that matches; AssertionError if none comes."""
        self.sock.settimeout(DEADLINE)
        while True:
            try:
                lines = self._read()
            except TimeoutError:
                raise AssertionError(f"no {pattern!r}; what came: {self.seen}") from None
            if any(re.fullmatch(pattern, line) for line in lines):
                return lines

    def _read(self) -> list[str]:
        data, ancillary, _, _ = self.sock.recvmsg(4096, 4096)
        lines = data.decode().split("\n")
        pid = int.from_bytes(ancillary[0][2][:4], "little")
        self.seen += [(pid, line) for line in lines]
        return lines
