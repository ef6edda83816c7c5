"""Request heads: the pure form of `_parser.pyx`, with the same interface and the same verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import policy

if TYPE_CHECKING:
    from .forwarding import Forwarding
    from .request import Limits, Request

__all__ = ["Parser"]


class Parser:
    """The parser of one loop; it keeps nothing of any connection."""

    __slots__ = ("_forwarding", "_limits")

    def __init__(self, limits: Limits, forwarding: Forwarding) -> None:
        """Hold requests to `limits`; `forwarding` is what proxies may say of them."""
        self._limits = limits
        self._forwarding = forwarding

    def parse(
        self,
        data: bytes,
        start: int,
        base: dict[str, Any],
        remote_addr: str,
        remote_port: str,
        trusted: bool,
    ) -> Request | None:
        """Parse the request head at `data[start:]`; return None if it is not whole.

        `base` is the environ that requests begin with; `trusted` says whether the peer is a proxy that is
        believed. Raises HTTPError.
        """
        begin, end = policy.frame(data, start, 0, self._limits)
        if end == 0:
            return None
        method, target, major, minor, fields = policy.read(data[begin:end])
        return policy.build(
            method,
            target,
            (major, minor),
            fields,
            end,
            self._limits,
            base,
            (remote_addr, remote_port),
            self._forwarding if trusted else None,
        )

    def head_end(self, buffer: bytes | bytearray, searched: int) -> int:
        """Return the offset past the head's blank line in a buffer that begins with it, 0 if not whole.

        `searched` is the length that the buffer had at the call before, 0 at the first: a head that comes
        byte by byte is then looked at once. Raises HTTPError when no more bytes could mend it.
        """
        return policy.frame(buffer, 0, searched, self._limits)[1]
