"""What is compared: the cases with their targets, and the command that starts each server.

Data only: a new row is a new entry here. Nothing in this module starts or measures anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CASES", "REFERENCES", "ROOT", "SERVERS", "Case", "Server", "Target"]

ROOT = Path(__file__).resolve().parent.parent

_PAGE = "/shop/item/123456"


@dataclass(frozen=True)
class Target:
    """A promise: the `figure` of server `ours` is at most `ratio` times that of `server`.

    Without a `server`: it is at least `ratio`.
    """

    server: str
    ratio: float
    ours: str = "fastwsgi"
    figure: str = "cpu_us"


@dataclass(frozen=True)
class Case:
    """One row of load: which application is asked, by which wrk script, and what must come back."""

    name: str
    title: str
    app: str
    script: str
    path: str = "/"
    body: bytes = b"Hello, world!"
    targets: tuple[Target, ...] = ()
    module: str = ""  # what the application needs to be installed
    without: frozenset[str] = frozenset()  # servers that cannot run it
    only: frozenset[str] = frozenset()  # servers that it is about; empty for all but those of other cases
    connections: int = 0  # open at once; 0 for what the command line says


@dataclass(frozen=True)
class Server:
    """How a server is started; {python}, {port}, {app} and {floor} are filled in."""

    name: str
    command: tuple[str, ...]
    package: str = ""  # the distribution whose version is recorded; "" for our own
    module: str = ""  # what must be importable
    environment: dict[str, str] = field(default_factory=dict)
    note: str = ""
    on_request: bool = False  # runs only if --servers names it


CASES = (
    Case(
        "hello",
        "hello, Host only",
        "bench.apps:hello",
        "hello.lua",
        targets=(
            Target("fastpysgi", 0.80),
            Target("floor", 1.30),
            Target("fastwsgi", 1.10, ours="fastwsgi-32"),
        ),
        without=frozenset({"granian-32", "gthread-32"}),
    ),
    Case(
        "browser",
        "hello, a browser's 12 header fields, varied",
        "bench.apps:hello",
        "browser.lua",
        path=_PAGE,
        targets=(Target("fastpysgi", 0.75), Target("floor", 1.60)),
        without=frozenset({"fastwsgi-32", "granian-32", "gthread-32"}),
    ),
    Case(
        "flask",
        "Flask hello, a browser's 12 header fields, varied",
        "bench.flask_app:app",
        "browser.lua",
        path=_PAGE,
        module="flask",
        targets=(
            Target("bjoern", 0.90),
            Target("granian", 0.75),
            Target("gthread", 0.40),
            Target("fastwsgi", 1.10, ours="fastwsgi-32"),
            Target("fastwsgi", 1.50, ours="fastwsgi-32", figure="p99_us"),
        ),
        without=frozenset({"floor", "granian-32", "gthread-32"}),
    ),
    Case(
        "sleep",
        "an app that sleeps 10 ms, on 32 threads, asked by 32 clients",
        "bench.apps:sleep",
        "hello.lua",
        targets=(
            Target("", 2900, ours="fastwsgi-32", figure="requests_per_second"),
            Target("granian-32", 0.80, ours="fastwsgi-32"),
        ),
        only=frozenset({"fastwsgi-32", "granian-32", "gthread-32"}),
        connections=32,
    ),
)

# The columns of ratios.
REFERENCES = ("fastpysgi", "bjoern", "granian", "floor")

_FASTWSGI = ("{python}", "-m", "fastwsgi", "-w", "1", "-b", "127.0.0.1:{port}", "{app}")
_GRANIAN = (
    *("{python}", "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}"),
    *(
        "--workers",
        "1",
        "--runtime-threads",
        "1",
        "--http",
        "1",
        "--no-ws",
        "--log-level",
        "warning",
        "{app}",
    ),
)
_GTHREAD = (
    *("{python}", "-m", "gunicorn", "-w", "1", "-k", "gthread", "-b", "127.0.0.1:{port}"),
    *("--log-level", "warning", "{app}"),
)

SERVERS = (
    Server("floor", ("{floor}", "{port}"), note="canned response, no HTTP, no Python: the machine's limit"),
    Server(
        "fastwsgi",
        _FASTWSGI,
        module="fastwsgi",
        environment={"FASTWSGI_REQUIRE_EXTENSIONS": "1"},
        note="all limits and deadlines at their defaults, as every server here",
    ),
    Server(
        "fastwsgi-pure",
        _FASTWSGI,
        module="fastwsgi",
        environment={"FASTWSGI_NO_EXTENSIONS": "1"},
        on_request=True,
    ),
    Server(
        "fastwsgi-32",
        (*_FASTWSGI, "--threads", "32"),
        module="fastwsgi",
        environment={"FASTWSGI_REQUIRE_EXTENSIONS": "1"},
        note="the same with --threads 32",
    ),
    Server(
        "fastpysgi",
        ("{python}", "-m", "bench.launch_fastpysgi", "{port}", "--workers", "1", "{app}"),
        package="fastpysgi",
        module="fastpysgi",
        note="TCP_NODELAY switched on (off by default); its timeouts are off by default",
    ),
    Server(
        "bjoern",
        ("{python}", "-m", "bench.launch_bjoern", "{port}", "--workers", "1", "{app}"),
        package="bjoern",
        module="bjoern",
        note="sends neither Date nor Server; no timeouts; no TCP_NODELAY, but one write per response",
    ),
    Server(
        "granian",
        (*_GRANIAN, "--blocking-threads", "1"),
        package="granian",
        module="granian",
        note="one runtime thread and one thread for the application: its smallest shape",
    ),
    Server(
        "gthread",
        (*_GTHREAD, "--threads", "1"),
        package="gunicorn",
        module="gunicorn",
        note="gunicorn; one thread for the application beside the one that polls; two sends per response",
    ),
    Server(
        "granian-32",
        (*_GRANIAN, "--blocking-threads", "32"),
        package="granian",
        module="granian",
        note="one runtime thread and 32 for the application",
    ),
    Server(
        "gthread-32",
        (*_GTHREAD, "--threads", "32"),
        package="gunicorn",
        module="gunicorn",
        note="gunicorn; 32 threads for the application",
    ),
)
