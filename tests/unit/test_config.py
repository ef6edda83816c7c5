"""Sources of settings, their order, and what a user reads when one of them is wrong."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from fastwsgi import green
from fastwsgi.config import sources
from fastwsgi.config.command_line import help_text, parse_arguments
from fastwsgi.config.cpus import available_cpus
from fastwsgi.config.settings import SETTINGS, Config
from fastwsgi.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def load(
    directory: Path,
    *argv: str,
    environ: Mapping[str, str] | None = None,
    warnings: list[str] | None = None,
    **files: str,
) -> Config:
    """Load as a server started in `directory` with `argv`; `files` are written there first."""
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    found: list[str] = []
    cfg = sources.load(parse_arguments(argv), environ or {}, str(directory), found.append)
    if warnings is None:
        assert found == []
    else:
        warnings += found
    return cfg


# --- order of sources -----------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    cfg = load(tmp_path)
    assert cfg == Config(chdir=str(tmp_path))
    assert set(cfg.origins) == {setting.name for setting in SETTINGS}
    assert set(cfg.origins.values()) == {"default"}


# Each case sets `workers` in one source more, the higher one; the last one counts.
LADDER = [
    ("environment, WEB_CONCURRENCY", {"WEB_CONCURRENCY": "2"}, "", []),
    ("gunicorn.conf.py", {}, "workers = 3", []),
    ("GUNICORN_CMD_ARGS, --workers", {"GUNICORN_CMD_ARGS": "--workers 4"}, "", []),
    ("FASTWSGI_CMD_ARGS, -w", {"FASTWSGI_CMD_ARGS": "-w 5"}, "", []),
    ("command line, --workers", {}, "", ["--workers=6"]),
]


@pytest.mark.parametrize("height", range(len(LADDER)))
def test_the_highest_source_counts(tmp_path: Path, height: int) -> None:
    environ: dict[str, str] = {}
    argv: Sequence[str] = []
    for _, variables, text, words in LADDER[: height + 1]:
        environ |= variables
        argv = words
        if text:
            (tmp_path / "gunicorn.conf.py").write_text(text)
    cfg = load(tmp_path, *argv, environ=environ)
    assert cfg.workers == height + 2
    assert cfg.origins["workers"].endswith(LADDER[height][0])


def test_environment_defaults(tmp_path: Path) -> None:
    environ = {"PORT": "5000", "WEB_CONCURRENCY": "", "SENDFILE": "no"}
    cfg = load(tmp_path, environ=environ)
    assert cfg.bind == ("0.0.0.0:5000",)
    assert cfg.workers == 1
    assert cfg.sendfile is False


def test_flags_not_given_override_nothing(tmp_path: Path) -> None:
    text = "preload_app = True\nsendfile = False\nbind = ['a:1', 'b:2']\nwsgi_app = 'm:app'"
    (tmp_path / "gunicorn.conf.py").write_text(text)
    cfg = load(tmp_path, "--timeout", "5")
    assert (cfg.preload_app, cfg.sendfile, cfg.bind, cfg.wsgi_app) == (True, False, ("a:1", "b:2"), "m:app")


def test_flags(tmp_path: Path) -> None:
    argv = (
        "-b a:1 --bind unix:/b --preload --no-sendfile --log-file x --access-logfile - --keep-alive 0 m:app"
    )
    cfg = load(tmp_path, *argv.split())
    assert cfg.bind == ("a:1", "unix:/b")
    assert (cfg.preload_app, cfg.sendfile, cfg.errorlog, cfg.accesslog) == (True, False, "x", "-")
    assert (cfg.keepalive, cfg.wsgi_app, cfg.proc_name) == (0.0, "m:app", "m:app")
    assert cfg.origins["wsgi_app"] == "command line"


@pytest.mark.parametrize(
    "argv", [["m", "-w", "2"], ["-w", "2", "m"], ["-w2", "m"], ["--workers=2", "--preload", "m"]]
)
def test_the_app_may_stand_anywhere(tmp_path: Path, argv: Sequence[str]) -> None:
    cfg = load(tmp_path, *argv)
    assert (cfg.wsgi_app, cfg.workers) == ("m", 2)


def test_the_command_line_binds_anew_instead_of_adding(tmp_path: Path) -> None:
    cfg = load(tmp_path, "-b", "c:3", environ={"PORT": "1", "GUNICORN_CMD_ARGS": "-b a:1 -b b:2"})
    assert cfg.bind == ("c:3",)


def test_shell_words_in_the_environment(tmp_path: Path) -> None:
    cfg = load(tmp_path, environ={"FASTWSGI_CMD_ARGS": "--access-logformat '%(h)s \"%(r)s\"'"})
    assert cfg.access_log_format == '%(h)s "%(r)s"'


# --- configuration files --------------------------------------------------------------------------------


def test_our_file_goes_before_gunicorns(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2")
    assert load(tmp_path).workers == 2
    (tmp_path / "fastwsgi.conf.py").write_text("workers = 3")
    cfg = load(tmp_path)
    assert cfg.workers == 3
    assert cfg.config == str(tmp_path / "fastwsgi.conf.py")


@pytest.mark.parametrize("location", ["other.py", "file:other.py", "{}/other.py", "python:other"])
def test_the_file_that_is_named_is_the_only_one(tmp_path: Path, location: str) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("timeout = 1")
    cfg = load(tmp_path, "-c", location.format(tmp_path), other="workers = 2")
    assert (cfg.workers, cfg.timeout) == (2, 30.0)
    assert cfg.origins["workers"] == str(tmp_path / "other.py")


@pytest.mark.parametrize("location", ["conf.py", "python:conf"])
def test_a_file_is_read_anew_each_time(tmp_path: Path, location: str) -> None:
    assert load(tmp_path, "-c", location, conf="workers = 2").workers == 2
    assert load(tmp_path, "-c", location, conf="timeout = 23").workers == 1


def test_a_file_is_ordinary_python(tmp_path: Path) -> None:
    conf = """
from __future__ import annotations
import os, multiprocessing
from dataclasses import dataclass
from beside import number
@dataclass
class Helper:
    n: int = number
def double(n): return 2 * n
_private = 1
workers = double(Helper().n)
name = os.path.basename(__file__)
proc_name = name
"""
    cfg = load(tmp_path, "-c", "conf.py", conf=conf, beside="number = 21")
    assert (cfg.workers, cfg.proc_name) == (42, "conf.py")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("worker = 4", "worker is not a setting and is ignored; did you mean workers?"),
        ("Workers = 4", "Workers is not a setting and is ignored; did you mean workers?"),
        ("time_out = 4", "did you mean timeout?"),
        ("access_logfile = '-'", "did you mean accesslog?"),
        ("log_level = 'debug'", "did you mean loglevel?"),
        ("keep_alive = 4", "did you mean keepalive?"),
        ("preload = True", "did you mean preload_app?"),
        ("http_parser = 'slow'", "is ignored: there is one parser"),
        ("def dirty_post_fork(arbiter, worker): pass", "is ignored: fastwsgi has no dirty workers"),
    ],
)
def test_names_taken_for_settings_are_warned_of(tmp_path: Path, text: str, warning: str) -> None:
    warnings: list[str] = []
    load(tmp_path, "-c", "conf.py", conf=text, warnings=warnings)
    assert len(warnings) == 1
    assert f"{tmp_path}/conf.py" in warnings[0]
    assert warning in warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "reload = False",
        "WORKERS = 4; workers = WORKERS",
        "name = 'x'; pid = 3; host = 'h'; port = 8",
        "_worker = 4",
        "def worker(): pass",
        "import os as worker",
        "print_config = False; config = 'x'",
    ],
)
def test_other_names_are_nobodys_business(tmp_path: Path, text: str) -> None:
    load(tmp_path, "-c", "conf.py", conf=text)


# --- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("-w many", "workers = 'many' (command line, -w): must be a whole number, 1 or more, or \"auto\""),
        ("--workers 0", "workers = '0' (command line, --workers): must be"),
        ("--timeout -1", "timeout = '-1' (command line, --timeout): must be a number of seconds, 0 or more"),
        (
            "-k eventlet",
            "worker_class = 'eventlet' (command line, -k): eventlet is no longer maintained; use gevent",
        ),
        (
            "--no-request-buffering",
            "request_buffering = False (command line, --no-request-buffering): an app that waits for a body",
        ),
        (
            "--request-timeout 5",
            "request_timeout = 5.0 (command line, --request-timeout): a worker with one thread cannot look",
        ),
        ("--log-level loud", "loglevel = 'loud' (command line, --log-level): must be one of debug, info, "),
        ("-b h:x", "bind = ['h:x'] (command line, -b): cannot listen on 'h:x': port 'x' is not a number"),
        ("-b ::1", "write an IPv6 address in brackets, as in [::1]:8000"),
        ("--wrokers 2", "unknown option --wrokers (command line): did you mean --workers?"),
        ("--wrokers=2", "unknown option --wrokers (command line): did you mean --workers?"),
        ("--frobnicate", "unknown option --frobnicate (command line): fastwsgi --help lists all options"),
        ("--bind", "argument -b/--bind: expected one argument (command line)"),
        ("a b", "unexpected argument 'b' (command line): there is one application, and it is named once"),
        ("--chdir nowhere", "/nowhere' (command line, --chdir): there is no such directory"),
        (
            "--tmp-upload-dir nowhere",
            "/nowhere' (command line, --tmp-upload-dir): there is no such directory",
        ),
        ("-c nowhere.py", "/nowhere.py: No such file or directory"),
        ("-c python:nowhere", "configuration module nowhere: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, argv: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, *argv.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"WEB_CONCURRENCY": "x"}, "workers = 'x' (environment, WEB_CONCURRENCY): must be"),
        ({"GUNICORN_CMD_ARGS": "--nope"}, "unknown option --nope (GUNICORN_CMD_ARGS): "),
        ({"FASTWSGI_CMD_ARGS": "-w x"}, "workers = 'x' (FASTWSGI_CMD_ARGS, -w): must be"),
        ({"FASTWSGI_CMD_ARGS": "-n 'x"}, "FASTWSGI_CMD_ARGS: No closing quotation"),
    ],
)
def test_mistakes_in_the_environment(tmp_path: Path, environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ=environ)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def post_fork(server): pass", "post_fork = <post_fork> ({}): must be a function of 2 arguments"),
        ("bind = ['h', 'h:x']", "bind = ['h', 'h:x'] ({}): cannot listen on 'h:x': port 'x' is"),
        ("workers = None", "workers = None ({}): must be a whole number"),
        ("bind = 8000", "bind = 8000 ({}): must be HOST:PORT"),
        ("x = (\n", "configuration file {}:1: SyntaxError: '(' was never closed"),
        ("a = 1\nb = c\n", "configuration file {}:2: NameError: name 'c' is not defined"),
        ("import nowhere", "configuration file {}:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("import json\nx = 1\njson.loads('{{')", "configuration file {}:3: JSONDecodeError: "),
        ("import sys\nsys.exit('no')", "configuration file {}:2: SystemExit: no"),
        ("raise ValueError('two\\nlines')", "configuration file {}:1: ValueError: two lines"),
        ("a = '\0'", "configuration file {}"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "-c", "conf.py", conf=text.replace("{{", "{"))
    assert message.format(tmp_path / "conf.py") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_in_a_module(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"configuration module conf: .*/conf\.py:2: ZeroDivisionError: "):
        load(tmp_path, "-c", "python:conf", conf="\n1 / 0")


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "-w", "x" * 1000)
    assert len(str(caught.value)) < 400


# --- what depends on the machine ------------------------------------------------------------------------


def test_paths_count_from_the_start_directory(tmp_path: Path) -> None:
    (tmp_path / "site" / "uploads").mkdir(parents=True)
    cfg = load(tmp_path, "--chdir", "site", "--tmp-upload-dir", "uploads")
    assert cfg.chdir == str(tmp_path / "site")
    assert cfg.tmp_upload_dir == str(tmp_path / "site" / "uploads")


def test_workers_auto(tmp_path: Path) -> None:
    cfg = load(tmp_path, "-w", "auto")
    assert cfg.workers == available_cpus() >= 1
    assert cfg.origins["workers"] == "command line, -w (auto)"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a/b", {"cpu.max": "max 100000"}, 8),
        ("0::/a/b", {"cpu.max": "250000 100000"}, 3),
        ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/a/b", {"a/cpu.max": "9900000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a/b", {"a/b/cpu.max": "1000 100000"}, 1),
        ("0::/host/only", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        ("0::/", {}, 8),
        ("7:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("7:cpu,cpuacct:/a", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("7:cpu,cpuacct:/a", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "0"}, 8),
        ("7:memory:/a", {"memory/a/cpu.max": "100000 100000"}, 8),
    ],
)
def test_available_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: Mapping[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    proc = tmp_path / "cgroup"
    proc.write_text(membership + "\n")
    assert available_cpus(proc, tmp_path / "fs") == expected


def test_available_cpus_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cpus(tmp_path / "none") == 5


def test_gevent_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(green, "is_installed", lambda: True)
    assert load(tmp_path, "-k", "gevent").worker_class == "gevent"
    text = "worker_class = 'gunicorn.workers.ggevent.GeventWorker'"
    assert load(tmp_path, "-c", "conf.py", conf=text).worker_class == "gevent"


def test_gevent_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(green, "is_installed", lambda: False)
    assert load(tmp_path, "-k", "gthread").worker_class == "gthread"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "-k", "gevent")
    message = "worker_class = 'gevent' (command line, -k): gevent is not installed; pip install gevent"
    assert str(caught.value) == message


def test_request_buffering_may_be_off_where_an_app_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(green, "is_installed", lambda: True)
    for engine in (("--threads", "2"), ("-k", "gevent")):
        assert load(tmp_path, "--no-request-buffering", *engine).request_buffering is False


def test_request_timeout_where_somebody_can_look_after_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(green, "is_installed", lambda: True)
    for engine in (("--threads", "2"), ("-k", "gevent")):
        assert load(tmp_path, "--request-timeout", "5", *engine).request_timeout == 5.0


# --- keywords -------------------------------------------------------------------------------------------


def test_keywords(tmp_path: Path) -> None:
    def hello(environ: object, start_response: object) -> list[bytes]:
        return []

    (tmp_path / "gunicorn.conf.py").write_text("timeout = 1")
    environ = {"PORT": "5000", "WEB_CONCURRENCY": "3", "FASTWSGI_CMD_ARGS": "--timeout 2"}
    cfg = sources.from_keywords({"wsgi_app": hello, "bind": "a:1"}, environ, str(tmp_path))
    assert cfg.wsgi_app is hello
    assert (cfg.bind, cfg.workers, cfg.timeout) == (("a:1",), 3, 30.0)
    assert cfg.origins["bind"] == "serve()"
    assert cfg.proc_name == hello.__qualname__


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"wokers": 2}, "serve() got wokers, which is not a setting; did you mean workers?"),
        ({"zzz": 2}, "serve() got zzz, which is not a setting"),
        ({"workers": "x"}, "workers = 'x' (serve()): must be"),
    ],
)
def test_keyword_mistakes(tmp_path: Path, keywords: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sources.from_keywords(keywords, {}, str(tmp_path))
    assert str(caught.value).startswith(message)


# --- what is shown --------------------------------------------------------------------------------------


def test_describe_shows_every_setting_with_its_origin(tmp_path: Path) -> None:
    lines = sources.describe(load(tmp_path, "-w", "3", environ={"PORT": "80"})).splitlines()
    assert [line.split()[0] for line in lines] == [setting.name for setting in SETTINGS]
    shown = {" ".join(line.split()) for line in lines}
    assert "workers = 3 # command line, -w" in shown
    assert "bind = 0.0.0.0:80 # environment, PORT" in shown
    assert "timeout = 30 # default" in shown


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_help_names_every_flag_and_keeps_its_width(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = help_text()
    words = text.replace(",", " ").split()
    for setting in SETTINGS:
        assert not setting.flags or setting.flags[0] in words
        assert setting.section in text
    assert "-h" in words
    assert "-v" in words
    assert max(map(len, text.splitlines())) <= min(max(int(columns), 80), 100)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--help", "app"]])
def test_help_flag(words: Sequence[str]) -> None:
    assert parse_arguments(words).help


@pytest.mark.parametrize("words", [["-v"], ["--version"]])
def test_version_flag(words: Sequence[str]) -> None:
    assert parse_arguments(words).version
