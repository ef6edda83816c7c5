"""Has allocations of its worker fail, of the server as well: the n-th from when it is asked."""

from __future__ import annotations

import gc
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PIECE = b"x" * 1000


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the path says, with the body of the request or its query."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = environ["wsgi.input"].read()
    _testcapi: Any = importlib.import_module("_testcapi")  # not everywhere
    if path == "/starve":
        number = int(query)
        start_response("200 OK", [("X-Odd", "1")])
        gc.collect()  # else it may come in between, and find what others have left
        _testcapi.set_nomemory(number, number + 1)
        return [b"hungry"]
    if path == "/calm":
        _testcapi.remove_mem_hooks()
        body = b"%d %d" % (os.getpid(), len(os.listdir("/proc/self/fd")))
    write = start_response("200 OK", [("X-Path", path)])
    if path == "/write":
        write(PIECE)
    if path == "/stream":
        return iter([PIECE, b"", PIECE])
    return [body or b"ok"]
