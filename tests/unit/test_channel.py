"""When a channel has its socket hold nothing back (TCP_NODELAY), and what it knows of the courier."""

from __future__ import annotations

import io
import os
import socket
import ssl
import threading
from contextlib import closing, contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

import pytest

from fastwsgi import _impl
from fastwsgi.channel import Channel
from fastwsgi.connection import Connection
from fastwsgi.endpoint import Endpoint
from fastwsgi.forwarding import Forwarding
from fastwsgi.request import Limits
from fastwsgi.runner import Runner
from fastwsgi.states import DRAINED, FULL, GONE
from fastwsgi.tunnel import Tunnel
from tests.certificates import Authority, needs_openssl
from tests.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMITS = Limits()


def endpoint(open_tunnel: Callable[[str], Tunnel] | None = None) -> Endpoint:
    parser = _impl.Parser(LIMITS, Forwarding())
    serializer = _impl.Serializer("fastwsgi")
    return Endpoint(parser, serializer, {}, LIMITS, open_spool=io.BytesIO, open_tunnel=open_tunnel)


@contextmanager
def accepted() -> Iterator[tuple[Channel, socket.socket]]:
    """Give a channel for a new connection, and the client's end of that."""
    with (
        closing(_impl.IO()) as ours,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        ours.register_listener(listener.fileno(), "listener")
        fd = ours.accept(listener.fileno())
        connection = Connection(endpoint(), ours.peer_addr, ours.peer_port, 0.0)
        yield Channel(ours, fd, endpoint(), connection), client


@pytest.mark.parametrize(
    ("sends", "is_hurried"),
    [
        pytest.param([([b"all of it"], True)], False, id="the only piece"),
        pytest.param([([b"a piece"], False)], True, id="more may follow"),
        pytest.param([([b"two", b"pieces"], True)], True, id="several"),
        pytest.param([([b"a piece"], False), ([b"the last"], True)], True, id="the last of several"),
    ],
)
def test_only_what_leaves_with_the_end_of_the_stream_needs_no_hurry(
    sends: list[tuple[list[bytes], bool]], is_hurried: bool
) -> None:
    with accepted() as (channel, client):
        connection = channel.connection
        for pieces, is_last in sends:
            connection.out.extend(pieces)
            assert channel.send(is_last) == DRAINED
        with socket.socket(fileno=os.dup(channel.fd)) as ours:
            is_set = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert bool(is_set) == is_hurried
        channel.close()
        with client.makefile("rb") as stream:
            assert stream.read() == b"".join(piece for pieces, _ in sends for piece in pieces)


@pytest.mark.skipif(not _impl.compiled, reason="carries nothing")
def test_what_the_courier_sent_counts_though_the_client_goes_then() -> None:
    """Or the log would say that it went before it was answered (499)."""
    with accepted() as (channel, client):
        connection = channel.connection
        courier = _impl.Courier()
        channel.runner = Runner(0, _impl.Serializer("fastwsgi"), courier, copy_context())
        connection.out.append(b"a piece")
        assert channel.hold()
        assert client.recv(1) == b"a"
        client.close()
        eventually(lambda: not courier.carry(channel.fd, [b"more"]))
        assert channel.send() == GONE
        assert channel.sends > 0
        channel.close()


# --- TLS -----------------------------------------------------------------------------------------------------


@contextmanager
def sealed(authority: Authority, context: ssl.SSLContext) -> Iterator[tuple[Channel, ssl.SSLSocket]]:
    """Give a channel that speaks TLS, over sockets that count bytes in a way that repeats."""
    one, other = socket.socketpair()
    with closing(_impl.IO()) as ours, other:
        one.setblocking(False)
        target = endpoint(lambda peer: Tunnel(context, peer))
        channel = Channel(ours, one.detach(), target, Connection(target, "", "", 0.0))
        client: list[ssl.SSLSocket] = []
        wrap = authority.client().wrap_socket
        thread = threading.Thread(
            target=lambda: client.append(wrap(other, server_hostname="localhost", suppress_ragged_eofs=False))
        )
        thread.start()
        while not channel.tunnel.established:
            channel.receive()
            assert channel.send() == DRAINED
        thread.join()
        with client[0]:
            yield channel, client[0]


@needs_openssl
def test_a_farewell_for_which_there_is_no_room_yet_is_not_lost(tmp_path: Path) -> None:
    """A client that reads slowly would take the end of the stream for an attack (RFC 8446 §6.1)."""
    authority = Authority(tmp_path)
    issued = authority.issue()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    piece = b"x" * 1000
    with sealed(authority, context) as (channel, _):
        most = 0
        channel.connection.out.append(piece)
        while channel.send() == DRAINED:
            most += 1
            channel.connection.out.append(piece)
    with sealed(authority, context) as (channel, client):
        for _ in range(most):
            channel.connection.out.append(piece)
            assert channel.send() == DRAINED
        channel.connection.close()
        assert channel.send(is_last=True) == FULL
        got = 0
        while got < most * len(piece):
            got += len(client.recv(65536))
        assert channel.send(is_last=True) == DRAINED
        channel.close()
        assert client.recv(1) == b""  # and no SSLEOFError
