"""How TLS is spoken: the `ssl.SSLContext` that the settings ask for.

It reads certificates and keys, so it is called in the master, before privileges are dropped, and again at a
reload. Every mistake is a ConfigError of one line that names the setting. Must not know connections.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError

if TYPE_CHECKING:
    from .config.settings import Config

__all__ = ["make_context"]

_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:\w+ )*PRIVATE KEY-----")


class _EncryptedError(Exception):
    """A key asks for its password."""


def make_context(cfg: Config) -> ssl.SSLContext | None:
    """Return what TLS is to be spoken with, or None if it is not to be spoken.

    Raises ConfigError.
    """
    if not cfg.is_ssl:
        return None
    if not cfg.certfile and not cfg.keyfile:
        raise cfg.mistake("cert_reqs", "clients show certificates only by TLS; set certfile")
    context = _default_context(cfg) if cfg.ssl_context is None else _context_of_hook(cfg)
    # A client could have the server compute for nothing, and what was sealed before would be taken for lost.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _context_of_hook(cfg: Config) -> ssl.SSLContext:
    hook: Any = cfg.ssl_context
    try:
        context = hook(cfg, lambda: _default_context(cfg))
    except ConfigError:
        raise
    except Exception as error:
        why = f"it raised {type(error).__name__}: {error}"
        raise cfg.mistake("ssl_context", why) from error
    if not isinstance(context, ssl.SSLContext):
        raise cfg.mistake("ssl_context", f"it returned {context!r:.80}; return an ssl.SSLContext")
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    except (ssl.SSLError, ValueError) as error:
        why = f"its context is not one for servers ({error}); use ssl.PROTOCOL_TLS_SERVER"
        raise cfg.mistake("ssl_context", why) from None
    return context


def _default_context(cfg: Config) -> ssl.SSLContext:
    if not cfg.certfile:
        raise cfg.mistake("keyfile", "there is no certificate for it; name one with certfile")
    if cfg.cert_reqs and not cfg.ca_certs and cfg.ssl_context is None:
        raise cfg.mistake("cert_reqs", "no client could be verified; name the authorities with ca_certs")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 9325 §3.1.1: nothing older, whatever the system says; what it says of newer ones stands.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, cfg, cfg.certfile)
    if cfg.ca_certs:
        _load_authorities(context, cfg, cfg.ca_certs)
    context.verify_mode = ssl.VerifyMode(cfg.cert_reqs)
    if cfg.ciphers:
        try:
            context.set_ciphers(cfg.ciphers)
        except ssl.SSLError:
            why = "OpenSSL knows no such cipher; `openssl ciphers -v` lists them"
            raise cfg.mistake("ciphers", why) from None
    return context


def _load_certificate(context: ssl.SSLContext, cfg: Config, certfile: str) -> None:
    chain = _read(cfg, "certfile", certfile)
    if not _CERTIFICATE.search(chain):
        raise cfg.mistake("certfile", _not_pem(chain, "certificate", "x509"))
    if cfg.keyfile:
        holder = "keyfile"
        key = _read(cfg, "keyfile", cfg.keyfile)
        if not _KEY.search(key):
            raise cfg.mistake("keyfile", _not_pem(key, "private key", "pkey"))
    else:
        holder = "certfile"
        if not _KEY.search(chain):
            raise cfg.mistake("certfile", "it holds no private key; name the file that does with keyfile")

    def refuse() -> str:
        raise _EncryptedError

    try:
        context.load_cert_chain(certfile, cfg.keyfile or None, password=refuse)
    except _EncryptedError:
        why = "its key is encrypted, and nobody is asked at start; decrypt it: openssl pkey -in FILE -out NEW"
        raise cfg.mistake(holder, why) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = "the private key is not that of the certificate, which must be the first in certfile"
            raise cfg.mistake(holder, why) from None
        raise cfg.mistake("certfile", f"OpenSSL refuses certificate or key: {_reason(error)}") from None


def _load_authorities(context: ssl.SSLContext, cfg: Config, ca_certs: str) -> None:
    authorities = _read(cfg, "ca_certs", ca_certs)
    if not _CERTIFICATE.search(authorities):
        raise cfg.mistake("ca_certs", _not_pem(authorities, "certificate", "x509"))
    try:
        context.load_verify_locations(ca_certs)
    except ssl.SSLError as error:
        raise cfg.mistake("ca_certs", f"OpenSSL refuses it: {_reason(error)}") from None


def _read(cfg: Config, name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        why = f"{error.strerror}; name a file that this user may read"
        raise cfg.mistake(name, why) from None


def _not_pem(data: bytes, what: str, command: str) -> str:
    # All of ASN.1 that is of use here begins with a sequence.
    if data[:1] == b"\x30":
        return f"it is DER, and PEM is needed: openssl {command} -inform DER -in FILE -out FILE.pem"
    return f"there is no {what} in it; it must be PEM, with a line -----BEGIN {what.upper()}-----"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
