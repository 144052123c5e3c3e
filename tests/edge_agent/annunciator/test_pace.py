"""A board that fails costs its line no more than the budget counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.annunciator.pace import QUICK_S, REST_S, Pace
from edge_agent.plan_annunciator import LEAST_S

S = 1_000_000


def test_one_quick_try_then_longer_and_longer_pauses() -> None:
    pace, now, pauses = Pace(), 10 * S, []
    for _ in range(7):
        pace = pace.failed(now)
        pauses.append((pace.due_us - now) / S)
        now = pace.due_us
    assert pauses == [QUICK_S, *REST_S, REST_S[-1], REST_S[-1]]


def test_an_alarm_shortens_the_pause_and_an_answer_ends_it() -> None:
    pace = Pace()
    for at_s in (10, 11, 20, 40):
        pace = pace.failed(at_s * S)
    assert pace.due_us > 40 * S + round(LEAST_S * S)
    assert pace.hurried().due_us == 40 * S + round(LEAST_S * S)
    assert pace.succeeded().due_us == 0
    assert Pace().hurried() == Pace()


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3 * S)), max_size=60))
def test_no_more_than_two_tries_fail_in_any_least_pause(story: list[tuple[bool, bool, int]]) -> None:
    pace, now, failures = Pace(), 10 * S, []
    for is_answered, is_hurried, later_us in story:
        if is_hurried:
            pace = pace.hurried()
        now = max(now, pace.due_us) + later_us // 10
        if is_answered:
            pace = pace.succeeded()
        else:
            pace = pace.failed(now)
            failures.append(now)
    window = round(LEAST_S * S)
    for first, third in zip(failures, failures[2:], strict=False):
        assert third - first >= window
