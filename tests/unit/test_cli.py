"""The command and `serve()`: what reaches the master, and how every mistake before it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fastwsgi
from fastwsgi import __main__ as cli
from fastwsgi.config import sources
from fastwsgi.errors import AppImportError, ConfigError
from fastwsgi.master import master

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fastwsgi.config.settings import Config
    from fastwsgi.processes.launch import Launch

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hi']\n"


class FakeMaster:
    """Takes the place of the master, and notes what it was given."""

    started: list[FakeMaster]

    def __init__(
        self, load_config: Callable[[sources.Warn], Config], cfg: Config, launch: Launch, _command: object
    ) -> None:
        self.load_config, self.cfg, self.launch = load_config, cfg, launch
        self.started.append(self)

    def run(self) -> int:
        """End with a code of its own."""
        return 42


@pytest.fixture(autouse=True)
def masters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeMaster]]:
    """Work in an empty directory, and start no real master."""
    FakeMaster.started = []
    monkeypatch.setattr(master, "Master", FakeMaster)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "WEB_CONCURRENCY", "SENDFILE", "GUNICORN_CMD_ARGS", "FASTWSGI_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    before = set(sys.modules)
    yield FakeMaster.started
    for name in sys.modules.keys() - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (
            [],
            1,
            "Error: no application is named; usage: fastwsgi [options] [module:app], where app is a callable",
        ),
        (["--check-config"], 1, "Error: no application is named"),
        (["-w", "x", "app"], 1, "Error: workers = 'x' (command line, -w): must be a whole number"),
        (["--bind"], 1, "Error: argument -b/--bind: expected one argument (command line)"),
        (["-c", "none.py", "app"], 1, "/none.py: No such file or directory\n"),
        (
            ["--access-logfile", "-", "--access-logformat", "%(x", "a"],
            1,
            "Error: access_log_format = '%(x': a % ",
        ),
        (["--check-config", "nowhere"], 4, "Error: cannot load 'nowhere': there is no module nowhere"),
        (["--check-config", "app.py"], 4, "did you mean app:app?\n"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str],
    masters: list[FakeMaster],
    argv: Sequence[str],
    code: int,
    message: str,
) -> None:
    Path("app.py").write_text(APP)
    assert cli.main(argv) == code
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("Error: ")
    assert (err.count("\n"), out, masters) == (1, "", [])


def test_an_error_inside_the_app_is_shown_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    Path("app.py").write_text("x = 1\n1 / 0\n")
    assert cli.main(["--check-config", "app"]) == 4
    err = capsys.readouterr().err
    assert err.startswith(
        "Error: cannot load 'app': app failed to import: ZeroDivisionError: division by zero ("
    )
    assert "Traceback (most recent call last):\n" in err
    assert "importlib" not in err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: fastwsgi [options] [module:app]\n")


def test_version_names_the_implementation(capsys: pytest.CaptureFixture[str], compiled: bool) -> None:
    assert cli.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"fastwsgi {fastwsgi.__version__} ({'compiled' if compiled else 'pure Python'}")
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in out


@pytest.mark.parametrize("argv", [["--print-config"], ["--print-config", "-w", "3", "app"]])
def test_print_config(
    capsys: pytest.CaptureFixture[str], masters: list[FakeMaster], argv: Sequence[str]
) -> None:
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert "# command line, --print-config" in out
    assert masters == []


def test_check_config_says_nothing_when_all_is_well(
    capsys: pytest.CaptureFixture[str], masters: list[FakeMaster]
) -> None:
    Path("app.py").write_text(APP)
    assert cli.main(["--check-config", "app"]) == 0
    assert capsys.readouterr() == ("", "")
    assert masters == []


def test_the_master_runs_and_gives_the_exit_code(masters: list[FakeMaster]) -> None:
    assert cli.main(["-w", "3", "app:app"]) == 42
    (master,) = masters
    assert (master.cfg.workers, master.cfg.wsgi_app) == (3, "app:app")


def test_argv_of_the_process(masters: list[FakeMaster], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fastwsgi", "-w", "2", "app"])
    # It takes this process for one that ends, and has it ignore what asks for that.
    ends = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in ends]
    try:
        assert cli.main() == 42
        assert {signal.getsignal(number) for number in ends} == {signal.SIG_IGN}
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)
    assert masters[0].cfg.workers == 2


def test_a_reload_reads_the_file_anew_from_where_the_server_started(
    tmp_path: Path, masters: list[FakeMaster]
) -> None:
    Path("site").mkdir()
    conf = Path("gunicorn.conf.py")
    conf.write_text("chdir = 'site'\nworkers = 2\nwsgi_app = 'app'")
    cli.main([])
    assert Path.cwd() == tmp_path / "site"
    (tmp_path / conf).write_text("chdir = 'site'\nworkers = 5\nwsgi_app = 'app'")
    cfg = masters[0].load_config(sources.warn_on_stderr)
    assert (cfg.workers, cfg.chdir) == (5, str(tmp_path / "site"))
    (tmp_path / conf).write_text("workers = 'x'")
    with pytest.raises(ConfigError):
        masters[0].load_config(sources.warn_on_stderr)
    assert Path.cwd() == tmp_path / "site"


def test_a_reload_follows_a_link_to_the_new_release(
    tmp_path: Path, masters: list[FakeMaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
    link = tmp_path / "current"
    link.symlink_to("1")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    cli.main(["app"])
    assert masters[0].cfg.chdir == str(link)
    link.unlink()
    link.symlink_to("2")
    masters[0].load_config(sources.warn_on_stderr)
    assert Path.cwd() == tmp_path / "2"


@pytest.mark.parametrize("shell", ["", "/", "/nowhere"])
def test_a_stale_pwd_is_not_believed(
    tmp_path: Path, masters: list[FakeMaster], monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("PWD", shell)
    cli.main(["app"])
    assert masters[0].cfg.chdir == str(tmp_path)


def test_interrupt_before_the_master_is_up_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: FakeMaster) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeMaster, "run", interrupted)
    assert cli.main(["app"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("bind: in use"), 1), (AppImportError("cannot load 'x': y"), 4)]
)
def test_mistakes_that_the_master_finds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def failing(_self: FakeMaster) -> int:
        raise error

    monkeypatch.setattr(FakeMaster, "run", failing)
    assert cli.main(["app"]) == code
    assert capsys.readouterr().err == f"Error: {error}\n"


# --- serve() --------------------------------------------------------------------------------------------


def test_serve_passes_the_app_and_its_settings(masters: list[FakeMaster]) -> None:
    def app(environ: object, start_response: object) -> list[bytes]:
        return []

    assert fastwsgi.serve(app, bind="127.0.0.1:0", workers=2) == 42
    cfg = masters[0].cfg
    assert (cfg.wsgi_app, cfg.bind, cfg.workers) == (app, ("127.0.0.1:0",), 2)
    assert masters[0].load_config(sources.warn_on_stderr) == cfg


def test_serve_reads_no_file_and_no_arguments(
    masters: list[FakeMaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("gunicorn.conf.py").write_text("workers = 7")
    monkeypatch.setenv("FASTWSGI_CMD_ARGS", "--workers 8")
    fastwsgi.serve("app:app")
    assert masters[0].cfg.workers == 1


def test_serve_tells_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert fastwsgi.serve("app", wokers=2) == 1
    assert capsys.readouterr().err.endswith("did you mean workers?\n")


# --- the real command -----------------------------------------------------------------------------------

ROOT = str(Path(fastwsgi.__file__).parents[1])


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, *argv], env=environ, capture_output=True, text=True, check=False, timeout=30
    )


def test_python_m_fastwsgi() -> None:
    done = python("-m", "fastwsgi", "--timeout", "never", "app")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: timeout = 'never' (command line, --timeout): must be a number of seconds, 0 or more\n"
    )


def test_warnings_go_to_standard_error() -> None:
    Path("gunicorn.conf.py").write_text("worker = 4")
    done = python("-m", "fastwsgi", "--print-config")
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["asyncio", "argparse", "logging", "ssl", "multiprocessing"])
def test_import_is_cheap(module: str) -> None:
    done = python("-c", f"import fastwsgi, sys; sys.exit({module!r} in sys.modules)")
    assert done.returncode == 0, done.stderr
