"""What a client's certificate says, in the words of environ: by mod_ssl's names, which apps know.

It must not know TLS: it gets the certificate as DER, and as the dict that the ssl module makes of it.
Invariant: all values are `str` of latin-1 (PEP 3333). A name as a whole (RFC 4514) is ASCII: what else is
in it is escaped, as OpenSSL, mod_ssl and nginx do. Fields by themselves are UTF-8 in latin-1, like PATH_INFO.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["UNCERTIFIED", "distinguished_name", "environ_of"]

UNCERTIFIED: Final = {"SSL_CLIENT_VERIFY": "NONE"}
"""What requests of a client say that was asked for a certificate and has shown none."""

_SHORT: Final = {
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
    "streetAddress": "street",
    "domainComponent": "DC",
    "userId": "UID",
    "surname": "SN",
    "givenName": "GN",
}
"""Attribute types as OpenSSL abbreviates them; those of others it writes out."""

_FIELDS: Final = {
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
    "title": "T",
    "initials": "I",
    "givenName": "G",
    "surname": "S",
    "description": "D",
    "userId": "UID",
    "domainComponent": "DC",
    "emailAddress": "Email",
}
"""Attribute types that have a variable of their own, as mod_ssl names them."""

_ALTERNATIVES: Final = {"DNS": "DNS", "email": "Email", "URI": "URI"}
_SPECIAL: Final = frozenset(b'"+,;<>\\')
_PLAIN: Final = re.compile(r"[\w@.:/*()'-]+(?: [\w@.:/*()'-]+)*", re.ASCII).fullmatch
_LINE: Final = 64  # characters of PEM (RFC 7468 §2)


def environ_of(said: Mapping[str, Any], der: bytes) -> dict[str, str]:
    """Return what a certificate that was verified says; `said` is what getpeercert() makes of it."""
    environ = {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": _pem(der),
        "SSL_CLIENT_M_VERSION": str(said["version"]),
        "SSL_CLIENT_M_SERIAL": said["serialNumber"],
        "SSL_CLIENT_V_START": said["notBefore"],
        "SSL_CLIENT_V_END": said["notAfter"],
    }
    for variable, name in (("SSL_CLIENT_S_DN", said["subject"]), ("SSL_CLIENT_I_DN", said["issuer"])):
        environ[variable] = distinguished_name(name)
        seen: Counter[str] = Counter()
        for kind, value in (field for rdn in name for field in rdn):
            if kind in _FIELDS:
                number = seen[kind]
                seen[kind] += 1
                key = f"{variable}_{_FIELDS[kind]}"
                environ[f"{key}_{number}" if number else key] = _native(value)
    seen = Counter()
    for kind, value in said.get("subjectAltName", ()):
        if kind in _ALTERNATIVES:
            environ[f"SSL_CLIENT_SAN_{_ALTERNATIVES[kind]}_{seen[kind]}"] = _native(value)
            seen[kind] += 1
    return environ


def distinguished_name(name: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Write a name as RFC 4514 has it, the last part first; as OpenSSL does by `-nameopt rfc2253`."""
    parts = (
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in rdn[::-1])
        for rdn in name[::-1]
    )
    return ",".join(parts)


def _escaped(value: str) -> str:
    if _PLAIN(value):
        return value
    # RFC 4514 §2.4: any octet of UTF-8 may be written in hexadecimal.
    text = "".join(
        f"\\{octet:02X}" if not 0x20 <= octet < 0x7F else f"\\{octet:c}" if octet in _SPECIAL else chr(octet)
        for octet in value.encode()
    )
    if text.endswith(" "):
        text = f"{text[:-1]}\\ "
    return f"\\{text}" if text.startswith(("#", " ")) else text


def _native(value: str) -> str:
    """Return text as PEP 3333 has it: octets of UTF-8, each a character."""
    return value.encode().decode("latin-1")


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
