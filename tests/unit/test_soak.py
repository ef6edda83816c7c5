"""A soak tells what must not be, and only that: its accounts of requests and lines, its rule for memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.soak.accounting import LEFT, REFUSED, UNTAKEN, Ledger
from tests.soak.measuring import growth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Books:
    """A ledger, and the log that it is to agree with."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger("s0")
        self._path = path

    def log(self, *lines: str) -> None:
        self._path.write_text("".join(f"<7> {line}\n" for line in lines))
        self.ledger.read(self._path)

    def ask(self) -> str:
        return self.ledger.issue().decode()

    def answer(self, token: str, status: int = 200, nbytes: int = 5, worker: int = 7) -> None:
        self.ledger.answered(token.encode(), "page", status, worker, nbytes)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "access.log")


def test_all_is_well(books: Books) -> None:
    before, after, cut = books.ask(), books.ask(), books.ask()
    books.log(f"200 5 {before} GET /", "400 16  - -")
    for token in (before, after):
        books.answer(token)
    books.ledger.left(cut.encode())
    books.ledger.refused(400)
    books.log(f"200 5 {after} GET /")
    assert books.ledger.close() == []


WRONG: dict[str, tuple[list[str], str]] = {
    "no line": (["answer"], "no line for b's0-1.'"),
    "another status": (["500 5 s0-1. GET /", "answer"], "its line has 500"),
    "another size": (["answer", "200 4 s0-1. GET /"], "its line has 200 and 4 bytes"),
    "two lines": (["answer", *["200 5 s0-1. GET /"] * 2], "a second line"),
    "two lines before the answer": ([*["200 5 s0-1. GET /"] * 2, "answer"], "a second line"),
    "a line for what was not to be read": (["untaken", "200 5 s0-1. GET /"], "came behind the last"),
    "a broken line": (["left", "200"], "is broken"),
    "smuggled": (["left", "200 5 s0-1. GET /smuggled"], "smuggled"),
    "a refusal without a line": (["refused"], "1 were refused with 400, 0 have a line"),
    "a line of no refusal": (["left", "400 5 - - -"], "1 lines of refused requests, and 0"),
    "no fate": ([], "without a fate"),
    "lost": (["lost"], "reset"),
}
"""What is done with a request, and which lines there are, one after the other; and what is told of it."""


@pytest.mark.parametrize("what", WRONG)
def test_what_must_not_be(books: Books, what: str) -> None:
    steps, text = WRONG[what]
    token, ledger = books.ask(), books.ledger
    for step in steps:
        if step == "answer":
            books.answer(token)
        elif step in {"left", "untaken"}:
            ledger.left(token.encode(), UNTAKEN if step == "untaken" else LEFT)
        elif step == "refused":
            ledger.refused(400, token.encode())
        elif step == "lost":
            ledger.lost([token.encode()], "reset", since=0)
        else:
            books.log(step)
    (found,) = ledger.close()
    assert text in found


@pytest.mark.parametrize("line", [True, False])
@pytest.mark.parametrize("fate", [LEFT, REFUSED])
def test_a_line_that_may_be(books: Books, fate: int, line: bool) -> None:
    books.ledger.left(books.ask().encode(), fate)
    books.ledger.unseen()
    if line:
        books.log("200 5 s0-1. GET /")
    assert books.ledger.close() == []


def test_a_death_excuses_what_its_worker_had(books: Books) -> None:
    answered, lost = books.ledger.issue(), books.ledger.issue()
    books.ledger.answered(answered, "page", 200, 7)
    books.ledger.expect_death(7)
    books.ledger.lost([lost], "reset", since=0, worker=7)
    assert books.ledger.close() == []
    assert (books.ledger.lines_excused, books.ledger.excused.total()) == (1, 1)


def test_a_death_excuses_nothing_of_others(books: Books) -> None:
    answered, lost = books.ledger.issue(), books.ledger.issue()
    books.ledger.answered(answered, "page", 200, 8)
    books.ledger.expect_death(7)
    books.ledger.lost([lost], "reset", since=0, worker=8)
    assert len(books.ledger.close()) == 2


@pytest.mark.parametrize(
    ("value", "grows"),
    [
        pytest.param(lambda _: 20_000.0, False, id="flat"),
        pytest.param(lambda second: 20_000.0 + 5000 * (second % 20 == 0), False, id="peaks"),
        pytest.param(lambda second: 20_000.0 + min(second, 50) * 500, False, id="warming up"),
        pytest.param(lambda second: 20_000.0 + second * 20, True, id="leak"),
        pytest.param(
            lambda second: 20_000.0 + second * 20 + 9000 * (second % 6 == 0), True, id="leak and peaks"
        ),
        pytest.param(lambda second: 20_000.0 - second * 20, False, id="shrinks"),
    ],
)
def test_what_grows(value: Callable[[int], float], grows: bool) -> None:
    judged = growth([(second, value(second)) for second in range(0, 180, 2)])
    assert judged
    assert judged.exceeds(500) == grows


def test_too_short_a_life_is_not_judged() -> None:
    assert growth([(second, 0.0) for second in range(0, 45, 2)]) is None
    assert growth([]) is None
