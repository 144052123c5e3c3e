"""Rules of a site's points: packs found and chosen, the site's changes applied, units made one.

Part of compiling.  It reads pack files and says what is wrong with a choice; what a pack may
say and whether a number is on the safe side of its bound is ``rules.pack``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.units import conversion
from edge_agent.config import Point
from edge_agent.config_rules import LimitChange, Pair
from edge_agent.site_confirmations import named, rule_ids
from edge_agent.site_report import SiteReport
from rules.errors import PackError, RuleError, RulesError
from rules.model import Direction, LimitRule, Mark, Severity, SilenceRule, in_unit
from rules.pack import RulePack, index_packs, load_pack, point_rules, select_pack
from rules.pack_limit import IN_SECONDS, UNIT_KEYS
from rules.pair import PairRule
from rules.point_state import PointRules
from rules.watch import WatchKind, WatchRule, watch_in_unit

#: quantity -> packs of a point whose site names none: an instrument's own alarm raises by itself
_BY_ITSELF = {"own-alarm": ["instrument.alarm.v1"]}


class RuleBook:
    """Every rule pack that a site can choose from."""

    def __init__(self, packs: Mapping[str, RulePack], files: tuple[Path, ...]) -> None:
        self.packs = packs
        #: files that the packs were read from
        self.files = files

    @classmethod
    def read(cls, folders: Iterable[Path], problems: list[str]) -> RuleBook:
        """Reads all packs of some directories; what is wrong with them goes to ``problems``."""
        return cls.read_files([file for folder in folders for file in sorted(folder.glob("*.toml"))], problems)

    @classmethod
    def read_files(cls, files: Sequence[Path], problems: list[str]) -> RuleBook:
        """Reads some packs; what is wrong with them goes to ``problems``."""
        packs: list[RulePack] = []
        for file in files:
            try:
                packs.append(load_pack(file.read_text(encoding="utf-8"), str(file)))
            except PackError as error:
                problems.extend(error.problems)
            except UnicodeDecodeError:
                problems.append(f"{file}: not UTF-8; save the file as UTF-8")
            except OSError as error:
                problems.append(f"{file}: cannot be read: {error.strerror or error}")
        try:
            return cls(index_packs(packs), tuple(files))
        except PackError as error:
            problems.extend(error.problems)
            return cls({pack.id: pack for pack in packs}, tuple(files))

    def rules_of(
        self,
        point: Point,
        *,
        quantity: str,
        unit: str,
        silence_after_s: float,
        key: str,
        report: SiteReport,
    ) -> PointRules:
        """Returns the rules of one point in the point's unit.

        Args:
            point: what the site says of it.
            quantity: what it measures.
            unit: UCUM unit that it is read in.
            silence_after_s: longest silence.
            key: of the point in the site file.
            report: gets everything that is wrong, and what a person should know before the rules count.
        """
        where, problems = report.where(key), report.problems
        before = len(problems)
        packs = self._chosen(point, quantity, where, problems)
        changes = _sorted_changes(point.limits, packs, where, problems)
        limits: list[LimitRule] = []
        watches: list[WatchRule] = []
        for pack in packs:
            own = _in_pack_unit(changes[pack.id], pack, f"{where}.limits", problems)
            try:
                chosen = point_rules(pack, own, where=f"{where}.limits")
            except PackError as error:
                problems.extend(error.problems)
                continue
            limits.extend(chosen.limits)
            watches.extend(chosen.watches)
            _warn(pack, chosen, own, key, report)
        try:
            silence = SilenceRule(after_s=silence_after_s)
            if len(problems) > before:
                return PointRules(silence=silence)
            gas = any(pack.gas for pack in packs)
            rules = PointRules(
                limits=tuple(in_unit(rule, unit) for rule in limits),
                silence=silence,
                gas=gas,
                watches=tuple(_watch(watch, unit, gas=gas) for watch in watches),
            )
            return replace(rules, pairs=tuple(_pairs(point.pair, rules, where, problems)))
        except ContractError as error:
            problems.append(f"{where}.rules: the limits do not fit the point: {error}; choose rules in such a unit")
        except RulesError as error:
            problems.append(f"{where}.rules: {error}")
        return PointRules()

    def _chosen(self, point: Point, quantity: str, where: str, problems: list[str]) -> list[RulePack]:
        packs: list[RulePack] = []
        chosen = point.rules if "rules" in point.model_fields_set else _BY_ITSELF.get(quantity, [])
        for id in chosen:
            try:
                pack = select_pack(self.packs, id, f"{where}.rules")
            except PackError as error:
                problems.extend(error.problems)
                continue
            if pack in packs:
                problems.append(f"{where}.rules: {id!r} stands twice; name each rule pack once")
            elif quantity not in pack.quantities:
                suits = ", ".join(pack.quantities)
                problems.append(f"{where}.rules: {id!r} is for {suits}; this point measures {quantity}")
            else:
                packs.append(pack)
        return packs


def _watch(watch: WatchRule, unit: str, *, gas: bool) -> WatchRule:
    """A watch in the unit of the point; a gas head may rest at zero whichever pack looks for a flat line."""
    watch = watch_in_unit(watch, unit)
    return replace(watch, spares_zero=True) if gas and watch.kind is WatchKind.FLAT else watch


def _pairs(pairs: Iterable[Pair], rules: PointRules, where: str, problems: list[str]) -> Iterator[PairRule]:
    """Pairs of a point; the other point's rule is still a name, because that point may come later."""
    for pair in pairs:
        key = f"{where}.pair[{pair.name}]"
        ids = rule_ids(rules)
        own = named(ids, pair.when)
        if len(own) != 1:
            has = ", ".join(ids) or "none; choose rules first"
            problems.append(f"{key}.when: {pair.when!r} is not one rule of this point; it has {has}")
            continue
        try:
            limit = LimitRule(
                id=f"pair/{pair.name}",
                en=pair.en,
                zh=pair.zh,
                direction=Direction.HIGH,
                value=2.0,
                unit="1",
                off_delay_s=pair.off_delay_s,
                latch=pair.latch,
                severity=Severity(pair.severity),
                scheme=pair.scheme,
                basis=pair.basis,
                mark=Mark.DEFAULT,
                set_by=pair.set_by or "site",
                set_at=pair.set_at,
            )
            yield PairRule(limit=limit, own=own[0], point=pair.point, other=pair.rule, within_s=pair.within_s)
        except RuleError as error:
            problems.extend(f"{key}.{field}: {text}" for field, text in error.problems)


def _sorted_changes(
    limits: Mapping[str, LimitChange], packs: list[RulePack], where: str, problems: list[str]
) -> dict[str, dict[str, LimitChange]]:
    """Gives each change to the pack it is meant for: ``L1`` where one pack has it, else ``PACK/L1``."""
    found: dict[str, dict[str, LimitChange]] = {pack.id: {} for pack in packs}
    for key, change in limits.items():
        pack_id, slash, name = key.rpartition("/")
        having = [p for p in packs if (p.id == pack_id if slash else any(limit.name == name for limit in p.limits))]
        if len(having) == 1:
            found[having[0].id][name] = change
        elif having:
            full = " or ".join(f'"{pack.id}/{name}"' for pack in having)
            problems.append(f"{where}.limits.{key}: more than one of its rule packs has it; write {full}")
        else:
            known = ", ".join(f"{limit.name} ({pack.id})" for pack in packs for limit in pack.limits)
            problems.append(f"{where}.limits.{key}: no rule pack of this point has it; it has {known or 'none'}")
    return found


def _in_pack_unit(
    changes: Mapping[str, LimitChange], pack: RulePack, where: str, problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Turns changes into what ``rules.pack`` takes: numbers in the pack's unit, nothing that is not given."""
    result: dict[str, dict[str, Any]] = {}
    for name, change in changes.items():
        given = change.model_dump(exclude_none=True)
        unit = given.pop("unit", pack.unit)
        try:
            factor = conversion(unit, pack.unit)
        except ContractError as error:
            problems.append(f"{where}.{name}.unit: {error}; a unit that converts into {pack.unit} would be right")
            factor = conversion(pack.unit, pack.unit)
        if factor != 1:
            is_other = any(limit.name == name and (limit.kind in IN_SECONDS or limit.percent) for limit in pack.limits)
            for key in (*(() if is_other else ("value", "deadband")), *UNIT_KEYS):
                if key in given:
                    given[key] = float(_exact(given[key]) * factor)
        result[name] = given
    return result


def _exact(number: float) -> Fraction:
    """The decimal that a person wrote, not the binary fraction nearest to it."""
    return Fraction(repr(number))


def _warn(
    pack: RulePack, chosen: PointRules, change: Mapping[str, Mapping[str, Any]], key: str, report: SiteReport
) -> None:
    present = set(rule_ids(chosen))
    for limit in pack.limits:
        if f"{pack.id}/{limit.name}" not in present:
            what = " and ".join(key for key in limit.left_open if key not in change.get(limit.name, ()))
            message = f"pack {pack.id} ships no number for it, so it does not count; give {what} and basis"
            report.warning(f"{key}.limits.{limit.name}", message)
    every = [*chosen.limits, *(watch.limit for watch in chosen.watches)]
    recalled = [rule.id.rpartition("/")[2] for rule in every if rule.confirm_locally]
    if recalled:
        names = ", ".join(recalled)
        report.warning(f"{key}.rules", f"{pack.id}: {names}: recalled from a standard; confirm for this site")
