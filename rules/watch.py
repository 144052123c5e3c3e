"""Rules on something computed of many samples: rate of change, flat line, sensor fault, time to threshold.

A watch is a limit on a number that no single sample shows, so it borrows the whole table of
``rules.limit``: deadband, delays, latch and severity mean the same.  This module says what a
watch is; what it remembers and how it judges is ``rules.watching``.

==========  ==================================================  =======================
kind        the number that its limit is on                     unit of the limit
==========  ==================================================  =======================
``rate``    Theil-Sen slope over ``window_s``, per minute       the point's, per minute
``flat``    how long the value stayed within ``tolerance``      s
``fault``   how long no sample proved anything                  s
``trend``   time until ``threshold`` is reached at this slope   s (a low limit)
==========  ==================================================  =======================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from contracts.errors import PayloadError
from contracts.fields import Fields
from contracts.units import UNITS, conversion
from rules.errors import RuleError
from rules.limit import Told
from rules.model import Direction, LimitRule, hash_of
from rules.state import Cause

#: a time to a threshold is not told beyond this (s); D, after two hours anything may have happened
MOST_S = 7200.0
#: no window is longer (s)
MAX_WINDOW_S = 86_400.0


class WatchKind(StrEnum):
    """What is computed."""

    RATE = "rate"
    FLAT = "flat"
    FAULT = "fault"
    TREND = "trend"


#: why an alarm of each kind is raised
CAUSE_OF = {
    WatchKind.RATE: Cause.RATE,
    WatchKind.FLAT: Cause.FLAT,
    WatchKind.FAULT: Cause.FAULT,
    WatchKind.TREND: Cause.TREND,
}


def watch_problems(
    *,
    kind: WatchKind,
    direction: Direction,
    value: float | None,
    window_s: float | None,
    min_value: float | None,
    tolerance: float,
    threshold: float | None,
    ceiling: float | None = None,
    floor: float | None = None,
) -> list[tuple[str, str]]:
    """Returns (field, what is wrong and what would be right) of everything wrong with a watch itself.

    Args:
        direction: as people write it: of a trend, on which side of the threshold the danger lies.
        value: None where a pack leaves it to the site.
    """
    found: list[tuple[str, str]] = []
    slopes = kind in (WatchKind.RATE, WatchKind.TREND)
    if slopes and (window_s is None or not 1 <= window_s <= MAX_WINDOW_S):
        found.append(("window_s", f"is {window_s!r}; give the seconds that the slope is taken over, 1 to 86400"))
    if not slopes and window_s is not None:
        found.append(("window_s", f"means nothing to {kind}; leave it out"))
    if kind is not WatchKind.RATE and min_value is not None:
        found.append(("min_value", f"means nothing to {kind}; only a rate has one"))
    if kind is not WatchKind.TREND and threshold is not None:
        found.append(("threshold", f"means nothing to {kind}; only a trend has one"))
    if kind is not WatchKind.FLAT and tolerance:
        found.append(("tolerance", f"means nothing to {kind}; only a flat line has one"))
    if not math.isfinite(tolerance) or tolerance < 0:
        found.append(("tolerance", f"{tolerance!r} is not 0 or more"))
    for name, number in (("min_value", min_value), ("threshold", threshold)):
        if number is not None and not math.isfinite(number):
            found.append((name, f"{number!r} is not a finite number"))
    if kind in (WatchKind.FLAT, WatchKind.FAULT) and direction is not Direction.HIGH:
        found.append(("direction", f"of {kind} is always high: it lasts too long"))
    if kind is WatchKind.TREND and (ceiling is not None or floor is not None):
        found.append(("ceiling" if floor is None else "floor", "a trend has no bound; its limit is a time"))
    return found + _value_problems(kind, direction, value)


def _value_problems(kind: WatchKind, direction: Direction, value: float | None) -> list[tuple[str, str]]:
    if value is None:
        return []
    if kind is WatchKind.RATE:
        rises = direction is Direction.HIGH
        if (value <= 0) if rises else (value >= 0):
            word = "above 0 for a rise" if rises else "below 0 for a fall"
            return [("value", f"{value:g} per minute with direction {direction}; give a number {word}")]
        return []
    if not value > 0:
        return [("value", f"{value:g} s is no time; give seconds above 0")]
    if kind is WatchKind.TREND and value > MOST_S:
        return [("value", f"{value:g} s is longer than a trend is believed; give {MOST_S:g} s or less")]
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRule:
    """A limit on something computed of a point's samples.

    Raises:
        RuleError: a field is missing, impossible, or of another kind.
    """

    kind: WatchKind
    #: on the computed number
    limit: LimitRule
    #: UCUM code of the samples
    unit: str
    #: what the slope is taken over (rate, trend); None for the other kinds
    window_s: float | None = None
    #: a rate counts only while the value is at least this; None: always
    min_value: float | None = None
    #: a value that moves by no more than this is flat; 0: not at all
    tolerance: float = 0.0
    #: whether a steady value within ``tolerance`` of 0 is no flat line: a gas head in clean air
    spares_zero: bool = False
    #: what is reached (trend)
    threshold: float | None = None
    #: on which side of the threshold the danger lies (trend)
    toward: Direction = Direction.HIGH
    window_us: int = field(init=False, compare=False, repr=False)
    told: Told = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        found = watch_problems(
            kind=self.kind,
            direction=self.toward if self.kind is WatchKind.TREND else self.limit.direction,
            value=self.limit.value,
            window_s=self.window_s,
            min_value=self.min_value,
            tolerance=self.tolerance,
            threshold=self.threshold,
        )
        if self.unit not in UNITS:
            found.append(("unit", f"{self.unit!r} is not a known unit"))
        if self.kind is WatchKind.TREND and self.threshold is None:
            found.append(("threshold", "is missing; say which value is to be reached"))
        if self.kind is WatchKind.TREND and self.limit.direction is not Direction.LOW:
            found.append(("direction", "a trend is a low limit on time"))
        wanted = self.unit if self.kind is WatchKind.RATE else "s"
        if self.limit.unit != wanted:
            found.append(("unit", f"its limit is in {self.limit.unit!r}; {wanted!r} would be right"))
        if found:
            raise RuleError(self.limit.id, found)
        object.__setattr__(self, "window_us", round((self.window_s or 0) * 1_000_000))
        object.__setattr__(self, "told", Told(rule_hash=self.rule_hash, limit=self.threshold))

    @property
    def id(self) -> str:
        """Pack id and name, ``gas.ch4.rise.v1/fast_rise``."""
        return self.limit.id

    @property
    def rule_hash(self) -> bytes:
        """First 16 bytes of SHA-256 over everything the rule says."""
        return hash_of(self.to_wire())

    def to_wire(self) -> list[object]:
        """Returns the rule as a list of primitives."""
        numbers = [_float(self.window_s), _float(self.min_value), float(self.tolerance), self.spares_zero]
        trend = [_float(self.threshold), self.toward.value]
        return ["watch", self.kind.value, self.limit.to_wire(), self.unit, *numbers, *trend]

    @classmethod
    def from_wire(cls, value: object) -> WatchRule:
        """Returns the rule that ``to_wire`` wrote.

        Raises:
            PayloadError: the list is not a watch; the message names the field.
        """
        f = Fields("watch", value, 10)
        f.choice("kind", frozenset({"watch"}))
        try:
            return cls(
                kind=WatchKind(f.choice("watch", frozenset(item.value for item in WatchKind))),
                limit=LimitRule.from_wire(f.raw()),
                unit=f.text("unit", 32),
                window_s=f.optional_number("window_s"),
                min_value=f.optional_number("min_value"),
                tolerance=f.number("tolerance"),
                spares_zero=f.boolean("spares_zero"),
                threshold=f.optional_number("threshold"),
                toward=Direction(f.choice("toward", frozenset(item.value for item in Direction))),
            )
        except RuleError as error:
            raise PayloadError("; ".join(f"watch.{name}: {text}" for name, text in error.problems)) from error


def watch_in_unit(watch: WatchRule, unit: str) -> WatchRule:
    """Returns the same watch for a point that measures in another unit of the same dimension.

    Raises:
        ContractError: a unit is unknown or measures something else.
    """
    if unit == watch.unit or watch.kind is WatchKind.FAULT:
        # A fault is of no quantity: its rule holds no number of the point.
        return replace(watch, unit=unit)
    factor = conversion(watch.unit, unit)

    def exactly(number: float) -> float:
        return float(Fraction(repr(number)) * factor)

    def scaled(number: float | None) -> float | None:
        return None if number is None else exactly(number)

    limit = watch.limit
    if watch.kind is WatchKind.RATE:
        limit = replace(
            limit,
            unit=unit,
            value=exactly(limit.value),
            deadband=exactly(limit.deadband),
            ceiling=scaled(limit.ceiling),
            floor=scaled(limit.floor),
        )
    return replace(
        watch,
        unit=unit,
        limit=limit,
        min_value=scaled(watch.min_value),
        tolerance=exactly(watch.tolerance),
        threshold=scaled(watch.threshold),
    )


def _float(number: float | None) -> float | None:
    return None if number is None else float(number)
