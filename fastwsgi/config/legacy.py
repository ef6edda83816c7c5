"""Settings of gunicorn 27 that mean nothing here: each is ignored with a warning, or refused with the reason.

Refused is what would mislead: a user who asks for it would get something else, or weaker parsing than they
believe to have. A value that asks for nothing (an empty one, gunicorn's default) is passed over in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LEGACY", "Legacy"]


@dataclass(frozen=True)
class Legacy:
    """One of them: its flag as gunicorn spells it, `why` it means nothing here, and what asks for nothing."""

    name: str
    flags: tuple[str, ...]
    is_switch: bool
    is_refused: bool
    why: str
    idle: tuple[object, ...]

    def is_idle(self, value: object) -> bool:
        """Return whether a value asks for nothing."""
        return not value or value in self.idle


def _rows(
    names: str, why: str, *, refused: bool = False, switch: bool = False, idle: tuple[object, ...] = ()
) -> Iterable[Legacy]:
    """Make rows of names; a name has its flag behind it, unless it is for configuration files only."""
    for entry in names.split():
        name, *flags = entry.split(":")
        yield Legacy(name, tuple(flags), switch, refused, why, idle)


_STRICT = "that would weaken the parsing of requests"
_HTTP2 = "fastwsgi speaks HTTP/1.1; a proxy in front can speak HTTP/2 to browsers"
_ASGI = "it is for ASGI applications, and fastwsgi serves WSGI ones"
_DIRTY = "fastwsgi has no dirty workers"
_CONTROL = "fastwsgi has no control socket; signals do what it is for"
_UWSGI = "fastwsgi speaks HTTP, not the uwsgi protocol"
_PASTE = "fastwsgi does not load Paste files; name the application, as in module:app"

_TABLE: tuple[Iterable[Legacy], ...] = (
    _rows(
        "permit_obsolete_folding:--permit-obsolete-folding strip_header_spaces:--strip-header-spaces"
        " permit_unconventional_http_version:--permit-unconventional-http-version",
        _STRICT,
        refused=True,
        switch=True,
    ),
    _rows(
        "casefold_http_method:--casefold-http-method",
        "methods are case-sensitive (RFC 9110 §9.1), and the app gets them as they were sent",
        refused=True,
        switch=True,
    ),
    _rows(
        "permit_unconventional_http_method:--permit-unconventional-http-method",
        "every method that is a token is served anyway",
        switch=True,
    ),
    _rows("spew:--spew", "use a debugger or a profiler, such as py-spy, instead", switch=True),
    _rows(
        "worker_tmp_dir:--worker-tmp-dir",
        "signs of life are in shared memory, and no file is needed for them",
    ),
    _rows("http_parser:--http-parser", "there is one parser", idle=("auto", "python", "fast")),
    _rows("ssl_version:--ssl-version", "TLS 1.2 and newer are spoken; ssl_context can change that"),
    _rows(
        "suppress_ragged_eofs:--suppress-ragged-eofs",
        "clients that leave without a word do no harm",
        switch=True,
        idle=(True,),
    ),
    _rows(
        "do_handshake_on_connect:--do-handshake-on-connect", "the event loop does the handshake", switch=True
    ),
    _rows("protocol:--protocol", _UWSGI, refused=True, idle=("http",)),
    _rows("uwsgi_allow_ips:--uwsgi-allow-from", _UWSGI),
    _rows("paste:--paste:--paster raw_paste_global_conf:--paste-global", _PASTE, refused=True),
    _rows("http_protocols:--http-protocols", _HTTP2, idle=("h1",)),
    _rows("http2_cleartext:--http2-cleartext", _HTTP2, idle=("off",)),
    _rows(
        "http2_max_concurrent_streams:--http2-max-concurrent-streams"
        " http2_initial_window_size:--http2-initial-window-size http2_max_frame_size:--http2-max-frame-size"
        " http2_max_header_list_size:--http2-max-header-list-size",
        _HTTP2,
    ),
    _rows(
        "root_path:--root-path asgi_loop:--asgi-loop asgi_lifespan:--asgi-lifespan"
        " asgi_disconnect_grace_period:--asgi-disconnect-grace-period"
        " websocket_max_message_size:--websocket-max-message-size",
        _ASGI,
        idle=("auto",),
    ),
    _rows("dirty_apps:--dirty-app", _DIRTY, refused=True),
    _rows(
        "dirty_workers:--dirty-workers dirty_timeout:--dirty-timeout dirty_threads:--dirty-threads"
        " dirty_graceful_timeout:--dirty-graceful-timeout"
        " on_dirty_starting dirty_post_fork dirty_worker_init dirty_worker_exit",
        _DIRTY,
    ),
    _rows("control_socket:--control-socket control_socket_mode:--control-socket-mode", _CONTROL),
    _rows("control_socket_disable:--no-control-socket", _CONTROL, switch=True),
)

LEGACY: Mapping[str, Legacy] = {row.name: row for rows in _TABLE for row in rows}
