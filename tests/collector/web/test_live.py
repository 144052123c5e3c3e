"""The live stream: what a page is told, how often, and what it is not told twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC
from typing import Any, cast

import pytest

from collector.inhibit_views import InhibitView
from collector.views import Change, PointView
from collector.web.live import LivePage, Pace, Pending, stream
from collector.web.render import Renderer
from tests.collector.web.fake_city import GATEWAY, INFO, SECOND, FakeChanges, FakeCity, make_alarm, make_point

CH4 = (GATEWAY, "well-1/ch4")
RENDERER = Renderer("en", zone=UTC, info=INFO, has_chart=False)
QUICK = Pace(shortest_s=0.0, heartbeat_s=0.01, overview_s=0.0)


def _page(city: FakeCity) -> LivePage:
    return LivePage(queries=city, renderer=RENDERER, now_us=lambda: city.now_us)


def _ids(message: str) -> list[str]:
    return [row["id"] for row in json.loads(message)["put"]]


def _changes(page: LivePage, *keys: tuple[str, str], with_overview: bool = True) -> str:
    return page.changes(frozenset(keys), with_overview=with_overview)


def test_a_page_that_connects_is_told_everything_once() -> None:
    city = FakeCity()
    page = _page(city)
    first = page.everything()
    ids = _ids(first)
    assert {f"p:{gateway}/{key}" for gateway, key in city.point_views} <= set(ids)
    assert {f"a:{alarm.id}" for alarm in city.alarm_views} <= set(ids)
    assert {f"g:{GATEWAY}", f"g:{SECOND}", f"f:{GATEWAY}", "summary", "no-alarms"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert _ids(_changes(page)) == []
    assert set(_ids(page.everything())) == set(ids)


def test_only_what_differs_is_sent() -> None:
    city = FakeCity()
    page = _page(city)
    page.everything()
    city.set_value("well-1/ch4", 61.0)
    message = _changes(page, CH4)
    assert _ids(message) == ["p:g-abcdefghijkl/well-1/ch4"]
    assert json.loads(message)["points"] == ["g-abcdefghijkl/well-1/ch4"]
    row = json.loads(message)["put"][0]["html"]
    assert 'data-value="61.0"' in row
    assert ">61<" in row
    assert _ids(_changes(page, CH4)) == []


def test_the_end_of_an_inhibit_is_seen_though_nothing_comes_of_its_point() -> None:
    city = FakeCity()
    page = _page(city)
    page.everything()
    view = city.point_views[CH4]
    inhibit = InhibitView(since_us=city.now_us, until_us=city.now_us + 60_000_000, reason="bump test", by="Li Wei")
    city.point_views[CH4] = replace(view, is_inhibited=True, inhibit=inhibit)
    assert "by Li Wei: bump test" in json.loads(_changes(page, CH4))["put"][0]["html"]
    assert _ids(_changes(page)) == []
    city.point_views[CH4] = view
    assert _ids(_changes(page, with_overview=False)) == []
    message = json.loads(_changes(page))
    assert [row["id"] for row in message["put"]] == ["p:g-abcdefghijkl/well-1/ch4"]
    assert "Li Wei" not in message["put"][0]["html"]
    assert message["points"] == []  # it has no new sample


def test_time_alone_changes_no_row() -> None:
    city = FakeCity()
    page = _page(city)
    page.everything()
    city.now_us += 5_000_000
    city.gateway_views = [
        replace(view, silent_for_s=view.silent_for_s + 5)
        for view in city.gateway_views
        if view.silent_for_s is not None
    ]
    assert _ids(_changes(page, *city.point_views)) == []


def test_many_points_of_one_gateway_are_asked_for_at_once() -> None:
    class Counting(FakeCity):
        single = 0

        def point(self, gateway: str, key: str) -> PointView | None:
            self.single += 1
            return super().point(gateway, key)

    city = Counting()
    keys = [(SECOND, f"pump-{number}/pressure") for number in range(30)]
    for gateway, key in keys:
        city.point_views[gateway, key] = make_point(key, "pump", "泵", "kPa", 1.0, gateway=gateway)
    page = _page(city)
    page.everything()
    for _, key in keys:
        city.set_value(key, 2.0, gateway=SECOND)
    assert len(_ids(_changes(page, *keys))) == 30
    assert city.single == 0
    _changes(page, CH4)
    assert city.single == 1


def test_an_alarm_is_sent_without_waiting_for_the_overview_and_taken_away_when_it_is_over() -> None:
    city = FakeCity()
    page = _page(city)
    page.everything()
    city.alarm_views.insert(0, make_alarm("d4" * 16))
    message = json.loads(_changes(page, with_overview=False))
    assert [row["id"] for row in message["put"]] == ["a:" + "d4" * 16, "summary"]
    assert message["put"][0]["into"] == "alarms"
    del city.alarm_views[0]
    message = json.loads(_changes(page, with_overview=False))
    assert "a:" + "d4" * 16 not in message["standing"]
    city.alarm_views.clear()
    city.review_views.clear()
    assert "no-alarms" in _ids(_changes(page, with_overview=False))


def test_a_new_point_changes_the_structure() -> None:
    city = FakeCity()
    page = _page(city)
    before = json.loads(page.everything())["structure"]
    assert json.loads(_changes(page, CH4))["structure"] == before
    city.point_views[SECOND, "new-1/flow"] = make_point("new-1/flow", "new", "新", "m3/h", 1.0, gateway=SECOND)
    after = json.loads(_changes(page, (SECOND, "new-1/flow"), with_overview=False))["structure"]
    assert after != before
    assert json.loads(_changes(page))["structure"] == after


def test_a_point_that_nobody_knows_is_left_out() -> None:
    page = _page(FakeCity())
    page.everything()
    assert json.loads(_changes(page, ("g-nobody", "no/thing")))["points"] == sorted(
        f"{gateway}/{key}" for gateway, key in FakeCity().point_views
    )


def test_many_changes_become_one() -> None:
    pending = Pending()
    for _ in range(3):
        pending.add(Change(gateways=frozenset({GATEWAY}), alarms=frozenset(), points=frozenset({CH4})))
    assert pending.take() == {CH4}
    assert pending.take() == frozenset()


def _message(event: str) -> dict[str, Any]:
    assert event.endswith("\n\n")
    (line,) = [line for line in event.splitlines() if line.startswith("data: ")]
    return cast(dict[str, Any], json.loads(line.removeprefix("data: ")))


async def test_stream_sends_state_changes_and_heartbeats_and_ends_with_its_source() -> None:
    city, changes = FakeCity(), FakeChanges()
    events = stream(changes, _page(city), QUICK)
    first = _message(await anext(events))
    assert len(first["put"]) > 10
    assert changes.listeners == 1
    beat = _message(await anext(events))
    assert beat["put"] == []
    city.set_value("well-1/ch4", 77.0)
    changes.tell(CH4)
    while not (told := _message(await anext(events)))["put"]:
        pass
    assert told["put"][0]["id"] == "p:g-abcdefghijkl/well-1/ch4"
    changes.close()
    rest = [event async for event in events]
    assert len(rest) <= 2


async def test_a_page_that_goes_away_is_forgotten() -> None:
    changes = FakeChanges()
    events = cast(Any, stream(changes, _page(FakeCity()), QUICK))
    await anext(events)
    assert changes.listeners == 1
    await events.aclose()
    for _ in range(5):
        await asyncio.sleep(0)
    assert changes.listeners == 0


async def test_a_change_between_listening_and_reading_is_not_lost() -> None:
    changes = FakeChanges()

    class Busy(FakeCity):
        def gateways(self) -> Any:
            assert changes.listeners == 1, "the state was read before anybody listened"
            return super().gateways()

    events = stream(changes, _page(Busy()), QUICK)
    await anext(events)
    changes.close()
    async for _ in events:
        pass


async def test_a_source_that_fails_is_not_hidden() -> None:
    class Failing(FakeChanges):
        async def subscribe(self) -> AsyncIterator[Change]:
            async for change in super().subscribe():
                yield change
            raise OSError("the bus is gone")

    changes = Failing()
    events = stream(changes, _page(FakeCity()), QUICK)
    await anext(events)
    changes.close()
    with pytest.raises(OSError, match="the bus is gone"):
        async for _ in events:
            pass


def test_trouble_and_quarantine_are_told_when_they_begin_and_end() -> None:
    city = FakeCity()
    page = _page(city)
    page.everything()
    city.troubles = {"ingest_failing": 1.0, "quarantined": 2.0}
    told = {item["id"]: item["html"] for item in json.loads(_changes(page))["put"]}
    assert "takes no commit" in told["trouble"]
    assert "does not fit" in told["quarantine"]
    assert " hidden" not in told["trouble"] + told["quarantine"]
    city.troubles = {}
    told = {item["id"]: item["html"] for item in json.loads(_changes(page))["put"]}
    assert told["trouble"].count(" hidden") == told["quarantine"].count(" hidden") == 1


async def test_a_gateway_that_is_heard_again_is_told_when_the_overview_is_due_and_not_with_the_next_heartbeat() -> None:
    city, changes = FakeCity(), FakeChanges()
    events = stream(changes, _page(city), Pace(shortest_s=0.001, heartbeat_s=60.0, overview_s=0.05))
    await anext(events)
    city.set_value("well-1/ch4", 77.0)
    city.gateway_views[0] = replace(city.gateway_views[0], backlog_batches=7)
    changes.tell(CH4)
    told: list[str] = []
    while f"g:{GATEWAY}" not in told:
        message = _message(await asyncio.wait_for(anext(events), timeout=10))
        told += [item["id"] for item in message["put"]]
    assert told[0] == f"p:{GATEWAY}/well-1/ch4"
    changes.close()
