"""A real server in a process of its own, and raw sockets to speak to it.

The kernel chooses the port; the address is read from the server's own boot log, so that a started
server is a ready one and nothing here ever sleeps. The environment is inherited: what the test run
tests (compiled or pure) is what the server runs.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parent.parent
DEADLINE: Final = float(os.environ.get("FASTWSGI_TEST_DEADLINE", "20"))
"""Seconds after which what was waited for is taken to never come."""

ENGINE: Final = tuple(os.environ.get("FASTWSGI_TEST_ENGINE", "").split())
"""Arguments for every server of a run, to test another engine: "--threads 4"."""


TLS: Final = ssl.create_default_context(cafile=CA) if (CA := os.environ.get("FASTWSGI_TEST_CA")) else None
"""How clients connect where ENGINE has `--certfile`, to test TLS; FASTWSGI_TEST_CA has issued the certificate."""


_LISTENING: Final = r"Listening at: (https?://[\d.]+:\d+|unix:\S+)"


def wait_for_line(path: Path, pattern: str) -> None:
    """Wait until a line of a file matches."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not path.exists() or not re.search(pattern, path.read_text()):
        assert time.monotonic() < end, f"{path} without {pattern!r}"
        pause.wait(0.01)


class LogReader:
    """The lines of a pipe, read by a thread as they come, to be waited for by pattern."""

    def __init__(self, pipe: Iterable[str]) -> None:
        self.lines: list[str] = []
        self._new = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: Iterable[str]) -> None:
        for line in pipe:
            with self._new:
                self.lines.append(line.rstrip("\n"))
                self._new.notify_all()
        with self._new:
            self._ended = True
            self._new.notify_all()

    @property
    def text(self) -> str:
        with self._new:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, deadline: float = DEADLINE, *, start: int = 0) -> re.Match[str]:
        """Return the first match in a line from number `start` on; AssertionError if none comes."""
        end = time.monotonic() + deadline
        looked = start
        with self._new:
            while True:
                for line in self.lines[looked:]:
                    if match := re.search(pattern, line):
                        return match
                looked = len(self.lines)
                remaining = end - time.monotonic()
                if self._ended or remaining <= 0 or not self._new.wait(remaining):
                    break
        why = "the log ended" if self._ended else f"{deadline} s passed"
        msg = f"{why} without {pattern!r}; the log:\n{self.text}"
        raise AssertionError(msg)

    def join(self) -> None:
        self._thread.join(DEADLINE)


class Peer:
    """A raw socket to the server, or through `tls`; every wait on it ends after DEADLINE seconds."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
        source: str = "",
    ) -> None:
        """Connect to an address, from another one of this machine if `source` names it."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(DEADLINE)
        try:
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(address)
            if tls is not None:
                # An end without a word of farewell is an error, as a reset is.
                self.sock = tls.wrap_socket(
                    self.sock, server_hostname="localhost", suppress_ragged_eofs=False
                )
        except OSError:
            self.sock.close()
            raise
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, *pieces: bytes) -> None:
        """Send pieces one by one; a server that has closed already is not an error here."""
        try:
            for piece in pieces:
                self.sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass

    def fill(self) -> bool:
        """Read once into the buffer; False at the end of the stream."""
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def read_until(self, mark: bytes) -> bytes:
        """Return what comes up to and with `mark`; the rest stays for the next read."""
        while mark not in self.buffer:
            if not self.fill():
                msg = f"connection closed before {mark!r}, after {self.buffer[-200:]!r}"
                raise AssertionError(msg)
        end = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def read_exactly(self, nbytes: int) -> bytes:
        parts = [self.buffer]
        size = len(self.buffer)
        while size < nbytes:
            data = self.sock.recv(65536)
            if not data:
                msg = f"connection closed after {size} of {nbytes} bytes"
                raise AssertionError(msg)
            parts.append(data)
            size += len(data)
        self.buffer = b"".join(parts)
        taken, self.buffer = self.buffer[:nbytes], self.buffer[nbytes:]
        return taken

    def read_to_end(self) -> bytes:
        """Return all that comes until the server closes; a reset is an error."""
        parts = [self.buffer]
        self.buffer = b""
        while data := self.sock.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)

    def is_closed(self) -> bool:
        """Return whether the stream ends here; a reset is an end for a peer that was still sending."""
        try:
            return self.read_to_end() == b""
        except ConnectionResetError:
            return True

    def response(self, method: str = "GET") -> Reply:
        """Read one response, as its own framing delimits it."""
        return Reply.read(self, method)

    def request(self, data: bytes, method: str = "GET") -> Reply:
        self.send(data)
        return self.response(method)


class Reply:
    """One HTTP response as it came over the wire."""

    def __init__(self, head: bytes, body: bytes, trailer: bytes = b"", framing: str = "") -> None:
        self.head = head
        self.body = body
        self.trailer = trailer
        self.framing = framing  # "length", "chunked", "close" or "none"
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.version, code, self.reason = status_line.split(" ", 2)
        self.status = int(code)
        self.fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def __repr__(self) -> str:
        return f"<Reply {self.head!r} {self.body[:200]!r}>"

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the only field of this name; two would be an error of the server."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @classmethod
    def read(cls, peer: Peer, method: str = "GET") -> Reply:
        head = peer.read_until(b"\r\n\r\n")[:-4]
        reply = cls(head, b"")
        length, coding = reply.get("Content-Length"), reply.get("Transfer-Encoding")
        assert length is None or coding is None, head  # RFC 9112 §6.2
        if method == "HEAD" or reply.status < 200 or reply.status in (204, 304):
            reply.framing = "none"
        elif coding is not None:
            assert coding == "chunked", head
            reply.framing = "chunked"
            while size := int(peer.read_until(b"\r\n"), 16):
                reply.body += peer.read_exactly(size)
                assert peer.read_exactly(2) == b"\r\n"
            reply.trailer = peer.read_until(b"\r\n")
        elif length is not None:
            reply.framing = "length"
            reply.body = peer.read_exactly(int(length))
        else:
            reply.framing = "close"
            reply.body = peer.read_to_end()
        return reply


def head(target: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return the bytes of a request head."""
    lines = [f"{method} {target} HTTP/{version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


class LiveServer:
    """`python -m fastwsgi` on a port of the kernel's choice, or on a Unix socket.

    With `bind` None the address is in a configuration file; `error_log` is the file to which the server logs
    instead of standard error. Raises AssertionError, with the log, if the server does not come up.
    """

    def __init__(
        self,
        app: str,
        *args: str,
        bind: str | None = "127.0.0.1:0",
        env: Mapping[str, str | None] | None = None,
        cwd: str | None = None,
        command: Sequence[str] = (sys.executable, "-m", "fastwsgi"),
        pass_fds: Sequence[int] = (),
        tls: ssl.SSLContext | None = None,
        error_log: Path | None = None,
    ) -> None:
        self._tls = tls or TLS
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        for name, value in (env or {}).items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        self.process = subprocess.Popen(
            [*command, *ENGINE, *args, *(["-b", bind] if bind else []), *([app] if app else [])],
            cwd=cwd or ROOT,
            env=environment,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        assert self.process.stdout
        assert self.process.stderr
        self.stdout = LogReader(self.process.stdout)
        self.log = LogReader(self.process.stderr)
        self.allow_traceback = False
        try:
            if error_log is not None:
                wait_for_line(error_log, _LISTENING)
                self.log = LogReader(error_log.read_text().splitlines())
            url = self.log.wait_for(_LISTENING)[1]
        except BaseException:
            self.kill()
            raise
        self.address: tuple[str, int] | str
        if url.startswith("unix:"):
            self.address = url.removeprefix("unix:")
        else:
            host, _, port = url.partition("://")[2].partition(":")
            self.address = (host, int(port))
        self.url = url

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    def connect(self, *, receive_buffer: int = 0) -> Peer:
        return Peer(self.address, receive_buffer=receive_buffer, tls=self._tls)

    def exchange(self, *pieces: bytes, half_close: bool = False) -> bytes:
        """Send the pieces on a new connection and return all that is answered until it closes."""
        with self.connect() as peer:
            peer.send(*pieces)
            if half_close:
                peer.sock.shutdown(socket.SHUT_WR)
            return peer.read_to_end()

    def request(self, data: bytes, method: str = "GET") -> Reply:
        """Send one request on a new connection and return the first response."""
        with self.connect() as peer:
            return peer.request(data, method)

    def get(self, target: str = "/", *fields: str) -> Reply:
        head = [f"GET {target} HTTP/1.1", "Host: test", *fields, "", ""]
        return self.request("\r\n".join(head).encode("latin-1"))

    def wait_for_log(self, pattern: str, deadline: float = DEADLINE, *, start: int = 0) -> re.Match[str]:
        return self.log.wait_for(pattern, deadline, start=start)

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the server; it must end by itself, with exit code 0 and no traceback in its log."""
        if self.process.poll() is None:
            self.send_signal(number)
        code = self.wait()
        assert code == 0, f"exit code {code}; the log:\n{self.log.text}"
        if not self.allow_traceback:
            assert "Traceback" not in self.log.text, self.log.text

    def wait(self) -> int:
        """Return the exit code, with all output read."""
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            log = self.log.text
            self.kill()
            msg = f"the server did not end; its log:\n{log}"
            raise AssertionError(msg) from None
        self.close()
        return code

    def close(self) -> None:
        self.log.join()
        self.stdout.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def kill(self) -> None:
        """End it at once, workers too: they see their master's death."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.close()
