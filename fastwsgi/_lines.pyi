from collections.abc import Callable, Mapping, Sequence
from typing import Any

class Lines:
    def __init__(
        self,
        steps: Sequence[tuple[bytes, int, Any]],
        lines: list[bytes],
        clock: Callable[[], float],
        stamp_of: Callable[[float], str],
    ) -> None: ...
    def log(
        self,
        environ: Mapping[str, Any],
        status: str,
        headers: Sequence[tuple[str, str]] | None,
        nbytes: int,
        seconds: float,
    ) -> None: ...
