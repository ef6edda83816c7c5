"""An application that shows what it gets: for tests that serve it by two servers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# What differs from server to server, and may.
OWN = ("SERVER_SOFTWARE", "SERVER_PORT", "REMOTE_PORT", "HTTP_HOST", "gunicorn.socket", "fastwsgi.socket")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/environ":
        shown: dict[str, Any] = {
            key: value
            for key, value in environ.items()
            if isinstance(value, (str, bool, tuple)) and key not in OWN
        }
        shown["files"] = [type(environ[key]).__name__ != "" for key in ("wsgi.input", "wsgi.errors")]
        shown["SETTING"] = os.environ.get("SETTING")
        shown["cwd"] = os.getcwd()
        body = json.dumps(shown, sort_keys=True).encode()
    elif path == "/body":
        body = environ["wsgi.input"].read()
    elif path == "/generator":
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Kind", "generator")])
        return (piece for piece in (b"one ", b"", b"two"))
    elif path == "/error":
        raise RuntimeError("the app fails")
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        return [b"no\n"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
