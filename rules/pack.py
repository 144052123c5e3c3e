"""Rule packs: TOML that people write, checked and turned into rules.

A pack says the limits of one kind of point, each with unit, basis and mark.  Text comes in and
records go out; finding the files is the compiler's work.  Everything wrong is said at once, with
the key and what would be right.  A limit without a value is left to the site (no number was
found that could be shipped) and counts only once a site gives one.

The marks V, K and D, and the rule that a site's value wins but never on the unsafe side of a
bound, are those of the domain study behind this project; see ``config/rules/README.md``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

from contracts.quantities import QUANTITIES
from contracts.units import UNITS
from rules.errors import PackError, RuleError
from rules.model import MAX_BASIS, SEVERITY_ORDER, Direction, LimitRule, Mark, Severity, SilenceRule, limit_problems
from rules.point_state import PointRules

_PACK_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_LIMIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MAX_TEXT = 256
_MAX_LIMITS = 31

_PACK_KEYS = ("id", "en", "zh", "quantities", "unit", "scheme", "gas", "lel_basis_vol", "note", "limit")
_LIMIT_KEYS = (
    *("name", "en", "zh", "direction", "value", "inclusive", "deadband", "on_delay_s", "off_delay_s", "on_samples"),
    *("latch", "severity", "scheme", "basis", "mark", "ceiling", "floor", "bound_basis", "set_by", "set_at"),
)
#: what a site may change of a limit
OVERRIDE_KEYS = ("value", "deadband", "on_delay_s", "off_delay_s", "on_samples", "basis", "set_by", "set_at")

_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackLimit:
    """One limit of a pack; fields as in ``LimitRule``, except that the value may be left to the site."""

    name: str
    en: str
    zh: str
    direction: Direction
    #: None: the site has to give it
    value: float | None
    inclusive: bool
    deadband: float
    on_delay_s: float
    off_delay_s: float
    on_samples: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePack:
    """The limits of one kind of point."""

    id: str
    en: str
    zh: str
    #: quantities that a point may measure for this pack to suit it
    quantities: tuple[str, ...]
    #: UCUM code of every number in it
    unit: str
    #: whether losing the point while it rises raises the next limit
    gas: bool
    #: percent by volume that is 100 %LEL here; None where the unit is not %LEL
    lel_basis_vol: float | None
    #: what the reader should know; not shown to operators
    note: str
    limits: tuple[PackLimit, ...]
    #: where the text came from, for messages
    source: str


class _Reader:
    """Takes keys out of one TOML table and collects what is wrong with them."""

    def __init__(self, table: Mapping[str, object], where: str, allowed: tuple[str, ...], problems: list[str]) -> None:
        self._table = table
        self._where = where
        self._problems = problems
        for key in table:
            if key not in allowed:
                self.problem(key, f"is not known here; known are {', '.join(allowed)}")

    def problem(self, key: str, text: str) -> None:
        self._problems.append(f"{self._where}{key}: {text}")

    def _take(self, key: str, wanted: str, *, required: bool) -> object:
        if key in self._table:
            return self._table[key]
        if required:
            self.problem(key, f"is missing; give {wanted}")
        return None

    def text(self, key: str, wanted: str = "a text", *, default: str | None = None, limit: int = _MAX_TEXT) -> str:
        value = self._take(key, wanted, required=default is None)
        if value is None:
            return default or ""
        if not isinstance(value, str) or (default is None and not value.strip()):
            self.problem(key, f"is {value!r}; give {wanted}")
            return default or ""
        if len(value.encode()) > limit:
            self.problem(key, f"has {len(value.encode())} bytes; give at most {limit}")
            return value[:1]
        return value

    def pattern(self, key: str, pattern: re.Pattern[str], wanted: str) -> str:
        value = self.text(key, wanted)
        if value and pattern.fullmatch(value) is None:
            self.problem(key, f"is {value!r}; give {wanted}")
        return value

    def number(self, key: str, *, default: float = 0.0) -> float:
        value = self.number_or_none(key)
        return default if value is None else value

    def number_or_none(self, key: str) -> float | None:
        value = self._take(key, "a number", required=False)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            self.problem(key, f"is {value!r}; give a number")
            return None
        return float(value)

    def count(self, key: str, *, default: int) -> int:
        value = self._take(key, "a whole number", required=False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value >= 1 << 32:
            self.problem(key, f"is {value!r}; give a whole number of at least 1")
            return default
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        value = self._take(key, "true or false", required=False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, f"is {value!r}; give true or false")
            return default
        return value

    def word(self, key: str, words: type[_Word]) -> _Word | None:
        wanted = "one of " + ", ".join(words)
        value = self._take(key, wanted, required=True)
        if value is None:
            return None
        for member in words:
            if member.value == value:
                return member
        self.problem(key, f"is {value!r}; give {wanted}")
        return None

    def words(self, key: str, allowed: Iterable[str]) -> tuple[str, ...]:
        known = sorted(allowed)
        value = self._take(key, "a list of quantities", required=True)
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            self.problem(key, f"is {value!r}; give a list of some of {', '.join(known)}")
            return ()
        for item in value:
            if item not in known:
                self.problem(key, f"{item!r} is not known; known are {', '.join(known)}")
        return tuple(str(item) for item in value)

    def tables(self, key: str) -> list[Mapping[str, object]]:
        value = self._take(key, "", required=False)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem(key, f"is no list of tables; write [[{key}]] above each")
            return []
        if len(value) > _MAX_LIMITS:
            self.problem(key, f"has {len(value)} entries; give at most {_MAX_LIMITS}")
        return value


def load_pack(text: str, source: str) -> RulePack:
    """Returns the pack that a TOML text describes.

    Args:
        source: file name or the like, put before every problem.

    Raises:
        PackError: everything that is wrong, each with its key and what would be right.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PackError([f"{source}: is not TOML: {error}"]) from error
    problems: list[str] = []
    read = _Reader(table, f"{source}: ", _PACK_KEYS, problems)
    unit = read.text("unit", "a UCUM code")
    if unit and unit not in UNITS:
        read.problem("unit", f"{unit!r} is not a known unit; known are {', '.join(sorted(UNITS))}")
    scheme = read.text("scheme", "whose grades these are", default="")
    basis_vol = read.number_or_none("lel_basis_vol")
    if basis_vol is not None and not 0 < basis_vol < 100:
        read.problem("lel_basis_vol", f"is {basis_vol:g}; give percent by volume above 0 and below 100")
    if unit == "%{LEL}" and "lel_basis_vol" not in table:
        read.problem("lel_basis_vol", "is missing; give the percent by volume that is 100 %LEL here")
    limits: list[PackLimit] = []
    for number, item in enumerate(read.tables("limit"), start=1):
        name = item.get("name")
        where = f"{source}: limit.{name if isinstance(name, str) and name else number}."
        limit = _read_limit(_Reader(item, where, _LIMIT_KEYS, problems), unit, scheme)
        if limit is not None:
            limits.append(limit)
    pack = RulePack(
        id=read.pattern("id", _PACK_ID, "an id of a-z, 0-9, '.' and '-', like gas.ch4.adjacent.v1"),
        en=read.text("en", "an English name"),
        zh=read.text("zh", "a Chinese name"),
        quantities=read.words("quantities", QUANTITIES),
        unit=unit,
        gas=read.truth("gas", default=False),
        lel_basis_vol=basis_vol,
        note=read.text("note", default="", limit=MAX_BASIS),
        limits=tuple(limits),
        source=source,
    )
    problems += _set_problems(pack.limits, f"{source}: limit.")
    if problems:
        raise PackError(problems)
    return pack


def index_packs(packs: Iterable[RulePack]) -> dict[str, RulePack]:
    """Returns the packs by id.

    Raises:
        PackError: two packs have the same id.
    """
    found: dict[str, RulePack] = {}
    problems = []
    for pack in packs:
        if pack.id in found:
            problems.append(f"{pack.source}: id: {pack.id!r} is already the id of {found[pack.id].source}")
        found.setdefault(pack.id, pack)
    if problems:
        raise PackError(problems)
    return found


def select_pack(packs: Mapping[str, RulePack], pack_id: str, where: str) -> RulePack:
    """Returns the pack of that id.

    Args:
        where: key of the configuration that names it, put before the problem.

    Raises:
        PackError: there is none; the message lists those there are.
    """
    if pack_id not in packs:
        raise PackError([f"{where}: there is no rule pack {pack_id!r}; known are {', '.join(sorted(packs))}"])
    return packs[pack_id]


def point_rules(
    pack: RulePack,
    overrides: Mapping[str, object] | None = None,
    *,
    silence_after_s: float | None = None,
    where: str = "",
) -> PointRules:
    """Returns the rules of one point: a pack, a site's changes, and how long it may be silent.

    A site's value takes the mark D and, unless it names its own basis, a basis that says whose
    value it replaces.  Limits that have no value even then are left out.

    Args:
        overrides: limit name -> table of changes (see ``OVERRIDE_KEYS``).
        silence_after_s: longest silence; None: silence is not judged.
        where: key of the configuration that holds the overrides, put before every problem.

    Raises:
        PackError: everything that is wrong with the changes.
    """
    problems: list[str] = []
    prefix = f"{where}." if where else ""
    changes = dict(overrides or {})
    limits: list[PackLimit] = []
    for limit in pack.limits:
        change = changes.pop(limit.name, None)
        if change is None:
            limits.append(limit)
        elif not isinstance(change, Mapping):
            problems.append(f"{prefix}{limit.name}: is {change!r}; give a table of {', '.join(OVERRIDE_KEYS)}")
        else:
            reader = _Reader(change, f"{prefix}{limit.name}.", OVERRIDE_KEYS, problems)
            limits.append(_override(reader, limit, pack.unit, given=frozenset(change)))
    names = ", ".join(limit.name for limit in pack.limits) or "none"
    problems += [f"{prefix}{name}: pack {pack.id} has no such limit; it has {names}" for name in changes]
    problems += _set_problems(tuple(limits), prefix)
    silence = None
    if silence_after_s is not None:
        try:
            silence = SilenceRule(after_s=silence_after_s)
        except RuleError as error:
            problems += [f"{prefix}silence.{field}: {text}" for field, text in error.problems]
    if problems:
        raise PackError(problems)
    rules = tuple(_rule(pack, limit) for limit in limits if limit.value is not None)
    return PointRules(limits=rules, silence=silence, gas=pack.gas)


def _read_limit(read: _Reader, unit: str, scheme: str) -> PackLimit | None:
    name = read.pattern("name", _LIMIT_NAME, "a name like L1")
    direction = read.word("direction", Direction)
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
    set_at = read.text("set_at", default="")
    if set_at and _DATE.fullmatch(set_at) is None:
        read.problem("set_at", f"is {set_at!r}; give a date like 2026-11-30")
    limit = PackLimit(
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
        latch=read.truth("latch", default=False),
        severity=severity or Severity.INFO,
        scheme=limit_scheme,
        basis=basis,
        mark=mark or Mark.DEFAULT,
        ceiling=ceiling,
        floor=floor,
        bound_basis=bound_basis,
        set_by=read.text("set_by", default=""),
        set_at=set_at,
    )
    if direction is not None:
        _report_numbers(read, limit, unit)
    return limit if name and direction is not None and severity is not None else None


def _override(read: _Reader, limit: PackLimit, unit: str, *, given: frozenset[str]) -> PackLimit:
    value = read.number_or_none("value")
    basis = read.text("basis", default="", limit=MAX_BASIS)
    set_at = read.text("set_at", default=limit.set_at)
    if set_at and _DATE.fullmatch(set_at) is None:
        read.problem("set_at", f"is {set_at!r}; give a date like 2026-11-30")
    own = value is not None and value != limit.value
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
        basis=basis or limit.basis,
        mark=Mark.DEFAULT if own else limit.mark,
        set_by=read.text("set_by", default="site" if own else limit.set_by),
        set_at=set_at,
    )
    _report_numbers(read, changed, unit)
    return changed


def _report_numbers(read: _Reader, limit: PackLimit, unit: str) -> None:
    for field, text in limit_problems(
        direction=limit.direction,
        value=limit.value,
        unit=unit,
        deadband=limit.deadband,
        on_delay_s=limit.on_delay_s,
        off_delay_s=limit.off_delay_s,
        on_samples=limit.on_samples,
        basis=limit.basis,
        ceiling=limit.ceiling,
        floor=limit.floor,
        bound_basis=limit.bound_basis,
    ):
        # the unit is reported once for the pack, a missing basis where it was read
        if field not in ("unit", "basis"):
            read.problem(field, text)


def _set_problems(limits: tuple[PackLimit, ...], prefix: str) -> list[str]:
    """What is wrong with limits beside each other: names, order of numbers, order of severities."""
    found: list[str] = []
    seen: set[str] = set()
    for limit in limits:
        if limit.name in seen:
            found.append(f"{prefix}{limit.name}.name: stands twice; give each limit its own")
        seen.add(limit.name)
    for direction, word in ((Direction.HIGH, "above"), (Direction.LOW, "below")):
        ladder = [(limit, limit.value) for limit in limits if limit.direction is direction and limit.value is not None]
        for (milder, first), (graver, second) in pairwise(ladder):
            if second <= first if direction is Direction.HIGH else second >= first:
                found.append(
                    f"{prefix}{graver.name}.value: {second:g} is out of order; "
                    f"give a number {word} the {first:g} of {milder.name}"
                )
            if SEVERITY_ORDER.index(graver.severity) < SEVERITY_ORDER.index(milder.severity):
                found.append(
                    f"{prefix}{graver.name}.severity: {graver.severity} is milder than the "
                    f"{milder.severity} of {milder.name} before it; list the milder limit first"
                )
    lows = [limit.value for limit in limits if limit.direction is Direction.LOW and limit.value is not None]
    highs = [limit.value for limit in limits if limit.direction is Direction.HIGH and limit.value is not None]
    if lows and highs and max(lows) >= min(highs):
        found.append(
            f"{prefix}value: a low limit at {max(lows):g} and a high one at {min(highs):g} leave no normal value; "
            "keep every low limit below every high one"
        )
    return found


def _rule(pack: RulePack, limit: PackLimit) -> LimitRule:
    if limit.value is None:
        raise PackError([f"{pack.source}: limit.{limit.name}.value: is left to the site and no site gave it"])
    return LimitRule(
        id=f"{pack.id}/{limit.name}",
        en=limit.en,
        zh=limit.zh,
        direction=limit.direction,
        value=limit.value,
        unit=pack.unit,
        inclusive=limit.inclusive,
        deadband=limit.deadband,
        on_delay_s=limit.on_delay_s,
        off_delay_s=limit.off_delay_s,
        on_samples=limit.on_samples,
        latch=limit.latch,
        severity=limit.severity,
        scheme=limit.scheme,
        basis=limit.basis,
        mark=limit.mark,
        ceiling=limit.ceiling,
        floor=limit.floor,
        bound_basis=limit.bound_basis,
        set_by=limit.set_by,
        set_at=limit.set_at,
    )
