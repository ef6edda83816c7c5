"""Lines of the access log: the compiled form says what the pure one says, of whatever there is to say."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwsgi import _impl
from fastwsgi._lines_py import Lines as PureLines
from fastwsgi.config.settings import Config
from fastwsgi.logs import access_format

NOON = 1_700_000_000.25
COMBINED = Config().access_log_format
EVERYTHING = (
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(m)s %(U)s?%(q)s %(H)s %(s)s %(b)s %(B)d "%(f)s" "%(a)s" %(T)s %(M)s %(D)s'
    ' %(L)s %(p)s "%({X-Thing}i)s" %({x-id}o)s %({thing}e)s %({CONTENT_TYPE}e)s %(nothing)s 100%% é'
)
NAMES = [
    *("REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL"),
    *("HTTP_HOST", "HTTP_REFERER", "HTTP_USER_AGENT", "HTTP_AUTHORIZATION", "HTTP_X_THING"),
    *("THING", "thing", "CONTENT_TYPE"),
]
TEXT = st.text(max_size=20) | st.text(st.characters(max_codepoint=255), max_size=20)
ENVIRONS = st.dictionaries(st.sampled_from(NAMES), TEXT | st.sampled_from(["Basic YTpi", "é", "Ã©"]))
HEADERS = st.none() | st.lists(st.tuples(st.sampled_from(["X-Id", "x-ID", "X-I", "Y-Id"]), TEXT), max_size=3)
STATUS = st.sampled_from(["", "200 OK", "404 Not Found", "499", "20", "2é0"])


def told(kind: Any, fmt: str, *request: Any) -> bytes:
    lines = kind(fmt, lambda: NOON)
    lines.log(*request)
    data: bytes = lines.take()
    assert data.endswith(b"\n")
    return data


@given(
    ENVIRONS,
    STATUS,
    HEADERS,
    st.integers(0, 1 << 50),
    st.integers(0, 10**9),
    st.sampled_from([COMBINED, EVERYTHING]),
)
def test_a_line_is_the_same(
    environ: dict[str, Any], status: str, headers: Any, nbytes: int, micros: int, fmt: str
) -> None:
    request = environ, status, headers, nbytes, micros / 1e6
    assert told(_impl.Lines, fmt, *request) == told(PureLines, fmt, *request)


@given(ENVIRONS, STATUS, st.integers(0, 1 << 50), st.integers(0, 10**9))
def test_an_object_is_the_same(environ: dict[str, Any], status: str, nbytes: int, micros: int) -> None:
    request = environ, status, None, nbytes, micros / 1e6
    line = told(_impl.Lines, "json", *request)
    assert line.count(b"\n") == 1
    assert json.loads(line, object_pairs_hook=list) == json.loads(
        told(PureLines, "json", *request), object_pairs_hook=list
    )


@pytest.mark.parametrize("fmt", [COMBINED, "json"])
def test_every_character_is_written_the_same(fmt: str) -> None:
    for code in range(256):
        environ = {"RAW_URI": f"/{chr(code)}", "PATH_INFO": f"/{chr(code)}"}
        line = told(_impl.Lines, fmt, environ, "200 OK", None, 1, 0.5)
        assert line == told(PureLines, fmt, environ, "200 OK", None, 1, 0.5)
        assert line[:-1].decode("ascii").isprintable()


@pytest.mark.parametrize("value", [5, None, ("an", "object"), type("Text", (str,), {})("text")])
@pytest.mark.parametrize("fmt", [EVERYTHING, "json"])
def test_objects_of_the_app(fmt: str, value: Any) -> None:
    environ = dict.fromkeys(["REMOTE_ADDR", "HTTP_REFERER", "PATH_INFO", "thing"], value)
    assert told(_impl.Lines, fmt, environ, "200 OK", None, 1, 0.0) == told(
        PureLines, fmt, environ, "200 OK", None, 1, 0.0
    )


@pytest.mark.parametrize("kind", [_impl.Lines, PureLines])
def test_lines_of_others_keep_their_place(kind: Any) -> None:
    lines = kind("%(B)s")
    assert lines.take() == b""
    lines.log({}, "200 OK", None, 1, 0.0)
    lines.add(b"another")
    lines.log({}, "200 OK", None, 2, -1.0)
    assert lines.take() == b"1\nanother\n2\n"
    lines.log({}, "200 OK", None, 3, 0.0)
    lines.log({}, "200 OK", [], 4, 1e300)
    assert lines.take() == b"3\n4\n"


@pytest.mark.parametrize("kind", [_impl.Lines, PureLines])
@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_a_long_line(kind: Any, size: int) -> None:
    lines = kind("%({X}e)s")
    for _ in range(3):
        lines.log({"X": '"' * size}, "200 OK", None, 0, 0.0)
    assert lines.take() == (b'\\"' * size + b"\n") * 3


@pytest.mark.parametrize("kind", [_impl.Lines, PureLines])
def test_the_clock_of_the_system(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_format, "stamp_of", lambda second: f"<{int(second)}>")
    before = int(time.time())
    lines = kind("%(t)s")
    lines.log({}, "200 OK", None, 0, 0.0)
    # A coarse clock may be a tick behind.
    assert before - 1 <= int(lines.take().strip(b"<>\n")) <= time.time()


@pytest.mark.parametrize("kind", [_impl.Lines, PureLines])
def test_the_process_is_that_after_a_fork(kind: Any) -> None:
    reader, writer = os.pipe()
    lines = kind("%(p)s")
    lines.log({}, "200 OK", None, 0, 0.0)
    pid = os.fork()
    if pid == 0:
        lines.log({}, "200 OK", None, 0, 0.0)
        os.write(writer, lines.take())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100).decode() == f"<{os.getpid()}>\n<{pid}>\n"
    os.close(reader)
    os.close(writer)
