"""Alarms in the API and on the journal page: filters, pages, CSV, events, what is shown and taken back."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import httpx
import pytest

from collector.views import AlarmFilter
from collector.web.alarm_api import COLUMNS, alarm_stream, csv_lines
from collector.web.app import create_app
from tests.collector.web.fake_city import GATEWAY, INFO, START_US, FakeChanges, FakeCity, make_alarm


@pytest.fixture
def city() -> FakeCity:
    return FakeCity()


@pytest.fixture
async def client(city: FakeCity) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, zone=UTC)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as found:
        yield found


async def test_the_page_shows_what_is_to_be_reviewed_and_why(client: httpx.AsyncClient, city: FakeCity) -> None:
    html = (await client.get("/?lang=en")).text
    assert "1 for review" in html
    assert "for review: was over before word of it came" in html
    assert "had stood 30 min when word of it came" in html
    chinese = (await client.get("/?lang=zh")).text
    assert "待复核：到达前已结束" in chinese.replace(": ", "：")
    assert "e7" * 16 not in city.shown  # it was shown before


async def test_a_page_that_is_asked_for_shows_its_alarms(client: httpx.AsyncClient, city: FakeCity) -> None:
    city.alarm_views = [make_alarm("f8" * 16, shown_us=None)]
    await client.get("/")
    assert city.shown == ["f8" * 16]


async def test_the_proof_says_rolled_back_cloned_waiting_and_what_was_stated(client: httpx.AsyncClient) -> None:
    html = (await client.get("/?lang=en")).text
    for text in (
        "Rolled back: the gateway's store was older than what is here (6 batches)",
        "rolled back: this run did not know of 6 batches",
        "Cloned: somebody else signs",
        "two different batches, both kept, for number 90",
        "Here and waiting for their catalogue: 2.",
        "The gateway last stated 3 standing alarms",
        "Both lists agree.",
    ):
        assert text in html, text


async def test_counts_reviews_and_statements(client: httpx.AsyncClient) -> None:
    counts = (await client.get("/api/v1/alarm-counts")).json()
    assert (counts["standing"][0], counts["to_review"]) == ({"severity": "red", "count": 1}, 1)
    assert [alarm["decision"] for alarm in (await client.get("/api/v1/alarm-reviews")).json()] == ["review"]
    assert (await client.get("/api/v1/alarm-statements", params={"gateway": GATEWAY})).json()[0]["stated"] == 3


async def test_the_journal_goes_on_where_a_page_ended(client: httpx.AsyncClient) -> None:
    first = (await client.get("/api/v1/alarm-journal", params={"limit": 3})).json()
    assert len(first["alarms"]) == 3
    last = (await client.get("/api/v1/alarm-journal", params={"limit": 3, "after": first["next"]})).json()
    assert ([alarm["id"] for alarm in last["alarms"]], last["next"]) == (["e7" * 16], None)


@pytest.mark.parametrize("path", ["/api/v1/alarm-journal", "/api/v1/alarm-journal.csv"])
async def test_a_wrong_filter_is_a_sentence(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, params={"state": "nonsense"})
    assert (answer.status_code, "none of active" in answer.json()["detail"]) == (422, True)


async def test_the_journal_page_filters_says_what_is_wrong_and_keeps_its_form(client: httpx.AsyncClient) -> None:
    html = (await client.get("/alarms", params={"lang": "en", "severity": "orange", "from": "2026-11-01T00:00"})).text
    assert html.count('<tr id="j:') == 1
    assert 'value="2026-11-01T00:00"' in html
    assert "severity=orange&amp;start_us=1793491200000000" in html
    wrong = (await client.get("/alarms", params={"lang": "en", "from": "soon"})).text
    assert "from: &#39;soon&#39; is no time such as" in wrong
    assert "报警记录" in (await client.get("/alarms?lang=zh")).text
    assert "none of active" in (await client.get("/alarms?state=nonsense")).text


async def test_csv_has_every_alarm_and_no_formula(client: httpx.AsyncClient, city: FakeCity) -> None:
    city.alarm_views.append(make_alarm("ab" * 16, en="=HYPERLINK(1)", raised_us=2**60))
    answer = await client.get("/api/v1/alarm-journal.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ["ab" * 16, "c3" * 16, "a1" * 16, "b2" * 16, "e7" * 16]
    assert (rows[0]["en"], rows[0]["raised"]) == ("'=HYPERLINK(1)", "")
    assert (rows[1]["value"], rows[1]["severity"]) == ("", "info")
    assert rows[2]["judged"].endswith("Z")


def test_csv_goes_through_all_pages(city: FakeCity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.web.alarm_api.CSV_PAGE", 2)
    text = "".join(csv_lines(city, AlarmFilter()))
    assert text.count("\r\n") == 5


async def _next(stream: AsyncIterator[str]) -> dict[str, Any]:
    while True:
        event = await asyncio.wait_for(anext(stream), 5)
        if event.startswith("event: alarm"):
            found: dict[str, Any] = json.loads(event.split("data: ", 1)[1])
            return found


async def test_events_tell_what_stands_and_then_what_changes(city: FakeCity) -> None:
    changes = FakeChanges()
    stream = alarm_stream(city, changes, look_s=0.05, alive_s=0.02)
    events = [await asyncio.wait_for(anext(stream), 5) for _ in range(4)]
    assert [event.split("\n", 1)[0] for event in events] == ["event: alarm"] * 3 + ["event: ready"]
    city.alarm_views.append(make_alarm("f8" * 16, severity="yellow"))
    changes.tell(alarms=["f8" * 16, "no such"])
    assert (await _next(stream))["id"] == "f8" * 16
    # Nothing was committed: the source has only gone silent.
    city.alarm_views[0] = make_alarm(measurement="source_silent", is_source_silent=True)
    assert (await _next(stream))["measurement"] == "source_silent"
    assert await asyncio.wait_for(anext(stream), 5) == ": alive\n\n"
    changes.close()
    async for event in stream:
        assert event.startswith((":", "event: alarm"))
    assert changes.listeners == 0


async def test_the_zone_of_the_page_is_that_of_its_filter(client: httpx.AsyncClient) -> None:
    html = (await client.get("/alarms", params={"to": "2026-11-22T00:00+08:00"})).text
    assert f"end_us={START_US - 12 * 3_600_000_000}" in html
