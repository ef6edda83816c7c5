"""fastwsgi.wsgi: what an app finds in environ beyond the request itself."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from fastwsgi.wsgi import EMPTY_INPUT, FileWrapper, base_environ

PEP_3333 = {
    "REQUEST_METHOD": str,
    "SCRIPT_NAME": str,
    "PATH_INFO": str,
    "QUERY_STRING": str,
    "SERVER_NAME": str,
    "SERVER_PORT": str,
    "SERVER_PROTOCOL": str,
    "wsgi.version": tuple,
    "wsgi.url_scheme": str,
    "wsgi.input": object,
    "wsgi.errors": object,
    "wsgi.multithread": bool,
    "wsgi.multiprocess": bool,
    "wsgi.run_once": bool,
}


def environ(**changes: Any) -> dict[str, Any]:
    values = {
        "server_name": "h",
        "server_port": "1",
        "url_scheme": "http",
        "errors": sys.stderr,
        "multithread": False,
        "multiprocess": True,
        **changes,
    }
    return base_environ(**values)


def test_all_that_pep_3333_requires() -> None:
    made = environ()
    for name, kind in PEP_3333.items():
        assert type(made[name]) is kind or (kind is object and name in made), name
    assert made["wsgi.version"] == (1, 0)
    assert not [name for name in made if name.startswith(("HTTP_", "CONTENT_", "filler"))]
    assert type(made) is dict


def test_what_it_is_told() -> None:
    made = environ(server_name="x", server_port="9", url_scheme="https", multithread=True, script_name="/a")
    assert (made["SERVER_NAME"], made["SERVER_PORT"], made["wsgi.url_scheme"]) == ("x", "9", "https")
    assert (made["wsgi.multithread"], made["wsgi.multiprocess"], made["SCRIPT_NAME"]) == (True, True, "/a")


def test_copies_have_room_for_a_request() -> None:
    copy = environ().copy()
    before = sys.getsizeof(copy)
    for number in range(12):
        copy[f"HTTP_FIELD_{number}"] = ""
    assert sys.getsizeof(copy) == before


@pytest.mark.parametrize("size", [(), (-1,), (0,), (10,), (None,)])
def test_empty_input_is_like_an_empty_file(size: tuple[Any, ...]) -> None:
    real = io.BytesIO()
    for name in ("read", "readline", "readlines"):
        assert getattr(EMPTY_INPUT, name)(*size) == getattr(real, name)(*size)
    assert list(EMPTY_INPUT) == []
    assert next(iter(EMPTY_INPUT), "end") == "end"
    assert (EMPTY_INPUT.readable(), EMPTY_INPUT.seekable(), EMPTY_INPUT.seek(5), EMPTY_INPUT.tell()) == (
        True,
        True,
        0,
        0,
    )
    EMPTY_INPUT.close()
    assert EMPTY_INPUT.read() == b""


def test_empty_input_serves_a_text_wrapper() -> None:
    with pytest.raises(StopIteration):
        next(EMPTY_INPUT)
    assert io.BufferedReader(io.BytesIO(EMPTY_INPUT.read())).read() == b""


@pytest.mark.parametrize("block_size", [1, 3, 10, 100])
def test_file_wrapper_gives_blocks_and_closes(block_size: int) -> None:
    file = io.BytesIO(b"0123456789")
    wrapper = FileWrapper(file, block_size)
    assert b"".join(wrapper) == b"0123456789"
    assert next(wrapper, None) is None
    wrapper.close()
    assert file.closed


def test_file_wrapper_of_what_cannot_be_closed() -> None:
    class Reader:
        def read(self, _size: int) -> bytes:
            return b""

    wrapper = FileWrapper(Reader())  # type: ignore[arg-type]
    assert list(wrapper) == []
    wrapper.close()
