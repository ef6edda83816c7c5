"""The kinds of listeners that a server may have, for a fixture's parameter: a port, a Unix socket, TLS."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from tests.certificates import Authority, needs_openssl, own_certificates
from tests.live import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator

TCP: Final = "tcp"
UNIX: Final = "unix"
SECURE: Final = pytest.param(
    "tls",
    marks=[needs_openssl, own_certificates],
)


@contextmanager
def listening(kind: str, folders: pytest.TempPathFactory, app: str, *arguments: str) -> Iterator[LiveServer]:
    """Run a server that listens in this way."""
    bind, context = "127.0.0.1:0", None
    if kind == "unix":
        bind = f"unix:{folders.mktemp('sock')}/s"
    elif kind == "tls":
        authority = Authority(folders.mktemp("authority"))
        arguments, context = (*arguments, *authority.issue().arguments), authority.client()
    with LiveServer(app, *arguments, bind=bind, tls=context) as running:
        yield running
