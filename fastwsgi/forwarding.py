"""What a proxy in front says of a request in fields of its head: scheme, client, host, and the app's place.

It owns which fields say so, and what they make of an environ. Must not know whether the peer is believed:
whoever asks, asks for fields of a peer that is. Fields that are not named say nothing here, and are for the
app to judge.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from . import http11
from .errors import HTTPError
from .hops import Hop, outermost, read_addresses, read_forwarded
from .networks import Networks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["Forwarding"]

_KEYS: Final = {
    b"forwarded": "HTTP_FORWARDED",
    b"x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    b"x-forwarded-host": "HTTP_X_FORWARDED_HOST",
    b"x-forwarded-prefix": "HTTP_X_FORWARDED_PREFIX",
}
_PREFIX: Final = re.compile(r'/[!"$-+\--<>@-~]*')  # a list of two would have a comma
_REMEMBERED: Final = 1024  # clients
_NOT_REMEMBERED: Final = 256  # characters


class Forwarding:
    """Names of fields that proxies may set, and what they say."""

    __slots__ = ("_keys", "_outermost", "_proxies", "schemes", "underscored")

    def __init__(
        self,
        schemes: Mapping[bytes, bytes] | None = None,
        underscored: Collection[bytes] = (),
        named: Collection[bytes] = (),
        proxies: Networks | None = None,
    ) -> None:
        """Expect names in lower case.

        By `schemes` proxies tell the scheme, with the value that means https; any other means http.
        `underscored` are taken from them though they have an underscore; `*` for all. `named` are other
        fields that are heard; of the addresses that those list, `proxies` are proxies'.
        """
        self.schemes = schemes or {}
        self.underscored = frozenset(underscored)
        self._keys = {name: key for name, key in _KEYS.items() if name in named}
        self._proxies = proxies or Networks(())
        self._outermost: Callable[[str, bool], Hop] = functools.lru_cache(_REMEMBERED)(self._find_outermost)

    @classmethod
    def of(
        cls,
        scheme_headers: Iterable[tuple[str, str]],
        forwarder_headers: Iterable[str],
        trusted_proxy_headers: Iterable[str] = (),
        forwarded_allow_ips: Iterable[str] = (),
    ) -> Forwarding:
        """Return what the settings of these names say."""
        schemes = {name.lower().encode(): word.encode() for name, word in scheme_headers}
        named = [name.encode() for name in trusted_proxy_headers]
        if b"x-forwarded-proto" in named:
            schemes.setdefault(b"x-forwarded-proto", b"https")
        underscored = [name.lower().encode() for name in forwarder_headers]
        return cls(schemes, underscored, named, Networks(forwarded_allow_ips))

    def takes(self, name: bytes) -> bool:
        """Return whether a name with an underscore, lower-cased, is taken from a proxy."""
        return name in self.underscored or b"*" in self.underscored

    def hears(self) -> bool:
        """Return whether fields are named that apply() hears."""
        return bool(self._keys)

    def read(self, fields: list[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
        """Return the scheme and the script's name, as far as they are told.

        Raises HTTPError where fields contradict each other: one may be the client's own.
        """
        scheme = script_name = None
        for raw_name, value in fields:
            name = raw_name.lower()
            word = self.schemes.get(name)
            if word is not None:
                told = "https" if value == word else "http"
                if scheme not in (None, told):
                    raise HTTPError(400, "fields of secure_scheme_headers contradict each other")
                scheme = told
            elif name == b"script_name" and self.takes(name):
                if script_name is not None:
                    raise HTTPError(400, "SCRIPT_NAME is repeated")
                # PEP 3333: `/app`, and nothing for the root.
                script_name = value.decode("latin-1").rstrip("/")
        return scheme, script_name

    def gather(self, fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
        """Return what the named fields say, by their keys in environ."""
        said: dict[str, str] = {}
        for raw_name, value in fields:
            key = self._keys.get(raw_name.lower())
            if key is not None:
                text = value.decode("latin-1")
                said[key] = f"{said[key]}, {text}" if key in said else text
        return said

    def tell(self, environ: dict[str, Any], scheme: str | None) -> bool:
        """Apply what `environ` has itself; return False, with that half done, where it is to be refused."""
        try:
            self.apply(environ, environ, scheme)
        except HTTPError:
            return False
        return True

    def apply(self, said: Mapping[str, Any], environ: dict[str, Any], scheme: str | None) -> None:
        """Put into `environ` what the named fields say; `scheme` is what others have told.

        `said` has their values by their keys, as gather() returns them. Raises HTTPError.
        """
        for key in self._keys.values():
            value = said.get(key)
            if not value:
                continue
            if key == "HTTP_X_FORWARDED_HOST":
                # Of a list, what the peer has written itself.
                _set_host(environ, value.rpartition(",")[2].strip(" \t"))
            elif key == "HTTP_X_FORWARDED_PREFIX":
                _set_prefix(environ, value)
            else:
                self._hear(environ, value, scheme)

    def _hear(self, environ: dict[str, Any], value: str, scheme: str | None) -> None:
        # The client that a PROXY header names need not be a proxy: then it has nobody to name.
        is_proxy = self._proxies.include(environ["REMOTE_ADDR"])
        find = self._outermost if len(value) <= _NOT_REMEMBERED else self._find_outermost
        hop = find(value, is_proxy)
        if hop.client is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = hop.client
        if hop.host:
            _set_host(environ, hop.host)
        if hop.proto is not None:
            told = "https" if hop.proto.lower() == "https" else "http"
            if scheme not in (None, told):
                raise HTTPError(400, "Forwarded and fields of secure_scheme_headers contradict each other")
            environ["wsgi.url_scheme"] = told

    def _find_outermost(self, value: str, is_proxy: bool) -> Hop:
        hops = read_forwarded(value) if b"forwarded" in self._keys else read_addresses(value)
        return outermost(hops, self._proxies.name) if is_proxy else next(hops)._replace(client=None)


def _set_host(environ: dict[str, Any], host: str) -> None:
    if not host:
        return
    if not http11.HOST.fullmatch(host.encode("latin-1")) or host.startswith(":"):
        raise HTTPError(400, "forwarded host is no host")
    environ["HTTP_HOST"] = host


def _set_prefix(environ: dict[str, Any], value: str) -> None:
    prefix = unquote_to_bytes(value).decode("latin-1").rstrip("/")
    # Two slashes would begin the name of a host, where the app redirects to its own paths.
    if not _PREFIX.fullmatch(value) or prefix[1:2] in ("/", "\\"):
        raise HTTPError(400, "X-Forwarded-Prefix is no path, or repeated")
    environ["SCRIPT_NAME"] = prefix + environ["SCRIPT_NAME"]
