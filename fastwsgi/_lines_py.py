"""Lines of the access log from a plan: the pure form of `_lines.pyx`, and the interface of both.

A plan is a list of steps, each a literal and what follows it; logs/access_format.py makes one of a format.
Must not know: formats and their atoms, files. Invariant: one request is one line, whatever a client sent: of
a value only printable ASCII gets into it, quotes and backslashes with a backslash before them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Headers = Sequence[tuple[str, str]] | None
    Step = tuple[bytes, int, Any]

__all__ = [
    "CALL",
    "DERIVED",
    "FILLED",
    "NOTHING",
    "SCALED",
    "SIZE",
    "STAMP",
    "STATUS",
    "TEXT",
    "Lines",
    "clean",
    "value_of",
]

NOTHING, TEXT, FILLED, DERIVED, STATUS, SIZE, SCALED, STAMP, CALL = range(9)
"""What a step puts after its literal, and its argument in brackets.

TEXT: a variable of the environ, a dash if it is not there (its name); FILLED: the same, a dash also if it is
empty; DERIVED: a function of it (its name and the function). STATUS: the code; SIZE: the bytes of the body;
SCALED: the duration as a whole number (how many are a second); STAMP: the time; CALL: all else (a function of
what `Lines.log` is told).
"""

# Control characters would forge lines or steer terminals; a quote or backslash would end a quoted value.
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")


class Lines:
    """Makes the line of a request and appends it to a list.

    Args:
        steps: the plan; literals are taken as they are.
        lines: where lines go; shared, another may take what is in it.
        clock: the time, in seconds since 1970.
        stamp_of: makes the text of a whole second.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        lines: list[bytes],
        clock: Callable[[], float],
        stamp_of: Callable[[float], str],
    ) -> None:
        self._steps = tuple(steps)
        self._append = lines.append
        self._clock, self._stamp_of = clock, stamp_of
        self._stamp: tuple[float, str] = (-1.0, "")

    def log(
        self, environ: Mapping[str, Any], status: str, headers: Headers, nbytes: int, seconds: float
    ) -> None:
        """Add the line of a request: see AccessLog for the meaning of the arguments."""
        line = b""
        for literal, kind, argument in self._steps:
            line += literal
            if kind == STAMP:
                line += clean(self._time()).encode()
            elif kind != NOTHING:
                value = value_of(kind, argument, environ, status, headers, nbytes, seconds)
                line += clean(value).encode()
        self._append(line)

    def _time(self) -> str:
        second = self._clock() // 1
        # Read once: another thread may set it.
        made = self._stamp
        if made[0] != second:
            made = self._stamp = (second, self._stamp_of(second))
        return made[1]


def value_of(
    kind: int,
    argument: Any,
    environ: Mapping[str, Any],
    status: str,
    headers: Headers,
    nbytes: int,
    seconds: float,
) -> object:
    """Return what a step of this kind, but STAMP, is about in a request."""
    if kind == TEXT:
        return environ.get(argument, "-")
    if kind == FILLED:
        return environ.get(argument) or "-"
    if kind == DERIVED:
        name, function = argument
        return function(environ[name]) if name in environ else "-"
    if kind == STATUS:
        return status[:3] or "-"
    if kind == SIZE:
        return nbytes
    if kind == SCALED:
        return int(seconds * argument)
    return argument(environ, status, headers, nbytes, seconds)


def clean(value: object) -> str:
    """Escape what must not be in a line unless the format has put it there."""
    return _UNSAFE.sub(_escape, str(value))


def _escape(match: re.Match[str]) -> str:
    if match[0] in '"\\':
        return f"\\{match[0]}"  # as gunicorn and Apache write a quote, and programs that read logs expect it
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
