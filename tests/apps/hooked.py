"""An application for hooks to be around."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/hang":
        time.sleep(600)
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("it was to fail")
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
