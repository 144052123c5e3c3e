"""Which facts take somebody out, and under which street; the words are ``rules.errands``'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.database import FILE_NAME
from collector.errand_facts import PointFacts
from collector.errands import DUE_DAYS, FORGOTTEN_US, LASTING_US, Known, due_finding, find_errands, place_of
from collector.queries import SqliteQueries
from collector.views import PointView
from collector.visit_views import ErrandView, UpkeepView
from contracts.batch import Lane
from contracts.quality import BY_REASON, CODES, FAULT, GOOD, NO_REPLY, OVER_RANGE
from contracts.upkeep import STATES, Upkeep
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_queries import at
from tests.collector.web.fake_city import make_gateway, make_point

S = 1_000_000
NOW_US = START_US
TODAY = date(2026, 11, 1)


def point(key: str = "well-1/ch4", reason: str = "ok", lost_s: float | None = 0.0, **more: Any) -> PointView:
    """A point whose newest sample says ``reason``, and that had a number ``lost_s`` ago."""
    value = 5.0 if reason == "ok" else None
    last = {"last_value": None, "last_value_us": None}
    if lost_s is not None:
        last = {"last_value": 5.0, "last_value_us": NOW_US - round(lost_s * S)}
    return make_point(
        key, f"{key} en", f"{key} zh", "%{LEL}", value, code=BY_REASON[reason], now_us=NOW_US, **(last | more)
    )


def said(key: str = "well-1/ch4", **more: Any) -> UpkeepView:
    fields: dict[str, Any] = {
        "gateway": "g", "point": key, "job": "bump", "last": "", "due": "", "state": "current", "street": "Lane 5",
        "stated_us": NOW_US - 5 * S, "is_stated": True,
    }  # fmt: skip
    return UpkeepView(**(fields | more))


def errands(
    points: Sequence[PointView] = (),
    upkeep: Sequence[UpkeepView] = (),
    failed: Mapping[tuple[str, str], tuple[int, str]] = {},
    over_range: Mapping[str, int] = {},
    **gateway: Any,
) -> list[ErrandView]:
    view = make_gateway(**({"silent_for_s": 1.0, "liveness": "online"} | gateway))
    known = Known(view=view, points=points, upkeep=upkeep, failed=failed, over_range=over_range)
    return find_errands([known], NOW_US, TODAY)


LONG_S = LASTING_US / S


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([point()], []),
        ([point(reason="no_reply", lost_s=LONG_S - 1), point("well-1/o2")], []),
        ([point(reason="no_reply", lost_s=LONG_S), point("well-1/o2")], [("point_silent", "well-1/ch4")]),
        ([point(reason="no_reply", lost_s=None), point("well-1/o2")], [("point_silent", "well-1/ch4")]),
        ([point(reason="no_reply", lost_s=9999), point("well-1/o2", "no_reply", 9999)], [("device_silent", "")]),
        ([point(reason="agent_stopped", lost_s=9999), point("well-1/o2")], []),
        ([point(reason="fault", lost_s=LONG_S - 1)], []),
        ([point(reason="fault", lost_s=LONG_S)], [("sensor_fault", "well-1/ch4")]),
        ([point(reason="calibrating", lost_s=FORGOTTEN_US / S - 1)], []),
        ([point(reason="calibrating", lost_s=FORGOTTEN_US / S)], [("sensor_fault", "well-1/ch4")]),
        ([point(reason="not_computable", lost_s=9999)], []),
        (
            [point(reason="other_device", lost_s=9999), point("well-1/o2", "other_device", 9999)],
            [("identity_changed", "")],
        ),
        ([point(reason="ok", lost_s=9999, age_s=9999.0, silence_s=10.0)], [("device_silent", "")]),
    ],
)
def test_what_is_found_by_readings(points: list[PointView], expected: list[tuple[str, str]]) -> None:
    assert [(item.finding, item.point) for item in errands(points)] == expected


def test_a_silent_gateway_is_one_errand_and_its_points_are_none() -> None:
    points = [point(reason="no_reply", lost_s=9999), point("well-2/ch4", lost_s=9999, age_s=9999.0)]
    silent = {"liveness": "silent", "silent_for_s": LONG_S}
    (one,) = errands(points, [said(), said("well-2/ch4")], **silent)
    assert (one.finding, one.point, one.device, one.street) == ("gateway_silent", "", "", "Lane 5")
    assert one.based_us == NOW_US - LASTING_US
    (one,) = errands(points, [said(), said("well-2/ch4", street="Lane 6")], **silent)
    assert one.street == ""  # it hangs in neither for sure
    assert errands(points, **(silent | {"silent_for_s": LONG_S - 1})) == []
    assert errands(points, liveness="never", silent_for_s=None) == []


def test_what_is_due_is_listed_though_the_gateway_is_silent() -> None:
    found = errands([point()], [said(due="2026-11-05", last="2026-08-05")], liveness="silent", silent_for_s=9999.0)
    assert [item.finding for item in found] == ["gateway_silent", "bump_due"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "current", "due": "2026-12-01", "last": "2026-09-01"}, "bump_due"),
        ({"state": "current", "due": "2026-12-02", "last": "2026-09-01"}, None),
        ({"state": "current", "due": "2026-01-01", "last": "2025-09-01"}, "bump_due"),
        ({"state": "due", "due": "2026-10-20", "last": "2026-09-01"}, "bump_due"),
        ({"state": "overdue", "due": "2026-08-20", "last": "2026-05-01"}, "bump_overdue"),
        ({"state": "overdue", "due": "", "job": "calibration"}, "calibration_overdue"),
        ({"state": "never", "due": "2026-11-20"}, "never_bumped"),
        ({"state": "never", "due": "2026-11-20", "job": "calibration"}, "never_calibrated"),
        ({"state": "never", "due": "2027-11-20"}, None),
        ({"state": "current", "due": ""}, None),
    ],
)
def test_what_is_due(fields: dict[str, str], expected: str | None) -> None:
    assert due_finding(said(**fields), TODAY) == expected


@given(st.sampled_from(sorted(STATES)), st.sampled_from(["bump", "calibration"]), st.dates(), st.dates())
def test_whatever_is_overdue_or_due_soon_is_on_the_list(state: str, job: str, due: date, today: date) -> None:
    found = due_finding(said(state=state, job=job, due=due.isoformat()), today)
    is_soon = (due - today).days <= DUE_DAYS
    assert (found is not None) == (is_soon or state in ("due", "overdue"))
    assert found is None or job.startswith(found.value.split("_")[0]) or "never" in found.value


def test_failures_and_over_range_are_listed_with_what_they_rest_on() -> None:
    found = errands(
        [point(), point("well-2/ch4")],
        [said()],
        failed={("well-1/ch4", "bump"): (NOW_US - 60 * S, "t90 42 s"), ("gone/ch4", "bump"): (NOW_US, "")},
        over_range={"well-2/ch4": NOW_US - 30 * S},
    )
    assert [(item.finding, item.point, item.street, item.detail, item.based_us) for item in found] == [
        ("over_range_latched", "well-2/ch4", "", "", NOW_US - 30 * S),
        ("bump_failed", "well-1/ch4", "Lane 5", "t90 42 s", NOW_US - 60 * S),
    ]
    assert ("span gas: methane", "标准气：甲烷") in found[1].bring


def test_streets_come_with_the_gravest_first_and_each_once() -> None:
    points = [point(f"well-{n}/ch4", "fault" if n == 3 else "ok", 9999 if n == 3 else 0) for n in range(1, 5)]
    upkeep = [said(f"well-{n}/ch4", street=f"Lane {n % 2}", state="due", due="2026-10-01") for n in range(1, 4)]
    upkeep.append(said("well-4/ch4", street="", state="overdue", due="2026-09-01"))
    found = errands(points, upkeep)
    places = [place_of(item) for item in found]
    assert list(dict.fromkeys(places)) == [("Lane 1", ""), ("", found[0].gateway), ("Lane 0", "")]
    assert found[0].finding == "sensor_fault"
    assert all(places.index(place) + places.count(place) > at for at, place in enumerate(places))


def test_a_point_without_a_statement_hangs_where_its_device_does() -> None:
    (found,) = errands([point(), point("well-1/o2", "fault", 9999)], [said()])
    assert (found.point, found.street) == ("well-1/o2", "Lane 5")


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(sorted(CODES)), st.one_of(st.none(), st.floats(0, 2e5))),
        max_size=8,
    )
)
def test_a_point_that_reads_well_is_never_found_by_its_readings(rows: list[tuple[int, int, float | None]]) -> None:
    points = [
        point(f"well-{device}/ch4/{n}", CODES[code].reason, 0.0 if code == GOOD else lost)
        for n, (device, code, lost) in enumerate(rows)
    ]
    found = errands(points)
    good = {item.key for item in points if item.code == GOOD}
    assert not good & {item.point for item in found}
    silent = {item.device for item in found if item.finding == "device_silent"}
    assert not silent & {item.device for item in points if item.code == GOOD}
    assert len({(item.device, item.point) for item in found}) == len(found)


# ---- through the store -----------------------------------------------------------------------


def check_facts(bench: Bench, queries: SqliteQueries) -> None:
    """What the list is made of says the same as the full views, of which it leaves most out."""
    known: list[Known] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collector.queries.find_errands", lambda found, *_: known.extend(found) or [])
        queries.errands()
    views = queries.gateways()
    assert [(name.id, name.en, name.zh) for name in queries.gateway_names()] == [(v.id, v.en, v.zh) for v in views]
    for fact, view in zip(known, views, strict=True):
        for name in ("id", "en", "zh", "silent_for_s"):
            assert getattr(fact.view, name) == getattr(view, name)
        assert fact.view.liveness == ("online" if view.liveness == "degraded" else view.liveness)
        points = queries.points(view.id)
        names = [field.name for field in fields(PointFacts)]
        assert [[getattr(point, name) for name in names] for point in fact.points] == [
            [getattr(point, name) for name in names] for point in points
        ]
    queries.close()


@pytest.mark.parametrize("code", [GOOD, OVER_RANGE, NO_REPLY, FAULT])
def test_facts_are_what_the_full_views_say(bench: Bench, code: int) -> None:
    g = bench.gateway
    bench.register(Gateway(seed=9))  # known, and never heard of
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    check_facts(bench, queries)
    bench.send(g.catalogue_message(), at_us=99 * S)
    check_facts(bench, queries)
    bench.send(g.seal(100 * S, times=[99 * S], values=[[1], [1], [1], [1.0]]), at_us=100 * S)
    value = 2 if code == GOOD else None
    codes = [[code, GOOD, code, GOOD]]
    bench.send(g.seal(102 * S, times=[101 * S], values=[[value], [1], [value], [1.0]], codes=codes), at_us=102 * S)
    for later_s in (0, 4, 9, 700, 100_000):
        at(bench, (102 + later_s) * S)
        check_facts(bench, queries)


def test_a_reading_that_is_missed_once_after_long_over_range_is_no_errand(bench: Bench) -> None:
    g = bench.gateway
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)

    def send(at_s: int, code: int) -> list[tuple[str, str]]:
        value, codes = 1 if code == GOOD else None, [[code, GOOD, GOOD, GOOD]]
        batch = g.seal(at_s * S, times=[at_s * S], values=[[value], [1], [1], [1.0]], codes=codes)
        bench.send(batch, at_us=at_s * S)
        at(bench, at_s * S)
        return [(item.finding, item.point) for item in queries.errands()]

    bench.send(g.catalogue_message(), at_us=99 * S)
    send(100, GOOD)
    raised = g.event("active", 102 * S, cause="over_range", point="well-0/ch4", value=None, code=OVER_RANGE)
    bench.send(g.seal(102 * S, lane=Lane.ALARM, events=(raised,)), at_us=102 * S)
    late = 102 + LASTING_US // S
    send(late, OVER_RANGE)
    latched = [("over_range_latched", "well-0/ch4")]
    assert send(late + 2, OVER_RANGE) == latched
    assert send(late + 4, NO_REPLY) == latched
    for second in (6, 8, 10):
        found = send(late + second, NO_REPLY)
    assert found == [("point_silent", "well-0/ch4"), *latched]
    queries.close()


def test_errands_of_a_real_store(bench: Bench) -> None:
    g = bench.gateway
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    upkeep = tuple(
        Upkeep(point=f"well-{n}/ch4", job=job, last="", due=due, state=state, street=street)
        for n, job, due, state, street in (
            (0, "bump", "2026-11-10", "never", "Harbour Road"),
            (1, "calibration", "2026-09-01", "overdue", "Harbour Road"),
            (2, "bump", "2027-09-01", "current", "Mill Lane"),
        )
    )
    visits = (
        g.visit(10 * S, "well-2/ch4", result="failed", reason="slow"),
        g.visit(40 * S, "well-2/ch4", result="abandoned"),
        g.visit(10 * S, "well-1/ch4", result="failed", job="calibration"),
        g.visit(50 * S, "well-1/ch4", job="calibration"),
    )
    raised = g.event("active", 90 * S, cause="over_range", point="well-3/ch4", value=None, code=16)
    latched = g.event("latched", 95 * S, raised_by=raised.id, point="well-3/ch4")
    plain = g.event("active", 96 * S, point="well-0/ch4", rule_id="over_range_by_name")
    bench.send(
        g.catalogue_message(),
        g.seal(98 * S, lane=Lane.ALARM, events=(raised, latched, plain)),
        g.data(100 * S, visits=visits[:1] + visits[2:3], upkeep=upkeep),
        g.data(101 * S, visits=visits[1:2] + visits[3:]),
        at_us=101 * S,
    )
    at(bench, 102 * S)
    found = [(item.street, item.finding, item.point) for item in queries.errands()]
    assert found == [
        ("", "over_range_latched", "well-3/ch4"),
        ("Mill Lane", "bump_failed", "well-2/ch4"),
        ("Harbour Road", "calibration_overdue", "well-1/ch4"),
        ("Harbour Road", "never_bumped", "well-0/ch4"),
    ]
    assert queries.errands("g-unknown") == []
    point = queries.point(g.id, "well-1/ch4")
    assert point is not None
    assert list(point.due) == [("calibration", "overdue", "2026-09-01")]
    check_facts(bench, queries)
    at(bench, 102 * S + LASTING_US)
    check_facts(bench, queries)
    gone = [item.finding for item in queries.errands()]
    assert gone[0] == "gateway_silent"
    assert len(gone) == 5
    queries.close()
