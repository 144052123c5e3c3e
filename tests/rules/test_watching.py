"""Watches as cases: rate of change, flat line, sensor fault, time to threshold."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import PayloadError
from contracts.quality import (
    AGENT_STOPPED,
    CALIBRATING,
    FAULT,
    INSTRUMENT_WARNING,
    MISSED_TICK,
    NO_REPLY,
    OVER_RANGE,
)
from rules.errors import RuleError
from rules.model import Direction
from rules.point import begin_inhibit, end_inhibit, quiet_band, reload, restore, step_point
from rules.point_state import PointRules, PointState
from rules.resetting import reset
from rules.slope import Slope
from rules.state import AlarmState, Cause, LimitState, Sample, Transition
from rules.watch import WatchKind, WatchRule, watch_in_unit
from rules.watching import step_watch, time_to
from tests.rules.builders import BOOT, SECOND, fresh, limit, low, sample


def rate(value: float = 0.5, **changes: Any) -> WatchRule:
    fields: dict[str, Any] = {"window_s": 600.0, "min_value": 5.0}
    rule = limit("rise", value, **{key: changes.pop(key) for key in list(changes) if key in ("latch", "deadband")})
    return WatchRule(kind=WatchKind.RATE, limit=rule, unit="%{LEL}", **(fields | changes))


def flat(seconds: float = 100.0, **changes: Any) -> WatchRule:
    return WatchRule(kind=WatchKind.FLAT, limit=limit("flat", seconds, unit="s"), unit="%{LEL}", **changes)


def fault(seconds: float = 10.0) -> WatchRule:
    return WatchRule(kind=WatchKind.FAULT, limit=limit("fault", seconds, unit="s"), unit="%{LEL}")


def trend(seconds: float = 1800.0, threshold: float | None = 40.0, **changes: Any) -> WatchRule:
    fields: dict[str, Any] = {"window_s": 600.0}
    rule = low("soon", seconds, unit="s")
    return WatchRule(kind=WatchKind.TREND, limit=rule, unit="%{LEL}", threshold=threshold, **(fields | changes))


def watched(watch: WatchRule, *samples: Sample) -> list[Transition]:
    state, memory = LimitState(rule_id=watch.id), None
    made: list[Transition] = []
    for item in samples:
        state, memory, new = step_watch(watch, state, memory, item, BOOT)
        made += new
    return made


def told(made: list[Transition]) -> list[tuple[str, str, float]]:
    return [(item.alarm.value, item.cause.value, item.at_us / SECOND) for item in made]


class TestRate:
    RISING = tuple(sample(10 + 1.0 * minute, 60 * minute) for minute in range(12))

    def test_a_rise_raises_when_the_window_tells(self) -> None:
        (one,) = watched(rate(), *self.RISING)
        assert (one.alarm, one.cause, one.limit) == (AlarmState.ACTIVE, Cause.RATE, None)
        assert one.at_us == 300 * SECOND  # half of the window, and more than five samples
        assert one.marks == ("rate=1/min", "rate_limit=0.5/min")
        assert one.sample is not None
        assert one.sample.value == 15.0
        assert one.rule_hash == rate().rule_hash

    def test_it_ends_when_the_value_rises_no_more(self) -> None:
        after = [sample(21, 660 + 30 * n) for n in range(1, 20)]
        assert [word for word, _, _ in told(watched(rate(), *self.RISING, *after))] == ["active", "cleared"]

    def test_below_the_least_value_it_says_nothing(self) -> None:
        assert not watched(rate(min_value=30.0), *self.RISING)

    def test_a_fall_has_a_limit_below_zero(self) -> None:
        falling = WatchRule(kind=WatchKind.RATE, limit=low("fall", -0.5), unit="%{LEL}", window_s=600.0)
        assert len(watched(falling, *[sample(50 - minute, 60 * minute) for minute in range(12)])) == 1
        assert not watched(falling, *self.RISING)

    def test_two_samples_or_a_spike_raise_nothing(self) -> None:
        assert not watched(rate(), sample(10, 0), sample(80, 60), sample(80, 120))
        assert not watched(rate(), *[sample(90 if n == 7 else 10, 60 * n) for n in range(15)])

    def test_bad_and_missing_samples_neither_set_nor_clear(self) -> None:
        lost = [sample(None, 660 + 60 * n, NO_REPLY) for n in range(1, 30)]
        assert len(watched(rate(), *self.RISING, *lost)) == 1

    def test_doubtful_numbers_may_raise_and_do_not_clear(self) -> None:
        doubtful = [Sample(value=item.value, code=INSTRUMENT_WARNING, at_us=item.at_us) for item in self.RISING]
        steady = [sample(22, 720 + 30 * n, INSTRUMENT_WARNING) for n in range(20)]
        (one,) = watched(rate(), *doubtful, *steady)
        assert one.marks[0] == "instrument_warning"


class TestFlat:
    def test_a_value_that_does_not_move_raises_by_time(self) -> None:
        made = watched(flat(), *[sample(20, 10 * n) for n in range(20)])
        assert told(made) == [("active", "flat", 100)]
        assert made[0].marks == ("flat_s=100",)

    def test_moving_by_the_tolerance_is_still_flat_and_by_more_is_not(self) -> None:
        still = [sample(20 + 0.5 * (n % 2), 10 * n) for n in range(20)]
        assert len(watched(flat(tolerance=0.5), *still)) == 1
        assert not watched(flat(tolerance=0.4), *still)

    def test_it_ends_when_the_value_moves(self) -> None:
        values = [sample(20, 10 * n) for n in range(12)]
        assert told(watched(flat(), *values, sample(21, 130)))[-1] == ("cleared", "returned", 130)
        assert len(watched(flat(), *values, sample(21, 130, INSTRUMENT_WARNING))) == 1

    def test_a_steady_zero_of_a_gas_head_is_no_flat_line(self) -> None:
        zero = [sample(0.0, 10 * n) for n in range(50)]
        assert not watched(flat(spares_zero=True), *zero)
        assert len(watched(flat(), *zero)) == 1
        assert len(watched(flat(spares_zero=True), *[sample(12, 10 * n) for n in range(50)])) == 1

    def test_silence_is_no_flat_line(self) -> None:
        assert not watched(flat(), sample(20, 0), sample(20, 5), sample(20, 400), sample(20, 405))
        assert not watched(flat(), sample(20, 0), sample(20, 50), sample(20, 100))  # three samples
        lost = [sample(None, 10 * n, NO_REPLY) for n in range(1, 30)]
        assert not watched(flat(), sample(20, 0), *lost, sample(20, 300))


class TestFault:
    def test_bad_and_missing_samples_raise_after_the_fault_delay(self) -> None:
        made = watched(
            fault(), sample(1, 0), sample(None, 5, FAULT), sample(None, 10, NO_REPLY), sample(None, 15, FAULT)
        )
        assert told(made) == [("active", "fault", 15)]

    def test_one_heard_sample_begins_anew_and_ends_it(self) -> None:
        short = [sample(None, 5, FAULT), sample(1, 10), sample(None, 14, FAULT), sample(None, 20, FAULT)]
        assert not watched(fault(), *short)
        made = watched(fault(), *short, sample(None, 24, FAULT), sample(None, 30, OVER_RANGE))
        assert told(made) == [("active", "fault", 24), ("cleared", "returned", 30)]

    @pytest.mark.parametrize("code", [MISSED_TICK, AGENT_STOPPED])
    def test_our_own_missed_ticks_say_nothing_of_the_sensor(self, code: int) -> None:
        assert not watched(fault(), *[sample(None, n, code) for n in range(50)])
        made = watched(fault(), sample(None, 0, FAULT), sample(None, 5, code), sample(None, 10, FAULT))
        assert told(made) == [("active", "fault", 10)]

    def test_a_point_that_somebody_works_on_has_no_fault(self) -> None:
        assert not watched(fault(), *[sample(None, n, CALIBRATING) for n in range(50)])


class TestTrend:
    def test_it_raises_as_soon_as_the_threshold_is_near_in_time(self) -> None:
        rising = [sample(0.5 * minute, 60 * minute) for minute in range(60)]
        made = watched(trend(), *rising)
        # 40 at 0.5 a minute is minute 80; 30 minutes before it is minute 50
        assert told(made) == [("active", "trend", 3000)]
        assert made[0].marks == ("eta_min=30", "eta_range=30-30")
        assert made[0].limit == 40.0

    def test_no_trend_while_the_slope_does_not_stand_out_of_the_scatter(self) -> None:
        jumping = [sample(20 + (5 if n % 2 else -5) + 0.01 * n, 30 * n) for n in range(60)]
        assert not watched(trend(), *jumping)

    def test_at_the_threshold_no_time_is_left_and_away_from_it_there_is_no_trend(self) -> None:
        rising = [sample(30 + minute, 60 * minute) for minute in range(14)]
        falling = [sample(44 - minute, 840 + 60 * minute) for minute in range(30)]
        made = watched(trend(), *rising, *falling)
        assert [word for word, _, _ in told(made)] == ["active", "cleared"]
        assert "no_trend" in made[1].marks

    def test_a_low_threshold_is_reached_falling(self) -> None:
        drying = trend(threshold=5.0, toward=Direction.LOW)
        assert len(watched(drying, *[sample(20 - 0.5 * n, 60 * n) for n in range(12)])) == 1
        assert not watched(drying, *[sample(20 + 0.5 * n, 60 * n) for n in range(12)])

    @pytest.mark.parametrize(
        ("value", "slope", "expected"),
        [
            (30.0, (0.1, 0.05, 0.2, 0.0), (100.0, 50.0, 200.0)),
            (30.0, (0.1, -0.1, 0.2, 0.0), (100.0, 50.0, 7200.0)),
            (30.0, (0.0001, 0.0001, 0.0001, 0.0), (7200.0, 7200.0, 7200.0)),
            (30.0, (0.1, 0.1, 0.1, 0.2), None),
            (30.0, (-0.1, -0.1, -0.1, 0.0), None),
            (41.0, (-0.1, -0.1, -0.1, 0.0), (0.0, 0.0, 0.0)),
        ],
    )
    def test_times(self, value: float, slope: tuple[float, ...], expected: object) -> None:
        middle, least, most, noise = slope
        found = time_to(40.0, Direction.HIGH, value, Slope(middle=middle, low=least, high=most, noise=noise))
        assert found == (None if expected is None else pytest.approx(expected))


class TestOnAPoint:
    RULES = PointRules(limits=(limit("L1", 60.0),), watches=(rate(latch=True), fault()))

    def fed(self, *samples: Sample, state: PointState | None = None) -> tuple[PointState, list[Transition]]:
        state = fresh(self.RULES) if state is None else state
        made: list[Transition] = []
        for item in samples:
            state, new = step_point(self.RULES, state, item)
            made += new
        return state, made

    def test_it_judges_beside_the_limits_and_sees_every_sample(self) -> None:
        state, made = self.fed(*TestRate.RISING)
        assert [item.rule_id for item in made] == ["test.v1/rise"]
        assert quiet_band(self.RULES, state) == (float("inf"), float("-inf"))

    def test_state_goes_through_bytes_without_its_memory(self) -> None:
        state, _ = self.fed(*TestRate.RISING)
        read = PointState.from_wire(state.to_wire())
        assert read == state
        assert (read.memory, state.memory != ()) == ((), True)
        assert PointRules.from_wire(self.RULES.to_wire()) == self.RULES

    def test_a_restart_keeps_the_alarm_and_raises_it_no_second_time(self) -> None:
        state, _ = self.fed(*TestRate.RISING)
        for known in (True, False):
            again, made = restore(self.RULES, state, boot=BOOT, now_us=700 * SECOND, known_elapsed=known)
            assert not made
            after, made = self.fed(*[sample(30 + n, 720 + 60 * n) for n in range(12)], state=again)
            assert not made
            assert after.watches[0].alarm is AlarmState.ACTIVE

    def test_a_latched_one_is_reset_by_a_person(self) -> None:
        steady = [sample(21, 660 + 30 * n) for n in range(1, 20)]
        state, made = self.fed(*TestRate.RISING, *steady)
        assert made[-1].alarm is AlarmState.LATCHED
        done = reset(self.RULES, state, "test.v1/rise", by="Li", last=steady[-1], now_us=9000 * SECOND)
        assert (done.refused, [item.alarm for item in done.transitions]) == ("", [AlarmState.CLEARED])
        assert done.transitions[0].rule_hash == self.RULES.watches[0].rule_hash
        refused = reset(self.RULES, state, "test.v1/rise", by="", last=steady[-1], now_us=9000 * SECOND)
        assert refused.refused == "a reset needs the name of the person"

    def test_what_is_applied_while_somebody_works_does_not_count(self) -> None:
        state, _ = self.fed(sample(10, 0))
        state = begin_inhibit(state, reason="bump test", by="Li", until_us=900 * SECOND)
        state, made = self.fed(*[sample(10 + 5 * n, 60 * n) for n in range(1, 12)], state=state)
        state, ended = end_inhibit(self.RULES, state, 800 * SECOND)
        assert not made
        assert [item.rule_id for item in ended] == ["test.v1/L1"]  # the last value is past the limit
        assert state.memory == ()

    def test_a_rule_that_is_gone_ends_its_alarm(self) -> None:
        state, _ = self.fed(*TestRate.RISING)
        after, made = reload(PointRules(limits=self.RULES.limits), state, now_us=900 * SECOND)
        assert [(item.rule_id, item.cause) for item in made] == [("test.v1/rise", Cause.REMOVED)]
        assert after.watches == ()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: rate(window_s=None), "window_s"),
        (lambda: rate(window_s=0.5), "window_s"),
        (lambda: rate(-0.5), "value"),
        (lambda: rate(threshold=3.0), "threshold"),
        (lambda: rate(tolerance=1.0), "tolerance"),
        (lambda: flat(tolerance=-1.0), "tolerance"),
        (lambda: flat(window_s=60.0), "window_s"),
        (lambda: flat(min_value=60.0), "min_value"),
        (lambda: flat(0.0), "value"),
        (lambda: trend(threshold=None), "threshold"),
        (lambda: trend(threshold=float("nan")), "threshold"),
        (lambda: trend(7300.0), "value"),
        (lambda: WatchRule(kind=WatchKind.FLAT, limit=low("x", 5.0, unit="s"), unit="m"), "direction"),
        (lambda: WatchRule(kind=WatchKind.FAULT, limit=limit("x", 5.0), unit="%{LEL}"), "unit"),
        (lambda: WatchRule(kind=WatchKind.FAULT, limit=limit("x", 5.0, unit="s"), unit="metre"), "unit"),
        (
            lambda: WatchRule(
                kind=WatchKind.TREND, limit=limit("x", 5.0, unit="s"), unit="m", window_s=60.0, threshold=2.0
            ),
            "direction",
        ),
    ],
)
def test_a_watch_that_cannot_be_is_refused(make: Any, expected: str) -> None:
    with pytest.raises(RuleError) as caught:
        make()
    assert expected in [name for name, _ in caught.value.problems]


def test_a_watch_in_another_unit_and_from_bytes() -> None:
    rule = WatchRule(
        kind=WatchKind.RATE, limit=limit("r", 0.05, unit="MPa", deadband=0.01), unit="MPa", window_s=60.0, min_value=0.1
    )
    inside = watch_in_unit(rule, "kPa")
    assert (inside.limit.value, inside.limit.deadband, inside.min_value, inside.limit.unit) == (
        50.0,
        10.0,
        100.0,
        "kPa",
    )
    assert inside.rule_hash != rule.rule_hash
    still = watch_in_unit(flat(tolerance=0.5), "%{LEL}")
    assert still == flat(tolerance=0.5)
    assert watch_in_unit(fault(), "m").unit == "m"
    wire = rule.to_wire()
    assert WatchRule.from_wire(wire) == rule
    with pytest.raises(PayloadError, match=r"watch\.window_s"):
        WatchRule.from_wire([*wire[:4], None, *wire[5:]])
