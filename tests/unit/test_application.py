"""Application: settings and app of a program, used as gunicorn's BaseApplication is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

import fastwsgi
from fastwsgi import app as apps
from fastwsgi.config.settings import BY_NAME, Config
from fastwsgi.errors import AppImportError, ConfigError
from fastwsgi.hooks.actors import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def hello(_environ: Any, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


class Standalone(fastwsgi.Application):
    """As gunicorn's documentation has it."""

    def __init__(self, app: Any, options: dict[str, Any] | None = None) -> None:
        self.options = options or {}
        self.application = app
        super().__init__()

    def load_config(self) -> None:
        config = {
            key: value
            for key, value in self.options.items()
            if key in self.cfg.settings and value is not None
        }
        for key, value in config.items():
            self.cfg.set(key.lower(), value)

    def load(self) -> Any:
        return self.application


def read(application: fastwsgi.Application, directory: Path) -> Config:
    return application.read_config(pytest.fail, str(directory))


def test_settings_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    options = {"bind": "127.0.0.1:0", "timeout": "5", "no_such_thing": 1, "user": None}
    application = Standalone(hello, options)
    assert (application.cfg.workers, application.cfg.timeout) == (7, 5.0)
    assert application.cfg.settings["timeout"].get() == 5.0
    cfg = read(application, tmp_path)
    assert (cfg.bind, cfg.workers, cfg.timeout) == (("127.0.0.1:0",), 7, 5.0)
    assert cfg.origins["timeout"] == "load_config()"
    assert cfg.origins["wsgi_app"] == "Standalone.load()"
    assert cfg.proc_name == "Standalone"
    assert application.cfg.chdir == cfg.chdir == str(tmp_path)


def test_the_app_is_what_load_returns(tmp_path: Path) -> None:
    application = Standalone(hello)
    cfg = read(application, tmp_path)
    assert apps.load(cfg.wsgi_app or "") is hello
    assert application.wsgi() is application.callable is hello
    assert Server(cfg, None).app is application  # which hooks see


def test_an_application_that_sets_a_name_is_loaded_by_it(tmp_path: Path) -> None:
    cfg = read(Standalone(None, {"wsgi_app": "examples.hello:app"}), tmp_path)
    assert cfg.wsgi_app == "examples.hello:app"


def test_a_reload_asks_again(tmp_path: Path) -> None:
    application = Standalone(hello, {"workers": 2})
    assert read(application, tmp_path).workers == 2
    application.options["workers"] = 3
    application.application = object()
    assert read(application, tmp_path).workers == 3
    with pytest.raises(AppImportError, match=r"Standalone\.load\(\)': it is an object, not a callable"):
        apps.load(application)


def test_settings_of_gunicorn_alone_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    application = Standalone(hello, {"worker_tmp_dir": "/dev/shm"})
    assert "Warning: worker_tmp_dir (load_config()) is ignored" in capsys.readouterr().err
    read(application, tmp_path)
    warnings: list[str] = []
    application.read_config(warnings.append, str(tmp_path))
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("workers", 0, "workers = 0 (load_config()): must be "),
        ("permit_obsolete_folding", True, "permit_obsolete_folding = True (load_config()): "),
    ],
)
def test_a_mistake_ends_the_process(
    name: str, value: object, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        Standalone(hello, {name: value})
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith(f"Error: {words}")


def test_a_mistake_at_a_reload_is_for_the_master(tmp_path: Path) -> None:
    application = Standalone(hello)
    read(application, tmp_path)
    application.options["workers"] = 0
    with pytest.raises(ConfigError):
        read(application, tmp_path)


def test_a_name_that_is_no_setting() -> None:
    class Typo(Standalone):
        def load_config(self) -> None:
            with pytest.raises(ConfigError, match="worker, which is not a setting; did you mean workers"):
                self.cfg.set("worker", 2)
            with pytest.raises(AttributeError, match="there is no setting worker"):
                _ = self.cfg.worker
            with pytest.raises(AttributeError):
                _ = self.cfg._worker

    Typo(hello)


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(2)])
def test_a_load_that_fails_is_told_as_of_any_app(error: BaseException, tmp_path: Path) -> None:
    class Broken(Standalone):
        def load(self) -> Any:
            raise error

    broken: Any = Broken(hello)
    with pytest.raises(AppImportError, match=type(error).__name__) as caught:
        apps.load(broken)
    assert caught.value.__cause__ is error
    assert "raise error" in apps.explain(caught.value)


def test_a_load_by_name_that_fails_is_told_as_it_is() -> None:
    class Named(Standalone):
        def load(self) -> Any:
            return apps.load("no_such_module_at_all:app")

    with pytest.raises(AppImportError, match=r"^cannot load 'no_such_module_at_all:app'"):
        apps.load(Named(hello))


def test_without_load_there_is_no_app() -> None:
    with pytest.raises(AppImportError, match="NotImplementedError"):
        apps.load(fastwsgi.Application())


def test_run_leaves_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    application = Standalone(hello, {"bind": "unix:/nowhere/socket"})
    with pytest.raises(SystemExit) as caught:
        application.run()
    assert caught.value.code == 1
    assert "/nowhere' does not exist" in capsys.readouterr().err


def test_what_hooks_read_from_the_configuration() -> None:
    cfg = Config(raw_env=("A=1", "B=x=y"), certfile="c.pem", threads=4)
    assert cfg.address == [("127.0.0.1", 8000)]
    assert Config(bind=("[::1]:80", "unix:/run/a", "fd://3")).address == [("::1", 80), "/run/a", 3]
    assert cfg.env == {"A": "1", "B": "x=y"}
    assert cfg.is_ssl
    assert cfg.worker_class_str == "gthread"
    assert not Config().is_ssl
    assert Config().worker_class_str == "sync"
    assert cfg.settings.keys() == BY_NAME.keys()
    assert cfg.settings["threads"].value == cfg.settings["threads"].get() == 4
    assert cfg.settings["threads"].default == 1


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Applications'"):
        _ = fastwsgi.Applications  # type: ignore[attr-defined]
