"""A day is believed when something vouches for it and it does not jump."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Anchor, ClockState
from edge_agent.trusted_day import PROOF_US, TrustedDay, day_of

DAY_US = 86_400_000_000
NOON_US = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()) * 1_000_000
TODAY = date(2026, 11, 22)
YEAR = 365


def anchor(
    days: float = 0, *, mono_us: int = 0, state: ClockState = ClockState.SYNCHRONISED, vouched: bool = True
) -> Anchor:
    """An anchor so many days after noon of TODAY."""
    wall_us = NOON_US + round(days * DAY_US)
    return Anchor(mono_us=mono_us, wall_us=wall_us, state=state, uncertainty_ms=5 if vouched else None)


def test_what_vouches_for_the_clock_is_believed() -> None:
    for state in (ClockState.SYNCHRONISED, ClockState.COLLECTOR, ClockState.FREE_RUNNING):
        assert TrustedDay(None).look(anchor(state=state)) == TODAY


def test_a_clock_that_nothing_vouches_for_tells_no_day() -> None:
    for state in (ClockState.FREE_RUNNING, ClockState.UNSET):
        day = TrustedDay(TODAY)
        assert day.look(anchor(state=state, vouched=False)) is None
        assert day.seen == TODAY
        assert day.day_at(5) is None


def test_a_jump_of_a_year_is_believed_only_after_it_stood() -> None:
    for days in (YEAR, -YEAR):
        day = TrustedDay(None)
        assert day.look(anchor()) == TODAY
        begun = 1_000_000
        assert day.look(anchor(days, mono_us=begun)) is None
        assert day.look(anchor(days + 0.2, mono_us=begun + PROOF_US - DAY_US // 100)) is None
        assert day.look(anchor(days + 0.25, mono_us=begun + PROOF_US)) == day_of(
            NOON_US + round((days + 0.25) * DAY_US)
        )


def test_a_jump_that_goes_back_leaves_nothing() -> None:
    day = TrustedDay(None)
    assert day.look(anchor()) == TODAY
    assert day.look(anchor(YEAR, mono_us=1)) is None
    assert day.look(anchor(0.5, mono_us=DAY_US // 2)) is not None
    assert day.look(anchor(YEAR, mono_us=DAY_US // 2 + 1)) is None, "its time begins anew"
    assert day.look(anchor(2 * YEAR, mono_us=DAY_US // 2 + 1 + PROOF_US)) is None, "another jump is another doubt"


def test_between_two_runs_a_month_is_believed_at_once_and_a_year_is_not() -> None:
    assert TrustedDay(TODAY).look(anchor(31)) is not None
    assert TrustedDay(TODAY).look(anchor(-0.9)) is not None
    for days in (32, YEAR, -2, -YEAR):
        later = TrustedDay(TODAY)
        assert later.look(anchor(days)) is None
        assert later.look(anchor(days + 0.3, mono_us=round(0.3 * DAY_US))) is not None


def test_a_day_at_an_end_of_the_calendar_ends_no_start() -> None:
    for kept in (date.min, date.max):
        assert TrustedDay(kept).look(anchor()) is None


def test_a_moment_of_this_boot_gets_its_day() -> None:
    day = TrustedDay(None)
    day.look(anchor(mono_us=10 * DAY_US))
    assert day.day_at(8 * DAY_US) == date(2026, 11, 20)


@given(st.integers(-(10**18), 10**18))
def test_every_time_has_a_day(wall_us: int) -> None:
    assert date(1970, 1, 1) <= day_of(wall_us) <= date.max


@given(st.lists(st.tuples(st.integers(1, 2 * PROOF_US), st.integers(-5000, 5000)), max_size=20))
def test_no_jump_is_believed_before_its_time(steps: list[tuple[int, int]]) -> None:
    """Whatever a server says: the day moves as the monotonic clock does, or stands still for six hours first."""
    day = TrustedDay(None)
    assert day.look(anchor()) == TODAY
    mono, believed, doubted_since = 0, 0.0, None
    for after_us, jump in steps:
        mono += after_us
        found = day.look(anchor(mono / DAY_US + jump, mono_us=mono))
        if abs(jump - believed) <= 1:
            assert found is not None
            believed, doubted_since = jump, None
        elif found is not None:
            assert doubted_since is not None
            assert abs(jump - doubted_since[1]) <= 1
            assert mono - doubted_since[0] >= PROOF_US
            believed, doubted_since = jump, None
        elif doubted_since is None or abs(jump - doubted_since[1]) > 1:
            doubted_since = (mono, jump)
