from collections.abc import Callable, Mapping, Sequence
from typing import Any

class Lines:
    def __init__(self, fmt: str, clock: Callable[[], float] | None = None) -> None: ...
    def log(
        self,
        environ: Mapping[str, Any],
        status: str,
        headers: Sequence[tuple[str, str]] | None,
        nbytes: int,
        seconds: float,
    ) -> None: ...
    def add(self, line: bytes) -> None: ...
    def take(self) -> bytes: ...
