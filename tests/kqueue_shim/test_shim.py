"""What fastwsgi rests on of kqueue: of the shim where it is built in, and of the system's own where there is one."""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import select
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from fastwsgi import _impl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

is_shim = os.environ.get("FASTWSGI_TEST_BACKEND") == "kqueue" and _impl.compiled
if not is_shim and not hasattr(select, "kqueue"):
    pytest.skip("no kqueue here: make test-kqueue", allow_module_level=True)

READ, WRITE = -1, -2
ADD, DELETE, ENABLE, DISABLE, ONESHOT, CLEAR, RECEIPT = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
ERROR, EOF = 0x4000, 0x8000

Pair = tuple[socket.socket, socket.socket]
Change = tuple[int, int, int, int]
"""Descriptor, filter, flags, udata."""


class Event(NamedTuple):
    ident: int
    filter: int
    flags: int
    data: int
    udata: int


class Kevent(ctypes.Structure):
    _fields_ = (
        ("ident", ctypes.c_size_t),
        ("filter", ctypes.c_int16),
        ("flags", ctypes.c_uint16),
        ("fflags", ctypes.c_uint32),
        ("data", ctypes.c_ssize_t),
        ("udata", ctypes.c_size_t),
    )


class Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class Shim:
    """The shim as the extension carries it, with what is used here of the interface of select.kqueue."""

    def __init__(self) -> None:
        self._functions = ctypes.CDLL(importlib.import_module("fastwsgi._io").__file__, use_errno=True)
        self.fd = self._functions.kqueue()

    def control(self, changes: list[Change], room: int, seconds: float) -> list[Event]:
        asked = (Kevent * len(changes))(*(Kevent(fd, kind, flags, 0, 0, u) for fd, kind, flags, u in changes))
        events = (Kevent * room)()
        limit = Timespec(int(seconds), int(seconds % 1 * 1e9))
        count = self._functions.kevent(self.fd, asked, len(changes), events, room, ctypes.byref(limit))
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return [Event(e.ident, e.filter, e.flags, e.data, e.udata) for e in events[:count]]

    def close(self) -> None:
        os.close(self.fd)


class System:
    """The system's own kqueue."""

    def __init__(self) -> None:
        self._kqueue = getattr(select, "kqueue")()  # noqa: B009 - not there on Linux, says mypy

    def control(self, changes: list[Change], room: int, seconds: float) -> list[Event]:
        kevent = getattr(select, "kevent")  # noqa: B009
        asked = [kevent(fd, kind, flags, udata=udata) for fd, kind, flags, udata in changes]
        found = self._kqueue.control(asked, room, seconds)
        return [Event(e.ident, e.filter, e.flags, e.data, e.udata) for e in found]

    def close(self) -> None:
        self._kqueue.close()


@pytest.fixture
def make() -> Iterator[Callable[[], Any]]:
    made: list[Shim | System] = []

    def start() -> Shim | System:
        made.append(System() if hasattr(select, "kqueue") else Shim())
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def kq(make: Callable[[], Any]) -> Any:
    return make()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def take(kq: Any, seconds: float = 5.0) -> dict[int, int]:
    """Return udata by filter of what is ready."""
    return {event.filter: event.udata for event in kq.control([], 8, seconds)}


def test_filters_are_reported_apart(kq: Any, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"abc")
    assert kq.control([(ours.fileno(), READ, ADD, 1)], 0, 0) == []
    (event,) = kq.control([], 8, 5)
    assert (event.ident, event.filter, event.data, event.flags & EOF) == (ours.fileno(), READ, 3, 0)
    kq.control([(ours.fileno(), WRITE, ADD, 2)], 0, 0)
    assert take(kq) == {READ: 1, WRITE: 2}
    kq.control([(ours.fileno(), READ, DELETE, 0)], 0, 0)
    assert take(kq) == {WRITE: 2}
    kq.control([(ours.fileno(), WRITE, ADD, 3)], 0, 0)  # anew: the later udata
    assert take(kq) == {WRITE: 3}


def test_each_kqueue_has_its_own(make: Callable[[], Any], pair: Pair) -> None:
    one, two = make(), make()
    one.control([(pair[0].fileno(), WRITE, ADD, 1)], 0, 0)
    two.control([(pair[0].fileno(), WRITE, ADD, 2)], 0, 0)
    assert (take(one), take(two)) == ({WRITE: 1}, {WRITE: 2})
    one.control([(pair[0].fileno(), WRITE, DELETE, 0)], 0, 0)
    assert (take(one, 0), take(two)) == ({}, {WRITE: 2})


@pytest.mark.parametrize(
    ("changed", "flags", "error"),
    [("open", DELETE, errno.ENOENT), ("open", ENABLE, errno.ENOENT), ("closed", ADD, errno.EBADF)],
)
def test_errors_of_changes(kq: Any, pair: Pair, changed: str, flags: int, error: int) -> None:
    fd = pair[0].fileno()
    if changed == "closed":
        pair[0].close()
    with pytest.raises(OSError) as failure:
        kq.control([(fd, READ, flags, 0)], 0, 0)
    assert failure.value.errno == error
    (event,) = kq.control([(fd, READ, flags, 0)], 8, 5)  # with room, it is an event
    assert event.flags & ERROR
    assert event.data == error


def test_a_receipt_is_an_error_of_zero(kq: Any, pair: Pair) -> None:
    (event,) = kq.control([(pair[0].fileno(), WRITE, ADD | RECEIPT, 0)], 1, 5)
    assert event.flags & ERROR
    assert event.data == 0


def test_half_close_leaves_the_data_and_the_other_direction(kq: Any, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"last")
    theirs.shutdown(socket.SHUT_WR)
    kq.control([(ours.fileno(), READ, ADD, 1), (ours.fileno(), WRITE, ADD, 1)], 0, 0)
    events: dict[int, Event] = {}
    while not (READ in events and events[READ].flags & EOF):
        events |= {event.filter: event for event in kq.control([], 8, 5)}
    assert events[READ].data == 4
    assert not events[WRITE].flags & EOF


def test_to_whom_nobody_listens_is_an_end_for_writing(kq: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        kq.control([(ours.fileno(), WRITE, ADD, 1)], 0, 0)
        (event,) = kq.control([], 8, 5)
        assert event.flags & EOF


@pytest.mark.parametrize("is_duplicated", [False, True])
def test_closing_takes_the_knotes_along(kq: Any, is_duplicated: bool) -> None:
    """Also while the socket lives on under another number, as it does after a fork."""
    old, peer = socket.socketpair()
    peer.send(b"x")
    number = old.fileno()
    kq.control([(number, READ, ADD, 1), (number, WRITE, ADD | DISABLE, 1)], 0, 0)
    assert take(kq) == {READ: 1}
    other = old.dup() if is_duplicated else None
    old.close()
    assert take(kq, 0.01) == {}
    new, far = socket.socketpair()
    with new, far, peer:
        if new.fileno() != number:
            os.dup2(new.fileno(), number)
        for kind in (READ, WRITE):
            with pytest.raises(OSError) as failure:
                kq.control([(number, kind, ENABLE, 0)], 0, 0)
            assert failure.value.errno == errno.ENOENT
        far.send(b"y")
        assert take(kq, 0) == {}
        kq.control([(number, READ, ADD, 2)], 0, 0)
        assert take(kq) == {READ: 2}
        if new.fileno() != number:
            os.close(number)
    if other:
        other.close()


def test_flags(kq: Any, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    fd = ours.fileno()
    kq.control([(fd, READ, ADD | DISABLE, 1)], 0, 0)
    assert take(kq, 0.01) == {}
    kq.control([(fd, READ, ENABLE, 1)], 0, 0)
    assert take(kq) == take(kq) == {READ: 1}  # level-triggered
    kq.control([(fd, READ, DELETE, 0), (fd, READ, ADD | ONESHOT, 2)], 0, 0)
    assert take(kq) == {READ: 2}
    with pytest.raises(OSError):
        kq.control([(fd, READ, DELETE, 0)], 0, 0)
    kq.control([(fd, READ, ADD | CLEAR, 3)], 0, 0)
    assert take(kq) == {READ: 3}
    assert take(kq, 0) == {}
    theirs.send(b"y")
    assert take(kq) == {READ: 3}
