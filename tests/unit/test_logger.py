"""The Logger, classes derived from it, logging's configurations; and who is told of requests because of them."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import fastwsgi
from fastwsgi.config.settings import Config
from fastwsgi.errors import ConfigError
from fastwsgi.logs import captured_output, error_log, request_log
from fastwsgi.logs.access_log import AccessLog
from fastwsgi.logs.log_file import ACCESS_LOG, ERROR_LOG
from fastwsgi.logs.logger import AccessHandler, Logger
from tests.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("fresh_logs")

ENVIRON = {
    "REMOTE_ADDR": "192.0.2.7",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a?b",
    "PATH_INFO": "/a",
    "QUERY_STRING": "b",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_X_ID": '7"',
}
FORMAT = "%(m)s %(U)s %(s)s %(B)s %({x-id}i)s %({x-out}o)s"
LINE = 'GET /a 200 5 7\\" 8\n'


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    access = Access(tmp_path / "access.log")
    yield access
    access.close()


class Access:
    """What a worker does with its access log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: AccessLog | None = None
        self.chosen: Any = None

    def start(self, **settings: Any) -> None:
        settings.setdefault("accesslog", os.fspath(self.path))
        settings.setdefault("access_log_format", FORMAT)
        cfg = Config(proc_name="app", **settings)
        log = error_log.setup(cfg)
        if cfg.accesslog:
            self._file = AccessLog.open(cfg.accesslog, cfg.access_log_format)
        self.chosen = request_log.choose(log, self._file)

    def is_direct(self) -> bool:
        return self._file is not None and self.chosen is self._file

    def finish(self, environ: Mapping[str, Any] | None = None, status: str = "200 OK") -> str:
        """Let a request end; return the file."""
        self.chosen.log(ENVIRON if environ is None else environ, status, [("X-Out", "8")], 5, 1.5)
        self.chosen.flush()
        return self.path.read_text()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


# --- classes ---------------------------------------------------------------------------------------------


class Skips(fastwsgi.Logger):
    """As many have it: requests for health are not logged."""

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        if req.path != "/health":
            super().access(resp, req, environ, request_time)


class Adds(fastwsgi.Logger):
    def atoms(
        self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta
    ) -> dict[str, Any]:
        return {**super().atoms(resp, req, environ, request_time), "mine": resp.status_code + 1}

    def now(self) -> str:
        return "now"


class Fails(fastwsgi.Logger):
    def access(self, *_: Any) -> None:
        raise ValueError("no")


class Filters(fastwsgi.Logger):
    """The usual recipe for gunicorn."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logging.getLogger("gunicorn.access").addFilter(lambda record: "/health" not in record.getMessage())


class Sees(fastwsgi.Logger):
    seen: ClassVar[list[Any]] = []

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        self.seen.append((resp.status, resp.headers, resp.sent, req.method, environ["RAW_URI"], request_time))


class NotSetUp(fastwsgi.Logger):
    def setup(self, *_: Any) -> None:
        raise RuntimeError("no\nway")


class OfGunicorn:
    """Stands for a class that is derived from gunicorn's."""


OfGunicorn.__module__, OfGunicorn.__qualname__ = "gunicorn.glogging", "Logger"


class Derived(OfGunicorn):
    pass


def test_the_package_has_it() -> None:
    assert fastwsgi.Logger is Logger
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fastwsgi.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "name", [None, "simple", "gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd", OfGunicorn]
)
def test_names_of_the_default(name: Any) -> None:
    log: Any = error_log.setup(Config(logger_class=name))
    assert type(log) is Logger


@pytest.mark.parametrize("name", [f"{__name__}.Skips", f"{__name__}:Skips", Skips])
def test_a_class_and_its_names(name: Any) -> None:
    log: Any = error_log.setup(Config(logger_class=name))
    assert type(log) is Skips


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such.Logger", r"cannot be imported: ModuleNotFoundError"),
        (f"{__name__}.Nothing", "cannot be imported: AttributeError"),
        (dict, "it is not derived from Logger; derive it from fastwsgi.Logger"),
        (f"{__name__}.FORMAT", "it is not derived from Logger"),
        (Derived, "it is derived from gunicorn's Logger; derive it from fastwsgi.Logger"),
        (NotSetUp, "its setup.. fails: RuntimeError: no way"),
    ],
)
def test_what_is_no_class(name: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^logger_class = .* \(default\): .*{why}"):
        error_log.setup(Config(logger_class=name))


def test_it_is_called_for_each_request(access: Access) -> None:
    access.start(logger_class=Sees, accesslog=None)
    Sees.seen.clear()
    access.chosen.log(ENVIRON, "200 OK", [("X-Out", "8")], 5, 1.5)
    assert Sees.seen == [("200 OK", [("X-Out", "8")], 5, "GET", "/a?b", timedelta(seconds=1.5))]


def test_access_may_leave_lines_out(access: Access) -> None:
    access.start(logger_class=Skips)
    assert access.finish() == LINE
    assert access.finish({**ENVIRON, "RAW_URI": "/health"}) == LINE


def test_a_filter_may_leave_lines_out(access: Access) -> None:
    access.start(logger_class=Filters)
    access.finish({**ENVIRON, "PATH_INFO": "/health"})
    assert access.finish() == LINE


def test_atoms_and_now(access: Access) -> None:
    access.start(logger_class=Adds, access_log_format="%(mine)s %(t)s %(m)s")
    assert access.finish() == "201 now GET\n"


def test_of_a_refused_request_little_is_known(access: Access) -> None:
    access.start(logger_class=Skips)
    assert access.finish({"REMOTE_ADDR": "192.0.2.7"}, "400 Bad Request") == "- - 400 5 - 8\n"
    access.start(logger_class=Adds, access_log_format="%(h)s %(r)s %(q)s")
    assert access.finish({}).endswith("\n- - - - -\n")


def test_an_error_in_access_is_told(access: Access, capsys: pytest.CaptureFixture[str]) -> None:
    access.start(logger_class=Fails)
    assert access.finish() == ""
    err = capsys.readouterr().err
    assert "Error in access() of the logger_class" in err
    assert "ValueError: no" in err


def test_json_by_way_of_logging(access: Access) -> None:
    access.start(logger_class=Skips, access_log_format="json")
    line = json.loads(access.finish({**ENVIRON, "PATH_INFO": '"\n'}))
    assert (line["path"], line["status"], line["bytes"], line["duration"]) == ('"\n', 200, 5, 1.5)


def test_nothing_stands_in_the_way_of_a_plain_line(access: Access) -> None:
    access.start()
    assert access.is_direct()
    assert access.finish() == LINE


def test_nobody_is_told_without_an_access_log(access: Access) -> None:
    access.start(accesslog=None)
    assert access.chosen is None


def test_statsd_is_told_as_well(access: Access) -> None:
    access.start(statsd_host="127.0.0.1:9")
    assert not access.is_direct()
    assert access.finish() == LINE
    another = access.chosen.another()
    another.log(ENVIRON, "200 OK", [("X-Out", "9")], 6, 1.5)
    another.flush()
    another.reopen()
    assert access.path.read_text() == LINE + LINE.replace("5", "6").replace("8", "9")


def test_reopened_by_way_of_logging(access: Access, tmp_path: Path) -> None:
    access.start(logger_class=Skips)
    access.finish()
    access.path.rename(tmp_path / "old")
    access.chosen.reopen()
    assert access.finish() == LINE
    assert (tmp_path / "old").read_text() == LINE


def test_no_line_is_added_while_the_file_is_reopened(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GIL, other loops log by the same handler, and its lines have no lock of their own."""
    access.start(logger_class=Skips)
    door: Any = next(each for each in ACCESS_LOG.handlers if isinstance(each, AccessHandler))
    is_free = []

    def look() -> None:
        is_free.append(door.lock.acquire(blocking=False))
        if is_free[-1]:
            door.lock.release()

    def reopen() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    monkeypatch.setattr(door.file, "reopen", reopen)
    access.chosen.reopen()
    assert is_free == [False]


def test_a_class_that_changes_at_a_reload_leaves_one_handler(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (None, Skips, Skips, Filters, None):
        error_log.setup(Config(logger_class=kind)).info("%s", kind)
    assert len(ERROR_LOG.handlers) == 1
    assert capsys.readouterr().err.count("[INFO]") == 5


def test_it_is_a_logger_of_logging(capsys: pytest.CaptureFixture[str]) -> None:
    log: Any = error_log.setup(Config())
    assert (log.name, log.error_log, log.access_log) == ("fastwsgi.error", ERROR_LOG, ACCESS_LOG)
    assert log.handlers is ERROR_LOG.handlers
    assert log.isEnabledFor(logging.INFO)
    log.log("warning", "by %s", "name")
    log.log(logging.ERROR, "by number")
    log.critical("c")
    assert re.findall(r"\[([A-Z]+)\] (.*)", capsys.readouterr().err) == [
        ("WARNING", "by name"),
        ("ERROR", "by number"),
        ("CRITICAL", "c"),
    ]
    log.close_on_exec()
    assert not log.access_log_enabled
    with pytest.raises(AttributeError):
        log.nothing  # noqa: B018


# --- logging.config --------------------------------------------------------------------------------------

# As the example that comes with gunicorn, but for its paths.
EXAMPLE = """\
[loggers]
keys=root, gunicorn.error, gunicorn.access

[handlers]
keys=console, error_file, access_file

[formatters]
keys=generic, access

[logger_root]
level=INFO
handlers=console

[logger_gunicorn.error]
level=INFO
handlers=error_file
propagate=1
qualname=gunicorn.error

[logger_gunicorn.access]
level=INFO
handlers=access_file
propagate=0
qualname=gunicorn.access

[handler_console]
class=StreamHandler
formatter=generic
args=(sys.stdout, )

[handler_error_file]
class=logging.FileHandler
formatter=generic
args=('%(here)s/error.log',)

[handler_access_file]
class=logging.FileHandler
formatter=access
args=('%(here)s/their.log',)

[formatter_generic]
format=%(asctime)s [%(process)d] [%(levelname)s] %(message)s
datefmt=%Y-%m-%d %H:%M:%S
class=logging.Formatter

[formatter_access]
format=%(message)s
class=logging.Formatter
"""


def table(folder: Path, names: str = "gunicorn", **more: Any) -> dict[str, Any]:
    """Return a configuration of the access logger and the error logger under `names`."""
    return {
        "version": 1,
        "root": {"level": "INFO", "handlers": []},
        "formatters": {"args": {"format": "%(message)s"}},
        "handlers": {
            name: {
                "class": "logging.handlers.WatchedFileHandler",
                "filename": str(folder / f"{name}.log"),
                "formatter": "args",
            }
            for name in ("error", "their")
        },
        "loggers": {
            f"{names}.error": {"level": "WARNING", "handlers": ["error"], "propagate": False},
            f"{names}.access": {"level": "INFO", "handlers": ["their"], "propagate": False},
        },
        **more,
    }


def check(access: Access, folder: Path) -> None:
    """Check that lines go where the configuration says, and nowhere else."""
    assert not access.is_direct()
    access.finish()
    logging.getLogger("fastwsgi.error").warning("words")
    assert access.path.read_text() == ""
    assert (folder / "their.log").read_text() == LINE
    assert (folder / "error.log").read_text().endswith("words\n")
    assert len(ERROR_LOG.handlers) == len(ACCESS_LOG.handlers) == 1


def test_the_example_of_gunicorn(access: Access, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logging.conf").write_text(EXAMPLE)
    access.start(logconfig=str(tmp_path / "logging.conf"))
    check(access, tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("names", ["gunicorn", "fastwsgi"])
def test_a_dict(access: Access, tmp_path: Path, names: str) -> None:
    access.start(logconfig_dict=table(tmp_path, names))
    check(access, tmp_path)


def test_a_json_file(access: Access, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps(table(tmp_path, disable_existing_loggers=True)))
    access.start(logconfig_json=str(tmp_path / "log.json"))
    check(access, tmp_path)


def test_the_arguments_of_a_record_are_the_atoms(access: Access, tmp_path: Path) -> None:
    """Formatters that make JSON of them are common."""
    config = table(tmp_path)
    config["formatters"]["args"] = {"()": "logging.Formatter", "fmt": "%(message)s"}
    access.start(logconfig_dict=config)
    records: list[Any] = []
    ACCESS_LOG.handlers[0].emit = records.append  # type: ignore[assignment, method-assign]
    access.finish()
    args = records[0].args
    assert (args["h"], args["s"], args["B"], args["D"]) == ("192.0.2.7", "200", 5, 1_500_000)


def test_loggers_that_it_does_not_name_stay_ours(access: Access, tmp_path: Path) -> None:
    config = table(tmp_path)
    del config["loggers"]["gunicorn.access"], config["handlers"]["their"]
    access.start(logconfig_dict=config)
    assert access.is_direct()
    config = table(tmp_path)
    del config["loggers"]["gunicorn.error"], config["handlers"]["error"]
    access.start(logconfig_dict=config, errorlog=str(tmp_path / "ours.log"))
    ERROR_LOG.info("words")
    assert (tmp_path / "ours.log").read_text().endswith("words\n")


def test_without_it_lines_go_elsewhere_again(access: Access, tmp_path: Path) -> None:
    access.start(logconfig_dict=table(tmp_path))
    access.start(errorlog=str(tmp_path / "ours.log"))
    assert access.is_direct()
    ERROR_LOG.warning("words")
    assert (tmp_path / "ours.log").read_text().endswith("words\n")
    assert (tmp_path / "error.log").read_text() == ""


def test_what_a_dict_leaves_out_is_as_in_gunicorn(capsys: pytest.CaptureFixture[str], access: Access) -> None:
    access.start(logconfig_dict={"version": 1}, accesslog=None)
    ERROR_LOG.info("words")
    access.chosen.log(ENVIRON, "200 OK", [], 5, 1.5)
    out, err = capsys.readouterr()
    assert re.fullmatch(r"\[.*\] \[\d+\] \[INFO\] words\n", err)
    assert "[INFO] GET /a 200 5" in out


def test_lines_may_go_to_the_root_logger(access: Access, tmp_path: Path) -> None:
    config = table(tmp_path)
    config["loggers"]["gunicorn.access"] = {"propagate": True}
    config["root"] = {"level": "INFO", "handlers": ["their"]}
    access.start(logconfig_dict=config)
    check_line = access.finish
    assert check_line() == ""
    assert (tmp_path / "their.log").read_text() == LINE


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, r"cannot be .*|/no/log\.conf: No such file or directory"),
        ("", "logging does not take it: "),
        ("no section", "logging does not take it: "),
        (EXAMPLE.replace("keys=generic, access", "keys=generic"), "logging does not take it: "),
        (
            EXAMPLE.replace("logging.FileHandler", "no.such.Handler"),
            "logging does not take it: ModuleNotFound",
        ),
        (EXAMPLE.replace("%(here)s", "/no/such/folder"), "/no/such/folder/error.log: No such file"),
        (EXAMPLE.replace("(sys.stdout, )", "(no"), "logging does not take it: SyntaxError"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_the_logs(
    tmp_path: Path, text: str | None, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "no" / "log.conf"
    if text is not None:
        path.parent.mkdir()
        path.write_text(text)
    error_log.setup(Config())
    with pytest.raises(ConfigError, match=rf"^logconfig = .* \(default\): .*({why})") as caught:
        error_log.setup(Config(logconfig=str(path), errorlog=str(tmp_path / "new.log")))
    assert "\n" not in str(caught.value)
    if sys.platform == "linux":  # nothing is left of what failed
        opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        assert not any(file.startswith(str(path.parent)) for file in opened)
    ERROR_LOG.info("still")
    assert capsys.readouterr().err.count("still") == 1


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"version": 2}', '{"handlers": {"x": {"class": "no.x"}}}']
)
def test_a_bad_json_file_is_one_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "log.json").write_text(text)
    with pytest.raises(ConfigError, match=r"^logconfig_json = .*log.json") as caught:
        error_log.setup(Config(logconfig_json=str(tmp_path / "log.json")))
    assert "\n" not in str(caught.value)


def test_a_bad_dict_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^logconfig_dict = .*Unable to configure handler 'x'"):
        error_log.setup(Config(logconfig_dict={"version": 1, "handlers": {"x": {"class": "no.such"}}}))


def test_files_of_all_loggers_are_reopened(tmp_path: Path, access: Access) -> None:
    access.start(logconfig_dict=table(tmp_path))
    mine = logging.getLogger("mine")
    mine.addHandler(logging.FileHandler(tmp_path / "mine.log"))
    mine.addHandler(logging.FileHandler(tmp_path / "later.log", delay=True))
    try:
        for name in ("error", "their", "mine"):
            (tmp_path / f"{name}.log").rename(tmp_path / f"{name}.old")
        error_log.reopen()
        mine.warning("words")
        check(access, tmp_path)
        assert (tmp_path / "mine.log").read_text() == "words\n"
        assert all((tmp_path / f"{name}.old").read_text() == "" for name in ("error", "their", "mine"))
    finally:
        for handler in mine.handlers[:]:
            mine.removeHandler(handler)
            handler.close()


def test_apps_find_the_handlers_under_gunicorns_names(capsys: pytest.CaptureFixture[str]) -> None:
    """As in: app.logger.handlers = logging.getLogger("gunicorn.error").handlers."""
    error_log.setup(Config())
    theirs = logging.getLogger("gunicorn.error")
    assert theirs.handlers == ERROR_LOG.handlers
    assert theirs.level == logging.INFO
    theirs.info("words")
    assert capsys.readouterr().err.endswith("words\n")


# --- captured output -------------------------------------------------------------------------------------

SCRIPT = """\
import os, subprocess, sys
from fastwsgi.config.settings import Config
from fastwsgi.logs import captured_output, error_log
path = sys.argv[1]
log = error_log.setup(Config(errorlog=path))
captured_output.capture(Config(errorlog=path))
print("print")
print("caf\\u00e9 \\ud800")
log.info("logged")
sys.stderr.write("error\\n")
os.write(1, b"descriptor\\n")
subprocess.run(["echo", "child"])
if path != "-":
    os.rename(path, path + ".old")
    error_log.reopen()
print("later")
os._exit(0)
"""


def run_captured(path: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", SCRIPT, path]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environ)


def test_captured_output_is_in_the_file_of_the_error_log(tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    done = run_captured(str(path))
    assert (done.stdout, done.stderr) == ("", "")
    lines = (tmp_path / "error.log.old").read_text().splitlines()
    assert [line.rpartition("] ")[2] for line in lines] == [
        "print", "café \\ud800", "logged", "error", "descriptor", "child",
    ]  # fmt: skip
    assert path.read_text() == "later\n"


def test_captured_output_without_a_file_is_on_standard_error() -> None:
    done = run_captured("-")
    assert done.stdout == ""
    for word in ("print", "café", "logged", "error", "descriptor", "child", "later"):
        assert word in done.stderr


def test_output_that_cannot_be_captured_stays(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error_log.setup(Config())
    captured_output.capture(Config(errorlog=str(tmp_path / "no" / "log")))
    assert "capture_output: " in capsys.readouterr().err
