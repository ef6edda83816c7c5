"""Sets of IP addresses, as settings name them: which peers are believed. And how an address is written.

Must not know what they are believed in. A peer without an address has come through a Unix socket: whoever may
open that file is believed, as in gunicorn.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Networks", "written"]

_REMEMBERED: Final = 1024  # addresses of proxies are few; with anybody's, the oldest are forgotten


class Networks:
    """Addresses and networks (`10.0.0.0/8`), or `*` for all.

    `include(address)` says whether an address, as text, is one of them; `name(address)` whether it is told
    from others by that, which `*` does not do. They remember their answers: the same proxies come again.
    """

    __slots__ = ("_all", "_networks", "include", "name")

    def __init__(self, words: Iterable[str]) -> None:
        words = tuple(words)
        self._networks = tuple(ipaddress.ip_network(word, strict=False) for word in words if word != "*")
        self._all = "*" in words
        self.include: Callable[[str], bool] = functools.lru_cache(_REMEMBERED)(self._include)
        self.name: Callable[[str], bool] = functools.lru_cache(_REMEMBERED)(self._name)

    def _include(self, address: str) -> bool:
        return self._all or not address or self._is_in(address, 0)

    def _name(self, address: str) -> bool:
        return self._is_in(address, 1)

    def _is_in(self, address: str, shortest: int) -> bool:
        """Return whether it is in a network whose prefix is not shorter than that."""
        ip = ipaddress.ip_address(address)
        # A listener on [::] shows clients of IPv4 as ::ffff:192.0.2.1.
        mapped = ip.ipv4_mapped if ip.version == 6 else None
        return any(
            network.prefixlen >= shortest and (ip in network or (mapped is not None and mapped in network))
            for network in self._networks
        )


def written(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return an address as the system writes it, on all Pythons."""
    mapped = None if isinstance(ip, ipaddress.IPv4Address) else ip.ipv4_mapped
    return str(ip) if mapped is None else f"::ffff:{mapped}"
