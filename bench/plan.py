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
    """A promise: fastwsgi's CPU per request is at most `ratio` times that of `server`."""

    server: str
    ratio: float


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
        targets=(Target("fastpysgi", 0.80), Target("floor", 1.30)),
    ),
    Case(
        "browser",
        "hello, a browser's 12 header fields, varied",
        "bench.apps:hello",
        "browser.lua",
        path=_PAGE,
        targets=(Target("fastpysgi", 0.75), Target("floor", 1.60)),
    ),
    Case(
        "flask",
        "Flask hello, a browser's 12 header fields, varied",
        "bench.flask_app:app",
        "browser.lua",
        path=_PAGE,
        module="flask",
        targets=(Target("bjoern", 0.90), Target("granian", 0.75), Target("gthread", 0.40)),
        without=frozenset({"floor"}),
    ),
)

# The columns of ratios.
REFERENCES = ("fastpysgi", "bjoern", "granian", "floor")

_FASTWSGI = ("{python}", "-m", "fastwsgi", "-w", "1", "-b", "127.0.0.1:{port}", "{app}")

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
        "fastpysgi",
        ("{python}", "bench/launch_fastpysgi.py", "{port}", "{app}"),
        package="fastpysgi",
        module="fastpysgi",
        note="TCP_NODELAY switched on (off by default); its timeouts are off by default",
    ),
    Server(
        "bjoern",
        ("{python}", "bench/launch_bjoern.py", "{port}", "{app}"),
        package="bjoern",
        module="bjoern",
        note="sends neither Date nor Server; no timeouts; no TCP_NODELAY, but one write per response",
    ),
    Server(
        "granian",
        (
            *("{python}", "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}"),
            *(
                "--workers",
                "1",
                "--blocking-threads",
                "1",
                "--runtime-threads",
                "1",
                "--http",
                "1",
                "--no-ws",
            ),
            *("--log-level", "warning", "{app}"),
        ),
        package="granian",
        module="granian",
        note="one runtime thread and one thread for the application: its smallest shape",
    ),
    Server(
        "gthread",
        (
            *("{python}", "-m", "gunicorn", "-w", "1", "-k", "gthread", "--threads", "1"),
            *("-b", "127.0.0.1:{port}", "--log-level", "warning", "{app}"),
        ),
        package="gunicorn",
        module="gunicorn",
        note="gunicorn; one thread for the application beside the one that polls; two sends per response",
    ),
)
