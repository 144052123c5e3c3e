"""Estimates agree with the published figures that they are made of, and grow where they must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.estimate import estimate
from edge_agent.plan import Plan
from tests.edge_agent.small_plans import UPLINK, block, point
from tests.edge_agent.small_plans import plan as small_plan


def plan(readings_per_s: int, *, seal_s: float = 2.0, host: str = "127.0.0.1") -> Plan:
    uplink = replace(UPLINK, host=host, port=1883, seal_interval_s=seal_s)
    blocks = tuple(block(offsets=range(20)) for _ in range(readings_per_s // 20))
    return small_plan(blocks=blocks, points=(point(),), uplink=uplink)


@pytest.mark.parametrize(("readings", "card", "up"), [(200, 666, 917), (1000, 749, 2035)])
def test_the_measured_loads(readings: int, card: int, up: int) -> None:
    found = estimate(plan(readings))
    assert found.readings_per_s == readings
    assert found.card_mb_day[0] == pytest.approx(card, rel=0.02)
    assert found.up_mb_month is not None
    assert found.up_mb_month[0] == pytest.approx(up, rel=0.02)
    assert found.down_mb_month == pytest.approx(227, rel=0.02)
    assert found.card_mb_day[1] > found.card_mb_day[0]


def test_longer_seals_cost_less_and_without_a_link_nothing_is_sent() -> None:
    often, seldom = estimate(plan(200)), estimate(plan(200, seal_s=60.0))
    assert seldom.card_mb_day[0] < often.card_mb_day[0] / 5
    alone = estimate(plan(200, host=""))
    assert alone.up_mb_month is None
    assert alone.down_mb_month is None


def test_a_gateway_that_reads_seldom_seals_seldom() -> None:
    slow = plan(20)
    slow = replace(slow, blocks=tuple(replace(one, interval_ms=600_000) for one in slow.blocks))
    assert estimate(slow).card_mb_day[0] < 3
