"""bench.micro: what is compared does the same work, and what pyperf finds is gathered."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import types
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bench import micro
from bench.environments import NotInstalled
from bench.micro import access_lines, agreement, parsers, responses, timers, timing
from bench.micro.heads import HEADS, VARIED
from bench.micro.subjects import SUBJECTS, Subject

if TYPE_CHECKING:
    from pathlib import Path

gunicorn = partial(parsers.gunicorn, "python")


@pytest.mark.parametrize("kind", HEADS)
def test_heads_differ(kind: str) -> None:
    heads = HEADS[kind]()
    assert len(heads) == VARIED
    assert len(set(heads)) > VARIED * 0.99


def test_cookies_make_a_head_of_four_kilobytes() -> None:
    assert all(4000 < len(head) < 5000 for head in HEADS["browser, 4 KB of cookies"]())


def test_our_environ_is_gunicorns() -> None:
    assert agreement.differences(gunicorn) == []


def test_another_environ_is_noticed() -> None:
    def make() -> parsers.Reader:
        read = gunicorn()
        return lambda head: read(head) | {"HTTP_HOST": "elsewhere"}

    assert "HTTP_HOST" in agreement.differences(make)[0]


def test_httptools_is_asked_for_every_field() -> None:
    pytest.importorskip("httptools", reason="a pure installation has none")
    read = parsers.httptools()
    for head in HEADS["POST, 8 fields"]()[:3]:
        found = read(head)
        assert len(found["fields"]) == head.count(b"\r\n") - 2
        assert found["url"] in head


@pytest.mark.parametrize("kind", responses.FIELDS)
def test_our_answer_has_what_gunicorns_has(kind: str) -> None:
    ours, others = responses.fastwsgi(), responses.gunicorn()
    for fields in responses.FIELDS[kind]()[:5]:
        for answer in (ours(fields), others(fields)):
            head, _, body = answer.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            assert lines[0] == f"HTTP/1.1 {responses.STATUS}"
            assert {f"{name}: {value}" for name, value in fields} < set(lines)
            assert {"Date", "Server"} < {line.partition(":")[0] for line in lines}
            assert body == responses.BODY


@pytest.mark.usefixtures("fresh_logs")
@pytest.mark.parametrize("kind", [name for name, fmt in access_lines.FORMATS.items() if fmt != "json"])
def test_our_line_is_gunicorns(kind: str, tmp_path: Path) -> None:
    fmt = access_lines.FORMATS[kind].replace("%(t)s ", "")  # a second may pass
    requests = access_lines.environs()[:20]
    for maker in (access_lines.fastwsgi, access_lines.gunicorn):
        maker(fmt, str(tmp_path / maker.__name__))(requests)
    lines = (tmp_path / "fastwsgi").read_text().splitlines()
    assert lines == (tmp_path / "gunicorn").read_text().splitlines()
    assert len(lines) == 20


def test_a_line_of_json_is_one(tmp_path: Path) -> None:
    access_lines.fastwsgi(access_lines.JSON, str(tmp_path / "log"))(access_lines.environs()[:9])
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["bytes"] for line in lines] == [access_lines.NBYTES] * 9


@pytest.mark.parametrize("maker", [timers.fastwsgi, timers.heap])
def test_timers_that_are_moved_do_not_come_until_they_rest(maker: Any) -> None:
    deadlines, make = maker()
    run = timers.moving(deadlines, make)
    for _ in range(300):  # 6 s, in which many would have come
        run()
    assert not deadlines.is_due(1004.0)
    assert len(deadlines.expire(1e6)) == timers.CONNECTIONS


@pytest.mark.parametrize("maker", [timers.fastwsgi, timers.heap])
def test_timers_come_each_once(maker: Any) -> None:
    deadlines, make = maker()
    timers.expiring(deadlines, make)()
    assert deadlines.expire(1e9) == []


@pytest.mark.parametrize("subject", [one for one in SUBJECTS if one.is_ours], ids=timing.title)
def test_our_subjects_run(subject: Subject) -> None:
    assert timing.timed(subject, [], 1) > 0.0


# What pyperf finds.


class FakeBenchmark:
    """As pyperf's, as far as it is asked."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def get_nvalue(self) -> int:
        return len(self.values)

    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    def stdev(self) -> float:
        assert len(self.values) > 1
        return 2e-9


class FakeRunner:
    """As pyperf's Runner in its first process: nothing is timed."""

    def __init__(self, program_args: tuple[str, ...], add_cmdline_args: Any) -> None:
        assert program_args == ("-m", "bench.micro.timing")
        self.pass_on = add_cmdline_args
        self.argparser = argparse.ArgumentParser()
        self.argparser.add_argument("--worker", action="store_true")

    def parse_args(self) -> argparse.Namespace:
        args = self.argparser.parse_args()
        command: list[str] = []
        self.pass_on(command, args)
        assert self.argparser.parse_args(command).rows == args.rows
        return args

    def bench_time_func(self, name: str, call: Any, *, inner_loops: int) -> FakeBenchmark | None:
        assert call(1) >= 0.0
        return FakeBenchmark([1e-9, 3e-9]) if inner_loops == 2 and name else FakeBenchmark([5e-9])


def run_timing(monkeypatch: pytest.MonkeyPatch, rows: Path, *arguments: str) -> None:
    fake = types.ModuleType("pyperf")
    fake.Runner = FakeRunner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyperf", fake)
    monkeypatch.setattr(sys, "argv", ["timing", "--rows", str(rows), *arguments])
    timing.main()


def test_what_is_timed_is_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []
    several = (
        Subject("a", "first", "fastwsgi", lambda: lambda: done.append("first"), calls=2),
        Subject("a", "second", "other", lambda: lambda: done.append("second"), in_quick=False, calls=3),
        Subject("a", "third", "absent", lambda: lambda: done.append("third"), module="no_such_module"),
    )
    monkeypatch.setattr(timing, "SUBJECTS", several)
    run_timing(monkeypatch, tmp_path / "rows")
    found = json.loads((tmp_path / "rows").read_text())
    assert [list(row.values()) for row in found["rows"]] == [
        ["a", "first", "fastwsgi", 2.0, 2.0],
        ["a", "second", "other", 5.0, 0.0],
    ]
    assert found["skipped"] == {"absent": "no_such_module is not installed"}
    assert done == ["first", "second"]
    run_timing(monkeypatch, tmp_path / "rows", "--only", "quick")
    run_timing(monkeypatch, tmp_path / "rows", "--only", "ours")
    assert done == ["first", "second", "first", "first"]


def test_readers_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(agreement, "differences", lambda _make: ["a head: a key: 1 and 2"])
    with pytest.raises(SystemExit, match="a key: 1 and 2"):
        run_timing(monkeypatch, tmp_path / "rows")


class Timing:
    """What is run instead of bench.micro.timing."""

    def __init__(self, *, returncode: int = 0) -> None:
        self.returncode = returncode
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        self.commands.append(command)
        is_pure = "FASTWSGI_NO_EXTENSIONS" in env
        assert is_pure != ("FASTWSGI_REQUIRE_EXTENSIONS" in env)
        rows = [{"group": "g", "name": "n", "implementation": "fastwsgi", "mean_ns": 10.0, "stdev_ns": 1.0}]
        if is_pure:
            rows[0]["mean_ns"] = 40.0
        else:
            rows.append(rows[0] | {"implementation": "other", "mean_ns": 25.0})
        with open(command[-1], "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "skipped": {}, "packages": {"pyperf": "2.8"}}, file)
        return subprocess.CompletedProcess(command, self.returncode)


def test_measure_gathers_compiled_and_pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWSGI_NO_EXTENSIONS", "1")  # is not for what is measured to inherit
    section = micro.measure("python9", cpu=1, run=Timing())
    assert [(row["implementation"], row["mean_ns"]) for row in section["rows"]] == [
        ("fastwsgi", 10.0),
        ("fastwsgi, pure Python", 40.0),
        ("other", 25.0),
    ]
    assert section["packages"] == {"pyperf": "2.8"}
    table = micro.markdown(section)
    assert "| g | n | other | 25 | 1 | 2.50 |" in table


def test_a_quick_measure_is_of_the_compiled_only() -> None:
    timing_run = Timing()
    section = micro.measure("python9", quick=True, run=timing_run)
    (command,) = timing_run.commands
    assert command[:3] == ["python9", "-m", "bench.micro.timing"]
    assert command[command.index("--only") + 1] == "quick"
    assert "--affinity" not in command
    assert [row["implementation"] for row in section["rows"]] == ["fastwsgi", "other"]


def test_a_failure_is_one() -> None:
    with pytest.raises(micro.MicroError, match="status 3"):
        micro.measure("python9", run=Timing(returncode=3))


def test_without_a_c_compiler_gunicorns_parser_in_c_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []

    def install(_title: str, requirements: tuple[str, ...]) -> str:
        wanted.append(requirements)
        if any("gunicorn_h1c" in one for one in requirements):
            raise NotInstalled("no compiler")
        return "python9"

    monkeypatch.setattr(micro, "install", install)
    assert micro.environment() == "python9"
    assert len(wanted) == 2
    assert "pyperf" in wanted[1][0]
