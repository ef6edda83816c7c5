"""Atoms of the access log beside gunicorn's own, by both ways to a line; and the lines of JSON."""

from __future__ import annotations

import datetime as dt
import json
import os
from types import SimpleNamespace
from typing import Any

import pytest

from fastwsgi import _impl
from fastwsgi.config.settings import Config
from fastwsgi.hooks.views import RequestView, ResponseView
from fastwsgi.logs import access_format, error_log
from fastwsgi.logs.logger import Atoms, Logger

glogging = pytest.importorskip("gunicorn.glogging", reason="gunicorn is not installed")

ENVIRON = {
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_PORT": "1234",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a%20b?x=1",
    "PATH_INFO": "/a b",
    "QUERY_STRING": "x=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_AUTHORIZATION": "Basic YWxhZGRpbjpvcGVuc2VzYW1l",
    "HTTP_REFERER": "http://example.com/",
    "HTTP_USER_AGENT": "curl/8",
    "HTTP_X_FORWARDED_FOR": "198.51.100.1",
    "CONTENT_TYPE": "text/plain",
    "wsgi.url_scheme": "http",
}
HEADERS = [("Content-Type", "text/html"), ("X-Id", "7")]
NAMES = [
    *"hltrmUqHsBbfaTDMLpu",
    "{x-forwarded-for}i",
    "{X-Forwarded-For}i",
    "{content-type}i",
    "{missing}i",
    "{content-type}o",
    "{X-ID}o",
    "{missing}o",
    "{remote_addr}e",
    "{REQUEST_METHOD}e",
    "{wsgi.url_scheme}e",
    "{missing}e",
    "nothing",
]
BARE = {"REQUEST_METHOD": "GET", "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.0"}


def gunicorns_line(name: str, environ: dict[str, Any], seconds: float) -> str:
    """Format with gunicorn's own code."""
    cfg = SimpleNamespace()
    logger = glogging.Logger.__new__(glogging.Logger)
    logger.cfg = cfg
    response = SimpleNamespace(status="200 OK", headers=HEADERS, sent=512)
    headers = [
        (key.removeprefix("HTTP_").replace("_", "-"), value)
        for key, value in environ.items()
        if key.startswith("HTTP_") or key == "CONTENT_TYPE"
    ]
    request = SimpleNamespace(headers=headers)
    atoms = logger.atoms(response, request, environ, dt.timedelta(seconds=seconds))
    line: str = f"%({name})s" % glogging.SafeAtoms(atoms)
    return line


def compiled_line(name: str, environ: dict[str, Any], seconds: float) -> str:
    lines: list[bytes] = []
    log = access_format.compile_format(f"%({name})s", lines.append, lambda: 0.0)
    log(environ, "200 OK", HEADERS, 512, seconds)
    return lines[0].decode()


def kept_line(name: str, environ: dict[str, Any], seconds: float) -> str:
    lines = _impl.Lines(f"%({name})s", lambda: 0.0)
    lines.log(environ, "200 OK", HEADERS, 512, seconds)
    return lines.take().decode().removesuffix("\n")


def loggers_line(name: str, environ: dict[str, Any], seconds: float) -> str:
    error_log.setup(Config())
    response = ResponseView("200 OK", HEADERS, 512)
    duration = dt.timedelta(seconds=seconds)
    atoms = Logger(Config()).atoms(response, RequestView(environ), environ, duration)
    return f"%({name})s" % Atoms(atoms)


@pytest.mark.usefixtures("fresh_logs")
@pytest.mark.parametrize("line", [compiled_line, kept_line, loggers_line])
@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.234567, 75.5])
@pytest.mark.parametrize("name", NAMES)
def test_each_atom_is_as_in_gunicorn(
    name: str, seconds: float, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = "[28/Nov/2026:14:00:00 +0000]"
    monkeypatch.setattr(glogging.Logger, "now", lambda _self: stamp)
    monkeypatch.setattr(Logger, "now", lambda _self: stamp)
    monkeypatch.setattr(access_format, "stamp_of", lambda _now: stamp)
    assert line(name, ENVIRON, seconds) == gunicorns_line(name, ENVIRON, seconds)
    if name not in {"m", "U", "q", "H"}:  # gunicorn says None for those that are not known
        assert line(name, BARE, seconds) == gunicorns_line(name, BARE, seconds)


def test_every_atom_of_gunicorn_is_known() -> None:
    logger = glogging.Logger.__new__(glogging.Logger)
    response = SimpleNamespace(status="200 OK", headers=[], sent=0)
    atoms = logger.atoms(response, SimpleNamespace(headers=[]), BARE, dt.timedelta())
    assert {name for name in atoms if "{" not in name} <= set(NAMES)


def test_atoms_are_safe_in_a_line() -> None:
    atoms = Atoms({"a": 'x"\n', "B": 5, "{x}i": "\x1b"})
    fmt = "%(a)s %(B)d %({X}i)s %({y}i)s %(z)s"
    assert fmt % atoms == 'x\\"\\x0a 5 \\x1b - -'


# --- JSON -----------------------------------------------------------------------------------------------


def json_line(environ: dict[str, Any], status: str = "200 OK", now: float = 1_700_000_000.25) -> Any:
    lines: list[bytes] = []
    log = access_format.compile_format("json", lines.append, lambda: now)
    kept = _impl.Lines("json", lambda: now)
    for each in (log, kept.log):
        each(environ, status, HEADERS, 512, 1.2345678)
    [line] = lines
    text = line.decode("ascii")
    assert text.isprintable()
    assert json.loads(kept.take()) == json.loads(text)
    return json.loads(text)


@pytest.mark.usefixtures("fresh_logs")
def test_json() -> None:
    assert json_line({**ENVIRON, "HTTP_HOST": "example.com"}) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "remote_addr": "192.0.2.7",
        "user": "aladdin",
        "method": "GET",
        "path": "/a b",
        "query": "x=1",
        "protocol": "HTTP/1.1",
        "host": "example.com",
        "status": 200,
        "bytes": 512,
        "duration": 1.234568,
        "referer": "http://example.com/",
        "user_agent": "curl/8",
        "pid": os.getpid(),
    }


def test_json_of_which_nothing_is_known() -> None:
    line = json_line({}, "")
    assert {name for name, value in line.items() if value is not None} == {
        "time",
        "bytes",
        "duration",
        "pid",
    }


def test_json_says_what_a_client_sent() -> None:
    line = json_line({**ENVIRON, "PATH_INFO": 'caf\xc3\xa9"\n\x1b', "HTTP_USER_AGENT": "\xff\\"})
    assert (line["path"], line["user_agent"]) == ('café"\n\x1b', "\xff\\")
    assert json_line({**ENVIRON, "HTTP_REFERER": ("an", "object")})["referer"] == ["an", "object"]


def test_json_has_the_zone_of_the_time(monkeypatch: pytest.MonkeyPatch, fresh_logs: None) -> None:
    import time

    monkeypatch.setenv("TZ", "XXX-05:30")
    time.tzset()
    access_format.iso_second.cache_clear()
    assert json_line(ENVIRON)["time"] == "2023-11-15T03:43:20.250+05:30"
    access_format.iso_second.cache_clear()


def test_json_is_a_format() -> None:
    access_format.check_format("json")
