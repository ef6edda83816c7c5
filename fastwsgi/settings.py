"""The one table of settings: each is declared once, as a typed field of `Config`.

Flags, configuration-file names, environment defaults, `--help`, `--print-config` and the settings page of
the documentation are all read from it, through `SETTINGS`. Names, flags and defaults that gunicorn has too
are as in gunicorn. To add a setting, add a field; nothing else has to be told.

Must not know: where values come from (config.py), the operating system. Nothing is read at import.
Invariant: every default is a value that its own kind's `parse` gives back unchanged (a test proves it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

T = TypeVar("T")
D = TypeVar("D")

AUTO = 0  # `workers` while the number of usable CPUs has not been asked for; config.py replaces it


# --- kinds of values -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A type of value: its name in `--help`, what is allowed, how to read it and how to show it.

    `parse` takes a word of the command line or an object of a configuration file, and raises ValueError or
    TypeError for what it does not take. A kind without a metavar is a switch: its flag takes no argument.
    """

    metavar: str
    allowed: str
    parse: Callable[[Any], T]
    show: Callable[[Any], str] = str
    repeats: bool = False


def _parse_int(value: object, base: int = 10) -> int:
    if isinstance(value, str):
        return int(value, base)
    # A configuration file may compute `workers` as a fraction (1.5 per CPU); gunicorn rounds it down.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value)
    raise TypeError


def _whole(minimum: int, allowed: str) -> Kind[int]:
    def parse(value: object) -> int:
        number = _parse_int(value)
        if number < minimum:
            raise ValueError
        return number

    return Kind("INT", allowed, parse)


def _parse_workers(value: object) -> int:
    if value == "auto":
        return AUTO
    number = _parse_int(value)
    if number < 1:
        raise ValueError
    return number


def _parse_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    seconds = float(value)
    if not 0 <= seconds < float("inf"):  # refuses "nan" too
        raise ValueError
    return seconds


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _parse_size(value: object) -> int:
    if not isinstance(value, str):
        value = str(_parse_int(value))
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:I?B)?", value.strip().upper(), re.ASCII)
    if match is None:
        raise ValueError
    return int(match[1]) * _UNITS[match[2]]


def _show_size(value: int) -> str:
    for unit in "GMK":
        if value and value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]}{unit}"
    return str(value)


# Threads and inline are one engine here: how many threads there are decides.
_WORKER_CLASSES = ("sync", "gthread", "gevent")
_GUNICORN_CLASSES = {
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gunicorn.workers.gthread.ThreadWorker": "gthread",
    "gunicorn.workers.ggevent.GeventWorker": "gevent",
}

_ALL_PERMISSIONS = 0o777


def _parse_mask(value: object) -> int:
    if isinstance(value, str):
        # "022" is octal to everyone who writes a umask; Python wants it spelled 0o22.
        value = value.strip()
        mask = int(value, 8) if re.fullmatch(r"0[0-7]+", value) else int(value, 0)
    else:
        mask = _parse_int(value)
    if not 0 <= mask <= _ALL_PERMISSIONS:
        raise ValueError
    return mask


_WORDS = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}


def _parse_switch(value: object) -> bool:
    if isinstance(value, str):
        if value.strip().lower() not in _WORDS:
            raise ValueError
        return _WORDS[value.strip().lower()]
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise TypeError


def _parse_text(value: object) -> str:
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, str):
        raise TypeError
    # A line break or a NUL in a path, an address or a title is a mistake, and would forge lines in the log.
    text = value.strip()
    if "\0" in text or "\n" in text:
        raise ValueError
    return text


def _parse_addresses(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable):
        raise TypeError
    addresses = tuple(_parse_text(item) for item in value)
    if not addresses or not all(addresses):
        raise ValueError
    return addresses


def _parse_app(value: object) -> str | WSGIApplication:
    return cast("WSGIApplication", value) if callable(value) else _parse_text(value)


def _parse_worker_class(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    word = value.strip()
    word = _GUNICORN_CLASSES.get(word, word)
    if word not in _WORKER_CLASSES:
        raise ValueError
    return word


def _choice(*words: str) -> Kind[str]:
    def parse(value: object) -> str:
        word = _parse_text(value).lower()
        if word not in words:
            raise ValueError
        return word

    return Kind("WORD", "one of " + ", ".join(words), parse)


def _show_switch(value: object) -> str:
    return "on" if value else "off"


ADDRESSES = Kind(
    "ADDRESS",
    "HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N, one or a list of them",
    _parse_addresses,
    ", ".join,
    repeats=True,
)
APP = Kind("APP", "module:name, or a callable", _parse_app)
COUNT = _whole(1, "a whole number, 1 or more")
LIMIT = _whole(0, "a whole number; 0 means no limit")
MASK = Kind("MASK", "an octal number from 0 to 0777", _parse_mask, "{:04o}".format)
PATH = Kind("PATH", "a path", _parse_text)
SECONDS = Kind("SECONDS", "a number of seconds, 0 or more", _parse_seconds, "{:g}".format)
SIZE = Kind("SIZE", "a number of bytes, K, M or G may follow it; 0 means no limit", _parse_size, _show_size)
SWITCH = Kind("", "True or False", _parse_switch, _show_switch)
TEXT = Kind("TEXT", "one line of text", _parse_text)
WORKER_CLASS = Kind(
    "WORD",
    "sync, gthread or gevent; other classes of gunicorn run another protocol or another loop",
    _parse_worker_class,
)
WORKERS = Kind("N", 'a whole number, 1 or more, or "auto"', _parse_workers)


# --- a row of the table --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    `environment` names a variable that changes the default, and the text to make of its value.
    """

    name: str
    default: Any
    section: str
    kind: Kind[Any]
    flags: tuple[str, ...]
    help: str
    environment: tuple[str, str] | None

    def parse(self, value: object) -> Any:
        """Read one value; None, or an empty word, stands for "not set" where that is the default.

        Raises:
            ValueError, TypeError: the value is not what `kind.allowed` says.
        """
        if self.default is None and (value is None or value == ""):
            return None
        return self.kind.parse(value)

    def show(self, value: object) -> str:
        """Put a value in words, for `--help` and `--print-config`."""
        if callable(value):
            return f"<{getattr(value, '__qualname__', type(value).__qualname__)}>"
        return "none" if value is None else self.kind.show(value)


def _setting(
    section: str,
    kind: Kind[T],
    default: D,
    *flags: str,
    text: str,
    environment: tuple[str, str] | None = None,
) -> T | D:
    row = {"section": section, "kind": kind, "flags": flags, "help": text, "environment": environment}
    # Typed as the value the field will hold, so that mypy compares annotation, kind and default.
    return cast("T | D", field(default=default, metadata={"row": row}))


# --- the table -----------------------------------------------------------------------------------------

_APP = "Application"
_SOCKETS = "Sockets"
_WORKERS = "Workers and time"
_LIMITS = "Limits on requests"
_LOGS = "Logs"
_PROCESS = "Process"
_CONFIG = "Configuration"


# fmt: off
# ruff: noqa: RUF009 - `_setting` gives a dataclass field, not a value shared by all
@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting with the value that counts. Immutable; made by config.py."""

    wsgi_app: str | WSGIApplication | None = _setting(
        _APP, APP, None, text="The application, where the command line names none.")
    chdir: str = _setting(
        _APP, PATH, ".", "--chdir", text="Work in this directory; the app is imported from here.")
    pythonpath: str | None = _setting(
        _APP, TEXT, None, "--pythonpath", text="Directories to import from as well, separated by commas.")
    preload_app: bool = _setting(
        _APP, SWITCH, False, "--preload",
        text="Load the app before forking: memory is shared, HUP reloads no code.")

    bind: tuple[str, ...] = _setting(
        _SOCKETS, ADDRESSES, ("127.0.0.1:8000",), "-b", "--bind", environment=("PORT", "0.0.0.0:{}"),
        text="Listen on HOST:PORT, [IPV6]:PORT or unix:PATH. May be given several times.")
    backlog: int = _setting(
        _SOCKETS, COUNT, 2048, "--backlog",
        text="Connections the kernel may keep waiting to be accepted.")
    sendfile: bool = _setting(
        _SOCKETS, SWITCH, True, "--no-sendfile", environment=("SENDFILE", "{}"),
        text="Copy files with read and write; by default the kernel sends them.")

    workers: int = _setting(
        _WORKERS, WORKERS, 1, "-w", "--workers", environment=("WEB_CONCURRENCY", "{}"),
        text='Number of worker processes, or "auto": one for each CPU this process may use.')
    worker_class: str = _setting(
        _WORKERS, WORKER_CLASS, "sync", "-k", "--worker-class",
        text="sync or gthread for processes and threads, as --threads says; gevent for greenlets.")
    threads: int = _setting(
        _WORKERS, COUNT, 1, "--threads",
        text="Requests that one worker may have in its app at a time.")
    request_buffering: bool = _setting(
        _WORKERS, SWITCH, True, "--no-request-buffering",
        text="Call the app while a request's body is still on its way; needs threads or gevent.")
    max_queue: int = _setting(
        _WORKERS, LIMIT, 0, "--max-queue",
        text="Requests that may wait for a worker's app; one more is answered 503.")
    queue_timeout: float = _setting(
        _WORKERS, SECONDS, 0.0, "--queue-timeout",
        text="A request that has waited longer for the app is answered 503; 0 for never.")
    worker_connections: int = _setting(
        _WORKERS, COUNT, 1000, "--worker-connections", text="Connections one worker keeps open at a time.")
    max_requests: int = _setting(
        _WORKERS, LIMIT, 0, "--max-requests",
        text="Replace a worker after so many requests.")
    max_requests_jitter: int = _setting(
        _WORKERS, LIMIT, 0, "--max-requests-jitter",
        text="Add up to so many, at random, so that workers do not end together.")
    timeout: float = _setting(
        _WORKERS, SECONDS, 30.0, "-t", "--timeout",
        text="Replace a worker that has hung for so long; 0 for never.")
    graceful_timeout: float = _setting(
        _WORKERS, SECONDS, 30.0, "--graceful-timeout",
        text="Time for requests to end before a worker is stopped.")
    keepalive: float = _setting(
        _WORKERS, SECONDS, 2.0, "--keep-alive",
        text="Keep an idle connection open for so long; 0 to close at once.")
    header_timeout: float = _setting(
        _WORKERS, SECONDS, 30.0, "--header-timeout", text="Time for a request's head to arrive whole.")
    body_timeout: float = _setting(
        _WORKERS, SECONDS, 30.0, "--body-timeout",
        text="Longest wait for the next piece of a request's body.")
    write_timeout: float = _setting(
        _WORKERS, SECONDS, 30.0, "--write-timeout",
        text="Longest wait for a client that takes none of its answer.")

    limit_request_line: int = _setting(
        _LIMITS, LIMIT, 4094, "--limit-request-line", text="Bytes of the request line.")
    limit_request_fields: int = _setting(
        _LIMITS, LIMIT, 100, "--limit-request-fields", text="Number of header fields.")
    limit_request_field_size: int = _setting(
        _LIMITS, LIMIT, 8190, "--limit-request-field_size", "--limit-request-field-size",
        text="Bytes of one header field.")
    limit_request_body: int = _setting(
        _LIMITS, SIZE, 1 << 30, "--limit-request-body", text="Bytes of a request's body.")
    body_buffer_size: int = _setting(
        _LIMITS, SIZE, 1 << 20, "--body-buffer-size",
        text="Larger bodies wait in a temporary file, not in memory.")
    tmp_upload_dir: str | None = _setting(
        _LIMITS, PATH, None, "--tmp-upload-dir", text="Directory of these temporary files.")
    header_map: str = _setting(
        _LIMITS, _choice("drop", "refuse", "dangerous"), "drop", "--header-map",
        text="Field names with an underscore, which can pose as others: drop them, refuse the request, or "
             "pass them on (dangerous).")

    errorlog: str = _setting(
        _LOGS, PATH, "-", "--error-logfile", "--log-file", text="Where the server logs; - is standard error.")
    loglevel: str = _setting(
        _LOGS, _choice("debug", "info", "warning", "error", "critical"), "info", "--log-level",
        text="debug, info, warning, error or critical.")
    accesslog: str | None = _setting(
        _LOGS, PATH, None, "--access-logfile",
        text="One line for each request goes here; - is standard output.")
    access_log_format: str = _setting(
        _LOGS, TEXT, '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"', "--access-logformat",
        text="How such a line looks; by default the combined format.")

    proc_name: str | None = _setting(
        _PROCESS, TEXT, None, "-n", "--name", text="Name in the process list; by default the app's.")
    pidfile: str | None = _setting(
        _PROCESS, PATH, None, "-p", "--pid",
        text="Write the master's process id here.")
    umask: int = _setting(
        _PROCESS, MASK, 0, "-m", "--umask",
        text="Permissions withheld from Unix sockets the server makes.")

    config: str | None = _setting(
        _CONFIG, PATH, None, "-c", "--config",
        text="Python file, or python:MODULE; else ./fastwsgi.conf.py, else ./gunicorn.conf.py.")
    print_config: bool = _setting(
        _CONFIG, SWITCH, False, "--print-config",
        text="Show every setting and where it comes from, and exit.")
    check_config: bool = _setting(
        _CONFIG, SWITCH, False, "--check-config", text="Read the configuration, load the app, and exit.")

    # Where each value comes from, in words; not a setting.
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

# fmt: on


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=f.name, default=f.default, **f.metadata["row"])
    for f in fields(Config)
    if "row" in f.metadata
)

# Names of gunicorn 27 that mean nothing here yet. A configuration file that has one is told so.
NOT_YET = frozenset(
    """
    asgi_disconnect_grace_period asgi_lifespan asgi_loop ca_certs capture_output casefold_http_method
    cert_reqs certfile child_exit ciphers control_socket control_socket_disable control_socket_mode daemon
    default_proc_name dirty_apps dirty_graceful_timeout dirty_post_fork dirty_threads dirty_timeout
    dirty_worker_exit dirty_worker_init dirty_workers disable_redirect_access_to_syslog
    do_handshake_on_connect dogstatsd_tags enable_backlog_metric enable_stdio_inheritance
    forwarded_allow_ips forwarder_headers group http2_cleartext http2_initial_window_size
    http2_max_concurrent_streams http2_max_frame_size http2_max_header_list_size http_parser
    http_protocols initgroups keyfile logconfig logconfig_dict logconfig_json logger_class nworkers_changed
    on_dirty_starting on_exit on_reload on_starting paste
    permit_obsolete_folding permit_unconventional_http_method permit_unconventional_http_version post_fork
    post_request post_worker_init pre_exec pre_fork pre_request protocol proxy_allow_ips proxy_protocol
    raw_env raw_paste_global_conf reload reload_engine reload_extra_files reuse_port root_path
    secure_scheme_headers spew ssl_context ssl_version statsd_host statsd_prefix strip_header_spaces
    suppress_ragged_eofs syslog syslog_addr syslog_facility syslog_prefix user uwsgi_allow_ips
    websocket_max_message_size when_ready worker_abort worker_exit worker_int worker_tmp_dir
    """.split()  # noqa: SIM905 ninety quoted names would be harder to read
)
