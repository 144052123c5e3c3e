"""Visits on the page and in the API: the list of errands, what was done, filters, pages, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace
from datetime import UTC
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from collector import visit_views
from collector.visit_views import LastVisit, VisitFilter
from collector.web import visit_models
from collector.web.app import create_app
from collector.web.spreadsheet import cell, utc
from collector.web.visits_api import CSV_PAGE, visit_lines
from collector.web.visits_page import gather_places
from collector.web.words import visit_reason_words
from tests.collector.web.fake_city import GATEWAY, INFO, SECOND, START_US, FakeChanges, FakeCity
from tests.collector.web.fake_visits import make_errands, make_visit


@dataclass
class Web:
    """A city and a client that asks."""

    city: FakeCity
    client: httpx.AsyncClient

    async def text(self, address: str) -> str:
        answer = await self.client.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture(scope="module")
def shared() -> tuple[FakeCity, FastAPI]:
    """A city with its pages, made once: reading the templates takes longer than a test."""
    city = FakeCity()
    app = create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, zone=UTC)
    return city, app


@pytest.fixture
async def web(shared: tuple[FakeCity, FastAPI]) -> AsyncIterator[Web]:
    city, app = shared
    vars(city).update(vars(FakeCity()))  # as it was
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield Web(city=city, client=client)


@pytest.mark.parametrize(
    ("view", "model"),
    [
        (visit_views.VisitView, visit_models.Visit),
        (visit_views.VisitPage, visit_models.VisitPage),
        (visit_views.LastVisit, visit_models.LastVisit),
        (visit_views.UpkeepView, visit_models.Upkeep),
        (visit_views.ErrandView, visit_models.Errand),
    ],
)
def test_every_field_of_a_view_is_answered(view: Any, model: type[BaseModel]) -> None:
    assert [field.name for field in fields(view)] == list(model.model_fields)


async def test_the_page_says_where_to_go_why_and_what_to_bring_in_both_languages(web: Web) -> None:
    text = await web.text("/visits?lang=en")
    for words in (
        "Harbour Road", "calibration overdue", "due 2026-09-01", "the last bump test failed", "span gas: methane",
        "probably no supply, or the line is cut or its plug loose", "no street is written for these", "Underpass",
        "within 30 days",
    ):  # fmt: skip
        assert words in text
    assert f"point={GATEWAY}/well-1/ch4#trend" in text.replace("%2F", "/")
    text = await web.text("/visits?lang=zh")
    for words in (
        "港湾路",
        "校准逾期",
        "到期日 2026-09-01",
        "上次通气测试未通过",
        "标准气：甲烷",
        "可能断电、线路中断",
        "未填写所在道路",
    ):
        assert words in text
    only = await web.text(f"/visits?lang=en&gateway={SECOND}")
    assert "Harbour Road" not in only
    web.city.errand_views.clear()
    assert "Nothing calls for a visit by what is known here." in await web.text("/visits?lang=en")


async def test_what_was_done_is_shown_with_its_numbers_and_names_are_escaped(web: Web) -> None:
    web.city.visit_views[0] = replace(web.city.visit_views[0], by="<b>x</b>", note="<i>")
    text = await web.text("/visits?lang=en")
    for words in ("48.7", "18.5 s", "30.0 s", "31.0 s", "60.0 s", "H7-00412", "Li Wei"):
        assert words in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>x</b>" not in text
    assert "not passed" in text
    assert text.count("no answer: at most 21.3 with gas of 50") == 4  # in both lists, and in full beside the word


@pytest.mark.parametrize(
    ("text", "en", "zh"),
    [
        (
            "slow: 42.1 s to 90 %, 30 s allowed",
            "slow: 42.1 s to 90 %, 30 s allowed",
            "响应过慢：到 90% 用时 42.1 秒，允许 30 秒",
        ),
        ("lost: no_reply", "readings were lost: no reply", "读数中断：无应答"),
        ("time up", "time up", "超时"),
        ("something newer: x", "something newer: x", "something newer: x"),
        ("", "", ""),
    ],
)
def test_why_a_visit_did_not_pass_is_said_in_both_languages(text: str, en: str, zh: str) -> None:
    assert (visit_reason_words("en", text), visit_reason_words("zh", text)) == (en, zh)


async def test_a_chinese_reader_reads_chinese_and_the_signed_words_stay_in_the_api(web: Web) -> None:
    signed, said = "no answer: at most 21.3 with gas of 50", "无响应：标气 50，最大响应 21.3"
    text = await web.text("/visits?lang=zh")
    assert text.count(f">{said}</small>") == 2  # in both lists
    assert text.count(signed) == text.count(f'title="签名原文: {signed}"') == 2
    assert [visit["reason"] for visit in (await web.client.get("/api/v1/visits?result=failed")).json()["visits"]] == [
        signed
    ]
    for name in ("visits", "errands"):
        rows = [line.split(",") for line in (await web.text(f"/api/v1/{name}.csv")).splitlines()]
        assert rows[0][-1].endswith("_zh")
        assert [row[-1] for row in rows[1:] if row[-1]].count(said) == 1
        assert signed in "\n".join(map(",".join, rows))


async def test_a_filter_chooses_and_a_wrong_one_is_a_sentence(web: Web) -> None:
    text = await web.text("/visits?lang=en&job=calibration")
    assert text.count('class="visit ') == 1
    assert "new filter" in text
    assert "No visit fits." in await web.text(f"/visits?lang=en&gateway={SECOND}")
    assert "is none of" in await web.text("/visits?lang=en&job=x")
    assert (await web.client.get("/api/v1/visits?job=x")).status_code == 422
    assert (await web.client.get("/api/v1/visits.csv?result=x")).status_code == 422


async def test_where_nothing_can_arrive_the_page_says_that_silence_may_be_ours(web: Web) -> None:
    words = "The collector has no broker."
    assert words not in await web.text("/visits?lang=en")
    web.city.troubles = {"broker_connected": 0.0}
    assert words in await web.text("/visits?lang=en")


async def test_pages_follow_each_other(web: Web) -> None:
    web.city.visit_views = [make_visit(n, START_US - n * 1_000_000) for n in range(60)]
    first = await web.text("/visits?lang=en")
    assert first.count('class="visit ') == 50
    assert "after=50" in first
    second = await web.text("/visits?lang=en&after=50")
    assert second.count('class="visit ') == 10
    assert "newest" in second
    page = (await web.client.get("/api/v1/visits?limit=7&after=50")).json()
    assert (len(page["visits"]), page["next"]) == (7, "57")


async def test_the_api_answers_errands_and_what_is_due(web: Web) -> None:
    found = (await web.client.get("/api/v1/errands")).json()
    assert [item["finding"] for item in found] == [item.finding for item in make_errands(START_US)]
    assert found[2]["what"] == {"en": "the last bump test failed", "zh": "上次通气测试未通过"}
    assert {"en": "span gas: methane", "zh": "标准气：甲烷"} in found[2]["bring"]
    assert len((await web.client.get(f"/api/v1/errands?gateway={SECOND}")).json()) == 1
    (due,) = (await web.client.get(f"/api/v1/upkeep?gateway={GATEWAY}")).json()
    assert (due["state"], due["due"], due["street"]) == ("overdue", "2026-09-01", "Harbour Road")


@pytest.mark.parametrize("name", ["visits", "upkeep", "errands"])
async def test_each_list_is_there_as_csv(web: Web, name: str) -> None:
    answer = await web.client.get(f"/api/v1/{name}.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert f'filename="{name}.csv"' in answer.headers["content-disposition"]
    head, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))
    assert len(rows) == len(
        getattr(web.city, {"visits": "visit", "upkeep": "upkeep", "errands": "errand"}[name] + "_views")
    )
    assert all(len(row) == len(head) for row in rows)


def test_no_cell_is_a_formula_and_every_page_is_in_the_csv() -> None:
    city = FakeCity()
    text = "".join(visit_lines(city, VisitFilter()))
    assert "'=cmd()" in text
    city.visit_views = [make_visit(n, START_US) for n in range(CSV_PAGE + 3)]
    assert len("".join(visit_lines(city, VisitFilter())).splitlines()) == CSV_PAGE + 4
    assert [cell(value) for value in (None, "-1", -1, "@x", "a=b")] == ["", "'-1", "-1", "'@x", "a=b"]
    assert (utc(None), utc(1 << 62), utc(START_US)) == ("", "", "2026-11-22T04:00:00.000Z")


def test_what_to_bring_to_a_street_is_said_once() -> None:
    places = gather_places(make_errands(START_US))
    assert [(place.street, len(place.errands)) for place in places] == [("", 1), ("Harbour Road 港湾路", 3)]
    assert len(places[1].bring) == len(set(places[1].bring))
    assert set(places[1].bring) == {pair for errand in places[1].errands for pair in errand.bring}


async def test_a_point_shows_its_last_visit_and_what_is_due(web: Web) -> None:
    key = (GATEWAY, "well-1/ch4")
    last = LastVisit(job="bump", result="failed", by="Li Wei", recorded_us=START_US - 86_400_000_000)
    web.city.point_views[key] = replace(
        web.city.point_views[key], visit=last, due=(("calibration", "overdue", "2026-09-01"),)
    )
    text = await web.text("/?lang=en")
    assert "bump test not passed 2026-11-21, Li Wei" in text
    assert "calibration overdue (2026-09-01)" in text
    assert "/visits?lang=en" in text
    text = await web.text("/?lang=zh")
    assert "通气测试 未通过 2026-11-21, Li Wei" in text
    assert "校准逾期 (2026-09-01)" in text
    point = (await web.client.get(f"/api/v1/points/{GATEWAY}/well-1/ch4")).json()
    assert point["visit"]["result"] == "failed"
    assert point["due"] == [{"job": "calibration", "state": "overdue", "due": "2026-09-01"}]
