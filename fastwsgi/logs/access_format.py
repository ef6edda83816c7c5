"""Formats of access-log lines, in gunicorn's atoms, or JSON: each is compiled once, into a plan (`Lines`).

Must not know: files, logging. Invariant: one request is one line, whatever a client sent.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _impl
from .._lines_py import (
    CALL,
    DERIVED,
    FILLED,
    NOTHING,
    SCALED,
    SIZE,
    STAMP,
    STATUS,
    TEXT,
    clean,
    value_of,
)
from ..errors import ConfigError

if TYPE_CHECKING:
    from .._lines_py import Step

__all__ = [
    "JSON",
    "Known",
    "LogFunction",
    "check_format",
    "clean",
    "compile_format",
    "json_line",
    "now",
    "user",
]

JSON = "json"
"""The format of an object in each line, by its name in the settings."""

LogFunction = Callable[[Mapping[str, Any], str, Sequence[tuple[str, str]] | None, int, float], None]

_Atom = tuple[int, Any]

_REQUEST_LINE = ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")

# gunicorn's atoms, as steps of a plan.
_ATOMS: dict[str, _Atom] = {
    "r": (CALL, lambda *request: " ".join(str(request[0].get(name, "-")) for name in _REQUEST_LINE)),
    "h": (FILLED, "REMOTE_ADDR"),
    "u": (DERIVED, ("HTTP_AUTHORIZATION", lambda value: user(str(value)))),
    "m": (TEXT, "REQUEST_METHOD"),
    "U": (TEXT, "PATH_INFO"),
    "q": (TEXT, "QUERY_STRING"),
    "H": (TEXT, "SERVER_PROTOCOL"),
    "f": (TEXT, "HTTP_REFERER"),
    "a": (TEXT, "HTTP_USER_AGENT"),
    "t": (STAMP, None),
    "s": (STATUS, None),
    "b": (SIZE, None),
    "B": (SIZE, None),
    "T": (SCALED, 1.0),
    "M": (SCALED, 1e3),
    "D": (SCALED, 1e6),
    "L": (CALL, lambda *request: f"{request[-1]:.6f}"),
    "p": (CALL, lambda *_request: f"<{os.getpid()}>"),
}
_NUMBERS = "BTMD"

_FIELD = re.compile(r"%(?:(%)|\(([^)]*)\)([-+ #0]*[0-9]*(?:\.[0-9]+)?)([a-zA-Z]))")
_NAMED = re.compile(r"\{([\w.-]+)\}([ioe])", re.ASCII)


class Known(dict[str, Any]):
    """An environ with "-" for what is not in it, as for a request that was cut off in its head."""

    def __missing__(self, key: str) -> str:
        return "-"


def compile_format(fmt: str, lines: list[bytes], clock: Callable[[], float] = time.time) -> LogFunction:
    """Make the function that appends a line of format `fmt` to `lines`.

    Raises:
        ConfigError: the format is not one.
    """
    if fmt == JSON:
        return _json_log(lines.append, clock)
    return _impl.Lines(list(_plan(fmt)), lines, clock, _stamp).log


def _plan(fmt: str) -> Iterator[Step]:
    text = ""
    for literal, atom in _split(fmt):
        text += literal
        if atom is None:
            continue
        yield text.encode("utf-8", "backslashreplace"), *atom
        text = ""
    yield text.encode("utf-8", "backslashreplace"), NOTHING, None


def check_format(fmt: str) -> None:
    """Raise ConfigError if `fmt` is not a format of access-log lines."""
    compile_format(fmt, [])


def _split(fmt: str) -> Iterator[tuple[str, _Atom | None]]:
    """Yield the format as pairs of a literal and the atom that follows it, if one does."""
    position = 0
    for match in _FIELD.finditer(fmt):
        literal = fmt[position : match.start()]
        _refuse_percent(literal, fmt)
        position = match.end()
        percent, name, width, conversion = match.groups()
        if percent:
            yield literal + "%", None
        elif match[0] == "%(r)s":
            # The three parts cost less each by itself.
            for name in _REQUEST_LINE:
                yield literal, (TEXT, name)
                literal = " "
        else:
            if conversion != "s" and not (conversion in "di" and name in _NUMBERS):
                msg = f"access_log_format = {fmt!r}: %({name}){width}{conversion} must be %({name}){width}s"
                raise ConfigError(msg)
            atom = _atom(name)
            if width:
                atom = _laid_out(f"%{width}{conversion}", atom)
            # As in gunicorn, an atom that is not known is a dash.
            yield (literal, atom) if atom else (f"{literal}-", None)
    _refuse_percent(fmt[position:], fmt)
    yield fmt[position:], None


def _refuse_percent(literal: str, fmt: str) -> None:
    if "%" in literal:
        msg = f"access_log_format = {fmt!r}: a % starts %(name)s, or is written %%"
        raise ConfigError(msg)


def _atom(name: str) -> _Atom | None:
    named = _NAMED.fullmatch(name)
    if not named:
        return _ATOMS.get(name)
    name, source = named.groups()
    if source == "o":
        return CALL, lambda *request: _header(request[2], name.lower())
    if source == "i":
        name = name.upper().replace("-", "_")
        return TEXT, name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
    if name == name.upper():
        return TEXT, name
    # gunicorn takes the names of variables in any case; environ has them in one of two.
    return CALL, lambda *request: request[0].get(name, request[0].get(name.upper(), "-"))


def _laid_out(layout: str, atom: _Atom | None) -> _Atom:
    if atom is None:
        return CALL, lambda *_request: layout % "-"
    if atom == _ATOMS["t"]:
        return CALL, lambda *_request: layout % now()
    return CALL, lambda *request: layout % (value_of(*atom, *request),)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _stamp(now: float) -> str:
    # Month names of our own: strftime's follow the application's locale.
    local = time.localtime(now)
    return time.strftime(f"[%d/{_MONTHS[local.tm_mon - 1]}/%Y:%H:%M:%S %z]", local)


def user(authorization: str) -> str:
    """Return the user of Basic authentication, "-" for any other scheme."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        return base64.b64decode(credentials.strip()).partition(b":")[0].decode() or "-"
    except (binascii.Error, ValueError):
        return "-"


def _header(headers: Sequence[tuple[str, str]] | None, name: str) -> str:
    return next((value for key, value in headers or () if key.lower() == name), "-")


# --- JSON -----------------------------------------------------------------------------------------------


def _json_log(append: Callable[[bytes], None], clock: Callable[[], float]) -> LogFunction:
    def log(
        environ: Mapping[str, Any],
        status: str,
        _headers: Sequence[tuple[str, str]] | None,
        nbytes: int,
        seconds: float,
    ) -> None:
        append(json_line(environ, status, nbytes, seconds, clock()).encode())

    return log


def json_line(
    environ: Mapping[str, Any], status: str, nbytes: int, seconds: float, now: float | None = None
) -> str:
    """Return a line of JSON for a request that ended at `now`; what is not known of it is null.

    All but printable ASCII is escaped as JSON does it.
    """
    known = environ.get
    authorization = known("HTTP_AUTHORIZATION")
    name = user(str(authorization)) if authorization else "-"
    fields = {
        "time": _iso_time(time.time() if now is None else now),
        "remote_addr": known("REMOTE_ADDR") or None,
        "user": None if name == "-" else name,
        "method": known("REQUEST_METHOD"),
        "path": _decoded(known("PATH_INFO")),
        "query": known("QUERY_STRING"),
        "protocol": known("SERVER_PROTOCOL"),
        "host": known("HTTP_HOST"),
        "status": int(status[:3]) if status[:3].isdecimal() else None,
        "bytes": nbytes,
        "duration": round(seconds, 6),
        "referer": _decoded(known("HTTP_REFERER")),
        "user_agent": _decoded(known("HTTP_USER_AGENT")),
        "pid": os.getpid(),
    }
    return _to_json(fields)


_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _iso_time(now: float) -> str:
    second, zone = _iso_second(int(now))
    return f"{second}.{int(now % 1 * 1000):03d}{zone}"


@functools.lru_cache(maxsize=4)
def _iso_second(second: int) -> tuple[str, str]:
    local = time.localtime(second)
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local), f"{zone[:3]}:{zone[3:]}"


def _decoded(text: Any) -> Any:
    """Return what is UTF-8 in environ, where each byte stands for itself, as the text that it is."""
    if not isinstance(text, str) or text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def now() -> str:
    """Return the time as lines have it: [28/Nov/2026:14:00:00 +0000]."""
    return _stamp(time.time())
