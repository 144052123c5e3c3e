"""One limit as a table: five phases, and what a sample can say to them.

This module decides; it knows no clock, disk or bus.  The words and the order of the steps
are those of ISA-18.2 / IEC 62682; the treatment of doubtful samples is this project's own:

===================  ==========  ============  ====================================
sample               may set     may clear     running delays
===================  ==========  ============  ====================================
good                 yes         yes           both run
calibration overdue  yes, marked yes, marked   both run
other uncertain      yes, marked no            on-delay runs, off-delay pauses
over range           every high limit, at once and latched; off-delay of a low one pauses
under range          every low limit, at once and latched; off-delay of a high one pauses
bad, missing         no          no            on-delay runs, off-delay pauses
===================  ==========  ============  ====================================

* The *on-delay* counts monotonic time from the first sample past the limit.  A sample that
  proves nothing does not reset it, but it completes only at a sample past the limit, and
  only when enough of those were seen.  A good value that is back behind the deadband ends it.
* The *off-delay* counts only time that clearing samples cover: while a point is silent or
  broken it stands still.  It completes at a good value behind the deadband, and only when
  enough of those were seen.
* A value between the limit and the deadband changes nothing: whatever held before, holds.
* A latched alarm whose value passes the limit again is active at once; its delay was served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from contracts.quality import CALIBRATION_OVERDUE, CODES, GOOD, OVER_RANGE, UNDER_RANGE
from rules.errors import RulesError
from rules.model import Direction, LimitRule
from rules.state import AlarmState, Cause, LimitState, Occurrence, Phase, Sample, Transition

#: quality codes whose numbers may clear a limit and let an off-delay run
CLEARING_CODES = frozenset({GOOD, CALIBRATION_OVERDUE})


class Signal(Enum):
    """What a sample or a person says to a limit; the value is how the diagram shows it."""

    PAST = "past the limit"
    PAST_LONG_ENOUGH = "past the limit, on-delay and samples complete"
    AT_ONCE = "out of range beyond the limit, or lost while rising"
    BACK = "back behind the deadband"
    BACK_LONG_ENOUGH = "back, off-delay complete"
    BACK_TO_LATCH = "back, off-delay complete, latching"
    RESET = "reset by a named person"


#: the state machine; a signal that a phase does not list changes nothing
TABLE: Mapping[Phase, Mapping[Signal, Phase]] = MappingProxyType(
    {
        Phase.NORMAL: MappingProxyType(
            {
                Signal.PAST: Phase.PENDING,
                Signal.PAST_LONG_ENOUGH: Phase.ACTIVE,
                Signal.AT_ONCE: Phase.ACTIVE,
            }
        ),
        Phase.PENDING: MappingProxyType(
            {
                Signal.PAST: Phase.PENDING,
                Signal.PAST_LONG_ENOUGH: Phase.ACTIVE,
                Signal.AT_ONCE: Phase.ACTIVE,
                Signal.BACK: Phase.NORMAL,
                Signal.BACK_LONG_ENOUGH: Phase.NORMAL,
                Signal.BACK_TO_LATCH: Phase.NORMAL,
            }
        ),
        Phase.ACTIVE: MappingProxyType(
            {
                Signal.AT_ONCE: Phase.ACTIVE,
                Signal.BACK: Phase.CLEARING,
                Signal.BACK_LONG_ENOUGH: Phase.NORMAL,
                Signal.BACK_TO_LATCH: Phase.LATCHED,
            }
        ),
        Phase.CLEARING: MappingProxyType(
            {
                Signal.PAST: Phase.ACTIVE,
                Signal.PAST_LONG_ENOUGH: Phase.ACTIVE,
                Signal.AT_ONCE: Phase.ACTIVE,
                Signal.BACK: Phase.CLEARING,
                Signal.BACK_LONG_ENOUGH: Phase.NORMAL,
                Signal.BACK_TO_LATCH: Phase.LATCHED,
            }
        ),
        Phase.LATCHED: MappingProxyType(
            {
                Signal.PAST: Phase.ACTIVE,
                Signal.PAST_LONG_ENOUGH: Phase.ACTIVE,
                Signal.AT_ONCE: Phase.ACTIVE,
                Signal.RESET: Phase.NORMAL,
            }
        ),
    }
)


_NOTHING: tuple[Transition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a rule that only borrows the table says of itself in its transitions."""

    rule_hash: bytes
    #: in the unit of the point; None where the limit is of something else
    limit: float | None = None


class Place(Enum):
    """Where a sample lies as one limit sees it."""

    BEYOND_RANGE = "out of the instrument's range on the dangerous side"
    PAST = "past the limit"
    BETWEEN = "between limit and deadband"
    BACK = "behind the deadband"
    UNKNOWN = "proves nothing"


def place(rule: LimitRule, sample: Sample) -> Place:
    """Returns where a sample lies; only good (or merely overdue) numbers lie between or back."""
    high = rule.direction is Direction.HIGH
    if sample.code == (OVER_RANGE if high else UNDER_RANGE):
        return Place.BEYOND_RANGE
    return Place.UNKNOWN if sample.value is None else place_number(rule, sample.value, sample.code)


def place_number(rule: LimitRule, value: float, code: int) -> Place:
    """Returns where a number lies that a sample of this quality brought, or that was computed with it."""
    high = rule.direction is Direction.HIGH
    if (value > rule.value if high else value < rule.value) or (rule.inclusive and value == rule.value):
        return Place.PAST
    if code not in CLEARING_CODES:
        return Place.UNKNOWN
    if value <= rule.returns_at if high else value >= rule.returns_at:
        return Place.BACK
    return Place.BETWEEN


def step(rule: LimitRule, state: LimitState, sample: Sample, boot: bytes) -> tuple[LimitState, tuple[Transition, ...]]:
    """Returns the state after one sample, and the transition it made, if any.

    Args:
        boot: the boot whose clock ``sample.at_us`` belongs to.
    """
    where = place(rule, sample)
    if where is Place.BEYOND_RANGE:
        cause = Cause.OVER_RANGE if rule.direction is Direction.HIGH else Cause.UNDER_RANGE
        return advance(rule, state, Signal.AT_ONCE, sample, boot, cause=cause)
    return step_to(rule, state, where, sample, boot)


def step_to(
    rule: LimitRule,
    state: LimitState,
    where: Place,
    sample: Sample | None,
    boot: bytes,
    *,
    cause: Cause = Cause.LIMIT,
    at_us: int | None = None,
    marks: tuple[str, ...] = (),
    told: Told | None = None,
) -> tuple[LimitState, tuple[Transition, ...]]:
    """Returns the state after something was found to lie ``where``, and the transition it made, if any.

    Args:
        where: not ``BEYOND_RANGE``.
        sample: that told it; None only with ``at_us``.
        cause: of an alarm that it raises.
        at_us: when it happens, if not at the sample.
        marks: words for the transition.
        told: what the transition says of the rule, if not what ``rule`` is.
    """
    if state.phase is Phase.NORMAL and where is not Place.PAST:
        # As the table says; said first because nearly every sample is this one.
        return state, _NOTHING
    at = _time(sample, at_us)
    if where is Place.PAST:
        signal = _past(rule, state, at)
        return advance(rule, state, signal, sample, boot, cause=cause, at_us=at, marks=marks, told=told)
    if where is Place.BACK:
        signal = _back(rule, state, at)
        return advance(rule, state, signal, sample, boot, cause=Cause.RETURNED, at_us=at, marks=marks, told=told)
    if state.phase is Phase.CLEARING:
        return _hold_clearing(state, at, counts=where is Place.BETWEEN), _NOTHING
    return state, _NOTHING


def advance(
    rule: LimitRule,
    state: LimitState,
    signal: Signal,
    sample: Sample | None,
    boot: bytes,
    *,
    cause: Cause,
    at_us: int | None = None,
    marks: tuple[str, ...] = (),
    told: Told | None = None,
) -> tuple[LimitState, tuple[Transition, ...]]:
    """Returns the state after one signal by the table, and the transition it made, if any.

    Args:
        sample: that gave the signal; None only with ``at_us``.
        cause: of the transition, should there be one.
        at_us: when it happens, if not at the sample.
        marks: words for the transition beside those that the sample's quality gives.
        told: what the transition says of the rule, if not what ``rule`` is.
    """
    phase = TABLE[state.phase].get(signal)
    if phase is None:
        return state, _NOTHING
    at = _time(sample, at_us)
    after = _enter(rule, state, phase, signal, at)
    before, now = state.alarm, after.alarm
    if before is now:
        return after, _NOTHING
    occurrence = state.occurrence
    told = Told(rule_hash=rule.rule_hash, limit=rule.value) if told is None else told
    if occurrence is None:
        occurrence = Occurrence(
            rule_id=rule.id,
            rule_hash=told.rule_hash,
            severity=rule.severity,
            cause=cause,
            limit=told.limit,
            boot=boot,
            raised_at_us=at,
        )
    after = replace(after, occurrence=None if now is AlarmState.CLEARED else occurrence)
    transition = Transition(
        rule_id=rule.id,
        rule_hash=told.rule_hash,
        severity=rule.severity,
        from_phase=state.phase,
        to_phase=phase,
        alarm=now,
        cause=cause,
        limit=told.limit,
        sample=sample,
        at_us=at,
        occurrence=occurrence,
        marks=((*doubt(sample), *marks) if sample is not None else marks),
    )
    return after, (transition,)


def doubt(sample: Sample) -> tuple[str, ...]:
    """Returns the reason word of a number that is not good, for the marks of a transition."""
    return () if sample.value is None or sample.code == GOOD else (CODES[sample.code].reason,)


def refusal(state: LimitState, last: Sample | None, by: str, rule: LimitRule | None) -> str:
    """Returns why a latched alarm may not be reset now, or nothing.

    Args:
        rule: that the sample itself is judged by; None where the rule judges something computed.
        last: the newest sample of the point, of whatever quality.
        by: the person's name.
    """
    if not by.strip():
        return "a reset needs the name of the person"
    if state.phase is Phase.ACTIVE:
        return "the condition stands"
    if state.phase is Phase.CLEARING:
        return "the off-delay is still running"
    if state.phase is not Phase.LATCHED:
        return "this alarm is not latched"
    if last is None or last.code not in CLEARING_CODES:
        return "the last value is not good"
    if rule is not None and place(rule, last) is Place.PAST:
        return "the condition stands"
    return ""


def arm(state: LimitState) -> LimitState:
    """Returns the state in which the next sample past the limit raises at once; a good return disarms."""
    return replace(state, phase=Phase.PENDING) if state.phase is Phase.NORMAL else state


def forget_time(state: LimitState) -> LimitState:
    """Returns the state after a restart with unknown elapsed time.

    A running on-delay counts as elapsed at the first sample still past the limit; a running
    off-delay begins anew.
    """
    if state.phase is Phase.PENDING:
        return replace(state, started_us=None)
    if state.phase is Phase.CLEARING:
        return replace(state, cleared_us=0, clear_to_us=None, back_samples=0)
    return state


def pause(state: LimitState) -> LimitState:
    """Returns the state with a running off-delay standing still until the next clearing sample."""
    return replace(state, clear_to_us=None) if state.phase is Phase.CLEARING else state


def _time(sample: Sample | None, at_us: int | None) -> int:
    if at_us is not None:
        return at_us
    if sample is None:
        raise RulesError("neither a sample nor a time")
    return sample.at_us


def _past(rule: LimitRule, state: LimitState, at_us: int) -> Signal:
    if state.phase is Phase.PENDING:
        if state.started_us is None:
            return Signal.PAST_LONG_ENOUGH
        waited = at_us - state.started_us >= rule.on_delay_us
        complete = waited and state.past_samples + 1 >= rule.on_samples
    else:
        complete = rule.on_delay_us == 0 and rule.on_samples <= 1
    return Signal.PAST_LONG_ENOUGH if complete else Signal.PAST


def _back(rule: LimitRule, state: LimitState, at_us: int) -> Signal:
    if _cleared_us(state, at_us) < rule.off_delay_us or state.back_samples + 1 < rule.off_samples:
        return Signal.BACK
    return Signal.BACK_TO_LATCH if rule.latch or state.held else Signal.BACK_LONG_ENOUGH


def _cleared_us(state: LimitState, at_us: int) -> int:
    if state.phase is not Phase.CLEARING or state.clear_to_us is None:
        return state.cleared_us
    return state.cleared_us + max(0, at_us - state.clear_to_us)


def _hold_clearing(state: LimitState, at_us: int, *, counts: bool) -> LimitState:
    if not counts:
        return pause(state)
    return replace(state, cleared_us=_cleared_us(state, at_us), clear_to_us=at_us)


def _enter(rule: LimitRule, state: LimitState, phase: Phase, signal: Signal, at_us: int) -> LimitState:
    held = state.held or signal is Signal.AT_ONCE
    same = state.occurrence
    if phase is Phase.PENDING:
        started = state.started_us if state.phase is Phase.PENDING else at_us
        return LimitState(rule_id=rule.id, phase=phase, started_us=started, past_samples=state.past_samples + 1)
    if phase is Phase.CLEARING:
        return LimitState(
            rule_id=rule.id,
            phase=phase,
            cleared_us=_cleared_us(state, at_us),
            clear_to_us=at_us,
            back_samples=state.back_samples + 1 if rule.off_samples > 1 else 0,
            held=held,
            occurrence=same,
        )
    if phase is Phase.NORMAL:
        return LimitState(rule_id=rule.id)
    if phase is state.phase and held == state.held:
        return state
    return LimitState(rule_id=rule.id, phase=phase, held=held, occurrence=same)
