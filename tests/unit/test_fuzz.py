"""The targets of `make fuzz` on what they start from, and on mutations of it: the same comparisons, without coverage."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.seeds import KEPT, TARGETS, seeds

if TYPE_CHECKING:
    import random

pytest.importorskip("h11", reason="the other reader")

MUTATIONS = {"head": 600, "connection": 200, "response": 200}
"""Drawn anew in every run, and repeated by --seed."""
PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\0",
    b"\x7f",
    b"\xff",
    b"0",
    b"1",
    b"_",
    b"",
)


def check_of(target: str) -> Any:
    return importlib.import_module(f"tests.fuzz.{target}").check


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    check = check_of(target)
    for data in seeds(target):
        check(data)


@pytest.mark.parametrize("target", TARGETS)
def test_mutations(target: str, rng: random.Random) -> None:
    check = check_of(target)
    known = [*seeds(target)]
    for _ in range(MUTATIONS[target]):
        data = bytearray(rng.choice(known))
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(data) + 1)
            way = rng.randrange(4)
            if way == 0:
                data[at : at + rng.randrange(3)] = rng.choice(PIECES)
            elif way == 1:
                data[at : at + 1] = rng.randbytes(rng.randrange(3))
            elif way == 2:
                other = rng.choice(known)
                start = rng.randrange(len(other))
                data[at:at] = other[start : start + rng.choice((4, 40))]
            else:
                del data[at : at + rng.choice((1, 2, 30))]
        try:
            check(bytes(data))
        except Exception as error:
            raise AssertionError(f"{target}: {bytes(data)!r}") from error


def test_findings_are_kept_for_targets() -> None:
    assert {path.name for path in KEPT.iterdir() if path.is_dir()} <= {*TARGETS}
