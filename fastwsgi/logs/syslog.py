"""Log lines to a syslog daemon, in the words of logging's own SysLogHandler.

Unlike that one, a handler of ours does without the daemon: it connects when there is something to say, tries
again every few seconds, and says so once in the error log. Must not know: what is logged.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from .log_file import ERROR_LOG

if TYPE_CHECKING:
    from ..config.settings import Config

__all__ = ["SyslogHandler", "make_handler"]

_PORT: Final = 514
_AGAIN: Final = 5.0  # seconds after which a daemon that is away is tried again
_PATIENCE: Final = 0.5  # seconds that one line may take


class SyslogHandler(logging.handlers.SysLogHandler):
    """A handler for the daemon at `where`: a path, or host and port."""

    def __init__(
        self, where: str | tuple[str, int], kinds: tuple[socket.SocketKind, ...], facility: int
    ) -> None:
        # Not SysLogHandler's, which connects: a daemon that is away would stop the server.
        logging.Handler.__init__(self)
        self.facility = facility
        self._where = where
        self._kinds = kinds
        self._socket: socket.socket | None = None
        self._pid = 0
        self._again_at = 0.0
        self._is_away = False

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line; while the daemon is away, it is lost."""
        if self._again_at and time.monotonic() < self._again_at:
            return
        try:
            priority = self.encodePriority(self.facility, self.mapPriority(record.levelname))
            data = f"<{priority}>{self.format(record)}\0".encode("utf-8", "backslashreplace")
        except Exception:
            self.handleError(record)
            return
        try:
            self._send(data)
        except OSError as exc:
            self._again_at = time.monotonic() + _AGAIN
            if not self._is_away:
                self._is_away = True
                where = self._where if isinstance(self._where, str) else "{}:{}".format(*self._where)
                why = exc.strerror or exc
                ERROR_LOG.warning("syslog at %s: %s; lines to it are lost until that ends", where, why)
        else:
            self._again_at = 0.0
            self._is_away = False

    def _send(self, data: bytes) -> None:
        if self._pid != os.getpid():  # lines of several processes would mix in one stream
            self._hang_up()
            self._pid = os.getpid()
        is_fresh = self._socket is None
        try:
            self._connected().sendall(data)
        except OSError:
            self._hang_up()
            if is_fresh:
                raise
            # The daemon was started anew: its socket is another one now.
            try:
                self._connected().sendall(data)
            except OSError:
                self._hang_up()
                raise

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        failure: OSError | None = None
        for family, kind, address in self._candidates():
            sock = socket.socket(family, kind)
            sock.settimeout(_PATIENCE)
            try:
                sock.connect(address)
            except OSError as exc:
                sock.close()
                failure = exc
            else:
                self._socket = sock
                return sock
        raise failure or OSError("no address")

    def _candidates(self) -> list[tuple[int, int, Any]]:
        if isinstance(self._where, str):
            return [(socket.AF_UNIX, kind, self._where) for kind in self._kinds]
        found = socket.getaddrinfo(*self._where, type=self._kinds[0])
        return [(family, kind, address) for family, kind, _, _, address in found]

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
        logging.Handler.close(self)


def make_handler(cfg: Config, name: str, fmt: str) -> SyslogHandler:
    """Return a handler as `cfg` wants it, for the log `name`, "error" or "access".

    Raises:
        ConfigError: the address or the facility is none.
    """
    facilities = SyslogHandler.facility_names
    facility = facilities.get(cfg.syslog_facility.lower())
    if facility is None:
        raise cfg.mistake("syslog_facility", f"must be one of {', '.join(sorted(facilities))}")
    handler = SyslogHandler(*_parse(cfg), facility)
    # As gunicorn: rules of a daemon pick lines by this word.
    word = f"gunicorn.{cfg.syslog_prefix or str(cfg.proc_name).replace(':', '.')}.{name}"
    handler.setFormatter(logging.Formatter(f"{word.replace('%', '%%')}: {fmt}"))
    return handler


def _parse(cfg: Config) -> tuple[str | tuple[str, int], tuple[socket.SocketKind, ...]]:
    kinds = {"dgram": (socket.SOCK_DGRAM,), "stream": (socket.SOCK_STREAM,)}
    match = re.fullmatch(r"unix://([^#]+)(?:#(dgram|stream))?", cfg.syslog_addr)
    if match:
        return match[1], kinds.get(match[2], (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    match = re.fullmatch(r"(udp|tcp)://(?:\[([^\]]+)\]|([^:\[\]]*))(?::(\d{1,5}))?", cfg.syslog_addr)
    if match is None or int(match[4] or _PORT) > 0xFFFF:
        why = "must be unix://PATH, unix://PATH#dgram, unix://PATH#stream, udp://HOST:PORT or tcp://HOST:PORT"
        raise cfg.mistake("syslog_addr", why)
    host = match[2] or match[3] or "localhost"
    return (host.lower(), int(match[4] or _PORT)), kinds["dgram" if match[1] == "udp" else "stream"]
