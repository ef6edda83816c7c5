"""Loading applications: every way to name one, and what each mistake is answered with."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import app as loading
from fastwsgi.errors import AppImportError

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = str(Path(__file__).parents[1] / "apps")


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [str(tmp_path), APPS, *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def write(directory: Path, name: str, text: str = "") -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()


def failure(spec: Any) -> AppImportError:
    with pytest.raises(AppImportError) as caught:
        loading.load(spec)
    assert "\n" not in str(caught.value)
    return caught.value


# --- what loads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("loading", "function"),
        ("loading:app", "function"),
        (" loading:app ", "function"),
        ("loading:AppClass", "type"),
        ("loading:site", "Site"),
        ("loading:site.inner", "function"),
        ("loading:wrapped", "function"),
        ("loading:create_app()", "Site"),
        ("loading:Site()", "Site"),
    ],
)
def test_load(spec: str, kind: str) -> None:
    assert type(loading.load(spec)).__name__ == kind


def test_application_goes_before_app(tmp_path: Path) -> None:
    write(tmp_path, "both.py", "def app(e, s): pass\ndef application(e, s): pass")
    assert loading.load("both").__name__ == "application"


def test_a_module_in_a_package(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py")
    write(tmp_path, "pkg/wsgi.py", "def application(e, s): pass")
    assert loading.load("pkg.wsgi") is loading.load("pkg.wsgi:application")


def test_a_module_whose_name_is_not_an_identifier(tmp_path: Path) -> None:
    write(tmp_path, "my-site.py", "def app(e, s): pass")
    assert callable(loading.load("my-site:app"))


def test_factory_arguments() -> None:
    site: Any = loading.load("loading:create_app('it''s', debug=True)")
    assert site.made_with == ("its", True)


def test_a_callable_is_taken_as_it_is() -> None:
    site = loading.load("loading:site")
    assert loading.load(site) is site


# --- what does not --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("loading.py", "that is a path, not the name of a module; did you mean loading:app?"),
        ("loading.py:site", "did you mean loading:site?"),
        ("pkg/wsgi.py", "did you mean pkg.wsgi:app?"),
        ("./pkg/wsgi.py", "did you mean pkg.wsgi:app?"),
        ("pkg/", "did you mean pkg:app?"),
        ("pkg/wsgi", "did you mean pkg.wsgi:app?"),
        ("", "the name must look like module:app"),
        (":app", "the name must look like module:app"),
        ("my app", "the name must look like module:app"),
        ("my-app", "there is no module my-app in "),
        ("a..b", "the name must look like module:app"),
        ("nowhere", "there is no module nowhere in "),
        ("nowhere.deep", "there is no module nowhere in "),
        (
            "loading.app",
            "loading is a module, not a package, and has no module app in it; did you mean loading:app?",
        ),
        ("loading.nothing", "loading is a module, not a package, and has no module nothing in it"),
        ("loading:ap", "loading has no attribute ap; did you mean loading:app?"),
        ("loading:application", "loading has no attribute application; did you mean loading:create_app()?"),
        ("loading:zzz", "loading has no attribute zzz; it has app, asgi, from_request, wrapped, create_app"),
        ("loading:site.nothing", "a Site has no attribute nothing"),
        ("loading:number", "it is an int, not a callable"),
        ("loading:make_nothing()", "it is None, not a callable"),
        ("loading:number()", "number is an int, which cannot be called"),
        (
            "loading:make_nothing",
            "it takes no arguments, as a factory does; did you mean loading:make_nothing()?",
        ),
        ("loading:one_argument", "it cannot be called with environ and start_response: "),
        ("loading:create_app(1, 2)", "the factory does not take these arguments: too many positional"),
        ("loading:create_app(number)", "only literal values may be given to a factory"),
        ("loading:create_app(", "after the colon comes a name, or a call such as create_app()"),
        ("loading:1", "after the colon comes a name, or a call such as create_app()"),
        ("loading:app:app", "after the colon comes a name, or a call such as create_app()"),
        ("loading:asgi", "it is async (ASGI); fastwsgi serves WSGI applications"),
        ("loading:asgi_site", "it is async (ASGI); fastwsgi serves WSGI applications"),
        ("loading:broken_factory()", "the factory failed: RuntimeError: no database at all ("),
    ],
)
def test_mistakes(spec: str, message: str) -> None:
    text = str(failure(spec))
    assert text.startswith("cannot load ")
    assert message in text


def test_a_callable_that_is_no_wsgi_application() -> None:
    assert "it is async (ASGI)" in str(failure(_asgi))


async def _asgi(scope: object, receive: object, send: object) -> None: ...


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "other has neither application nor app"),
        ("x = 1", "other has neither application nor app"),
        ("def create_app(): pass", "; did you mean other:create_app()?"),
        ("def appl(e, s): pass", "; it has appl"),
        ("def wsgi(e, s): pass", "; it has wsgi"),
        ("from os.path import join\nimport json", "other has neither application nor app"),
    ],
)
def test_no_application_in_the_module(tmp_path: Path, text: str, hint: str) -> None:
    write(tmp_path, "other.py", text)
    assert str(failure("other")).endswith(hint)


def test_a_file_that_defines_application(tmp_path: Path) -> None:
    write(tmp_path, "wsgi.py", "import os\napplication = 1\n")
    assert "did you mean wsgi:application?" in str(failure("wsgi.py"))


def test_a_near_name_in_the_directory(tmp_path: Path) -> None:
    write(tmp_path, "mysite.py")
    write(tmp_path, "shop/__init__.py")
    write(tmp_path, "shop/wsgi.py")
    assert "there is no module mysit; did you mean mysite?" in str(failure("mysit:app"))
    assert "there is no module shp; did you mean shop.wsgi?" in str(failure("shp.wsgi"))
    assert "there is no module shop.wsg; did you mean shop.wsgi?" in str(failure("shop.wsg"))


# --- errors of the application itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all' ({}:1)"),
        ("\n1 / 0", "ZeroDivisionError: division by zero ({}:2)"),
        ("def f(:\n", "SyntaxError: "),
        ("import sys; sys.exit('bye')", "SystemExit: bye ({}:1)"),
        ("from json import nothing", "ImportError: cannot import name 'nothing'"),
    ],
)
def test_an_error_in_the_module_is_shown_with_its_traceback(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "faulty.py", text)
    exc = failure("faulty:app")
    assert f"faulty failed to import: {message.format(tmp_path / 'faulty.py')}" in str(exc)
    assert exc.__cause__ is not None
    shown = loading.explain(exc)
    assert shown.startswith(str(exc))
    assert "importlib" not in shown
    assert loading.__file__ not in shown
    assert str(tmp_path / "faulty.py") in shown


def test_an_error_below_the_module_names_the_innermost_place(tmp_path: Path) -> None:
    write(tmp_path, "outer.py", "import inner\n")
    write(tmp_path, "inner.py", "\n\nraise OSError('x')\n")
    exc = failure("outer")
    assert f"OSError: x ({tmp_path / 'inner.py'}:3)" in str(exc)
    shown = loading.explain(exc)
    assert shown.index("outer.py") < shown.index('inner.py", line 3')


def test_explain_without_a_cause_is_one_line() -> None:
    assert loading.explain(failure("nowhere")).count("\n") == 0


# --- where modules come from ----------------------------------------------------------------------------


def test_set_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, lib = tmp_path / "site", tmp_path / "lib"
    site.mkdir()
    monkeypatch.setattr(sys, "path", ["first", str(site), "last"])
    for _ in range(2):
        loading.set_paths(str(site), f"{lib}, ../more")
        assert Path.cwd() == site
        assert sys.path == [str(site), str(lib), str(site / "../more"), "first", "last"]


def test_the_working_directory_wins_over_pythonpath(tmp_path: Path) -> None:
    write(tmp_path, "site/where.py", "def app(e, s): pass\napp.place = 'site'")
    write(tmp_path, "lib/where.py", "def app(e, s): pass\napp.place = 'lib'")
    loading.set_paths(str(tmp_path / "site"), str(tmp_path / "lib"))
    assert loading.load("where").place == "site"  # type: ignore[attr-defined]
