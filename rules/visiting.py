"""A visit to one point, bump test or calibration: its stages, and whether it passed.

    zero --gas on--> gas --answered--> answered --gas off--> return --back--> done

A pure table beside the others of this room: a verdict is a rule on samples, and like them it knows no
clock, no disk and no inhibit; ``edge_agent.visits`` does.  It is not the rule of an instrument's
makers, and does not replace their calibration.

Numbers come from *sure* samples only: good ones, and those that are uncertain only because the calibration is
overdue (a bump test is how one finds out).  Over-range proves that the sensor answered and is no number.

Limits of time.  Combustible gas: 30 s to 90 % (GB 15322.1) and 60 s back (field acceptance of GB 50166-2007,
4.13.2).  Toxic gas and oxygen: 60 s and 60 s; up to 60 s is usual for them, no clause was found.  How far the
answer may lie from the gas, ``DEVIATION``, and when a value counts as back, are engineering defaults.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from contracts.quality import CALIBRATION_OVERDUE, CODES, GOOD, OVER_RANGE, UNDER_RANGE, Quality, quality_of
from rules.errors import RulesError
from rules.model import Direction, LimitRule
from rules.state import Sample
from rules.visit_words import NONE, Reason, Why, sentence
from rules.watching import OUR_OWN

#: how far the answer may lie from the gas, as a share of the way from zero to the gas
DEVIATION = 0.2
#: a gas that lies nearer to zero than this share of the larger of the two proves nothing
LEAST_WAY = 0.1
#: how near to zero a value is back, as a share of the same way
BACK_WITHIN = 0.1
#: missing samples in a row that make a point lost; one damaged frame is no lost sensor
LOST_SAMPLES = 2
_COMBUSTIBLE = frozenset({"ch4", "gas"})
_TOXIC = frozenset({"co", "co2", "h2s", "nh3", "so2", "no2", "refrigerant", "o2"})
_S = 1_000_000


class Job(StrEnum):
    """What the person came for."""

    BUMP = "bump"
    CALIBRATION = "calibration"


class Stage(StrEnum):
    """How far a visit is."""

    #: before the gas, or before the work on the instrument
    ZERO = "zero"
    #: the gas is on, or the instrument is worked on
    GAS = "gas"
    #: the gas is on and the sensor has answered
    ANSWERED = "answered"
    #: the gas is off, or the work done; the value comes back
    RETURN = "return"
    DONE = "done"


class Step(StrEnum):
    """What moves a visit on."""

    GAS_ON = "gas_on"
    ANSWER = "answer"
    GAS_OFF = "gas_off"
    BACK = "back"
    #: the person ends it before its end; the value still has to come back
    CANCEL = "cancel"
    TIME_UP = "time_up"
    #: the inhibit was ended by somebody else, or the point left the plan
    CUT = "cut"


_ENDS = {Step.TIME_UP: Stage.DONE, Step.CUT: Stage.DONE}
#: stage -> step -> next stage; what is not here does not happen
TABLE: dict[Stage, dict[Step, Stage]] = {
    Stage.ZERO: {Step.GAS_ON: Stage.GAS, Step.CANCEL: Stage.RETURN, **_ENDS},
    Stage.GAS: {Step.ANSWER: Stage.ANSWERED, Step.GAS_OFF: Stage.RETURN, Step.CANCEL: Stage.RETURN, **_ENDS},
    Stage.ANSWERED: {Step.GAS_OFF: Stage.RETURN, Step.CANCEL: Stage.RETURN, **_ENDS},
    Stage.RETURN: {Step.BACK: Stage.DONE, Step.CANCEL: Stage.RETURN, **_ENDS},
    Stage.DONE: {},
}
_WITH_GAS = frozenset({Stage.GAS, Stage.ANSWERED})


class Advice(StrEnum):
    """What the person does next."""

    WAIT_GOOD = "wait_good"
    GAS_ON = "gas_on"
    WAIT_ANSWER = "wait_answer"
    GAS_OFF = "gas_off"
    #: the time to 90 % is over
    GAS_OFF_LATE = "gas_off_late"
    WAIT_RETURN = "wait_return"
    #: the time back is over; the point stays inhibited until the value is back
    WAIT_RETURN_LATE = "wait_return_late"
    BEGIN_WORK = "begin_work"
    END_WORK = "end_work"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRule:
    """What one visit is measured by."""

    job: Job
    #: value of the gas, in the point's unit; None: a calibration that names none
    applied: float | None
    #: longest time to 90 %, and back (us); None: not measured
    t90_limit_us: int | None = None
    return_limit_us: int | None = None
    #: share of the way from zero to the gas, above 0 and below 1
    deviation: float = DEVIATION


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitState:
    """Where one visit stands; times are monotonic us."""

    began_us: int
    until_us: int
    stage: Stage = Stage.ZERO
    #: newest sample, of whatever quality
    last: Sample | None = None
    #: last sure value before the gas
    zero: float | None = None
    gas_us: int | None = None
    off_us: int | None = None
    #: (time, way from zero) whenever a sure value was farther on the way to the gas than all before it
    climb: tuple[tuple[int, float], ...] = ()
    #: the value farthest from zero on that way; calibration: the value after the work
    peak: float | None = None
    #: beyond the range of the instrument while the gas was on
    is_beyond: bool = False
    #: missing samples in a row
    lost: int = 0
    #: samples since the gas came that gave no number
    without_number: int = 0
    #: what failed the test for good; empty: nothing
    fault: Reason = NONE
    is_cancelled: bool = False
    #: why it was cut off
    cut: Reason = NONE
    back_us: int | None = None
    ended_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a visit proved."""

    #: ``passed``, ``failed`` or ``abandoned``
    result: str
    #: empty where it passed
    reason: Reason = NONE
    zero: float | None = None
    peak: float | None = None
    t90_us: int | None = None
    return_us: int | None = None


def rule_for(job: Job, quantity: str, *, applied: float | None = None, deviation: float = DEVIATION) -> VisitRule:
    """Returns what a visit to a point of this quantity is measured by.

    Raises:
        RulesError: a bump test of something that is no gas, or without the value of the gas.
    """
    if not 0 < deviation < 1:
        raise RulesError(f"a deviation of {deviation:g}: a share above 0 and below 1 would be right")
    if applied is not None and not math.isfinite(applied):
        raise RulesError("the value of the gas is a finite number")
    if job is Job.CALIBRATION:
        return VisitRule(job=job, applied=applied, deviation=deviation)
    if quantity not in _COMBUSTIBLE | _TOXIC:
        raise RulesError(f"{quantity} is no gas: only a gas point has a bump test; a calibration is for every point")
    if applied is None:
        raise RulesError("a bump test needs the value of the gas in the point's unit, as the bottle says")
    t90_s = 30 if quantity in _COMBUSTIBLE else 60
    return VisitRule(job=job, applied=applied, t90_limit_us=t90_s * _S, return_limit_us=60 * _S, deviation=deviation)


def is_sure(sample: Sample) -> bool:
    """Returns whether a sample's number counts in a visit."""
    return sample.value is not None and sample.code in (GOOD, CALIBRATION_OVERDUE)


def is_inside(limits: Sequence[LimitRule], value: float) -> bool:
    """Returns whether a value is back on the harmless side of every limit, deadband included."""
    return all(
        value < rule.returns_at if rule.direction is Direction.HIGH else value > rule.returns_at for rule in limits
    )


def take_sample(rule: VisitRule, state: VisitState, sample: Sample, limits: Sequence[LimitRule] = ()) -> VisitState:
    """Returns the visit after one sample; samples come in the order of their times.

    Args:
        limits: of the point; nothing is back while it is past one of them.
    """
    if state.stage is Stage.DONE or sample.at_us < state.began_us:
        return state
    if sample.at_us >= state.until_us:
        return check_time(state, sample.at_us)
    state = replace(state, last=sample)
    if state.stage is Stage.ZERO:
        return replace(state, zero=sample.value) if is_sure(sample) else state
    if rule.job is Job.BUMP:
        state = _take_in_test(rule, state, sample)
    if state.stage is Stage.RETURN and _is_back(rule, state, sample, limits):
        after = sample.value if rule.job is Job.CALIBRATION and not state.is_cancelled else state.peak
        return _go(replace(state, peak=after, back_us=sample.at_us), Step.BACK, sample.at_us)
    return state


def gas_on(rule: VisitRule, state: VisitState, at_us: int) -> VisitState:
    """Returns the visit with the gas on, or with the work on the instrument begun.

    Raises:
        RulesError: it is not the time for that, or the newest sample is none to begin from.
    """
    _check(state, Step.GAS_ON)
    if rule.job is Job.BUMP:
        last, zero = state.last, state.zero
        if last is None or zero is None or not is_sure(last):
            seen = "nothing was read yet" if last is None else f"the newest is {_reason(last)}"
            raise RulesError(f"a bump test begins from a good value; {seen}")
        assert rule.applied is not None
        if abs(rule.applied - zero) < LEAST_WAY * max(abs(rule.applied), abs(zero)) or rule.applied == zero:
            raise RulesError(f"the gas ({rule.applied:g}) is too near to the value without it ({zero:g})")
    return replace(_go(state, Step.GAS_ON, at_us), gas_us=at_us, lost=0)


def gas_off(state: VisitState, at_us: int) -> VisitState:
    """Returns the visit with the gas off, or with the work done.

    Raises:
        RulesError: it is not the time for that.
    """
    _check(state, Step.GAS_OFF)
    return replace(_go(state, Step.GAS_OFF, at_us), off_us=at_us)


def cancel(state: VisitState, at_us: int) -> VisitState:
    """Returns the visit that the person gave up; it ends when the value is back, or its time is up.

    Raises:
        RulesError: it has ended.
    """
    _check(state, Step.CANCEL)
    off_us = at_us if state.off_us is None else state.off_us
    return replace(_go(state, Step.CANCEL, at_us), is_cancelled=True, off_us=off_us)


def cut(state: VisitState, at_us: int, why: Reason) -> VisitState:
    """Returns the visit ended at once, because its point is no longer inhibited or no longer there."""
    return state if state.stage is Stage.DONE else replace(_go(state, Step.CUT, at_us), cut=why)


def check_time(state: VisitState, now_us: int) -> VisitState:
    """Returns the visit at ``now_us``: ended if its time is up."""
    if state.stage is Stage.DONE or now_us < state.until_us:
        return state
    return _go(state, Step.TIME_UP, state.until_us)


def outcome(rule: VisitRule, state: VisitState) -> Outcome:
    """Returns what a visit has proved; of one that is not done, as if it ended now."""
    t90_us = time_to_90(rule, state)
    return_us = None
    if state.gas_us is not None and state.off_us is not None and state.back_us is not None:
        return_us = state.back_us - state.off_us  # without gas there is nothing to return from
    if state.cut:
        result, reason = "abandoned", state.cut
    elif state.is_cancelled:
        result, reason = "abandoned", sentence(Why.GIVEN_UP)
    elif state.off_us is None:
        result, reason = "abandoned", sentence(Why.TIME_UP)
    else:
        reason = _failure(rule, state, t90_us, return_us)
        result = "failed" if reason else "passed"
    if rule.job is Job.CALIBRATION:
        t90_us = return_us = None
    return Outcome(result=result, reason=reason, zero=state.zero, peak=state.peak, t90_us=t90_us, return_us=return_us)


def time_to_90(rule: VisitRule, state: VisitState) -> int | None:
    """Returns the time (us) from the gas to 90 % of the answer or of the gas, whichever is nearer; None: not yet.

    An answer that lies farther below the gas than the deviation allows is none.
    """
    way = _way(rule, state)
    if way is None or not state.climb or state.gas_us is None:
        return None
    farthest = state.climb[-1][1]
    if farthest < way * (1 - rule.deviation):
        return None
    wanted = 0.9 * min(farthest, way)
    return next(at_us for at_us, gone in state.climb if gone >= wanted) - state.gas_us


def advice(rule: VisitRule, state: VisitState, now_us: int) -> Advice:
    """Returns what the person does next."""
    if state.stage is Stage.DONE:
        return Advice.NOTHING
    if state.stage is Stage.RETURN:
        is_late = _is_over(state.off_us, rule.return_limit_us, now_us)
        return Advice.WAIT_RETURN_LATE if is_late else Advice.WAIT_RETURN
    if rule.job is Job.CALIBRATION:
        return Advice.BEGIN_WORK if state.stage is Stage.ZERO else Advice.END_WORK
    if state.stage is Stage.ZERO:
        is_ready = state.zero is not None and state.last is not None and is_sure(state.last)
        return Advice.GAS_ON if is_ready else Advice.WAIT_GOOD
    if state.stage is Stage.ANSWERED:
        return Advice.GAS_OFF
    return Advice.GAS_OFF_LATE if _is_over(state.gas_us, rule.t90_limit_us, now_us) else Advice.WAIT_ANSWER


def _is_over(since_us: int | None, limit_us: int | None, now_us: int) -> bool:
    return since_us is not None and limit_us is not None and now_us - since_us > limit_us


def _take_in_test(rule: VisitRule, state: VisitState, sample: Sample) -> VisitState:
    is_missing = quality_of(sample.code) is Quality.MISSING
    lost = state.lost if sample.code in OUR_OWN else state.lost + 1 if is_missing else 0
    fault = state.fault
    if not fault and lost >= LOST_SAMPLES:
        fault = sentence(Why.LOST, seen=_reason(sample))
    elif not fault and quality_of(sample.code) is Quality.BAD:
        fault = sentence(Why.BAD, seen=_reason(sample))
    state = replace(state, lost=lost, fault=fault, without_number=state.without_number + (not is_sure(sample)))
    if state.stage not in _WITH_GAS or state.gas_us is None or sample.at_us < state.gas_us:
        return state
    state = _climb(rule, state, sample)
    if state.stage is Stage.GAS and _has_answered(rule, state, sample.at_us):
        return _go(state, Step.ANSWER, sample.at_us)
    return state


def _climb(rule: VisitRule, state: VisitState, sample: Sample) -> VisitState:
    """Follows how far the value has gone from zero towards the gas."""
    assert state.zero is not None
    assert rule.applied is not None
    is_up = rule.applied > state.zero
    value: float | None = None
    if sample.code == (OVER_RANGE if is_up else UNDER_RANGE):
        gone = math.inf
    elif is_sure(sample) and sample.value is not None:
        value = sample.value
        gone = value - state.zero if is_up else state.zero - value
    else:
        return state
    if state.climb and gone <= state.climb[-1][1]:
        return state
    return replace(
        state,
        climb=(*state.climb, (sample.at_us, gone)),
        peak=value,
        is_beyond=value is None,
    )


def _has_answered(rule: VisitRule, state: VisitState, at_us: int) -> bool:
    """Whether the gas may go: 90 % of it was read, or what the deviation allows and the time is over."""
    way = _way(rule, state)
    if way is None or not state.climb or state.gas_us is None:
        return False
    gone = state.climb[-1][1]
    is_late = rule.t90_limit_us is not None and at_us - state.gas_us >= rule.t90_limit_us
    return gone >= 0.9 * way or (is_late and gone >= (1 - rule.deviation) * way)


def _is_back(rule: VisitRule, state: VisitState, sample: Sample, limits: Sequence[LimitRule]) -> bool:
    if sample.value is None or not is_sure(sample) or not is_inside(limits, sample.value):
        return False
    if state.off_us is not None and sample.at_us < state.off_us:
        return False
    way = _way(rule, state)
    if rule.job is Job.CALIBRATION or state.gas_us is None or way is None or state.zero is None:
        return True
    return abs(sample.value - state.zero) <= BACK_WITHIN * way


def _failure(rule: VisitRule, state: VisitState, t90_us: int | None, return_us: int | None) -> Reason:
    """Says why a visit that was carried through did not pass; empty: it passed."""
    if rule.job is Job.CALIBRATION:
        return NONE if state.back_us is not None else sentence(Why.NOT_GOOD_AFTER)
    way = _way(rule, state)
    assert way is not None
    assert rule.applied is not None
    assert rule.t90_limit_us is not None
    assert rule.return_limit_us is not None
    if state.fault:
        return state.fault
    if state.is_beyond:
        return sentence(Why.OVER_RANGE if _is_up(rule, state) else Why.UNDER_RANGE)
    if t90_us is None:
        if state.peak is None:
            return sentence(Why.NO_VALUE, gas=f"{rule.applied:g}")
        return sentence(Why.NO_ANSWER, peak=f"{state.peak:g}", gas=f"{rule.applied:g}")
    assert state.peak is not None
    if abs(state.peak - rule.applied) > rule.deviation * way * (1 + 1e-9):
        allowed = f"{rule.deviation * way:g}"
        return sentence(Why.DEVIATION, peak=f"{state.peak:g}", gas=f"{rule.applied:g}", limit=allowed)
    if t90_us > rule.t90_limit_us:
        return sentence(Why.SLOW, took=f"{t90_us / _S:.1f}", limit=f"{rule.t90_limit_us / _S:g}")
    if return_us is None:
        return sentence(Why.NOT_BACK)
    if return_us > rule.return_limit_us:
        return sentence(Why.SLOW_RETURN, took=f"{return_us / _S:.1f}", limit=f"{rule.return_limit_us / _S:g}")
    return NONE


def _is_up(rule: VisitRule, state: VisitState) -> bool:
    return rule.applied is not None and state.zero is not None and rule.applied > state.zero


def _way(rule: VisitRule, state: VisitState) -> float | None:
    """How far the gas is from zero; None where one of them is not known."""
    if rule.applied is None or state.zero is None:
        return None
    return abs(rule.applied - state.zero)


def _check(state: VisitState, step: Step) -> None:
    if step not in TABLE[state.stage]:
        raise RulesError(f"{step.value} is not possible in stage {state.stage.value}")


def _go(state: VisitState, step: Step, at_us: int) -> VisitState:
    stage = TABLE[state.stage][step]
    return replace(state, stage=stage, ended_us=max(state.began_us, at_us) if stage is Stage.DONE else None)


def _reason(sample: Sample) -> str:
    known = CODES.get(sample.code)
    return f"quality code {sample.code}" if known is None else known.reason
