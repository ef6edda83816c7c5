"""Requests and responses as hooks and logger classes see them: with the attributes that gunicorn's have.

A view is made of environ, or of what is known of a response, and works out the rest when it is asked. It has
a `__dict__`: what a pre_request hook sets on a request, the post_request hook finds there.

Must not know: the engine, connections. Invariant: a view is a copy; nothing that is done to it touches the
request or the response, but for the header fields that `RequestView.carry_over` is asked to put into effect.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["RequestView", "ResponseView"]


class RequestView:
    """A request, as gunicorn's `Request` shows it.

    Args:
        environ: the environ of the request, before an application could change it.
    """

    must_close = False

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ
        self.trailers: list[tuple[str, str]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.uri}>"

    def _word(self, name: str) -> str:
        # Of a request that was cut off in its head nothing may be known.
        return str(self._environ.get(name, ""))

    @cached_property
    def proxy_protocol_info(self) -> dict[str, Any] | None:
        """What the connection's PROXY header has told; None if there was none."""
        environ = self._environ
        if "PROXY_PROTOCOL" not in environ:
            return None
        is_told = "PROXY_ADDR" in environ
        return {
            "proxy_protocol": environ["PROXY_PROTOCOL"],
            "client_addr": environ["REMOTE_ADDR"] if is_told else None,
            "client_port": int(environ["REMOTE_PORT"] or 0) if is_told else None,
            "proxy_addr": environ["PROXY_ADDR"] if is_told else None,
            "proxy_port": int(environ["PROXY_PORT"] or 0) if is_told else None,
        }

    @cached_property
    def method(self) -> str:
        """The method, "GET"."""
        return self._word("REQUEST_METHOD")

    @cached_property
    def uri(self) -> str:
        """The target as the client wrote it: nothing in it is decoded."""
        return self._word("RAW_URI")

    @cached_property
    def path(self) -> str:
        """The path of `uri`."""
        return self._parts[0]

    @cached_property
    def query(self) -> str:
        """What follows the question mark in `uri`."""
        return self._parts[1]

    @cached_property
    def fragment(self) -> str:
        """What follows a # in `uri`, which no client should send."""
        return self._parts[2]

    @cached_property
    def _parts(self) -> tuple[str, str, str]:
        uri = self.uri
        if not uri.startswith("/"):
            try:
                parts = urlsplit(uri)
            except ValueError:
                return uri, "", ""
            return parts.path, parts.query, parts.fragment
        uri, _, fragment = uri.partition("#")
        path, _, query = uri.partition("?")
        return path, query, fragment

    @cached_property
    def version(self) -> tuple[int, int]:
        """The version of HTTP, (1, 1)."""
        major, _, minor = self._word("SERVER_PROTOCOL").removeprefix("HTTP/").partition(".")
        try:
            return int(major), int(minor or 0)
        except ValueError:
            return 1, 1

    @cached_property
    def scheme(self) -> str:
        """The scheme, "http" or "https"."""
        return self._word("wsgi.url_scheme")

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields; names are upper case, fields of one name are joined, as in environ."""
        return list(_fields(self._environ))

    @cached_property
    def remote_addr(self) -> tuple[str, int] | str:
        """The client's address and port; "" where there are none, on a Unix socket."""
        host, port = self._word("REMOTE_ADDR"), self._word("REMOTE_PORT")
        return (host, int(port) if port.isdecimal() else 0) if host else ""

    @property
    def peer_addr(self) -> tuple[str, int] | str:
        """The same as `remote_addr`."""
        return self.remote_addr

    @property
    def body(self) -> Any:
        """The body, `wsgi.input`: what is read here, the application does not get."""
        return self._environ.get("wsgi.input")

    def should_close(self) -> bool:
        """Return whether the client wants the connection closed after the answer."""
        options = {word.strip().lower() for word in self._word("HTTP_CONNECTION").split(",")}
        if self.version < (1, 1):
            return "keep-alive" not in options
        return "close" in options

    def carry_over(self, environ: dict[str, Any]) -> None:
        """Put into effect, in the application's environ, what was done to `headers`."""
        headers = self.__dict__.get("headers")
        if headers is None:  # nobody has looked
            return
        before = list(_fields(self._environ))
        if headers == before:
            return
        for name, _ in before:
            environ.pop(_variable(name), None)
        for name, value in headers:
            variable = _variable(name)
            environ[variable] = f"{environ[variable]},{value}" if variable in environ else value


def _fields(environ: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-"), str(value)
        elif name == "CONTENT_TYPE" or name == "CONTENT_LENGTH":
            yield name.replace("_", "-"), str(value)


def _variable(name: str) -> str:
    name = name.upper().replace("-", "_")
    return name if name == "CONTENT_TYPE" or name == "CONTENT_LENGTH" else f"HTTP_{name}"


class ResponseView:
    """A response, as gunicorn's `Response` shows it.

    Args:
        status: "200 OK"; "" if there was none.
        headers: the application's header fields, if it has given any.
        sent: bytes of body.
        headers_sent: whether the head was made.
        chunked: whether the body goes out in chunks.
        must_close: whether the connection closes after it.
    """

    upgrade = False

    def __init__(
        self,
        status: str,
        headers: Iterable[tuple[str, str]] | None,
        sent: int,
        *,
        headers_sent: bool = True,
        chunked: bool = False,
        must_close: bool = False,
    ) -> None:
        self.status = status or None
        self.sent = sent
        self.headers_sent = headers_sent
        self.chunked = chunked
        self.must_close = must_close
        self._headers = headers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """The application's header fields, as it wrote them."""
        return list(self._headers or ())

    @cached_property
    def status_code(self) -> int | None:
        """The number of the status, None if there was none."""
        code = (self.status or "")[:3]
        return int(code) if code.isdecimal() else None

    @cached_property
    def response_length(self) -> int | None:
        """The Content-Length that the application has declared, None if it has not."""
        for name, value in self.headers:
            if name.lower() == "content-length" and value.strip().isdecimal():
                return int(value)
        return None

    def is_chunked(self) -> bool:
        """Return whether the body goes out in chunks."""
        return self.chunked

    def should_close(self) -> bool:
        """Return whether the connection closes after this response."""
        return self.must_close
