from __future__ import annotations

import pytest

from contracts.errors import PayloadError
from contracts.quality import (
    CALIBRATION_OVERDUE,
    CODES,
    FAULT,
    GOOD,
    INSTRUMENT_WARNING,
    NO_REPLY,
    OVER_RANGE,
    UNDER_RANGE,
    Quality,
)
from rules.errors import RulesError
from rules.limit import TABLE, Place, arm, forget_time, place, step
from rules.model import LimitRule
from rules.state import ALARM_OF, AlarmState, Cause, LimitState, Occurrence, Phase, Sample
from tests.rules.builders import BOOT, SECOND, limit, low, run, sample

SILENT_CODES = sorted(c.code for c in CODES.values() if c.quality in (Quality.BAD, Quality.MISSING))
AT_20 = limit(deadband=5.0)


@pytest.mark.parametrize(
    ("rule", "value", "code", "expected"),
    [
        (AT_20, 20.0, GOOD, Place.PAST),
        (AT_20, 19.999, GOOD, Place.BETWEEN),
        (AT_20, 15.0, GOOD, Place.BACK),
        (AT_20, 15.001, GOOD, Place.BETWEEN),
        (limit(inclusive=False), 20.0, GOOD, Place.BACK),
        (limit(inclusive=False), 20.001, GOOD, Place.PAST),
        (limit(), 19.999, GOOD, Place.BACK),
        (low(deadband=1.0), 5.0, GOOD, Place.PAST),
        (low(deadband=1.0), 5.5, GOOD, Place.BETWEEN),
        (low(deadband=1.0), 6.0, GOOD, Place.BACK),
        (low(inclusive=False), 5.0, GOOD, Place.BACK),
        (AT_20, 0.0, CALIBRATION_OVERDUE, Place.BACK),
        (AT_20, 25.0, CALIBRATION_OVERDUE, Place.PAST),
        (AT_20, 25.0, INSTRUMENT_WARNING, Place.PAST),
        (AT_20, 0.0, INSTRUMENT_WARNING, Place.UNKNOWN),
        (AT_20, 17.0, INSTRUMENT_WARNING, Place.UNKNOWN),
        (AT_20, None, OVER_RANGE, Place.BEYOND_RANGE),
        (AT_20, None, UNDER_RANGE, Place.UNKNOWN),
        (low(), None, UNDER_RANGE, Place.BEYOND_RANGE),
        (low(), None, OVER_RANGE, Place.UNKNOWN),
        (AT_20, None, FAULT, Place.UNKNOWN),
        (AT_20, None, NO_REPLY, Place.UNKNOWN),
    ],
)
def test_place(rule: LimitRule, value: float | None, code: int, expected: Place) -> None:
    assert place(rule, sample(value, 0, code)) is expected


def test_a_limit_without_delay_raises_and_clears_at_once() -> None:
    state, made = run(AT_20, sample(19, 1), sample(21, 2), sample(17, 3), sample(15, 4))
    assert [(t.alarm, t.cause, t.at_us, t.limit) for t in made] == [
        (AlarmState.ACTIVE, Cause.LIMIT, 2 * SECOND, 20.0),
        (AlarmState.CLEARED, Cause.RETURNED, 4 * SECOND, 20.0),
    ]
    assert made[0].occurrence == made[1].occurrence
    assert made[0].occurrence.raised_at_us == 2 * SECOND
    assert made[0].sample == sample(21, 2)
    assert made[0].rule_hash == AT_20.rule_hash
    assert state == LimitState(rule_id=AT_20.id)


def test_a_second_sample_past_the_limit_says_nothing_new() -> None:
    state, made = run(AT_20, sample(21, 1), sample(30, 2), sample(40, 3))
    assert len(made) == 1
    assert state.phase is Phase.ACTIVE


class TestOnDelay:
    RULE = limit(deadband=5.0, on_delay_s=4)

    def test_raises_at_the_first_sample_past_the_limit_after_the_delay(self) -> None:
        _, made = run(self.RULE, sample(21, 0), sample(21, 3.9), sample(21, 4.1))
        assert [t.at_us for t in made] == [4_100_000]

    def test_completes_exactly_at_the_delay(self) -> None:
        _, made = run(self.RULE, sample(21, 0), sample(21, 4))
        assert [t.at_us for t in made] == [4_000_000]

    def test_a_good_return_ends_it(self) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(10, 2), sample(21, 3), sample(21, 5))
        assert made == []
        assert state.started_us == 3 * SECOND

    def test_a_value_in_the_deadband_neither_ends_nor_completes_it(self) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(17, 5))
        assert (made, state.phase) == ([], Phase.PENDING)
        _, made = run(self.RULE, sample(21, 0), sample(17, 3), sample(21, 5))
        assert len(made) == 1

    @pytest.mark.parametrize("code", SILENT_CODES)
    def test_bad_and_missing_do_not_reset_it_and_do_not_complete_it(self, code: int) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(None, 5, code))
        assert (made, state.phase, state.started_us) == ([], Phase.PENDING, 0)
        _, made = run(self.RULE, sample(21, 0), sample(None, 2, code), sample(21, 4))
        assert len(made) == 1

    def test_an_uncertain_return_does_not_end_it(self) -> None:
        _, made = run(self.RULE, sample(21, 0), sample(5, 2, INSTRUMENT_WARNING), sample(21, 4))
        assert len(made) == 1

    def test_an_uncertain_value_may_complete_it_and_is_marked(self) -> None:
        _, made = run(self.RULE, sample(21, 0), sample(22, 4, INSTRUMENT_WARNING))
        assert [t.marks for t in made] == [("instrument_warning",)]

    def test_samples_are_counted_too(self) -> None:
        rule = limit(on_samples=2)
        assert run(rule, sample(21, 0))[1] == []
        assert len(run(rule, sample(21, 0), sample(21, 1))[1]) == 1
        assert run(rule, sample(21, 0), sample(1, 1), sample(21, 2))[1] == []
        both = limit(on_samples=3, on_delay_s=4)
        assert run(both, sample(21, 0), sample(21, 10))[1] == []
        assert len(run(both, sample(21, 0), sample(21, 10), sample(21, 11))[1]) == 1

    def test_a_missing_sample_between_does_not_restart_the_count(self) -> None:
        _, made = run(limit(on_samples=2), sample(21, 0), sample(None, 1, NO_REPLY), sample(21, 2))
        assert len(made) == 1


class TestOverRange:
    @pytest.mark.parametrize(
        ("rule", "code", "cause"),
        [
            (limit(on_delay_s=60, on_samples=5), OVER_RANGE, Cause.OVER_RANGE),
            (low(on_delay_s=60, on_samples=5), UNDER_RANGE, Cause.UNDER_RANGE),
        ],
    )
    def test_counts_at_once_and_latched(self, rule: LimitRule, code: int, cause: Cause) -> None:
        normal = 10.0
        state, made = run(rule, sample(normal, 0), sample(None, 1, code))
        assert [(t.alarm, t.cause) for t in made] == [(AlarmState.ACTIVE, cause)]
        assert made[0].sample == sample(None, 1, code)
        state, made = run(rule, sample(None, 1, code), sample(normal, 2))
        assert state.phase is Phase.LATCHED
        assert [t.alarm for t in made] == [AlarmState.ACTIVE, AlarmState.LATCHED]

    def test_completes_a_running_on_delay(self) -> None:
        state, made = run(limit(on_delay_s=60), sample(21, 0), sample(None, 1, OVER_RANGE))
        assert (len(made), state.held) == (1, True)

    def test_latches_an_alarm_that_was_active_already_and_tells_nothing_new(self) -> None:
        state, made = run(limit(), sample(21, 0), sample(None, 1, OVER_RANGE))
        assert (len(made), state.held) == (1, True)
        state, made = run(limit(), sample(21, 0), sample(None, 1, OVER_RANGE), sample(1, 2))
        assert state.phase is Phase.LATCHED

    def test_says_nothing_to_a_limit_on_the_other_side(self) -> None:
        assert run(low(), sample(None, 0, OVER_RANGE)) == (LimitState(rule_id=low().id), [])
        state, _ = run(low(), sample(4, 0), sample(None, 1, OVER_RANGE))
        assert state.phase is Phase.ACTIVE


class TestNeverCleared:
    @pytest.mark.parametrize("code", SILENT_CODES)
    def test_by_bad_or_missing(self, code: int) -> None:
        state, made = run(AT_20, sample(21, 0), *(sample(None, n, code) for n in range(1, 50)))
        assert (state.phase, len(made)) == (Phase.ACTIVE, 1)

    def test_by_an_uncertain_value(self) -> None:
        state, _ = run(AT_20, sample(21, 0), sample(0, 1, INSTRUMENT_WARNING))
        assert state.phase is Phase.ACTIVE

    @pytest.mark.parametrize("code", [*SILENT_CODES, UNDER_RANGE, OVER_RANGE])
    def test_never_set_by_what_proves_nothing(self, code: int) -> None:
        rule = low() if code == OVER_RANGE else limit()
        assert run(rule, sample(None, 0, code)) == (LimitState(rule_id=rule.id), [])

    def test_except_by_an_overdue_value_which_is_marked(self) -> None:
        state, made = run(AT_20, sample(21, 0), sample(0, 1, CALIBRATION_OVERDUE))
        assert state.phase is Phase.NORMAL
        assert [t.marks for t in made] == [(), ("calibration_overdue",)]


class TestOffDelay:
    RULE = limit(deadband=5.0, off_delay_s=10)

    def test_clears_when_good_values_stayed_back_long_enough(self) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(14, 1), sample(14, 6), sample(14, 11))
        assert [(t.alarm, t.at_us) for t in made[1:]] == [(AlarmState.CLEARED, 11 * SECOND)]
        assert state.phase is Phase.NORMAL

    def test_a_value_past_the_limit_begins_anew_within_one_alarm(self) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(14, 1), sample(21, 6), sample(14, 7), sample(14, 12))
        assert (len(made), state.phase, state.cleared_us) == (1, Phase.CLEARING, 5 * SECOND)
        assert state.occurrence is not None
        assert state.occurrence.raised_at_us == 0

    def test_an_uncertain_value_past_the_limit_begins_anew_too(self) -> None:
        state, _ = run(self.RULE, sample(21, 0), sample(14, 1), sample(21, 6, INSTRUMENT_WARNING))
        assert state.phase is Phase.ACTIVE

    def test_the_deadband_counts_but_does_not_complete(self) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(14, 1), sample(17, 12))
        assert (len(made), state.phase) == (1, Phase.CLEARING)
        _, made = run(self.RULE, sample(21, 0), sample(14, 1), sample(17, 12), sample(14, 13))
        assert len(made) == 2

    @pytest.mark.parametrize("code", [*SILENT_CODES, UNDER_RANGE])
    def test_stands_still_while_nothing_is_proved(self, code: int) -> None:
        before = [sample(21, 0), sample(14, 1), sample(14, 5)]
        state, made = run(self.RULE, *before, sample(None, 6, code), sample(None, 100, code), sample(14, 101))
        assert (len(made), state.cleared_us) == (1, 4 * SECOND)
        _, made = run(self.RULE, *before, sample(None, 6, code), sample(14, 101), sample(14, 107))
        assert [t.at_us for t in made[1:]] == [107 * SECOND]

    def test_stands_still_at_an_uncertain_value(self) -> None:
        state, _ = run(self.RULE, sample(21, 0), sample(14, 1), sample(14, 60, INSTRUMENT_WARNING), sample(14, 61))
        assert (state.phase, state.cleared_us) == (Phase.CLEARING, 0)


class TestLatch:
    RULE = limit(deadband=5.0, latch=True)

    def test_waits_when_the_condition_is_over(self) -> None:
        state, made = run(self.RULE, sample(21, 0), sample(14, 1), sample(1, 2))
        assert [t.alarm for t in made] == [AlarmState.ACTIVE, AlarmState.LATCHED]
        assert state.occurrence == made[0].occurrence

    def test_is_active_again_at_once_and_the_same_alarm(self) -> None:
        rule = limit(deadband=5.0, latch=True, on_delay_s=5)
        state, made = run(rule, sample(21, 0), sample(21, 5), sample(14, 6), sample(21, 7))
        assert [t.alarm for t in made] == [AlarmState.ACTIVE, AlarmState.LATCHED, AlarmState.ACTIVE]
        assert {t.occurrence for t in made} == {made[0].occurrence}
        assert state.phase is Phase.ACTIVE

    def test_waits_for_the_off_delay_first(self) -> None:
        rule = limit(latch=True, off_delay_s=10)
        state, _ = run(rule, sample(21, 0), sample(14, 1))
        assert state.phase is Phase.CLEARING
        state, _ = run(rule, sample(21, 0), sample(14, 1), sample(14, 11))
        assert state.phase is Phase.LATCHED


class TestRestart:
    def test_a_running_on_delay_counts_as_elapsed_at_the_first_sample_past(self) -> None:
        rule = limit(deadband=5.0, on_delay_s=60, on_samples=9)
        state = forget_time(run(rule, sample(21, 1000))[0])
        between, made = step(rule, state, sample(17, 1), BOOT)
        assert (between, made) == (state, ())
        _, made = step(rule, state, sample(None, 2, NO_REPLY), BOOT)
        assert made == ()
        _, made = step(rule, state, sample(21, 3), BOOT)
        assert [t.alarm for t in made] == [AlarmState.ACTIVE]
        after, made = step(rule, state, sample(1, 3), BOOT)
        assert (after.phase, made) == (Phase.NORMAL, ())

    def test_a_running_off_delay_begins_anew(self) -> None:
        rule = limit(off_delay_s=10)
        state = forget_time(run(rule, sample(21, 0), sample(1, 1), sample(1, 9))[0])
        state, made = step(rule, state, sample(1, 500), BOOT)
        assert (made, state.cleared_us) == ((), 0)
        state, made = step(rule, state, sample(1, 509), BOOT)
        assert made == ()
        state, made = step(rule, state, sample(1, 510), BOOT)
        assert len(made) == 1

    def test_other_phases_stay(self) -> None:
        for state in (run(AT_20, sample(21, 0))[0], LimitState(rule_id="x")):
            assert forget_time(state) == state

    def test_only_a_resting_limit_is_armed(self) -> None:
        active = run(AT_20, sample(21, 0))[0]
        assert arm(active) is active
        armed = arm(LimitState(rule_id=AT_20.id))
        assert not armed.stands
        _, made = step(limit(on_delay_s=60, on_samples=5), armed, sample(21, 0), BOOT)
        assert len(made) == 1


def test_every_phase_has_a_row_and_an_alarm_state() -> None:
    assert set(TABLE) == set(Phase) == set(ALARM_OF)


def test_every_phase_can_be_reached_and_left() -> None:
    reached = {target for row in TABLE.values() for target in row.values()}
    assert reached == set(Phase)
    assert all(any(target is not phase for target in row.values()) for phase, row in TABLE.items())


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, GOOD), (1.0, NO_REPLY), (1.0, OVER_RANGE), (float("nan"), GOOD), (float("inf"), GOOD), (0.0, FAULT)],
)
def test_a_sample_has_a_number_if_and_only_if_its_quality_has_one(value: float | None, code: int) -> None:
    with pytest.raises(RulesError):
        Sample(value=value, code=code, at_us=0)


STATE = run(limit(off_delay_s=9), sample(21, 1), sample(2, 2))[0]


def test_states_survive_the_wire() -> None:
    for item in (STATE, run(AT_20, sample(21, 1))[0], run(limit(on_delay_s=9), sample(21, 1))[0]):
        assert LimitState.from_wire(item.to_wire()) == item
    assert Sample.from_wire(sample(None, 3, NO_REPLY).to_wire()) == sample(None, 3, NO_REPLY)


@pytest.mark.parametrize(
    ("position", "value", "field"),
    [
        (0, b"", "limit_state.rule_id"),
        (1, "asleep", "limit_state.phase"),
        (1, "normal", "limit_state.occurrence"),
        (2, "x", "limit_state.started_us"),
        (3, -1, "limit_state.past_samples"),
        (4, 1.5, "limit_state.cleared_us"),
        (5, -1, "limit_state.clear_to_us"),
        (6, 0, "limit_state.held"),
        (7, None, "limit_state.occurrence"),
        (7, [], "occurrence"),
    ],
)
def test_a_wrong_state_field_is_named(position: int, value: object, field: str) -> None:
    wire = STATE.to_wire()
    wire[position] = value
    with pytest.raises(PayloadError, match=field.replace(".", r"\.")):
        LimitState.from_wire(wire)


def test_a_wrong_occurrence_or_sample_is_named() -> None:
    assert STATE.occurrence is not None
    wire = STATE.occurrence.to_wire()
    wire[3] = "whim"
    with pytest.raises(PayloadError, match=r"occurrence\.cause"):
        Occurrence.from_wire(wire)
    with pytest.raises(PayloadError, match=r"sample\.value"):
        Sample.from_wire([1.0, NO_REPLY, 0])
