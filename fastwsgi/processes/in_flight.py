"""What every worker has in its app, in shared memory: memory and the reader's side; `Places` writes.

Owns one anonymous mapping, made by the master before it forks. It is read when a worker hangs, by the master,
so that the requests can be named although nothing in the worker runs any more: code in C may hold the GIL.
Must not know why somebody asks.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from .._places_py import HEAD, METHOD, PLACE, PLACES, SIZE, TARGET, THREADS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["InFlight", "Stay", "read", "show"]

_HEAD: Final = struct.Struct("=dQQQQ")
_MARK: Final = struct.Struct("=dQ")  # what changes whenever an entry does
_REST: Final = struct.Struct(f"={THREADS - PLACES}d")
_PAGE: Final = 4096
_STRIDE: Final = -(-SIZE // _PAGE) * _PAGE  # whole pages for each worker, so that none writes to another's
_LOOKS: Final = 3  # at an entry that changes while it is read
_NAMED: Final = 20


class Stay(NamedTuple):
    """A request in the app, or a piece of one."""

    thread: int  # its number in the worker
    identity: int  # of the thread, as faulthandler prints it
    since: float  # monotonic
    request: str  # method and target, cut and escaped

    @staticmethod
    def name(method: str, target: str) -> str:
        """Return how a request is named in a log."""
        words = (method, METHOD), (target, TARGET)
        return " ".join(_text(word.encode("latin-1")[:room], len(word)) for word, room in words)

    def show(self, now: float) -> str:
        """Return in words who has what in the app, and for how long."""
        return f"thread {self.thread} ({self.identity:#018x}): {self.request} for {now - self.since:.1f} s"


class InFlight:
    """The memory of all worker slots."""

    def __init__(self, slots: int) -> None:
        # Pages never written to take no memory.
        self._map = mmap.mmap(-1, slots * _STRIDE)
        self._bytes = memoryview(self._map)

    def memory(self, slot: int) -> memoryview:
        """Return the memory of a slot, for the `Places` of its worker."""
        return self._bytes[slot * _STRIDE : slot * _STRIDE + SIZE]

    def clear(self, slot: int) -> None:
        """Forget what a worker that is gone has left there."""
        with self.memory(slot) as memory:
            memory[:] = bytes(SIZE)

    def show(self, slot: int, now: float) -> str:
        """Return in words what the worker of a slot has in the app, at monotonic time `now`."""
        with self.memory(slot) as memory:
            return show(*read(memory), now)

    def close(self) -> None:
        """Give the memory back."""
        self._bytes.release()
        self._map.close()


def read(memory: memoryview) -> tuple[list[Stay], int]:
    """Return what is in the app of a worker, the oldest first, and how many more requests have no place."""
    stays = []
    more = 0
    for index in range(PLACES):
        place = memory[index * PLACE : (index + 1) * PLACE]
        for _ in range(_LOOKS):
            whole = bytes(place)
            since, number, identity, method_length, target_length = _HEAD.unpack_from(whole)
            if since == 0.0 or _MARK.unpack_from(place) == (since, number):
                break
        else:
            more += 1  # it comes and goes: whoever hangs is somebody else
            continue
        if since:
            method = _text(whole[HEAD : HEAD + METHOD], method_length)
            target = _text(whole[HEAD + METHOD :], target_length)
            stays.append(Stay(index, identity, since, f"{method} {target}"))
    more += sum(1 for since in _REST.unpack_from(memory, PLACES * PLACE) if since)
    return sorted(stays, key=lambda stay: stay.since), more


def show(stays: Sequence[Stay], more: int, now: float) -> str:
    """Return in words what is in the app, the oldest first."""
    more += max(0, len(stays) - _NAMED)
    words = [stay.show(now) for stay in stays[:_NAMED]]
    return "; ".join([*words, f"and {more} more"] if more else words) or "nothing"


def _text(octets: bytes, length: int) -> str:
    """Return bytes that came from a client in a form fit for a log; "?" if there are none."""
    text = octets[:length].decode("latin-1").encode("unicode_escape").decode("ascii") or "?"
    return text if length <= len(octets) else f"{text}..."
