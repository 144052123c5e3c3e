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
from dataclasses import dataclass
from itertools import pairwise

from contracts.quantities import QUANTITIES
from contracts.units import UNITS
from rules.errors import PackError, RuleError
from rules.model import MAX_BASIS, SEVERITY_ORDER, Direction, SilenceRule
from rules.pack_limit import (
    OVERRIDE_KEYS,
    EntryKind,
    PackLimit,
    change_limit,
    make_limit,
    make_watch,
    read_limit,
)
from rules.point_state import PointRules
from rules.table_reader import TableReader

_PACK_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_PACK_KEYS = ("id", "en", "zh", "quantities", "unit", "scheme", "gas", "lel_basis_vol", "note", "limit")
_PLAIN = frozenset({EntryKind.LIMIT, EntryKind.DEVIATION})


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
    read = TableReader(table, f"{source}: ", _PACK_KEYS, problems)
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
        limit = read_limit(item, where, unit, scheme, problems)
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
            limits.append(change_limit(change, f"{prefix}{limit.name}.", limit, pack.unit, problems))
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
    whole = [limit for limit in limits if not limit.left_open]
    try:
        return PointRules(
            limits=tuple(make_limit(pack.id, limit, pack.unit) for limit in whole if limit.kind in _PLAIN),
            silence=silence,
            gas=pack.gas,
            watches=tuple(
                make_watch(pack.id, limit, pack.unit, gas=pack.gas) for limit in whole if limit.kind not in _PLAIN
            ),
        )
    except RuleError as error:
        raise PackError([f"{prefix}{error}"]) from error


def _set_problems(limits: tuple[PackLimit, ...], prefix: str) -> list[str]:
    """What is wrong with limits beside each other: names, order of numbers, order of severities."""
    found: list[str] = []
    seen: set[str] = set()
    for limit in limits:
        if limit.name in seen:
            found.append(f"{prefix}{limit.name}.name: stands twice; give each limit its own")
        seen.add(limit.name)
    lows, highs = (_ladder(limits, direction) for direction in (Direction.LOW, Direction.HIGH))
    rates = [limit for limit in limits if limit.kind is EntryKind.RATE]
    for direction, ladder in ((Direction.HIGH, highs), (Direction.LOW, lows)):
        found += _order_problems(ladder, direction, prefix)
        found += _order_problems(
            [(limit, limit.value) for limit in rates if limit.direction is direction and limit.value is not None],
            direction,
            prefix,
        )
    if lows and highs and (low := max(value for _, value in lows)) >= (high := min(value for _, value in highs)):
        found.append(
            f"{prefix}value: a low limit at {low:g} and a high one at {high:g} leave no normal value; "
            "keep every low limit below every high one"
        )
    return found


def _ladder(limits: tuple[PackLimit, ...], direction: Direction) -> list[tuple[PackLimit, float]]:
    """Limits of one direction with their numbers, in the order in which they are listed."""
    own = [(limit, limit.own_value) for limit in limits if limit.direction is direction]
    return [(limit, value) for limit, value in own if value is not None]


def _order_problems(ladder: list[tuple[PackLimit, float]], direction: Direction, prefix: str) -> list[str]:
    found: list[str] = []
    word = "above" if direction is Direction.HIGH else "below"
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
    return found
