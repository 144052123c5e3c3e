from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.errors import PayloadError
from contracts.quality import (
    AGENT_STOPPED,
    BAD_FRAME,
    CALIBRATING,
    CALIBRATION_OVERDUE,
    FAULT,
    GOOD,
    IMMERSED,
    INHIBITED,
    INSTRUMENT_WARNING,
    MISSED_TICK,
    NO_REPLY,
    OVER_RANGE,
    SIMULATED,
)
from rules.errors import RulesError
from rules.model import SilenceRule
from rules.point import (
    begin_inhibit,
    check_inhibit,
    check_silence,
    end_inhibit,
    is_heard,
    is_quiet,
    reload,
    remove,
    restore,
    silence_due_us,
    standing,
    step_point,
)
from rules.point_state import Inhibit, PointRules, PointState
from rules.resetting import reset
from rules.state import AlarmState, Cause, Phase, Sample, Transition
from tests.rules.builders import BOOT, SECOND, fresh, gas_ladder, limit, low, sample

LADDER = gas_ladder()
ONE = PointRules(limits=(limit(deadband=5.0),))
LATCHING = PointRules(limits=(limit(deadband=5.0, latch=True),))
SILENCE = PointRules(limits=(limit(),), silence=SilenceRule(after_s=30))


def run(rules: PointRules, *samples: Sample, state: PointState | None = None) -> tuple[PointState, list[Transition]]:
    state = fresh(rules) if state is None else state
    made: list[Transition] = []
    for item in samples:
        state, new = step_point(rules, state, item)
        made += new
    return state, made


def names(made: list[Transition] | tuple[Transition, ...]) -> list[tuple[str, str, str]]:
    return [(t.rule_id.split("/")[-1], t.alarm.value, t.cause.value) for t in made]


def test_every_limit_sees_the_sample() -> None:
    state, made = run(LADDER, sample(60, 0))
    assert names(made) == [("L2", "active", "limit")]
    assert [item.phase for item in state.limits] == [Phase.PENDING, Phase.PENDING, Phase.ACTIVE]


def test_from_zero_to_over_range_in_one_sample_raises_every_high_limit() -> None:
    _, made = run(LADDER, sample(0, 0), sample(None, 2, OVER_RANGE))
    assert names(made) == [(n, "active", "over_range") for n in ("pre", "L1", "L2")]


class TestLostWhileRising:
    @pytest.mark.parametrize("code", [FAULT, IMMERSED])
    def test_a_sensor_that_breaks_raises_the_next_limit(self, code: int) -> None:
        state, made = run(LADDER, sample(12, 0), sample(None, 300, code))
        assert names(made) == [("L1", "active", "lost_while_rising")]
        assert made[0].sample == sample(None, 300, code)
        assert state.limits[1].held

    def test_a_sensor_that_goes_silent_does_so_with_its_second_missing_sample(self) -> None:
        state, made = run(LADDER, sample(12, 0), sample(None, 2, NO_REPLY))
        assert (made, is_quiet(state)) == ([], False)
        _, made = run(LADDER, sample(None, 4, NO_REPLY), state=state)
        assert names(made) == [("L1", "active", "lost_while_rising")]

    def test_one_damaged_frame_is_no_loss(self) -> None:
        frames = [item for n in range(1, 9, 2) for item in (sample(None, n, BAD_FRAME), sample(12, n + 1))]
        assert run(LADDER, sample(12, 0), *frames)[1] == []

    def test_it_is_raised_once(self) -> None:
        _, made = run(LADDER, sample(12, 0), *(sample(None, n, FAULT) for n in range(1, 20)))
        assert len(made) == 1

    def test_the_next_limit_is_above_those_passed(self) -> None:
        assert names(run(LADDER, sample(25, 0), sample(None, 1, FAULT))[1]) == [("L2", "active", "lost_while_rising")]
        raised = run(LADDER, sample(25, 0), sample(25, 4), sample(None, 6, FAULT))[1]
        assert names(raised) == [("L1", "active", "limit"), ("L2", "active", "lost_while_rising")]

    def test_with_every_limit_passed_the_highest_on_delay_is_raised(self) -> None:
        rules = PointRules(limits=(limit("pre", 10.0), limit("L1", 20.0, on_delay_s=9)), gas=True)
        made = run(rules, sample(25, 0), sample(None, 1, FAULT))[1]
        assert names(made) == [("pre", "active", "limit"), ("L1", "active", "lost_while_rising")]

    def test_with_nothing_left_to_raise_nothing_is(self) -> None:
        state, made = run(LADDER, sample(None, 0, OVER_RANGE), sample(None, 1, FAULT))
        assert len(made) == 3
        assert state.passed_us is None

    def test_a_single_limit_has_no_next(self) -> None:
        rules = PointRules(limits=(limit(),), gas=True)
        assert names(run(rules, sample(25, 0), sample(None, 1, FAULT))[1]) == [("L1", "active", "limit")]
        assert run(PointRules(limits=(low(),), gas=True), sample(9, 0), sample(None, 1, FAULT))[1] == []

    def test_not_after_five_minutes(self) -> None:
        at_60 = [sample(12, n) for n in (0, 60)]
        assert names(run(LADDER, *at_60, sample(None, 300.1, FAULT))[1]) == [("pre", "active", "limit")]

    def test_the_time_is_that_of_the_first_missing_sample(self) -> None:
        made = run(LADDER, sample(12, 0), sample(None, 299, NO_REPLY), sample(None, 301, NO_REPLY))[1]
        assert names(made) == [("L1", "active", "lost_while_rising")]

    def test_not_when_the_value_had_come_back(self) -> None:
        assert run(LADDER, sample(12, 0), sample(7, 5), sample(None, 6, FAULT))[1] == []

    def test_still_when_it_was_only_in_the_deadband(self) -> None:
        assert len(run(LADDER, sample(12, 0), sample(8, 5), sample(None, 6, FAULT))[1]) == 1

    def test_not_when_it_never_passed(self) -> None:
        assert run(LADDER, sample(9, 0), *(sample(None, n, FAULT) for n in range(1, 9)))[1] == []

    @pytest.mark.parametrize("code", [INHIBITED, CALIBRATING, SIMULATED])
    def test_not_when_somebody_works_on_the_instrument(self, code: int) -> None:
        assert run(LADDER, sample(12, 0), sample(None, 1, code), sample(None, 2, FAULT))[1] == []

    @pytest.mark.parametrize("code", [MISSED_TICK, AGENT_STOPPED])
    def test_what_we_did_not_ask_neither_counts_nor_forgives(self, code: int) -> None:
        ours = [sample(None, n, code) for n in range(1, 9)]
        assert run(LADDER, sample(12, 0), *ours)[1] == []
        assert len(run(LADDER, sample(12, 0), sample(None, 1, NO_REPLY), *ours, sample(None, 9, NO_REPLY))[1]) == 1

    def test_not_by_an_inhibit(self) -> None:
        state, _ = run(LADDER, sample(12, 0))
        state = begin_inhibit(state, reason="bump test", by="李工", until_us=10 * SECOND)
        assert run(LADDER, sample(None, 1, FAULT), sample(None, 11, FAULT), state=state)[1] == []

    def test_not_across_a_reload(self) -> None:
        state, _ = run(LADDER, sample(12, 0))
        state, made = reload(LADDER, state, now_us=SECOND)
        assert (made, run(LADDER, sample(None, 2, FAULT), state=state)[1]) == ((), [])

    def test_not_by_removal(self) -> None:
        assert remove(run(LADDER, sample(12, 0))[0], now_us=SECOND) == ()

    def test_not_for_a_point_that_is_no_gas(self) -> None:
        assert run(replace(LADDER, gas=False), sample(12, 0), sample(None, 1, FAULT))[1] == []

    def test_it_waits_for_a_reset_even_where_the_rule_does_not_latch(self) -> None:
        rules = PointRules(limits=(limit("pre", 10.0), limit("L1", 20.0)), gas=True)
        _, made = run(rules, sample(12, 0), sample(None, 1, FAULT), sample(1, 2))
        assert names(made)[1:] == [
            ("L1", "active", "lost_while_rising"),
            ("pre", "cleared", "returned"),
            ("L1", "latched", "returned"),
        ]

    def test_rising_again_after_a_return_counts_from_the_second_passing(self) -> None:
        rules = PointRules(limits=(limit("pre", 10.0, off_delay_s=600), limit("L1", 20.0)), gas=True)
        state, _ = run(rules, sample(12, 0), sample(5, 10), sample(12, 400))
        assert state.passed_us == 400 * SECOND


class TestSilence:
    def test_is_raised_when_nothing_is_heard_for_too_long(self) -> None:
        state, _ = run(SILENCE, sample(1, 5))
        last = sample(None, 33, NO_REPLY)
        same, made = check_silence(SILENCE, state, heard_us=5 * SECOND, now_us=35 * SECOND - 1, last=last)
        assert (same, made) == (state, ())
        assert silence_due_us(SILENCE, state, 5 * SECOND) == 35 * SECOND
        state, made = check_silence(SILENCE, state, heard_us=5 * SECOND, now_us=35 * SECOND, last=last)
        assert [(t.rule_id, t.alarm, t.cause, t.limit, t.sample, t.at_us) for t in made] == [
            ("silence.v1", AlarmState.ACTIVE, Cause.SILENCE, None, last, 35 * SECOND)
        ]
        assert not is_quiet(state)

    def test_counts_from_the_start_when_never_heard(self) -> None:
        state = fresh(SILENCE, now_s=100)
        assert silence_due_us(SILENCE, state, None) == 130 * SECOND
        assert len(check_silence(SILENCE, state, heard_us=None, now_us=130 * SECOND)[1]) == 1

    def test_is_raised_once(self) -> None:
        state, _ = check_silence(SILENCE, fresh(SILENCE), heard_us=None, now_us=30 * SECOND)
        assert check_silence(SILENCE, state, heard_us=None, now_us=300 * SECOND) == (state, ())
        assert silence_due_us(SILENCE, state, None) is None

    @pytest.mark.parametrize(
        ("value", "code", "heard"),
        [
            (1.0, GOOD, True),
            (1.0, INSTRUMENT_WARNING, True),
            (1.0, CALIBRATION_OVERDUE, True),
            (None, OVER_RANGE, True),
            (None, FAULT, False),
            (None, NO_REPLY, False),
            (None, MISSED_TICK, False),
        ],
    )
    def test_good_and_uncertain_end_it_and_nothing_else(self, value: float | None, code: int, heard: bool) -> None:
        state, _ = check_silence(SILENCE, fresh(SILENCE), heard_us=None, now_us=30 * SECOND)
        state, made = step_point(SILENCE, state, sample(value, 31, code))
        ended = [t for t in made if t.rule_id == "silence.v1"]
        assert is_heard(code) is heard
        assert (state.silence is None, len(ended)) == (heard, int(heard))
        assert all((t.alarm, t.cause) == (AlarmState.CLEARED, Cause.RETURNED) for t in ended)

    def test_clears_no_alarm(self) -> None:
        state, _ = run(SILENCE, sample(25, 0))
        state, _ = check_silence(SILENCE, state, heard_us=0, now_us=31 * SECOND)
        assert [item.phase for item in state.limits] == [Phase.ACTIVE]
        assert [alarm for alarm, _ in standing(state)] == [AlarmState.ACTIVE, AlarmState.ACTIVE]

    def test_is_not_judged_without_a_rule_or_while_inhibited(self) -> None:
        assert check_silence(ONE, fresh(ONE), heard_us=None, now_us=10**15) == (fresh(ONE), ())
        state = begin_inhibit(fresh(SILENCE), reason="maintenance", by="李工", until_us=100 * SECOND)
        assert check_silence(SILENCE, state, heard_us=0, now_us=99 * SECOND) == (state, ())

    def test_counts_anew_when_an_inhibit_ends(self) -> None:
        state = begin_inhibit(fresh(SILENCE), reason="maintenance", by="李工", until_us=100 * SECOND)
        state, _ = check_inhibit(SILENCE, state, 101 * SECOND)
        assert silence_due_us(SILENCE, state, 0) == 130 * SECOND


class TestReset:
    def latched(self) -> PointState:
        return run(LATCHING, sample(25, 0), sample(1, 1))[0]

    def test_by_a_named_person(self) -> None:
        done = reset(LATCHING, self.latched(), "test.v1/L1", by=" 王敏 ", last=sample(1, 1), now_us=9 * SECOND)
        assert done.refused == ""
        assert [(t.alarm, t.cause, t.marks, t.at_us) for t in done.transitions] == [
            (AlarmState.CLEARED, Cause.RESET, ("by=王敏",), 9 * SECOND)
        ]
        assert done.state == run(LATCHING, sample(1, 1))[0]

    def test_with_an_overdue_value_is_marked(self) -> None:
        last = sample(1, 1, CALIBRATION_OVERDUE)
        done = reset(LATCHING, self.latched(), "test.v1/L1", by="王敏", last=last, now_us=9 * SECOND)
        assert done.transitions[0].marks == ("calibration_overdue", "by=王敏")

    @pytest.mark.parametrize(
        ("last", "why"),
        [
            (None, "not good"),
            (sample(None, 1, NO_REPLY), "not good"),
            (sample(None, 1, FAULT), "not good"),
            (sample(None, 1, OVER_RANGE), "not good"),
            (sample(1, 1, INSTRUMENT_WARNING), "not good"),
            (sample(25, 1), "condition stands"),
        ],
    )
    def test_refused_by_the_last_value(self, last: Sample | None, why: str) -> None:
        state = self.latched()
        done = reset(LATCHING, state, "test.v1/L1", by="王敏", last=last, now_us=9)
        assert why in done.refused
        assert (done.state, done.transitions) == (state, ())

    def test_refused_while_the_condition_stands_or_the_off_delay_runs(self) -> None:
        rules = PointRules(limits=(limit(latch=True, off_delay_s=60),))
        for samples, why in (((sample(25, 0),), "condition"), ((sample(25, 0), sample(1, 1)), "off-delay")):
            done = reset(rules, run(rules, *samples)[0], "test.v1/L1", by="王敏", last=sample(1, 2), now_us=9)
            assert why in done.refused

    def test_refused_where_there_is_nothing_to_reset(self) -> None:
        state = fresh(LATCHING)
        assert "not latched" in reset(LATCHING, state, "test.v1/L1", by="王敏", last=sample(1, 1), now_us=9).refused
        assert "no limit" in reset(LATCHING, state, "other", by="王敏", last=sample(1, 1), now_us=9).refused

    def test_refused_without_a_name(self) -> None:
        done = reset(LATCHING, self.latched(), "test.v1/L1", by="  ", last=sample(1, 1), now_us=9)
        assert "name" in done.refused

    def test_refused_while_inhibited_or_silent(self) -> None:
        state = begin_inhibit(self.latched(), reason="bump test", by="李工", until_us=10**12)
        assert "inhibited" in reset(LATCHING, state, "test.v1/L1", by="王敏", last=sample(1, 1), now_us=9).refused
        rules = replace(LATCHING, silence=SilenceRule(after_s=30))
        state, _ = check_silence(rules, self.latched(), heard_us=0, now_us=31 * SECOND)
        assert "silent" in reset(rules, state, "test.v1/L1", by="王敏", last=sample(1, 1), now_us=9).refused


class TestInhibit:
    def inhibited(self, rules: PointRules = ONE, *samples: Sample, until_s: float = 100) -> PointState:
        return begin_inhibit(run(rules, *samples)[0], reason="bump test", by="李工", until_us=round(until_s * SECOND))

    def test_its_samples_set_nothing(self) -> None:
        state, made = run(ONE, sample(60, 1), sample(None, 2, OVER_RANGE), state=self.inhibited())
        assert (made, state.limits[0].phase, is_quiet(state)) == ([], Phase.NORMAL, False)

    def test_its_samples_clear_nothing_and_an_active_alarm_stays(self) -> None:
        state, made = run(ONE, sample(0, 2), sample(0, 99), state=self.inhibited(ONE, sample(25, 0)))
        assert (made, state.limits[0].phase) == ([], Phase.ACTIVE)
        state, ended = end_inhibit(ONE, state, 99 * SECOND)
        assert (ended, state.limits[0].phase) == ((), Phase.ACTIVE)
        assert names(run(ONE, sample(0, 101), state=state)[1]) == [("L1", "cleared", "returned")]

    def test_a_value_past_a_limit_when_it_ends_is_raised_at_once(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60, on_samples=5),))
        state, _ = run(rules, sample(25, 99), state=self.inhibited(rules))
        early, made = check_inhibit(rules, state, 100 * SECOND - 1)
        assert (early, made) == (state, ())
        state, made = check_inhibit(rules, state, 105 * SECOND)
        assert [(t.alarm, t.cause, t.marks, t.at_us) for t in made] == [
            (AlarmState.ACTIVE, Cause.LIMIT, ("inhibit_over",), 100 * SECOND)
        ]
        assert made[0].occurrence.raised_at_us == 100 * SECOND
        assert made[0].occurrence == state.limits[0].occurrence
        assert made[0].sample == sample(25, 99)

    def test_it_ends_by_itself_at_the_first_sample_after_its_time(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60),))
        state, made = run(rules, sample(25, 99), sample(1, 100), state=self.inhibited(rules))
        assert names(made) == [("L1", "active", "limit"), ("L1", "cleared", "returned")]
        assert state.inhibit is None

    def test_without_a_value_the_next_one_past_a_limit_raises_at_once(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60, on_samples=5),))
        for before in ([], [sample(None, 50, NO_REPLY)]):
            state, made = run(rules, *before, state=self.inhibited(rules))
            state, ended = end_inhibit(rules, state, 60 * SECOND)
            assert (made, ended) == ([], ())
            assert names(run(rules, sample(25, 61), state=state)[1]) == [("L1", "active", "limit")]
            assert run(rules, sample(1, 61), sample(25, 62), state=state)[1] == []

    def test_a_good_value_when_it_ends_leaves_nothing_armed(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60),))
        state, _ = run(rules, sample(1, 99), state=self.inhibited(rules))
        state, made = end_inhibit(rules, state, 99 * SECOND)
        assert (made, is_quiet(state)) == ((), True)

    def test_a_running_on_delay_raises_at_once_when_it_ends(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60),))
        state, _ = run(rules, sample(25, 10), state=self.inhibited(rules, sample(25, 0)))
        assert len(end_inhibit(rules, state, 11 * SECOND)[1]) == 1

    def test_a_running_off_delay_stands_still(self) -> None:
        rules = PointRules(limits=(limit(off_delay_s=60),))
        state = self.inhibited(rules, sample(25, 0), sample(1, 1), sample(1, 11))
        state, _ = run(rules, sample(1, 99), sample(1, 100), state=state)
        assert state.limits[0].cleared_us == 10 * SECOND

    def test_needs_a_reason_and_a_name(self) -> None:
        with pytest.raises(RulesError):
            begin_inhibit(fresh(ONE), reason=" ", by="李工", until_us=1)
        with pytest.raises(RulesError):
            begin_inhibit(fresh(ONE), reason="bump test", by="", until_us=1)

    def test_a_second_one_replaces_the_first_and_ending_none_is_nothing(self) -> None:
        state = begin_inhibit(self.inhibited(), reason="maintenance", by="王敏", until_us=5)
        assert state.inhibit == Inhibit(reason="maintenance", by="王敏", until_us=5)
        assert end_inhibit(ONE, fresh(ONE), 1) == (fresh(ONE), ())


class TestRestart:
    def test_in_the_same_boot_delays_go_on(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60),))
        state, _ = run(rules, sample(25, 0))
        state, made = restore(rules, state, boot=BOOT, now_us=50 * SECOND, known_elapsed=True)
        assert (made, run(rules, sample(25, 59), state=state)[1]) == ((), [])
        assert len(run(rules, sample(25, 60), state=state)[1]) == 1

    def test_after_a_reboot_a_running_on_delay_counts_as_elapsed(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60),))
        state, _ = restore(rules, run(rules, sample(25, 900))[0], boot=b"two", now_us=5, known_elapsed=False)
        _, made = run(rules, sample(25, 1), state=state)
        assert [(t.occurrence.boot, t.at_us) for t in made] == [(b"two", SECOND)]

    def test_an_alarm_stays_and_keeps_the_boot_it_was_raised_in(self) -> None:
        state, _ = run(LATCHING, sample(25, 0))
        state, made = restore(LATCHING, state, boot=b"two", now_us=5, known_elapsed=False)
        assert made == ()
        _, later = run(LATCHING, sample(1, 1), state=state)
        assert [(t.alarm, t.occurrence.boot) for t in later] == [(AlarmState.LATCHED, BOOT)]

    def test_with_unknown_time_an_inhibit_is_over_and_rising_forgotten(self) -> None:
        rules = PointRules(limits=(limit(on_delay_s=60),))
        state = begin_inhibit(fresh(rules), reason="bump test", by="李工", until_us=10**12)
        state, made = restore(rules, state, boot=b"two", now_us=5, known_elapsed=False)
        assert (state.inhibit, made) == (None, ())
        assert names(run(rules, sample(25, 1), state=state)[1]) == [("L1", "active", "limit")]
        state, _ = restore(LADDER, run(LADDER, sample(12, 0))[0], boot=b"two", now_us=5, known_elapsed=False)
        assert run(LADDER, sample(None, 1, FAULT), state=state)[1] == []

    def test_in_the_same_boot_an_inhibit_goes_on(self) -> None:
        state = begin_inhibit(fresh(ONE), reason="bump test", by="李工", until_us=10**12)
        assert restore(ONE, state, boot=BOOT, now_us=5, known_elapsed=True)[0].inhibit == state.inhibit

    def test_silence_counts_from_the_restart_and_a_silent_point_stays_silent(self) -> None:
        state, _ = restore(SILENCE, fresh(SILENCE), boot=BOOT, now_us=500 * SECOND, known_elapsed=True)
        assert silence_due_us(SILENCE, state, None) == 530 * SECOND
        silent, _ = check_silence(SILENCE, state, heard_us=None, now_us=530 * SECOND)
        again, made = restore(SILENCE, silent, boot=b"two", now_us=0, known_elapsed=False)
        assert (again.silence, made) == (silent.silence, ())


class TestReload:
    def test_an_alarm_stays_under_a_changed_limit(self) -> None:
        state, _ = run(ONE, sample(25, 0))
        higher = PointRules(limits=(limit(value=30.0, deadband=5.0),))
        state, made = reload(higher, state, now_us=SECOND)
        assert (made, state.limits[0].phase) == ((), Phase.ACTIVE)
        _, made = step_point(higher, state, sample(25, 2))
        assert made[0].rule_hash == higher.limits[0].rule_hash != made[0].occurrence.rule_hash

    def test_an_alarm_whose_rule_is_gone_is_cleared_as_removed(self) -> None:
        rules = replace(LATCHING, silence=SilenceRule(after_s=30))
        state, _ = run(rules, sample(25, 0), sample(1, 1))
        state, _ = check_silence(rules, state, heard_us=0, now_us=31 * SECOND)
        made = remove(state, now_us=40 * SECOND)
        assert [(t.rule_id, t.from_phase, t.alarm, t.cause, t.sample, t.at_us) for t in made] == [
            ("test.v1/L1", Phase.LATCHED, AlarmState.CLEARED, Cause.REMOVED, None, 40 * SECOND),
            ("silence.v1", Phase.ACTIVE, AlarmState.CLEARED, Cause.REMOVED, None, 40 * SECOND),
        ]
        after, _ = reload(PointRules(), state, now_us=40 * SECOND)
        assert standing(after) == ()

    def test_silence_under_another_rule_begins_anew(self) -> None:
        state, _ = check_silence(SILENCE, fresh(SILENCE), heard_us=None, now_us=30 * SECOND)
        other = replace(SILENCE, silence=SilenceRule(id="silence.v2", after_s=90))
        state, made = reload(other, state, now_us=31 * SECOND)
        assert (state.silence, names(made)) == (None, [("silence.v1", "cleared", "removed")])

    def test_a_new_rule_begins_and_silence_goes_on(self) -> None:
        state, _ = reload(SILENCE, fresh(PointRules(), now_s=7), now_us=20 * SECOND)
        assert [item.phase for item in state.limits] == [Phase.NORMAL]
        assert silence_due_us(SILENCE, state, None) == 37 * SECOND


def test_rules_of_one_point_agree() -> None:
    with pytest.raises(RulesError, match="stands twice"):
        PointRules(limits=(limit(), limit()))
    with pytest.raises(RulesError, match="differ in unit"):
        PointRules(limits=(limit("a"), limit("b", unit="%")))


def test_rules_and_states_survive_the_wire() -> None:
    rules = replace(LADDER, silence=SilenceRule(after_s=30))
    assert PointRules.from_wire(rules.to_wire()) == rules
    assert PointRules.from_wire(rules.to_wire()).ladder == (0, 1, 2)
    state, _ = run(rules, sample(25, 0), sample(None, 1, NO_REPLY))
    silent, _ = check_silence(rules, state, heard_us=0, now_us=31 * SECOND)
    worked_on = begin_inhibit(silent, reason="bump test", by="李工", until_us=99 * SECOND)
    seen, _ = step_point(rules, worked_on, sample(None, 32, NO_REPLY))
    for item in (fresh(rules), state, silent, worked_on, seen):
        assert PointState.from_wire(item.to_wire()) == item


def test_a_wrong_wire_field_is_named() -> None:
    wire = fresh(LADDER).to_wire()
    for position, field in ((0, "format"), (1, "boot"), (2, "limits"), (3, "silence_from_us"), (7, "lost_samples")):
        with pytest.raises(PayloadError, match=f"point_state.{field}"):
            PointState.from_wire([*wire[:position], "x", *wire[position + 1 :]])
    with pytest.raises(PayloadError, match=r"point_rules\.limits"):
        PointRules.from_wire([[limit().to_wire(), limit().to_wire()], None, False])
