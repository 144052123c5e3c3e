"""When a test or calibration is due: a table of days, and laws."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.due_dates import DueState, due_on, standing

TODAY = date(2026, 11, 22)
DAYS = st.dates(min_value=date(2000, 1, 1), max_value=date(2200, 1, 1))


def _days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.mark.parametrize(
    ("last_ago", "since_ago", "state"),
    [
        (None, None, "never"),
        (None, 0, "never"),
        (None, 179, "never"),
        (None, 180, "due"),
        (None, 210, "due"),
        (None, 211, "overdue"),
        (0, 500, "current"),
        (179, 500, "current"),
        (180, 500, "due"),
        (210, 500, "due"),
        (211, 500, "overdue"),
        # written in another time zone, where it is tomorrow
        (-1, 500, "current"),
        # nobody calibrates in the future: it proves nothing
        (-2, 500, "overdue"),
        (-2, 10, "never"),
        # first watched under a clock that was years ahead
        (None, -4000, "never"),
    ],
)
def test_how_a_job_stands(last_ago: int | None, since_ago: int | None, state: str) -> None:
    found = standing(
        last=None if last_ago is None else _days_ago(last_ago),
        since=None if since_ago is None else _days_ago(since_ago),
        days=180,
        grace_days=30,
        today=TODAY,
    )
    assert found.state.value == state


def test_a_due_date_beyond_the_calendar_is_its_last_day() -> None:
    assert due_on(last=date(9999, 1, 1), since=None, days=3650) == date.max
    assert due_on(last=None, since=None, days=1) is None
    assert standing(last=TODAY, since=None, days=3650, grace_days=0, today=date.max).state is DueState.OVERDUE


@given(last=DAYS, days=st.integers(1, 3650), grace=st.integers(0, 3650), today=DAYS)
def test_time_only_makes_it_later(last: date, days: int, grace: int, today: date) -> None:
    order = [DueState.CURRENT, DueState.DUE, DueState.OVERDUE]
    if last > today:
        return
    found = [
        standing(last=last, since=None, days=days, grace_days=grace, today=today + timedelta(days=later))
        for later in (0, 1, 30, 4000)
    ]
    places = [order.index(item.state) for item in found]
    assert places == sorted(places)
    assert len({item.due for item in found}) == 1


@given(days=st.integers(1, 3650), grace=st.integers(0, 3650), since=DAYS, today=DAYS)
def test_whatever_was_before_a_pass_today_is_current(days: int, grace: int, since: date, today: date) -> None:
    found = standing(last=today, since=since, days=days, grace_days=grace, today=today)
    assert found.state is DueState.CURRENT
