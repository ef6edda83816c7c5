"""docs/http.md is held to the code: its examples are sent, and the statuses and settings that it names are there."""

from __future__ import annotations

import re

import pytest

from fastwsgi import http11
from fastwsgi.config.settings import SETTINGS
from tests.live import ROOT
from tests.unit.test_corpus import feed

PAGE = (ROOT / "docs" / "http.md").read_text()


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table below a title, without its head."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def request(example: str) -> bytes:
    """Return the request of an example: a request line, fields, or a chunked body, whichever its words are."""
    line, fields, body = "GET / HTTP/1.1", [], ""
    words = [word.encode().decode("unicode_escape") for word in re.findall(r"`([^`]+)`", example)]
    for word in words:
        if word == "\r\n":
            line = word + line
        elif re.search(r" HTTP/\S+$", word):
            line = word
        elif "\r\n" in word:
            fields, body = ["Transfer-Encoding: chunked"], word
        else:
            fields.append(word)
    lengths = [field for field in fields if field.startswith("Content-Length")]
    if lengths or any(field.startswith("Expect") for field in fields):
        body = "hello"
        if not lengths:
            fields.append("Content-Length: 5")
    if "Host: a" not in fields and not line.endswith("1.0"):
        fields.insert(0, "Host: a")
    return "\r\n".join([line, *fields, "", body]).encode("latin-1")


SERVED, REFUSED = rows("What is served"), rows("What is refused")


@pytest.mark.parametrize("row", SERVED, ids=lambda row: row[2])
def test_what_is_served(row: list[str]) -> None:
    found, connection = feed([request(row[2])])
    assert connection.error is None
    assert len(found) == 1


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[3])
def test_what_is_refused(row: list[str]) -> None:
    found, connection = feed([request(row[3])])
    assert found == []
    assert connection.error is not None
    assert connection.error.status == int(row[1])


def test_there_are_examples() -> None:
    assert len(SERVED) > 10
    assert len(REFUSED) > 15


def test_all_our_statuses_are_named() -> None:
    named = {int(code) for code in re.findall(r"(?<![:\d])[45]\d\d(?![\d,]| requests)", PAGE)}
    assert named - {416} == set(http11.REASONS)


def test_settings_exist() -> None:
    names = {setting.name for setting in SETTINGS}
    for name in re.findall(r"`((?:limit|header|body|write|request)_[a-z_]+|keepalive)`", PAGE):
        assert name in names, name
