"""The parts of bench/ that measure nothing: what is chosen, when a row counts, what is reached, how long it takes."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.load import Counts, WrkError
from bench.options import choose
from bench.plan import CASES, QUICK_CASES, QUICK_SERVERS, SECTIONS
from bench.processes import Usage
from bench.progress import Progress
from bench.race import Method, Race
from bench.responses import Reader, Size, WrongResponseError
from bench.rounds import Round, Row
from bench.run import is_sound, wrong_rows
from bench.servers import OURS, PEERS, SERVERS, Certificate, Server, Shape, Unsupported
from bench.targets import BEST, Target, judge

if TYPE_CHECKING:
    from collections.abc import Callable

TLS = Certificate(Path("/tls/chain.pem"), Path("/tls/key.pem"))
LOG = Path("/logs/access.log")
PYTHON = "/environment/bin/python"
RIGHT = Counts(
    requests=1000,
    bytes=148_000,
    duration_us=2_000_000,
    p50_us=500.0,
    p99_us=900.0,
    max_us=1000.0,
    connect=0,
    read=0,
    write=0,
    status=0,
    timeout=0,
)


SIZE = Size(148, 135)


def a_round(cpu: float, foreign: float = 0.0) -> Round:
    return Round(RIGHT, Usage(cpu, 0.0, 1, 1), foreign, 0.0, 1 << 20)


# what is chosen


def test_everything_is_run_if_nothing_is_chosen() -> None:
    cases, sections, servers = choose("", "", quick=False)
    assert cases == list(CASES)
    assert sections == list(SECTIONS)
    assert [server.name for server in servers] == [name for name in SERVERS if name != "fastwsgi-pure"]


def test_a_quick_run_is_a_part_of_it() -> None:
    cases, sections, servers = choose("", "", quick=True)
    assert [case.name for case in cases] == list(QUICK_CASES)
    assert sections == ["footprint"]
    assert [server.name for server in servers] == list(QUICK_SERVERS)


@pytest.mark.parametrize("quick", [False, True])
def test_cases_sections_and_servers_are_chosen_by_name(quick: bool) -> None:
    cases, sections, servers = choose("hello, mix,flask", "bjoern,fastwsgi-pure", quick=quick)
    assert [case.name for case in cases] == ["hello", "flask"]
    assert sections == ["mix"]
    # Without ours nothing can be compared.
    assert [server.name for server in servers] == [OURS, "bjoern", "fastwsgi-pure"]


@pytest.mark.parametrize(("only", "servers"), [("helo", ""), ("", "gunicorn")])
def test_a_name_that_is_none_is_told(only: str, servers: str) -> None:
    with pytest.raises(KeyError, match=r"helo|gunicorn"):
        choose(only, servers, quick=False)


# the commands of all servers in all shapes


SHAPES = {
    "plain": Shape(),
    "workers": Shape(workers=2),
    "threads": Shape(threads=32),
    "access log": Shape(access_log=LOG),
    "tls": Shape(tls=TLS),
}


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_has_a_command_for_a_shape_or_a_reason(name: str, shape: str) -> None:
    try:
        command = SERVERS[name].command(PYTHON, 8123, "module:app", SHAPES[shape])
    except Unsupported:
        assert shape != "plain"
        return
    words = " ".join(command)
    assert "8123" in words
    assert "{" not in words
    assert "/environment/bin/" in words
    assert ("module:app" in words) == (name != "floor")
    assert (str(LOG) in words) == (shape == "access log")
    assert (str(TLS.chain) in words and str(TLS.key) in words) == (shape == "tls")
    if shape == "workers" or (shape == "threads" and SERVERS[name].threads):
        assert ("2" if shape == "workers" else "32") in words.replace("=", " ").split()


def test_only_what_is_ours_needs_no_environment() -> None:
    assert SERVERS.keys() - PEERS == {"floor", OURS, "fastwsgi-pure"}


def test_cases_have_a_name_each_and_speak_of_servers_that_there_are() -> None:
    names = [case.name for case in CASES]
    assert len({*names, *SECTIONS}) == len(names) + len(SECTIONS)
    assert set(QUICK_CASES) <= set(names)
    for case in CASES:
        assert case.without.keys() <= SERVERS.keys()
        assert (Path("bench/wrk") / case.script).is_file()
        for target in case.targets:
            assert not target.case or target.case in names
            assert target.server in {"", BEST, *SERVERS}


def test_a_race_skips_with_a_reason_and_runs_slow_servers_less(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "threads-hello")
    race = Race(case, Method(), dict.fromkeys(SERVERS.values(), PYTHON), tmp_path, TLS)
    assert race.skipped["bjoern"] == "it has one thread"
    assert race.skipped["floor"] == "it knows no application"
    assert race.rows[OURS].wanted == 3
    assert race.rows["waitress"].wanted == 2
    assert race.rows.keys() | race.skipped.keys() == SERVERS.keys()
    assert race.planned == sum(row.wanted for row in race.rows.values())


def test_a_server_that_fails_wrk_has_its_fault_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_round(_race: Race, server: Server, _row: Row) -> Round:
        if server.name == "bjoern":
            raise WrkError("wrk did not end within 33 s")
        return a_round(0.01)

    monkeypatch.setattr(Race, "_run_round", run_round)
    pythons = {SERVERS[name]: PYTHON for name in (OURS, "bjoern", "granian")}
    race = Race(CASES[0], Method(), pythons, tmp_path, TLS)
    race.run(Progress(race.planned, lambda _: None))
    assert race.rows["bjoern"].faults == ["wrk did not end within 33 s"]
    assert len(race.rows[OURS].rounds) == len(race.rows["granian"].rounds) == Method.rounds


# when a row counts


def test_right_responses_have_no_fault() -> None:
    assert RIGHT.faults(SIZE, 50) == []
    # Servers that send head and body apart leave heads alone at the end.
    assert replace(RIGHT, bytes=148_000 + 50 * 135).faults(SIZE, 50) == []
    assert replace(RIGHT, bytes=148_000 + 147).faults(SIZE, 50) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": 1}, "1 status errors"),
        ({"timeout": 2}, "2 timeout errors"),
        ({"read": 3}, "3 read errors"),
        ({"connect": 1}, "1 connect errors"),
        ({"write": 1}, "1 write errors"),
        ({"bytes": 147_999}, "not all were right"),
        ({"bytes": 148_001}, "not all were right"),
        ({"bytes": 148_000 + 149}, "not all were right"),
        ({"bytes": 148_000 + 50 * 148 + 1}, "not all were right"),
        ({"requests": 0, "bytes": 0}, "no response at all"),
    ],
)
def test_one_wrong_response_is_a_fault(changed: dict[str, int], said: str) -> None:
    counts = replace(RIGHT, **changed)
    assert any(said in fault for fault in counts.faults(SIZE, 50))


def test_one_fault_makes_the_row_invalid_and_leaves_no_figure() -> None:
    row = Row("one", 2, 0.04, [a_round(0.01), a_round(0.02)])
    assert row.figure("cpu_us") == pytest.approx(15)
    row.faults.append("1 status errors")
    assert row.figure("cpu_us") is None
    told = row.as_json()
    assert not told["valid"]
    assert "cpu_us" not in told
    assert wrong_rows({"cases": [{"name": "hello", "rows": [told]}]}) == [("hello", told)]


@pytest.mark.parametrize(
    ("server", "skipped", "sound"),
    [
        ("", {}, True),
        ("bjoern", {"uwsgi": "it does not install"}, True),
        (OURS, {}, False),
        ("floor", {}, False),
        ("", {"mix": "locust does not install"}, False),
    ],
)
def test_a_run_fails_by_what_is_ours_and_by_what_is_missing(
    server: str, skipped: dict[str, str], sound: bool
) -> None:
    row = {"server": server, "valid": not server, "faults": []}
    assert is_sound({"cases": [{"name": "hello", "rows": [row]}], "skipped": skipped}) is sound


def test_a_row_without_a_round_is_invalid() -> None:
    told = Row("one", 2, 0.04).as_json()
    assert (told["valid"], told["faults"]) == (False, ["no round"])


def test_only_calm_rounds_count_if_there_are_enough() -> None:
    row = Row("one", 2, 0.04, [a_round(0.9, 0.5), a_round(0.01), a_round(0.03)])
    assert not row.wants_more
    assert row.figure("cpu_us") == pytest.approx(20)
    few = Row("one", 2, 0.04, [a_round(0.01), a_round(0.03, 0.06), a_round(0.9, 0.5)])
    assert few.wants_more
    assert few.figure("cpu_us") == pytest.approx(20)
    assert (few.as_json()["calm_rounds"], few.as_json()["wanted_rounds"]) == (1, 2)


# what a client reads


def read(data: bytes, body: bytes, *, stays: bool = True) -> Size:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)  # which fits into the socket's buffer
        theirs.shutdown(socket.SHUT_WR)
        return Reader(ours).read(body, stays=stays)


def test_bodies_are_read_in_each_framing() -> None:
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert read(plain, b"hello") == (len(plain), len(plain) - 5)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    assert read(chunked, b"hello").whole == len(chunked)
    until_the_end = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert read(until_the_end, b"hello", stays=False).whole == len(until_the_end)


@pytest.mark.parametrize(
    ("data", "stays"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nhello", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", True),
        (b"", True),
    ],
)
def test_any_other_response_is_wrong(data: bytes, stays: bool) -> None:
    with pytest.raises(WrongResponseError):
        read(data, b"hello", stays=stays)


# what is reached


def figures(values: dict[tuple[str, str], float]) -> Callable[[str, str, str], float | None]:
    return lambda case, server, name: values.get((case, server)) if name == "cpu_us" else None


MEASURED: dict[tuple[str, str], float] = {
    ("hello", OURS): 5.0,
    ("hello", "floor"): 4.0,
    ("hello", "bjoern"): 8.0,
    ("hello", "fastpysgi"): 6.0,
    ("log", OURS): 5.9,
    ("threads", OURS): 6.0,
}


@pytest.mark.parametrize(
    ("target", "case", "value", "reached"),
    [
        (Target(0.80, "bjoern"), "hello", 0.625, True),
        (Target(0.80, "fastpysgi"), "hello", 5 / 6, False),
        (Target(1.30, "floor"), "hello", 1.25, True),
        (Target(1.0, BEST), "hello", 5 / 6, True),
        (Target(1.0, BEST), "log", None, None),
        (Target(0.80, "granian"), "hello", None, None),
        (Target(1.10, case="hello"), "threads", 1.2, False),
        (Target(1.0, case="hello", added=True), "log", 0.9, True),
        (Target(1.0, case="hello", added=True), "unknown", None, None),
        (Target(4.0), "hello", 5.0, True),
        (Target(6.0), "hello", 5.0, False),
    ],
)
def test_targets(target: Target, case: str, value: float | None, reached: bool | None) -> None:
    told = judge(target, case, figures(MEASURED), [server for _, server in MEASURED])
    assert told["value"] == (None if value is None else pytest.approx(value))
    assert told["reached"] is reached
    assert told["text"]


# how long it takes


def test_the_estimate_follows_the_rounds() -> None:
    now = 100.0
    shown: list[Any] = []
    progress = Progress(4, shown.append, lambda: now)
    assert progress.seconds_left == 0
    now = 130.0
    progress.step("one")
    assert shown == ["[1/4, 1:30 left] one"]
    progress.expect(2)
    assert progress.seconds_left == 150
    progress.expect(-5)
    assert progress.seconds_left == 0
