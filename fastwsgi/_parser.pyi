from typing import Any

from .forwarding import Forwarding
from .request import Limits, Request

class Parser:
    def __init__(self, limits: Limits, forwarding: Forwarding) -> None: ...
    def parse(
        self,
        data: bytes,
        start: int,
        base: dict[str, Any],
        remote_addr: str,
        remote_port: str,
        trusted: bool,
    ) -> Request | None: ...
    def head_end(self, buffer: bytes | bytearray, searched: int) -> int: ...
