"""Which pace ordinary data have, and what a cap lets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.pacing import ALARM_LIVE_US, OVERHEAD_BYTES, ByteBudget, Level, Pace, Wants, pace_of

NOTHING = Wants()
STANDING = Wants(alarms_standing=1, alarm_age_us=ALARM_LIVE_US)
FRESH = Wants(alarms_standing=1, alarm_age_us=ALARM_LIVE_US - 1)
WATCHED = Wants(is_watched=True)


@pytest.mark.parametrize(
    ("metered", "level", "wants", "pace"),
    [
        (False, Level.ENOUGH, NOTHING, Pace.LIVE),
        (False, Level.NEARLY_USED, NOTHING, Pace.THINNED),
        (True, Level.ENOUGH, NOTHING, Pace.SPARING),
        (True, Level.ENOUGH, STANDING, Pace.LIVE),
        (True, Level.ENOUGH, WATCHED, Pace.LIVE),
        (True, Level.NEARLY_USED, NOTHING, Pace.THINNED),
        (True, Level.NEARLY_USED, STANDING, Pace.THINNED),
        (True, Level.NEARLY_USED, FRESH, Pace.LIVE),
        (True, Level.NEARLY_USED, WATCHED, Pace.LIVE),
        (True, Level.USED_UP, FRESH, Pace.LIVE),
        (True, Level.USED_UP, WATCHED, Pace.THINNED),
    ],
)
def test_the_pace(metered: bool, level: Level, wants: Wants, pace: Pace) -> None:
    assert pace_of(level, wants, is_metered=metered) is pace


def test_without_a_cap_everything_goes() -> None:
    budget = ByteBudget(0)
    budget.spend(1 << 40, 0)
    assert budget.wait_s(0) == 0
    assert budget.room(0) is None


def test_a_message_may_overdraw_and_the_next_one_waits() -> None:
    budget = ByteBudget(1000)
    budget.spend(10_000 - OVERHEAD_BYTES, 0)
    assert budget.room(0) == 0
    assert budget.wait_s(0) == pytest.approx(8)
    assert budget.wait_s(7_999_000) > 0
    assert budget.wait_s(8_001_000) == 0


@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 5000)), max_size=60), st.integers(100, 5000))
def test_what_asks_first_never_exceeds_the_cap_by_more_than_one_message(
    steps: list[tuple[int, int]], rate: int
) -> None:
    budget = ByteBudget(rate)
    now = sent = largest = 0
    for gap_us, size in steps:
        now += gap_us
        if budget.wait_s(now) == 0:
            budget.spend(size, now)
            sent += size + OVERHEAD_BYTES
            largest = max(largest, size + OVERHEAD_BYTES)
    assert sent <= rate * (2 + now / 1e6) + largest + 1
