"""The site of bench/mix answers what bench/locustfile.py looks for, and the ladder finds peaks in given figures."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from bench.mix import catalogue, ladder

if TYPE_CHECKING:
    from flask.testing import FlaskClient


@pytest.fixture
def client() -> FlaskClient:
    from bench.mix.shop import app

    return app.test_client()


def test_a_page_counts_visits_and_pieces_in_the_session(client: FlaskClient) -> None:
    client.get("/catalogue/0")
    form = {"product": "30", "pieces": "4", "user": "7", "note": "for user 7"}
    answer = client.post("/basket", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/catalogue/1")
    page = client.get("/catalogue/1")
    assert page.status_code == 200
    for text in (
        "<title>Catalogue, page 1 - ",
        '<p id="seen">Pages seen: 2</p>',
        '<p id="basket">Pieces in your basket: 4</p>',
        f'<article id="product-{catalogue.shown(1)[-1]}">',
        "</html>",
    ):
        assert text in page.text
    # Nobody else's.
    assert "Pages seen: 1<" in client.application.test_client().get("/catalogue/1").text


def test_a_form_that_is_not_whole_is_refused(client: FlaskClient) -> None:
    form = {"product": "30", "pieces": "4", "user": "7", "note": "for user"}
    assert client.post("/basket", data=form).status_code == 400


def test_json_is_told_and_taken(client: FlaskClient) -> None:
    told = client.get("/api/products/5").json
    assert told == {"number": 5, "name": catalogue.name(5), "price": catalogue.price(5)}
    lines = [{"product": 5, "pieces": 2}, {"product": 6, "pieces": 1}]
    answer = client.post("/api/orders", json={"lines": lines})
    assert answer.status_code == 201
    assert answer.json == {"total": 2 * catalogue.price(5) + catalogue.price(6), "lines": 2}


def test_an_upload_is_digested(client: FlaskClient) -> None:
    data = bytes(range(256)) * 1000
    answer = client.put("/uploads/a.bin", data=data)
    assert answer.status_code == 201
    assert answer.json == {"name": "a.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_files_come_whole_and_are_revalidated(client: FlaskClient) -> None:
    with client.get("/brochure") as brochure:
        assert brochure.data == catalogue.brochure()
    with client.get("/static/shop.css") as style:
        assert b"main { display: grid;" in style.data
        assert b"footer {" in style.data
    known = {"If-None-Match": style.headers["ETag"]}
    with client.get("/static/shop.css", headers=known) as again:
        assert (again.status_code, again.data) == (304, b"")


def test_a_report_and_events_come_after_their_waits(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("bench.mix.shop.time.sleep", waits.append)
    total = sum(catalogue.price(number) for number in catalogue.shown(3))
    assert f'<p id="total">Total: {total}</p>' in client.get("/report?page=3").text
    assert waits == [catalogue.REPORT_SECONDS]
    waits.clear()
    stream = client.get("/events/9")
    assert stream.mimetype == "text/event-stream"
    event = "id: {}\nevent: price\ndata: {}\n\n"
    assert stream.text == "".join(event.format(n, catalogue.price(9)) for n in range(catalogue.EVENTS))
    assert waits == [catalogue.EVENT_PAUSE] * (catalogue.EVENTS - 1)


def _stage(users: int, rate: float, failures: int = 0, p99_ms: float | None = 10.0) -> dict[str, Any]:
    requests = round(rate * 5)
    return {
        "users": users,
        "requests": requests,
        "requests_per_second": rate,
        "failures": failures,
        "p99_ms": p99_ms,
    }


def _climb(rates: dict[int, float], failures: dict[int, int] | None = None) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = []
    while users := ladder.next_users(stages, 50, 800):
        stages.append(_stage(users, rates[users], (failures or {}).get(users, 0)))
    return stages


@pytest.mark.parametrize(
    ("rates", "failures", "users", "last"),
    [
        ({50: 100, 100: 200, 200: 400, 400: 500, 800: 501}, {}, 400, 800),
        ({50: 100, 100: 200, 200: 390, 400: 400}, {}, 200, 400),  # 400 bring less than 5 % more
        ({50: 100, 100: 60}, {}, 50, 100),  # more users make it worse
        ({50: 100, 100: 101, 200: 150, 400: 151}, {}, 50, 100),  # what would come then is not looked for
        ({50: 100, 100: 200, 200: 400, 400: 800, 800: 1600}, {}, 800, 800),  # no more users are to be had
        ({50: 100, 100: 200, 200: 400}, {200: 50}, 100, 200),  # answers beside many failures are no peak
        ({50: 100}, {50: 50}, 0, 50),
        ({50: 0}, {}, 0, 50),
    ],
    ids=["rising", "flat", "falling", "plateau", "too-fast", "failing", "failing-at-once", "silent"],
)
def test_the_ladder_ends_at_twice_the_peak(
    rates: dict[int, float], failures: dict[int, int], users: int, last: int
) -> None:
    stages = _climb(rates, failures)
    highest = ladder.peak(stages)
    assert (highest["users"] if highest else 0) == users
    assert stages[-1]["users"] == last


def _row(server: str, *stages: dict[str, Any], valid: bool = True) -> dict[str, Any]:
    return {"server": server, "valid": valid, "stages": list(stages)}


def test_equal_load_is_what_all_valid_rows_have_had() -> None:
    rows = [
        _row("a", _stage(50, 1), _stage(100, 1), _stage(200, 1)),
        _row("b", _stage(50, 1), _stage(100, 1)),
        _row("c", valid=False),
    ]
    assert ladder.equal_load(rows) == 100
    assert ladder.equal_load([_row("c", valid=False)]) == 0


def test_the_target_is_the_best_peer_that_loses_nothing() -> None:
    rows = [
        _row("ours", _stage(800, 900, p99_ms=600.0)),
        _row("lossy", _stage(800, 900, failures=3, p99_ms=100.0)),
        _row("good", _stage(800, 900, p99_ms=500.0)),
        _row("invalid", _stage(800, 900, p99_ms=100.0), valid=False),
    ]
    (target,) = ladder.overload_targets(rows, "ours", 800)
    assert (target["value"], target["reached"]) == (1.2, False)
    assert "good" in target["text"]
    (target,) = ladder.overload_targets(rows, "lossy", 800)
    assert (target["value"], target["reached"]) == (None, False)
    (target,) = ladder.overload_targets(rows[:1], "ours", 800)
    assert (target["value"], target["reached"]) == (None, None)
