"""Requests and responses as hooks see them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from fastwsgi.hooks.views import RequestView, ResponseView

ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "POST",
    "RAW_URI": "/a%20b;c?x=1&y=2",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "10.0.0.1",
    "REMOTE_PORT": "4711",
    "wsgi.url_scheme": "https",
    "wsgi.input": io.BytesIO(b"body"),
    "CONTENT_TYPE": "text/plain",
    "CONTENT_LENGTH": "4",
    "HTTP_HOST": "test",
    "HTTP_X_FORWARDED_FOR": "1.1.1.1,2.2.2.2",
}


def test_a_request_shows_what_gunicorns_does() -> None:
    view = RequestView(ENVIRON)
    assert (view.method, view.uri) == ("POST", "/a%20b;c?x=1&y=2")
    assert (view.path, view.query, view.fragment) == ("/a%20b;c", "x=1&y=2", "")
    assert view.version == (1, 1)
    assert view.scheme == "https"
    assert view.remote_addr == view.peer_addr == ("10.0.0.1", 4711)
    assert view.headers == [
        ("CONTENT-TYPE", "text/plain"),
        ("CONTENT-LENGTH", "4"),
        ("HOST", "test"),
        ("X-FORWARDED-FOR", "1.1.1.1,2.2.2.2"),
    ]
    assert view.body is ENVIRON["wsgi.input"]
    assert view.trailers == []
    assert view.proxy_protocol_info is None
    assert repr(view) == "<RequestView POST /a%20b;c?x=1&y=2>"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("/", ("/", "", "")),
        ("//double/slash?q", ("//double/slash", "q", "")),
        ("/p?a?b#f", ("/p", "a?b", "f")),
        ("http://host:80/abs?q=1#f", ("/abs", "q=1", "f")),
        ("*", ("*", "", "")),
        ("host:443", ("443", "", "")),
        ("http://[bad", ("http://[bad", "", "")),
    ],
)
def test_parts_of_the_target(uri: str, parts: tuple[str, str, str]) -> None:
    view = RequestView({"RAW_URI": uri})
    assert (view.path, view.query, view.fragment) == parts


def test_a_request_of_which_nothing_is_known() -> None:
    view = RequestView({})
    assert (view.method, view.uri, view.path, view.headers) == ("", "", "", [])
    assert view.version == (1, 1)
    assert view.remote_addr == ""
    assert view.body is None


def test_a_client_without_a_port() -> None:
    assert RequestView({"REMOTE_ADDR": "10.0.0.1"}).remote_addr == ("10.0.0.1", 0)


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        ("HTTP/1.1", "", False),
        ("HTTP/1.1", "Upgrade, Close", True),
        ("HTTP/1.0", "", True),
        ("HTTP/1.0", "keep-alive", False),
    ],
)
def test_should_close(version: str, connection: str, closes: bool) -> None:
    assert RequestView({"SERVER_PROTOCOL": version, "HTTP_CONNECTION": connection}).should_close() is closes


def test_what_a_hook_sets_on_a_request_stays() -> None:
    view: Any = RequestView(ENVIRON)
    view.started = 1.5
    view.path = "/other"
    assert (view.started, view.path) == (1.5, "/other")


def carried_over(*headers: tuple[str, str], look: bool = True) -> dict[str, Any]:
    """Return an environ after its view's headers were replaced."""
    environ = ENVIRON.copy()
    view = RequestView(ENVIRON.copy())
    if look:
        view.headers[:] = headers
    view.carry_over(environ)
    return environ


def test_headers_that_are_left_alone_change_nothing() -> None:
    assert carried_over(look=False) == ENVIRON
    assert carried_over(*RequestView(ENVIRON).headers) == ENVIRON


def test_headers_that_a_hook_changes_reach_the_application() -> None:
    environ = carried_over(("HOST", "other"), ("X-Request-Id", "7"), ("X-REQUEST-ID", "8"))
    assert environ["HTTP_HOST"] == "other"
    assert environ["HTTP_X_REQUEST_ID"] == "7,8"
    assert "HTTP_X_FORWARDED_FOR" not in environ
    assert "CONTENT_TYPE" not in environ
    assert environ["REQUEST_METHOD"] == "POST"


def test_a_response_shows_what_gunicorns_does() -> None:
    headers = [("Content-Type", "text/plain"), ("content-length", "12")]
    view = ResponseView("200 OK", headers, 12)
    assert (view.status, view.status_code, view.sent, view.response_length) == ("200 OK", 200, 12, 12)
    assert view.headers == headers
    assert view.headers is not headers
    assert view.headers_sent
    assert not view.is_chunked()
    assert not view.should_close()
    assert repr(view) == "<ResponseView 200 OK>"


def test_a_response_that_never_began() -> None:
    view = ResponseView("", None, 0, headers_sent=False)
    assert (view.status, view.status_code, view.headers, view.response_length) == (None, None, [], None)
    assert not view.headers_sent


def test_a_response_in_chunks() -> None:
    view = ResponseView("200 OK", [], 5, chunked=True, must_close=True)
    assert view.is_chunked()
    assert view.should_close()
    assert view.response_length is None


def test_a_proxy_header() -> None:
    told = {"PROXY_PROTOCOL": "TCP4", "REMOTE_ADDR": "203.0.113.9", "REMOTE_PORT": "4711"}
    proxy = {"PROXY_ADDR": "192.0.2.7", "PROXY_PORT": "443"}
    assert RequestView({**told, **proxy}).proxy_protocol_info == {
        "proxy_protocol": "TCP4",
        "client_addr": "203.0.113.9",
        "client_port": 4711,
        "proxy_addr": "192.0.2.7",
        "proxy_port": 443,
    }
    nobody = dict.fromkeys(("client_addr", "client_port", "proxy_addr", "proxy_port"))
    local = RequestView({**told, "PROXY_PROTOCOL": "LOCAL"}).proxy_protocol_info
    assert local == {"proxy_protocol": "LOCAL", **nobody}
