"""Visits: stages, times and verdicts, as tables and as laws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import (
    CALIBRATION_OVERDUE,
    CODES,
    FAULT,
    GOOD,
    INSTRUMENT_WARNING,
    MISSED_TICK,
    NO_REPLY,
    OVER_RANGE,
    UNDER_RANGE,
    WITH_VALUE,
)
from rules.errors import RulesError
from rules.model import Direction
from rules.state import Sample
from rules.visiting import (
    TABLE,
    Advice,
    Job,
    Outcome,
    Stage,
    Step,
    VisitRule,
    VisitState,
    advice,
    cancel,
    check_time,
    cut,
    gas_off,
    gas_on,
    is_inside,
    outcome,
    rule_for,
    take_sample,
    time_to_90,
)
from tests.rules.builders import limit

S = 1_000_000
CH4 = rule_for(Job.BUMP, "ch4", applied=50.0)
O2 = rule_for(Job.BUMP, "o2", applied=10.0)
WORK = rule_for(Job.CALIBRATION, "pressure")
#: a high limit of 25 that has returned at 22.5
LIMITS = (replace(limit(), value=25.0, deadband=2.5),)

#: time (s) and what happens: a number, a quality code in a list, or a word
Story = list[tuple[float, Any]]
GOOD_STORY: Story = [(1, 0.0), (2, "on"), (10, 20.0), (20, 46.0), (30, 49.0), (40, "off"), (50, 20.0), (60, 1.0)]


def _sample(what: Any, at_s: float) -> Sample:
    if isinstance(what, list):
        return Sample(value=None, code=what[0], at_us=round(at_s * S))
    value, code = what if isinstance(what, tuple) else (what, GOOD)
    return Sample(value=value, code=code, at_us=round(at_s * S))


def play(story: Story, rule: VisitRule = CH4, until_s: float = 900, limits: Any = LIMITS) -> VisitState:
    """Returns the visit after a story."""
    state = VisitState(began_us=0, until_us=round(until_s * S))
    for at_s, what in story:
        now = round(at_s * S)
        if what == "on":
            state = gas_on(rule, state, now)
        elif what == "off":
            state = gas_off(state, now)
        elif what == "cancel":
            state = cancel(state, now)
        elif what == "time":
            state = check_time(state, now)
        else:
            state = take_sample(rule, state, _sample(what, at_s), limits)
    return state


def test_a_bump_test_that_passes() -> None:
    state = play(GOOD_STORY)
    assert state.stage is Stage.DONE
    assert state.ended_us == 60 * S
    expected = Outcome(result="passed", zero=0.0, peak=49.0, t90_us=18 * S, return_us=20 * S)
    assert outcome(CH4, state) == expected


def _after(*changes: tuple[float, Any], without: tuple[float, ...] = ()) -> Story:
    """The good story with other things at some times."""
    found = {at: what for at, what in GOOD_STORY if at not in without} | dict(changes)
    return sorted(found.items())


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        pytest.param(_after((20, 30.0), (30, 40.0), (33, 46.0)), "slow: 31.0 s to 90 %, 30 s allowed", id="slow"),
        pytest.param(_after((20, 20.0), (30, 20.0)), "no answer: at most 20 with gas of 50", id="weak"),
        pytest.param(_after((10, 0.0), (20, 0.0), (30, 0.0)), "no answer: at most 0 with gas of 50", id="dead"),
        pytest.param(_after((10, [2**7]), without=(20, 30)), "no answer: no value with gas of 50", id="nothing-read"),
        pytest.param(_after((30, 61.0)), "deviation: 61 with gas of 50, 10 allowed", id="too-high"),
        pytest.param(_after((30, [OVER_RANGE])), "over range: beyond what the instrument can show", id="over-range"),
        pytest.param(_after((30, [FAULT])), "bad: fault", id="faulty-with-gas"),
        pytest.param(_after((50, [FAULT])), "bad: fault", id="faulty-on-the-way-back"),
        pytest.param(_after((30, [NO_REPLY]), (31, [NO_REPLY])), "lost: no_reply", id="lost"),
        pytest.param(_after((60, 20.0), (101, 1.0)), "slow return: 61.0 s, 60 s allowed", id="slow-return"),
        pytest.param(_after((60, 20.0), (900, "time")), "not back: time up before the value was back", id="not-back"),
        pytest.param(_after((60, 20.0), (950, 0.0)), "not back: time up before the value was back", id="back-too-late"),
    ],
)
def test_a_bump_test_that_fails_says_why(story: Story, reason: str) -> None:
    state = play(story)
    assert state.stage is Stage.DONE
    assert (outcome(CH4, state).result, outcome(CH4, state).reason) == ("failed", reason)


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(_after((15, [NO_REPLY])), id="one-damaged-frame"),
        pytest.param(_after((15, [MISSED_TICK]), (16, [MISSED_TICK]), (17, [NO_REPLY])), id="ticks-we-missed"),
        pytest.param(_after((12, (48.0, INSTRUMENT_WARNING))), id="a-doubtful-number-is-none"),
        pytest.param(_after((1, (0.0, CALIBRATION_OVERDUE)), (20, (46.0, CALIBRATION_OVERDUE))), id="overdue-is-sure"),
        pytest.param(_after((1.5, [FAULT]), (1.7, 0.0)), id="a-fault-before-the-gas"),
        pytest.param([(1, 0.0), (2, "on"), (20, 42.0), (40, "off"), (60, 1.0)], id="stable-below-the-gas"),
    ],
)
def test_what_does_not_fail_a_bump_test(story: Story) -> None:
    assert outcome(CH4, play(story)).reason == ""


def test_a_stable_answer_below_the_gas_is_measured_to_90_percent_of_itself() -> None:
    state = play([(1, 0.0), (2, "on"), (12, 37.0), (20, 38.0), (25, 42.0), (40, "off"), (60, 1.0)])
    assert outcome(CH4, state).t90_us == 18 * S, "37.8 is 90 % of 42"
    assert outcome(CH4, state).result == "passed"


def test_no_number_is_made_of_over_range() -> None:
    state = play(_after((20, [OVER_RANGE]), (30, 49.0)))
    found = outcome(CH4, state)
    assert (found.peak, found.t90_us) == (None, 18 * S)
    assert found.reason.startswith("over range")


def test_oxygen_falls() -> None:
    state = play([(1, 20.9), (2, "on"), (20, 12.0), (30, 10.4), (40, "off"), (60, 20.5)], O2, limits=())
    assert outcome(O2, state) == Outcome(result="passed", zero=20.9, peak=10.4, t90_us=28 * S, return_us=20 * S)
    below = play([(1, 20.9), (2, "on"), (20, [UNDER_RANGE]), (40, "off"), (60, 20.5)], O2, limits=())
    assert outcome(O2, below).reason == "under range"
    risen = play([(1, 20.9), (2, "on"), (20, [OVER_RANGE]), (40, "off"), (60, 20.5)], O2, limits=())
    assert outcome(O2, risen).reason == "no answer: no value with gas of 10"


def test_nothing_is_back_while_it_is_past_a_limit() -> None:
    story = [(1, 22.0), (2, "on"), (20, 48.0), (30, "off"), (40, 24.0), (50, 22.6), (60, 22.4)]
    assert play(story).back_us == 60 * S, "the limit of 25 has returned below 22.5"
    assert is_inside(LIMITS, 22.4)
    assert not is_inside(LIMITS, 22.5)
    low = (replace(limit(), value=19.5, deadband=0.5, direction=Direction.LOW),)
    assert (is_inside(low, 20.0), is_inside(low, 20.1)) == (False, True)


@pytest.mark.parametrize(
    ("story", "rule", "expected"),
    [
        pytest.param([(1, 0.0), (900, "time")], CH4, ("abandoned", "time up"), id="left-before-the-gas"),
        pytest.param([(1, 0.0), (2, "on"), (20, 49.0), (900, 49.0)], CH4, ("abandoned", "time up"), id="left-with-gas"),
        pytest.param(_after((45, "cancel")), CH4, ("abandoned", "ended by the person"), id="given-up"),
        pytest.param([(1, 0.0), (2, "cancel"), (3, 0.0)], CH4, ("abandoned", "ended by the person"), id="gas-never-on"),
        pytest.param([(1, [NO_REPLY]), (2, "cancel"), (900, "time")], WORK,
                     ("abandoned", "ended by the person"), id="given-up-and-silent"),
        pytest.param([(1, 101.0), (2, "on"), (5, [FAULT]), (9, "off"), (12, 100.0)], WORK, ("passed", ""), id="work"),
        pytest.param([(2, "on"), (9, "off"), (12, 20.0)], WORK, ("passed", ""), id="work-with-nothing-before"),
        pytest.param([(1, 1.0), (2, "on"), (9, "off"), (12, 30.0), (900, "time")], WORK,
                     ("failed", "not back: no good value inside the limits after the work"), id="work-not-back"),
    ],
)  # fmt: skip
def test_other_ends(story: Story, rule: VisitRule, expected: tuple[str, str]) -> None:
    limits = () if any(what == 101.0 for _, what in story) else LIMITS
    state = play(story, rule, limits=limits)
    assert state.stage is Stage.DONE
    assert (outcome(rule, state).result, outcome(rule, state).reason) == expected


def test_without_gas_no_time_of_return_is_recorded() -> None:
    """The value was there all the time: it came back from nothing."""
    state = play([(1, 0.0), (2, "cancel"), (3, 0.0)], CH4)
    assert (outcome(CH4, state).t90_us, outcome(CH4, state).return_us) == (None, None)
    assert outcome(CH4, play(_after((45, "cancel")), CH4)).return_us is not None


def test_a_calibration_records_the_value_before_and_after() -> None:
    state = play([(1, 101.0), (2, "on"), (5, 60.0), (9, "off"), (12, 100.0)], WORK, limits=())
    assert outcome(WORK, state) == Outcome(result="passed", zero=101.0, peak=100.0)


def test_a_visit_is_cut_once() -> None:
    state = cut(play(GOOD_STORY[:3]), 12 * S, "the point left the plan")
    assert (outcome(CH4, state).result, outcome(CH4, state).reason) == ("abandoned", "the point left the plan")
    assert cut(state, 13 * S, "something else") is state
    done = play(GOOD_STORY)
    assert cut(done, 99 * S, "late") is done
    assert take_sample(CH4, done, _sample(9.0, 99)) is done


@pytest.mark.parametrize(
    ("story", "message"),
    [
        ([(1, "on")], "nothing was read yet"),
        ([(1, 0.0), (2, [FAULT]), (3, "on")], "the newest is fault"),
        ([(1, 46.0), (2, "on")], "too near"),
        ([(1, 0.0), (2, "on"), (3, "on")], "gas_on is not possible in stage gas"),
        ([(1, 0.0), (2, "off")], "gas_off is not possible in stage zero"),
        ([*GOOD_STORY, (70, "cancel")], "cancel is not possible in stage done"),
    ],
)
def test_what_a_person_may_not_do(story: Story, message: str) -> None:
    with pytest.raises(RulesError, match=message):
        play(story)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Job.BUMP, "level", 5.0, 0.2), "level is no gas"),
        ((Job.BUMP, "ch4", None, 0.2), "needs the value of the gas"),
        ((Job.BUMP, "ch4", float("nan"), 0.2), "finite"),
        ((Job.BUMP, "ch4", 50.0, 1.0), "deviation"),
    ],
)
def test_a_test_that_makes_no_sense_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    job, quantity, applied, deviation = arguments
    with pytest.raises(RulesError, match=message):
        rule_for(job, quantity, applied=applied, deviation=deviation)


def test_the_limits_of_time_are_those_of_the_gas() -> None:
    assert (CH4.t90_limit_us, CH4.return_limit_us) == (30 * S, 60 * S)
    for quantity in ("co", "h2s", "o2"):
        rule = rule_for(Job.BUMP, quantity, applied=50.0)
        assert (rule.t90_limit_us, rule.return_limit_us) == (60 * S, 60 * S)
    assert (WORK.t90_limit_us, WORK.return_limit_us) == (None, None)


@pytest.mark.parametrize(
    ("story", "rule", "now_s", "expected"),
    [
        ([], CH4, 1, Advice.WAIT_GOOD),
        ([(1, [FAULT])], CH4, 1, Advice.WAIT_GOOD),
        ([(1, 0.0)], CH4, 1, Advice.GAS_ON),
        ([(1, 0.0), (2, "on")], CH4, 10, Advice.WAIT_ANSWER),
        ([(1, 0.0), (2, "on")], CH4, 40, Advice.GAS_OFF_LATE),
        ([(1, 0.0), (2, "on"), (9, 45.0)], CH4, 10, Advice.GAS_OFF),
        ([(1, 0.0), (2, "on"), (9, 42.0)], CH4, 10, Advice.WAIT_ANSWER),
        ([(1, 0.0), (2, "on"), (9, 42.0), (33, 42.0)], CH4, 33, Advice.GAS_OFF),
        (GOOD_STORY[:7], CH4, 50, Advice.WAIT_RETURN),
        (GOOD_STORY[:7], CH4, 101, Advice.WAIT_RETURN_LATE),
        (GOOD_STORY, CH4, 60, Advice.NOTHING),
        ([], WORK, 1, Advice.BEGIN_WORK),
        ([(1, "on")], WORK, 2, Advice.END_WORK),
    ],
)
def test_the_person_is_told_what_comes_next(story: Story, rule: VisitRule, now_s: float, expected: Advice) -> None:
    assert advice(rule, play(story, rule), round(now_s * S)) is expected


def test_every_step_leads_to_a_stage_and_every_stage_to_its_end() -> None:
    assert set(TABLE) == set(Stage)
    for stage, row in TABLE.items():
        assert stage is Stage.DONE or {Step.TIME_UP, Step.CUT} <= set(row)


def test_samples_of_before_do_not_count() -> None:
    state = play([(1, 0.0), (2, "on")])
    early = take_sample(CH4, state, _sample(50.0, 1.9))
    assert early.climb == ()
    assert take_sample(CH4, replace(state, began_us=2 * S), _sample(1.0, 1.9)).last == state.last
    off = play([(1, 0.0), (2, "on"), (20, 49.0), (30, "off")])
    assert take_sample(CH4, off, _sample(0.0, 29.9)).stage is Stage.RETURN
    assert time_to_90(CH4, VisitState(began_us=0, until_us=S)) is None


_numbers = st.floats(-5, 120).map(lambda value: round(value, 1))
_codes = st.sampled_from(sorted(CODES))
_what = _numbers | st.sampled_from(["on", "off", "cancel", "time"]) | st.tuples(_codes, _numbers)


@st.composite
def _stories(draw: st.DrawFn) -> Story:
    """Anything in any order, at growing times; what is not possible is left out by ``_live``."""
    gaps = draw(st.lists(st.tuples(st.floats(0.1, 40), _what), max_size=40))
    at, story = 0.0, []
    for gap, what in gaps:
        at += gap
        if isinstance(what, tuple):
            code, value = what
            what = (value, code) if code in WITH_VALUE else [code]
        story.append((at, what))
    return story


def _live(rule: VisitRule, story: Story, until_s: float = 300) -> list[VisitState]:
    """Every state of a story; a person is told what is not possible, and goes on."""
    states = [VisitState(began_us=0, until_us=round(until_s * S))]
    for at_s, what in story:
        now, state = round(at_s * S), states[-1]
        try:
            if what == "on":
                state = gas_on(rule, state, now)
            elif what == "off":
                state = gas_off(state, now)
            elif what == "cancel":
                state = cancel(state, now)
            elif what == "time":
                state = check_time(state, now)
            else:
                state = take_sample(rule, state, _sample(what, at_s), LIMITS)
        except RulesError:
            continue
        states.append(state)
    return states


@given(_stories(), st.sampled_from([CH4, WORK]))
def test_a_visit_always_ends_at_its_time_and_stays_ended(story: Story, rule: VisitRule) -> None:
    states = _live(rule, story)
    last = check_time(states[-1], 300 * S)
    assert last.stage is Stage.DONE
    assert last.ended_us is not None
    assert 0 <= last.ended_us <= 300 * S
    stages = [list(Stage).index(state.stage) for state in states]
    assert stages == sorted(stages)
    assert outcome(rule, last).result in ("passed", "failed", "abandoned")


@given(_stories())
def test_every_number_of_a_record_was_read_and_a_pass_shows_all_of_them(story: Story) -> None:
    last = check_time(_live(CH4, story)[-1], 300 * S)
    read = {what for _, what in story if isinstance(what, float)}
    read |= {what[0] for _, what in story if isinstance(what, tuple) and what[1] in (GOOD, CALIBRATION_OVERDUE)}
    found = outcome(CH4, last)
    assert {found.zero, found.peak} - {None} <= read
    if found.result == "passed":
        assert found.zero is not None
        assert found.peak is not None
        assert found.t90_us is not None
        assert 0 <= found.t90_us <= 30 * S
        assert found.return_us is not None
        assert 0 <= found.return_us <= 60 * S
        assert abs(found.peak - 50) <= 0.2 * abs(50 - found.zero) + 1e-6


@given(_stories(), st.integers(1, 60), st.floats(0.2, 0.9))
def test_a_milder_rule_fails_nothing_that_a_stricter_one_passes(story: Story, more_s: int, deviation: float) -> None:
    last = check_time(_live(CH4, story)[-1], 300 * S)
    milder = replace(CH4, t90_limit_us=(30 + more_s) * S, return_limit_us=(60 + more_s) * S, deviation=deviation)
    if outcome(CH4, last).result == "passed":
        assert outcome(milder, last).result == "passed"


@given(_stories())
def test_a_fault_is_never_forgotten(story: Story) -> None:
    states = _live(CH4, story)
    faults = [state.fault for state in states]
    first = next((fault for fault in faults if fault), "")
    assert all(fault in ("", first) for fault in faults)
    if first:
        assert outcome(CH4, check_time(states[-1], 300 * S)).result != "passed"
