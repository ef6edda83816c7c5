"""Answer with the body of the request, and remember every path: `/seen` tells them.

`/wait/…` waits at a gate, whose path is the query.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SEEN: list[str] = []


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/seen":
        body = json.dumps(SEEN).encode()
    else:
        SEEN.append(path)
        body = environ["wsgi.input"].read()
        if path.startswith("/wait/"):
            Path(environ["QUERY_STRING"]).read_bytes()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [path.encode("latin-1"), b" ", body]
