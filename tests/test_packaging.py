"""The switch between compiled and pure, what happens without dependencies, and what a wheel holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import fastwsgi
from fastwsgi import _impl
from tests.live import ROOT, LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
BUILT = (ROOT / "fastwsgi" / f"_parser{SUFFIX}").exists()
needs_extensions = pytest.mark.skipif(not BUILT, reason="a pure build: there are no extensions to choose")
ALL_MODULES = (*_impl.TWINS, *_impl.ONE_SOURCE)
SHOW = "from fastwsgi import _impl, connection, loop; print(_impl.compiled, _impl.Parser.__module__, connection.__file__, loop.__file__)"


# An editable installation finds modules that are missing in a copy: these tests look at the copy alone.
ALONE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(getattr(finder, "__module__", ""))]
"""


def run(code: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("FASTWSGI_")}
    environ |= {"PYTHONPATH": os.fspath(folder), **variables}
    return subprocess.run(
        [sys.executable, "-c", ALONE + code],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def copy_package(folder: Path) -> Path:
    """Return a copy of the package, extensions as links, to be broken."""
    package = folder / "fastwsgi"
    package.mkdir()
    for path in (ROOT / "fastwsgi").iterdir():
        is_source = path.suffix == ".py" or (path / "__init__.py").exists()
        if is_source or path.name.endswith(SUFFIX):
            (package / path.name).symlink_to(path)
    return package


@needs_extensions
def test_compiled_is_the_default() -> None:
    compiled, parser, *files = run(SHOW).stdout.split()
    assert compiled == "True"
    assert parser == "fastwsgi._parser"
    assert all(file.endswith(SUFFIX) for file in files)


@needs_extensions
def test_every_module_is_compiled() -> None:
    for module in ALL_MODULES:
        assert (ROOT / "fastwsgi" / f"{module}{SUFFIX}").exists(), module


def test_no_extensions_is_all_pure() -> None:
    done = run(
        SHOW
        + "; import sys; print([m.__file__ for n, m in sys.modules.items() if n.startswith('fastwsgi.')])",
        FASTWSGI_NO_EXTENSIONS="1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["False", "fastwsgi._parser_py"]
    assert SUFFIX not in done.stdout


def test_this_run_tests_what_it_says() -> None:
    wants_pure = os.environ.get("FASTWSGI_NO_EXTENSIONS", "") not in ("", "0")
    assert _impl.compiled == (BUILT and not wants_pure)


@needs_extensions
@pytest.mark.parametrize("module", ["_parser", "_io", "connection"])
def test_broken_extension_is_an_error(tmp_path: Path, module: str) -> None:
    """Never a silent fallback: that would be found by the bill for the servers."""
    broken = copy_package(tmp_path) / f"{module}{SUFFIX}"
    broken.unlink()
    broken.write_bytes(b"this is no shared object")
    done = run(SHOW, tmp_path)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    # The command line says it in one line, with the remedy.
    served = run(
        "import sys; from fastwsgi.__main__ import main; sys.exit(main(['examples.hello:app']))", tmp_path
    )
    assert served.returncode == 1
    assert served.stderr.startswith("Error: the server's own modules do not load (")
    assert served.stderr.count("\n") == 1
    # Asked for pure, it is not even looked at.
    assert run(SHOW, tmp_path, FASTWSGI_NO_EXTENSIONS="1").returncode == 0


@needs_extensions
def test_some_missing_is_an_error(tmp_path: Path) -> None:
    (copy_package(tmp_path) / f"_io{SUFFIX}").unlink()
    done = run(SHOW, tmp_path)
    assert done.returncode != 0
    assert "_io" in done.stderr


def test_all_missing_is_pure_unless_required(tmp_path: Path) -> None:
    package = copy_package(tmp_path)
    for path in package.glob(f"*{SUFFIX}"):
        path.unlink()
    assert run(SHOW, tmp_path).stdout.startswith("False ")
    done = run(SHOW, tmp_path, FASTWSGI_REQUIRE_EXTENSIONS="1")
    assert done.returncode != 0
    assert "compiled modules missing" in done.stderr


def test_contradiction_is_an_error() -> None:
    done = run(SHOW, FASTWSGI_NO_EXTENSIONS="1", FASTWSGI_REQUIRE_EXTENSIONS="1")
    assert done.returncode != 0
    assert "contradict" in done.stderr


def test_version_and_boot_log_name_the_implementation(live: Callable[..., LiveServer]) -> None:
    word = "compiled" if _impl.compiled else "pure Python"
    done = subprocess.run(
        [sys.executable, "-m", "fastwsgi", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert fastwsgi.__version__ in done.stdout
    assert word in done.stdout
    assert word in live("examples.hello:app").log.text


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("httptools", "setproctitle"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def test_pure_serves_without_dependencies(tmp_path: Path) -> None:
    """Neither httptools nor setproctitle: every process of the server is kept from importing them."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    variables = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "FASTWSGI_NO_EXTENSIONS": "1",
        "FASTWSGI_REQUIRE_EXTENSIONS": None,
    }
    with LiveServer("tests.apps.echo:app", env=variables) as running:
        assert running.get("/x").status == 200
        assert running.request(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").status == 400
        assert "pure Python" in running.log.text
    check = run("import httptools", tmp_path)
    assert "ModuleNotFoundError" in check.stderr


def test_version_is_read_not_imported() -> None:
    source = (ROOT / "fastwsgi" / "__init__.py").read_text()
    assert re.search(rf'^__version__ = "{re.escape(fastwsgi.__version__)}"$', source, re.MULTILINE)


# --- distributions ------------------------------------------------------------------------------------


def build(kind: str, out: Path) -> Path:
    """Build from a copy of what git would have, with what is installed: no index is asked."""
    source = out / "source"
    source.mkdir()
    for entry in (
        "fastwsgi",
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "tests",
        "examples",
    ):
        path = ROOT / entry
        if path.is_dir():
            for file in path.rglob("*"):
                if (
                    file.is_file()
                    and "__pycache__" not in file.parts
                    and file.suffix not in {".so", ".c", ".html"}
                ):
                    copy = source / file.relative_to(ROOT)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(file.read_bytes())
        elif path.exists():
            (source / entry).write_bytes(path.read_bytes())
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({os.fspath(out)!r}))"
    done = run(code, source, FASTWSGI_NO_EXTENSIONS="1")
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


def test_wheel(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="needs setuptools, as `make` installs it")
    wheel = build("wheel", tmp_path)
    assert wheel.name == f"fastwsgi-{fastwsgi.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"fastwsgi-{fastwsgi.__version__}.dist-info/METADATA").decode()
        scripts = archive.read(f"fastwsgi-{fastwsgi.__version__}.dist-info/entry_points.txt").decode()
    package = ROOT / "fastwsgi"
    for pattern in ("*.py", "*.pyi", "*.pxd", "py.typed"):
        for path in package.glob(pattern):
            assert f"fastwsgi/{path.name}" in names
    assert {name.partition("/")[0] for name in names} == {
        "fastwsgi",
        f"fastwsgi-{fastwsgi.__version__}.dist-info",
    }
    assert not [name for name in names if name.endswith((".pyx", ".c", ".so", ".html"))]
    assert f"fastwsgi-{fastwsgi.__version__}.dist-info/licenses/LICENSE" in names
    assert "Requires-Dist: httptools" in metadata
    assert "Requires-Dist: setproctitle" in metadata
    assert "Requires-Python: >=3.10" in metadata
    assert "fastwsgi = fastwsgi.__main__:main" in scripts


def test_source_distribution(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="needs setuptools, as `make` installs it")
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in (ROOT / "fastwsgi").iterdir():
        if path.suffix in {".py", ".pyx", ".pxd", ".pyi", ".h"}:
            assert f"fastwsgi/{path.name}" in names
    assert "tests/live.py" in names
    assert "tests/corpus/valid/001-get.http" in names
    assert not [name for name in names if name.endswith((".so", ".html")) and name.startswith("fastwsgi/")]
    assert not [name for name in names if name.startswith(("fastwsgi/", "build/")) and name.endswith(".c")]
