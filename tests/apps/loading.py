"""What a user may name on the command line, good and bad, for the tests of app loading."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the query."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["QUERY_STRING"].encode("latin-1")]


class AppClass:
    """A class as an application: PEP 3333 allows it."""

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        self._body = app(environ, start_response)

    def __iter__(self) -> Any:
        """Give the body."""
        return iter(self._body)


class Site:
    """An object with an application as its attribute, and one itself."""

    inner = staticmethod(app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as `app` does."""
        return app(environ, start_response)


class AsgiSite:
    """An ASGI application as the frameworks make them."""

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        """Answer nobody."""


async def asgi(scope: object, receive: object, send: object) -> None:
    """Answer nobody."""


def from_request(function: Callable[[str], str]) -> Callable[..., Iterable[bytes]]:
    """Make an application of a function with another signature, which `wraps` then shows."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Iterable[bytes]:
        return [function(args[0]["QUERY_STRING"]).encode()]

    return wrapper


@from_request
def wrapped(query: str) -> str:
    """Answer with the query."""
    return query


def create_app(name: str = "x", *, debug: bool = False) -> Site:
    """Make an application, as Flask's factories do."""
    site = Site()
    site.made_with = (name, debug)  # type: ignore[attr-defined]
    return site


def broken_factory() -> Site:
    """Fail in user code."""
    msg = "no database\nat all"
    raise RuntimeError(msg)


def make_nothing() -> None:
    """Forget to return the application."""


def one_argument(environ: WSGIEnvironment) -> list[bytes]:
    """Take too little for WSGI."""
    return [environ["x"]]


site = Site()
asgi_site = AsgiSite()
number = 3
