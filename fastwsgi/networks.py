"""Sets of IP addresses, as settings name them: which peers are believed.

Must not know what they are believed in. A peer without an address has come through a Unix socket: whoever may
open that file is believed, as in gunicorn.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Networks"]

_REMEMBERED: Final = 1024  # addresses of proxies are few; with anybody's, the oldest are forgotten


class Networks:
    """Addresses and networks (`10.0.0.0/8`), or `*` for all.

    `include(address)` says whether an address, as text, is one of them. It remembers its answers, since the
    same proxies connect again and again.
    """

    __slots__ = ("_all", "_networks", "include")

    def __init__(self, words: Iterable[str]) -> None:
        words = tuple(words)
        self._all = "*" in words
        self._networks = tuple(ipaddress.ip_network(word, strict=False) for word in words if word != "*")
        self.include: Callable[[str], bool] = functools.lru_cache(_REMEMBERED)(self._include)

    def _include(self, address: str) -> bool:
        if self._all or not address:
            return True
        ip = ipaddress.ip_address(address)
        # A listener on [::] shows clients of IPv4 as ::ffff:192.0.2.1.
        mapped = ip.ipv4_mapped if ip.version == 6 else None
        return any(ip in network or (mapped is not None and mapped in network) for network in self._networks)
