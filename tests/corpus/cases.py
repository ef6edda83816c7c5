"""The corpus as tests read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

FOLDER: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """One `.http` file with the verdict beside it."""

    name: str
    raw: bytes
    verdict: dict[str, Any]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The requests that reach the application."""
        found: list[dict[str, Any]] = self.verdict["requests" if "requests" in self.verdict else "before"]
        return found

    @property
    def statuses(self) -> list[int]:
        """The codes with which an invalid request may be refused."""
        status = self.verdict["status"]
        return status if isinstance(status, list) else [status]

    @property
    def closes(self) -> bool:
        """Whether the connection ends after a valid case."""
        return bool(self.verdict["after"] == "close")

    def pieces(self, rng: random.Random, most: int = 12) -> list[bytes]:
        """Return the bytes cut at random places."""
        cuts = sorted(rng.randrange(len(self.raw) + 1) for _ in range(rng.randint(1, most)))
        return [self.raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(self.raw)], strict=True)]


def load(kind: str) -> list[Case]:
    """Return all cases of one kind, `valid` or `invalid`."""
    return [
        Case(path.stem, path.read_bytes(), json.loads(path.with_suffix(".json").read_bytes()))
        for path in sorted((FOLDER / kind).glob("*.http"))
    ]


VALID: Final = load("valid")
INVALID: Final = load("invalid")


def check(expected: dict[str, Any], method: str, environ: dict[str, Any], body: bytes) -> None:
    """Compare one request as the application sees it with the verdict; all its text is latin-1."""
    assert method == expected["method"]
    assert environ["REQUEST_METHOD"] == method
    shown = {key: environ.get(key) for key in expected["environ"]}
    assert shown == expected["environ"]
    assert not set(expected.get("absent", ())) & set(environ), environ
    assert body.decode("latin-1") == expected["body"]
