from typing import Any

from .request import Limits, Request

class Parser:
    def __init__(self, limits: Limits) -> None: ...
    def parse(
        self, data: bytes, start: int, base: dict[str, Any], remote_addr: str, remote_port: str
    ) -> Request | None: ...
    def head_end(self, buffer: bytes | bytearray, searched: int) -> int: ...
