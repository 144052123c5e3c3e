"""The trial of a new configuration: a table, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from contracts import quality
from edge_agent.errors import PlanError
from edge_agent.plan_own import OwnPlan
from edge_agent.reload_trial import (
    TABLE,
    Event,
    Phase,
    Trial,
    answered,
    begin,
    is_measured,
    step,
    trial_from_bytes,
    trial_to_bytes,
)
from tests.edge_agent.small_plans import block, device, plan, point

S = 1_000_000
PLAN = plan(
    devices=(device("fast"), device("slow", unit_id=2)),
    blocks=(block(interval_ms=1000), block(device=1, first_point=1, interval_ms=60_000)),
    points=(point("fast/pressure"), point("slow/pressure")),
)


def test_every_phase_says_what_each_event_does_and_only_a_reload_leaves_a_verdict() -> None:
    for phase, event in product(Phase, Event):
        after = TABLE[phase].get(event)
        if event is Event.RELOADED:
            assert after is Phase.TRIAL
        elif phase is not Phase.TRIAL:
            assert after is None


def test_a_device_has_the_stated_time_and_three_intervals_at_least() -> None:
    trial = begin(Trial(), PLAN, b"h", ["fast", "slow", "gone"], 0)
    assert trial.waiting == {"fast": 60 * S, "slow": 180 * S}
    assert trial.due_us == 60 * S


@pytest.mark.parametrize(
    ("what", "heard", "at_s", "phase", "failed"),
    [
        ("nobody yet", (), 59.9, Phase.TRIAL, ()),
        ("one of two", ("fast",), 100.0, Phase.TRIAL, ()),
        ("both", ("fast", "slow"), 10.0, Phase.CONFIRMED, ()),
        ("the fast one is late", (), 60.0, Phase.ROLLED_BACK, ("fast",)),
        ("the slow one is late", ("fast",), 180.0, Phase.ROLLED_BACK, ("slow",)),
        ("an unknown one", ("other",), 10.0, Phase.TRIAL, ()),
    ],
)
def test_it_is_decided_when_all_answered_or_one_did_not(
    what: str, heard: tuple[str, ...], at_s: float, phase: Phase, failed: tuple[str, ...]
) -> None:
    trial = begin(Trial(), PLAN, b"h", ["fast", "slow"], 0)
    for id in heard:
        trial = trial.heard(id)
    trial = step(trial, round(at_s * S))
    assert (trial.phase, trial.failed) == (phase, failed), what
    assert step(trial, 10_000 * S).phase is phase or phase is Phase.TRIAL, "a verdict stays"


def test_nothing_to_prove_is_confirmed_at_once_and_so_is_a_trial_that_nobody_wants() -> None:
    assert step(begin(Trial(), PLAN, b"h", [], 0), 0).phase is Phase.CONFIRMED
    unwanted = replace(PLAN, own=OwnPlan(reload_trial_s=0.0))
    assert step(begin(Trial(), unwanted, b"h", ["fast"], 0), 0).phase is Phase.CONFIRMED


def test_a_reload_during_a_trial_still_waits_for_those_of_the_first() -> None:
    first = begin(Trial(), PLAN, b"1", ["fast", "slow"], 0).heard("fast")
    second = begin(first, PLAN, b"2", [], 50 * S)
    assert second.waiting == {"slow": 230 * S}
    assert begin(step(first, 200 * S), PLAN, b"3", [], 200 * S).waiting == {}, "not those of one that is over"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (None, True),
        ((quality.GOOD,), True),
        ((quality.OVER_RANGE,), True),
        ((quality.UNIT_MISMATCH,), False),
        ((quality.NO_REPLY, quality.NO_REPLY), False),
        ((quality.NO_REPLY, quality.GOOD), True),
    ],
)
def test_a_measurement_is_good_or_uncertain(codes: tuple[int, ...] | None, expected: bool) -> None:
    assert is_measured(codes) == expected


def test_a_device_answers_when_its_newest_reading_is_not_old() -> None:
    rows = [(0, 100 * S, None), (1, 0, None)]
    assert answered(PLAN, rows, 104 * S) == {"fast", "slow"}
    assert answered(PLAN, rows, 106 * S) == {"slow"}
    assert answered(PLAN, [(0, 100 * S, (quality.NO_REPLY,))], 100 * S) == set()
    assert answered(PLAN, [(2, 100 * S, None)], 100 * S) == set(), "a computed block is no device"


def test_what_is_kept_comes_back_with_the_whole_time_again() -> None:
    trial = begin(Trial(), PLAN, b"h", ["fast", "slow"], 0).heard("slow")
    again = trial_from_bytes(trial_to_bytes(trial), PLAN, 500 * S)
    assert again == replace(trial, waiting={"fast": 560 * S})
    late = step(trial, 100 * S)
    assert trial_from_bytes(trial_to_bytes(late)) == late
    started = replace(late, starts=2)
    assert trial_from_bytes(trial_to_bytes(started)) == started


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format": 2}',
        b'{"format": 1, "phase": "new"}',
        b'{"format":1,"phase":"trial","plan":"","waiting":[],"failed":[],"starts":1e999}',
    ],
)
def test_what_cannot_be_read_is_said(data: bytes) -> None:
    with pytest.raises(PlanError, match="record of the last reload"):
        trial_from_bytes(data)
