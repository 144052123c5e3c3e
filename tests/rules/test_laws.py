"""Laws of a point's rules over random rules and random samples."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.quality import CODES, GOOD, OVER_RANGE, UNDER_RANGE, WITH_VALUE, Quality
from rules.limit import CLEARING_CODES, Place, place
from rules.model import Direction, LimitRule, SilenceRule
from rules.point import (
    check_silence,
    is_heard,
    is_quiet,
    quiet_band,
    quiet_counts,
    restore,
    standing,
    step_point,
)
from rules.point_state import PointRules, PointState
from rules.state import AlarmState, Cause, Sample, Transition
from tests.rules.builders import BOOT, SECOND, fresh, limit, low

VALUES = st.one_of(st.integers(0, 60).map(float), st.floats(-10, 70, allow_nan=False))
DELAYS = st.sampled_from([0.0, 0.0, 1.0, 5.0])


@st.composite
def rule_sets(draw: st.DrawFn) -> PointRules:
    def one(name: str, value: float, *, high: bool) -> LimitRule:
        fields: dict[str, Any] = {
            "deadband": float(draw(st.integers(0, 5))),
            "on_delay_s": draw(DELAYS),
            "off_delay_s": draw(DELAYS),
            "on_samples": draw(st.integers(1, 3)),
            "latch": draw(st.booleans()),
            "inclusive": draw(st.booleans()),
        }
        return limit(name, value, **fields) if high else low(name, value, **fields)

    highs = sorted(draw(st.sets(st.integers(30, 55), max_size=4)))
    lows = sorted(draw(st.sets(st.integers(5, 25), max_size=2)), reverse=True)
    limits = [one(f"H{n}", float(value), high=True) for n, value in enumerate(highs)]
    limits += [one(f"L{n}", float(value), high=False) for n, value in enumerate(lows)]
    silence = SilenceRule(after_s=7) if draw(st.booleans()) else None
    return PointRules(limits=tuple(limits), silence=silence, gas=draw(st.booleans()))


@st.composite
def sample_rows(draw: st.DrawFn) -> list[Sample]:
    codes = st.one_of(st.just(GOOD), st.just(GOOD), st.just(GOOD), st.sampled_from(sorted(CODES)))
    at_us, found = 0, []
    for _ in range(draw(st.integers(0, 30))):
        at_us += draw(st.sampled_from([1, SECOND, 2 * SECOND, 10 * SECOND]))
        code = draw(codes)
        value = draw(VALUES) if code in WITH_VALUE else None
        found.append(Sample(value=value, code=code, at_us=at_us))
    return found


class Judge:
    """The caller's part: keeps when the point was last heard, and may use the quiet band."""

    def __init__(self, rules: PointRules, state: PointState, *, shortcut: bool) -> None:
        self.rules, self.state, self.shortcut = rules, state, shortcut
        self.heard_us: int | None = None
        self.made: list[Transition] = []

    def judge(self, sample: Sample) -> None:
        self.state, made = check_silence(
            self.rules, self.state, heard_us=self.heard_us, now_us=sample.at_us, last=sample
        )
        self.made += made
        if is_heard(sample.code):
            self.heard_us = sample.at_us
        low_end, high_end = quiet_band(self.rules, self.state)
        if (
            self.shortcut
            and sample.code in CLEARING_CODES
            and sample.value is not None
            and low_end < sample.value < high_end
        ):
            return
        self.state, made = step_point(self.rules, self.state, sample)
        self.made += made

    def judge_all(self, samples: list[Sample]) -> Judge:
        for sample in samples:
            self.judge(sample)
        return self


def judged(rules: PointRules, samples: list[Sample], *, shortcut: bool = False) -> Judge:
    return Judge(rules, fresh(rules), shortcut=shortcut).judge_all(samples)


@given(rule_sets(), sample_rows())
def test_the_quiet_band_changes_nothing(rules: PointRules, samples: list[Sample]) -> None:
    with_it, without = judged(rules, samples, shortcut=True), judged(rules, samples)
    assert with_it.made == without.made
    assert with_it.state == without.state


@given(rule_sets(), sample_rows(), VALUES)
def test_a_value_that_may_clear_inside_the_band_leaves_the_state(
    rules: PointRules, samples: list[Sample], value: float
) -> None:
    state = judged(rules, samples).state
    low_end, high_end = quiet_band(rules, state)
    assume(low_end < value < high_end)
    assert is_quiet(state)
    for code in CLEARING_CODES:
        assert step_point(rules, state, Sample(value=value, code=code, at_us=10**12)) == (state, ())


@given(rule_sets(), sample_rows())
def test_what_was_told_is_where_it_stands(rules: PointRules, samples: list[Sample]) -> None:
    run = judged(rules, samples)
    told: dict[str, tuple[AlarmState, int]] = {}
    for item in run.made:
        before = told.get(item.rule_id, (AlarmState.CLEARED, 0))[0]
        assert item.alarm is not before
        if before is not AlarmState.CLEARED:
            assert item.occurrence.raised_at_us == told[item.rule_id][1]
        told[item.rule_id] = (item.alarm, item.occurrence.raised_at_us)
    stands = {occurrence.rule_id: (alarm, occurrence.raised_at_us) for alarm, occurrence in standing(run.state)}
    assert stands == {rule_id: item for rule_id, item in told.items() if item[0] is not AlarmState.CLEARED}


@given(rule_sets(), sample_rows())
def test_nothing_is_told_without_a_cause(rules: PointRules, samples: list[Sample]) -> None:
    by_id = {rule.id: rule for rule in rules.limits}
    for item in judged(rules, samples).made:
        assert item.sample in samples
        assert item.sample is not None
        rule = by_id.get(item.rule_id)
        if rule is None:
            assert item.cause is (Cause.SILENCE if item.alarm is AlarmState.ACTIVE else Cause.RETURNED)
            continue
        where = place(rule, item.sample)
        if item.alarm is not AlarmState.ACTIVE:
            assert (item.cause, where) == (Cause.RETURNED, Place.BACK)
            assert item.sample.code in CLEARING_CODES
        elif item.cause is Cause.LOST_WHILE_RISING:
            assert rules.gas
            assert CODES[item.sample.code].quality in (Quality.BAD, Quality.MISSING)
        elif item.cause is Cause.LIMIT:
            assert where is Place.PAST
        else:
            beyond = OVER_RANGE if rule.direction is Direction.HIGH else UNDER_RANGE
            assert item.cause is (Cause.OVER_RANGE if beyond == OVER_RANGE else Cause.UNDER_RANGE)
            assert item.sample.code == beyond


@given(rule_sets(), sample_rows(), sample_rows())
def test_a_state_read_back_behaves_as_before(rules: PointRules, past: list[Sample], future: list[Sample]) -> None:
    before = judged(rules, past).state
    read = PointState.from_wire(before.to_wire())
    assert read == before
    again = PointRules.from_wire(rules.to_wire())
    later = [Sample(value=s.value, code=s.code, at_us=s.at_us + 10**9) for s in future]
    one, two = Judge(rules, before, shortcut=False), Judge(again, read, shortcut=True)
    assert one.judge_all(later).made == two.judge_all(later).made
    assert one.state == two.state


@given(rule_sets(), sample_rows())
def test_a_restart_in_the_same_boot_changes_no_alarm(rules: PointRules, samples: list[Sample]) -> None:
    state = judged(rules, samples).state
    for known in (True, False):
        restored, made = restore(rules, state, boot=BOOT, now_us=10**12, known_elapsed=known)
        assert made == ()
        assert standing(restored) == standing(state)


@given(rule_sets(), sample_rows())
def test_silent_samples_raise_and_clear_no_limit_beyond_the_named_exception(
    rules: PointRules, samples: list[Sample]
) -> None:
    for item in judged(rules, samples).made:
        if item.sample is not None and not is_heard(item.sample.code):
            assert item.cause in (Cause.SILENCE, Cause.LOST_WHILE_RISING)


STEPS = [Fraction(1), Fraction(1, 10), Fraction(1, 100), Fraction(16, 32768), Fraction(1, 3), Fraction(25)]


@given(
    st.tuples(st.decimals(-100, 100, places=3).map(float), st.decimals(-100, 100, places=3).map(float)),
    st.sampled_from(STEPS),
    st.integers(-5, 5),
)
def test_counts_are_inside_exactly_when_their_values_are(
    band: tuple[float, float], step: Fraction, offset: int
) -> None:
    low_count, high_count = quiet_counts(band, step)
    for edge in (low_count, high_count):
        count = int(edge) + offset
        assert (low_count < count < high_count) is (band[0] < float(count * step) < band[1])


def test_an_open_end_and_an_empty_band_stay_so_in_counts() -> None:
    infinite = float("inf")
    assert quiet_counts((-infinite, infinite), Fraction(1, 10)) == (-infinite, infinite)
    assert quiet_counts((infinite, -infinite), Fraction(1, 10)) == (infinite, -infinite)
    assert quiet_counts((-infinite, 20.0), Fraction(1, 10)) == (-infinite, 200)
    assert quiet_counts((0.14, infinite), Fraction(1, 100)) == (14, infinite)


def test_a_point_without_limits_is_always_quiet() -> None:
    rules = PointRules()
    assert quiet_band(rules, fresh(rules)) == (float("-inf"), float("inf"))
