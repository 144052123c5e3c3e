"""Everything known of the rules of one point, as records with wire forms.

``PointRules`` is what people decided and the plan carries; ``PointState`` is where it stands
and the spool keeps.  The state of a point is told apart from its rules, so that a restart or
a reload brings them together again by rule id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.errors import PayloadError
from contracts.fields import Fields
from rules.confirmation import Confirmation
from rules.errors import RulesError
from rules.model import Direction, LimitRule, SilenceRule
from rules.pair import PairRule, PairState
from rules.state import LimitState, Occurrence, Sample, Transition
from rules.watch import WatchKind, WatchRule
from rules.watching import Memory

_STATE_FORMAT = 1
_MAX_LIMITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRules:
    """Every rule of one point.

    Raises:
        RulesError: a rule id stands twice, or the limits differ in unit.
    """

    limits: tuple[LimitRule, ...] = ()
    silence: SilenceRule | None = None
    #: whether being lost while rising raises the next high limit
    gas: bool = False
    #: rules on something computed of many samples
    watches: tuple[WatchRule, ...] = ()
    #: rules on an alarm of this point and one of another
    pairs: tuple[PairRule, ...] = ()
    #: who confirmed the limits in writing; None: they are on trial
    confirmed: Confirmation | None = None
    #: positions of the high limits from low to high; the first is the pre-alarm of a gas point
    ladder: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        ids = [rule.id for rule in self.limits] + [rule.id for rule in self.watches]
        ids += [rule.id for rule in self.pairs]
        ids += [self.silence.id] if self.silence else []
        if len(set(ids)) != len(ids):
            raise RulesError(f"a rule id stands twice: {', '.join(ids)}")
        units = [rule.unit for rule in self.limits] + [rule.unit for rule in self.watches]
        if len(set(units)) > 1:
            raise RulesError(f"limits of one point differ in unit: {', '.join(units)}")
        high = [n for n, rule in enumerate(self.limits) if rule.direction is Direction.HIGH]
        object.__setattr__(self, "ladder", tuple(sorted(high, key=lambda n: self.limits[n].value)))

    def is_on_trial(self, rule_id: str) -> bool:
        """Returns whether alarms of a rule carry the mark ``trial``.

        Silence, a fault and a flat line tell of the sensor: nobody has to confirm those.
        """
        return self.confirmed is None and rule_id not in self._supervising()

    def _supervising(self) -> set[str]:
        """Ids of the rules that watch the source and not what it measures."""
        found = {watch.id for watch in self.watches if watch.kind in (WatchKind.FAULT, WatchKind.FLAT)}
        return found if self.silence is None else {*found, self.silence.id}

    def to_wire(self) -> list[object]:
        """Returns the rules as a list of primitives."""
        silence = None if self.silence is None else self.silence.to_wire()
        first: list[object] = [[rule.to_wire() for rule in self.limits], silence, self.gas]
        if not self.watches and not self.pairs and self.confirmed is None:
            return first
        confirmed = None if self.confirmed is None else self.confirmed.to_wire()
        return [*first, [rule.to_wire() for rule in self.watches], [rule.to_wire() for rule in self.pairs], confirmed]

    @classmethod
    def from_wire(cls, value: object) -> PointRules:
        """Returns the rules that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        has_more = _has(value, 6)
        f = Fields("point_rules", value, 6 if has_more else 3)
        limits = tuple(LimitRule.from_wire(item) for item in f.items("limits", _MAX_LIMITS))
        raw = f.raw()
        silence = None if raw is None else SilenceRule.from_wire(raw)
        gas = f.boolean("gas")
        watches: tuple[WatchRule, ...] = ()
        pairs: tuple[PairRule, ...] = ()
        confirmed = None
        if has_more:
            watches = tuple(WatchRule.from_wire(item) for item in f.items("watches", _MAX_LIMITS))
            pairs = tuple(PairRule.from_wire(item) for item in f.items("pairs", _MAX_LIMITS))
            confirmed = None if (raw := f.raw()) is None else Confirmation.from_wire(raw)
        try:
            return cls(limits=limits, silence=silence, gas=gas, watches=watches, pairs=pairs, confirmed=confirmed)
        except RulesError as error:
            raise PayloadError(f"point_rules.limits: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibit:
    """Somebody works on the point."""

    #: calibration, bump test, maintenance ...
    reason: str
    #: the person's name
    by: str
    #: monotonic us at which it ends by itself
    until_us: int
    #: newest sample seen meanwhile, of whatever quality
    last: Sample | None = None

    def to_wire(self) -> list[object]:
        """Returns the inhibit as a list of primitives."""
        return [self.reason, self.by, self.until_us, None if self.last is None else self.last.to_wire()]

    @classmethod
    def from_wire(cls, value: object) -> Inhibit:
        """Returns the inhibit that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("inhibit", value, 4)
        return cls(
            reason=f.text("reason"),
            by=f.text("by"),
            until_us=f.integer("until_us"),
            last=None if (raw := f.raw()) is None else Sample.from_wire(raw),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PointState:
    """Where all rules of one point stand; it goes into the spool with the seal that tells of it."""

    #: the boot whose monotonic clock the times here belong to
    boot: bytes
    #: one per limit rule, in the order of the rules
    limits: tuple[LimitState, ...]
    #: silence counts from here, or from when the point was last heard, whichever is later
    silence_from_us: int
    #: None unless the point is silent
    silence: Occurrence | None = None
    inhibit: Inhibit | None = None
    #: when a gas point passed its pre-alarm; None unless that still stands
    passed_us: int | None = None
    #: missing samples in a row, and the time of the first
    lost_samples: int = 0
    lost_from_us: int = 0
    #: one per watch, and one per pair, in the order of the rules
    watches: tuple[LimitState, ...] = ()
    pairs: tuple[PairState, ...] = ()
    #: what each watch remembers; not kept, and no difference between two states
    memory: tuple[Memory, ...] = field(default=(), compare=False)

    def to_wire(self) -> list[object]:
        """Returns the state as a list of primitives."""
        more = [[state.to_wire() for state in self.watches], [state.to_wire() for state in self.pairs]]
        return [
            _STATE_FORMAT,
            self.boot,
            [state.to_wire() for state in self.limits],
            self.silence_from_us,
            None if self.silence is None else self.silence.to_wire(),
            None if self.inhibit is None else self.inhibit.to_wire(),
            self.passed_us,
            self.lost_samples,
            self.lost_from_us,
            *(more if self.watches or self.pairs else []),
        ]

    @classmethod
    def from_wire(cls, value: object) -> PointState:
        """Returns the state that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        has_more = _has(value, 11)
        f = Fields("point_state", value, 11 if has_more else 9)
        f.integer("format", _STATE_FORMAT, _STATE_FORMAT)
        return cls(
            boot=f.binary("boot", 0, 64),
            limits=tuple(LimitState.from_wire(item) for item in f.items("limits", _MAX_LIMITS)),
            silence_from_us=f.integer("silence_from_us"),
            silence=None if (raw := f.raw()) is None else Occurrence.from_wire(raw),
            inhibit=None if (raw := f.raw()) is None else Inhibit.from_wire(raw),
            passed_us=f.optional_integer("passed_us"),
            lost_samples=f.integer("lost_samples"),
            lost_from_us=f.integer("lost_from_us"),
            watches=tuple(LimitState.from_wire(item) for item in _items(f, "watches", has_more)),
            pairs=tuple(PairState.from_wire(item) for item in _items(f, "pairs", has_more)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What became of a reset."""

    state: PointState
    transitions: tuple[Transition, ...] = ()
    #: why it was refused, in words; empty when it was done
    refused: str = ""


def _has(value: object, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count


def _items(f: Fields, name: str, is_there: bool) -> Sequence[object]:
    return f.items(name, _MAX_LIMITS) if is_there else ()
