"""Clients that send or read slowly: nobody else notices, and what is kept of them is bounded."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer, head
from tests.processes import eventually, memory, open_files, wait_for_end, wait_for_workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live import Peer

APP = "tests.apps.concurrency:app"
DEBUG = ("--log-level", "debug")  # says when a worker is ready
GET = head("/")
BIG = 2_000_000
BODY = b"b" * 1000

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


def slow(server: LiveServer, stack: ExitStack, request: bytes, *, receive_buffer: int = 0) -> Peer:
    peer = stack.enter_context(server.connect(receive_buffer=receive_buffer))
    peer.send(request)
    return peer


def test_nobody_waits_for_slow_clients(live: Callable[..., LiveServer]) -> None:
    """Hundreds of them, and one worker without threads; the latency is measured in bench/scenarios/slow.py."""
    server = live(APP, *DEBUG)
    upload = head("/echo", f"Content-Length: {len(BODY)}", method="POST") + BODY
    with ExitStack() as stack:
        heads = [slow(server, stack, GET[:number]) for number in range(1, len(GET))]
        bodies = [slow(server, stack, upload[:-number]) for number in range(1, 50)]
        readers = [slow(server, stack, head(f"/big?{BIG}"), receive_buffer=4096) for _ in range(50)]
        for reader in readers:
            reader.read_until(b"\r\n\r\n")
        normal = stack.enter_context(server.connect())
        for _ in range(200):
            assert normal.request(GET).text == "ok"
        for number, peer in enumerate(heads, 1):
            assert peer.request(GET[number:]).text == "ok"
        for number, peer in enumerate(bodies, 1):
            assert peer.request(upload[-number:]).body == BODY
        for reader in readers:
            assert reader.read_exactly(BIG) == b"x" * BIG


@pytest.mark.parametrize("engine", [(), ("--threads", "2")], ids=["inline", "threads"])
def test_what_a_slow_reader_does_not_take_is_not_made(
    live: Callable[..., LiveServer], engine: tuple[str, ...]
) -> None:
    """Streams without an end, and nobody who reads them: the app is not asked for more."""
    server = live(APP, *engine, *DEBUG)
    (worker,) = wait_for_workers(server, 1)
    with ExitStack() as stack:
        normal = stack.enter_context(server.connect())
        assert normal.request(GET).text == "ok"
        before = memory(worker)
        readers = [slow(server, stack, head("/flood"), receive_buffer=4096) for _ in range(20)]
        for reader in readers:
            reader.read_until(b"\r\n\r\n")
        made = 0
        while (now := int(normal.request(head("/counted?flood")).text)) > made:
            made = now
        # The kernel's buffers, and one piece of 100 kB for each that it did not take.
        assert memory(worker) - before < 20 * 300_000


def test_spooled_bodies_have_no_name(live: Callable[..., LiveServer], tmp_path: Path) -> None:
    """So nothing is left of them, even if the worker is killed."""
    folder = tmp_path / "spool"
    folder.mkdir()
    server = live(APP, "--body-buffer-size", "1000", "--tmp-upload-dir", os.fspath(folder), *DEBUG)
    (worker,) = wait_for_workers(server, 1)

    def spools() -> int:
        return sum(name.startswith(os.fspath(folder)) for name in open_files(worker))

    with ExitStack() as stack:
        for _ in range(5):
            slow(server, stack, head("/echo", "Content-Length: 100000", method="POST") + b"x" * 50_000)
        eventually(lambda: spools() == 5)
        assert os.listdir(folder) == []
        server.allow_traceback = True
        os.kill(worker, signal.SIGKILL)
        wait_for_end(worker)
        assert os.listdir(folder) == []
    assert server.get("/").text == "ok"
