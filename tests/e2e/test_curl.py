"""curl, the client everybody tries first."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import DEADLINE, LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def echo() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.echo:app") as running:
        yield running


@pytest.fixture(scope="module")
def pep3333() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.pep3333:app") as running:
        yield running


def curl(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    assert CURL
    command = [CURL, "--silent", "--show-error", "--noproxy", "*", "--max-time", str(DEADLINE), *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done


def seen(*arguments: str, data: bytes | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(curl(*arguments, data=data).stdout)
    return found


def test_get(echo: LiveServer) -> None:
    found = seen(f"{echo.url}/a%20b?c=d")
    assert found["method"] == "GET"
    assert found["environ"]["PATH_INFO"] == "/a b"
    assert found["environ"]["QUERY_STRING"] == "c=d"
    assert found["environ"]["HTTP_USER_AGENT"].startswith("curl/")


def test_post_form(echo: LiveServer) -> None:
    found = seen("-d", "a=1", "-d", "b=2", echo.url)
    assert (found["method"], found["body"]) == ("POST", "a=1&b=2")
    assert found["environ"]["CONTENT_TYPE"] == "application/x-www-form-urlencoded"


def test_multipart(echo: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("file content")
    found = seen("-F", "note=hi", "-F", f"file=@{tmp_path}/f.txt", echo.url)
    assert found["environ"]["CONTENT_TYPE"].startswith("multipart/form-data; boundary=")
    assert "file content" in found["body"]


def test_upload_of_unknown_length(echo: LiveServer) -> None:
    """`-T -` sends in chunks, and waits for 100 Continue."""
    found = seen("-T", "-", f"{echo.url}/up", data=b"from a pipe" * 1000)
    assert found["method"] == "PUT"
    assert found["body"] == "from a pipe" * 1000
    assert found["environ"]["CONTENT_LENGTH"] == str(11_000)
    assert "HTTP_TRANSFER_ENCODING" in found["environ"]


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
@pytest.mark.parametrize("size", [10, 2 << 20])
def test_expect(pep3333: LiveServer, tmp_path: Path, expect: str, size: int) -> None:
    body = b"0123456789" * (size // 10)
    (tmp_path / "body").write_bytes(body)
    answer = curl(
        "-H",
        expect,
        "--expect100-timeout",
        "15",
        "--data-binary",
        f"@{tmp_path}/body",
        f"{pep3333.url}/digest",
    )
    assert answer.stdout.decode() == f"{len(body)} {zlib.crc32(body)} {len(body)}"


def test_http10(echo: LiveServer) -> None:
    assert seen("--http1.0", echo.url)["environ"]["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_head(pep3333: LiveServer) -> None:
    head = curl("-I", f"{pep3333.url}/file").stdout.decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Length: 320000\r\n" in head


def test_range_is_the_applications_business(echo: LiveServer) -> None:
    assert seen("--range", "5-9", echo.url)["environ"]["HTTP_RANGE"] == "bytes=5-9"


def test_keeps_the_connection(echo: LiveServer) -> None:
    done = curl(
        "-v", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", *[f"{echo.url}/{n}" for n in range(3)]
    )
    log = done.stderr.decode()
    assert log.count("HTTP/1.1 200 OK") == 3
    assert log.lower().count("re-using existing") == 2


@pytest.mark.parametrize("path", ["big", "big-generator", "file", "write-big", "file-like"])
@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_download(pep3333: LiveServer, tmp_path: Path, path: str, version: str) -> None:
    from tests.apps.pep3333 import CONTENT

    curl(version, "-o", f"{tmp_path}/out", f"{pep3333.url}/{path}")
    wanted = {"file": CONTENT, "file-like": b"like a file" * 1000}.get(
        path, b"0123456789abcdef" * (5 * 65536)
    )
    assert (tmp_path / "out").read_bytes() == wanted


def test_slow_download(pep3333: LiveServer, tmp_path: Path) -> None:
    from tests.apps.pep3333 import CONTENT

    curl("--limit-rate", "400k", "-o", f"{tmp_path}/out", f"{pep3333.url}/file")
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_unix_socket(tmp_path: Path) -> None:
    with LiveServer("tests.apps.echo:app", bind=f"unix:{tmp_path}/s"):
        assert seen("--unix-socket", f"{tmp_path}/s", "http://localhost/x")["environ"]["REMOTE_ADDR"] == ""
    assert not (tmp_path / "s").exists()
