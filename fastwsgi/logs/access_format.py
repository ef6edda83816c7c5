"""Formats of access-log lines, in gunicorn's atoms, or JSON: each is compiled once, into one function.

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
from typing import Any

from ..errors import ConfigError

__all__ = [
    "JSON",
    "Known",
    "LogFunction",
    "check_format",
    "clean",
    "compile_format",
    "iso_second",
    "json_line",
    "now",
    "plan",
    "stamp_of",
    "user",
]

JSON = "json"
"""The format of an object in each line, by its name in the settings."""

Filling = tuple[int, tuple[str, ...]]
Part = tuple[bytes, int, tuple[str, ...]]
LogFunction = Callable[[Mapping[str, Any], str, Sequence[tuple[str, str]] | None, int, float], None]

# gunicorn's atoms, as Python expressions over the parameters of the generated function below.
_TEXT_ATOMS = {
    "h": 'environ["REMOTE_ADDR"] or "-"',
    "u": 'user(environ["HTTP_AUTHORIZATION"]) if "HTTP_AUTHORIZATION" in environ else "-"',
    "r": '" ".join((environ["REQUEST_METHOD"], environ["RAW_URI"], environ["SERVER_PROTOCOL"]))',
    "m": 'environ["REQUEST_METHOD"]',
    "U": 'environ["PATH_INFO"]',
    "q": 'environ["QUERY_STRING"]',
    "H": 'environ["SERVER_PROTOCOL"]',
    "f": 'environ["HTTP_REFERER"] if "HTTP_REFERER" in environ else "-"',
    "a": 'environ["HTTP_USER_AGENT"] if "HTTP_USER_AGENT" in environ else "-"',
    "l": '"-"',
    "t": "stamp",
    "s": 'status[:3] or "-"',
    "b": "nbytes",
    "L": '"%.6f" % seconds',
    "p": '"<%d>" % getpid()',
}
_NUMBER_ATOMS = {"B": "nbytes", "T": "int(seconds)", "M": "int(seconds * 1e3)", "D": "int(seconds * 1e6)"}

# What a part of a plan is filled with; in a plan the atoms above that are not here have no place.
ENVIRON, ADDRESS, USER, STAMP, STATUS, SIZE, SECONDS, MILLIS, MICROS, DECIMAL, PID, HEADER, END = range(13)
JSON_TIME, JSON_TEXT, JSON_ADDRESS, JSON_USER, JSON_STATUS, JSON_DURATION, JSON_PID = range(13, 20)

_FILLINGS = {
    "h": (ADDRESS, ("REMOTE_ADDR",)),
    "u": (USER, ("HTTP_AUTHORIZATION",)),
    "m": (ENVIRON, ("REQUEST_METHOD",)),
    "U": (ENVIRON, ("PATH_INFO",)),
    "q": (ENVIRON, ("QUERY_STRING",)),
    "H": (ENVIRON, ("SERVER_PROTOCOL",)),
    "f": (ENVIRON, ("HTTP_REFERER",)),
    "a": (ENVIRON, ("HTTP_USER_AGENT",)),
    "t": (STAMP, ()),
    "s": (STATUS, ()),
    "b": (SIZE, ()),
    "B": (SIZE, ()),
    "T": (SECONDS, ()),
    "M": (MILLIS, ()),
    "D": (MICROS, ()),
    "L": (DECIMAL, ()),
    "p": (PID, ()),
}

_FIELD = re.compile(r"%(?:(%)|\(([^)]*)\)([-+ #0]*[0-9]*(?:\.[0-9]+)?)([a-zA-Z]))")
_NAMED = re.compile(r"\{([\w.-]+)\}([ioe])", re.ASCII)

_TEMPLATE = """\
def compile_log(append, clock, stamp_of, user, header, getpid, clean, unsafe, known):
    first = last = 0.0
    stamp = ""
    def log(environ, status, headers, nbytes, seconds):
        nonlocal first, last, stamp
        now = clock()
        if not first <= now < last:
            stamp = stamp_of(now // 1)
            first = now // 1
            last = first + 1
        try:
            line = f'{fast}'.encode()
            plain = line.translate(unsafe) == line{counts}
        except (KeyError, TypeError, UnicodeError):
            plain = False
        if not plain:
            environ = known(environ)
            line = f'{slow}'.encode("utf-8", "backslashreplace")
        append(line)
    return log
"""

# What a line must not hold unless the format itself put it there: control characters, which would forge lines
# or steer terminals; the quote and the backslash, which end a quoted value; all but ASCII.
_ESCAPED = re.compile(r"[^ !#-\[\]-~]")


class Known(dict[str, Any]):
    """An environ with "-" for what is not in it, as for a request that was cut off in its head."""

    def __missing__(self, key: str) -> str:
        return "-"


def compile_format(fmt: str, append: Callable[[bytes], None], clock: Callable[[], float]) -> LogFunction:
    """Make the function that formats one line of format `fmt` and appends it.

    One function with one f-string is the cheapest form of a plan. Nearly all lines hold nothing that needs an
    escape: the finished line is checked as a whole. If it has a special character that the format has not, or
    more of one (quotes) than the format, it is made again with every value escaped.

    Raises:
        ConfigError: the format is not one.
    """
    if fmt == JSON:
        return _json_log(append, clock)
    fast: list[str] = []
    slow: list[str] = []
    literals = ""
    for literal, expression, _ in _split(fmt):
        literals += literal
        quoted = literal.encode("unicode_escape").decode("ascii").replace("'", "\\'")
        quoted = quoted.replace("{", "{{").replace("}", "}}")
        fast.append(quoted + (f"{{{expression}}}" if expression else ""))
        slow.append(quoted + (f"{{clean({expression})}}" if expression else ""))
    special = sorted(set(_ESCAPED.findall(literals)))
    # Each byte that a line must not hold becomes another: NUL as well.
    unsafe = bytes(c ^ 1 if _ESCAPED.match(chr(c)) and chr(c) not in special else c for c in range(256))
    counts = "".join(f" and line.count({c.encode()}) == {literals.count(c)}" for c in special)
    parts = {"fast": "".join(fast), "slow": "".join(slow), "counts": counts}
    source = re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], _TEMPLATE)
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - every expression in it is from the tables above, literals are quoted
    log: LogFunction = scope["compile_log"](
        append, clock, stamp_of, user, _header, os.getpid, clean, unsafe, Known
    )
    return log


def check_format(fmt: str) -> None:
    """Raise ConfigError if `fmt` is not a format of access-log lines."""
    compile_format(fmt, lambda _line: None, time.time)


def plan(fmt: str) -> list[Part] | None:
    """Return what a line of `fmt` is put together from, None if it has a part that only Python can make.

    A part is a literal, what follows it, and the names of that, of which the first that is known counts.
    """
    if fmt == JSON:
        return [*_JSON_PLAN]
    parts: list[Part] = []
    kept = ""
    for literal, expression, filling in _split(fmt):
        kept += literal
        if expression == '"-"':
            kept += "-"
        elif filling is not None:
            parts.append((kept.encode("utf-8", "backslashreplace"), *filling))
            kept = ""
        elif expression:
            return None
    parts.append((kept.encode("utf-8", "backslashreplace"), END, ()))
    return parts


def _split(fmt: str) -> Iterator[tuple[str, str, Filling | None]]:
    """Yield the format in literals, each with the expression and the filling of what follows it, if any."""
    position = 0
    for match in _FIELD.finditer(fmt):
        literal = fmt[position : match.start()]
        _refuse_percent(literal, fmt)
        position = match.end()
        percent, name, width, conversion = match.groups()
        if percent:
            yield literal + "%", "", None
        elif match[0] == "%(r)s":
            # The three parts cost less each by itself than joined first.
            yield literal, _TEXT_ATOMS["m"], _FILLINGS["m"]
            yield " ", *_named("RAW_URI", "e")
            yield " ", _TEXT_ATOMS["H"], _FILLINGS["H"]
        else:
            yield literal, *_atom(name, width, conversion, fmt)
    _refuse_percent(fmt[position:], fmt)
    yield fmt[position:], "", None


def _refuse_percent(literal: str, fmt: str) -> None:
    if "%" in literal:
        msg = f"access_log_format = {fmt!r}: a % starts %(name)s, or is written %%"
        raise ConfigError(msg)


def _atom(name: str, width: str, conversion: str, fmt: str) -> tuple[str, Filling | None]:
    if named := _NAMED.fullmatch(name):
        expression, filling = _named(named[1], named[2])
    else:
        # As in gunicorn, an atom that is not known is a dash.
        expression, filling = (_TEXT_ATOMS | _NUMBER_ATOMS).get(name, '"-"'), _FILLINGS.get(name)
    if conversion != "s" and not (conversion in "di" and name in _NUMBER_ATOMS):
        msg = f"access_log_format = {fmt!r}: %({name}){width}{conversion} must be %({name}){width}s"
        raise ConfigError(msg)
    return (f'"%{width}{conversion}" % ({expression},)', None) if width else (expression, filling)


def _named(name: str, source: str) -> tuple[str, Filling | None]:
    if source == "o":
        return f'header(headers, "{name.lower()}")', (HEADER, (name.lower(),))
    if source == "i":
        name = name.upper().replace("-", "_")
        name = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
    elif name == "RAW_URI":
        return f'environ["{name}"]', (ENVIRON, (name,))  # always there, and part of the default format
    # gunicorn takes the names of variables in any case; environ has them in one of two.
    names = tuple(dict.fromkeys((name, name.upper())))
    expression = "".join(f'str(environ["{n}"]) if "{n}" in environ else ' for n in names) + '"-"'
    return expression, (ENVIRON, names)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def stamp_of(now: float) -> str:
    """Return a time as lines have it: [28/Nov/2026:14:00:00 +0000]."""
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


def clean(value: object) -> str:
    """Escape what must not be in a line unless the format has put it there."""
    return _ESCAPED.sub(_escape, str(value))


# --- JSON -----------------------------------------------------------------------------------------------


_JSON_PLAN: tuple[Part, ...] = (
    (b'{"time":"', JSON_TIME, ()),
    (b'","remote_addr":', JSON_ADDRESS, ("REMOTE_ADDR",)),
    (b',"user":', JSON_USER, ("HTTP_AUTHORIZATION",)),
    (b',"method":', JSON_TEXT, ("REQUEST_METHOD",)),
    (b',"path":', JSON_TEXT, ("PATH_INFO",)),
    (b',"query":', JSON_TEXT, ("QUERY_STRING",)),
    (b',"protocol":', JSON_TEXT, ("SERVER_PROTOCOL",)),
    (b',"host":', JSON_TEXT, ("HTTP_HOST",)),
    (b',"status":', JSON_STATUS, ()),
    (b',"bytes":', SIZE, ()),
    (b',"duration":', JSON_DURATION, ()),
    (b',"referer":', JSON_TEXT, ("HTTP_REFERER",)),
    (b',"user_agent":', JSON_TEXT, ("HTTP_USER_AGENT",)),
    (b',"pid":', JSON_PID, ()),
    (b"}", END, ()),
)


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
    second, zone = iso_second(int(now))
    return f"{second}.{int(now % 1 * 1000):03d}{zone}"


@functools.lru_cache(maxsize=4)
def iso_second(second: int) -> tuple[str, str]:
    """Return a time of JSON up to its seconds, and its zone: 2026-11-28T14:00:00, +00:00."""
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
    """Return the time of now, as lines have it."""
    return stamp_of(time.time())


def _escape(match: re.Match[str]) -> str:
    if match[0] in '"\\':
        return f"\\{match[0]}"  # as gunicorn and Apache write a quote, and programs that read logs expect it
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
