"""The environ that a listener's requests begin with, for tests that have no listener."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from fastwsgi import wsgi

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["plain_environ"]


def plain_environ(
    *,
    script_name: str = "",
    server_port: str = "8000",
    errors: Any = None,
    base_environ: Callable[..., dict[str, Any]] = wsgi.base_environ,
) -> dict[str, Any]:
    """Return that of a plain listener on loopback, made by `base_environ`; `errors` are kept in memory if not given."""
    return base_environ(
        server_name="127.0.0.1",
        server_port=server_port,
        url_scheme="http",
        errors=io.StringIO() if errors is None else errors,
        multithread=False,
        multiprocess=False,
        script_name=script_name,
    )
