"""Figures for statsd: gunicorn's names and values, in the lines of its protocol, in datagrams.

Must not know: who counts. Invariants: nothing here waits or raises once it is made; figures of requests are
gathered until `flush`, others go out at once; what cannot be sent is lost, as datagrams are.
"""

from __future__ import annotations

import copy
import re
import socket
from typing import TYPE_CHECKING, Any

from .log_file import ERROR_LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config.settings import Config

__all__ = ["Statsd"]

_PORT = 8125
_MOST = 1432  # bytes of a datagram: with its headers it fits the 1500 of Ethernet, and of VPNs
_MOST_WAITING = 1024  # lines


class Statsd:
    """A client of the statsd that `cfg` names."""

    def __init__(self, cfg: Config) -> None:
        """Make the socket.

        Raises:
            ConfigError: the address is none.
        """
        prefix = cfg.statsd_prefix.rstrip(".")
        self._prefix = prefix + "." if prefix else ""
        self._suffix = f"|#{','.join(cfg.dogstatsd_tags)}" if cfg.dogstatsd_tags else ""
        self._lines: list[bytes] = []
        family, self._address = _resolve(cfg)
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        if self._address is None:
            ERROR_LOG.warning("statsd_host = %r cannot be found; no figures until a reload", cfg.statsd_host)

    def log(
        self, environ: Mapping[str, Any], status: str, headers: object, nbytes: int, seconds: float
    ) -> None:
        """Count a request that is over, as AccessLog.log is told of it."""
        del environ, headers, nbytes
        if len(self._lines) > _MOST_WAITING:
            self.flush()
        self._lines += (
            self._line("gunicorn.request.duration", round(seconds * 1e3, 3), "ms"),
            self._line("gunicorn.requests", 1, "c|@1.0"),
            self._line(f"gunicorn.request.status.{status[:3] or '0'}", 1, "c|@1.0"),
        )

    def flush(self) -> None:
        """Send what was gathered."""
        count = len(self._lines)
        if not count:
            return
        lines = self._lines[:count]
        del self._lines[:count]
        datagram = b""
        for line in lines:
            if len(datagram) + 1 + len(line) > _MOST and datagram:
                self._send(datagram)
                datagram = line
            else:
                datagram = datagram + b"\n" + line if datagram else line
        self._send(datagram)

    def reopen(self) -> None:
        """Have no file to open anew."""

    def another(self) -> Statsd:
        """Return one that sends by the same socket, for a thread of its own."""
        other = copy.copy(self)
        other._lines = []  # noqa: SLF001 - its own
        return other

    def gauge(self, name: str, value: object) -> None:
        """Tell what a value is now."""
        self._send(self._line(name, value, "g"))

    def increment(self, name: str, value: object, sampling_rate: float = 1.0) -> None:
        """Add to a counter."""
        self._send(self._line(name, value, f"c|@{sampling_rate}"))

    def decrement(self, name: str, value: object, sampling_rate: float = 1.0) -> None:
        """Take from a counter."""
        self.increment(name, f"-{value}", sampling_rate)

    def timer(self, name: str, value: object) -> None:
        """Tell how many milliseconds something took."""
        self._send(self._line(name, value, "ms"))

    def histogram(self, name: str, value: object) -> None:
        """Tell one value of many."""
        self._send(self._line(name, value, "h"))

    def tell(self, extra: Mapping[str, Any]) -> None:
        """Send the figure of a log line, as gunicorn has it: extra={"metric": …, "value": …, "mtype": …}."""
        send = {
            "gauge": self.gauge,
            "counter": self.increment,
            "histogram": self.histogram,
            "timer": self.timer,
        }.get(extra.get("mtype", ""))
        if send is not None and extra.get("metric") and extra.get("value") is not None:
            send(extra["metric"], extra["value"])

    def close(self) -> None:
        """Send what was gathered, and close the socket."""
        self.flush()
        self._sock.close()

    def _line(self, name: str, value: object, kind: str) -> bytes:
        text = f"{self._prefix}{name}:{value}|{kind}{self._suffix}"
        return text.encode("ascii", "backslashreplace")

    def _send(self, datagram: bytes) -> None:
        if self._address is None:
            return
        try:
            self._sock.sendto(datagram, self._address)
        except OSError:
            pass  # it is away, or slow


def _resolve(cfg: Config) -> tuple[int, Any]:
    target = str(cfg.statsd_host)
    is_path = re.match(r"unix:(?://)?((?!//|\d+$).+)", target)
    if is_path:
        return socket.AF_UNIX, is_path[1]
    match = re.fullmatch(r"(?:udp://)?(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?", target)
    if match is None or int(match[3] or _PORT) > 0xFFFF:
        raise cfg.mistake("statsd_host", "must be HOST:PORT or unix://PATH")
    try:
        found = socket.getaddrinfo(match[1] or match[2], int(match[3] or _PORT), type=socket.SOCK_DGRAM)
    except OSError:
        return socket.AF_INET, None  # a name service that is away does not stop the server
    family, _, _, _, address = found[0]
    return family, address
