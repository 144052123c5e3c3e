"""The one action of the desk that makes a trial alarm a real warning: page, journal and API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from collector.web.app import create_app
from tests.collector.web.fake_city import FakeChanges, FakeCity
from tests.collector.web.test_app import INFO, Web

ID = "a1" * 16
#: what browsers accept where a form or an address is opened
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SAID = {"by": " Wang Fang ", "note": "smelt on site", "lang": "en"}


@pytest.fixture(scope="module")
def made() -> tuple[FakeCity, FastAPI]:
    """Made once: an application takes long to put together."""
    city = FakeCity()
    return city, create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us)


@pytest.fixture
async def web(made: tuple[FakeCity, FastAPI]) -> AsyncIterator[Web]:
    city, app = made
    city.alarm_views[:] = FakeCity().alarm_views
    city.warned.clear()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield Web(city=city, changes=FakeChanges(), client=client)


def put_on_trial(web: Web, **fields: object) -> None:
    web.city.alarm_views[0] = replace(
        web.city.alarm_views[0], decision="nothing", decision_reason="trial", marks=("trial",), **fields
    )


async def test_a_trial_alarm_has_the_button_and_others_have_none(web: Web) -> None:
    assert f"/alarms/{ID}/warn" not in (await web.client.get("/?lang=en")).text
    put_on_trial(web)
    for path in ("/?lang=en", "/alarms?lang=en"):
        assert f'action="/alarms/{ID}/warn"' in (await web.client.get(path)).text
    assert "认定为真实预警" in (await web.client.get("/?lang=zh")).text


async def test_the_button_tells_and_shows_who(web: Web) -> None:
    put_on_trial(web)
    row = await web.client.post(f"/alarms/{ID}/warn", data=SAID, headers={"Accept": "text/x-row"})
    assert web.city.warned == [(ID, "Wang Fang", "smelt on site", "page 127.0.0.1")]
    assert "made a real warning by Wang Fang" in row.text
    assert f"/alarms/{ID}/warn" not in row.text
    again = await web.client.post(f"/alarms/{ID}/warn", data=SAID)
    assert again.status_code == 409
    assert "held back for trial" in again.json()["detail"]


@pytest.mark.parametrize(("back", "place"), [("", "/?{}#alarms-section"), ("journal", "/alarms?{}")])
async def test_whoever_comes_second_in_a_browser_gets_the_page_with_a_notice(web: Web, back: str, place: str) -> None:
    """Without scripts the answer is what the person sees."""
    answer = await web.client.post(
        f"/alarms/{ID}/warn", data=SAID | {"back": back, "lang": "zh"}, headers={"Accept": BROWSER}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, place.format("lang=zh&problem=trial"))
    page = (await web.client.get(answer.headers["location"])).text
    assert '<p class="notice trouble" role="alert">未执行：该报警已不在试运行保留之列，处置结论见其旁。</p>' in page
    assert web.city.warned == []
    assert "未执行" not in (await web.client.get("/?lang=zh&problem=%3Cb%3E")).text
    gone = await web.client.post(f"/alarms/{'00' * 16}/warn", data=SAID, headers={"Accept": BROWSER})
    assert (gone.status_code, gone.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_from_the_journal_it_goes_back_there(web: Web) -> None:
    put_on_trial(web, state="cleared")
    assert "over by now" in (await web.client.get("/alarms?lang=en")).text
    answer = await web.client.post(f"/alarms/{ID}/warn", data=SAID | {"back": "journal"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/alarms?lang=en")


@pytest.mark.parametrize("by", ["", "   "])
async def test_a_name_is_needed(web: Web, by: str) -> None:
    put_on_trial(web)
    assert (await web.client.post(f"/alarms/{ID}/warn", data={"by": by})).status_code == 422
    assert (await web.client.post(f"/api/v1/alarms/{ID}/warn", json={"by": by})).status_code == 422
    assert web.city.warned == []


async def test_the_api(web: Web) -> None:
    refused = await web.client.post(f"/api/v1/alarms/{ID}/warn", json={"by": "李明"})
    assert refused.status_code == 409
    put_on_trial(web)
    answer = await web.client.post(f"/api/v1/alarms/{ID}/warn", json={"by": "李明", "note": ""})
    assert (answer.status_code, answer.json()["decision"], answer.json()["warned_by"]) == (200, "page", "李明")
    assert (await web.client.post(f"/api/v1/alarms/{'00' * 16}/warn", json={"by": "x"})).status_code == 404
    csv = (await web.client.get("/api/v1/alarm-journal.csv")).text.splitlines()
    assert "warned_by" in csv[0]
    assert "李明" in csv[1]


async def test_from_another_site_it_is_refused(web: Web) -> None:
    put_on_trial(web)
    for path in (f"/alarms/{ID}/warn", f"/api/v1/alarms/{ID}/warn"):
        answer = await web.client.post(path, data={"by": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
    assert web.city.warned == []
