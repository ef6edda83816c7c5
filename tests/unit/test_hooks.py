"""Hooks: called with what gunicorn calls them with, and harmless when they fail."""

from __future__ import annotations

import logging
import os
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi._impl import Serializer
from fastwsgi.config.settings import Config
from fastwsgi.endpoint import Endpoint
from fastwsgi.errors import ConfigError, HookError
from fastwsgi.hooks.actors import App, Server, WorkerView
from fastwsgi.hooks.calls import Hooks, WorkerHooks
from fastwsgi.hooks.observer import Observer
from fastwsgi.hooks.views import RequestView, ResponseView
from fastwsgi.processes.sockets import Listener
from fastwsgi.request import Limits, Request
from fastwsgi.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG = logging.getLogger("tests.hooks")
ENVIRON = {"REQUEST_METHOD": "GET", "RAW_URI": "/path?q", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "a"}


def configuration(**settings: Any) -> Config:
    return Config(wsgi_app="module:app", proc_name="name", **settings)


def server_of(cfg: Config) -> Server:
    return Server(cfg, LOG)


def fails(*_: object) -> None:
    message = "boom"
    raise ValueError(message)


def exits(*_: object) -> None:
    raise SystemExit(7)


# --- calls ------------------------------------------------------------------------------------------------

IN_SERVER = ("on_reload", "when_ready", "pre_exec", "on_exit")
OF_WORKER = ("pre_fork", "child_exit", "worker_exit")


def call(name: str, hooks: Hooks, server: Server, worker: WorkerView) -> Any:
    """Call one hook with what belongs to it."""
    method = getattr(hooks, name)
    if name in ("on_starting", *IN_SERVER):
        return method(server)
    if name in ("post_fork", *OF_WORKER):
        return method(server, worker)
    if name == "nworkers_changed":
        return method(server, 3, None)
    if name == "pre_request":
        return method(worker, RequestView(ENVIRON))
    if name == "post_request":
        return method(worker, RequestView(ENVIRON), ENVIRON, ResponseView("200 OK", [], 0))
    return method(worker)


ALL = (
    *("on_starting", "nworkers_changed", *IN_SERVER, *OF_WORKER, "post_fork", "post_worker_init"),
    *("worker_int", "worker_abort", "pre_request", "post_request"),
)


def test_all_hooks_are_here() -> None:
    from fastwsgi.config.settings import SETTINGS

    hooks = {setting.name for setting in SETTINGS if setting.kind.metavar == "FUNCTION"}
    assert hooks - {"ssl_context"} == set(ALL)
    assert len(hooks) == 16


@pytest.mark.parametrize("name", ALL)
def test_a_hook_that_is_not_set(name: str) -> None:
    cfg = configuration()
    server = server_of(cfg)
    assert call(name, Hooks(cfg, LOG), server, server.make_worker(1)) in (None, True)


@pytest.mark.parametrize("name", ALL)
def test_a_hook_gets_what_gunicorn_gives_it(name: str) -> None:
    got: list[tuple[object, ...]] = []
    cfg = configuration(**{name: lambda *args: got.append(args)})
    server = server_of(cfg)
    worker = server.make_worker(1)
    call(name, Hooks(cfg, LOG), server, worker)
    (args,) = got
    if name in ("on_starting", *IN_SERVER):
        assert args == (server,)
    elif name in ("post_fork", *OF_WORKER):
        assert args == (server, worker)
    elif name == "nworkers_changed":
        assert args == (server, 3, None)
    else:
        assert args[0] is worker
        assert len(args) == {"pre_request": 2, "post_request": 4}.get(name, 1)


HARMLESS = [name for name in ALL if name not in ("on_starting", "post_fork", "post_worker_init")]


@pytest.mark.parametrize("failure", [fails, exits])
@pytest.mark.parametrize("name", HARMLESS)
def test_a_hook_that_fails_is_told_by_its_name(
    name: str, failure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = configuration(**{name: failure})
    server = server_of(cfg)
    assert call(name, Hooks(cfg, LOG), server, server.make_worker(1)) in (None, False)
    (record,) = caplog.records
    assert record.getMessage() == f"Error in the hook {name}"
    assert record.exc_info
    assert record.exc_info[0] in (ValueError, SystemExit)


@pytest.mark.parametrize(("failure", "words"), [(fails, "ValueError: boom"), (exits, "SystemExit: 7")])
def test_on_starting_keeps_the_server_from_starting(failure: Callable[..., None], words: str) -> None:
    cfg = configuration(on_starting=failure)
    with pytest.raises(ConfigError) as caught:
        Hooks(cfg, LOG).on_starting(server_of(cfg))
    text = str(caught.value)
    assert text.startswith(f"on_starting = <{failure.__name__}> (")
    assert f"it failed: {words} ({__file__}:" in text
    assert "\n" not in text


@pytest.mark.parametrize(("failure", "words"), [(fails, "ValueError: boom"), (exits, "SystemExit: 7")])
@pytest.mark.parametrize("name", ["post_fork", "post_worker_init"])
def test_a_worker_does_not_boot_without_some(
    name: str, failure: Callable[..., None], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = configuration(**{name: failure})
    server = server_of(cfg)
    with pytest.raises(HookError, match=f"^the hook {name} failed: {words} ") as caught:
        call(name, Hooks(cfg, LOG), server, server.make_worker(1))
    assert type(caught.value.__cause__) in (ValueError, SystemExit)
    assert not caplog.records  # whoever catches it tells it


class Callable3:
    """A hook that is an object, of three arguments."""

    def __init__(self, got: list[tuple[object, ...]]) -> None:
        self.got = got

    def __call__(self, worker: object, request: object, environ: object) -> None:
        self.got.append((worker, request, environ))


@pytest.mark.parametrize("count", [2, 3, 4, "any", "object"])
def test_post_request_takes_fewer_arguments(count: int | str) -> None:
    got: list[tuple[object, ...]] = []
    hooks: dict[int | str, Callable[..., None]] = {
        2: lambda a, b: got.append((a, b)),
        3: lambda a, b, c: got.append((a, b, c)),
        4: lambda a, b, c, d: got.append((a, b, c, d)),
        "any": lambda *args: got.append(args),
        "object": Callable3(got),
    }
    cfg = configuration(post_request=hooks[count])
    server = server_of(cfg)
    call("post_request", Hooks(cfg, LOG), server, server.make_worker(1))
    assert [len(args) for args in got] == [{"any": 4, "object": 3}.get(str(count), count)]


def test_a_hook_that_does_not_tell_what_it_takes() -> None:
    cfg = configuration(post_request=print)  # of old Pythons: a builtin without a signature
    assert Hooks(cfg, LOG).post_request_takes == 4
    cfg = configuration(post_request=dict.fromkeys)  # has none that can be read, in some Pythons
    assert Hooks(cfg, LOG).post_request_takes in (2, 4)


def test_the_hooks_of_a_worker() -> None:
    got: list[tuple[str, object]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *args: got.append((name, args))

    names = ("post_fork", "post_worker_init", "worker_int", "worker_abort", "worker_exit")
    cfg = configuration(**{name: note(name) for name in names})
    server = server_of(cfg)
    worker = server.make_worker(1)
    hooks = WorkerHooks(Hooks(cfg, LOG), server, worker)
    for name in (*names, "worker_exit"):  # the last is told once
        assert worker.alive is (name not in ("worker_abort", "worker_exit"))
        if name == "post_worker_init":
            assert hooks.post_worker_init(hello) is worker.wsgi is hello
        else:
            getattr(hooks, name)()
    both = ("post_fork", "worker_exit")
    assert got == [(name, (server, worker) if name in both else (worker,)) for name in names]


# --- server and worker ------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield Listener(sock)


def test_what_a_server_shows(listener: Listener) -> None:
    cfg = configuration(workers=3, timeout=20.0)
    server = server_of(cfg)
    assert (server.pid, server.master_pid, server.master_name) == (os.getpid(), 0, "Master")
    assert (server.cfg, server.log, server.num_workers) == (cfg, LOG, 3)
    assert (server.proc_name, server.timeout) == ("name", 20.0)
    assert server.WORKERS == {}
    server.listen_on([listener])
    (shown,) = server.LISTENERS
    assert shown.sock is listener.sock
    assert shown.getsockname() == server.address[0] == listener.sock.getsockname()
    assert shown.fileno() == listener.sock.fileno()
    assert str(shown) == listener.url
    assert repr(shown) == f"<ListenerView {listener.url}>"


def test_a_server_that_is_to_replace_another() -> None:
    server = Server(configuration(), LOG, master_pid=17)
    assert (server.master_pid, server.master_name, server.proc_name) == (17, "Master.2", "name.2")
    server.stand_beside()
    assert (server.master_pid, server.master_name, server.proc_name) == (0, "Master", "name")


def test_a_server_shows_another_configuration() -> None:
    server = server_of(configuration(workers=3))
    cfg = configuration(workers=5)
    server.adopt(cfg, LOG)
    assert server.cfg is cfg
    assert isinstance(server.app, App)
    assert server.app.cfg is cfg
    assert server.num_workers == 3  # until the master says so


def test_what_a_worker_shows(listener: Listener) -> None:
    cfg = configuration(timeout=20.0)
    server = server_of(cfg)
    server.listen_on([listener])
    worker = server.make_worker(4)
    assert server.worker_age == worker.age == 4
    assert str(worker) == repr(worker) == "<Worker [booting]>"
    worker.pid = 123
    assert str(worker) == "<Worker 123>"
    assert (worker.ppid, worker.cfg, worker.log, worker.app) == (os.getpid(), cfg, LOG, server.app)
    assert worker.timeout == 10.0
    assert worker.sockets == server.LISTENERS
    assert (worker.nr, worker.alive, worker.booted, worker.aborted) == (0, True, False, False)
    assert worker.wsgi is None
    worker.notify()  # nothing to be shown yet


def test_a_worker_that_serves() -> None:
    worker = server_of(configuration()).make_worker(1)
    stops: list[str] = []
    beats: list[float] = []

    def application(_environ: object, _start: object) -> list[bytes]:
        return []

    worker.boot(application)
    assert worker.wsgi is application
    assert worker.app.wsgi() is application
    worker.serve(count=lambda: 12, beat=beats.append, stop=lambda: stops.append("stop"))
    assert (worker.nr, worker.booted) == (12, True)
    worker.notify()
    assert len(beats) == 1
    worker.alive = True
    assert stops == []
    worker.alive = False
    worker.alive = False
    assert (worker.alive, stops) == (False, ["stop"])


def test_a_worker_that_ends_is_not_told_to() -> None:
    worker = server_of(configuration()).make_worker(1)
    worker.serve(count=int, beat=print, stop=fails)
    worker.end()
    assert not worker.alive
    worker.alive = False


def test_a_worker_that_is_to_end_before_it_serves() -> None:
    worker = server_of(configuration()).make_worker(1)
    worker.alive = False
    assert not worker.alive


def test_the_application_is_loaded_once() -> None:
    server = server_of(Config(wsgi_app="examples.hello:app", proc_name="name"))
    assert isinstance(server.app, App)
    assert server.app.app_uri == "examples.hello:app"
    loaded = server.app.wsgi()
    assert server.app.wsgi() is server.app.callable is loaded


# --- around requests --------------------------------------------------------------------------------------


def endpoint() -> Endpoint:
    from fastwsgi._impl import Parser

    serializer = Serializer("fastwsgi")
    serializer.stamp("now")
    parser: Any = Parser
    limits = Limits()
    return Endpoint(parser.__new__(parser), serializer, {}, limits, open_spool=lambda: None)


VALUE: ContextVar[str] = ContextVar("VALUE", default="")


def serve(app: Callable[..., Any], **hooks: Any) -> tuple[Response, bytes]:
    """Have one request answered with hooks around it."""
    from contextvars import copy_context

    cfg = configuration(**hooks)
    observer = Observer(Hooks(cfg, LOG), server_of(cfg).make_worker(1))
    out: list[bytes] = []
    response = Response.__new__(Response)
    request = Request(dict(ENVIRON), 1, 0)
    response.begin(endpoint(), request, out, None, copy_context())
    response.run(observer.around(app))
    while response.state == 0:
        response.pull()
    response.finish()
    response.show(observer.complete)
    return response, b"".join(out)


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    assert environ["HTTP_HOST"] == "a"
    environ["RAW_URI"] = "/changed"
    start_response("200 OK", [("X-Value", VALUE.get())])
    return [b"hello"]


def test_hooks_around_a_request() -> None:
    got: list[Any] = []

    def pre_request(worker: Any, req: Any) -> None:
        got.append((worker.age, req.uri))
        req.started = 1
        VALUE.set("set before")

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        got.append((worker.age, req.uri, req.started, environ["RAW_URI"], VALUE.get()))
        got.append((resp.status, resp.status_code, resp.headers, resp.sent, resp.headers_sent))

    response, data = serve(hello, pre_request=pre_request, post_request=post_request)
    assert b"X-Value: set before" in data
    assert got == [
        (1, "/path?q"),
        (1, "/path?q", 1, "/changed", "set before"),
        ("200 OK", 200, [("X-Value", "set before")], 5, True),
    ]
    assert response.view is None
    assert VALUE.get() == ""


def test_post_request_alone_sees_the_request_as_it_came() -> None:
    got: list[Any] = []
    serve(hello, post_request=lambda _worker, req: got.append((req.uri, req.path)))
    assert got == [("/path?q", "/path")]


def test_headers_that_pre_request_adds() -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append(environ["HTTP_X_REQUEST_ID"])
        return hello(environ, start_response)  # type: ignore[no-any-return]

    serve(app, pre_request=lambda _worker, req: req.headers.append(("X-REQUEST-ID", "7")))
    assert seen == ["7"]


@pytest.mark.parametrize("failure", [fails, exits])
def test_a_request_whose_hook_fails_does_not_reach_the_app(
    failure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Any] = []
    response, data = serve(fails, pre_request=failure, post_request=lambda *args: got.append(args[3].status))
    assert data.startswith(b"HTTP/1.1 500 ")
    assert response.keep_alive
    assert response.failure is None
    assert [record.getMessage() for record in caplog.records] == ["Error in the hook pre_request"]
    assert got == ["500 Internal Server Error"]


def test_a_response_in_chunks_is_shown_so() -> None:
    def app(_environ: object, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"piece"

    got: list[Any] = []
    serve(app, post_request=lambda _w, _r, _e, resp: got.append((resp.is_chunked(), resp.sent)))
    assert got == [(True, 5)]


def test_a_request_that_reached_neither_hook_nor_app_is_not_told() -> None:
    cfg = configuration(post_request=fails)
    observer = Observer(Hooks(cfg, LOG), server_of(cfg).make_worker(1))
    response = Response.__new__(Response)
    from contextvars import copy_context

    response.begin(endpoint(), Request(dict(ENVIRON), 1, 0), [], None, copy_context())
    observer.complete(response)
