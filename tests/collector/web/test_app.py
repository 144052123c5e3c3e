"""The page, the API and the rest, asked over ASGI with a made-up city behind them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from collector.errors import StoreError
from collector.inhibit_views import InhibitView
from collector.web.app import STATIC, create_app
from collector.web.words import time_words
from tests.collector.web.fake_city import GATEWAY, INFO, SECOND, START_US, FakeChanges, FakeCity, make_alarm, make_point

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\' " &'


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """A city, what tells its changes, and a client that asks."""

    city: FakeCity
    changes: FakeChanges
    client: httpx.AsyncClient


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    city, changes = FakeCity(), FakeChanges()
    app = create_app(
        queries=city,
        actions=city,
        changes=changes,
        info=INFO,
        now_us=lambda: city.now_us,
        zone=UTC,
        host_names=["centre.example"],
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield Web(city=city, changes=changes, client=client)


async def _page(web: Web, query: str = "lang=en") -> str:
    answer = await web.client.get(f"/?{query}")
    assert answer.status_code == 200
    return answer.text


def _row(html: str, key: str) -> str:
    found = re.search(rf'<tr id="p:[^"]*/{re.escape(key)}".*?</tr>', html, re.DOTALL)
    assert found is not None
    return found.group()


class _Seen(HTMLParser):
    """Collects the elements of a page and whatever a strict policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.refused: list[str] = []
        self.addresses: list[str] = []
        self._is_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        self._is_script = tag == "script" and "src" not in known and known.get("type") != "application/json"
        self.refused += [name for name in known if name.startswith("on") or name == "style"]
        if tag == "style":
            self.refused.append(tag)
        if known.get("id"):
            self.ids.append(str(known["id"]))
        self.addresses += [str(known[name]) for name in ("src", "href", "action") if known.get(name)]

    def handle_data(self, data: str) -> None:
        if self._is_script and data.strip():
            self.refused.append(data)


async def test_the_page_has_everything_once(web: Web) -> None:
    html = await _page(web)
    seen = _Seen()
    seen.feed(html)
    assert len(seen.ids) == len(set(seen.ids))
    assert {f"p:{gateway}/{key}" for gateway, key in web.city.point_views} <= set(seen.ids)
    assert {"a:" + "a1" * 16, f"g:{GATEWAY}", f"f:{SECOND}", "summary", "trend-panel", "broken"} <= set(seen.ids)
    assert "Supplementary monitoring aid." in html
    assert "<noscript>" in html
    assert INFO.collector_key in html


async def test_nothing_inline_and_nothing_from_elsewhere(web: Web) -> None:
    seen = _Seen()
    seen.feed(await _page(web))
    assert seen.refused == []
    assert [address for address in seen.addresses if not address.startswith(("/", "?", "#"))] == []
    assert [address for address in seen.addresses if address.startswith("//")] == []


async def test_a_value_has_unit_quality_and_age(web: Web) -> None:
    row = _row(await _page(web), "main-1/pressure")
    assert '<b class="number">0.312</b>' in row
    assert "MPa" in row
    assert "good" in row
    assert 'data-value="0.312"' in row
    assert f'data-at-us="{START_US - 1_000_000}"' in row
    assert ">1 s</time>" in row


async def test_a_failed_read_shows_its_cause_and_the_last_value_only_with_its_age(web: Web) -> None:
    row = _row(await _page(web), "well-2/ch4")
    assert 'data-value=""' in row
    assert "no reply" in row
    assert re.search(r'class="last">last 3\.2 %LEL, age <time[^>]*>41 s</time>', row)
    assert "number" not in row.replace("no-number", "")


async def test_an_inhibited_point_says_by_whom_why_and_until_when(web: Web) -> None:
    key = (GATEWAY, "well-1/ch4")
    view, alarms = web.city.point_views[key], list(web.city.alarm_views)
    inhibit = InhibitView(
        since_us=START_US, until_us=START_US + 600_000_000, reason="bump <test> / 通气测试", by="Li Wei"
    )
    until = time_words(inhibit.until_us, UTC)
    en = f"inhibited until {until} by Li Wei: bump &lt;test&gt; / 通气测试"
    zh = f"抑制报警至 {until}，Li Wei：bump &lt;test&gt; / 通气测试"
    try:
        web.city.point_views[key] = replace(view, is_inhibited=True, inhibit=inhibit)
        web.city.alarm_views = [replace(alarms[0], inhibit=inhibit), *alarms[1:]]
        # The row of the point, the panel of the point, and the alarm.
        assert (await web.client.get(f"/?lang=en&point={GATEWAY}/well-1/ch4")).text.count(en) == 3
        page = (await web.client.get(f"/?lang=zh&point={GATEWAY}/well-1/ch4")).text
        assert page.count(zh) == 3
        assert page.count("已抑制：不产生报警") == 3
        assert (await web.client.get("/alarms?lang=zh")).text.count(zh) == 1
        (point,) = [item for item in (await web.client.get("/api/v1/points")).json() if item["key"] == key[1]]
        assert point["is_inhibited"] is True
        assert point["inhibit"] == {
            "since_us": inhibit.since_us, "until_us": inhibit.until_us, "reason": inhibit.reason, "by": "Li Wei",
        }  # fmt: skip
        (alarm,) = [item for item in (await web.client.get("/api/v1/alarms")).json() if item["id"] == alarms[0].id]
        assert alarm["inhibit"] == point["inhibit"]
        far = replace(inhibit, until_us=1 << 62)
        web.city.point_views[key] = replace(view, is_inhibited=True, inhibit=far)
        assert "inhibited until – by Li Wei" in (await web.client.get("/?lang=en")).text
    finally:
        web.city.point_views[key], web.city.alarm_views = view, alarms
    assert "raises no alarm" not in (await web.client.get("/?lang=en")).text


async def test_over_range_shows_no_number(web: Web) -> None:
    row = _row(await _page(web), "underpass-1/ponding")
    assert "over range" in row
    assert 'class="number"' not in row


async def test_a_stale_point_is_unknown(web: Web) -> None:
    row = _row(await _page(web), "river-1/level")
    assert "is-stale" in row
    assert 'data-quality="unknown"' in row
    assert re.search(r'<span class="if-stale no-number">unknown</span>', row)


async def test_uncertain_says_why(web: Web) -> None:
    assert "calibration overdue" in _row(await _page(web), "well-1/o2")


async def test_gateways_say_live_or_for_how_long_they_are_silent(web: Web) -> None:
    html = await _page(web)
    silent = html[html.index(f'id="g:{SECOND}"') :]
    assert '<span class="quiet-for">75 s</span>' in silent
    assert "live-silent" in silent
    assert "37" in silent


async def test_alarms_say_severity_in_a_word_latency_and_marks(web: Web) -> None:
    html = await _page(web)
    alarms = html[html.index('id="alarms"') : html.index('id="values-section"')]
    assert "Red" in alarms
    assert "sample to commit 80 ms" in alarms
    assert "source silent: state not known now" in alarms
    assert "late · had stood 95.0 s when word of it came" in alarms
    assert "acknowledged by 李明" in alarms
    assert alarms.count('/acknowledge"') == 3
    assert alarms.count('/unacknowledge"') == 1
    assert alarms.index("a1a1") < alarms.index("b2b2") < alarms.index("c3c3")


async def test_a_flood_of_alarms_says_that_there_may_be_more(web: Web) -> None:
    assert "not on this page" not in await _page(web)
    web.city.review_views.clear()
    web.city.alarm_views = [make_alarm(f"{number:032x}") for number in range(250)]
    html = await _page(web)
    assert html.count('<li id="a:') == 200
    assert "50 more are not on this page" in html
    assert "Red 250" in html


async def test_no_alarm_is_no_clearance(web: Web) -> None:
    web.city.alarm_views.clear()
    html = await _page(web)
    assert "No alarm stands at this moment. That clears nothing: 2 of 7 points are unknown." in html
    assert "safe to" not in html.lower()


async def test_the_proof_names_what_is_missing_and_what_is_lost(web: Web) -> None:
    html = await _page(web)
    assert "verified 1 to 1204 of 1204" in html
    assert "Batches not here yet: 37." in html
    assert "804–840" in html
    assert "declared lost: batches 101–120, 4000 readings (gateway&#39;s disk full)" in html
    assert "last receipt" in html


async def test_names_from_the_edge_are_escaped_everywhere(web: Web) -> None:
    city = web.city
    city.point_views = {
        key: replace(
            point, en=EVIL, zh=EVIL, shown=EVIL, reason_en=EVIL, unit_en=EVIL, limits=((1.0, "high", EVIL, EVIL, EVIL),)
        )
        for key, point in city.point_views.items()
    }
    city.point_views[GATEWAY, EVIL] = replace(make_point("a/b", EVIL, EVIL, "m", None, code=64), key=EVIL, device=EVIL)
    city.gateway_views = [
        replace(view, en=EVIL, zh=EVIL, version=EVIL, clock=EVIL, health={EVIL: {EVIL: EVIL}})
        for view in city.gateway_views
    ]
    city.alarm_views = [
        replace(
            alarm, en=EVIL, zh=EVIL, rule_en=EVIL, rule_id=EVIL, scheme=EVIL, cause=EVIL, severity=EVIL,
            acknowledged_by=EVIL, marks=(EVIL,), shown=EVIL, point=EVIL,
        )
        for alarm in city.alarm_views
    ]  # fmt: skip
    city.chain_views = [
        replace(chain, epoch=EVIL, lost=((1, 2, EVIL, 3),), refused=((1, EVIL),)) for chain in city.chain_views
    ]
    plain = _Seen()
    plain.feed(await _page(web))
    assert plain.refused == []
    assert "img" not in plain.tags
    assert plain.tags.count("script") == 3 + STATIC.joinpath("vendor", "uPlot.iife.min.js").is_file()
    panel = await web.client.get("/trend-panel", params={"point": f"{GATEWAY}/well-1/ch4", "lang": "en"})
    seen = _Seen()
    seen.feed(panel.text)
    assert not {"img", "script"} & set(seen.tags)


async def test_languages(web: Web) -> None:
    english = await web.client.get("/", headers={"Accept-Language": "en-GB,en"})
    assert '<html lang="en">' in english.text
    assert "set-cookie" not in english.headers
    chinese = await web.client.get("/", params={"lang": "zh"}, headers={"Accept-Language": "en"})
    assert '<html lang="zh-CN">' in chinese.text
    assert "1号燃气井甲烷" in chinese.text
    assert "辅助监测预警工具" in chinese.text
    assert "qianshao_language=zh" in chinese.headers["set-cookie"]
    remembered = await web.client.get("/", headers={"Accept-Language": "en"})
    assert '<html lang="zh-CN">' in remembered.text


async def test_the_chosen_point_and_span(web: Web) -> None:
    html = await _page(web, f"lang=en&point={GATEWAY}/bridge-1/tilt/1&span=86400")
    panel = html[html.index('id="trend-panel"') :]
    assert f'data-gateway="{GATEWAY}" data-key="bridge-1/tilt/1" data-span-s="86400"' in panel
    assert 'data-span="86400" aria-current="true"' in panel
    assert "minutes" in panel
    assert (await web.client.get("/?span=99999999999999999999&point=%00")).status_code == 200
    assert (await web.client.get("/trend-panel?point=nobody/nothing")).status_code == 404


async def test_an_empty_collector_has_a_page(web: Web) -> None:
    web.city.gateway_views.clear()
    web.city.point_views.clear()
    web.city.alarm_views.clear()
    web.city.chain_views.clear()
    html = await _page(web)
    assert "No gateway is registered yet." in html
    assert "No point is known yet." in html


async def test_without_the_chart_library_the_page_says_so(tmp_path: Path) -> None:
    city = FakeCity()
    app = create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, static=tmp_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        html = (await client.get("/?lang=en")).text
    assert "The chart is not available" in html
    assert "uPlot" not in html
    assert 'id="chart"' not in html


async def test_every_answer_carries_the_policy(web: Web) -> None:
    for path in ("/", "/static/live.js", "/api/v1/points", "/nothing", "/metrics", "/healthz"):
        answer = await web.client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store"), path


async def test_foreign_host_names_are_refused(web: Web) -> None:
    assert (await web.client.get("/", headers={"Host": "evil.example"})).status_code == 421
    assert (await web.client.get("/healthz", headers={"Host": "centre.example"})).status_code == 200


async def test_acknowledge_from_the_page(web: Web) -> None:
    path = f"/alarms/{'a1' * 16}/acknowledge"
    said = {"by": " Wang Fang ", "note": "on the way", "lang": "en"}
    plain = await web.client.post(path, data=said, headers={"Sec-Fetch-Site": "same-origin"})
    assert plain.status_code == 303
    assert plain.headers["location"] == "/?lang=en#alarms-section"
    assert web.city.acknowledged == [("a1" * 16, "Wang Fang", "on the way", "page 127.0.0.1")]
    row = await web.client.post(path, data=said, headers={"Accept": "text/x-row"})
    assert "acknowledged by Wang Fang" in row.text
    assert f"/alarms/{'a1' * 16}/unacknowledge" in row.text
    back = await web.client.post(path.replace("/ack", "/unack"), data=said, headers={"Accept": "text/x-row"})
    assert "acknowledged by" not in back.text
    assert web.city.unacknowledged == [("a1" * 16, "Wang Fang", "on the way", "page 127.0.0.1")]
    assert (await web.client.post(path.replace("/ack", "/clear"), data=said)).status_code in (404, 422)


@pytest.mark.parametrize("said", [{}, {"by": ""}, {"by": "   "}, {"by": "x" * 65}, {"by": "x", "note": "n" * 501}])
async def test_acknowledge_needs_a_name(web: Web, said: dict[str, str]) -> None:
    answer = await web.client.post(f"/alarms/{'a1' * 16}/acknowledge", data=said)
    assert answer.status_code == 422
    assert web.city.acknowledged == []


async def test_acknowledge_from_another_site_is_refused(web: Web) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        for path in (f"/alarms/{'a1' * 16}/acknowledge", f"/api/v1/alarms/{'a1' * 16}/acknowledge"):
            assert (await web.client.post(path, data={"by": "x"}, headers=headers)).status_code == 403
    assert web.city.acknowledged == []


async def test_acknowledge_that_could_not_be_kept_says_so(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: str) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(web.city, "acknowledge", full)
    answer = await web.client.post(f"/api/v1/alarms/{'a1' * 16}/acknowledge", json={"by": "x"})
    assert (answer.status_code, answer.json()) == (503, {"detail": "the store could not do it: the disk is full"})


async def test_acknowledge_of_nothing(web: Web) -> None:
    assert (await web.client.post("/alarms/ffff/acknowledge", data={"by": "x"})).status_code == 404
    assert (await web.client.post("/api/v1/alarms/ffff/acknowledge", json={"by": "x"})).status_code == 404


async def test_api_reads(web: Web) -> None:
    get = web.client.get
    assert [view["id"] for view in (await get("/api/v1/gateways")).json()] == [GATEWAY, SECOND]
    assert len((await get("/api/v1/points")).json()) == 7
    assert len((await get("/api/v1/points", params={"gateway": SECOND})).json()) == 1
    point = (await get(f"/api/v1/points/{GATEWAY}/bridge-1/tilt/1")).json()
    assert (point["key"], point["value"], point["limits"]) == ("bridge-1/tilt/1", -0.041, [])
    assert (await get(f"/api/v1/points/{GATEWAY}/well-2/ch4")).json()["value"] is None
    assert (await get(f"/api/v1/points/{GATEWAY}/nothing/here")).status_code == 404
    assert [alarm["severity"] for alarm in (await get("/api/v1/alarms?limit=2")).json()] == ["red", "yellow"]
    assert (await get("/api/v1/alarms?limit=0")).status_code == 422
    assert (await get(f"/api/v1/alarms/{'a1' * 16}")).json()["latency_ms"] == 80.0
    assert (await get("/api/v1/alarms/none")).status_code == 404
    assert (await get("/api/v1/chains", params={"gateway": SECOND})).json()[0]["missing"] == [
        {"first": 804, "last": 840}
    ]
    assert (await get("/api/v1/quarantine")).json()[0]["code"] == "signature"
    assert (await get("/api/v1/waveforms", params={"alarm": "00" * 16})).json() == []
    (listed,) = (await get("/api/v1/waveforms", params={"gateway": GATEWAY})).json()
    waveform = (await get(f"/api/v1/waveforms/{GATEWAY}/{listed['id']}")).json()
    assert waveform["waveform"] == listed
    assert waveform["channels"][0]["values"] == [0.5, None, 0.25]
    assert (await get(f"/api/v1/waveforms/{SECOND}/{listed['id']}")).status_code == 404


async def test_api_completeness(web: Web) -> None:
    get, day = web.client.get, 86_400_000_000
    (view,) = (await get("/api/v1/completeness", params={"gateway": SECOND, "start_us": 0, "end_us": 10})).json()
    assert (view["begin_us"], view["boot"], view["expected"]) == (0, "", 3600)
    assert view["counts"] == [
        {"outcome": "good", "cause": "", "whose": "", "ticks": 3590},
        {"outcome": "missing", "cause": "no_reply", "whose": "device", "ticks": 10},
    ]
    found = (await get("/api/v1/completeness", params={"gateway": SECOND})).json()
    assert len(found) in (24, 25)
    days = {"gateway": SECOND, "by": "day", "start_us": 0, "end_us": 2 * day}
    assert [view["begin_us"] for view in (await get("/api/v1/completeness", params=days)).json()] == [0, day]
    for wrong in ({}, {"gateway": SECOND, "by": "week"}, days | {"end_us": 9 * day}, days | {"start_us": 3 * day}):
        assert (await get("/api/v1/completeness", params=wrong)).status_code == 422


async def test_api_acknowledge(web: Web) -> None:
    answer = await web.client.post(f"/api/v1/alarms/{'a1' * 16}/acknowledge", json={"by": "李明", "note": "看到"})
    assert answer.json()["acknowledged_by"] == "李明"
    assert web.city.acknowledged == [("a1" * 16, "李明", "看到", "api 127.0.0.1")]


async def test_api_trend(web: Web) -> None:
    params: dict[str, str | int] = {"gateway": GATEWAY, "key": "well-1/ch4"}
    trend = (await web.client.get("/api/v1/trend", params=params)).json()
    assert trend["source"] == "raw"
    assert None in trend["values"]
    assert len(trend["times_us"]) == len(trend["values"]) == len(trend["codes"])
    assert trend["times_us"][-1] <= START_US
    for start, end in ((5, 5), (6, 5), (0, 2**62)):
        times: dict[str, str | int] = {"start_us": start, "end_us": end}
        assert (await web.client.get("/api/v1/trend", params=params | times)).status_code == 422
    assert (await web.client.get("/api/v1/trend", params={"gateway": "x", "key": "y"})).status_code == 404


async def test_openapi_describes_it_and_no_page_needs_a_script_from_elsewhere(web: Web) -> None:
    paths = (await web.client.get("/api/v1/openapi.json")).json()["paths"]
    assert {
        "/api/v1/gateways",
        "/api/v1/points",
        "/api/v1/points/{gateway}/{key}",
        "/api/v1/alarms",
        "/api/v1/alarms/{id}",
        "/api/v1/alarms/{id}/acknowledge",
        "/api/v1/alarms/{id}/unacknowledge",
        "/api/v1/alarms/{id}/warn",
        "/api/v1/letters",
        "/api/v1/letters/{digest}",
        "/api/v1/trial",
        "/api/v1/alarm-counts",
        "/api/v1/alarm-events",
        "/api/v1/alarm-journal",
        "/api/v1/alarm-journal.csv",
        "/api/v1/alarm-reviews",
        "/api/v1/alarm-statements",
        "/api/v1/notices",
        "/api/v1/notify/rules",
        "/api/v1/notify/test",
        "/api/v1/errands",
        "/api/v1/errands.csv",
        "/api/v1/upkeep",
        "/api/v1/upkeep.csv",
        "/api/v1/visits",
        "/api/v1/visits.csv",
        "/api/v1/trend",
        "/api/v1/completeness",
        "/api/v1/chains",
        "/api/v1/quarantine",
        "/api/v1/waveforms",
        "/api/v1/waveforms/{gateway}/{id}",
        "/healthz",
        "/metrics",
    } == set(paths)
    for path in ("/docs", "/redoc"):
        assert (await web.client.get(path)).status_code == 404


async def test_health_and_metrics(web: Web) -> None:
    assert (await web.client.get("/healthz")).json() == {"status": "ok", "version": "0.1.0"}
    metrics = await web.client.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "qianshao_batches_total 1204\n" in metrics.text
    assert "qianshao_up_seconds 86400\n" in metrics.text


async def test_events_end_when_the_collector_stops(web: Web) -> None:
    asking = asyncio.create_task(web.client.get("/events?lang=en"))
    await web.changes.has_listener.wait()
    web.changes.close()
    answer = await asking
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("retry: 1000\ndata: {")


def test_nothing_in_the_static_folder_asks_elsewhere() -> None:
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css")]:
        assert not re.search(r"https?://", path.read_text()), path.name


async def test_every_problem_is_a_sentence_as_the_description_says(web: Web) -> None:
    cases = [
        await web.client.get("/api/v1/alarms?limit=0"),
        await web.client.get("/api/v1/alarms?limit=x&standing=maybe"),
        await web.client.get("/api/v1/trend"),
        await web.client.get("/api/v1/trend?gateway=a&key=b&start_us=5&end_us=1"),
        await web.client.get("/api/v1/points/x"),
        await web.client.get("/api/v1/alarms/none"),
        await web.client.post(f"/api/v1/alarms/{'a1' * 16}/acknowledge", json={}),
        await web.client.post(f"/api/v1/alarms/{'a1' * 16}/acknowledge", content=b"x"),
        await web.client.post(f"/alarms/{'a1' * 16}/acknowledge", data={"by": ""}),
    ]
    for answer in cases:
        assert answer.status_code in (404, 422)
        assert isinstance(answer.json()["detail"], str)
    assert "limit: " in cases[1].json()["detail"]
    assert "standing: " in cases[1].json()["detail"]
    described = (await web.client.get("/api/v1/openapi.json")).json()
    for operations in described["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status in ("404", "422", "503"):
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize("name", ['"a\\u0000b"', '"\\u202ebob"', '"\\ud800"', '"a\\nb"'])
async def test_a_name_that_does_not_show_what_it_is_is_refused(web: Web, name: str) -> None:
    path = f"/api/v1/alarms/{'a1' * 16}/acknowledge"
    answer = await web.client.post(path, content=f'{{"by": {name}}}', headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    said = {"by": "a\u202eb"}
    assert (await web.client.post(f"/alarms/{'a1' * 16}/acknowledge", data=said)).status_code == 422
    assert web.city.acknowledged == []


async def test_a_store_that_takes_nothing_is_said_on_the_page_and_to_whoever_watches(web: Web) -> None:
    assert 'id="trouble" class="notice trouble" role="alert" hidden' in await _page(web)
    web.city.troubles = {"ingest_failing": 1.0, "broker_connected": 0.0}
    answer = await web.client.get("/healthz")
    assert answer.status_code == 503
    assert "takes no commit" in answer.json()["detail"]
    html = await _page(web)
    assert "The collector's store takes no commit." in html.replace("&#39;", "'")
    assert "The collector has no broker." in html


async def test_the_quarantine_is_shown_when_there_is_something_in_it(web: Web) -> None:
    assert 'aria-labelledby="quarantine-title" hidden' in await _page(web)
    web.city.troubles = {"quarantined": 2.0}
    html = await _page(web)
    assert 'aria-labelledby="quarantine-title" hidden' not in html
    assert "does not fit" in html


async def test_points_stand_under_the_name_of_their_device_without_repeating_it(web: Web) -> None:
    html = await _page(web)
    assert "Bridge 1 <small><code>bridge-1</code></small>" in html
    assert ">pier tilt X</a>" in html
    assert ">Gas well 1 methane</a>" in html  # its device has no name
