"""Every setting of an installed gunicorn, by its name in a file and by its flags: none is unknown here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.config import sources
from fastwsgi.config.command_line import parse_arguments
from fastwsgi.config.legacy import LEGACY
from fastwsgi.config.settings import BY_NAME
from fastwsgi.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

gunicorn = pytest.importorskip("gunicorn.config")

THEIRS: dict[str, Any] = {setting.name: setting for setting in gunicorn.KNOWN_SETTINGS}

# A value that asks for something, as a configuration file has it. None: a function of so many arguments.
VALUES: dict[str, object] = {
    "access_log_format": "%(h)s %(r)s",
    "accesslog": "-",
    "asgi_disconnect_grace_period": 5,
    "asgi_lifespan": "on",
    "asgi_loop": "uvloop",
    "backlog": 64,
    "bind": ["127.0.0.1:0", "unix:/tmp/s"],
    "ca_certs": "ca.pem",
    "cert_reqs": 2,
    "certfile": "cert.pem",
    "chdir": "/",
    "ciphers": "ECDHE+AESGCM",
    "config": "ignored",
    "control_socket": "/tmp/ctl",
    "control_socket_mode": 0o640,
    "default_proc_name": "site",
    "dirty_apps": ["a:b"],
    "dirty_graceful_timeout": 3,
    "dirty_threads": 3,
    "dirty_timeout": 3,
    "dirty_workers": 3,
    "dogstatsd_tags": "a:1,b:2",
    "errorlog": "-",
    "forwarded_allow_ips": "10.0.0.0/8,::1",
    "forwarder_headers": "SCRIPT_NAME",
    "graceful_timeout": 10,
    "group": "nogroup",
    "header_map": "refuse",
    "http2_cleartext": "on",
    "http2_initial_window_size": 70000,
    "http2_max_concurrent_streams": 10,
    "http2_max_frame_size": 20000,
    "http2_max_header_list_size": 20000,
    "http_parser": "slow",
    "http_protocols": "h2,h1",
    "keepalive": 5,
    "keyfile": "key.pem",
    "limit_request_field_size": 4000,
    "limit_request_fields": 50,
    "limit_request_line": 2000,
    "logconfig": "log.conf",
    "logconfig_dict": {"version": 1},
    "logconfig_json": "log.json",
    "logger_class": "site.Logger",
    "loglevel": "DEBUG",
    "max_requests": 10,
    "max_requests_jitter": 10,
    "paste": "site.ini",
    "pidfile": "pid",
    "proc_name": "site",
    "protocol": "uwsgi",
    "proxy_allow_ips": "*",
    "proxy_protocol": "v2",
    "pythonpath": "/srv",
    "raw_env": ["A=1", "B=2"],
    "raw_paste_global_conf": ["a=1"],
    "reload_engine": "poll",
    "reload_extra_files": ["site.html"],
    "root_path": "/site",
    "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"},
    "sendfile": False,
    "ssl_version": 5,
    "statsd_host": "localhost:8125",
    "statsd_prefix": "site",
    "suppress_ragged_eofs": False,
    "syslog_addr": "unix:///dev/log",
    "syslog_facility": "local0",
    "syslog_prefix": "site",
    "threads": 4,
    "timeout": 60,
    "tmp_upload_dir": "/tmp",
    "umask": 0o22,
    "user": "nobody",
    "uwsgi_allow_ips": "*",
    "websocket_max_message_size": 10,
    "worker_class": "gthread",
    "worker_connections": 100,
    "worker_tmp_dir": "/dev/shm",
    "workers": 3,
    "wsgi_app": "site:app",
}
ARGUMENTS = {"post_request": 4, "ssl_context": 2, "nworkers_changed": 3} | dict.fromkeys(
    (
        "pre_fork",
        "post_fork",
        "pre_request",
        "child_exit",
        "worker_exit",
        "dirty_post_fork",
        "dirty_worker_exit",
    ),
    2,
)


def line_for(name: str) -> str:
    """Return a line of a configuration file that asks for something: of a switch what it is not."""
    default = THEIRS[name].default
    if callable(default) and name != "logger_class":
        return f"def {name}({', '.join('abcd'[: ARGUMENTS.get(name, 1)])}): pass"
    assert name in VALUES or default is False, f"{name} has no value in this test"
    return f"{name} = {VALUES.get(name, True)!r}"


class Read:
    """What a user gets for a configuration file and a command line: an error, warnings, or values."""

    def __init__(self, directory: Path, *argv: str, file: str = "") -> None:
        (directory / "conf.py").write_text(file)
        self.error, self.warnings = "", list[str]()
        self.origins: dict[str, str] = {}
        try:
            arguments = parse_arguments(["-c", "conf.py", *argv])
            cfg = sources.load(arguments, {}, str(directory), self.warnings.append)
        except ConfigError as exc:
            self.error = str(exc)
        else:
            self.origins = dict(cfg.origins)


def check(read: Read, name: str, where: str) -> None:
    """Check that a setting has an effect, or a warning of its own, or is refused with a reason."""
    if name in BY_NAME:
        assert read.error == ""
        assert read.warnings == []
        assert where in read.origins[name]
    elif LEGACY[name].is_refused:
        assert read.error.startswith(f"{name} = ")
        assert where in read.error
        assert read.error.endswith(f"): {LEGACY[name].why}; remove it")
    else:
        assert read.error == ""
        if name == "suppress_ragged_eofs":
            return  # neither way asks for anything
        assert len(read.warnings) == 1
        assert read.warnings[0].startswith(f"{name} (")
        assert where in read.warnings[0]


def test_there_are_as_many_as_ever() -> None:
    assert len(THEIRS) >= 120
    assert THEIRS.keys() == (BY_NAME.keys() | LEGACY.keys()) & THEIRS.keys()


@pytest.mark.parametrize("name", sorted(THEIRS.keys() - {"config"}))
def test_in_a_file(tmp_path: Path, name: str) -> None:
    check(Read(tmp_path, file=f"{line_for(name)}\n"), name, "conf.py")


# Those of the others have no spelling in a file, or are of this machine.
PLAIN = [
    name
    for name, setting in THEIRS.items()
    if isinstance(setting.default, (str, list, dict, bool, type(None)))
    and name not in ("chdir", "control_socket")
]


@pytest.mark.parametrize("name", PLAIN)
def test_gunicorns_default_in_a_file_asks_for_nothing(tmp_path: Path, name: str) -> None:
    read = Read(tmp_path, file=f"{name} = {THEIRS[name].default!r}\n")
    assert read.error == ""
    assert name == "uwsgi_allow_ips" or read.warnings == []


FLAGS = [(name, flag) for name, setting in THEIRS.items() for flag in setting.cli or () if name != "config"]


@pytest.mark.parametrize(("name", "flag"), FLAGS, ids=[flag for _, flag in FLAGS])
def test_on_the_command_line(tmp_path: Path, name: str, flag: str) -> None:
    words = [flag]
    if THEIRS[name].action not in ("store_true", "store_const"):
        value = VALUES[name]
        value = value[0] if isinstance(value, list) else value
        words.append(f"{value:#o}" if name == "umask" else str(value))
    check(Read(tmp_path, *words), name, flag)


@pytest.mark.parametrize("words", [["--proxy-protocol"], ["--proxy-protocol", "v1"], ["--proxy-protocol=v2"]])
def test_a_flag_with_or_without_its_value(tmp_path: Path, words: list[str]) -> None:
    check(Read(tmp_path, *words), "proxy_protocol", "--proxy-protocol")


def test_a_file_as_people_have_it(tmp_path: Path) -> None:
    """What a generated project, a hosting provider's page and a tutorial put into one: nothing is said of it."""
    read = Read(
        tmp_path,
        file="""
import multiprocessing
import os

bind = "127.0.0.1:8000,unix:/tmp/site.sock"
backlog = 2048
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "sync"
worker_connections = 1000
timeout = 30
keepalive = 2
spew = False
daemon = False
raw_env = ["DJANGO_SECRET_KEY=something", "SPAM=eggs"]
pidfile = None
umask = 0
user = None
group = None
tmp_upload_dir = None
errorlog = "-"
loglevel = os.environ.get("LOG_LEVEL", "info")
accesslog = "-"
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
proc_name = None
worker_tmp_dir = None
max_requests = 1000
max_requests_jitter = 50
preload_app = True
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}


def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)


def pre_fork(server, worker):
    pass


def pre_exec(server):
    server.log.info("Forked child, re-executing.")


def when_ready(server):
    server.log.info("Server is ready. Spawning workers")


def worker_int(worker):
    worker.log.info("worker received INT or QUIT signal")


def worker_abort(worker):
    worker.log.info("worker received SIGABRT signal")


def ssl_context(conf, default_ssl_context_factory):
    return default_ssl_context_factory()


def post_request(worker, req, environ, resp):
    pass
""",
    )
    assert read.error == ""
    assert read.warnings == []
    assert read.origins["post_request"].endswith("conf.py")
