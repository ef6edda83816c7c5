"""The lock of a loop, compiled and pure: it excludes, lets others run while it is waited for, and stands in."""

from __future__ import annotations

import threading

import pytest

from fastwsgi import _impl
from fastwsgi._lock_py import Lock as PureLock
from tests.live import DEADLINE


@pytest.fixture(params=[PureLock, _impl.Lock], ids=["pure", "chosen"])
def make(request: pytest.FixtureRequest) -> type[PureLock]:
    chosen: type[PureLock] = request.param
    return chosen


def test_one_thread_holds_it(make: type[PureLock]) -> None:
    lock = make()
    counted = [0]

    def count() -> None:
        for _ in range(1000):
            lock.acquire()
            seen = counted[0]
            len(str(seen))  # where the GIL may be taken
            counted[0] = seen + 1
            lock.release()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert counted == [4000]


def test_who_waits_lets_others_run(make: type[PureLock]) -> None:
    lock = make()
    lock.acquire()
    begins, has_it = threading.Event(), threading.Event()

    def wait() -> None:
        begins.set()
        lock.acquire()
        has_it.set()
        lock.release()

    thread = threading.Thread(target=wait)
    thread.start()
    assert begins.wait(DEADLINE)
    assert not has_it.is_set()
    lock.release()
    assert has_it.wait(DEADLINE)
    thread.join(DEADLINE)


def test_another_lock_is_used_if_there_is_one(make: type[PureLock]) -> None:
    other = threading.Lock()
    lock = make(other)
    lock.acquire()
    assert other.locked()
    lock.release()
    assert not other.locked()
