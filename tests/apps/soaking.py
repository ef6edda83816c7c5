"""What a soak asks for: all that `traffic` answers, and a download, events, a WebSocket, and the worker's end."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import simple_websocket

from tests.apps import traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EVENTS: Final = 5
EXIT_CODE: Final = 7
"""With which the worker leaves at /exit: a code that nothing else has."""

DOWNLOAD: Final = "FASTWSGI_SOAK_DOWNLOAD"
"""Variable that names the file of /download."""


def events(token: bytes) -> list[bytes]:
    """Return what /events sends, one after the other."""
    return [b"id: %d\ndata: %b\n\n" % (number, token) for number in range(EVENTS)]


def _events(token: bytes) -> Iterator[bytes]:
    for event in events(token):
        time.sleep(0.01)
        yield event


def _echo_messages(environ: WSGIEnvironment) -> Iterable[bytes]:
    ws = simple_websocket.Server.accept(environ)
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed:
        return []


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the path says."""
    path = environ["PATH_INFO"]
    token = environ["QUERY_STRING"].encode("latin-1")
    if path == "/exit":
        os._exit(EXIT_CODE)
    if path == "/ws":
        return _echo_messages(environ)
    headers = [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))]
    if path == "/events":
        start_response("200 OK", [*headers, ("Cache-Control", "no-store")])
        return _events(token)
    if path == "/download":
        start_response("200 OK", headers)
        wrapper = environ["wsgi.file_wrapper"]
        wrapped: Iterable[bytes] = wrapper(Path(os.environ[DOWNLOAD]).open("rb"))  # noqa: SIM115 - the server closes it
        return wrapped
    if path == "/held":
        gc.collect()  # what it frees is not held
        start_response("200 OK", headers)
        return [
            json.dumps(
                {"pid": os.getpid(), "blocks": sys.getallocatedblocks(), "threads": threading.active_count()}
            ).encode()
        ]
    return traffic.app(environ, start_response)
