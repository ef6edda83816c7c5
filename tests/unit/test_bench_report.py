"""The report of a benchmark: what is merged, lost, missed, invalid, and how it is put down. All figures are made up."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import markdown
from bench.report.__main__ import main
from bench.report.markdown import tables
from bench.report.measures import CPU, RATE, number
from bench.report.results import Results
from bench.report.standings import by_measure, is_peer, standing
from tests.live import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = {
    "floor": {"title": "floor", "version": "", "note": "no HTTP"},
    "fastwsgi": {"title": "fastwsgi", "version": "0.1.0", "python": "3.13.0", "note": ""},
    "bjoern": {"title": "bjoern", "version": "3.2.2", "note": "sends no Date"},
    "granian": {"title": "Granian", "version": "2.8.7", "note": ""},
}


def spread(value: float) -> dict[str, float]:
    return {"median": value, "min": value * 0.9, "max": value * 1.1}


def row(server: str, cpu: float, **more: Any) -> dict[str, Any]:
    figures = {"cpu_us": spread(cpu), "requests_per_second": spread(1e6 / cpu), "p99_us": spread(cpu * 100)}
    return (
        {"server": server, "valid": True, "faults": [], "calm_rounds": 5, "wanted_rounds": 5} | figures | more
    )


def invalid(server: str, fault: str) -> dict[str, Any]:
    return {"server": server, "valid": False, "faults": [fault], "cpu_us": spread(0.1)}


def case(name: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": f"{name}, Host only",
        "group": "small",
        "rows": rows,
        "skipped": {},
        "targets": [],
    } | more


def file(*cases: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "format": 2,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T04:04:05+00:00",
        "machine": {"cpu": "Some CPU", "cpus": 2, "kernel": "6.1", "revision": "abc1234"},
        "servers": SERVERS,
        "skipped": {},
        "options": {"rounds": 5},
        "cases": cases,
    } | more


def read(*files: dict[str, Any]) -> Results:
    results = Results()
    for number_, raw in enumerate(files):
        results.add(raw, f"{number_}.json")
    return results


def won_and_lost() -> dict[str, Any]:
    return file(
        case("hello", row("floor", 4), row("fastwsgi", 5), row("bjoern", 6.5), row("granian", 12)),
        case("flask", row("fastwsgi", 66), row("bjoern", 60), row("granian", 90)),
    )


# --- reading and merging -------------------------------------------------------------------------------


def test_a_case_of_a_later_file_takes_the_place_of_an_earlier_one_as_a_whole() -> None:
    later = file(case("hello", row("fastwsgi", 7), row("granian", 14)))
    merged = read(won_and_lost(), later)
    assert list(merged.cases) == ["hello", "flask"]
    hello = merged.cases["hello"]
    assert [one.server for one in hello.rows] == ["fastwsgi", "granian"]
    assert hello.rows[0].figures["cpu_us"].median == 7
    assert [one.run for one in merged.cases.values()] == [1, 0]


def test_a_section_that_a_later_file_does_not_have_stays() -> None:
    footprint = {"rows": [{"server": "fastwsgi", "valid": True, "faults": [], "own_bytes": 5 << 20}]}
    merged = read(file(footprint=footprint), won_and_lost())
    assert merged.footprint.rows[0].figures["own_bytes"].median == 5 << 20


def test_a_server_that_was_there_in_another_run_is_not_left_out() -> None:
    reasons = {"bjoern": "it does not install: no compiler", "uwsgi": "it does not install: no headers"}
    assert read(file(skipped=reasons), won_and_lost()).skipped == {"uwsgi": reasons["uwsgi"]}
    assert read(won_and_lost(), file(skipped=reasons)).skipped == {"uwsgi": reasons["uwsgi"]}


def test_versions_that_differ_between_files_are_all_told() -> None:
    newer = {"bjoern": {"title": "bjoern", "version": "3.3.0", "note": ""}}
    assert read(won_and_lost(), file(servers=newer)).servers["bjoern"].version == "3.2.2, 3.3.0"
    assert read(won_and_lost(), won_and_lost()).servers["bjoern"].version == "3.2.2"


@pytest.mark.parametrize("content", ["{}", "[]", '{"format": 1, "cases": {}}'])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"x\.json"):
        Results.load([path])


def test_every_section_may_be_missing() -> None:
    results = read({"format": 2})
    assert by_measure(results) == []
    assert "no peer" not in tables(results)
    page(results)


# --- where we stand ------------------------------------------------------------------------------------


def test_losses_are_told_with_the_best_peer() -> None:
    found = dict(by_measure(read(won_and_lost())))
    assert [(one.place, one.first) for one in found["CPU per request"]] == [
        ("hello, Host only", True),
        ("flask, Host only", False),
    ]
    lost = found["CPU per request"][1]
    assert (lost.best_server, lost.overlap) == ("bjoern", True)
    assert lost.ratio == pytest.approx(1.1)
    assert [one.first for one in found["requests per second"]] == [True, False]


def test_more_is_better_where_it_is() -> None:
    rows = read(won_and_lost()).cases["hello"].rows
    one = standing("hello", rows, RATE)
    assert one
    assert one.first
    assert one.best_server == "bjoern"


def test_an_invalid_row_of_ours_is_a_loss() -> None:
    results = read(file(case("hello", invalid("fastwsgi", "3 status errors"), row("bjoern", 6))))
    one = standing("hello", results.cases["hello"].rows, CPU)
    assert one
    assert not one.first
    assert one.fault == "3 status errors"
    assert "**behind bjoern**" in tables(results)
    assert "3 status errors" in page(results)


def test_an_invalid_row_of_a_peer_has_no_figures() -> None:
    rows = read(file(case("hello", row("fastwsgi", 5), invalid("bjoern", "lost"), row("granian", 12)))).cases
    one = standing("hello", rows["hello"].rows, CPU)
    assert one
    assert one.best_server == "granian"


def test_the_floor_and_our_pure_build_are_no_peers() -> None:
    peers = [
        name for name in ("floor", "fastwsgi", "fastwsgi-pure", "fastwsgi, pure Python") if is_peer(name)
    ]
    assert peers == []
    assert is_peer("fastpysgi")
    assert is_peer("httptools alone")


def test_a_peer_that_loses_answers_under_load_is_no_example_of_latency() -> None:
    def rows(server: str, p99: float, failures: int) -> dict[str, Any]:
        stage: dict[str, Any] = {"users": 100, "requests_per_second": 50, "p99_ms": p99, "p50_ms": None}
        stage |= {"failures": failures, "faults": {"status 503": failures} if failures else {}}
        stage |= {"kinds": {"form": {"p99_ms": p99 * 2}}}
        return {"server": server, "valid": True, "faults": [], "peak_rps": 50, "stages": [stage]}

    mix = {"title": "a mix", "rows": [rows("fastwsgi", 20, 0), rows("bjoern", 10, 7), rows("granian", 30, 0)]}
    results = read(file(mix=mix))
    found = dict(by_measure(results))
    assert [one.server for one in results.stages[0].kinds["form"]] == ["fastwsgi", "bjoern", "granian"]
    assert "fastwsgi 40.0 bjoern 20.0 Granian 60.0" in section(page(results), "latency")
    assert [(one.best_server, one.first) for one in found["mix: 99th percentile of latency"]] == [
        ("granian", True)
    ]
    assert [one.first for one in found["mix: failed requests"]] == [True]


def test_micro_benchmarks_are_compared_by_what_they_do() -> None:
    rows = [
        {"group": "parse", "name": "browser", "implementation": name, "mean_ns": mean, "stdev_ns": 10}
        for name, mean in (("fastwsgi", 900), ("fastwsgi, pure Python", 300), ("httptools alone", 800))
    ]
    (name, found), *_ = by_measure(read(file(micro={"rows": rows})))
    assert name == "micro-benchmarks"
    assert [(one.place, one.ours and one.ours.median, one.best_server) for one in found] == [
        ("parse: browser", 900, "httptools alone")
    ]


# --- the page ------------------------------------------------------------------------------------------


def page(results: Results) -> str:
    pytest.importorskip("jinja2")
    from bench.report.page import render

    return render(results, None)


def section(html: str, name: str) -> str:
    """Return the text of a section of the page, without tags."""
    found = re.search(rf'<h2 id="{name}">.*?(?=<h2 |</body>)', html, re.DOTALL)
    assert found, name
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())


def test_the_page_says_where_we_lose() -> None:
    html = page(read(won_and_lost()))
    assert "first among the servers in <strong>1 of 2</strong>" in html
    text = section(html, "losses")
    assert "CPU per request, µs: behind in 1 of 2" in text
    assert "flask, Host only 66.0 60.0 bjoern 1.10 overlap" in text
    assert "hello" not in text


def test_the_page_tells_missed_targets() -> None:
    targets = [
        {"text": "≤ 1.30 × floor", "value": 1.37, "limit": 1.3, "reached": False},
        {"text": "≤ 0.80 × bjoern", "value": 0.7, "limit": 0.8, "reached": True},
        {"text": "≤ 0.75 × Granian", "value": None, "limit": 0.75, "reached": None},
    ]
    results = read(file(case("hello", row("fastwsgi", 5), row("bjoern", 6), targets=targets)))
    text = section(page(results), "missed")
    missed, _, every = text.partition("All targets")
    assert "≤ 1.30 × floor 1.37 1.30" in missed
    assert "≤ 0.75 × Granian not measured" in missed
    assert "bjoern" not in missed
    assert "1 of 3 are reached" in missed
    assert "≤ 0.80 × bjoern 0.70 0.80 yes" in every
    assert "**Targets missed, 1 of 3:** hello, Host only: ≤ 1.30 × floor." in tables(results)
    assert "Targets not measured, 1 of 3: hello, Host only: ≤ 0.75 × Granian." in tables(results)


def test_the_page_tells_what_does_not_count() -> None:
    rows = row("fastwsgi", 5, calm_rounds=2), invalid("bjoern", "12 read errors")
    results = read(
        file(
            case("hello", *rows, skipped={"granian": "it has no TLS"}),
            skipped={"uwsgi": "it does not install: no compiler"},
        )
    )
    text = section(page(results), "invalid")
    assert "hello, Host only bjoern 12 read errors" in text
    assert "uwsgi : it does not install: no compiler" in text
    assert "Granian (it has no TLS)" in text
    assert "fastwsgi (2 of 5)" in text
    found = tables(results)
    assert "**5.00\\***" in found
    assert "Invalid, since not every response was right: hello, Host only: bjoern." in found


def test_the_page_tells_what_is_unequal_and_where_it_was_measured() -> None:
    html = page(read(won_and_lost()))
    assert "bjoern 3.2.2 sends no Date" in section(html, "servers")
    assert "Some CPU" in section(html, "method")
    assert "abc1234" in section(html, "method")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page(read(won_and_lost()))
    assert not re.search(r'\b(src|href)="(?!#)', html)
    assert "url(http" not in html
    assert "@import" not in html


def test_what_servers_say_is_no_markup() -> None:
    nasty = '<script>alert(1)</script> | & "quoted"'
    raw = file(
        case("hello", row("fastwsgi", 5), invalid("bjoern", nasty), title=nasty),
        skipped={"uwsgi": nasty},
        machine={"cpu": nasty},
        servers={"fastwsgi": {"title": "fastwsgi", "note": nasty}},
    )
    html = page(read(raw))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5
    found = tables(read(raw))
    assert "<script" not in found
    assert all(line.count(" | ") == found.splitlines()[2].count(" | ") for line in found.splitlines()[2:5:2])


def test_figures_are_drawn_and_named() -> None:
    pytest.importorskip("matplotlib")
    from bench.report import plots
    from bench.report.page import render

    nasty = {"fastwsgi": {"title": "fastwsgi"}, "bjoern": {"title": "a <b> & c"}}
    html = render(read(file(case("hello", row("fastwsgi", 5), row("bjoern", 6.5)), servers=nasty)), plots)
    drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawn) == 3
    assert all(">fastwsgi</text>" in svg or "fastwsgi" in svg for svg in drawn)
    assert "a &lt;b&gt; &amp; c" in drawn[0]
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert not re.search(r"#[0-9a-f]{6}\b", "".join(drawn)), "colours are the style sheet's"


# --- the README ----------------------------------------------------------------------------------------


def test_the_table_shows_ratios_and_losses() -> None:
    lines = tables(read(won_and_lost())).splitlines()
    assert lines[0] == "Measured 2026-01-02, fastwsgi abc1234, CPython 3.13.0, Some CPU, 2 CPUs, Linux 6.1."
    assert lines[2] == (
        "| µs of server CPU per request | **fastwsgi** | floor | bjoern | Granian | to the best peer |"
    )
    assert lines[4] == "| hello, Host only | **5.00** | 4.00 | 6.50 | 12.0 | 0.77 × bjoern |"
    assert lines[5] == "| flask, Host only | **66.0** |  | 60.0 | 90.0 | **1.10 × bjoern: behind** |"
    assert "**Behind the best peer in 1 of 2 rows**: flask, Host only." in lines


def test_tables_are_put_between_the_markers(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    source = tmp_path / "results" / "one.json"
    source.write_text(json.dumps(won_and_lost()))
    readme = tmp_path / "README.md"
    readme.write_text("before\n\n<!-- bench:begin -->\n<!-- bench:end -->\n\nafter\n")
    for _ in range(2):  # the second time over what the first has put there
        assert main([str(source), "--readme", str(readme)]) == 0
        assert readme.read_text() == (
            f"before\n\n<!-- bench:begin results/one.json -->\n{tables(Results.load([source]))}"
            "<!-- bench:end -->\n\nafter\n"
        )
    assert markdown.sources(readme) == ([source], tables(Results.load([source])))


def test_a_file_without_markers_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "one.json"
    source.write_text(json.dumps(won_and_lost()))
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n")
    assert main([str(source), "--readme", str(readme)]) == 1
    assert "bench:begin" in capsys.readouterr().err
    assert readme.read_text() == "nothing\n"


def test_the_readme_has_the_table_of_the_newest_results() -> None:
    paths, found = markdown.sources(ROOT / "README.md")
    if not paths:
        pytest.skip("its table has no source yet")
    command = "python -m bench.report --readme README.md RESULTS.json"
    assert found == tables(Results.load(paths)), f"run `{command}`"
    listed = subprocess.run(
        ["git", "ls-files", "bench/results"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    with_cases = [
        path
        for path in sorted(ROOT / name for name in listed.stdout.split() if name.endswith(".json"))
        if (raw := json.loads(path.read_text())).get("format") == 2 and raw.get("cases")
    ]
    if with_cases:  # there are none in a source distribution
        assert with_cases[-1] in paths, f"there are newer results: `{command}`"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (4.567, "4.57"), (45.67, "45.7"), (456.7, "457"), (123456.7, "123,457")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
