"""A parsed request head, and the limits that heads and bodies are held to."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Limits", "Request"]


class Limits(NamedTuple):
    """What one request may have; sizes in bytes, 0 for no limit.

    The defaults of heads are gunicorn's; Apache has 8190 for a line, nginx 8K buffers.
    """

    request_line: int = 4094
    fields: int = 100
    field_size: int = 8190
    body: int = 1 << 30
    header_map: str = "drop"
    """What becomes of field names with an underscore: "drop", "refuse", or "dangerous" to keep them."""


class Request:
    """One request, as far as its head tells."""

    __slots__ = (
        "content_length",
        "environ",
        "expect_continue",
        "head_end",
        "is_head",
        "keep_alive",
        "method",
        "stream",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, environ: dict[str, Any], version: int, head_end: int) -> None:
        """Start a request without a body that asks for nothing special."""
        self.environ = environ
        self.method = ""  # and
        self.target = ""  # as they came, whatever the app does with environ
        self.version = version  # 0 for HTTP/1.0, 1 for 1.1 and the later ones of 1.x
        self.head_end = head_end  # offset just past the blank line, in the buffer that was parsed
        self.content_length = 0  # bytes of body to come; -1 = chunked
        self.is_head = False
        self.keep_alive = version > 0
        self.expect_continue = False
        self.upgrade = False
        self.stream: Any = None  # the BodyStream, where the app reads the body while it comes
