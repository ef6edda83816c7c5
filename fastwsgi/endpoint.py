"""What all connections of one listener share: parser, serializer, first environ, limits and timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._parser_py import Parser
    from ._serializer_py import Serializer
    from .errors import HTTPError
    from .proxy_header import ProxyProtocol
    from .request import Limits

__all__ = ["Endpoint"]


class Endpoint:
    """The common part of a listener's connections; times are in seconds, 0 for no limit."""

    __slots__ = (
        "base",
        "body_timeout",
        "complain",
        "header_timeout",
        "heartbeat",
        "keepalive",
        "keeps_alive",
        "limits",
        "log",
        "open_spool",
        "open_tunnel",
        "parser",
        "proxy_protocol",
        "region_of",
        "serializer",
        "spool_at",
        "streams",
        "transmit",
        "trusts",
        "write_timeout",
    )

    def __init__(
        self,
        parser: Parser,
        serializer: Serializer,
        base: dict[str, Any],
        limits: Limits,
        *,
        spool_at: int = 1024 * 1024,
        open_spool: Callable[[], Any],
        region_of: Callable[[Any], Any] | None = None,
        open_tunnel: Callable[[str], Any] | None = None,
        header_timeout: float = 30.0,
        body_timeout: float = 30.0,
        write_timeout: float = 30.0,
        keepalive: float = 2.0,
        streams: bool = False,
        log: Callable[..., None] | None = None,
        trusts: Callable[[str], bool] | None = None,
        proxy_protocol: ProxyProtocol | None = None,
    ) -> None:
        """Gather the parts.

        `open_spool` opens a temporary file for bodies of more than `spool_at` bytes; `region_of` tells the
        region of a file that sendfile(2) could send, and is None where it may not be used; `open_tunnel`
        begins TLS with a client of that address, and is None where none is spoken. The engine sets
        `transmit`, which sends what a connection has put out while its app still runs, `heartbeat`, which is
        told the monotonic time while a thread that leads the loop waits for a client, `complain`, which is
        told who was refused, and why, and clears `keeps_alive` when it stops: from then on, answers end their
        connections. `streams` says that the app is called before a body has come whole, and reads it itself.
        `log` is told of each request that is over, as AccessLog.log is; None for nobody. `trusts` tells of a
        peer's address whether it is a proxy that is believed; `proxy_protocol` reads what connections
        begin with.
        """
        self.parser = parser
        self.serializer = serializer
        self.base = base
        self.limits = limits
        self.spool_at = spool_at
        self.open_spool = open_spool
        self.region_of = region_of
        self.open_tunnel = open_tunnel
        self.transmit: Callable[[Any], None] | None = None
        self.heartbeat: Callable[[float], None] | None = None
        self.complain: Callable[[str, HTTPError], None] | None = None
        self.header_timeout = header_timeout
        self.body_timeout = body_timeout
        self.write_timeout = write_timeout
        self.keepalive = keepalive
        self.keeps_alive = keepalive > 0
        self.streams = streams
        self.log: Any = log
        self.trusts = trusts
        self.proxy_protocol = proxy_protocol
