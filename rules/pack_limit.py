"""One entry of a rule pack: read from TOML, changed by a site, turned into a rule.

An entry is a plain limit, a limit at a distance from the point's set point, or a watch
(``rules.watch``).  What each kind may say is one tuple of keys, so that a key of another kind is
refused.  A number that is left out is left to the site: the entry counts once the site gives it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from rules.errors import RuleError
from rules.model import MAX_BASIS, Direction, LimitRule, Mark, Severity, decimal_sum, limit_problems
from rules.table_reader import TableReader
from rules.watch import WatchKind, WatchRule, watch_problems

_LIMIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class EntryKind(StrEnum):
    """What an entry of a pack is."""

    LIMIT = "limit"
    #: a limit at a distance from the set point, which the site gives
    DEVIATION = "deviation"
    RATE = "rate"
    FLAT = "flat"
    FAULT = "fault"
    TREND = "trend"


_DELAYS = ("deadband", "on_delay_s", "off_delay_s", "on_samples", "off_samples")
_KEYS = (
    *("kind", "name", "en", "zh", "direction", "value", "inclusive", *_DELAYS),
    *("latch", "severity", "scheme", "basis", "mark", "ceiling", "floor", "bound_basis", "set_by", "set_at"),
)
#: what a kind has beside these and a site may change too
OWN_KEYS: Mapping[EntryKind, tuple[str, ...]] = {
    EntryKind.LIMIT: (),
    EntryKind.DEVIATION: ("setpoint",),
    EntryKind.RATE: ("window_s", "min_value"),
    EntryKind.FLAT: ("tolerance",),
    EntryKind.FAULT: (),
    EntryKind.TREND: ("window_s", "threshold"),
}
#: what a site may change of an entry of any kind
OVERRIDE_KEYS = ("value", *_DELAYS, "basis", "set_by", "set_at")
#: keys whose numbers are in the unit of the pack; value and deadband only of some kinds
UNIT_KEYS = ("setpoint", "min_value", "tolerance", "threshold")
#: kinds whose value is a time
IN_SECONDS = frozenset({EntryKind.FLAT, EntryKind.FAULT, EntryKind.TREND})
_WATCHES = {EntryKind(kind.value): kind for kind in WatchKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackLimit:
    """One entry of a pack; fields as in ``LimitRule`` and ``WatchRule``, but a number may be left to the site."""

    kind: EntryKind
    name: str
    en: str
    zh: str
    #: of a trend: on which side of the threshold the danger lies
    direction: Direction
    #: None: the site has to give it
    value: float | None
    inclusive: bool
    deadband: float
    on_delay_s: float
    off_delay_s: float
    on_samples: int
    off_samples: int
    latch: bool
    severity: Severity
    scheme: str
    basis: str
    mark: Mark
    ceiling: float | None
    floor: float | None
    bound_basis: str
    set_by: str
    set_at: str
    #: of a deviation: where the value is counted from; None: the site has to give it
    setpoint: float | None = None
    #: of a deviation: whether value and deadband are percent of the set point
    percent: bool = False
    window_s: float | None = None
    min_value: float | None = None
    tolerance: float = 0.0
    threshold: float | None = None

    @property
    def left_open(self) -> tuple[str, ...]:
        """Keys that the pack leaves to the site and that no site gave."""
        wanted = {EntryKind.DEVIATION: ("value", "setpoint"), EntryKind.TREND: ("value", "threshold")}
        return tuple(key for key in wanted.get(self.kind, ("value",)) if getattr(self, key) is None)

    @property
    def own_value(self) -> float | None:
        """The limit in the pack's unit; None where it is left open, or where the limit is no such number."""
        if self.kind is EntryKind.LIMIT:
            return self.value
        if self.kind is not EntryKind.DEVIATION or self.value is None or self.setpoint is None:
            return None
        away = self._away(self.value)
        return decimal_sum(self.setpoint, away if self.direction is Direction.HIGH else -away)

    @property
    def own_deadband(self) -> float:
        """The deadband in the unit of the limit."""
        return self._away(self.deadband) if self.kind is EntryKind.DEVIATION else self.deadband

    def _away(self, number: float) -> float:
        if not self.percent or self.setpoint is None:
            return number
        return abs(float(Fraction(repr(number)) * Fraction(repr(self.setpoint)) / 100))


def read_limit(
    table: Mapping[str, object], where: str, unit: str, scheme: str, problems: list[str]
) -> PackLimit | None:
    """Returns an entry of a pack; what is wrong goes to ``problems``, and None where too much is.

    Args:
        where: put before every key.
        unit: of the pack.
        scheme: of the pack, where the entry names none.
    """
    kind = _kind_of(table)
    more = (*OWN_KEYS[kind], "percent") if kind is EntryKind.DEVIATION else OWN_KEYS[kind]
    read = TableReader(table, where, (*_KEYS, *more), problems)
    read.word("kind", EntryKind, default=EntryKind.LIMIT)
    name = read.pattern("name", _LIMIT_NAME, "a name like L1")
    is_timer = kind in (EntryKind.FLAT, EntryKind.FAULT)
    direction = read.word("direction", Direction, default=Direction.HIGH if is_timer else None)
    severity = read.word("severity", Severity)
    mark = read.word("mark", Mark)
    basis = read.text("basis", "in words where the number comes from", limit=MAX_BASIS)
    limit_scheme = read.text("scheme", default=scheme)
    if not limit_scheme:
        read.problem("scheme", "is missing here and in the pack; say whose grades these are")
    bound_basis = read.text("bound_basis", default="", limit=MAX_BASIS)
    ceiling, floor = read.number_or_none("ceiling"), read.number_or_none("floor")
    if (ceiling is not None or floor is not None) and not bound_basis:
        read.problem("bound_basis", "is missing; say where the bound comes from")
    limit = PackLimit(
        kind=kind,
        name=name,
        en=read.text("en", "an English name"),
        zh=read.text("zh", "a Chinese name"),
        direction=direction or Direction.HIGH,
        value=read.number_or_none("value"),
        inclusive=read.truth("inclusive", default=True),
        deadband=read.number("deadband"),
        on_delay_s=read.number("on_delay_s"),
        off_delay_s=read.number("off_delay_s"),
        on_samples=read.count("on_samples", default=1),
        off_samples=read.count("off_samples", default=1),
        latch=read.truth("latch", default=False),
        severity=severity or Severity.INFO,
        scheme=limit_scheme,
        basis=basis,
        mark=mark or Mark.DEFAULT,
        ceiling=ceiling,
        floor=floor,
        bound_basis=bound_basis,
        set_by=read.text("set_by", default=""),
        set_at=_date(read, ""),
        setpoint=read.number_or_none("setpoint"),
        percent=read.truth("percent", default=False),
        window_s=read.number_or_none("window_s"),
        min_value=read.number_or_none("min_value"),
        tolerance=read.number("tolerance"),
        threshold=read.number_or_none("threshold"),
    )
    if direction is not None:
        _report_numbers(read, limit, unit)
    return limit if name and direction is not None and severity is not None else None


def change_limit(
    change: Mapping[str, object], where: str, limit: PackLimit, unit: str, problems: list[str]
) -> PackLimit:
    """Returns an entry with a site's changes; what is wrong with them goes to ``problems``.

    Args:
        where: put before every key.
        unit: of the pack.
    """
    read = TableReader(change, where, (*OVERRIDE_KEYS, *OWN_KEYS[limit.kind]), problems)
    value = read.number_or_none("value")
    basis = read.text("basis", default="", limit=MAX_BASIS)
    numbers = {key: read.number_or_none(key) for key in OWN_KEYS[limit.kind]}
    given = {key: number for key, number in numbers.items() if number is not None}
    own = (value is not None and value != limit.value) or any(
        number != getattr(limit, key) for key, number in given.items()
    )
    if own and not basis:
        if limit.value is None:
            read.problem("basis", "is missing; the pack ships no number, so say where this one comes from")
        basis = f"value of the site; the pack has {limit.value:g}" if limit.value is not None else limit.basis
    changed = replace(
        limit,
        value=limit.value if value is None else value,
        deadband=read.number("deadband", default=limit.deadband),
        on_delay_s=read.number("on_delay_s", default=limit.on_delay_s),
        off_delay_s=read.number("off_delay_s", default=limit.off_delay_s),
        on_samples=read.count("on_samples", default=limit.on_samples),
        off_samples=read.count("off_samples", default=limit.off_samples),
        basis=basis or limit.basis,
        mark=Mark.DEFAULT if own else limit.mark,
        set_by=read.text("set_by", default="site" if own else limit.set_by),
        set_at=_date(read, limit.set_at),
        setpoint=given.get("setpoint", limit.setpoint),
        window_s=given.get("window_s", limit.window_s),
        min_value=given.get("min_value", limit.min_value),
        tolerance=given.get("tolerance", limit.tolerance),
        threshold=given.get("threshold", limit.threshold),
    )
    _report_numbers(read, changed, unit)
    return changed


def make_limit(pack_id: str, limit: PackLimit, unit: str) -> LimitRule:
    """Returns the rule of a plain limit or a deviation of which nothing is left open.

    Raises:
        RuleError: something is left open.
    """
    value = limit.own_value
    if value is None:
        raise RuleError(f"{pack_id}/{limit.name}", [(key, "is left to the site") for key in limit.left_open])
    basis = limit.basis
    if limit.kind is EntryKind.DEVIATION:
        sign = "+" if limit.direction is Direction.HIGH else "-"
        of = f"{limit.value:g} %" if limit.percent else f"{limit.value:g}"
        basis = f"set point {limit.setpoint:g} {sign} {of}: {basis}"
    return _rule(f"{pack_id}/{limit.name}", limit, value, unit, limit.direction, basis)


def make_watch(pack_id: str, limit: PackLimit, unit: str, *, gas: bool) -> WatchRule:
    """Returns the rule of a watch of which nothing is left open.

    Args:
        gas: whether a steady zero is the normal value of the point.

    Raises:
        RuleError: something is left open, or wrong.
    """
    id = f"{pack_id}/{limit.name}"
    if limit.left_open or limit.value is None:
        raise RuleError(id, [(key, "is left to the site") for key in limit.left_open])
    kind = _WATCHES[limit.kind]
    direction = Direction.LOW if kind is WatchKind.TREND else limit.direction
    return WatchRule(
        kind=kind,
        limit=_rule(id, limit, limit.value, unit if kind is WatchKind.RATE else "s", direction, limit.basis),
        unit=unit,
        window_s=limit.window_s,
        min_value=limit.min_value,
        tolerance=limit.tolerance,
        spares_zero=gas and kind is WatchKind.FLAT,
        threshold=limit.threshold,
        toward=limit.direction,
    )


def _kind_of(table: Mapping[str, object]) -> EntryKind:
    word = table.get("kind", EntryKind.LIMIT.value)
    return next((kind for kind in EntryKind if kind.value == word), EntryKind.LIMIT)


def _date(read: TableReader, default: str) -> str:
    set_at = read.text("set_at", default=default)
    if set_at and _DATE.fullmatch(set_at) is None:
        read.problem("set_at", f"is {set_at!r}; give a date like 2026-11-30")
    return set_at


def _report_numbers(read: TableReader, limit: PackLimit, unit: str) -> None:
    kind = _WATCHES.get(limit.kind)
    is_trend = kind is WatchKind.TREND
    found = limit_problems(
        direction=Direction.LOW if is_trend else limit.direction,
        value=limit.own_value if kind is None else limit.value,
        unit=unit,
        deadband=limit.deadband,
        on_delay_s=limit.on_delay_s,
        off_delay_s=limit.off_delay_s,
        on_samples=limit.on_samples,
        off_samples=limit.off_samples,
        basis=limit.basis,
        ceiling=None if is_trend else limit.ceiling,
        floor=None if is_trend else limit.floor,
        bound_basis=limit.bound_basis,
    )
    if limit.kind is EntryKind.DEVIATION and limit.value is not None and not limit.value > 0:
        found.append(("value", f"{limit.value:g} is no distance from a set point; give a number above 0"))
    if kind is not None:
        found += watch_problems(
            kind=kind,
            direction=limit.direction,
            value=limit.value,
            window_s=limit.window_s,
            min_value=limit.min_value,
            tolerance=limit.tolerance,
            threshold=limit.threshold,
            ceiling=limit.ceiling,
            floor=limit.floor,
        )
    for field, text in found:
        # the unit is reported once for the pack, a missing basis where it was read
        if field not in ("unit", "basis"):
            read.problem(field, text)


def _rule(id: str, limit: PackLimit, value: float, unit: str, direction: Direction, basis: str) -> LimitRule:
    return LimitRule(
        id=id,
        en=limit.en,
        zh=limit.zh,
        direction=direction,
        value=value,
        unit=unit,
        inclusive=limit.inclusive,
        deadband=limit.own_deadband,
        on_delay_s=limit.on_delay_s,
        off_delay_s=limit.off_delay_s,
        on_samples=limit.on_samples,
        off_samples=limit.off_samples,
        latch=limit.latch,
        severity=limit.severity,
        scheme=limit.scheme,
        basis=basis,
        mark=limit.mark,
        ceiling=limit.ceiling,
        floor=limit.floor,
        bound_basis=limit.bound_basis,
        set_by=limit.set_by,
        set_at=limit.set_at,
    )
