"""The socket that an app may take over: offered, taken, withdrawn, closed."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import handover
from fastwsgi.handover import ClientSocket, SealedSocket

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server:
    """The side of the server: it keeps its descriptor, and gives out another."""

    def __init__(self, ahead: bytes = b"") -> None:
        self.kept, self.client = socket.socketpair()
        self.kept.setblocking(False)
        self.client.settimeout(10)
        self.given = 0
        self._ahead = ahead

    def give(self) -> tuple[int, bytes]:
        self.given += 1
        return os.dup(self.kept.fileno()), self._ahead


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with made.kept, made.client:
        yield made


def test_looking_is_not_taking(server: Server) -> None:
    offered = ClientSocket(server.give)
    assert not offered.taken
    offered.shutdown()
    offered.withdraw()
    with pytest.raises(OSError, match="over"):
        offered.send(b"too late")
    with pytest.raises(OSError, match="over"):
        offered.recv(1)
    assert server.given == 0
    offered.close()


def test_it_is_taken_once_and_blocks(server: Server) -> None:
    offered = ClientSocket(server.give)
    big = bytes(2_000_000)
    sender = threading.Thread(target=lambda: sizes.append(offered.send(big)))
    sizes: list[int] = []
    sender.start()
    got = 0
    while got < len(big):
        got += len(server.client.recv(1 << 16))
    sender.join()
    assert sizes == [len(big)]
    offered.sendall(b"more")
    assert server.client.recv(100) == b"more"
    assert (server.given, offered.taken) == (1, True)
    offered.withdraw()  # changes nothing any more
    server.client.send(b"word")
    assert offered.recv(2) == b"wo"
    assert offered.recv(100) == b"rd"
    offered.settimeout(0.01)
    with pytest.raises(TimeoutError):
        offered.recv(1)
    offered.close()


def test_what_was_read_ahead_comes_first() -> None:
    server = Server(b"ahead")
    with server.kept, server.client:
        offered = ClientSocket(server.give)
        server.client.send(b"then")
        assert [offered.recv(3), offered.recv(100), offered.recv(100)] == [b"ahe", b"ad", b"then"]
        offered.close()


def test_close_ends_it_for_the_client_and_for_whoever_waits(server: Server) -> None:
    """Although the server has a descriptor still."""
    offered = ClientSocket(server.give)
    number = offered.fileno()
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):  # it comes to read when all is over
            assert offered.recv(10) == b""
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    offered.close()
    assert ended.wait(10)
    reader.join()
    assert server.client.recv(10) == b""
    assert offered.closed
    offered.close()
    offered.shutdown()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)


class AllReadError(Exception):
    """The stream has ended."""


class Unfinished:
    """A tunnel to which no record has come whole; it counts what has."""

    came = 0

    def open(self, data: bytes) -> None:
        if not data:
            raise AllReadError
        self.came += len(data)

    def owes(self) -> int:
        return 0


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_record_in_drips_does_not_outlast_the_timeout(
    server: Server, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    tunnel: Any = Unfinished()
    monkeypatch.setattr(handover, "_AT_ONCE", 1)
    monkeypatch.setattr(time, "monotonic", lambda: float(tunnel.came))  # a byte a second
    server.kept.settimeout(timeout)
    sealed = SealedSocket(server.kept, tunnel)
    server.client.send(bytes(20))
    server.client.shutdown(socket.SHUT_WR)
    with pytest.raises(TimeoutError if timeout else AllReadError):
        sealed.recv(100)
    assert tunnel.came == (6 if timeout else 20)
