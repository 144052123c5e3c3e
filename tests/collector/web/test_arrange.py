"""Groups, order and counts."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from collector.views import Trend
from collector.web import arrange
from tests.collector.web.fake_city import GATEWAY, SECOND, START_US, FakeCity, make_alarm, make_chain


def test_alarms_come_unseen_first_then_active_then_grave_then_new() -> None:
    new = make_alarm("01", severity="yellow", raised_us=START_US)
    old = make_alarm("02", severity="yellow", raised_us=START_US - 1)
    grave = make_alarm("03", severity="red", raised_us=START_US - 9)
    over = make_alarm("04", severity="red", state="cleared")
    seen = make_alarm("05", severity="red", acknowledged_us=START_US)
    right = [grave, new, old, over, seen]
    for seed in range(5):
        mixed = right.copy()
        random.Random(seed).shuffle(mixed)
        assert sorted(mixed, key=arrange.alarm_order) == right


def test_summary_counts_what_stands_and_what_was_not_seen() -> None:
    city = FakeCity()
    summary = arrange.summarise(city.gateway_views, city.alarm_counts(), 4)
    assert summary.alarms == (("red", 1), ("yellow", 1), ("info", 1))
    assert (summary.unacknowledged, summary.to_review, summary.hidden) == (2, 1, 0)
    assert arrange.summarise(city.gateway_views, city.alarm_counts(), 1).hidden == 3
    assert (summary.gateways, summary.gateways_live, summary.gateways_degraded) == (2, 1, 0)
    assert (summary.points, summary.points_unknown, summary.backlog_batches) == (7, 2, 37)


def test_points_are_grouped_by_gateway_and_device() -> None:
    city = FakeCity()
    groups = arrange.group_points(city.gateways(), reversed(city.points()))
    assert [group.gateway for group in groups] == [GATEWAY, SECOND]
    assert [device.device for device in groups[0].devices] == ["bridge-1", "main-1", "underpass-1", "well-1", "well-2"]
    assert [point.key for point in groups[0].devices[3].points] == ["well-1/ch4", "well-1/o2"]
    stray = arrange.group_points([], city.points(SECOND))
    assert stray[0].view is None


def test_proof_shows_the_newest_run_and_counts_every_hole() -> None:
    first, second = arrange.group_chains([GATEWAY, SECOND], FakeCity().chains())
    assert [chain.lane for chain in first.current] == ["alarm", "data"]
    assert [chain.epoch for chain in first.earlier] == ["0011aabbccddeeff"]
    assert (first.missing, first.lost, first.refused) == (0, 20, 1)
    assert second.missing == 37
    (empty,) = arrange.group_chains(["g-nothing"], [make_chain()])
    assert empty.current == ()


def test_structure_changes_with_the_set_of_points_and_not_with_their_order() -> None:
    keys = [("g-a", "x/y"), ("g-a", "x/z"), ("g-b", "x/y")]
    assert arrange.structure(["g-a", "g-b"], keys) == arrange.structure(["g-b", "g-a"], reversed(keys))
    assert arrange.structure(["g-a", "g-b"], keys) != arrange.structure(["g-a", "g-b"], keys[1:])
    assert arrange.structure(["g-a"], []) != arrange.structure([], [])


@pytest.mark.parametrize(
    ("asked", "span", "expected"),
    [
        (f"{GATEWAY}/bridge-1/tilt/1", 7200, ("bridge-1/tilt/1", 7200)),
        (None, None, ("well-1/ch4", 900)),
        ("nobody/nothing", 12345, ("well-1/ch4", 900)),
        ("", -1, ("well-1/ch4", 900)),
    ],
)
def test_chosen_point(asked: str | None, span: int | None, expected: tuple[str, int]) -> None:
    city = FakeCity()
    chosen = arrange.choose_point(asked, span, city.points(), city.alarms())
    assert chosen is not None
    assert (chosen.key, chosen.span_s) == expected
    assert arrange.choose_point(asked, span, [], city.alarms()) is None
    calm = arrange.choose_point(None, None, city.points(SECOND), [])
    assert calm is not None
    assert calm.key == "river-1/level"


def test_trend_figures_never_make_up_a_number() -> None:
    trend = Trend(
        gateway=GATEWAY,
        point="a/b",
        unit="m",
        source="raw",
        times_us=(1, 2, 3, 4),
        values=(2.0, None, 5.0, None),
        low=(),
        high=(),
        codes=(0, 128, 0, 128),
    )
    figures = arrange.trend_figures(trend)
    assert (figures.samples, figures.without_number) == (4, 2)
    assert (figures.low, figures.high, figures.last, figures.last_us) == (2.0, 5.0, 5.0, 3)
    minutes = replace(trend, source="minute", low=(1.0, None, 4.0, None), high=(3.0, None, 6.0, None))
    assert (arrange.trend_figures(minutes).low, arrange.trend_figures(minutes).high) == (1.0, 6.0)
    nothing = arrange.trend_figures(replace(trend, values=(None,) * 4))
    assert (nothing.low, nothing.high, nothing.last, nothing.last_us) == (None, None, None, None)


@pytest.mark.parametrize(
    ("name", "device", "short"),
    [
        ("Gas valve well 1 · gas concentration", "Gas valve well 1", "gas concentration"),
        ("1号燃气阀井 · 气体浓度", "1号燃气阀井", "气体浓度"),
        ("Gas valve well 1 · gas", "Gas valve well 2", "Gas valve well 1 · gas"),
        ("Gas valve well 1 · gas", "", "Gas valve well 1 · gas"),
        ("Well · ", "Well", "Well · "),
        ("Well", "Well", "Well"),
        (" · x", "", " · x"),
    ],
)
def test_a_point_drops_the_name_of_its_device_and_nothing_else(name: str, device: str, short: str) -> None:
    assert arrange.short_name(name, device) == short


def test_trouble_is_what_a_counter_says_and_nothing_made_up() -> None:
    assert arrange.Trouble.read({}) == arrange.Trouble()
    assert arrange.Trouble.read({"ingest_failing": 1.0, "broker_connected": 1.0}).is_store_failing
    assert arrange.Trouble.read({"broker_connected": 0.0}).is_broker_gone
