"""What a proxy in front says of a request in fields of its head: the scheme, and the script's name.

It owns which fields say so. Must not know whom to believe (networks.py): whoever asks, asks for fields of a
peer that is believed. X-Forwarded-For and Forwarded are for the app to judge; they say nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .errors import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Forwarding"]


class Forwarding(NamedTuple):
    """Names of fields, lower-cased, that proxies may set."""

    schemes: Mapping[bytes, bytes] = {}
    """By which they tell the scheme, with the value that means https; any other means http."""

    underscored: frozenset[bytes] = frozenset()
    """With an underscore, that are taken from them; `*` for all."""

    @classmethod
    def of(cls, scheme_headers: Iterable[tuple[str, str]], names: Iterable[str]) -> Forwarding:
        """Return what the settings secure_scheme_headers and forwarder_headers say."""
        return cls(
            {name.lower().encode(): word.encode() for name, word in scheme_headers},
            frozenset(name.lower().encode() for name in names),
        )

    def takes(self, name: bytes) -> bool:
        """Return whether a name with an underscore, lower-cased, is taken from a proxy."""
        return name in self.underscored or b"*" in self.underscored

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
