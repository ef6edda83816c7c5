"""The servers that are compared: how each is installed, and started in a given shape.

Data, but for the filling in of commands. A server says for each dimension of a shape by which words it is
had, or why it cannot be: a reader sees the reason in place of a figure. Nothing is started or installed here.
All of them have as many workers and threads for the app as the shape says, keep idle connections for longer
than a round and take 4,000 of them; every other limit and deadline is the server's default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OURS", "PEERS", "SERVERS", "Certificate", "Server", "Shape", "Unsupported"]

OURS = "fastwsgi"


@dataclass(frozen=True)
class Certificate:
    """Files in PEM; the key is in PKCS #8, which all servers read."""

    chain: Path
    key: Path


@dataclass(frozen=True)
class Shape:
    """In which form a server is run."""

    workers: int = 1
    threads: int = 1  # for the app, in each worker
    access_log: Path | None = None  # the file it goes to
    tls: Certificate | None = None


class Unsupported(Exception):  # noqa: N818 - an answer, not an error
    """The server cannot be had in this shape; the message says why."""


@dataclass(frozen=True)
class Cannot:
    """In place of words: why a server has no such thing."""

    reason: str


@dataclass(frozen=True, eq=False)
class Server:
    """How a server is installed and started.

    In the words of a command these are filled in: {python}, {bin} and {home}, the folders of that Python's
    programs and of its environment; {port}, {app}, {workers}, {threads}, {access_log}, {chain} and {key}.
    """

    name: str
    title: str
    start: tuple[str, ...]
    app: tuple[str, ...] = ("{app}",)  # the last words
    workers: tuple[str, ...] | Cannot = ()
    threads: tuple[str, ...] | Cannot = ()  # none: what is in their place has no number
    access_log: tuple[str, ...] | Cannot = ()
    no_access_log: tuple[str, ...] = ()
    tls: tuple[str, ...] | Cannot = ()
    no_tls: tuple[str, ...] = ()
    logs_to_output: bool = False  # the access log goes to standard output, which then is the file
    environment: Mapping[str, str] = field(default_factory=dict)  # variables
    requirements: tuple[str, ...] = ()  # what pip installs into its environment; none: it is ours
    needs: str = ""  # what else its installation takes
    note: str = ""  # what is unequal about it
    imports: str = ""  # the modules that serving imports; none if it is no Python program
    keeps_alive: bool = True
    is_slow: bool = False  # factors behind the first, so that a few rounds tell all there is to tell
    on_request: bool = False  # runs only if SERVERS= names it

    @property
    def package(self) -> str:
        """The distribution whose version is recorded; empty for what is ours."""
        return self.requirements[0].partition(">")[0] if self.requirements else ""

    def command(self, python: str, port: int, app: str, shape: Shape) -> list[str]:
        """Return the command that serves `app` in `shape`, to be run in the checkout's root.

        Raises Unsupported if the server cannot be had in that shape.
        """
        words = list(self.start)
        for given, wanted in (
            (self.workers, shape.workers > 1),
            (self.threads, shape.threads > 1),
            (self.access_log, shape.access_log is not None),
            (self.tls, shape.tls is not None),
        ):
            if isinstance(given, Cannot):
                if wanted:
                    raise Unsupported(given.reason)
            elif wanted or given is self.workers or given is self.threads:
                # The numbers are always said: not every server's default is one.
                words += given
        if shape.access_log is None:
            words += self.no_access_log
        if shape.tls is None:
            words += self.no_tls
        words += self.app
        folder = Path(python).parent
        fills = {
            "python": python,
            "bin": folder,
            "home": folder.parent,
            "port": port,
            "app": app,
            "workers": shape.workers,
            "threads": shape.threads,
            "access_log": shape.access_log,
            "chain": shape.tls.chain if shape.tls else "",
            "key": shape.tls.key if shape.tls else "",
        }
        command = [word.format_map(fills) for word in words]
        if self.logs_to_output and shape.access_log is not None:
            return ["sh", "-c", 'exec "$@" >> "$0"', str(shape.access_log), *command]
        return command


def _gunicorn(worker_class: str) -> tuple[str, ...]:
    return (
        *(
            "{python}",
            "-m",
            "gunicorn",
            "-b",
            "127.0.0.1:{port}",
            "-k",
            worker_class,
            "--log-level",
            "warning",
        ),
        *("--keep-alive", "75", "--worker-connections", "4000"),
    )


_FASTWSGI = (
    *("{python}", "-m", "fastwsgi", "-b", "127.0.0.1:{port}", "--log-level", "warning"),
    *("--keep-alive", "75", "--worker-connections", "4000"),
)
_WORKERS = ("--workers", "{workers}")
_THREADS = ("--threads", "{threads}")
_ACCESS_LOG = ("--access-logfile", "{access_log}")
_TLS = ("--certfile", "{chain}", "--keyfile", "{key}")
_NO_PROCESSES = Cannot("it runs in one process")
_NO_THREADS = Cannot("it has one thread")
_NO_ACCESS_LOG = Cannot("it writes no access log")
_NO_TLS = Cannot("it has no TLS")
_PYTHON_PARSER = "its parser in Python, which it has by itself: the one in C is an extra"

_ALL = (
    Server(
        "floor",
        "floor",
        ("{python}", "{port}"),
        app=(),
        workers=_NO_PROCESSES,
        threads=_NO_THREADS,
        access_log=_NO_ACCESS_LOG,
        tls=_NO_TLS,
        note="epoll, recv and send in C and a canned response: no HTTP, no Python, the limit of the machine",
    ),
    Server(
        OURS,
        "fastwsgi",
        _FASTWSGI,
        workers=_WORKERS,
        threads=_THREADS,
        access_log=_ACCESS_LOG,
        tls=_TLS,
        environment={"FASTWSGI_REQUIRE_EXTENSIONS": "1"},
        note="a thread in C beside those for the app sends what a stream has left waiting for a millisecond",
        imports="fastwsgi.__main__",
    ),
    Server(
        "fastwsgi-pure",
        "fastwsgi, pure Python",
        _FASTWSGI,
        workers=_WORKERS,
        threads=_THREADS,
        access_log=_ACCESS_LOG,
        tls=_TLS,
        environment={"FASTWSGI_NO_EXTENSIONS": "1"},
        on_request=True,
        imports="fastwsgi.__main__",
    ),
    Server(
        "fastpysgi",
        "FastPySGI",
        ("{python}", "-m", "bench.launch_fastpysgi", "{port}"),
        workers=_WORKERS,
        threads=_NO_THREADS,
        access_log=_NO_ACCESS_LOG,
        tls=_TLS,
        requirements=("fastpysgi>=0.6",),
        note="TCP_NODELAY switched on (off by default); no timeouts; holds the GIL while it waits; "
        "gathers up to 48 pieces of a response before it sends the first",
        imports="fastpysgi",
    ),
    Server(
        "bjoern",
        "bjoern",
        ("{python}", "-m", "bench.launch_bjoern", "{port}"),
        workers=_WORKERS,
        threads=_NO_THREADS,
        access_log=_NO_ACCESS_LOG,
        tls=_NO_TLS,
        requirements=("bjoern>=3.2",),
        needs="a C compiler and the headers of libev (Debian: gcc, libev-dev)",
        note="TCP_NODELAY switched on (it has no setting for that); sends neither Date nor Server; "
        "no timeouts; its workers share one socket",
        imports="bjoern",
    ),
    Server(
        "granian",
        "Granian",
        (
            *("{python}", "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}"),
            *("--runtime-threads", "1", "--http", "1", "--no-ws", "--log-level", "warning"),
            *("--backlog", "4096", "--backpressure", "4000"),
        ),
        workers=_WORKERS,
        threads=("--blocking-threads", "{threads}"),
        access_log=("--access-log", "--log-level", "info"),
        tls=("--ssl-certificate", "{chain}", "--ssl-keyfile", "{key}"),
        logs_to_output=True,
        requirements=("granian>=2.7",),
        note="one thread for the network beside those for the app: its smallest shape; its experimental "
        "--http1-pipeline-flush is off, as by default",
        imports="granian.cli, granian.wsgi, granian.server",
    ),
    Server(
        "uwsgi",
        "uWSGI",
        (
            *("{bin}/uwsgi", "--http-keepalive=75", "--http-auto-chunked"),
            *("--virtualenv", "{home}", "--master", "--die-on-term", "--need-app", "--listen", "1024"),
        ),
        app=("--module", "{app}"),
        workers=("--processes", "{workers}"),
        threads=_THREADS,
        access_log=("--req-logger", "file:{access_log}"),
        no_access_log=("--disable-logging",),
        tls=("--https", "127.0.0.1:{port},{chain},{key}"),
        no_tls=("--http", "127.0.0.1:{port}"),
        requirements=("uwsgi>=2.0.30",),
        needs="a C compiler (Debian: gcc)",
        note="with its HTTP router, a process of its own: --http11-socket serves one connection at a time",
        is_slow=True,
    ),
    Server(
        "gunicorn-sync",
        "gunicorn sync",
        _gunicorn("sync"),
        workers=_WORKERS,
        threads=Cannot("with threads it is gthread"),
        access_log=_ACCESS_LOG,
        tls=_TLS,
        requirements=("gunicorn>=27",),
        note=f"closes every connection after one response; {_PYTHON_PARSER}",
        keeps_alive=False,
        imports="gunicorn.app.wsgiapp, gunicorn.workers.sync",
        is_slow=True,
    ),
    Server(
        "gunicorn-gthread",
        "gunicorn gthread",
        _gunicorn("gthread"),
        workers=_WORKERS,
        threads=_THREADS,
        access_log=_ACCESS_LOG,
        tls=_TLS,
        requirements=("gunicorn>=27",),
        note=f"one thread that polls beside those for the app; {_PYTHON_PARSER}",
        imports="gunicorn.app.wsgiapp, gunicorn.workers.gthread",
        is_slow=True,
    ),
    Server(
        "gunicorn-gevent",
        "gunicorn gevent",
        _gunicorn("gevent"),
        workers=_WORKERS,
        access_log=_ACCESS_LOG,
        tls=_TLS,
        requirements=("gunicorn>=27", "gevent>=24", "packaging"),
        note=f"a greenlet for each connection, in place of threads; {_PYTHON_PARSER}",
        imports="gunicorn.app.wsgiapp, gunicorn.workers.ggevent",
        is_slow=True,
    ),
    Server(
        "waitress",
        "waitress",
        (
            *("{python}", "-m", "waitress", "--listen=127.0.0.1:{port}", "--connection-limit=4000"),
            *("--asyncore-use-poll", "--channel-timeout=75"),
        ),
        workers=_NO_PROCESSES,
        threads=("--threads={threads}",),
        access_log=_NO_ACCESS_LOG,
        tls=_NO_TLS,
        requirements=("waitress>=3",),
        note="one thread that polls beside those for the app",
        imports="waitress.runner, waitress.server",
        is_slow=True,
    ),
    Server(
        "cheroot",
        "cheroot",
        ("{python}", "-m", "bench.launch_cheroot", "{port}"),
        workers=_NO_PROCESSES,
        threads=_THREADS,
        access_log=_NO_ACCESS_LOG,
        tls=_TLS,
        requirements=("cheroot>=11",),
        note="one thread that polls beside those for the app",
        imports="cheroot.wsgi",
        is_slow=True,
    ),
)

SERVERS = {server.name: server for server in _ALL}
# Those whom we compare ourselves with.
PEERS = frozenset(server.name for server in _ALL if server.requirements)
