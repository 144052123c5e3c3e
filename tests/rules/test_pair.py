"""Two points that confirm each other: cases, and the law that a pair never stands for one alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import PayloadError
from rules.errors import RuleError
from rules.pair import PairRule, PairState, forget_times, step_pair
from rules.state import AlarmState, Cause, LimitState, Transition
from tests.rules.builders import BOOT, SECOND, limit, sample


def pair(within_s: float = 60.0, **changes: Any) -> PairRule:
    fields: dict[str, Any] = {"own": "test.v1/L1", "point": "well-2/ch4", "other": "test.v1/pre"}
    head = limit("both", 2.0, unit="1", latch=changes.pop("latch", False))
    return PairRule(limit=head, within_s=within_s, **(fields | changes))


def stepped(rule: PairRule, *steps: tuple[float, bool, bool]) -> tuple[PairState, list[Transition]]:
    state, made = PairState(limit=LimitState(rule_id=rule.id)), list[Transition]()
    for at_s, own, other in steps:
        at_us = round(at_s * SECOND)
        state, new = step_pair(
            rule, state, own=own, other=other, at_us=at_us, boot=BOOT, sample=sample(1, at_s) if at_s else None
        )
        made += new
    return state, made


@pytest.mark.parametrize(
    ("within_s", "steps", "expected"),
    [
        (0, [(1, True, False), (2, True, True), (3, True, False)], [("active", 2), ("cleared", 3)]),
        (0, [(1, True, False), (2, False, True)], []),
        # the second one came within the window of the first one's end, in either order
        (60, [(1, True, False), (9, False, False), (50, False, True)], [("active", 50)]),
        (60, [(1, False, True), (9, False, False), (50, True, False)], [("active", 50)]),
        (60, [(1, True, False), (9, False, False), (70, False, True)], []),
        # one ends: the pair stands as long as the window lasts
        (
            60,
            [(1, True, True), (9, True, False), (69, True, False), (70, True, False)],
            [("active", 1), ("cleared", 69)],
        ),
        # neither is active any more
        (60, [(1, True, True), (9, False, False)], [("active", 1), ("cleared", 9)]),
    ],
)
def test_cases(within_s: float, steps: list[tuple[float, bool, bool]], expected: list[tuple[str, float]]) -> None:
    _, made = stepped(pair(within_s), *steps)
    assert [(item.alarm.value, item.at_us / SECOND) for item in made] == expected
    assert all(item.marks == ("with=well-2/ch4",) and item.limit is None for item in made)
    assert [item.cause for item in made] == [Cause.CONFIRMED, Cause.RETURNED][: len(made)]


def test_a_latched_pair_waits_and_bytes_keep_it() -> None:
    state, made = stepped(pair(latch=True), (1, True, True), (2, False, False))
    assert made[-1].alarm is AlarmState.LATCHED
    assert PairState.from_wire(state.to_wire()) == state
    assert PairRule.from_wire(pair().to_wire()) == pair()
    assert forget_times(state).own_us is None
    with pytest.raises(PayloadError, match=r"pair\.within_s"):
        PairRule.from_wire([*pair().to_wire()[:-1], -1.0])


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"within_s": -1}, "within_s"), ({"within_s": 1e9}, "within_s"), ({"point": "Well 2"}, "point")],
)
def test_a_pair_that_cannot_be_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RuleError) as caught:
        pair(**changes)
    assert field in [name for name, _ in caught.value.problems]
    with pytest.raises(RuleError, match="2 conditions"):
        PairRule(limit=limit(), own="a", point="a/b", other="b", within_s=1)


STEPS = st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.booleans()), max_size=25)


@given(STEPS, st.sampled_from([0.0, 10.0, 60.0]))
def test_it_stands_only_while_one_is_active_and_both_were_within_the_window(
    steps: list[tuple[int, bool, bool]], within_s: float
) -> None:
    rule = pair(within_s)
    state = PairState(limit=LimitState(rule_id=rule.id))
    at_s, stood = 0, {"own": None, "other": None}
    before = {"own": False, "other": False}
    for more, own, other in steps:
        at_s += more
        now = {"own": own, "other": other}
        for name, is_active in now.items():
            stood[name] = at_s if is_active or before[name] else stood[name]
        before = now
        state, _ = step_pair(rule, state, own=own, other=other, at_us=at_s * SECOND, boot=BOOT, sample=None)
        recent = all(last is not None and at_s - last < within_s for last in stood.values())
        assert (state.limit.alarm is AlarmState.ACTIVE) is ((own and other) or ((own or other) and recent))


@given(STEPS)
def test_looking_twice_changes_nothing(steps: list[tuple[int, bool, bool]]) -> None:
    rule = pair()
    state = PairState(limit=LimitState(rule_id=rule.id))
    at_us = 0
    for more, own, other in steps:
        at_us += more * SECOND
        state, _ = step_pair(rule, state, own=own, other=other, at_us=at_us, boot=BOOT, sample=None)
        again, made = step_pair(rule, state, own=own, other=other, at_us=at_us, boot=BOOT, sample=None)
        assert (again, made) == (state, ())
