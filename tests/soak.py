"""Good and hostile clients together against two workers that are reloaded every ten seconds.

    python -m tests.soak [SECONDS] [--seed N]

Every request is accounted for: what a client did, and what came of it. Exit code 1 if anything came that must
not come, from the clients' view, in the log, or in what the processes hold afterwards.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from fastwsgi import _impl
from tests.apps.traffic import expected
from tests.corpus import cases
from tests.live import LiveServer, Peer, Reply, head
from tests.processes import children, descriptors, eventually, memory, wait_for_end, wait_for_workers
from tests.traffic import MOST_FAILURES, Traffic, fault_of, request_for

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS: Final = 2
RELOAD_EVERY: Final = 10.0
GOOD, HOSTILE, WAITING = 6, 5, 3
"""Clients: good ones, hostile ones, and such as only wait until the server has had enough of them."""

MOST_BODY: Final = 1_000_000
ARGS: Final = (
    *("--workers", str(WORKERS), "--log-level", "debug"),
    *("--keep-alive", "2", "--header-timeout", "2", "--body-timeout", "2"),
    *("--body-buffer-size", "65536", "--limit-request-body", str(MOST_BODY)),
)
MASTER_MAY_GROW: Final = 4 << 20
MUST_NOT_BE_LOGGED: Final = (
    r"Error in the server itself|WORKER TIMEOUT|crashed with|exited with code|SIGKILL|Reload (failed|ended|refused)"
    r"|fails$|CRITICAL|The master is gone"
)


def reset_at_close(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def check(reply: Reply, path: str, token: bytes) -> None:
    fault = fault_of(reply, path, token)
    assert not fault, fault


# --- hostile clients: each does one thing, and returns in a word what came of it -----------------------------


def sends_what_is_invalid(server: LiveServer, rng: random.Random) -> str:
    case = rng.choice(cases.INVALID)
    with server.connect() as peer:
        peer.send(*(case.pieces(rng) if rng.random() < 0.5 else [case.raw]))
        for request in case.requests:
            reply = peer.response(request["method"])
            while reply.status == 100:
                reply = peer.response(request["method"])
            if reply.get("Connection") == "close":
                return "sent away"  # by a worker that stops: the rest of a pipeline is not its business
        reply = peer.response()
        assert reply.status in case.statuses, (case.name, reply)
        assert reply.get("Connection") == "close"
        assert peer.read_to_end() == b""
    return str(reply.status)


def sends_noise(server: LiveServer, rng: random.Random) -> str:
    with server.connect() as peer:
        peer.send(rng.randbytes(rng.randrange(1, 3000)))
        peer.sock.shutdown(socket.SHUT_WR)
        answer = peer.read_to_end()
    if not answer:
        return "nothing"  # it could have become a request
    assert re.match(rb"HTTP/1\.1 (4\d\d|501|505) ", answer), answer[:100]
    return answer[9:12].decode()


def dribbles(server: LiveServer, rng: random.Random) -> str:
    data = head("/?dribbled", "X-Long: " + "x" * rng.randrange(100))
    with server.connect() as peer:
        for byte in data:
            peer.send(bytes([byte]))
        check(peer.response(), "/", b"dribbled")
    return "200"


def goes_in_a_request(server: LiveServer, rng: random.Random) -> str:
    data = head("/echo", "Content-Length: 200000", method="POST") + b"x" * 199_999
    with server.connect() as peer:
        peer.send(data[: rng.choice((0, 10, 100, 70_000, 190_000))])
        if rng.random() < 0.5:
            reset_at_close(peer)
    return "gone"


def goes_in_an_answer(server: LiveServer, rng: random.Random) -> str:
    with server.connect() as peer:
        path = rng.choice(("/big", "/stream", "/write-much", "/file"))
        peer.send(head(f"{path}?x") * rng.randrange(1, 20))
        if rng.random() < 0.5:
            peer.fill()
        if rng.random() < 0.5:
            reset_at_close(peer)
    return "gone"


def reads_slowly(server: LiveServer, rng: random.Random) -> str:
    with server.connect(receive_buffer=8192) as peer:
        peer.send(head("/write-much?slow", "Connection: close"))
        pause, size = threading.Event(), 0
        while peer.fill():
            size += len(peer.buffer)
            tail, peer.buffer = peer.buffer[-5:], b""
            if rng.random() < 0.05:
                pause.wait(0.01)
    assert tail == b"0\r\n\r\n", (size, tail)
    assert size > 50 * len(expected("/big", b"slow"))
    return "whole"


def pipelines(server: LiveServer, rng: random.Random) -> str:
    tokens = [b"%d" % rng.getrandbits(40) for _ in range(rng.randrange(2, 60))]
    paths = [rng.choice(("/", "/stream", "/write", "/echo", "/chunked")) for _ in tokens]
    with server.connect() as peer:
        peer.send(b"".join(request_for(path, token) for path, token in zip(paths, tokens, strict=True)))
        for number, (path, token) in enumerate(zip(paths, tokens, strict=True)):
            reply = peer.response()
            check(reply, path, token)
            if reply.get("Connection") == "close" and number < len(tokens) - 1:
                return "sent away"
    return "whole"


def half_closes(server: LiveServer, rng: random.Random) -> str:
    token = b"%d" % rng.getrandbits(40)
    with server.connect() as peer:
        peer.send(request_for("/stream", token))
        peer.sock.shutdown(socket.SHUT_WR)
        check(peer.response(), "/stream", token)
        assert peer.read_to_end() == b""
    return "200"


def uploads(server: LiveServer, rng: random.Random) -> str:
    body = rng.randbytes(rng.choice((10, 60_000, 300_000)))
    fields = [f"Content-Length: {len(body)}"]
    with server.connect() as peer:
        if rng.random() < 0.5:
            peer.send(head("/echo", "Expect: 100-continue", *fields, method="POST"))
            assert peer.response().status == 100
        else:
            peer.send(head("/echo", *fields, method="POST"))
        peer.send(body)
        check(peer.response(), "/echo", body)
    return "200"


def uploads_too_much(server: LiveServer, rng: random.Random) -> str:
    fields = "Transfer-Encoding: chunked" if rng.random() < 0.5 else f"Content-Length: {MOST_BODY + 1}"
    chunk = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    with server.connect() as peer:
        peer.send(head("/echo", fields, method="POST"), *[chunk] * 17)
        assert peer.response().status == 413
    return "413"


def meets_an_error(server: LiveServer, rng: random.Random) -> str:
    with server.connect() as peer:
        if rng.random() < 0.5:
            assert peer.request(head("/error")).status == 500
            return "500"
        peer.send(head("/fails-late?x"))
        answer = peer.read_to_end()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert not answer.endswith(b"0\r\n\r\n")
    return "cut off"


def knocks_and_runs(server: LiveServer, rng: random.Random) -> str:
    peers = [server.connect() for _ in range(20)]
    for peer in peers:
        if rng.random() < 0.5:
            reset_at_close(peer)
        peer.sock.close()
    return "gone"


# --- those who wait ------------------------------------------------------------------------------------------


def stays_after_a_request(server: LiveServer, rng: random.Random) -> str:
    with server.connect() as peer:
        check(peer.request(head("/?stays")), "/", b"stays")
        assert peer.read_to_end() == b""
    return "closed"


def stays_silent(server: LiveServer, rng: random.Random) -> str:
    with server.connect() as peer:
        assert peer.read_to_end() == b""
    return "closed"


def stops_in_a_request(server: LiveServer, rng: random.Random) -> str:
    whole = head("/echo", "Content-Length: 9", method="POST") + b"12345678"
    with server.connect() as peer:
        peer.send(whole[: rng.randrange(1, len(whole))])
        assert peer.response().status == 408
        assert peer.read_to_end() == b""
    return "408"


HOSTILE_DEEDS: Final = (
    sends_what_is_invalid,
    sends_noise,
    dribbles,
    goes_in_a_request,
    goes_in_an_answer,
    reads_slowly,
    pipelines,
    half_closes,
    uploads,
    uploads_too_much,
    meets_an_error,
    knocks_and_runs,
)
WAITING_DEEDS: Final = (stays_after_a_request, stays_silent, stops_in_a_request)


class Hostile:
    """Threads that do these things in a `with` block, and count what came of them."""

    def __init__(self, server: LiveServer, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []
        self._server, self._seed = server, seed
        self._lock = threading.Lock()
        self._stop = threading.Event()
        kinds = [HOSTILE_DEEDS] * HOSTILE + [WAITING_DEEDS] * WAITING
        self._threads = [
            threading.Thread(target=self._run, args=(number, deeds), daemon=True)
            for number, deeds in enumerate(kinds)
        ]

    def __enter__(self) -> Hostile:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, deeds: tuple[Callable[[LiveServer, random.Random], str], ...]) -> None:
        rng = random.Random(f"{self._seed} {number}")
        while not self._stop.is_set() and len(self.failures) < MOST_FAILURES:
            deed = rng.choice(deeds)
            try:
                outcome = deed(self._server, rng)
            except Exception as exc:
                with self._lock:
                    self.failures.append(f"{deed.__name__}: {exc!r}"[:500])
                continue
            with self._lock:
                self.outcomes[f"{deed.__name__}: {outcome}"] += 1


# --- the run -------------------------------------------------------------------------------------------------


def reload(server: LiveServer) -> float:
    """HUP; return the seconds until all workers are new and the old ones gone."""
    began = time.monotonic()
    old = wait_for_workers(server, WORKERS)
    start = len(server.log.lines)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log(f"Reload complete, workers in service: {WORKERS}", start=start)
    for pid in old:
        wait_for_end(pid)
    return time.monotonic() - began


def soak(server: LiveServer, seconds: float, seed: int) -> list[str]:
    """Load a server and print what came of it; return what must not have come."""
    wait_for_workers(server, WORKERS)
    for _ in range(10):
        server.get("/?warm")
    fresh = max(descriptors(pid) for pid in children(server.pid))
    before, open_before = memory(server.pid), descriptors(server.pid)
    end = time.monotonic() + seconds
    reloads: list[float] = []
    pause = threading.Event()
    good = Traffic(server.address, clients=GOOD, one_shot=1, most=1 << 40, seed=seed)
    with good, Hostile(server, seed) as hostile:
        while (left := end - time.monotonic()) > 0:
            pause.wait(min(left, RELOAD_EVERY))
            reloads.append(reload(server))
            print(f"{good.total} answered, {hostile.outcomes.total()} deeds, reload took {reloads[-1]:.1f} s")
            if len(good.failures) + len(hostile.failures) >= MOST_FAILURES:
                break
    faults = [f"good client: {what} (worker {pid})" for pid, what in good.failures]
    faults += [f"hostile client: {what}" for what in hostile.failures]
    grown = memory(server.pid) - before
    if grown > MASTER_MAY_GROW:
        faults.append(f"the master grew by {grown} bytes")
    try:
        eventually(lambda: descriptors(server.pid) <= open_before)
    except AssertionError:
        faults.append(f"the master holds {descriptors(server.pid)} descriptors, before {open_before}")
    try:
        eventually(lambda: all(descriptors(pid) <= fresh for pid in children(server.pid)))
    except AssertionError:
        faults.append(f"a worker holds more than {fresh} descriptors after all have gone")
    log = server.log.text
    faults += [f"log: {line}" for line in log.splitlines() if re.search(MUST_NOT_BE_LOGGED, line)]
    errors, told = log.count("Error handling request GET /error"), hostile.outcomes["meets_an_error: 500"]
    if errors != told:
        faults.append(f"{told} errors were answered, and {errors} logged")

    for name, count in sorted(good.answered.items()):
        print(f"{count:9d}  good client: {name}")
    for name, count in sorted(hostile.outcomes.items()):
        print(f"{count:9d}  {name}")
    print(
        f"{good.total} requests of good clients on {good.connections} connections, {good.told_to_close} told to "
        f"close, {good.late + good.gave_up} late; {hostile.outcomes.total()} hostile deeds; "
        f"{len(reloads)} reloads of {max(reloads):.1f} s at most; the master grew by {grown // 1024} KiB"
    )
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("seconds", type=float, nargs="?", default=120.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"fastwsgi: {_impl.describe()}; {options.seconds:g} s, --seed {options.seed}")
    server = LiveServer("tests.apps.traffic:app", *ARGS)
    server.allow_traceback = True
    try:
        faults = soak(server, options.seconds, options.seed)
        try:
            server.stop()
        except AssertionError as exc:
            faults.append(f"at the end: {exc}"[:500])
    finally:
        server.kill()
    for fault in faults:
        print(f"FAULT  {fault}")
    print("no faults" if not faults else f"{len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
