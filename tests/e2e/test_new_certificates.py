"""Certificates that are replaced while clients come and go: at HUP, and when their files change."""

from __future__ import annotations

import re
import signal
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority, Issued, needs_openssl, own_certificates
from tests.live import DEADLINE, LiveServer, Peer, head

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    needs_openssl,
    own_certificates,
]

ECHO = "tests.apps.echo:app"
GET = head("/")


class Files(Issued):
    """The files that a server reads."""

    def __init__(self, folder: Path, issued: Issued) -> None:
        super().__init__(folder / "certificate.pem", folder / "key.pem")
        self.write(issued)

    def write(self, issued: Issued, *, is_half: bool = False) -> None:
        self.certificate.write_bytes(issued.certificate.read_bytes())
        if not is_half:
            self.key.write_bytes(issued.key.read_bytes())


def workers(server: LiveServer) -> list[str]:
    return re.findall(r"Booting worker with pid: (\d+)", server.log.text)


def wait_for_end(server: LiveServer, pids: list[str]) -> None:
    """Wait until these workers are gone: until then, they may take a connection."""
    assert pids
    for pid in pids:
        server.wait_for_log(rf"Worker exiting \(pid: {pid}\)")


class Load(threading.Thread):
    """A client that goes on asking, each time on a new connection, and notes whose certificate it saw."""

    def __init__(self, server: LiveServer, context: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._server = server
        self._context = context
        self._new = threading.Condition()
        self.start()

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                with Peer(self._server.address, tls=self._context) as peer:
                    assert isinstance(peer.sock, ssl.SSLSocket)
                    shown = peer.sock.getpeercert()
                    assert shown
                    assert peer.request(GET).status == 200
                with self._new:
                    self.seen.append(int(str(shown["serialNumber"]), 16))
                    self._new.notify_all()
        except BaseException as error:
            self.error = error
            with self._new:
                self._new.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait for so many more answers."""
        with self._new:
            goal = len(self.seen) + count
            assert self._new.wait_for(lambda: len(self.seen) >= goal or self.error, DEADLINE)
        assert self.error is None

    def end(self) -> None:
        """Go on a little, and stop."""
        self.wait_for(5)
        self.ended.set()
        self.join(DEADLINE)
        assert self.error is None


def test_a_new_certificate_at_reload(
    live: Callable[..., LiveServer], authority: Authority, tmp_path: Path
) -> None:
    files = Files(tmp_path, authority.issue())
    second = authority.issue()
    running = live(ECHO, "-w", "2", *files.arguments, "--watch-certificates", "0", tls=authority.client())
    load = Load(running, authority.client())
    load.wait_for(5)
    # A bad one first: the old workers go on.
    files.certificate.write_text("no certificate\n")
    running.send_signal(signal.SIGHUP)
    running.wait_for_log(r"certfile = '.*there is no certificate in it")
    load.wait_for(5)
    assert len(set(load.seen)) == 1
    files.write(second)
    old = workers(running)
    running.send_signal(signal.SIGHUP)
    wait_for_end(running, old)
    load.end()
    assert len(set(load.seen)) == 2


def test_files_that_change_are_seen(
    live: Callable[..., LiveServer], authority: Authority, tmp_path: Path
) -> None:
    """Without a signal: the certificate first, which does not go with the key, then the key."""
    files = Files(tmp_path, authority.issue())
    running = live(ECHO, "-w", "2", *files.arguments, "--watch-certificates", "0.05", tls=authority.client())
    load = Load(running, authority.client())
    load.wait_for(5)
    second = authority.issue()
    files.write(second, is_half=True)
    running.wait_for_log("Reload refused, the workers in service stay: keyfile = .* not that of the")
    load.wait_for(20)
    assert running.log.text.count("not that of the") == 1
    assert len(set(load.seen)) == 1
    old = workers(running)
    files.write(second)
    wait_for_end(running, old)
    load.end()
    assert len(set(load.seen)) == 2


def test_a_new_authority_for_clients(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, tmp_path: Path
) -> None:
    """From then on, those whom the old one has certified are strangers, resumed sessions and all."""
    before, after = (Authority(tmp_path, name) for name in ("before", "after"))
    known = tmp_path / "known.pem"
    known.write_bytes(before.certificate.read_bytes())
    running = live(
        *(ECHO, *issued.arguments, "--ca-certs", str(known), "--cert-reqs", "CERT_REQUIRED"),
        *("--watch-certificates", "0.05"),
        tls=authority.client(before.issue("client")),
    )
    context = authority.client(before.issue("client"))
    with Peer(running.address, tls=context) as peer:
        assert peer.request(GET).status == 200
        assert isinstance(peer.sock, ssl.SSLSocket)
        session = peer.sock.session
    old = workers(running)
    (tmp_path / "new.pem").write_bytes(after.certificate.read_bytes())
    (tmp_path / "new.pem").rename(known)
    wait_for_end(running, old)
    with Peer(running.address, tls=authority.client(after.issue("client"))) as peer:
        assert peer.request(GET).status == 200
    with Peer(running.address) as peer:
        peer.sock = context.wrap_socket(peer.sock, server_hostname="localhost", session=session)
        with pytest.raises(ssl.SSLError, match="alert"):
            peer.request(GET)


@pytest.mark.parametrize("limit", ["TLSv1_2", "TLSv1_3"])
def test_tickets_of_before_a_reload_are_no_hindrance(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, limit: str
) -> None:
    """They hold for all workers, and after a reload for none: the client shakes hands as if it had none."""
    running = live(ECHO, "-w", "2", *issued.arguments, tls=authority.client())
    context = authority.client()
    context.maximum_version = ssl.TLSVersion[limit]
    with Peer(running.address, tls=context) as peer:
        assert peer.request(GET).status == 200
        assert isinstance(peer.sock, ssl.SSLSocket)
        session = peer.sock.session

    def resume() -> bool:
        with Peer(running.address) as peer:
            sock = context.wrap_socket(peer.sock, server_hostname="localhost", session=session)
            peer.sock = sock
            assert peer.request(GET).status == 200
            return bool(sock.session_reused)

    assert [resume() for _ in range(8)] == [True] * 8
    old = workers(running)
    running.send_signal(signal.SIGHUP)
    wait_for_end(running, old)
    assert not resume()
