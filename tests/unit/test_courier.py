"""Pieces that wait for the next ones: they go out all the same, in order, once, and by nobody else."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import _impl
from fastwsgi._courier_py import Courier as PureCourier
from tests.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]

compiled = pytest.mark.skipif(not _impl.compiled, reason="carries nothing")


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(20)
        yield ours, theirs


def carry(pair: Pair, *pieces: bytes) -> Any:
    courier = _impl.Courier()
    out = list(pieces)
    assert courier.carry(pair[0].fileno(), out)
    assert out == []
    return courier


def test_pure_carries_nothing(pair: Pair) -> None:
    courier = PureCourier()
    out: list[Any] = [b"piece"]
    assert not courier.carry(pair[0].fileno(), out)
    assert (out, courier.give_back(), courier.sends) == ([b"piece"], b"", 0)


@compiled
def test_what_waits_is_sent_though_nobody_asks(pair: Pair) -> None:
    courier = carry(pair, b"one ", b"two")
    assert pair[1].recv(100) == b"one two"
    for number in range(30):  # also when its thread has gone to sleep meanwhile, or is about to
        out: list[Any] = [b"%d" % number]
        assert courier.carry(pair[0].fileno(), out)
        assert pair[1].recv(100) == b"%d" % number
    assert courier.give_back() == b""
    assert courier.sends == 31
    courier.give_back()
    assert courier.sends == 0


@compiled
def test_what_was_given_back_is_not_sent(pair: Pair) -> None:
    """Either the courier has sent a piece, or it is given back: never both, never neither."""
    came = b""
    for number in range(2000):
        courier = carry(pair, b"%04d" % number)
        pair[0].send(courier.give_back())
        came += pair[1].recv(100)
    assert came == b"".join(b"%04d" % number for number in range(2000))


@compiled
def test_a_client_that_takes_nothing(pair: Pair) -> None:
    sent = b""
    while True:
        try:
            sent += bytes(1000)[: pair[0].send(bytes(1000))]
        except BlockingIOError:
            break
    courier = carry(pair, b"x" * 60000)
    out: list[Any] = [b"y" * 10000]
    assert not courier.carry(pair[0].fileno(), out)  # it has no room for so much
    assert out == [b"y" * 10000]
    came = b""
    while len(came) < len(sent) + 60000:
        came += pair[1].recv(65536)
    assert came == sent + b"x" * 60000
    assert courier.give_back() == b""


@compiled
def test_a_client_that_has_gone(pair: Pair) -> None:
    pair[1].close()
    courier = carry(pair, b"piece")
    eventually(lambda: not courier.carry(pair[0].fileno(), [b"more"]))
    with pytest.raises(BrokenPipeError):
        courier.give_back()
    assert courier.sends == 0
    assert courier.give_back() == b""  # it is as new


@compiled
def test_a_client_that_goes_after_it_has_had_some(pair: Pair) -> None:
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    courier = carry(pair, b"x" * 60000)
    assert pair[1].recv(1) == b"x"
    pair[1].close()
    eventually(lambda: not courier.carry(pair[0].fileno(), [b"more"]))
    with pytest.raises(BrokenPipeError):
        courier.give_back()
    assert courier.sends > 0  # or the log would say that it was sent nothing


@compiled
def test_one_connection_at_a_time(pair: Pair) -> None:
    pair[1].close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        courier = carry(pair, b"x")
        if courier.carry(ours.fileno(), out := [b"other"]):  # the first was sent, in vain, by then
            assert out == []
        else:
            assert out == [b"other"]


@compiled
@pytest.mark.parametrize(
    "piece", [bytearray(b"x"), "x", None, object()], ids=lambda piece: type(piece).__name__
)
def test_only_bytes_are_carried(pair: Pair, piece: Any) -> None:
    out = [b"before", piece]
    assert not _impl.Courier().carry(pair[0].fileno(), out)
    assert out == [b"before", piece]


@compiled
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_carries_by_itself(pair: Pair) -> None:
    """fork() copies neither the thread nor what is the parent's to send."""
    courier = carry(pair, b"parent")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            # Until the parent says that it has come, so that it is the courier that sends it.
            if courier.give_back() == b"" and courier.carry(pair[0].fileno(), [b"child"]):
                select.select([pair[0]], [], [], 20)
                status = 0
        finally:
            os._exit(status)
    came = b""
    while len(came) < 11:
        came += pair[1].recv(100)
    assert came in {b"parentchild", b"childparent"}
    pair[1].send(b"!")
    assert os.waitpid(pid, 0)[1] == 0


@compiled
def test_one_that_goes_while_it_carries(pair: Pair) -> None:
    for _ in range(100):
        carry(pair, b"x")
    pair[1].setblocking(False)
    try:
        assert set(pair[1].recv(1000)) <= {ord("x")}
    except BlockingIOError:
        pass
