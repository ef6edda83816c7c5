"""Whether readers of heads do the same work: a timing of those that find different things says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import parsers
from .heads import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["differences", "of_request"]

_OWN = ("wsgi.", "gunicorn.", "SERVER_SOFTWARE")
_SCHEME = "wsgi.url_scheme"
_LOOKED_AT = 50  # heads of each kind


def of_request(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an environ that a request decides; the rest is each server's own."""
    return {key: value for key, value in environ.items() if not key.startswith(_OWN) or key == _SCHEME}


def differences(make_other: Callable[[], Callable[[bytes], dict[str, Any]]]) -> list[str]:
    """Return in which heads, and how, another reader's environ differs from ours."""
    ours, other = parsers.fastwsgi(), make_other()
    found = []
    for name, heads in HEADS.items():
        for head in heads()[:_LOOKED_AT]:
            mine, its = of_request(ours(head)), of_request(other(head))
            differing = sorted(key for key in mine.keys() | its.keys() if mine.get(key) != its.get(key))
            found += [f"{name}: {key}: {mine.get(key)!r} and {its.get(key)!r}" for key in differing]
    return found
