"""An application for hooks to be around."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/hang":
        time.sleep(600)
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("it was to fail")
    if environ["PATH_INFO"] == "/wait":
        Path(environ["QUERY_STRING"]).read_bytes()
    if environ["PATH_INFO"] == "/file":
        path = Path(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(path.stat().st_size))])
        return environ["wsgi.file_wrapper"](path.open("rb"))  # type: ignore[no-any-return]
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
