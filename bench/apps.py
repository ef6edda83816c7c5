"""The applications that every server in the comparison runs.

Flask's stands in flask_app.py, so that nothing else loads Flask.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BODY", "hello", "sleep"]

BODY = b"Hello, world!"
_HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(BODY)))]


def hello(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:  # noqa: ARG001
    """Answer every request with one short body of known length: what is measured is the server."""
    # A fresh list, as an application makes one: a server may not profit from seeing the same object again.
    start_response("200 OK", _HEADERS[:])
    return [BODY]


def sleep(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer the same after 10 ms, as one that has asked a database."""
    time.sleep(0.01)
    return hello(environ, start_response)
