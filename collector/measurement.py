"""What an alarm is now, and what its arrival asks for: two pure tables.

The *measurement state* of an alarm is active, active with a silent source, or cleared.  Only the
gateway's own word clears; silence of the source, of its gateway or of the link never does.  It is
one of two machines that run side by side (design section 7); what people do about an alarm is the
other, and neither changes this one.

*Late* is no state.  It is a mark: word of the alarm came more than ``LATE_US`` after the gateway
had judged, by the best clock known now.

What an arrival asks for is decided once, when word of an alarm first comes, and may only rise
afterwards.  Where the table does not know better it pages: a page too many is seen, one too few is not.

Nothing here reads a clock or a table of the database (``collector.decisions`` does).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

#: word of an alarm that comes this long after it was judged is late (us)
LATE_US = 10_000_000
#: mark of an event whose limits nobody has confirmed yet
TRIAL = "trial"
#: rule, cause and mark of an alarm that somebody sent to see whether it arrives; no rule of a pack has such an id
TEST = "test"


class Measurement(StrEnum):
    """What is measured of an alarm's condition."""

    ACTIVE = "active"
    SOURCE_SILENT = "source_silent"
    CLEARED = "cleared"


class Signal(StrEnum):
    """What can change it."""

    STANDS = "newest event says active or latched"
    CLEARS = "newest event says cleared"
    SOURCE_LOST = "point, gateway or link is silent"
    SOURCE_BACK = "point is heard again"


#: a signal that a state does not list changes nothing there.  A cleared alarm stands again where its gateway
#: says so by a newer event: the gateway's newest word is the one that counts, in both directions.
TABLE: Mapping[Measurement, Mapping[Signal, Measurement]] = {
    Measurement.ACTIVE: {
        Signal.CLEARS: Measurement.CLEARED,
        Signal.SOURCE_LOST: Measurement.SOURCE_SILENT,
    },
    Measurement.SOURCE_SILENT: {
        Signal.CLEARS: Measurement.CLEARED,
        Signal.SOURCE_BACK: Measurement.ACTIVE,
    },
    Measurement.CLEARED: {Signal.STANDS: Measurement.ACTIVE},
}


def step(state: Measurement, signal: Signal) -> Measurement:
    """Returns the state after a signal."""
    return TABLE[state].get(signal, state)


def measure(event_state: str, *, is_source_silent: bool) -> Measurement:
    """Returns the state of an alarm by its newest event and by what is heard of its point now.

    Args:
        event_state: ``active``, ``latched`` or ``cleared``, as signed.
        is_source_silent: whether the point is silent now.
    """
    state = step(Measurement.ACTIVE, Signal.CLEARS if event_state == "cleared" else Signal.STANDS)
    return step(state, Signal.SOURCE_LOST if is_source_silent else Signal.SOURCE_BACK)


class Decision(StrEnum):
    """What the arrival of an alarm asks for, least first."""

    NOTHING = "nothing"
    REVIEW = "review"
    PAGE = "page"


class Reason(StrEnum):
    """Why."""

    #: it came at once and stands
    NEW = "new"
    #: it came late and stands, or its source has gone silent since: nobody has said that it is over
    LATE = "late"
    #: it was over before it came
    OVER = "over"
    #: the gateway has stated all its alarms since, and this one was not among them
    UNSTATED = "unstated"
    #: its limits are on trial: nothing leaves the room by itself
    TRIAL = "trial"
    #: a person at the desk made a trial alarm a real warning (``collector.real_warning``)
    DESK = "desk"
    #: somebody sent it to see whether it arrives
    TEST = "test"
    #: it was here before decisions were kept
    BEFORE = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision with its reason."""

    decision: Decision
    reason: Reason


#: (state, is late) -> what it asks for
DECISIONS: Mapping[tuple[Measurement, bool], Verdict] = {
    (Measurement.ACTIVE, False): Verdict(decision=Decision.PAGE, reason=Reason.NEW),
    (Measurement.ACTIVE, True): Verdict(decision=Decision.PAGE, reason=Reason.LATE),
    (Measurement.SOURCE_SILENT, False): Verdict(decision=Decision.PAGE, reason=Reason.NEW),
    (Measurement.SOURCE_SILENT, True): Verdict(decision=Decision.PAGE, reason=Reason.LATE),
    (Measurement.CLEARED, False): Verdict(decision=Decision.REVIEW, reason=Reason.OVER),
    (Measurement.CLEARED, True): Verdict(decision=Decision.REVIEW, reason=Reason.OVER),
}


def is_test(rule_id: str, cause: str, marks: Collection[str]) -> bool:
    """Returns whether an event is of a test alarm.  All three must say so: a real alarm is never taken for a test."""
    return rule_id == TEST and cause == TEST and TEST in marks


def decide(state: Measurement, *, is_late: bool, is_unstated: bool, is_trial: bool, is_tested: bool = False) -> Verdict:
    """Returns what an alarm asks for.

    Args:
        state: by all that is known when the decision is made.
        is_late: by ``LATE_US``.
        is_unstated: the gateway has stated all its alarms since, without this one.
        is_trial: its newest event says that its limits are on trial.
        is_tested: it is a test alarm.
    """
    if is_tested:
        return Verdict(decision=Decision.NOTHING, reason=Reason.TEST)
    if is_trial:
        return Verdict(decision=Decision.NOTHING, reason=Reason.TRIAL)
    if is_unstated and state is not Measurement.CLEARED:
        return Verdict(decision=Decision.REVIEW, reason=Reason.UNSTATED)
    return DECISIONS[state, is_late]


_RANKS = {decision: rank for rank, decision in enumerate(Decision)}


def rises(held: str | None, new: Decision) -> bool:
    """Returns whether a decision is to be kept beside the one held; None where there is none yet."""
    return held is None or _RANKS[new] > _RANKS.get(Decision(held), -1)
