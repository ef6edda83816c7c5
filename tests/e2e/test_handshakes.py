"""Handshakes that stall, lie, flood or are cut: the clients that are known are served, and nothing is left."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority, Issued, needs_openssl, own_certificates
from tests.e2e.test_tls import Inspector
from tests.live import ENGINE, LiveServer, Peer, head
from tests.processes import eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.gate import Gate

pytestmark = [
    needs_openssl,
    own_certificates,
]

ECHO = "tests.apps.echo:app"
GET = head("/")


@pytest.fixture(scope="module")
def server(authority: Authority, issued: Issued) -> Iterator[LiveServer]:
    arguments = (*issued.arguments, "--worker-connections", "4000", "--access-logfile", "-")
    with LiveServer(ECHO, *arguments, tls=authority.client()) as running:
        yield running


def worker_of(server: LiveServer) -> int:
    return int(server.wait_for_log(r"Booting worker with pid: (\d+)")[1])


def hello_of(server: LiveServer, context: ssl.SSLContext) -> bytes:
    """Return the first words of a handshake."""
    with Inspector(server, context) as client:
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        return client.outgoing.read()


# --- many --------------------------------------------------------------------------------------------------


def test_thousands_of_half_done_handshakes(server: LiveServer, authority: Authority) -> None:
    """They wait for their end without a thread, and without standing in anybody's way."""
    hello = hello_of(server, authority.client())
    descriptors = f"/proc/{worker_of(server)}/fd"
    with server.connect() as known:
        assert known.request(GET).status == 200
        before = len(os.listdir(descriptors))
        room, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(3000, room - 200)
        stuck = []
        try:
            for number in range(count):
                peer = Peer(server.address)
                stuck.append(peer)
                peer.send(hello[: number * 7 % len(hello)])
            for _ in range(10):
                assert known.request(GET).status == 200
                assert server.get("/next").status == 200
            eventually(lambda: len(os.listdir(descriptors)) >= before + count)
        finally:
            for peer in stuck:
                peer.sock.close()
        eventually(lambda: len(os.listdir(descriptors)) <= before)
        assert known.request(GET).status == 200


@pytest.mark.skipif(bool(ENGINE), reason="with threads or greenlets, others go on meanwhile")
def test_known_clients_do_not_wait_for_many_handshakes(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued, gate: Gate
) -> None:
    """Of what is ready at once, handshakes get a share of the time; the app is called when not all are done."""
    running = live("tests.apps.concurrency:app", *issued.arguments, tls=authority.client())
    hello = hello_of(running, authority.client())
    worker = worker_of(running)
    with running.connect() as known:
        assert known.request(head("/")).status < 500
        others = [Peer(running.address) for _ in range(300)]
        try:
            assert running.get("/").status < 500  # so the others have been accepted
            os.kill(worker, signal.SIGSTOP)
            for other in others:
                other.send(hello)
            known.send(head(f"/block?{gate.path}"))
            os.kill(worker, signal.SIGCONT)
            gate.wait_for_arrival()
            poll = select.poll()
            for other in others:
                poll.register(other.sock, select.POLLIN)
            assert len(poll.poll(0)) < len(others)
            gate.open()
            assert known.response().status == 200
            for other in others:  # in the end, all are
                assert other.fill()
        finally:
            os.kill(worker, signal.SIGCONT)
            for other in others:
                other.sock.close()


# --- what should not be there ------------------------------------------------------------------------------

RECORD = struct.Struct(">BHH")
GARBAGE = {
    "zeros": bytes(1000),
    "noise": bytes(range(256)) * 300,
    "a record of noise": RECORD.pack(22, 0x0301, 200) + bytes(range(200)),
    "a record too long": RECORD.pack(22, 0x0301, 65535) + bytes(65535),
    "an empty record": RECORD.pack(22, 0x0301, 0) * 100,
    "data before its time": RECORD.pack(23, 0x0303, 100) + bytes(100),
    "an alert": RECORD.pack(21, 0x0303, 2) + b"\x02\x28",
    "alerts": (RECORD.pack(21, 0x0303, 2) + b"\x01\x5a") * 50,
    "changes of cipher": (RECORD.pack(20, 0x0303, 1) + b"\x01") * 100,
    "a heartbeat": RECORD.pack(24, 0x0303, 3) + b"\x01\xff\xff",
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "a hello without end": RECORD.pack(22, 0x0301, 16384) + b"\x01\xff\xff\xff" + bytes(16380),
    "plain HTTP": GET,
}


@pytest.mark.parametrize(
    "stage", ["first", "within the hello", "behind the hello", "done", "within a record"]
)
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_garbage(server: LiveServer, authority: Authority, stage: str, version: str) -> None:
    """At any point, it costs a client its connection, and nobody else anything."""
    context = authority.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    for what in GARBAGE.values():
        with Inspector(server, context) as client:
            if stage in ("done", "within a record"):
                client.shake_hands()
                if stage == "within a record":
                    client.tls.write(GET)
                    client.peer.send(client.outgoing.read()[:10])
            elif stage != "first":
                with pytest.raises(ssl.SSLWantReadError):
                    client.tls.do_handshake()
                hello = client.outgoing.read()
                client.peer.send(hello[: len(hello) // 2] if stage == "within the hello" else hello)
                if stage == "behind the hello":
                    assert client.feed()
            client.peer.send(what)
            assert b"HTTP/1.1" not in ended(client.peer)
    assert server.get("/next").status == 200


def ended(peer: Peer) -> bytes:
    """Say that nothing more comes, and return all that does."""
    try:
        peer.sock.shutdown(socket.SHUT_WR)
        return peer.read_to_end()
    except TimeoutError:  # it stays
        raise
    except OSError:
        return b""


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_records_that_are_changed_on_their_way(
    server: LiveServer, authority: Authority, version: str, rng: random.Random
) -> None:
    """A byte flipped, lost or added in what the client says: the connection ends, and nothing else."""
    context = authority.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    for _ in range(60):
        with Inspector(server, context) as client:
            for _ in range(rng.randrange(2 if version == "TLSv1_3" else 3)):
                client.peer.send(next_flight(client))
            client.peer.send(changed(next_flight(client), rng))
            ended(client.peer)
    assert server.get("/next").status == 200


def next_flight(client: Inspector) -> bytes:
    """Return what a client says next; its request comes with the end of the handshake."""
    while True:
        try:
            client.tls.do_handshake()
            client.tls.write(GET)
        except ssl.SSLWantReadError:
            pass
        if said := client.outgoing.read():
            return said
        assert client.feed()


def changed(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    kept, lost = rng.choice([(data[place : place + 1], b""), (b"", b"x"), (b"", bytes([data[place] ^ 1]))])
    return data[:place] + lost + kept + data[place + 1 :]


# --- ends before their time ----------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("is_told", [True, False], ids=["close_notify", "none"])
def test_a_body_that_is_cut_reaches_no_app(
    server: LiveServer, authority: Authority, framing: str, is_told: bool
) -> None:
    """RFC 8446 §6.1: an end that is not told may be an attacker's; one that is told comes too soon as well."""
    start = len(server.stdout.lines)
    with Inspector(server, authority.client()) as client:
        client.shake_hands()
        client.tls.write(head(f"/cut-{is_told}", framing, method="POST") + b"32\r\n" + bytes(50))
        if is_told:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.unwrap()
        client.say()
        ended(client.peer)
    line = server.stdout.wait_for(rf'"POST /cut-{is_told} HTTP/1\.1" (\d+) ', start=start)
    assert line[1] == "499"


def test_a_flood_beyond_worker_connections(
    live: Callable[..., LiveServer], authority: Authority, issued: Issued
) -> None:
    """Who is beyond them waits in the backlog until handshakes that stall have had their time."""
    limits = ("--worker-connections", "50", "--header-timeout", "0.5")
    running = live(ECHO, *issued.arguments, *limits, tls=authority.client())
    with running.connect() as known:
        assert known.request(GET).status == 200
        stuck = [Peer(running.address) for _ in range(100)]
        try:
            assert running.get("/next").status == 200
        finally:
            for peer in stuck:
                peer.sock.close()
