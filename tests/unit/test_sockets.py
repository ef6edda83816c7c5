"""Addresses as users write them, and sockets bound to them."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from fastwsgi.config.addresses import Address, parse
from fastwsgi.errors import ConfigError
from fastwsgi.processes import socket_file
from fastwsgi.processes.sockets import Listener, listen, listen_all
from tests.live import ROOT

if TYPE_CHECKING:
    from pathlib import Path


# --- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("localhost:65535", "localhost", 65535),
        ("example.test", "example.test", 8000),
        (":8080", "0.0.0.0", 8080),
        ("*:8080", "0.0.0.0", 8080),
        ("8080", "127.0.0.1", 8080),
        ("[::1]:8000", "::1", 8000),
        ("[::]:80", "::", 80),
        ("[]:80", "::", 80),
        ("[::1]", "::1", 8000),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("tcp://127.0.0.1:9000", "127.0.0.1", 9000),
        ("http://127.0.0.1:9000", "127.0.0.1", 9000),
    ],
)
def test_tcp_addresses(text: str, host: str, port: int) -> None:
    assert parse(text) == Address(text, host, port)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:/run/app.sock", "/run/app.sock"),
        ("unix:///run/app.sock", "/run/app.sock"),
        ("unix:app.sock", "app.sock"),
        ("unix:@name", "\0name"),
    ],
)
def test_unix_addresses(text: str, path: str) -> None:
    assert parse(text) == Address(text, path=path)


def test_descriptors() -> None:
    assert parse("fd://3") == Address("fd://3", fd=3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "unix:@",
        "fd://",
        "fd://x",
        "fd://-1",
        "127.0.0.1:http",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1: 80",
        "99999",
        "::1",
        "::1:8000",
        "[::1",
        "[::1]8000",
        "[::1]:x",
        "a:b:c",
    ],
)
def test_mistakes_are_named_with_a_remedy(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert repr(text) in message
    assert "\n" not in message


def test_bare_ipv6_is_shown_with_brackets() -> None:
    with pytest.raises(ConfigError, match=r"\[::1\]:8000"):
        parse("::1")


# --- TCP -----------------------------------------------------------------------------------------------------


def connect(listener: Listener) -> None:
    with socket.socket(listener.sock.family) as client:
        client.settimeout(10)
        client.connect(listener.sock.getsockname())


def test_tcp_listener() -> None:
    listener = listen("127.0.0.1:0", backlog=10)
    port = listener.sock.getsockname()[1]
    assert port > 0
    assert (listener.server_name, listener.server_port) == ("127.0.0.1", str(port))
    assert listener.url == f"http://127.0.0.1:{port}"
    assert not listener.is_unix
    assert listener.fd == listener.sock.fileno()
    assert listener.sock.getblocking() is False
    assert os.get_inheritable(listener.fd) is False
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    connect(listener)
    listener.close()


def test_ipv6_name_has_no_brackets_but_its_url_has() -> None:
    """RFC 3875 §4.1.14."""
    listener = listen("[::1]:0", backlog=10)
    assert listener.server_name == "::1"
    assert listener.url == f"http://[::1]:{listener.server_port}"
    connect(listener)
    listener.close()


def test_localhost_is_ipv4() -> None:
    listener = listen("localhost:0", backlog=10)
    assert listener.server_name == "127.0.0.1"
    listener.close()


def test_port_in_use() -> None:
    first = listen("127.0.0.1:0", backlog=10)
    address = f"127.0.0.1:{first.server_port}"
    with pytest.raises(ConfigError, match="in use by another server") as caught:
        listen(address, backlog=10, patience=0)
    assert repr(address) in str(caught.value)
    first.close()
    listen(address, backlog=10, patience=0).close()


def test_port_in_use_for_a_moment() -> None:
    first = listen("127.0.0.1:0", backlog=10)
    timer = threading.Timer(0.1, first.close)
    timer.start()
    listen(f"127.0.0.1:{first.server_port}", backlog=10, patience=10).close()
    timer.join()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("no-such-host.invalid:80", "host 'no-such-host.invalid' is not known"),
        ("192.0.2.1:0", "no address 192.0.2.1"),
    ],
)
def test_addresses_of_other_machines(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        listen(address, backlog=10, patience=0)


@pytest.mark.parametrize(
    ("number", "words"),
    [("EACCES", "ports below 1024"), ("EAFNOSUPPORT", "no IPv6"), ("EMFILE", "Too many open files")],
)
def test_refusals_of_the_system(monkeypatch: pytest.MonkeyPatch, number: str, words: str) -> None:
    import errno

    code = getattr(errno, number)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fastwsgi.processes.sockets._bind_tcp", refuse)
    with pytest.raises(ConfigError, match=words):
        listen("127.0.0.1:80", backlog=10)


def test_several_or_none() -> None:
    listeners = listen_all(["127.0.0.1:0", "[::1]:0"], backlog=10)
    assert [listener.server_name for listener in listeners] == ["127.0.0.1", "::1"]
    port = listeners[0].server_port
    listeners[1].close()
    listeners[0].close()
    with pytest.raises(ConfigError):
        listen_all([f"127.0.0.1:{port}", "127.0.0.1:x"], backlog=10)
    listen(f"127.0.0.1:{port}", backlog=10, patience=0).close()


def test_reuse_port() -> None:
    first = listen("127.0.0.1:0", backlog=10, reuse_port=True)
    assert first.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    second = listen(f"127.0.0.1:{first.server_port}", backlog=10, reuse_port=True, patience=0)
    with pytest.raises(ConfigError, match="in use"):
        listen(f"127.0.0.1:{first.server_port}", backlog=10, patience=0)
    first.close()
    connect(second)
    second.close()


def test_an_address_that_is_there_already_is_kept() -> None:
    old = listen_all(["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"], backlog=10)
    new = listen_all(["[::]:0", "tcp://127.0.0.1:0", "127.0.0.1:0"], backlog=10, kept=old)
    assert new[1:] == old[:2]
    assert new[0] not in old
    assert new[0].address == "[::]:0"
    connect(old[2])
    for listener in {*old, *new}:
        listener.close()


@pytest.mark.parametrize(
    ("before", "after"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "localhost")]
)
def test_another_host_with_the_port_of_one_that_is_kept(before: str, after: str) -> None:
    (old,) = listen_all([f"{before}:0"], backlog=10)
    (new,) = listen_all([f"{after}:{old.server_port}"], backlog=10, kept=[old], patience=0)
    for listener in (old, new):
        assert not listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    old.close()
    connect(new)
    with pytest.raises(ConfigError, match="in use by another server"):
        listen(f"127.0.0.1:{new.server_port}", backlog=10, patience=0)
    new.close()


def test_a_port_of_a_stranger_is_none_to_share() -> None:
    (stranger,), (ours,) = (listen_all(["127.0.0.1:0"], backlog=10) for _ in range(2))
    with pytest.raises(ConfigError, match="in use by another server"):
        listen_all([f"127.0.0.1:{stranger.server_port}"], backlog=10, kept=[ours], patience=0)
    stranger.close()
    ours.close()


def test_new_settings_of_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    tcp, unix = listen_all(["127.0.0.1:0", f"unix:{path}"], backlog=10)
    for listener in (tcp, unix):
        listener.adjust(backlog=20, umask=0o007, reuse_port=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    path.unlink()
    unix.adjust(backlog=20, umask=0, reuse_port=True)  # a reload is not refused half way for that
    other = listen(f"127.0.0.1:{tcp.server_port}", backlog=10, reuse_port=True, patience=0)
    for listener in (tcp, unix, other):
        listener.close()


def test_what_is_kept_stays_open_when_another_address_cannot_be_had() -> None:
    old = listen_all(["127.0.0.1:0"], backlog=10)
    with pytest.raises(ConfigError):
        listen_all(["127.0.0.1:0", "127.0.0.1:x"], backlog=10, kept=old)
    connect(old[0])
    old[0].close()


# --- Unix sockets --------------------------------------------------------------------------------------------


def test_unix_listener(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    listener = listen(f"unix:{path}", backlog=10)
    assert listener.is_unix
    assert (listener.server_name, listener.server_port) == ("localhost", "80")
    assert listener.url == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    connect(listener)
    listener.close()
    assert not path.exists()


def test_umask_is_for_the_socket_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        listener = listen(f"unix:{tmp_path / 'app.sock'}", backlog=10, umask=0o077)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "app.sock").stat().st_mode) == 0o700
    listener.close()


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert path.exists()
    listener = listen(f"unix:{path}", backlog=10, patience=0)
    connect(listener)
    listener.close()


def test_living_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    first = listen(f"unix:{path}", backlog=10)
    with pytest.raises(ConfigError, match="in use by another server"):
        listen(f"unix:{path}", backlog=10, patience=0)
    connect(first)
    first.close()


def test_living_socket_with_a_full_backlog_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    first = listen(f"unix:{path}", backlog=0)
    clients = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        clients.append(client)
        try:
            client.connect(str(path))
        except BlockingIOError:
            break
    with pytest.raises(ConfigError, match="in use by another server"):
        listen(f"unix:{path}", backlog=10, patience=0)
    for client in clients:
        client.close()
    first.close()


def test_a_file_that_is_no_socket_is_left(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="not a socket"):
        listen(f"unix:{path}", backlog=10, patience=0)
    assert path.read_text() == "data"


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing' does not exist"):
        listen(f"unix:{tmp_path / 'missing' / 'app.sock'}", backlog=10, patience=0)


def test_file_for_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="not a directory"):
        listen(f"unix:{tmp_path / 'file' / 'app.sock'}", backlog=10, patience=0)


def test_path_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 200)
    with pytest.raises(ConfigError, match=f"the path has {len(str(path))} bytes, and 107"):
        listen(f"unix:{path}", backlog=10, patience=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_directory_of_another(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="permission denied"):
        listen(f"unix:{tmp_path / 'app.sock'}", backlog=10, patience=0)


def test_close_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    first = listen(f"unix:{path}", backlog=10)
    path.unlink()
    second = listen(f"unix:{path}", backlog=10)
    first.close()
    connect(second)
    second.close()
    assert not path.exists()


def test_close_leaves_the_file_if_others_serve_on_it(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    listener = listen(f"unix:{path}", backlog=10)
    listener.is_shared = True
    listener.close()
    assert path.exists()


def test_another_file_in_place_of_the_socket_is_left_as_it_is(tmp_path: Path) -> None:
    """The workers' user may own the folder, and the master be root."""
    path, precious = tmp_path / "app.sock", tmp_path / "precious"
    precious.touch(0o600)
    listener = listen(f"unix:{path}", backlog=10)
    assert listener.made
    path.unlink()
    for put in (path.symlink_to, path.hardlink_to):
        put(precious)
        listener.adjust(backlog=10, umask=0, reuse_port=False)
        with pytest.raises(FileNotFoundError, match=r"place.*app\.sock"):
            listener.made.give(os.getuid(), os.getgid())
        assert stat.S_IMODE(precious.stat().st_mode) == 0o600
        path.unlink()
    path.symlink_to(precious)
    listener.close()
    assert path.is_symlink()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="what else there is, is tested by all others")
def test_socket_files_of_systems_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_file, "_BY_NUMBER", "/nonexistent")
    path = tmp_path / "app.sock"
    listener = listen(f"unix:{path}", backlog=10)
    listener.adjust(backlog=10, umask=0o027, reuse_port=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    path.rename(tmp_path / "elsewhere")
    path.touch(0o600)
    listener.adjust(backlog=10, umask=0, reuse_port=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()
    assert path.exists()


def test_a_fork_does_not_unlink(tmp_path: Path) -> None:
    script = f"""
import os
from fastwsgi.processes.sockets import listen
listener = listen("unix:{tmp_path}/app.sock", backlog=1)
pid = os.fork()
if pid == 0:
    listener.close()
    os._exit(0)
os.waitpid(pid, 0)
print(os.path.exists("{tmp_path}/app.sock"))
listener.close()
print(os.path.exists("{tmp_path}/app.sock"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\nFalse\n"


def test_close_after_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listener = listen("unix:app.sock", backlog=10)
    monkeypatch.chdir("/")
    listener.close()
    assert not (tmp_path / "app.sock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_listener() -> None:
    name = f"fastwsgi-test-{os.getpid()}"
    listener = listen(f"unix:@{name}", backlog=10)
    assert listener.url == f"unix:@{name}"
    connect(listener)
    with pytest.raises(ConfigError, match="in use"):
        listen(f"unix:@{name}", backlog=10, patience=0)
    listener.close()


# --- inherited -----------------------------------------------------------------------------------------------


def test_inherited_descriptor() -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.set_inheritable(True)
        listener = listen(f"fd://{given.fileno()}", backlog=10)
        assert not given.get_inheritable()  # by programs that the application runs
        assert listener.address == f"fd://{given.fileno()}"
        assert listener.server_port == str(given.getsockname()[1])
        connect(listener)
        listener.close()
        assert given.fileno() >= 0


@pytest.mark.parametrize("kind", ["closed", "file", "datagram"])
def test_descriptors_that_are_no_listeners(tmp_path: Path, kind: str) -> None:
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    other = socket.socket(type=socket.SOCK_DGRAM)
    if kind == "closed":
        os.close(fd)
    number = other.fileno() if kind == "datagram" else fd
    with pytest.raises(ConfigError, match=f"descriptor {number} is not an open stream socket"):
        listen(f"fd://{number}", backlog=10, patience=0)
    other.close()
    if kind != "closed":
        os.close(fd)
