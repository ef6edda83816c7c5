"""What a worker tells its master about its boot, through their pair of sockets."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

__all__ = ["Report"]


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
