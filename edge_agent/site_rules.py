"""Rules of a site's points: packs found and chosen, the site's changes applied, units made one.

Part of compiling.  It reads pack files and says what is wrong with a choice; what a pack may
say and whether a number is on the safe side of its bound is ``rules.pack``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.units import conversion
from edge_agent.config import LimitChange, Point
from edge_agent.site_report import SiteReport
from rules.errors import PackError, RulesError
from rules.model import LimitRule, SilenceRule, in_unit
from rules.pack import RulePack, index_packs, load_pack, point_rules, select_pack
from rules.point_state import PointRules


class RuleBook:
    """Every rule pack that a site can choose from."""

    def __init__(self, packs: Mapping[str, RulePack], files: tuple[Path, ...]) -> None:
        self.packs = packs
        #: files that the packs were read from
        self.files = files

    @classmethod
    def read(cls, folders: Iterable[Path], problems: list[str]) -> RuleBook:
        """Reads all packs of some directories; what is wrong with them goes to ``problems``."""
        files: list[Path] = []
        packs: list[RulePack] = []
        for folder in folders:
            files.extend(sorted(folder.glob("*.toml")))
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
        for pack in packs:
            own = _in_pack_unit(changes[pack.id], pack, f"{where}.limits", problems)
            try:
                chosen = point_rules(pack, own, where=f"{where}.limits")
            except PackError as error:
                problems.extend(error.problems)
                continue
            limits.extend(chosen.limits)
            _warn(pack, chosen, key, report)
        try:
            silence = SilenceRule(after_s=silence_after_s)
            if len(problems) > before:
                return PointRules(silence=silence)
            gas = any(pack.gas for pack in packs)
            return PointRules(limits=tuple(in_unit(rule, unit) for rule in limits), silence=silence, gas=gas)
        except ContractError as error:
            problems.append(f"{where}.rules: the limits do not fit the point: {error}; choose rules in such a unit")
        except RulesError as error:
            problems.append(f"{where}.rules: {error}")
        return PointRules()

    def _chosen(self, point: Point, quantity: str, where: str, problems: list[str]) -> list[RulePack]:
        packs: list[RulePack] = []
        for id in point.rules:
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
            for key in ("value", "deadband"):
                if key in given:
                    given[key] = float(_exact(given[key]) * factor)
        result[name] = given
    return result


def _exact(number: float) -> Fraction:
    """The decimal that a person wrote, not the binary fraction nearest to it."""
    return Fraction(repr(number))


def _warn(pack: RulePack, chosen: PointRules, key: str, report: SiteReport) -> None:
    present = {rule.id for rule in chosen.limits}
    for limit in pack.limits:
        if f"{pack.id}/{limit.name}" not in present:
            message = f"pack {pack.id} ships no number for it, so it does not count; give value and basis"
            report.warning(f"{key}.limits.{limit.name}", message)
    recalled = [rule.id.rpartition("/")[2] for rule in chosen.limits if rule.confirm_locally]
    if recalled:
        names = ", ".join(recalled)
        report.warning(f"{key}.rules", f"{pack.id}: {names}: recalled from a standard; confirm for this site")
