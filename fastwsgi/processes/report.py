"""What a worker tells its master through their pair of sockets: about its boot, and that it is worn."""

from __future__ import annotations

import json
import os
from typing import Final, NamedTuple

__all__ = ["WORN", "Report"]

WORN: Final = -1
"""In place of a code: the worker serves on, and asks for a successor."""


class Report(NamedTuple):
    """A worker's word: it is ready (code 0), or why it cannot boot, or why it is to be replaced (WORN).

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
        except ConnectionError:
            pass

    @classmethod
    def take(cls, received: bytearray) -> list[Report]:
        """Take the reports that are whole from what came through the pipe; the rest stays."""
        lines = received.split(b"\n")
        received[:] = lines.pop()
        return [cls(*json.loads(line)) for line in lines]
