"""What the pages say is there: links, make targets, options; and no word of installing a name from an index."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import pytest

from fastwsgi.config.settings import SETTINGS
from tests.live import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(path: Path) -> str:
    return path.name


def code(text: str) -> str:
    """Return what stands in backquotes, inline and in blocks."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", code(page.read_text())))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tests_exist(page: Path) -> None:
    """A promise names the tests that show it: files, and functions in them."""
    for path, function in re.findall(r"`(tests/[\w/.-]+)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / path).exists(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text(), function


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_nobody_is_told_to_install_the_name(page: Path) -> None:
    """The name belongs to another project on the public index: a checkout or a wheel file, never the name."""
    assert not re.search(
        r"\b(pip|uv|pipx|conda)\b[^\n`]*\b(install|add)\b[^\n`]* fastwsgi(?![/\w-])", page.read_text()
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_exist(page: Path) -> None:
    flags = {flag for setting in SETTINGS for flag in setting.flags} | {"--version", "--help"}
    for line in page.read_text().splitlines():
        for command in re.findall(r"\bfastwsgi [^`|;]*", line):
            for flag in re.findall(r"(?<=\s)--[a-z][a-z_-]+", command):
                assert flag in flags, line


def test_the_settings_page_is_that_of_the_table() -> None:
    spec = importlib.util.spec_from_file_location("write_settings", ROOT / "docs" / "write_settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "settings.md").read_text() == module.page(), "run `make docs`"
