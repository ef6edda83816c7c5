"""Listeners in the loop: their descriptors, and what all connections of one share."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from ._impl import Parser
from .client_certificate import UNCERTIFIED
from .endpoint import Endpoint
from .errors import ConfigError
from .files import open_spool, region_of
from .forwarding import Forwarding
from .networks import Networks
from .proxy_header import ProxyProtocol
from .request import Limits
from .wsgi import base_environ

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from ._serializer_py import Serializer
    from .config.settings import Config
    from .processes.sockets import Listener

__all__ = ["Acceptor", "make_acceptors"]


class Acceptor:
    """A descriptor to accept from, which stays the owner's."""

    __slots__ = ("endpoint", "fd")

    def __init__(self, fd: int, endpoint: Endpoint) -> None:
        """Accept from `fd` for `endpoint`."""
        self.fd = fd
        self.endpoint = endpoint


def make_acceptors(
    listeners: Sequence[Listener],
    cfg: Config,
    serializer: Serializer,
    *,
    errors: object,
    multithread: bool,
    multiprocess: bool,
    early_hints: object,
    log: Callable[..., None] | None,
    tls: ssl.SSLContext | None = None,
) -> list[Acceptor]:
    """Return an acceptor for each listener; `errors` and `early_hints` go into environ."""
    open_tunnel = None
    if tls is not None:
        from .tunnel import Tunnel  # noqa: PLC0415 - OpenSSL is loaded only where it is needed

        open_tunnel = functools.partial(Tunnel, tls)
    limits = Limits(
        request_line=cfg.limit_request_line,
        fields=cfg.limit_request_fields,
        field_size=cfg.limit_request_field_size,
        body=cfg.limit_request_body,
        header_map=cfg.header_map,
    )
    forwarding = Forwarding.of(
        cfg.secure_scheme_headers, cfg.forwarder_headers, cfg.trusted_proxy_headers, cfg.forwarded_allow_ips
    )
    parser = Parser(limits, forwarding)
    proxy_protocol = None
    if cfg.proxy_protocol != "off":
        proxy_protocol = ProxyProtocol(cfg.proxy_protocol, Networks(cfg.proxy_allow_ips).include)
    trusted = Networks(cfg.forwarded_allow_ips)
    script_name = _script_name()
    acceptors = []
    for listener in listeners:
        base = base_environ(
            server_name=listener.server_name,
            server_port="443" if listener.is_unix and tls is not None else listener.server_port,
            url_scheme="http" if tls is None else "https",
            errors=errors,
            multithread=multithread,
            multiprocess=multiprocess,
            early_hints=early_hints,
            script_name=script_name,
        )
        if tls is not None and tls.verify_mode:
            base.update(UNCERTIFIED)
        endpoint = Endpoint(
            parser,
            serializer,
            base,
            limits,
            spool_at=cfg.body_buffer_size,
            open_spool=functools.partial(open_spool, cfg.tmp_upload_dir or None),
            region_of=region_of if cfg.sendfile else None,
            open_tunnel=open_tunnel,
            header_timeout=cfg.header_timeout,
            body_timeout=cfg.body_timeout,
            write_timeout=cfg.write_timeout,
            keepalive=cfg.keepalive,
            streams=not cfg.request_buffering,
            log=log,
            trusts=trusted.include,
            proxy_protocol=proxy_protocol,
        )
        acceptors.append(Acceptor(listener.fd, endpoint))
    return acceptors


def _script_name() -> str:
    """Return the path that the app is mounted at: SCRIPT_NAME of the process, as in gunicorn."""
    script_name = os.environ.get("SCRIPT_NAME", "").rstrip("/")  # PEP 3333: `/app`, and nothing for the root
    if script_name and not script_name.startswith("/"):
        raise ConfigError(f"SCRIPT_NAME = {script_name!r} (environment): write it with a slash, as in /app")
    return script_name
