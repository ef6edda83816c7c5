"""Listeners in the loop: their descriptors, what all connections of one share, and when none is accepted."""

from __future__ import annotations

import errno
import functools
from typing import TYPE_CHECKING

from ._impl import Parser
from .endpoint import Endpoint
from .files import open_spool, region_of
from .request import Limits
from .wsgi import base_environ

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from ._io_py import IO
    from ._serializer_py import Serializer
    from .settings import Config
    from .sockets import Listener

__all__ = ["Acceptor", "Reception", "make_acceptors"]

_PAUSE = 0.25  # seconds without accepting after descriptors ran out
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """A descriptor to accept from, which stays the owner's."""

    __slots__ = ("endpoint", "fd")

    def __init__(self, fd: int, endpoint: Endpoint) -> None:
        """Accept from `fd` for `endpoint`."""
        self.fd = fd
        self.endpoint = endpoint


class Reception:
    """All acceptors of a loop, open or closed together."""

    __slots__ = ("_again_at", "_error_log", "_io", "acceptors", "is_open")

    def __init__(self, acceptors: list[Acceptor], io: IO, error_log: logging.Logger) -> None:
        """Start closed."""
        self.acceptors = acceptors
        self.is_open = False
        self._io = io
        self._error_log = error_log
        self._again_at = 0.0

    def open(self, now: float) -> None:
        """Have waiting connections reported from now on, unless that has to pause."""
        if not self.is_open and now >= self._again_at:
            self.is_open = True
            for acceptor in self.acceptors:
                self._io.register_listener(acceptor.fd, acceptor)

    def close(self) -> None:
        """Let connections wait in the backlog."""
        if self.is_open:
            self.is_open = False
            for acceptor in self.acceptors:
                self._io.unregister(acceptor.fd)

    def accept(self, acceptor: Acceptor, now: float) -> int:
        """Return the descriptor of a new connection, -1 if none is to be had."""
        try:
            return self._io.accept(acceptor.fd)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            # The connection stays in the backlog and would be reported without end.
            self._error_log.warning("cannot accept connections for now: %s", error.strerror)
            self.close()
            self._again_at = now + _PAUSE
            return -1


def make_acceptors(
    listeners: Sequence[Listener],
    cfg: Config,
    serializer: Serializer,
    *,
    errors: object,
    multithread: bool,
    multiprocess: bool,
    early_hints: object,
) -> list[Acceptor]:
    """Return an acceptor for each listener; `errors` and `early_hints` go into environ."""
    limits = Limits(
        request_line=cfg.limit_request_line,
        fields=cfg.limit_request_fields,
        field_size=cfg.limit_request_field_size,
        body=cfg.limit_request_body,
        header_map=cfg.header_map,
    )
    parser = Parser(limits)
    acceptors = []
    for listener in listeners:
        base = base_environ(
            server_name=listener.server_name,
            server_port=listener.server_port,
            url_scheme="http",
            errors=errors,
            multithread=multithread,
            multiprocess=multiprocess,
            early_hints=early_hints,
        )
        endpoint = Endpoint(
            parser,
            serializer,
            base,
            limits,
            spool_at=cfg.body_buffer_size,
            open_spool=functools.partial(open_spool, cfg.tmp_upload_dir or None),
            region_of=region_of if cfg.sendfile else None,
            header_timeout=cfg.header_timeout,
            body_timeout=cfg.body_timeout,
            write_timeout=cfg.write_timeout,
            keepalive=cfg.keepalive,
            streams=not cfg.request_buffering,
        )
        acceptors.append(Acceptor(listener.fd, endpoint))
    return acceptors
