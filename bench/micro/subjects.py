"""What is timed: the table of subjects. Nothing is imported or made before it is asked for."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from . import access_lines, parsers, responses, timers
from .heads import HEADS, VARIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["SUBJECTS", "Subject", "missing"]


@dataclass(frozen=True)
class Subject:
    """One row: `make` prepares a function that does what is timed, `calls` times."""

    group: str
    name: str
    implementation: str
    make: Callable[[], Callable[[], None]]
    module: str = ""  # what it needs, besides fastwsgi
    calls: int = VARIED
    in_quick: bool = True

    @property
    def is_ours(self) -> bool:
        """Return whether it has a pure form as well."""
        return self.implementation == "fastwsgi"


def missing(subject: Subject) -> bool:
    """Return whether what `subject` needs is not installed."""
    return bool(subject.module) and importlib.util.find_spec(subject.module) is None


def _each(make: Callable[[], Callable[[Any], object]], items: Callable[[], list[Any]]) -> Callable[[], None]:
    """Return a function that calls what `make` returns with each of `items`."""
    call, things = make(), items()

    def run() -> None:
        for thing in things:
            call(thing)

    return run


def _all(make: Callable[[], Callable[[Any], None]], items: Callable[[], list[Any]]) -> Callable[[], None]:
    """Return a function that hands all of `items` to what `make` returns."""
    return partial(make(), items())


def _timers(make: Callable[[], Any], use: Callable[..., Callable[[], None]]) -> Callable[[], None]:
    return use(*make())


def _subjects() -> Iterable[Subject]:
    for name, heads in HEADS.items():
        is_quick = name in ("Host only", "browser, 12 fields")
        for implementation, module, reader in (
            ("fastwsgi", "", parsers.fastwsgi),
            ("httptools alone, no environ", "httptools", parsers.httptools),
            ("gunicorn, gunicorn_h1c", "gunicorn_h1c", partial(parsers.gunicorn, "fast")),
            ("gunicorn, Python", "gunicorn", partial(parsers.gunicorn, "python")),
        ):
            make = partial(_each, reader, heads)
            yield Subject("parse + environ", name, implementation, make, module, in_quick=is_quick)
    for name, fields in responses.FIELDS.items():
        is_quick = name != "4 fields, Set-Cookie"
        for implementation, answerer in (("fastwsgi", responses.fastwsgi), ("gunicorn", responses.gunicorn)):
            module = "gunicorn" if implementation == "gunicorn" else ""
            make = partial(_each, answerer, fields)
            yield Subject("response head", name, implementation, make, module, in_quick=is_quick)
    for name, fmt in access_lines.FORMATS.items():
        is_quick = fmt == access_lines.COMBINED
        make = partial(_all, partial(access_lines.fastwsgi, fmt), access_lines.environs)
        yield Subject("access-log line", name, "fastwsgi", make, in_quick=is_quick)
        if fmt != access_lines.JSON:  # gunicorn has no format of that name
            make = partial(_all, partial(access_lines.gunicorn, fmt), access_lines.environs)
            yield Subject("access-log line", name, "gunicorn", make, "gunicorn", in_quick=is_quick)
    for name, use in (
        ("move the deadline of one in 1,000", timers.moving),
        ("set, and let it come", timers.expiring),
    ):
        for implementation, maker in (("fastwsgi", timers.fastwsgi), ("a heap, as in asyncio", timers.heap)):
            yield Subject(
                "timers", name, implementation, partial(_timers, maker, use), calls=timers.CONNECTIONS
            )


SUBJECTS = tuple(_subjects())
