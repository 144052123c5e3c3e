"""What the rules are handed and what they hand back: samples, phases, alarms, transitions.

Plain frozen records with their wire forms; what leads from one to the next is ``rules.limit``
and ``rules.point``.  Times are monotonic microseconds, which mean something only together
with the boot whose clock they are of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from contracts.catalogue import SEVERITIES
from contracts.errors import PayloadError
from contracts.fields import Fields
from contracts.quality import WITH_VALUE
from rules.errors import RulesError
from rules.model import MAX_ID, RULE_HASH_BYTES, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of one point.

    Raises:
        RulesError: a number is there although the quality has none, is absent although it has
            one, or is not finite.
    """

    #: in the unit of the rules; None where the quality has no number
    value: float | None
    #: quality code of ``contracts.quality``
    code: int
    #: monotonic microseconds of the boot that the state belongs to
    at_us: int

    def __post_init__(self) -> None:
        if (self.value is not None) != (self.code in WITH_VALUE):
            raise RulesError(f"a sample of quality code {self.code} with the number {self.value!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise RulesError(f"a sample with the number {self.value!r}")

    def to_wire(self) -> list[object]:
        """Returns the sample as a list of primitives."""
        return [None if self.value is None else float(self.value), self.code, self.at_us]

    @classmethod
    def from_wire(cls, value: object) -> Sample:
        """Returns the sample that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("sample", value, 3)
        try:
            return cls(
                value=f.optional_number("value"),
                code=f.integer("code", 0, 255),
                at_us=f.integer("at_us"),
            )
        except RulesError as error:
            raise PayloadError(f"sample.value: {error}") from error


class Phase(StrEnum):
    """Where a limit stands."""

    #: nothing to say
    NORMAL = "normal"
    #: past the limit, on-delay running
    PENDING = "pending"
    #: alarm raised, condition stands
    ACTIVE = "active"
    #: alarm raised, value is back, off-delay running
    CLEARING = "clearing"
    #: condition over, waits for a named person
    LATCHED = "latched"


class AlarmState(StrEnum):
    """What is told to others: absolute, so that order and repeats do not matter."""

    ACTIVE = "active"
    LATCHED = "latched"
    CLEARED = "cleared"


#: what each phase looks like from outside
ALARM_OF: Mapping[Phase, AlarmState] = MappingProxyType(
    {
        Phase.NORMAL: AlarmState.CLEARED,
        Phase.PENDING: AlarmState.CLEARED,
        Phase.ACTIVE: AlarmState.ACTIVE,
        Phase.CLEARING: AlarmState.ACTIVE,
        Phase.LATCHED: AlarmState.LATCHED,
    }
)


class Cause(StrEnum):
    """Why an alarm changed."""

    LIMIT = "limit"
    OVER_RANGE = "over_range"
    UNDER_RANGE = "under_range"
    LOST_WHILE_RISING = "lost_while_rising"
    SILENCE = "silence"
    #: the value rises or falls too fast
    RATE = "rate"
    #: the value does not move although it should
    FLAT = "flat"
    #: bad or missing for longer than the fault delay
    FAULT = "fault"
    #: at this slope the threshold is reached soon
    TREND = "trend"
    #: a second point says so too
    CONFIRMED = "confirmed"
    #: the value is back, or the source is heard again
    RETURNED = "returned"
    RESET = "reset"
    #: the rule is no longer in the plan
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One alarm from raised to cleared: enough to state it again in full after a restart."""

    rule_id: str
    #: of the rule as it was when the alarm was raised
    rule_hash: bytes
    severity: Severity
    cause: Cause
    #: the limit then; None for silence, and where the limit is no number in the point's unit
    limit: float | None
    #: the boot whose monotonic clock ``raised_at_us`` belongs to
    boot: bytes
    raised_at_us: int

    def to_wire(self) -> list[object]:
        """Returns the occurrence as a list of primitives."""
        words = [self.rule_id, self.rule_hash, self.severity.value, self.cause.value]
        return [*words, _float_or_none(self.limit), self.boot, self.raised_at_us]

    @classmethod
    def from_wire(cls, value: object) -> Occurrence:
        """Returns the occurrence that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("occurrence", value, 7)
        return cls(
            rule_id=f.text("rule_id", MAX_ID),
            rule_hash=f.binary("rule_hash", RULE_HASH_BYTES),
            severity=Severity(f.choice("severity", SEVERITIES)),
            cause=Cause(f.choice("cause", _CAUSES)),
            limit=f.optional_number("limit"),
            boot=f.binary("boot", 0, 64),
            raised_at_us=f.integer("raised_at_us"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """Where one limit stands, with its running delay."""

    rule_id: str
    phase: Phase = Phase.NORMAL
    #: while pending: first sample past the limit, monotonic us; None: the delay counts as elapsed
    started_us: int | None = None
    #: while pending: samples past the limit so far; 0: none yet, only armed (see ``arm``)
    past_samples: int = 0
    #: while clearing: microseconds of off-delay covered by clearing samples
    cleared_us: int = 0
    #: while clearing: newest sample up to which it counts; None: paused
    clear_to_us: int | None = None
    #: while clearing: good samples behind the deadband so far
    back_samples: int = 0
    #: raised at once (out of range, lost while rising): waits for a reset whatever the rule says
    held: bool = False
    #: None if and only if the alarm is cleared
    occurrence: Occurrence | None = None

    @property
    def alarm(self) -> AlarmState:
        """What is told to others."""
        return ALARM_OF[self.phase]

    @property
    def stands(self) -> bool:
        """Whether the condition stands: a sample was past the limit and none has been back since."""
        return self.phase is Phase.ACTIVE or (self.phase is Phase.PENDING and self.past_samples > 0)

    def to_wire(self) -> list[object]:
        """Returns the state as a list of primitives."""
        pending = [self.started_us, self.past_samples]
        clearing = [self.cleared_us, self.clear_to_us]
        occurrence = None if self.occurrence is None else self.occurrence.to_wire()
        more = [self.back_samples] if self.back_samples else []
        return [self.rule_id, self.phase.value, *pending, *clearing, self.held, occurrence, *more]

    @classmethod
    def from_wire(cls, value: object) -> LimitState:
        """Returns the state that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        has_more = isinstance(value, list | tuple) and len(value) == 9
        f = Fields("limit_state", value, 9 if has_more else 8)
        state = cls(
            rule_id=f.text("rule_id", MAX_ID),
            phase=Phase(f.choice("phase", _PHASES)),
            started_us=f.optional_integer("started_us"),
            past_samples=f.integer("past_samples"),
            cleared_us=f.integer("cleared_us"),
            clear_to_us=f.optional_integer("clear_to_us"),
            held=f.boolean("held"),
            occurrence=None if (raw := f.raw()) is None else Occurrence.from_wire(raw),
            back_samples=f.integer("back_samples", 1) if has_more else 0,
        )
        if (state.occurrence is None) != (state.alarm is AlarmState.CLEARED):
            raise PayloadError("limit_state.occurrence: present if and only if the alarm is not cleared")
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of what others are told about one alarm; phases within one alarm state give none."""

    rule_id: str
    #: of the rule that judged this change; of the old rule where it was removed
    rule_hash: bytes
    severity: Severity
    from_phase: Phase
    to_phase: Phase
    #: the absolute state from here on
    alarm: AlarmState
    cause: Cause
    #: None for silence, and where the limit is no number in the point's unit
    limit: float | None
    #: what triggered it; None where no sample did (removal, silence before any sample)
    sample: Sample | None
    #: monotonic us of the change
    at_us: int
    #: the alarm that it belongs to
    occurrence: Occurrence
    #: short words: why the sample was uncertain, ``inhibit_over``, ``by=NAME`` of a reset
    marks: tuple[str, ...] = ()


_CAUSES = frozenset(item.value for item in Cause)
_PHASES = frozenset(item.value for item in Phase)


def _float_or_none(number: float | None) -> float | None:
    return None if number is None else float(number)
