"""The error log and the access log.

Error log: the logger `fastwsgi.error`, set up by `setup`, reopened by `reopen`. Access log: `AccessLog`,
which compiles its format once into one function, gathers finished lines and writes them when told to flush.

Must not know: sockets, the loop, signals. Invariants of the access log: one request is one line, whatever a
client sent; a line is never torn between processes that share a file or a pipe; a disk that fails costs
lines, counted and told once, never the server.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError

if TYPE_CHECKING:
    from .settings import Config

__all__ = ["AccessLog", "check_format", "reopen", "setup"]

ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
ERROR_DATES = "[%Y-%m-%d %H:%M:%S %z]"

_error_log = logging.getLogger("fastwsgi.error")


# --- error log -----------------------------------------------------------------------------------------


def setup(cfg: Config) -> logging.Logger:
    """Direct the error log to where `cfg` says, and return it; may be called again with a new `cfg`.

    Raises:
        ConfigError: the file cannot be opened.
    """
    handler: logging.Handler
    if cfg.errorlog == "-":
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.FileHandler(cfg.errorlog, encoding="utf-8", errors="backslashreplace")
        except OSError as exc:
            msg = f"errorlog = {cfg.errorlog!r}: {exc.strerror}"
            raise ConfigError(msg) from None
    handler.setFormatter(logging.Formatter(ERROR_FORMAT, ERROR_DATES))
    earlier = _error_log.handlers[:]
    _error_log.handlers[:] = [handler]
    for old in earlier:
        old.close()
    _error_log.setLevel(cfg.loglevel.upper())
    # The root logger belongs to the application.
    _error_log.propagate = False
    return _error_log


def reopen() -> None:
    """Open the error log's file anew, after someone moved it away; the old one stays where that fails."""
    for handler in _error_log.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            _reopen(handler.stream.fileno(), handler.baseFilename, "errorlog")


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _reopen(fd: int, path: str, name: str) -> None:
    try:
        fresh = _open(path)
    except OSError as exc:
        _error_log.error("%s: cannot reopen %s: %s", name, path, exc.strerror)
        return
    # The number stays, so whoever is writing at this moment hits the old file or the new one, never none.
    os.dup2(fresh, fd, inheritable=False)
    os.close(fresh)


# --- access log: formats -------------------------------------------------------------------------------

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
            first = now // 1
            last = first + 1
            stamp = stamp_of(first)
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


class _Known(dict[str, Any]):
    """An environ with "-" for what is not in it, as for a request that was cut off in its head."""

    def __missing__(self, key: str) -> str:
        return "-"


def _compile(fmt: str, append: Callable[[bytes], None], clock: Callable[[], float]) -> LogFunction:
    """Make the function that formats one line of format `fmt` and appends it.

    One function with one f-string is the cheapest form of a plan. Nearly all lines hold nothing that needs an
    escape: the finished line is checked as a whole. If it has a special character that the format has not, or
    more of one (quotes) than the format, it is made again with every value escaped.

    Raises:
        ConfigError: the format is not one.
    """
    fast: list[str] = []
    slow: list[str] = []
    literals = ""
    for literal, expression in _split(fmt):
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
        append, clock, _stamp, _user, _header, os.getpid, _clean, unsafe, _Known
    )
    return log


def check_format(fmt: str) -> None:
    """Raise ConfigError if `fmt` is not a format of access-log lines."""
    _compile(fmt, lambda _line: None, time.time)


def _split(fmt: str) -> Iterator[tuple[str, str]]:
    """Yield the format as pairs of a literal and the expression that follows it, "" for none."""
    position = 0
    for match in _FIELD.finditer(fmt):
        literal = fmt[position : match.start()]
        _refuse_percent(literal, fmt)
        position = match.end()
        percent, name, width, conversion = match.groups()
        if percent:
            yield literal + "%", ""
        elif match[0] == "%(r)s":
            # The three parts cost less each by itself than joined first.
            yield literal, _TEXT_ATOMS["m"]
            yield " ", _named("RAW_URI", "e")
            yield " ", _TEXT_ATOMS["H"]
        else:
            yield literal, _expression(name, width, conversion, fmt)
    _refuse_percent(fmt[position:], fmt)
    yield fmt[position:], ""


def _refuse_percent(literal: str, fmt: str) -> None:
    if "%" in literal:
        msg = f"access_log_format = {fmt!r}: a % starts %(name)s, or is written %%"
        raise ConfigError(msg)


def _expression(name: str, width: str, conversion: str, fmt: str) -> str:
    named = _NAMED.fullmatch(name)
    # As in gunicorn, an atom that is not known is a dash.
    expression = _named(named[1], named[2]) if named else (_TEXT_ATOMS | _NUMBER_ATOMS).get(name, '"-"')
    if conversion != "s" and not (conversion in "di" and name in _NUMBER_ATOMS):
        msg = f"access_log_format = {fmt!r}: %({name}){width}{conversion} must be %({name}){width}s"
        raise ConfigError(msg)
    return f'"%{width}{conversion}" % ({expression},)' if width else expression


def _named(name: str, source: str) -> str:
    if source == "o":
        return f'header(headers, "{name.lower()}")'
    if source == "i":
        name = name.upper().replace("-", "_")
        name = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
    elif name == "RAW_URI":
        return f'environ["{name}"]'  # always there, and part of the default format
    # gunicorn takes the names of variables in any case; environ has them in one of two.
    names = dict.fromkeys((name, name.upper()))
    return "".join(f'str(environ["{n}"]) if "{n}" in environ else ' for n in names) + '"-"'


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _stamp(now: float) -> str:
    # Month names of our own: strftime's follow the application's locale.
    local = time.localtime(now)
    return time.strftime(f"[%d/{_MONTHS[local.tm_mon - 1]}/%Y:%H:%M:%S %z]", local)


def _user(authorization: str) -> str:
    """Name the user of Basic authentication, "-" for any other scheme."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        return base64.b64decode(credentials.strip()).partition(b":")[0].decode() or "-"
    except (binascii.Error, ValueError):
        return "-"


def _header(headers: Sequence[tuple[str, str]] | None, name: str) -> str:
    return next((value for key, value in headers or () if key.lower() == name), "-")


def _clean(value: object) -> str:
    return _ESCAPED.sub(_escape, str(value))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


# --- access log: writing -------------------------------------------------------------------------------

# POSIX.1-2017, write(): what is not longer than PIPE_BUF goes into a pipe in one piece. Docker and systemd
# give a server pipes, which its workers share.
_PIPE_BUF = 4096
_MOST_WAITING = 1 << 20


class AccessLog:
    """Lines for finished requests, gathered and written many at a time.

    `log(environ, status, headers, nbytes, seconds)` adds the line of one request: the environ its app got (or
    what is known of it), "200 OK", the app's headers or None, bytes of body sent, duration. It is the
    compiled format itself, which saves a call.
    """

    log: LogFunction

    def __init__(
        self, fd: int, fmt: str, path: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.lost = 0  # lines since writing began to fail
        self._fd = fd
        self._path = path
        self._format = fmt
        self._lines: list[bytes] = []
        self._waiting = b""  # what a full pipe did not take
        self._failing = False
        self._is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        self.log = _compile(fmt, self._lines.append, clock)

    @classmethod
    def open(cls, target: str, fmt: str) -> AccessLog:
        """Open the log: `target` is a path, or "-" for standard output.

        Raises:
            ConfigError: the file cannot be opened, or `fmt` is not a format.
        """
        if target == "-":
            return cls(1, fmt)
        try:
            return cls(_open(target), fmt, str(Path(target).absolute()))
        except OSError as exc:
            msg = f"accesslog = {target!r}: {exc.strerror}"
            raise ConfigError(msg) from None

    def another(self) -> AccessLog:
        """Return one that writes to the same file, for a thread of its own; it is not to be closed."""
        return AccessLog(self._fd, self._format, self._path)

    def flush(self) -> None:
        """Write what was logged since the last time; never raises for a file that cannot be written."""
        if not self._lines and not self._waiting:
            return
        # Another thread may append meanwhile: what it adds is left for the next time.
        lines = self._lines[:]
        del self._lines[: len(lines)]
        lines.append(b"")
        data = self._waiting + b"\n".join(lines)
        self._waiting = b""
        done = 0
        try:
            while done < len(data):
                piece = data[done : self._end_of_piece(data, done)]
                done += os.write(self._fd, piece)
        except BlockingIOError:
            # Someone made standard output non-blocking; its reader is slow.
            self._waiting = data[done:]
            if len(self._waiting) > _MOST_WAITING:
                self._lose(data, done, "its reader is too slow")
        except OSError as exc:
            self._lose(data, done, exc.strerror)
        else:
            if self._failing:
                self._failing = False
                _error_log.warning("access log: writing works again; %d lines were lost", self.lost)
                self.lost = 0

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Find where the next write ends: for a pipe, after the last line that one write takes whole."""
        if not self._is_pipe or len(data) - start <= _PIPE_BUF:
            return len(data)
        return data.rfind(b"\n", start, start + _PIPE_BUF) + 1 or start + _PIPE_BUF

    def _lose(self, data: bytes, done: int, reason: str | None) -> None:
        torn = done > 0 and data[done - 1 : done] != b"\n"
        self._waiting = b"\n" if torn else b""  # ends the line of which the file has a part
        self.lost += data.count(b"\n", done)
        if not self._failing:
            self._failing = True
            _error_log.error("access log: cannot write: %s; lines are lost until that ends", reason)

    def reopen(self) -> None:
        """Write what is there and open the file anew, after someone moved it away; standard output stays."""
        self.flush()
        if self._path is not None:
            _reopen(self._fd, self._path, "accesslog")

    def close(self) -> None:
        """Write what is there and close the file."""
        self.flush()
        if self._path is not None:
            os.close(self._fd)
