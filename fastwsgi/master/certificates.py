"""The files of certificates and keys that a configuration names, and whether they have changed since.

Must not know what is done about it. Files are looked at through all links: one set to another file, as
certbot and Kubernetes do, is a change; one that is only touched is none. Invariant: while a file is being
written, or two that belong together one after the other, nothing is said to have changed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.settings import Config

__all__ = ["CertificateFiles"]


class CertificateFiles:
    """The files of one configuration, as they are when this is made: before they are loaded."""

    def __init__(self, cfg: Config) -> None:
        self._every = cfg.watch_certificates if cfg.is_ssl else 0.0
        names = (cfg.certfile, cfg.keyfile, cfg.ca_certs) if self._every else ()
        # What is no file can be read once only, by who loads it: a pipe, as `<(...)` of a shell makes one.
        self._paths = [name for name in names if name and os.path.isfile(name)]
        self._next = 0.0
        self._looks = self._look()
        self._known_looks = self._looks  # those of what was loaded, or is the same
        self._loaded = self._read()

    def next_tick(self, now: float) -> float | None:
        """Return in how many seconds they are to be looked at; None for never."""
        return max(self._next - now, 0.0) if self._paths else None

    def have_changed(self, now: float) -> bool:
        """Return whether other ones are there to be loaded; looks only when it is time to.

        Says so again until they are accepted.
        """
        if not self._paths or now < self._next:
            return False
        self._next = now + self._every
        before, self._looks = self._looks, self._look()
        if self._looks == self._known_looks or self._looks != before:
            return False
        if self._read() == self._loaded:
            self._known_looks = self._looks
            return False
        return True

    def accept(self) -> None:
        """Take note that they are being loaded: if that fails, it is tried again when they change again."""
        self._known_looks = self._looks
        self._loaded = self._read()

    def _look(self) -> list[tuple[int, ...] | None]:
        """Return what tells a file from the one before, without opening it."""
        return [_status_of(path) for path in self._paths]

    def _read(self) -> list[bytes | None]:
        return [_digest_of(path) for path in self._paths]


def _status_of(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # With who may read it: that may be what it lacked.
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_mode,
        found.st_uid,
        found.st_gid,
    )


def _digest_of(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None
