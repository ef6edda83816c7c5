"""Addresses as users write them: their grammar, and what is wrong with one that is none."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..errors import ConfigError

__all__ = ["Address", "mistake", "parse"]

DEFAULT_PORT: Final = 8000


class Address(NamedTuple):
    """An address taken apart: of a TCP port, a Unix socket (`path`), or an inherited descriptor (`fd`)."""

    text: str  # as the user wrote it
    host: str = ""
    port: int = 0
    path: str = ""  # begins with a NUL if abstract
    fd: int = -1

    @property
    def place(self) -> tuple[str, int] | str | int:
        """Where it is, as gunicorn shows it: host and port, a path, or a descriptor."""
        if self.fd >= 0:
            return self.fd
        return self.path or (self.host, self.port)


def parse(text: str) -> Address:
    """Take an address apart: HOST:PORT, :PORT, HOST, PORT, [IPV6]:PORT, unix:PATH, unix:@NAME or fd://N.

    Raises:
        ConfigError: it is none of these.
    """
    for prefix in ("unix://", "unix:"):
        if text.startswith(prefix):
            return _parse_unix(text, text.removeprefix(prefix))
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not number.isdecimal():
            raise mistake(text, f"{number!r} is not the number of a descriptor, as in fd://3")
        return Address(text, fd=int(number))
    rest = re.sub("^(tcp|http)://", "", text)
    if rest.isdecimal():
        return Address(text, "127.0.0.1", _parse_port(text, rest))
    match = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", rest)
    if match is None:
        if rest.count(":") > 1:
            host = rest.strip("[]")
            raise mistake(text, f"write an IPv6 address in brackets, as in [{host}]:{DEFAULT_PORT}")
        match = re.fullmatch("([^:]*)(?::(.*))?", rest)
    if match is None or not rest:
        raise mistake(text, "write HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N")
    host, port = match.groups()
    if not host or host == "*":
        host = "::" if rest.startswith("[") else "0.0.0.0"  # noqa: S104 - what `:8000` says
    return Address(text, host, DEFAULT_PORT if port is None else _parse_port(text, port))


def _parse_unix(text: str, path: str) -> Address:
    if path.startswith("@"):
        path = "\0" + path[1:]
    if path in ("", "\0"):
        raise mistake(text, "write the path of the socket, as in unix:/run/app.sock")
    return Address(text, path=path)


def _parse_port(text: str, port: str) -> int:
    if not port.isdecimal() or int(port) > 0xFFFF:
        raise mistake(text, f"port {port!r} is not a number from 0 to 65535")
    return int(port)


def mistake(text: str, why: str) -> ConfigError:
    """Return the error of an address that cannot be listened on."""
    return ConfigError(f"cannot listen on {text!r}: {why}")
