"""Laws of watches over random samples: causes, history, restarts, replay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import CODES, GOOD, MISSED_TICK, NO_REPLY, WITH_VALUE, Quality
from rules.point import restore, standing, step_point
from rules.point_state import PointRules, PointState
from rules.replay import replay
from rules.state import AlarmState, Cause, Sample, Transition
from rules.watch import WatchKind, WatchRule
from tests.rules.builders import BOOT, SECOND, fresh, limit, low

_RATE = limit("rise", 1.0, deadband=0.5, latch=True)
_FALL = low("fall", -2.0, on_delay_s=30)
WATCHES = (
    WatchRule(kind=WatchKind.RATE, limit=_RATE, unit="%{LEL}", window_s=120.0, min_value=5.0),
    WatchRule(kind=WatchKind.RATE, limit=_FALL, unit="%{LEL}", window_s=60.0),
    WatchRule(kind=WatchKind.FLAT, limit=limit("flat", 60.0, unit="s"), unit="%{LEL}", tolerance=0.5, spares_zero=True),
    WatchRule(kind=WatchKind.FAULT, limit=limit("fault", 20.0, unit="s", off_delay_s=10, off_samples=2), unit="%{LEL}"),
    WatchRule(kind=WatchKind.TREND, limit=low("soon", 120.0, unit="s"), unit="%{LEL}", window_s=60.0, threshold=40.0),
)


@st.composite
def rule_sets(draw: st.DrawFn) -> PointRules:
    limits = (limit("L1", 30.0, deadband=5.0, on_delay_s=4, off_samples=draw(st.integers(1, 3)), latch=True),)
    chosen = draw(st.sets(st.sampled_from(WATCHES), min_size=1))
    watches = tuple(sorted(chosen, key=lambda watch: watch.id))
    return PointRules(limits=limits, watches=watches, gas=draw(st.booleans()))


@st.composite
def stories(draw: st.DrawFn) -> list[Sample]:
    """A value that stays, drifts, jumps and is lost."""
    value, at_us, found = draw(st.floats(0, 30)), 0, []
    for _ in range(draw(st.integers(1, 8))):
        slope = draw(st.sampled_from([0.0, 0.0, 0.5, 2.0, -2.0]))
        code = draw(st.sampled_from([GOOD, GOOD, GOOD, GOOD, NO_REPLY, MISSED_TICK, *sorted(CODES)]))
        step_s = draw(st.sampled_from([2, 5, 12]))
        for _ in range(draw(st.integers(1, 15))):
            at_us += step_s * SECOND
            value += slope * step_s / 10
            found.append(Sample(value=value if code in WITH_VALUE else None, code=code, at_us=at_us))
    return found


def judged(
    rules: PointRules, samples: list[Sample], state: PointState | None = None
) -> tuple[PointState, list[Transition]]:
    state = fresh(rules) if state is None else state
    made: list[Transition] = []
    for sample in samples:
        state, new = step_point(rules, state, sample)
        made += new
    return state, made


@given(rule_sets(), stories())
def test_what_was_told_is_where_it_stands(rules: PointRules, samples: list[Sample]) -> None:
    state, made = judged(rules, samples)
    told: dict[str, AlarmState] = {}
    for item in made:
        assert item.alarm is not told.get(item.rule_id, AlarmState.CLEARED)
        told[item.rule_id] = item.alarm
    stands = {occurrence.rule_id: alarm for alarm, occurrence in standing(state)}
    assert stands == {rule_id: alarm for rule_id, alarm in told.items() if alarm is not AlarmState.CLEARED}


@given(rule_sets(), stories())
def test_nothing_is_told_without_a_cause(rules: PointRules, samples: list[Sample]) -> None:
    kinds = {watch.id: watch for watch in rules.watches}
    for item in judged(rules, samples)[1]:
        assert item.sample in samples
        assert item.sample is not None
        watch = kinds.get(item.rule_id)
        if watch is None:
            continue
        assert item.rule_hash == watch.rule_hash
        quality = CODES[item.sample.code].quality
        if item.alarm is not AlarmState.ACTIVE:
            assert item.cause is Cause.RETURNED
            assert quality in (Quality.GOOD, Quality.UNCERTAIN)
        elif watch.kind is WatchKind.FAULT:
            assert (item.cause, quality in (Quality.BAD, Quality.MISSING)) == (Cause.FAULT, True)
        else:
            assert item.cause is Cause(watch.kind.value)
            assert item.sample.value is not None


@given(rule_sets(), stories(), st.data())
def test_a_restart_at_any_sample_raises_none_twice_and_loses_none(
    rules: PointRules, samples: list[Sample], data: st.DataObject
) -> None:
    """What stood stands, under the same occurrence; latched stays latched; the next events go on from there."""
    cut = data.draw(st.integers(0, len(samples)))
    state, made = judged(rules, samples[:cut])
    known = data.draw(st.booleans())
    kept = PointState.from_wire(state.to_wire())
    now_us = samples[cut - 1].at_us if cut else 0
    again, none = restore(rules, kept, boot=BOOT, now_us=now_us, known_elapsed=known)
    assert none == ()
    assert standing(again) == standing(state)
    told = {occurrence.rule_id: alarm for alarm, occurrence in standing(state)}
    for item in judged(rules, samples[cut:], again)[1]:
        assert item.alarm is not told.get(item.rule_id, AlarmState.CLEARED)
        told[item.rule_id] = item.alarm
    assert made == judged(rules, samples[:cut])[1]


@given(rule_sets(), stories())
def test_replay_equals_live(rules: PointRules, samples: list[Sample]) -> None:
    assert replay(rules, samples, boot=BOOT).transitions == tuple(judged(rules, samples)[1])


@given(rule_sets(), stories())
def test_samples_that_prove_nothing_clear_no_alarm(rules: PointRules, samples: list[Sample]) -> None:
    for item in judged(rules, samples)[1]:
        if item.alarm is not AlarmState.ACTIVE:
            assert item.sample is not None
            assert CODES[item.sample.code].quality in (Quality.GOOD, Quality.UNCERTAIN)
