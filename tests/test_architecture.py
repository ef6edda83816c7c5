"""The house: every module imports only from the floors below, and stays readable."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = ROOT / "fastwsgi"
FLOORS = {
    0: "http11 errors states config.addresses config.kinds config.legacy config.settings",
    1: "master.actions master.phases master.backoff master.roster master.succession master.supervision"
    " networks hops forwarding proxy_header client_certificate"
    " request policy llhttp _parser_py _octets _memory _parser _serializer_py _serializer"
    " deadlines body chunked endpoint wsgi response connection hooks.views",
    2: "gil green stacks _io_py _io _places_py _places _lock_py _lock _courier_py _courier"
    " logs.access_format _lines_py _lines _impl processes.stdio processes.signals processes.fork processes.title"
    " processes.report processes.memory processes.pidfile processes.environment processes.socket_file processes.root_file"
    " processes.identity processes.daemon processes.watcher processes.sockets processes.origin processes.launch"
    " processes.systemd processes.scoreboard processes.in_flight"
    " logs.log_file logs.access_log logs.logconfig logs.statsd logs.syslog"
    " logs.captured_output logs.logger logs.error_log logs.request_log"
    " app hooks.actors hooks.calls hooks.observer config.command_line config.config_file config.cpus config.sources"
    " config.draft tls files offspring",
    3: "crew tunnel handover runner seats acceptor channel stream reception loop waiting overdue engine parallel",
    4: "worker",
    5: "master.hands master.certificates master.generation master.upgrade master.herald master.figures master.master",
    6: "__main__ application __init__",
}
FLOOR = {module: floor for floor, modules in FLOORS.items() for module in modules.split()}
# On floors 1 to 3 modules build on each other: one may import those written before it.
ORDER = {module: place for place, module in enumerate(FLOOR)}
OUTSIDE = {
    "socket",
    "select",
    "selectors",
    "os",
    "ssl",
    "time",
    "threading",
    "signal",
    "logging",
    "tempfile",
    "subprocess",
    "gevent",
}
VAGUE = {"util", "utils", "helpers", "common", "base", "core", "misc"}
SOURCES = sorted(PACKAGE.rglob("*.py"))
CYTHON = sorted([*PACKAGE.glob("*.pyx"), *PACKAGE.glob("*.pxd")])
ALL_SOURCES = sorted(
    [*SOURCES, *PACKAGE.glob("*.pyx"), *PACKAGE.glob("*.pxd"), *PACKAGE.glob("*.pyi"), *PACKAGE.glob("*.h")]
)
TAG = re.compile(r"RFC \d{4}(?: §\d+(?:\.\d+)*)?(?![\d§])")
OLD_RFCS = {"2616": "9110", "7230": "9112", "7231": "9110", "7232": "9110", "7233": "9110", "7235": "9110"}


def name(path: Path) -> str:
    """Return the name of a module within the package: `master.supervision`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(path: Path) -> Iterator[str]:
    """Yield every module that a source file imports, wherever: `.x` for one of ours, else its top name."""
    if path.suffix in {".pyx", ".pxd"}:
        for module, names in re.findall(
            r"^ *from (\.?[\w.]*) c?import ([\w, ]+)", path.read_text(), re.MULTILINE
        ):
            if not module.startswith("."):
                yield module.partition(".")[0]
            elif PACKAGE.joinpath(*module[1:].split(".")).is_dir():
                yield from (f"{module.rstrip('.')}.{name.strip()}" for name in names.split(","))
            else:
                yield module
        return
    here = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield str(node.module).partition(".")[0]
                continue
            parts = [*here[: len(here) - node.level], *(node.module.split(".") if node.module else [])]
            if PACKAGE.joinpath(*parts).is_dir():  # what is imported of a folder are modules
                yield from (".".join(["", *parts, alias.name]) for alias in node.names)
            else:
                yield ".".join(["", *parts])


def is_folder(path: Path) -> bool:
    """Return whether a source is that of a folder, which only says what is in it."""
    return path.stem == "__init__" and path.parent != PACKAGE


@pytest.mark.parametrize("path", [*SOURCES, *CYTHON], ids=name)
def test_imports_only_from_below(path: Path) -> None:
    if is_folder(path):
        assert list(imported(path)) == []
    module = name(path)
    for other in imported(path):
        if other.startswith(".") and other != ".__version__":
            below = other[1:]
            assert below in FLOOR, f"{path.name} imports {below}, which has no floor"
            assert ORDER[below] < ORDER[module], (
                f"{module} (floor {FLOOR[module]}) imports {below} from no lower place"
            )
        else:
            assert other != "fastwsgi", f"{path.name}: import relatively"


@pytest.mark.parametrize("floor", FLOORS)
def test_the_design_has_the_same_floors(floor: int) -> None:
    """In docs/design.md a folder whose modules are all on one floor, or nearly so, is named as `processes.*`."""
    page = (ROOT / "docs" / "design.md").read_text()
    row = re.search(rf"^\| {floor} [^|]+\|([^|]+)\|", page, re.MULTILINE)
    assert row
    written = set(re.findall(r"`([\w.*]+)`", row[1]))
    modules = set(FLOORS[floor].split())
    assert {module for module in written if "*" not in module} <= modules
    assert {module for module in modules - written if f"{module.partition('.')[0]}.*" not in written} == set()


@pytest.mark.parametrize("path", [*SOURCES, *CYTHON], ids=name)
def test_low_floors_are_sans_io(path: Path) -> None:
    if FLOOR.get(name(path), 6) <= 1:
        assert not OUTSIDE & set(imported(path)), path.stem


@pytest.mark.parametrize("path", ALL_SOURCES, ids=lambda path: path.name)
def test_shape(path: Path) -> None:
    text = path.read_text()
    assert name(path) in FLOOR or path.suffix == ".h" or is_folder(path), (
        "a module without a floor: give it one here, and in docs/design.md"
    )
    assert path.stem.strip("_") not in VAGUE
    assert len(text.splitlines()) <= 500
    if path.suffix == ".py":
        assert ast.get_docstring(ast.parse(text)), "a module says what it owns"


@pytest.mark.parametrize(
    "path", [*ALL_SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda path: path.name
)
def test_standards_are_cited_by_section(path: Path) -> None:
    text = path.read_text()
    for match in re.finditer(r"RFC[ -]?\d{4}[^\n]{0,12}", text):
        tag = TAG.match(match[0])
        assert tag, f"{match[0]!r}: write it as RFC 9112 §6.3"
        number = tag[0][4:8]
        assert number not in OLD_RFCS, f"{match[0]!r} is obsoleted by RFC {OLD_RFCS[number]}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_alone(path: Path) -> None:
    """In a fresh interpreter, with warnings as errors: no cycle that another module's import hides."""
    module = f"fastwsgi.{name(path)}".removesuffix(".__init__")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_importing_the_package_loads_the_switch_and_next_to_nothing() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import fastwsgi; print([m for m in sys.modules if m.startswith('fastwsgi.')])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fastwsgi._impl', 'fastwsgi.processes', 'fastwsgi.processes.origin']"


def test_twins_have_the_same_words() -> None:
    """A constant is written once: both twins read it, neither repeats it."""
    for twin in PACKAGE.glob("*.pyx"):
        assert (PACKAGE / f"{twin.stem}_py.py").exists(), twin.name
        assert (PACKAGE / f"{twin.stem}.pyi").exists(), f"{twin.name} has no stub"


def test_every_typed_source_is_in_the_switch() -> None:
    from fastwsgi import _impl

    assert {path.stem for path in PACKAGE.glob("*.pyx")} == set(_impl.TWINS)
    typed = {path.stem for path in PACKAGE.glob("*.pxd") if path.with_suffix(".py").exists()}
    assert typed == set(_impl.ONE_SOURCE)


def test_every_citation_has_a_test() -> None:
    """A branch decided by a standard is tested under the same tag."""
    cited = {
        tag: path.name
        for path in ALL_SOURCES
        for tag in re.findall(r"RFC \d{4} §\d+(?:\.\d+)*", path.read_text())
    }
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    untested = {
        tag: where for tag, where in cited.items() if not re.search(re.escape(tag) + r"(?!\d)", tests)
    }
    assert not untested
