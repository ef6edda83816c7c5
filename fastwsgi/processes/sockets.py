"""Listening sockets: what addresses are bound to.

Owns the checks around bind(), and the socket files it made. Must not know requests
or other processes. Invariants: a Listener is non-blocking and closed by exec(); a Unix socket file is
replaced only if nobody listens on it, and unlinked only by the process that made it, or took it over from the
one that did, while it is the same.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ..config.addresses import Address, mistake, parse
from .socket_file import SocketFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Listener", "adopt", "listen", "listen_all"]

PATIENCE: Final = 1.0
"""Seconds to retry a port in use: after a crash the orphaned workers of the server before need a moment to
see that their master is gone, and a supervisor restarts faster than that. Longer would delay the message."""

_RETRY: Final = 0.05


class Listener:
    """A socket that connections are accepted from.

    `server_name` and `server_port` are what PEP 3333 calls so, of this socket; `url` is for the log,
    `tls_url` where TLS is spoken. `address` is what it was asked for by; "" if it was given to us, unasked,
    by a service manager. `made` is the socket file that we made, or took over, and `is_shared` says that
    another master listens there as well: the file is left to it.
    """

    def __init__(self, sock: socket.socket, address: str = "", *, made: SocketFile | None = None) -> None:
        self.sock = sock
        self.address = address
        self.fd = sock.fileno()
        self.is_unix = sock.family == socket.AF_UNIX
        self.made = made
        self.is_shared = False
        self._pid = os.getpid()
        if self.is_unix:
            name = os.fsdecode(sock.getsockname() or "")
            # CGI wants a name and a port; a request that came by file has come from this machine.
            self.server_name, self.server_port = "localhost", "80"
            self.url = f"unix:@{name[1:]}" if name.startswith("\0") else f"unix:{name}"
        else:
            host, port = sock.getsockname()[:2]
            # RFC 3875 §4.1.14: SERVER_NAME may be an IPv6 address, whose brackets belong to the URL.
            self.server_name, self.server_port = host, str(port)
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.tls_url = self.url.replace("http:", "https:", 1)

    def adjust(self, *, backlog: int, umask: int, reuse_port: bool) -> None:
        """Have it listen as new settings say: its backlog, its port, the permissions of its file."""
        self.sock.listen(backlog)
        if self.made is not None:
            with suppress(FileNotFoundError):  # one that is gone needs none
                self.made.permit(0o777 & ~umask)
        elif not self.is_unix:
            self.set_reuse_port(reuse_port)

    def set_reuse_port(self, value: bool) -> None:
        """Let others of this user listen on the same port, or no others from now on."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(value))

    def close(self) -> None:
        """Close it, and unlink the socket file that is ours."""
        self.sock.close()
        if self.made is not None and not self.is_shared and self._pid == os.getpid():
            self.made.delete()


# --- bind ------------------------------------------------------------------------------------------------


def listen_all(
    addresses: Iterable[str],
    *,
    backlog: int,
    umask: int = 0,
    reuse_port: bool = False,
    kept: Iterable[Listener] = (),
    patience: float = PATIENCE,
) -> list[Listener]:
    """Listen on every address, or on none.

    Args:
        addresses: see `parse`.
        backlog: see `listen`, as for `umask`, `reuse_port` and `patience`.
        kept: listeners that are there already; one whose address is wanted stands for it, and the caller
            closes those that are not in the result. Given ones replace all addresses, as in gunicorn.

    Raises:
        ConfigError: as `listen`; those bound here are closed.
    """
    kept = list(kept)
    spare = kept[:]
    given = [listener for listener in spare if not listener.address]
    if given:
        return given
    listeners: list[Listener] = []
    bound: list[Listener] = []
    try:
        for address in addresses:
            wanted = parse(address)
            listener = next((old for old in spare if _is_same(parse(old.address), wanted)), None)
            if listener is None:
                with _room_beside(kept, wanted) as shares:
                    listener = listen(
                        address,
                        backlog=backlog,
                        umask=umask,
                        reuse_port=reuse_port or shares,
                        patience=patience,
                    )
                bound.append(listener)
                if shares:
                    listener.set_reuse_port(reuse_port)
            else:
                spare.remove(listener)
            listeners.append(listener)
    except BaseException:
        for listener in bound:
            listener.close()
        raise
    return listeners


@contextmanager
def _room_beside(listeners: Iterable[Listener], address: Address) -> Iterator[bool]:
    """Let `address` be bound meanwhile although some of ours have its port; say whether there are any.

    127.0.0.1:8000 is to become 0.0.0.0:8000, and the one must not close before the other is there.
    """
    port = str(address.port)
    rivals = [other for other in listeners if not other.is_unix and other.server_port == port]
    before = [other.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for other in rivals]
    for other in rivals:
        other.set_reuse_port(True)
    try:
        yield bool(rivals)
    finally:
        for other, was in zip(rivals, before, strict=True):
            other.set_reuse_port(bool(was))


def _is_same(one: Address, other: Address) -> bool:
    return one._replace(text="") == other._replace(text="")


def listen(
    address: str, *, backlog: int, umask: int = 0, reuse_port: bool = False, patience: float = PATIENCE
) -> Listener:
    """Listen on one address.

    Args:
        address: see `parse`. Port 0 lets the kernel choose one.
        backlog: connections that the kernel may keep waiting.
        umask: permissions withheld from a Unix socket file.
        reuse_port: let other servers of this user listen on the same port.
        patience: seconds to wait for an address in use to become free.

    Raises:
        ConfigError: it cannot be done; one line that names the address and the remedy.
    """
    parsed = parse(address)
    deadline = time.monotonic() + patience
    while True:
        try:
            if parsed.fd >= 0:
                return _adopt(parsed, backlog)
            if parsed.path:
                return _bind_unix(parsed, backlog, umask)
            return _bind_tcp(parsed, backlog, reuse_port=reuse_port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise mistake(address, _explain(exc, parsed)) from None
            time.sleep(_RETRY)


def _bind_tcp(address: Address, backlog: int, *, reuse_port: bool = False) -> Listener:
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    # A name that has both (localhost) means the IPv4 address, as with gunicorn.
    family, kind, protocol, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        # Without it, a restart within a minute would fail on connections in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        return _listen(sock, address, backlog)
    except BaseException:
        sock.close()
        raise


def _bind_unix(address: Address, backlog: int, umask: int) -> Listener:
    path = address.path
    is_file = not path.startswith("\0")
    if is_file:
        _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(umask)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        return _listen(sock, address, backlog, SocketFile.at(path) if is_file else None)
    except BaseException:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    """Unlink a socket file that nobody listens on.

    Raises:
        OSError: EADDRINUSE if somebody does, EEXIST if it is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A listener whose backlog is full would keep a blocking connect() waiting.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "")


def _adopt(address: Address, backlog: int) -> Listener:
    """Take over a descriptor that whoever started us has bound."""
    # Of our own, so that the number stays open for a later start of the same process. It is not for programs
    # that the application runs.
    listener = adopt(os.dup(address.fd), address.text, backlog=backlog)
    os.set_inheritable(address.fd, False)
    return listener


def adopt(fd: int, address: str = "", *, backlog: int, made: SocketFile | None = None) -> Listener:
    """Make a listener of a descriptor that was handed to this process; it is closed if it does not do.

    Raises:
        OSError: it is not open, no stream socket, or one that cannot listen.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        if exc.errno != errno.EBADF:
            os.close(fd)
        raise
    try:
        if sock.type != socket.SOCK_STREAM:
            raise OSError(errno.ENOTSOCK, "")
        _set_flags(sock)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)  # else the backlog is the choice of whoever listens already
        return Listener(sock, address, made=made)
    except BaseException:
        sock.close()
        raise


def _listen(sock: socket.socket, address: Address, backlog: int, made: SocketFile | None = None) -> Listener:
    _set_flags(sock)
    sock.listen(backlog)
    return Listener(sock, address.text, made=made)


def _set_flags(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.set_inheritable(False)


def _explain(exc: OSError, address: Address) -> str:
    """Return why it failed, and what to do, in the user's words."""
    if isinstance(exc, socket.gaierror):
        return f"host {address.host!r} is not known here; use a name or number of this machine, or 0.0.0.0"
    if exc.errno is None:
        # Python's own check, made before the system is asked.
        limit = 107
        length = len(os.fsencode(address.path))
        return f"the path has {length} bytes, and {limit} are allowed; choose a shorter one"
    if address.fd >= 0:
        return f"descriptor {address.fd} is not an open stream socket; whoever starts fastwsgi must pass one"
    directory = os.path.dirname(os.path.abspath(address.path)) if address.path else ""
    in_file = f"directory {directory!r}"
    reasons = {
        errno.EADDRINUSE: "it is in use by another server; stop that one, or choose another address",
        errno.EADDRNOTAVAIL: f"this machine has no address {address.host}; use one that it has, or 0.0.0.0",
        errno.EEXIST: "there is a file that is not a socket; delete it, or choose another path",
        errno.ENOENT: f"{in_file} does not exist; make it, or choose another path",
        errno.ENOTDIR: f"{in_file} is not a directory; choose another path",
        errno.EACCES: f"permission denied for {in_file}; choose a path that this user may write to"
        if address.path
        else "permission denied: ports below 1024 are for root; choose a higher one",
        errno.EPERM: f"permission denied for {in_file}; choose a path that this user may write to",
        errno.EAFNOSUPPORT: "this machine has no IPv6; use an IPv4 address",
    }
    return reasons.get(exc.errno, exc.strerror or str(exc))
