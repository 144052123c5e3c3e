"""Rules on two points of one gateway: this one's alarm, confirmed by a second point within a window.

``A within window and B``: A is a rule of this point, B a rule of another one.  The pair stands
while one of the two alarms is active and the other is, or was within the window.  It borrows the
table of ``rules.limit`` as a high limit of 2 on the number of conditions.  It looks at alarms and
not at samples, so silence, faults and inhibits of either point mean to it what they mean to
them: none of them ends it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.catalogue import is_point_key
from contracts.errors import PayloadError
from contracts.fields import Fields
from rules.errors import RuleError
from rules.limit import Place, Told, step_to
from rules.model import MAX_ID, LimitRule, hash_of
from rules.state import Cause, LimitState, Sample, Transition

#: no window is longer (s)
MAX_WITHIN_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRule:
    """An alarm of this point that an alarm of another point confirms.

    Raises:
        RuleError: a field is impossible.
    """

    #: a high limit of 2, unit 1: both conditions
    limit: LimitRule
    #: id of a rule of this point
    own: str
    #: key of the other point
    point: str
    #: id of a rule of the other point
    other: str
    #: how long ago the other alarm may have been over; 0: both stand at once
    within_s: float
    within_us: int = field(init=False, compare=False, repr=False)
    told: Told = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        found = []
        if not 0 <= self.within_s <= MAX_WITHIN_S:
            found.append(("within_s", f"{self.within_s!r} is not from 0 to {MAX_WITHIN_S:.0f} seconds"))
        if not is_point_key(self.point):
            found.append(("point", f"{self.point!r} is no key of a point; device/quantity would be right"))
        if (self.limit.unit, self.limit.value) != ("1", 2.0):
            found.append(("limit", "a pair is a limit of 2 conditions"))
        if found:
            raise RuleError(self.limit.id, found)
        object.__setattr__(self, "within_us", round(self.within_s * 1_000_000))
        object.__setattr__(self, "told", Told(rule_hash=self.rule_hash))

    @property
    def id(self) -> str:
        """Point key and name, ``pair/well-1/ch4/two_heads``."""
        return self.limit.id

    @property
    def rule_hash(self) -> bytes:
        """First 16 bytes of SHA-256 over everything the rule says."""
        return hash_of(self.to_wire())

    def to_wire(self) -> list[object]:
        """Returns the rule as a list of primitives."""
        return ["pair", self.limit.to_wire(), self.own, self.point, self.other, float(self.within_s)]

    @classmethod
    def from_wire(cls, value: object) -> PairRule:
        """Returns the rule that ``to_wire`` wrote.

        Raises:
            PayloadError: the list is not a pair; the message names the field.
        """
        f = Fields("pair", value, 6)
        f.choice("kind", frozenset({"pair"}))
        try:
            return cls(
                limit=LimitRule.from_wire(f.raw()),
                own=f.text("own", MAX_ID),
                point=f.text("point", 64),
                other=f.text("other", MAX_ID),
                within_s=f.number("within_s"),
            )
        except RuleError as error:
            raise PayloadError("; ".join(f"pair.{name}: {text}" for name, text in error.problems)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PairState:
    """Where a pair stands."""

    limit: LimitState
    own_stands: bool = False
    other_stands: bool = False
    #: until when each alarm was last known to stand, monotonic us; None: it never did
    own_us: int | None = None
    other_us: int | None = None

    def to_wire(self) -> list[object]:
        """Returns the state as a list of primitives."""
        return [self.limit.to_wire(), self.own_stands, self.other_stands, self.own_us, self.other_us]

    @classmethod
    def from_wire(cls, value: object) -> PairState:
        """Returns the state that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("pair_state", value, 5)
        return cls(
            limit=LimitState.from_wire(f.raw()),
            own_stands=f.boolean("own_stands"),
            other_stands=f.boolean("other_stands"),
            own_us=f.optional_integer("own_us"),
            other_us=f.optional_integer("other_us"),
        )


def step_pair(
    rule: PairRule,
    state: PairState,
    *,
    own: bool,
    other: bool,
    at_us: int,
    boot: bytes,
    sample: Sample | None,
) -> tuple[PairState, tuple[Transition, ...]]:
    """Returns the state at ``at_us``, and the transition it made, if any.

    Args:
        own: whether the alarm of this point is active.
        other: whether that of the other point is.
        at_us: monotonic; not before the last call.
        sample: newest of this point, to be shown; None: none yet.
    """
    own_us = at_us if own or state.own_stands else state.own_us
    other_us = at_us if other or state.other_stands else state.other_us
    recent = all(known is not None and at_us - known < rule.within_us for known in (own_us, other_us))
    both = (own and other) or ((own or other) and recent)
    limit, made = step_to(
        rule.limit,
        state.limit,
        Place.PAST if both else Place.BACK,
        sample,
        boot,
        cause=Cause.CONFIRMED,
        at_us=at_us,
        marks=(f"with={rule.point}",),
        told=rule.told,
    )
    # A time is kept only when an alarm ends: while it stands the time would change with every look.
    after = PairState(
        limit=limit,
        own_stands=own,
        other_stands=other,
        own_us=own_us if not own else state.own_us,
        other_us=other_us if not other else state.other_us,
    )
    return after, made


def forget_times(state: PairState) -> PairState:
    """Returns the state after a restart with unknown elapsed time: what was over, was over long ago."""
    return PairState(limit=state.limit, own_stands=state.own_stands, other_stands=state.other_stands)
