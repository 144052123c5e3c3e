"""What a watch remembers of the samples before, and how it judges the next one.

Pure steps from (memory, sample) to (memory, where the computed number lies); what follows from
that is the table of ``rules.limit``.  The memory is not kept over a restart, a reload or an
inhibit: what stood goes on standing, and a window fills anew, so that an alarm of a slope or a
flat line comes at most one window later.  It is never made up from fewer samples than it needs.

* *rate, trend*: the slope of ``rules.slope``.  Without one the sample proves nothing.
* *flat*: the value stayed within the tolerance.  A hole of more than half the time begins anew,
  and fewer than ``FLAT_SAMPLES`` samples prove nothing: silence is not a flat line.
* *fault*: counts from the first bad or missing sample in a row.  A tick that we missed ourselves
  says nothing of the sensor, and a point that somebody works on has no fault.
* *trend*: no trend where the slope does not stand out of the scatter, or leads away.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from contracts.quality import AGENT_STOPPED, CALIBRATING, INHIBITED, MISSED_TICK, SIMULATED, Quality, quality_of
from rules.limit import CLEARING_CODES, Place, place_number, step_to
from rules.model import Direction
from rules.slope import EMPTY, Slope, Track, follow
from rules.state import LimitState, Sample, Transition
from rules.watch import CAUSE_OF, MOST_S, WatchKind, WatchRule

#: samples that a flat line needs; the test for repeated values of QARTOD, an example of which
#: calls four equal ones suspect
FLAT_SAMPLES = 4
#: a hole of more than half the time begins anew; in us per second of the limit
_HOLE_US = 500_000
#: codes of a point that somebody works on
WORKED_ON = frozenset({INHIBITED, CALIBRATING, SIMULATED})
#: codes that say nothing about the device, because we did not ask it
OUR_OWN = frozenset({MISSED_TICK, AGENT_STOPPED})
_HEARD = frozenset({Quality.GOOD, Quality.UNCERTAIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How long a value stayed where it is."""

    low: float
    high: float
    since_us: int
    last_us: int
    samples: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """Since when no sample proved anything."""

    since_us: int


Memory = Track | Level | Unproven | None


def step_watch(
    watch: WatchRule, state: LimitState, memory: Memory, sample: Sample, boot: bytes
) -> tuple[LimitState, Memory, tuple[Transition, ...]]:
    """Returns state and memory after one sample, and the transition it made, if any.

    Args:
        memory: of this watch; None begins anew.
        boot: the boot whose clock ``sample.at_us`` belongs to.
    """
    where, memory, marks = _FINDERS[watch.kind](watch, memory, sample)
    state, made = step_to(
        watch.limit,
        state,
        where,
        sample,
        boot,
        cause=CAUSE_OF[watch.kind],
        marks=marks,
        told=watch.told,
    )
    return state, memory, made


def time_to(threshold: float, toward: Direction, value: float, slope: Slope) -> tuple[float, float, float] | None:
    """Returns (likely, soonest, latest) seconds until a threshold is reached; None: there is no trend.

    Each is from 0 to ``MOST_S``; beyond that it is ``MOST_S``.
    """
    sign = 1 if toward is Direction.HIGH else -1
    distance = sign * (threshold - value)
    if distance <= 0:
        return 0.0, 0.0, 0.0
    likely = sign * slope.middle
    if likely <= slope.noise or likely <= 0:
        return None
    fast, slow = max(sign * slope.low, sign * slope.high), min(sign * slope.low, sign * slope.high)
    soonest, latest = distance / fast, distance / slow if slow > 0 else inf
    return min(distance / likely, MOST_S), min(soonest, MOST_S), min(latest, MOST_S)


def _rate(watch: WatchRule, memory: Memory, sample: Sample) -> tuple[Place, Memory, tuple[str, ...]]:
    track, value = memory if isinstance(memory, Track) else EMPTY, sample.value
    if value is None:
        return Place.UNKNOWN, track, ()
    track = follow(track, sample.at_us, value, watch.window_us)
    if track.slope is None:
        return Place.UNKNOWN, track, ()
    per_minute = track.slope.middle * 60
    where = place_number(watch.limit, per_minute, sample.code)
    if watch.min_value is not None and value < watch.min_value:
        where = Place.BACK if sample.code in CLEARING_CODES else Place.UNKNOWN
    return where, track, (f"rate={per_minute:.3g}/min", f"rate_limit={watch.limit.value:g}/min")


def _flat(watch: WatchRule, memory: Memory, sample: Sample) -> tuple[Place, Memory, tuple[str, ...]]:
    value, at_us = sample.value, sample.at_us
    if value is None:
        return Place.UNKNOWN, memory, ()
    level = memory if isinstance(memory, Level) else None
    low, high = (value, value) if level is None else (min(level.low, value), max(level.high, value))
    moved = high - low > watch.tolerance
    if level is None or moved or at_us - level.last_us > watch.limit.value * _HOLE_US:
        level = Level(low=value, high=value, since_us=at_us, last_us=at_us)
        return Place.BACK if moved and sample.code in CLEARING_CODES else Place.UNKNOWN, level, ()
    level = Level(low=low, high=high, since_us=level.since_us, last_us=at_us, samples=level.samples + 1)
    if watch.spares_zero and max(abs(low), abs(high)) <= watch.tolerance:
        return Place.BACK if sample.code in CLEARING_CODES else Place.UNKNOWN, level, ()
    seconds = (at_us - level.since_us) / 1e6
    if level.samples < FLAT_SAMPLES:
        return Place.UNKNOWN, level, ()
    where = Place.PAST if seconds >= watch.limit.value else Place.UNKNOWN
    return where, level, (f"flat_s={seconds:.0f}",)


def _fault(watch: WatchRule, memory: Memory, sample: Sample) -> tuple[Place, Memory, tuple[str, ...]]:
    if quality_of(sample.code) in _HEARD:
        return Place.BACK, None, ()
    if sample.code in OUR_OWN:
        return Place.UNKNOWN, memory, ()
    if sample.code in WORKED_ON:
        return Place.UNKNOWN, None, ()
    since = memory if isinstance(memory, Unproven) else Unproven(since_us=sample.at_us)
    seconds = (sample.at_us - since.since_us) / 1e6
    where = Place.PAST if seconds >= watch.limit.value else Place.UNKNOWN
    return where, since, (f"fault_s={seconds:.0f}",)


def _trend(watch: WatchRule, memory: Memory, sample: Sample) -> tuple[Place, Memory, tuple[str, ...]]:
    track, value = memory if isinstance(memory, Track) else EMPTY, sample.value
    if value is None or watch.threshold is None:
        return Place.UNKNOWN, track, ()
    track = follow(track, sample.at_us, value, watch.window_us)
    if track.slope is None:
        return Place.UNKNOWN, track, ()
    times = time_to(watch.threshold, watch.toward, value, track.slope)
    if times is None:
        return Place.BACK if sample.code in CLEARING_CODES else Place.UNKNOWN, track, ("no_trend",)
    likely, soonest, latest = (f"{seconds / 60:.0f}" for seconds in times)
    more = "+" if times[2] >= MOST_S else ""
    return (
        place_number(watch.limit, times[0], sample.code),
        track,
        (
            f"eta_min={likely}",
            f"eta_range={soonest}-{latest}{more}",
        ),
    )


_FINDERS = {WatchKind.RATE: _rate, WatchKind.FLAT: _flat, WatchKind.FAULT: _fault, WatchKind.TREND: _trend}
