"""What a rule is: a limit on a value, or a limit on silence.

These are the frozen records that the compiled plan and the catalogue carry.  They hold what
a person decided (number, unit, delays, severity, on what basis) and nothing that happens;
that is ``rules.limit`` and ``rules.point``.  A limit on the unsafe side of its bound cannot be
built.  The words are those of ISA-18.2 and IEC 62682.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from contracts.catalogue import SEVERITIES
from contracts.errors import PayloadError
from contracts.fields import U32, Fields
from contracts.units import UNITS, conversion
from rules.errors import RuleError

#: length of a rule hash in bytes
RULE_HASH_BYTES = 16
#: longest id and longest basis, in bytes of UTF-8; catalogue and events carry ids of this length
MAX_ID = 128
MAX_BASIS = 2048
#: no delay is longer than a week; a longer one is a mistyped number
MAX_DELAY_S = 604_800.0


class Severity(StrEnum):
    """How bad it is; always shown with its scheme, never as a bare level."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    BLUE = "blue"
    INFO = "info"


#: severities from mild to grave
SEVERITY_ORDER = (Severity.INFO, Severity.BLUE, Severity.YELLOW, Severity.ORANGE, Severity.RED)


class Direction(StrEnum):
    """On which side of the limit the danger lies."""

    HIGH = "high"
    LOW = "low"


class Mark(StrEnum):
    """How far a shipped number can be trusted."""

    #: seen in a published source
    VERIFIED = "V"
    #: recalled from a standard and not read again; to be confirmed locally before it counts
    KNOWN = "K"
    #: engineering default of this project, or a site's own number
    DEFAULT = "D"


_DIRECTIONS = frozenset(item.value for item in Direction)
_MARKS = frozenset(item.value for item in Mark)


def decimal_sum(a: float, b: float) -> float:
    """Returns ``a + b`` as people add the decimals they see: 0.14 + 0.01 is 0.15."""
    return float(Fraction(repr(a)) + Fraction(repr(b)))


def limit_problems(
    *,
    direction: Direction,
    value: float | None,
    unit: str,
    deadband: float,
    on_delay_s: float,
    off_delay_s: float,
    on_samples: int,
    off_samples: int = 1,
    basis: str,
    ceiling: float | None,
    floor: float | None,
    bound_basis: str,
) -> list[tuple[str, str]]:
    """Returns (field, what is wrong and what would be right) of everything wrong with a limit.

    ``value`` is None where a pack leaves the number to the site.
    """
    found: list[tuple[str, str]] = []
    if unit not in UNITS:
        found.append(("unit", f"{unit!r} is not a known unit; known are {', '.join(sorted(UNITS))}"))
    if not basis.strip():
        found.append(("basis", "is missing; say in words where the number comes from"))
    if not math.isfinite(deadband) or deadband < 0:
        found.append(("deadband", f"{deadband!r} is not 0 or more"))
    for name, delay in (("on_delay_s", on_delay_s), ("off_delay_s", off_delay_s)):
        if not 0 <= delay <= MAX_DELAY_S:
            found.append((name, f"{delay!r} is not from 0 to {MAX_DELAY_S:.0f} seconds"))
    for name, samples in (("on_samples", on_samples), ("off_samples", off_samples)):
        if samples < 1:
            found.append((name, f"{samples!r} is not 1 or more"))
    for name, bound in (("value", value), ("ceiling", ceiling), ("floor", floor)):
        if bound is not None and not math.isfinite(bound):
            found.append((name, f"{bound!r} is not a finite number"))
    if ceiling is not None and direction is not Direction.HIGH:
        found.append(("ceiling", "only a high limit has a ceiling; a low one has a floor"))
    if floor is not None and direction is not Direction.LOW:
        found.append(("floor", "only a low limit has a floor; a high one has a ceiling"))
    because = f" ({bound_basis})" if bound_basis else ""
    if direction is Direction.HIGH and value is not None and ceiling is not None and value > ceiling:
        found.append(("value", f"{value:g} is above its ceiling {ceiling:g}{because}; give {ceiling:g} or less"))
    if direction is Direction.LOW and value is not None and floor is not None and value < floor:
        found.append(("value", f"{value:g} is below its floor {floor:g}{because}; give {floor:g} or more"))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """One limit on one value.

    Raises:
        RuleError: a field is impossible, or the value is on the unsafe side of its bound.
    """

    #: pack id and limit name, ``gas.ch4.adjacent.v1/L1``
    id: str
    en: str
    zh: str
    direction: Direction
    #: the limit, in ``unit``
    value: float
    #: UCUM code; the samples judged by this rule are in this unit
    unit: str
    #: whether a value exactly at the limit is past it
    inclusive: bool = True
    #: how far the value has to come back behind the limit, in ``unit``; 0 or more
    deadband: float = 0.0
    #: monotonic seconds from the first sample past the limit; 0 is at once
    on_delay_s: float = 0.0
    #: seconds of good samples behind the deadband; 0 is at once
    off_delay_s: float = 0.0
    #: samples past the limit before the alarm is raised; 1 is at once
    on_samples: int = 1
    #: good samples behind the deadband before the condition is over; 1 is at once
    off_samples: int = 1
    #: whether a cleared condition waits for a named person
    latch: bool = False
    severity: Severity
    #: whose wording the severity maps, for example ``GB/T 50493 level 2``
    scheme: str
    #: where the number comes from, in words
    basis: str
    mark: Mark
    #: a high limit may not be above this
    ceiling: float | None = None
    #: a low limit may not be below this
    floor: float | None = None
    bound_basis: str = ""
    #: who set the number and when (ISO date); empty for a shipped default
    set_by: str = ""
    set_at: str = ""
    #: a good value at or behind this has returned, in ``unit``
    returns_at: float = field(init=False, compare=False, repr=False)
    on_delay_us: int = field(init=False, compare=False, repr=False)
    off_delay_us: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        found = limit_problems(
            direction=self.direction,
            value=self.value,
            unit=self.unit,
            deadband=self.deadband,
            on_delay_s=self.on_delay_s,
            off_delay_s=self.off_delay_s,
            on_samples=self.on_samples,
            off_samples=self.off_samples,
            basis=self.basis,
            ceiling=self.ceiling,
            floor=self.floor,
            bound_basis=self.bound_basis,
        )
        if not self.id:
            found.append(("id", "is empty"))
        if found:
            raise RuleError(self.id, found)
        back = -self.deadband if self.direction is Direction.HIGH else self.deadband
        object.__setattr__(self, "returns_at", decimal_sum(self.value, back))
        object.__setattr__(self, "on_delay_us", round(self.on_delay_s * 1_000_000))
        object.__setattr__(self, "off_delay_us", round(self.off_delay_s * 1_000_000))

    @property
    def rule_hash(self) -> bytes:
        """First 16 bytes of SHA-256 over everything the rule says."""
        return hash_of(self.to_wire())

    @property
    def confirm_locally(self) -> bool:
        """Whether the number is only recalled, and a person at the site has to confirm it."""
        return self.mark is Mark.KNOWN

    def to_wire(self) -> list[object]:
        """Returns the rule as a list of primitives."""
        numbers = [float(self.value), self.unit, self.inclusive, float(self.deadband)]
        delays = [float(self.on_delay_s), float(self.off_delay_s), self.on_samples, self.latch]
        words = [self.severity.value, self.scheme, self.basis, self.mark.value]
        bounds = [_float_or_none(self.ceiling), _float_or_none(self.floor), self.bound_basis]
        head = ["limit", self.id, self.en, self.zh, self.direction.value]
        # Only where it is not 1, so that the hash of a rule without it is what it always was.
        more = [self.off_samples] if self.off_samples != 1 else []
        return [*head, *numbers, *delays, *words, *bounds, self.set_by, self.set_at, *more]

    @classmethod
    def from_wire(cls, value: object) -> LimitRule:
        """Returns the rule that ``to_wire`` wrote.

        Raises:
            PayloadError: the list is not a limit rule; the message names the field.
        """
        has_more = isinstance(value, list | tuple) and len(value) == 23
        f = Fields("limit", value, 23 if has_more else 22)
        f.choice("kind", frozenset({"limit"}))
        try:
            return cls(
                id=f.text("id", MAX_ID),
                en=f.text("en"),
                zh=f.text("zh"),
                direction=Direction(f.choice("direction", _DIRECTIONS)),
                value=f.number("value"),
                unit=f.text("unit", 32),
                inclusive=f.boolean("inclusive"),
                deadband=f.number("deadband"),
                on_delay_s=f.number("on_delay_s"),
                off_delay_s=f.number("off_delay_s"),
                on_samples=f.integer("on_samples", 1, U32),
                latch=f.boolean("latch"),
                severity=Severity(f.choice("severity", SEVERITIES)),
                scheme=f.text("scheme"),
                basis=f.text("basis", MAX_BASIS),
                mark=Mark(f.choice("mark", _MARKS)),
                ceiling=f.optional_number("ceiling"),
                floor=f.optional_number("floor"),
                bound_basis=f.text("bound_basis", MAX_BASIS),
                set_by=f.text("set_by"),
                set_at=f.text("set_at"),
                off_samples=f.integer("off_samples", 2, U32) if has_more else 1,
            )
        except RuleError as error:
            raise PayloadError("; ".join(f"limit.{name}: {text}" for name, text in error.problems)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceRule:
    """How long a point may go without a good or uncertain sample; bad and missing do not count.

    Raises:
        RuleError: ``after_s`` is not above 0.
    """

    id: str = "silence.v1"
    en: str = "source silent"
    zh: str = "数据源静默"
    #: seconds since the last good or uncertain sample; above 0
    after_s: float
    severity: Severity = Severity.INFO
    after_us: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.after_s) or self.after_s <= 0:
            raise RuleError(self.id, [("after_s", f"{self.after_s!r} is not a number of seconds above 0")])
        object.__setattr__(self, "after_us", round(self.after_s * 1_000_000))

    @property
    def rule_hash(self) -> bytes:
        """First 16 bytes of SHA-256 over everything the rule says."""
        return hash_of(self.to_wire())

    def to_wire(self) -> list[object]:
        """Returns the rule as a list of primitives."""
        return ["silence", self.id, self.en, self.zh, float(self.after_s), self.severity.value]

    @classmethod
    def from_wire(cls, value: object) -> SilenceRule:
        """Returns the rule that ``to_wire`` wrote.

        Raises:
            PayloadError: the list is not a silence rule; the message names the field.
        """
        f = Fields("silence", value, 6)
        f.choice("kind", frozenset({"silence"}))
        try:
            return cls(
                id=f.text("id", MAX_ID),
                en=f.text("en"),
                zh=f.text("zh"),
                after_s=f.number("after_s"),
                severity=Severity(f.choice("severity", SEVERITIES)),
            )
        except RuleError as error:
            raise PayloadError("; ".join(f"silence.{name}: {text}" for name, text in error.problems)) from error


Rule = LimitRule | SilenceRule

_KINDS: dict[str, type[LimitRule] | type[SilenceRule]] = {"limit": LimitRule, "silence": SilenceRule}


def rule_from_wire(value: object) -> Rule:
    """Returns a rule of any kind; the first word of the list says which.

    Raises:
        PayloadError: the kind is unknown, or a field is wrong; the message names it.
    """
    first = value[0] if isinstance(value, list | tuple) and value else None
    kind = _KINDS.get(first) if isinstance(first, str) else None
    if kind is None:
        raise PayloadError(f"rule.kind: expected one of {', '.join(_KINDS)}, got {first!r}")
    return kind.from_wire(value)


def in_unit(rule: LimitRule, unit: str) -> LimitRule:
    """Returns the same limit for a point that measures in another unit of the same dimension.

    Raises:
        ContractError: a unit is unknown or measures something else (ppm and mg/m3 do).
    """
    if unit == rule.unit:
        return rule
    factor = conversion(rule.unit, unit)

    def scaled(number: float) -> float:
        return float(Fraction(repr(number)) * factor)

    return replace(
        rule,
        unit=unit,
        value=scaled(rule.value),
        deadband=scaled(rule.deadband),
        ceiling=None if rule.ceiling is None else scaled(rule.ceiling),
        floor=None if rule.floor is None else scaled(rule.floor),
    )


def _float_or_none(number: float | None) -> float | None:
    return None if number is None else float(number)


def hash_of(content: list[object]) -> bytes:
    """Returns the first 16 bytes of SHA-256 over the one JSON form of a rule's primitives."""
    canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).digest()[:RULE_HASH_BYTES]
