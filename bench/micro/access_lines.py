"""Lines of the access log: from a request that is over to its line in a file, which is /dev/null."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import parsers
from .heads import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable

    Environ = dict[str, Any]
    Logger = Callable[[list[Environ]], None]

__all__ = ["COMBINED", "FORMATS", "JSON", "NBYTES", "SECONDS", "STATUS", "environs", "fastwsgi", "gunicorn"]

COMBINED = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
JSON = "json"
FORMATS = {
    "combined, the default": COMBINED,
    "combined, with time and a response field": COMBINED + ' %(D)s "%({content-type}o)s"',
    "JSON": JSON,
}

STATUS = "200 OK"
NBYTES = 13
SECONDS = 0.000123
_FIELDS = [("Content-Type", "text/plain; charset=utf-8")]
_BATCH = 8  # lines that a busy loop writes together


def environs() -> list[Environ]:
    """Return the environ dicts of a browser's requests."""
    return [dict(environ) for environ in map(parsers.fastwsgi(), HEADS["browser, 12 fields"]())]


def fastwsgi(fmt: str, path: str = os.devnull) -> Logger:
    """Return our own log, which is flushed as often as a busy loop does it."""
    from fastwsgi.logs.access_log import AccessLog

    access_log = AccessLog.open(path, fmt)

    def log(requests: list[Environ]) -> None:
        for begin in range(0, len(requests), _BATCH):
            for environ in requests[begin : begin + _BATCH]:
                access_log.log(environ, STATUS, _FIELDS, NBYTES, SECONDS)
            access_log.flush()

    return log


def gunicorn(fmt: str, path: str = os.devnull) -> Logger:
    """Return gunicorn's log, which writes each line by itself."""
    from gunicorn.config import Config
    from gunicorn.glogging import Logger as GunicornLogger

    class Response:
        status = STATUS
        headers = _FIELDS
        sent = NBYTES

    class Request:
        headers = (("HOST", "127.0.0.1:8000"),)

    cfg = Config()
    cfg.set("accesslog", path)
    cfg.set("access_log_format", fmt)
    access = GunicornLogger(cfg).access
    request_time = timedelta(seconds=SECONDS)

    def log(requests: list[Environ]) -> None:
        for environ in requests:
            access(Response, Request, environ, request_time)

    return log
