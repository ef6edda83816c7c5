"""Which files count for --reload."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import pytest

from fastwsgi import gil
from fastwsgi.config import sources
from fastwsgi.errors import ConfigError
from fastwsgi.processes.watcher import Sources, Watcher

if TYPE_CHECKING:
    from pathlib import Path

if not os.environ.get("CI") or gil.is_optional():  # in CI, `make` has installed it
    pytest.importorskip(
        "watchfiles", reason="watchfiles is not installed; free-threaded Pythons cannot have it"
    )


def of(folder: Path, **settings: object) -> Sources:
    return Sources(sources.from_keywords({"chdir": os.fspath(folder), **settings}, {}, os.fspath(folder)))


def test_python_files_below_the_apps_folders(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there, here / "inner"):
        folder.mkdir()
    found = of(here, pythonpath=f"../there, {here}/inner")
    assert found.trees == [str(here), str(there)]
    assert found.folders == []
    for path in ("here/app.py", "here/inner/deep/models.py", "there/lib.py"):
        assert found.contain(str(tmp_path / path)), path
    for path in ("other/app.py", "here/db.sqlite3", "herein/app.py", "here/app.pyc"):
        assert not found.contain(str(tmp_path / path)), path


@pytest.mark.parametrize(
    "path", ["__pycache__/app.cpython-311.pyc", ".git/hooks/x.py", "inner/.git/x.py", ".#app.py", "app.py~"]
)
def test_caches_repositories_and_editors_do_not_count(tmp_path: Path, path: str) -> None:
    assert not of(tmp_path, reload_extra_files=[str(tmp_path)]).contain(str(tmp_path / path))


def test_where_the_project_lies_does_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / ".venv" / "project"
    folder.mkdir(parents=True)
    assert of(folder).contain(str(folder / "app.py"))


def test_extra_files_folders_and_globs(tmp_path: Path) -> None:
    app, data = tmp_path / "app", tmp_path / "da[t]a"
    (app / "templates" / "mail").mkdir(parents=True)
    data.mkdir()
    extra = ["settings.toml", "templates", "locale/*/*.mo", "static/**/*.css", str(data), "../.env"]
    found = of(app, reload_extra_files=extra)
    # The folder of locale/ and static/ does not exist yet, and is the app's own.
    assert found.trees == [str(app), str(data)]
    assert found.folders == [str(tmp_path)]
    counted = (
        "app/settings.toml",
        "app/templates/mail/welcome.txt",
        "app/locale/de/site.mo",
        "app/static/site.css",
        "app/static/a/b/site.css",
        "da[t]a/words.json",
        ".env",
    )
    for path in counted:
        assert found.contain(str(tmp_path / path)), path
    for path in ("app/locale/site.mo", "app/locale/a/b/site.mo", "app/x.toml", "data/words.json", "x.py"):
        assert not found.contain(str(tmp_path / path)), path


def test_the_servers_own_files_do_not_count(tmp_path: Path) -> None:
    ours = {"errorlog": "error.log", "accesslog": "log/access.log", "pidfile": "pid"}
    found = of(tmp_path, reload_extra_files=["."], **ours)
    for path in ours.values():
        assert not found.contain(str(tmp_path / path)), path
    assert found.contain(str(tmp_path / "log" / "else.log"))


def test_the_configuration_file_counts(tmp_path: Path) -> None:
    from fastwsgi.config.command_line import parse_arguments

    (tmp_path / "app").mkdir()
    (tmp_path / "conf.py").write_text("reload = True\n")
    arguments = parse_arguments(["-c", "conf.py", "--chdir", "app", "module:app"])
    cfg = sources.load(arguments, {}, os.fspath(tmp_path))
    found = Sources(cfg)
    assert found.folders == [str(tmp_path)]
    assert found.contain(str(tmp_path / "conf.py"))
    assert not found.contain(str(tmp_path / "other.py"))


def test_without_watchfiles_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    cfg = sources.from_keywords({"reload": True}, {}, os.fspath(tmp_path))
    with pytest.raises(ConfigError, match=r"reload = True \(serve\(\)\): watchfiles is not installed; pip"):
        Watcher(cfg, None, lambda: None)  # type: ignore[arg-type]
