"""The tables of what an alarm is and of what its arrival asks for."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.measurement import DECISIONS, TABLE, Decision, Measurement, Reason, Signal, decide, measure, rises, step

A, S, C = Measurement.ACTIVE, Measurement.SOURCE_SILENT, Measurement.CLEARED


@pytest.mark.parametrize(
    ("event_state", "is_silent", "expected"),
    [
        ("active", False, A),
        ("latched", False, A),
        ("cleared", False, C),
        ("active", True, S),
        ("latched", True, S),
        ("cleared", True, C),
    ],
)
def test_a_state_follows_from_the_newest_event_and_from_silence(
    event_state: str, is_silent: bool, expected: Measurement
) -> None:
    assert measure(event_state, is_source_silent=is_silent) is expected


@given(st.sampled_from(Measurement), st.lists(st.sampled_from([s for s in Signal if s is not Signal.CLEARS])))
def test_nothing_but_the_gateways_word_clears(state: Measurement, signals: list[Signal]) -> None:
    if state is C:
        return
    for signal in signals:
        state = step(state, signal)
        assert state is not C


def test_every_state_has_a_row_and_a_way_out() -> None:
    assert set(TABLE) == set(Measurement)
    assert {target for row in TABLE.values() for target in row.values()} == set(Measurement)


# state when it is judged, late, unstated, trial -> decision and why
CASES = [
    (A, False, False, False, Decision.PAGE, Reason.NEW),
    (A, True, False, False, Decision.PAGE, Reason.LATE),
    (S, False, False, False, Decision.PAGE, Reason.NEW),
    (S, True, False, False, Decision.PAGE, Reason.LATE),
    (C, False, False, False, Decision.REVIEW, Reason.OVER),
    (C, True, False, False, Decision.REVIEW, Reason.OVER),
    (A, True, True, False, Decision.REVIEW, Reason.UNSTATED),
    (S, True, True, False, Decision.REVIEW, Reason.UNSTATED),
    (C, True, True, False, Decision.REVIEW, Reason.OVER),
    (A, False, False, True, Decision.NOTHING, Reason.TRIAL),
    (C, True, True, True, Decision.NOTHING, Reason.TRIAL),
]


@pytest.mark.parametrize(("state", "is_late", "is_unstated", "is_trial", "decision", "reason"), CASES)
def test_what_an_arrival_asks_for(
    state: Measurement, is_late: bool, is_unstated: bool, is_trial: bool, decision: Decision, reason: Reason
) -> None:
    verdict = decide(state, is_late=is_late, is_unstated=is_unstated, is_trial=is_trial)
    assert (verdict.decision, verdict.reason) == (decision, reason)


def test_only_being_over_or_on_trial_keeps_an_alarm_from_paging() -> None:
    assert set(DECISIONS) == set(product(Measurement, (False, True)))
    for (state, _), verdict in DECISIONS.items():
        assert (verdict.decision is Decision.PAGE) == (state is not C)


@pytest.mark.parametrize(
    ("held", "new", "expected"),
    [
        (None, Decision.NOTHING, True),
        ("nothing", Decision.REVIEW, True),
        ("review", Decision.PAGE, True),
        ("page", Decision.REVIEW, False),
        ("page", Decision.PAGE, False),
        ("review", Decision.NOTHING, False),
    ],
)
def test_a_decision_only_rises(held: str | None, new: Decision, expected: bool) -> None:
    assert rises(held, new) is expected
