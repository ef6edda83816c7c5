"""The one table of settings: each is declared once, as a typed field of `Config`.

Flags, configuration-file names, environment defaults, `--help`, `--print-config` and the settings page of
the documentation are all read from it, through `SETTINGS`. Names, flags and defaults that gunicorn has too
are as in gunicorn. To add a setting, add a field; nothing else has to be told.

Must not know: where values come from (sources.py), the operating system. Nothing is read at import.
Invariant: every default is a value that its own kind's `parse` gives back unchanged (a test proves it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from ..errors import ConfigError
from . import addresses
from .kinds import (
    ADDRESSES,
    APP,
    CERT_REQS,
    CLASS,
    COUNT,
    FILES,
    HEADER_NAMES,
    LIMIT,
    LIST,
    MASK,
    NETWORKS,
    OWNER,
    PATH,
    PROXY_HEADERS,
    PROXY_PROTOCOL,
    SCHEME_HEADERS,
    SECONDS,
    SIZE,
    SWITCH,
    TABLE,
    TEXT,
    VARIABLES,
    WORKER_CLASS,
    WORKERS,
    Kind,
    choice,
    hook,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["BY_NAME", "SETTINGS", "Config", "Setting", "Shown"]

T = TypeVar("T")
D = TypeVar("D")


# --- a row of the table --------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A setting as gunicorn's Config shows it to hooks: `cfg.settings["workers"].get()`."""

    name: str
    value: Any
    default: Any
    section: str

    def get(self) -> Any:
        """Return its value."""
        return self.value


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

        So does None for a switch, as in gunicorn.

        Raises:
            ValueError, TypeError: the value is not what `kind.allowed` says.
        """
        if self.default is None and (value is None or value == ""):
            return None
        if value is None and self.kind is SWITCH:
            return self.default
        return self.kind.parse(value)

    def show_value(self, value: Any) -> Shown:
        """Return this setting with a value, as hooks see it."""
        return Shown(self.name, value, self.default, self.section)

    def show(self, value: object) -> str:
        """Put a value in words, for `--help` and `--print-config`."""
        if callable(value):
            return _name_of(value)
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
_WORKERS = "Workers"
_TIME = "Time"
_LIMITS = "Limits on requests"
_PROXIES = "Proxies in front"
_TLS = "TLS"
_LOGS = "Logs"
_PROCESS = "Process"
_HOOKS = "Hooks"
_DEBUG = "While developing"
_CONFIG = "Configuration"

_Hook = Callable[..., Any]


# fmt: off
# ruff: noqa: RUF009 - `_setting` gives a dataclass field, not a value shared by all
@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting with the value that counts. Immutable; made by sources.py."""

    wsgi_app: str | WSGIApplication | None = _setting(
        _APP, APP, None, text="The application, where the command line names none.")
    chdir: str = _setting(
        _APP, PATH, ".", "--chdir", text="Work in this directory; the app is imported from here.")
    pythonpath: str | None = _setting(
        _APP, TEXT, None, "--pythonpath", text="Directories to import from as well, separated by commas.")
    preload_app: bool = _setting(
        _APP, SWITCH, False, "--preload",
        text="Load the app before forking: memory is shared, HUP reloads no code.")
    raw_env: tuple[str, ...] = _setting(
        _APP, VARIABLES, (), "-e", "--env", text="Set an environment variable for the app. May be repeated.")

    bind: tuple[str, ...] = _setting(
        _SOCKETS, ADDRESSES, ("127.0.0.1:8000",), "-b", "--bind", environment=("PORT", "0.0.0.0:{}"),
        text="Listen on HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N. May be repeated.")
    backlog: int = _setting(
        _SOCKETS, COUNT, 2048, "--backlog",
        text="Connections the kernel may keep waiting to be accepted.")
    reuse_port: bool = _setting(
        _SOCKETS, SWITCH, False, "--reuse-port",
        text="Let other servers of this user listen on the same port.")
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
    max_worker_memory: int = _setting(
        _WORKERS, SIZE, 0, "--max-worker-memory",
        text="Replace a worker that has grown beyond so many bytes of memory of its own.")
    max_worker_lifetime: float = _setting(
        _WORKERS, SECONDS, 0.0, "--max-worker-lifetime",
        text="Replace a worker after so many seconds; 0 for never.")
    max_worker_lifetime_jitter: float = _setting(
        _WORKERS, SECONDS, 0.0, "--max-worker-lifetime-jitter",
        text="Add up to so many seconds, at random, so that workers do not end together.")

    timeout: float = _setting(
        _TIME, SECONDS, 30.0, "-t", "--timeout",
        text="Replace a worker that has hung for so long; 0 for never.")
    graceful_timeout: float = _setting(
        _TIME, SECONDS, 30.0, "--graceful-timeout",
        text="Time for requests to end before a worker is stopped.")
    keepalive: float = _setting(
        _TIME, SECONDS, 2.0, "--keep-alive",
        text="Keep an idle connection open for so long; 0 to close at once.")
    request_timeout: float = _setting(
        _TIME, SECONDS, 0.0, "--request-timeout",
        text="Answer 504 for a request that has been in the app for so long; needs threads; 0 for never.")
    header_timeout: float = _setting(
        _TIME, SECONDS, 30.0, "--header-timeout", text="Time for a request's head to arrive whole.")
    body_timeout: float = _setting(
        _TIME, SECONDS, 30.0, "--body-timeout",
        text="Longest wait for the next piece of a request's body.")
    write_timeout: float = _setting(
        _TIME, SECONDS, 30.0, "--write-timeout",
        text="Longest wait for a client that takes none of its answer.")
    boot_timeout: float = _setting(
        _TIME, SECONDS, 0.0, "--boot-timeout",
        text="End a worker that has not loaded the app after so long; 0 for never.")
    abort_grace: float = _setting(
        _TIME, SECONDS, 1.0, "--abort-grace",
        text="Time for a hung worker to write down what it was doing, before it is killed.")
    drain_delay: float = _setting(
        _TIME, SECONDS, 0.0, "--drain-delay",
        text="Serve on for so long after TERM, until a load balancer has noticed.")

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
        _LIMITS, choice("drop", "refuse", "dangerous"), "drop", "--header-map",
        text="Field names with an underscore, which can pose as others: drop them, refuse the request, or "
             "pass them on (dangerous).")

    forwarded_allow_ips: tuple[str, ...] = _setting(
        _PROXIES, NETWORKS, ("127.0.0.1", "::1"), "--forwarded-allow-ips",
        environment=("FORWARDED_ALLOW_IPS", "{}"),
        text="Believe what these addresses say of scheme, path and script name; * for all.")
    secure_scheme_headers: tuple[tuple[str, str], ...] = _setting(
        _PROXIES, SCHEME_HEADERS,
        (("X-FORWARDED-PROTOCOL", "ssl"), ("X-FORWARDED-PROTO", "https"), ("X-FORWARDED-SSL", "on")),
        text="Header fields by which they say that a request came by HTTPS.")
    forwarder_headers: tuple[str, ...] = _setting(
        _PROXIES, HEADER_NAMES, ("SCRIPT_NAME", "PATH_INFO"), "--forwarder-headers",
        text="Names with an underscore that are taken from them.")
    trusted_proxy_headers: tuple[str, ...] = _setting(
        _PROXIES, PROXY_HEADERS, (), "--trusted-proxy-headers",
        text="Header fields by which they name client, host and prefix; none by default.")
    proxy_protocol: str = _setting(
        _PROXIES, PROXY_PROTOCOL, "off", "--proxy-protocol",
        text="Expect a PROXY header before the first request: off, v1, v2 or auto.")
    proxy_allow_ips: tuple[str, ...] = _setting(
        _PROXIES, NETWORKS, ("127.0.0.1", "::1"), "--proxy-allow-from",
        text="Take PROXY headers from these addresses; * for all.")

    certfile: str | None = _setting(
        _TLS, PATH, None, "--certfile", text="Certificate chain, in PEM; turns TLS on.")
    keyfile: str | None = _setting(
        _TLS, PATH, None, "--keyfile", text="Its private key, in PEM; by default it is in certfile.")
    ca_certs: str | None = _setting(
        _TLS, PATH, None, "--ca-certs", text="Authorities by which certificates of clients are checked.")
    cert_reqs: int = _setting(
        _TLS, CERT_REQS, 0, "--cert-reqs",
        text="Whether clients need a certificate: CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED.")
    ciphers: str | None = _setting(
        _TLS, TEXT, None, "--ciphers", text="Ciphers for TLS 1.2, in OpenSSL's words.")
    watch_certificates: float = _setting(
        _TLS, SECONDS, 2.0, "--watch-certificates",
        text="Look so often whether these files have changed, and replace workers then; 0 for never.")
    ssl_context: _Hook | None = _setting(
        _TLS, hook(2), None,
        text="Function of the configuration and a factory of the default context; returns an ssl.SSLContext.")

    errorlog: str = _setting(
        _LOGS, PATH, "-", "--error-logfile", "--log-file", text="Where the server logs; - is standard error.")
    loglevel: str = _setting(
        _LOGS, choice("debug", "info", "warning", "error", "critical"), "info", "--log-level",
        text="debug, info, warning, error or critical.")
    capture_output: bool = _setting(
        _LOGS, SWITCH, False, "--capture-output",
        text="Send what the app prints to standard output and error to the error log.")
    accesslog: str | None = _setting(
        _LOGS, PATH, None, "--access-logfile",
        text="One line for each request goes here; - is standard output.")
    access_log_format: str = _setting(
        _LOGS, TEXT, '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"', "--access-logformat",
        text='How such a line looks; by default the combined format; "json" for an object in each line.')
    logger_class: str | type | None = _setting(
        _LOGS, CLASS, None, "--logger-class", text="A subclass of fastwsgi.Logger to log with.")
    logconfig: str | None = _setting(
        _LOGS, PATH, None, "--log-config", text="A file for logging.config.fileConfig.")
    logconfig_dict: dict[str, Any] | None = _setting(
        _LOGS, TABLE, None, text="A dict for logging.config.dictConfig.")
    logconfig_json: str | None = _setting(
        _LOGS, PATH, None, "--log-config-json", text="A JSON file for logging.config.dictConfig.")
    syslog: bool = _setting(
        _LOGS, SWITCH, False, "--log-syslog", text="Send the logs to syslog as well.")
    syslog_addr: str = _setting(
        _LOGS, TEXT, "udp://localhost:514", "--log-syslog-to",
        text="Where syslog listens: unix://PATH#dgram, unix://PATH#stream, udp://HOST:PORT or tcp://HOST:PORT.")
    syslog_prefix: str | None = _setting(
        _LOGS, TEXT, None, "--log-syslog-prefix", text="Name in syslog; by default the process's.")
    syslog_facility: str = _setting(
        _LOGS, TEXT, "user", "--log-syslog-facility", text="Facility in syslog.")
    disable_redirect_access_to_syslog: bool = _setting(
        _LOGS, SWITCH, False, "--disable-redirect-access-to-syslog",
        text="Keep the access log out of syslog.")
    statsd_host: str | None = _setting(
        _LOGS, TEXT, None, "--statsd-host", text="Send figures to statsd at HOST:PORT or unix://PATH.")
    statsd_prefix: str = _setting(
        _LOGS, TEXT, "", "--statsd-prefix", text="What their names begin with.")
    dogstatsd_tags: tuple[str, ...] = _setting(
        _LOGS, LIST, (), "--dogstatsd-tags", text="DogStatsD tags for them, separated by commas.")
    enable_backlog_metric: bool = _setting(
        _LOGS, SWITCH, False, "--enable-backlog-metric",
        text="Among them, the connections that wait to be accepted.")

    proc_name: str | None = _setting(
        _PROCESS, TEXT, None, "-n", "--name", text="Name in the process list; by default the app's.")
    default_proc_name: str | None = _setting(
        _PROCESS, TEXT, None, text="The same, for configuration files of gunicorn.")
    daemon: bool = _setting(
        _PROCESS, SWITCH, False, "-D", "--daemon", text="Run in the background, without a terminal.")
    enable_stdio_inheritance: bool = _setting(
        _PROCESS, SWITCH, False, "-R", "--enable-stdio-inheritance",
        text="Keep standard output and error of a daemon where they are.")
    pidfile: str | None = _setting(
        _PROCESS, PATH, None, "-p", "--pid", text="Write the master's process id here.")
    user: str | int | None = _setting(
        _PROCESS, OWNER, None, "-u", "--user", text="Run workers as this user.")
    group: str | int | None = _setting(
        _PROCESS, OWNER, None, "-g", "--group", text="Run workers as this group.")
    initgroups: bool = _setting(
        _PROCESS, SWITCH, False, "--initgroups", text="With all groups that the user is in.")
    umask: int = _setting(
        _PROCESS, MASK, 0, "-m", "--umask",
        text="Permissions withheld from Unix sockets.")

    reload: bool = _setting(
        _DEBUG, SWITCH, False, "--reload", text="Reload when the app's code changes; needs watchfiles.")
    reload_engine: str = _setting(
        _DEBUG, choice("auto", "poll", "inotify"), "auto", "--reload-engine",
        text="How changes are seen: auto, poll or inotify.")
    reload_extra_files: tuple[str, ...] = _setting(
        _DEBUG, FILES, (), "--reload-extra-file",
        text="Reload for these files, directories or globs as well. May be repeated.")

    on_starting: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(server) before the server begins.")
    on_reload: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(server) before a reload.")
    when_ready: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(server) once its sockets listen.")
    pre_fork: _Hook | None = _setting(
        _HOOKS, hook(2), None, text="(server, worker) before a worker is forked.")
    post_fork: _Hook | None = _setting(
        _HOOKS, hook(2), None, text="(server, worker) in a worker just forked.")
    post_worker_init: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(worker) once the app is loaded.")
    worker_int: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(worker) when a worker is told by INT or QUIT to end at once.")
    worker_abort: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(worker) when a hung worker is about to be ended.")
    pre_exec: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(server) in a new master, before it runs the program.")
    pre_request: _Hook | None = _setting(
        _HOOKS, hook(2), None, text="(worker, request) before the app is called.")
    post_request: _Hook | None = _setting(
        _HOOKS, hook(4, 3, 2), None, text="(worker, request, environ, response) after a request.")
    child_exit: _Hook | None = _setting(
        _HOOKS, hook(2), None, text="(server, worker) in the master, after a worker has ended.")
    worker_exit: _Hook | None = _setting(
        _HOOKS, hook(2), None, text="(server, worker) in a worker, before it ends.")
    nworkers_changed: _Hook | None = _setting(
        _HOOKS, hook(3), None, text="(server, new, old) when another number of workers is wanted.")
    on_exit: _Hook | None = _setting(
        _HOOKS, hook(1), None, text="(server) before the master ends.")

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

    # What else hooks read from gunicorn's.

    @property
    def settings(self) -> dict[str, Shown]:
        """All settings by name."""
        return {row.name: row.show_value(getattr(self, row.name)) for row in SETTINGS}

    @property
    def address(self) -> list[tuple[str, int] | str | int]:
        """The addresses of `bind`: (host, port), a path, or a descriptor; raises ConfigError."""
        return [addresses.parse(text).place for text in self.bind]

    @property
    def env(self) -> dict[str, str]:
        """The variables of `raw_env`."""
        return {name: value for name, _, value in (line.partition("=") for line in self.raw_env)}

    @property
    def worker_class_str(self) -> str:
        """The class of workers that results: threads make sync gthread."""
        return "gthread" if self.worker_class == "sync" and self.threads > 1 else self.worker_class

    def mistake(self, name: str, why: str) -> ConfigError:
        """Return the error of a setting whose value does not do: name, value, origin, and `why`."""
        return mistake(name, getattr(self, name), self.origins.get(name, "default"), why)

    @property
    def is_ssl(self) -> bool:
        """Whether TLS is asked for; hooks of gunicorn know it by this name."""
        return bool(self.certfile or self.keyfile or self.cert_reqs)

# fmt: on


def mistake(name: str, value: object, origin: str, why: str) -> ConfigError:
    """Return the error of a value that does not do, as every message about a setting is worded."""
    shown = _name_of(value) if callable(value) else repr(value)[:200]
    return ConfigError(f"{name} = {shown} ({origin}): {why}")


def _name_of(function: Callable[..., Any]) -> str:
    # Its repr would have an address in memory, which tells nobody anything.
    return f"<{getattr(function, '__qualname__', type(function).__qualname__)}>"


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=f.name, default=f.default, **f.metadata["row"])
    for f in fields(Config)
    if "row" in f.metadata
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
