"""Prints, and has a logger of its own."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import fastwsgi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

print("loaded")


class Skips(fastwsgi.Logger):
    """Leaves out what asks for the server's health."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        if req.path != "/health":
            super().access(resp, req, environ, request_time)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/print":
        print("printed")
        os.write(2, b"by hand\n")
        subprocess.run(["echo", "by a child"], check=True)
    start_response("404 Not Found" if environ["PATH_INFO"] == "/missing" else "200 OK", [])
    return [b"ok"]
