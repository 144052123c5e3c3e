"""All rules of one point together: its limits, its silence, its inhibit.

A thin layer over ``rules.limit``: it steps every limit of a point with the same sample, and
adds the three things that concern the point as a whole.  It knows no clock; the caller gives
every time, and keeps two of them itself: the newest sample, and when the point was last heard
(a good or uncertain sample).

* *Silence*: ``check_silence`` raises ``source_silent``; the next good or uncertain sample ends it.
* *Inhibit*: a person works on the point.  Its samples set and clear nothing, an active alarm
  stays, and a value past a limit when the inhibit ends raises at once.
* *Lost while rising*: a gas point that passed the first limit of its ladder and is lost within
  five minutes raises its next limit.  Lost is one ``bad`` sample, or ``LOST_SAMPLES`` that are
  missing in a row: one damaged frame is no lost sensor.  A point that is inhibited, whose
  tick we missed ourselves, whose plan is reloaded, or that is removed, was not lost.

A point in a settled state needs no step per sample: ``quiet_band`` gives the open interval in
which a good value changes nothing, so that the caller compares two numbers per reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from contracts.quality import Quality, quality_of
from rules.errors import RulesError
from rules.limit import Signal, advance, arm, doubt, forget_time, pause, step
from rules.model import Direction
from rules.pair import PairState, forget_times
from rules.point_state import Inhibit, PointRules, PointState
from rules.state import AlarmState, Cause, LimitState, Occurrence, Phase, Sample, Transition
from rules.watching import OUR_OWN, WORKED_ON, Memory, step_watch

#: a gas point lost within this time of passing its pre-alarm was lost while rising
RISING_US = 300 * 1_000_000
#: missing samples in a row that make a point lost; engineering default
LOST_SAMPLES = 2
_HEARD = frozenset({Quality.GOOD, Quality.UNCERTAIN})
_RUNNING = frozenset({Phase.PENDING, Phase.CLEARING})
_NEVER = (math.inf, -math.inf)

Transitions = tuple[Transition, ...]


def is_heard(code: int) -> bool:
    """Returns whether a sample of this quality ends silence: good and uncertain do."""
    return quality_of(code) in _HEARD


def start(rules: PointRules, *, boot: bytes, now_us: int) -> PointState:
    """Returns the state of a point that nothing is known of; silence counts from ``now_us``."""
    limits = tuple(LimitState(rule_id=rule.id) for rule in rules.limits)
    watches = tuple(LimitState(rule_id=rule.id) for rule in rules.watches)
    pairs = tuple(PairState(limit=LimitState(rule_id=rule.id)) for rule in rules.pairs)
    return PointState(boot=boot, limits=limits, silence_from_us=now_us, watches=watches, pairs=pairs)


def step_point(rules: PointRules, state: PointState, sample: Sample) -> tuple[PointState, Transitions]:
    """Returns the state after one sample, and what changed for others.

    Samples of a point come in the order of their times, which are of the state's boot.
    """
    made: list[Transition] = []
    if state.inhibit is not None and sample.at_us >= state.inhibit.until_us:
        state, ended = end_inhibit(rules, state, state.inhibit.until_us)
        made += ended
    if state.silence is not None and is_heard(sample.code):
        made.append(_end_silence(rules, state.silence, sample))
        state = replace(state, silence=None)
    if state.inhibit is not None:
        return replace(state, inhibit=replace(state.inhibit, last=sample)), tuple(made)
    if rules.watches:
        state, watched = _step_watches(rules, state, sample)
        made += watched
    stepped = [step(rule, old, sample, state.boot) for rule, old in zip(rules.limits, state.limits, strict=True)]
    limits = tuple(item[0] for item in stepped)
    made += [transition for item in stepped for transition in item[1]]
    if rules.gas:
        state, lost = _follow_rise(rules, state, limits, sample)
        return state, (*made, *lost)
    if limits != state.limits:
        state = replace(state, limits=limits)
    return state, tuple(made)


def is_quiet(state: PointState) -> bool:
    """Returns whether nothing runs: no delay, no inhibit, no silence, no count of lost samples."""
    settled = state.inhibit is None and state.silence is None and state.lost_samples == 0
    return settled and all(item.phase not in _RUNNING for item in (*state.limits, *state.watches))


def quiet_band(rules: PointRules, state: PointState) -> tuple[float, float]:
    """Returns the open interval (low, high) in which a value that may clear changes nothing in this state.

    In the unit of the rules; infinite where nothing limits it, and empty (low above high)
    while anything runs, and for a point with watches, which want to see every sample.  The
    caller may leave out ``step_point`` for a value inside it that is good, or uncertain only because its
    calibration is overdue (``CLEARING_CODES``).
    """
    if rules.watches or not is_quiet(state):
        return _NEVER
    low, high = -math.inf, math.inf
    for rule, item in zip(rules.limits, state.limits, strict=True):
        edge = rule.returns_at if item.phase is Phase.ACTIVE else rule.value
        # an active high limit is left downwards, a resting one upwards; a low limit mirrors it
        if (rule.direction is Direction.HIGH) == (item.phase is Phase.ACTIVE):
            low = max(low, edge)
        else:
            high = min(high, edge)
    return low, high


def quiet_counts(band: tuple[float, float], resolution: Fraction) -> tuple[float, float]:
    """Returns a quiet band in counts: low < count < high says the same as for count * resolution.

    The ends are whole numbers or infinite.  The value of a count is the float nearest to the
    exact product; the ends are found with the same rounding, so no count is judged twice.

    Args:
        resolution: engineering value of one count; above 0.
    """
    low, high = band
    low_count: float = low if math.isinf(low) else _last_count(low, resolution, lambda value: value <= low)
    high_count: float = high if math.isinf(high) else _last_count(high, resolution, lambda value: value < high) + 1
    return low_count, high_count


def silence_due_us(rules: PointRules, state: PointState, heard_us: int | None) -> int | None:
    """Returns when silence would be raised (monotonic us), or None where it cannot be.

    Args:
        heard_us: time of the newest good or uncertain sample of this boot; None: none yet.
    """
    if rules.silence is None or state.silence is not None or state.inhibit is not None:
        return None
    return _silence_base(state, heard_us) + rules.silence.after_us


def check_silence(
    rules: PointRules, state: PointState, *, heard_us: int | None, now_us: int, last: Sample | None = None
) -> tuple[PointState, Transitions]:
    """Returns the state at ``now_us``: silent if no good or uncertain sample came for too long.

    Args:
        heard_us: time of the newest good or uncertain sample of this boot; None: none yet.
        last: newest sample of whatever quality; its code says why the point is silent.
    """
    due = silence_due_us(rules, state, heard_us)
    rule = rules.silence
    if due is None or rule is None or now_us < due:
        return state, ()
    occurrence = Occurrence(
        rule_id=rule.id,
        rule_hash=rule.rule_hash,
        severity=rule.severity,
        cause=Cause.SILENCE,
        limit=None,
        boot=state.boot,
        raised_at_us=now_us,
    )
    transition = Transition(
        rule_id=rule.id,
        rule_hash=rule.rule_hash,
        severity=rule.severity,
        from_phase=Phase.NORMAL,
        to_phase=Phase.ACTIVE,
        alarm=AlarmState.ACTIVE,
        cause=Cause.SILENCE,
        limit=None,
        sample=last,
        at_us=now_us,
        occurrence=occurrence,
    )
    return replace(state, silence=occurrence), (transition,)


def begin_inhibit(state: PointState, *, reason: str, by: str, until_us: int) -> PointState:
    """Returns the state with the point inhibited; a second inhibit replaces the first.

    Raises:
        RulesError: no reason or no name.
    """
    if not reason.strip() or not by.strip():
        raise RulesError("an inhibit needs a reason and the name of the person")
    last = None if state.inhibit is None else state.inhibit.last
    return replace(
        state,
        limits=tuple(pause(item) for item in state.limits),
        watches=tuple(pause(item) for item in state.watches),
        memory=(),
        inhibit=Inhibit(reason=reason, by=by, until_us=until_us, last=last),
        passed_us=None,
        lost_samples=0,
        lost_from_us=0,
    )


def check_inhibit(rules: PointRules, state: PointState, now_us: int) -> tuple[PointState, Transitions]:
    """Returns the state at ``now_us``: an inhibit whose time is up has ended."""
    if state.inhibit is None or now_us < state.inhibit.until_us:
        return state, ()
    return end_inhibit(rules, state, state.inhibit.until_us)


def end_inhibit(rules: PointRules, state: PointState, now_us: int) -> tuple[PointState, Transitions]:
    """Returns the state without inhibit; a limit that the newest value is past is raised at once.

    If the newest sample has no value, the next one past a limit raises at once.
    """
    if state.inhibit is None:
        return state, ()
    last = state.inhibit.last
    limits: list[LimitState] = []
    made: list[Transition] = []
    for rule, item in zip(rules.limits, state.limits, strict=True):
        after = item
        if item.alarm is AlarmState.CLEARED:
            after = forget_time(arm(item))
            if last is not None:
                after, transitions = step(rule, after, last, state.boot)
                late = [replace(t, at_us=now_us, marks=(*t.marks, "inhibit_over")) for t in transitions]
                made += [replace(t, occurrence=replace(t.occurrence, raised_at_us=now_us)) for t in late]
                if after.occurrence is not None:
                    after = replace(after, occurrence=replace(after.occurrence, raised_at_us=now_us))
        limits.append(after)
    watches = tuple(forget_time(arm(item)) if item.phase is Phase.PENDING else item for item in state.watches)
    state = replace(state, watches=watches, memory=())
    state = replace(state, limits=tuple(limits), inhibit=None, silence_from_us=max(state.silence_from_us, now_us))
    return state, tuple(made)


def restore(
    rules: PointRules, state: PointState, *, boot: bytes, now_us: int, known_elapsed: bool
) -> tuple[PointState, Transitions]:
    """Returns the state after a restart of the agent, under the plan's rules of now.

    Alarms stay as they were.  Silence counts from now, because the agent's own absence is not
    the source's.  With unknown elapsed time an inhibit is over, a running on-delay counts as
    elapsed at the first sample still past the limit, a running off-delay begins anew, and
    "rising" is forgotten.

    Args:
        boot: the boot that now runs.
        known_elapsed: whether the monotonic clock went on, that is, ``boot`` is the same boot.
    """
    if not known_elapsed:
        limits = state.limits
        if state.inhibit is not None:
            limits = tuple(arm(item) for item in limits)
        limits = tuple(forget_time(item) for item in limits)
        state = replace(state, limits=limits, inhibit=None, passed_us=None, lost_samples=0, lost_from_us=0)
        watches = tuple(forget_time(item) for item in state.watches)
        state = replace(state, watches=watches, pairs=tuple(forget_times(item) for item in state.pairs))
    return reload(rules, replace(state, boot=boot, silence_from_us=now_us), now_us=now_us)


def reload(rules: PointRules, state: PointState, *, now_us: int) -> tuple[PointState, Transitions]:
    """Returns the state under changed rules: by rule id alarms stay, new rules begin, old ones are removed.

    A limit that only changed its number goes on from its phase.  An alarm whose rule is gone
    is cleared with cause ``removed``.  Nothing counts as lost while rising across a reload.
    """
    old = {item.rule_id: item for item in state.limits}
    limits = tuple(old.pop(rule.id, LimitState(rule_id=rule.id)) for rule in rules.limits)
    watched = {item.rule_id: item for item in state.watches}
    watches = tuple(watched.pop(rule.id, LimitState(rule_id=rule.id)) for rule in rules.watches)
    paired = {item.limit.rule_id: item for item in state.pairs}
    pairs = tuple(paired.pop(rule.id, PairState(limit=LimitState(rule_id=rule.id))) for rule in rules.pairs)
    left = (*old.values(), *watched.values(), *(item.limit for item in paired.values()))
    gone = [(item.phase, item.occurrence) for item in left if item.occurrence is not None]
    silence = state.silence
    if silence is not None and (rules.silence is None or rules.silence.id != silence.rule_id):
        gone.append((Phase.ACTIVE, silence))
        silence = None
    state = replace(state, limits=limits, silence=silence, passed_us=None, lost_samples=0, lost_from_us=0)
    state = replace(state, watches=watches, pairs=pairs, memory=())
    return state, tuple(_removed(phase, occurrence, now_us) for phase, occurrence in gone)


def remove(state: PointState, *, now_us: int) -> Transitions:
    """Returns what is told when a point leaves the plan: its alarms are cleared as ``removed``."""
    return reload(PointRules(), state, now_us=now_us)[1]


def standing(state: PointState) -> tuple[tuple[AlarmState, Occurrence], ...]:
    """Returns every alarm of the point that is not cleared, for the statement made on each connect."""
    every = (*state.limits, *state.watches, *(item.limit for item in state.pairs))
    limits = [(item.alarm, item.occurrence) for item in every if item.occurrence is not None]
    return (*limits, *([(AlarmState.ACTIVE, state.silence)] if state.silence is not None else []))


def is_active(state: PointState, rule_id: str) -> bool:
    """Returns whether the alarm of a rule is active; a latched one is over."""
    return any(alarm is AlarmState.ACTIVE and item.rule_id == rule_id for alarm, item in standing(state))


def _follow_rise(
    rules: PointRules, state: PointState, limits: tuple[LimitState, ...], sample: Sample
) -> tuple[PointState, Transitions]:
    """Keeps when the pre-alarm was passed, counts lost samples, and raises the next limit if lost."""
    ladder = rules.ladder
    passed, lost, since = state.passed_us, 0, 0
    if ladder:
        first = ladder[0]
        if not limits[first].stands:
            passed = None
        elif not state.limits[first].stands:
            passed = sample.at_us
    if sample.code in WORKED_ON:
        passed = None
    elif sample.code in OUR_OWN:
        lost, since = state.lost_samples, state.lost_from_us
    elif not is_heard(sample.code) and passed is not None:
        lost = state.lost_samples + 1
        since = state.lost_from_us if state.lost_samples else sample.at_us
    before = (state.limits, state.passed_us, state.lost_samples, state.lost_from_us)
    if before != (limits, passed, lost, since):
        state = replace(state, limits=limits, passed_us=passed, lost_samples=lost, lost_from_us=since)
    gone = lost >= LOST_SAMPLES or (lost > 0 and quality_of(sample.code) is Quality.BAD)
    if passed is None or not gone:
        return state, ()
    # Lost once: within the time it raises, later it is left to silence; neither is asked twice.
    state = replace(state, passed_us=None, lost_samples=0, lost_from_us=0)
    number = _next_limit(limits, ladder) if since - passed <= RISING_US else None
    if number is None:
        return state, ()
    rule = rules.limits[number]
    after, made = advance(rule, limits[number], Signal.AT_ONCE, sample, state.boot, cause=Cause.LOST_WHILE_RISING)
    return replace(state, limits=(*limits[:number], after, *limits[number + 1 :])), made


def _step_watches(rules: PointRules, state: PointState, sample: Sample) -> tuple[PointState, list[Transition]]:
    """Steps every watch; the state of an alarm is a new one only where it changed."""
    memory = state.memory or (None,) * len(rules.watches)
    watches: list[LimitState] = []
    kept: list[Memory] = []
    made: list[Transition] = []
    for watch, item, remembered in zip(rules.watches, state.watches, memory, strict=True):
        after, learned, transitions = step_watch(watch, item, remembered, sample, state.boot)
        watches.append(after)
        kept.append(learned)
        made += transitions
    return replace(state, watches=tuple(watches), memory=tuple(kept)), made


def _next_limit(limits: tuple[LimitState, ...], ladder: tuple[int, ...]) -> int | None:
    """The lowest limit above the pre-alarm that was not passed, else the highest still on delay."""
    above = ladder[1:]
    unpassed = [n for n in above if not limits[n].stands]
    pending = [n for n in above if limits[n].phase is Phase.PENDING]
    return unpassed[0] if unpassed else pending[-1] if pending else None


def _end_silence(rules: PointRules, silence: Occurrence, sample: Sample) -> Transition:
    rule_hash = silence.rule_hash if rules.silence is None else rules.silence.rule_hash
    return Transition(
        rule_id=silence.rule_id,
        rule_hash=rule_hash,
        severity=silence.severity,
        from_phase=Phase.ACTIVE,
        to_phase=Phase.NORMAL,
        alarm=AlarmState.CLEARED,
        cause=Cause.RETURNED,
        limit=None,
        sample=sample,
        at_us=sample.at_us,
        occurrence=silence,
        marks=doubt(sample),
    )


def _removed(phase: Phase, occurrence: Occurrence, now_us: int) -> Transition:
    return Transition(
        rule_id=occurrence.rule_id,
        rule_hash=occurrence.rule_hash,
        severity=occurrence.severity,
        from_phase=phase,
        to_phase=Phase.NORMAL,
        alarm=AlarmState.CLEARED,
        cause=Cause.REMOVED,
        limit=occurrence.limit,
        sample=None,
        at_us=now_us,
        occurrence=occurrence,
    )


def _silence_base(state: PointState, heard_us: int | None) -> int:
    return state.silence_from_us if heard_us is None else max(heard_us, state.silence_from_us)


def _last_count(value: float, resolution: Fraction, holds: Callable[[float], bool]) -> int:
    """The largest count whose value ``holds``; true below some count near ``value`` and false above."""
    count = math.floor(Fraction(value) / resolution)
    while holds(float((count + 1) * resolution)):
        count += 1
    while not holds(float(count * resolution)):
        count -= 1
    return count
