"""Flask and Django as people use them, and the example apps."""

from __future__ import annotations

import json
import os
import re
import zlib
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import DEADLINE, ROOT, LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMEWORKS = ["flask", "django"]


@pytest.fixture(scope="module", params=FRAMEWORKS)
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    with LiveServer(f"tests.apps.{request.param}_app:app", env={"WERKZEUG_DEBUG_PIN": None}) as running:
        running.allow_traceback = True
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[HTTPConnection]:
    connection = connect(server)
    yield connection
    connection.close()


def connect(server: LiveServer) -> HTTPConnection:
    assert isinstance(server.address, tuple)
    return HTTPConnection(*server.address, timeout=DEADLINE)


def fetch(
    client: HTTPConnection,
    target: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    method: str | None = None,
) -> tuple[HTTPResponse, bytes]:
    """Make one request; the connection is kept, as a browser's is."""
    client.request(method or ("GET" if body is None else "POST"), target, body, headers or {})
    response = client.getresponse()
    return response, response.read()


def multipart(**fields: tuple[str, bytes] | str) -> tuple[bytes, dict[str, str]]:
    parts = []
    for name, value in fields.items():
        disposition = f'Content-Disposition: form-data; name="{name}"'
        if isinstance(value, str):
            parts.append(f"--edge\r\n{disposition}\r\n\r\n{value}\r\n".encode())
        else:
            start = (
                f'--edge\r\n{disposition}; filename="{value[0]}"\r\nContent-Type: application/x-test\r\n\r\n'
            )
            parts.append(start.encode() + value[1] + b"\r\n")
    return b"".join(parts) + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def test_page(client: HTTPConnection) -> None:
    response, body = fetch(client, "/")
    assert response.status == 200
    assert body.decode() == "<h1>Grüße</h1>"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_path_and_query_in_utf8(client: HTTPConnection) -> None:
    _, body = fetch(client, "/path/caf%C3%A9/a%20b?x=1&x=%E2%82%AC&y=")
    seen = json.loads(body)
    assert seen["path"] == "café/a b"
    assert seen["args"] == {"x": ["1", "€"], "y": [""]}
    assert seen["url"].startswith(f"http://{client.host}:{client.port}/path/caf")


def test_form(client: HTTPConnection) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    _, body = fetch(client, "/form", b"a=1&b=%C3%BC&a=2", headers)
    assert json.loads(body)["form"] == {"a": ["1", "2"], "b": ["ü"]}


@pytest.mark.parametrize("size", [0, 100, 3 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_upload(client: HTTPConnection, size: int, chunked: bool) -> None:
    """Small and spooled, with a length and in chunks (Werkzeug trusts those by wsgi.input_terminated)."""
    data = os.urandom(size)
    form, headers = multipart(note="grün", file=("ä.bin", data))
    body = (form[i : i + 50_000] for i in range(0, len(form), 50_000)) if chunked else form
    response, answer = fetch(client, "/upload", body, headers)
    assert response.status == 200, answer
    assert json.loads(answer) == {
        "note": "grün",
        "files": {"file": ["ä.bin", "application/x-test", size, zlib.crc32(data)]},
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_raw_body(client: HTTPConnection, chunked: bool) -> None:
    data = os.urandom(200_000)
    body = iter([data[:1], data[1:70_000], data[70_000:]]) if chunked else data
    _, answer = fetch(client, "/raw", body, method="POST")
    assert json.loads(answer) == {"size": len(data), "crc": zlib.crc32(data)}


def test_stream(client: HTTPConnection) -> None:
    response, body = fetch(client, "/stream?word=drop")
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert body == b"".join(b"%06d drop\n" % number for number in range(1000))
    assert fetch(client, "/")[0].status == 200


def test_cookies(client: HTTPConnection) -> None:
    cookies: dict[str, str] = {}
    for visit in range(1, 4):
        headers = {"Cookie": "; ".join(f"{key}={value}" for key, value in cookies.items())} if cookies else {}
        response, body = fetch(client, "/count", headers=headers)
        assert json.loads(body)["visits"] == visit
        set_cookies = response.headers.get_all("Set-Cookie")
        assert set_cookies
        assert len(set_cookies) == 2
        for line in set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name] = value
    assert "second" in json.loads(body)["cookies"]


def test_redirect(client: HTTPConnection) -> None:
    response, _ = fetch(client, "/away")
    assert response.status == 302
    assert response.headers["Location"] in ("/", f"http://{client.host}:{client.port}/")


def test_file(client: HTTPConnection, server: LiveServer) -> None:
    response, body = fetch(client, "/file")
    name = "flask_app" if b"from flask import" in body else "django_app"
    content = (ROOT / "tests" / "apps" / f"{name}.py").read_bytes()
    assert body == content
    assert response.headers["Content-Length"] == str(len(content))
    response, body = fetch(client, "/file", method="HEAD")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == str(len(content))


def test_empty(client: HTTPConnection) -> None:
    for method in ("GET", "DELETE"):
        response, body = fetch(client, "/empty", method=method)
        assert (response.status, body) == (204, b"")
        assert response.headers["Content-Length"] is None


def test_not_found_and_wrong_method(client: HTTPConnection) -> None:
    assert fetch(client, "/nowhere")[0].status == 404
    response, _ = fetch(client, "/away", method="HEAD")
    assert response.status == 302


def test_failing_view(client: HTTPConnection) -> None:
    response, body = fetch(client, "/error")
    assert response.status == 500
    assert b"on purpose" not in body
    assert fetch(client, "/")[0].status == 200


def test_django_signals() -> None:
    """`request_finished` comes from HttpResponse.close(): without it, database connections leak."""
    with LiveServer("tests.apps.django_app:app") as running:
        client = connect(running)
        for target in ("/", "/stream?word=x", "/file", "/empty"):
            fetch(client, target)
        _, body = fetch(client, "/finished")
        client.close()
    assert json.loads(body)["finished"] == 4


# --- the examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["examples.flask_app:app", "examples.django_app:app"])
def test_example(app: str) -> None:
    with LiveServer(app, "-w", "2", "--access-logfile", "-") as running:
        client = connect(running)
        response, page = fetch(client, "/")
        assert response.status == 200
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
        fields: dict[str, Any] = {"file": ("hello.txt", b"hello world"), "note": "a note"}
        headers = {}
        if token:
            fields["csrfmiddlewaretoken"] = token[1].decode()
            headers["Cookie"] = f"csrftoken={token[1].decode()}"
        cookie = response.headers["Set-Cookie"]
        if cookie:
            headers["Cookie"] = cookie.partition(";")[0]
        form, content = multipart(**fields)
        response, answer = fetch(client, "/upload", form, {**content, **headers})
        assert response.status == 200, answer
        assert b"hello.txt" in answer
        assert b"11" in answer
        _, answer = fetch(client, "/hello.json?a=b")
        assert json.loads(answer)["args"] == {"a": "b"}
        client.request("GET", "/stream")
        assert client.getresponse().readline()
        client.close()
        running.stdout.wait_for(r'"GET /hello\.json\?a=b HTTP/1\.1" 200 ')


def test_hello_example() -> None:
    with LiveServer("examples.hello:app") as running:
        assert running.get("/").body == b"Hello from fastwsgi\n"
