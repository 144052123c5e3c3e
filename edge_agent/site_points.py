"""The points and blocks of a site's devices: chosen, named, numbered, and given their rules.

Part of compiling.  Which registers one request reads is ``drivers.planner``; which limits a
pack sets is ``rules.pack``; here a site's wishes meet both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from contracts.catalogue import is_point_key
from contracts.errors import ContractError
from contracts.quantities import QUANTITIES
from contracts.units import UNITS, conversion
from drivers.build import PointChoice, plan_device
from drivers.errors import ProfileError
from drivers.plan import BlockRead
from drivers.profile import PointProfile, Profile
from drivers.steps import PointStep
from edge_agent.config import Device, Point
from edge_agent.plan import BlockPlan, PointPlan
from edge_agent.site_report import SiteReport
from edge_agent.site_rules import RuleBook
from edge_agent.site_upkeep import SiteUpkeep

#: a point that may be silent for fewer intervals than this would be silent all the time
_LEAST_SILENT_INTERVALS = 2
#: least default silence; one lost reply is not yet silence
_DEFAULT_SILENT_INTERVALS = 3
_NAME_BYTES = 256
#: what a gas head measures depends on its cell, and the unit on the gas
_GASES = frozenset({"gas", "ch4", "co", "co2", "h2s", "nh3", "so2", "no2", "refrigerant", "o2"})


class SitePoints:
    """Numbers points and blocks in the order in which devices are added."""

    def __init__(self, book: RuleBook, report: SiteReport) -> None:
        self.points: list[PointPlan] = []
        self.blocks: list[BlockPlan] = []
        #: when points are to be tested or calibrated
        self.upkeep = SiteUpkeep(report)
        self._book = book
        self._report = report
        self._keys: set[str] = set()

    def add_device(self, device: Device, profile: Profile, number: int, where: str) -> None:
        """Adds what is read of one device; what is wrong goes to the report.

        Args:
            number: of the device in the plan.
            where: key of the device in the site file.
        """
        points = profile.all_points
        choices = self._choices(device, profile, points, where)
        if not choices:
            self._report.problem(
                f"{where}.points", "every point is left out; read at least one, or leave the device out"
            )
            return
        try:
            reads = plan_device(profile, choices)
        except ProfileError as error:
            for problem in error.problems:
                self._report.problem(f"{where}.{problem.key}" if problem.key else where, problem.message)
            return
        for read in reads:
            first = len(self.points)
            for step in read.points:
                self.points.append(self._point(device, profile, points[step.name], number, where, step, read))
            self.blocks.append(
                BlockPlan(
                    device=number,
                    read=read,
                    points=tuple(range(first, len(self.points))),
                    interval_ms=read.interval_ms,
                    phase_ms=0,
                    is_alarm=any(point.rules.limits for point in self.points[first:]),
                    deadline_ms=self._deadline_ms(device, read, first, where),
                )
            )

    def _choices(
        self, device: Device, profile: Profile, points: Mapping[str, PointProfile], where: str
    ) -> dict[str, PointChoice]:
        for name in device.points:
            if name not in points:
                known = ", ".join(points)
                message = f"profile {profile.id!r} has no such point; it has {known}"
                self._report.problem(f"{where}.points.{name}", message)
        choices: dict[str, PointChoice] = {}
        for name, point in points.items():
            own = device.points.get(name, Point())
            if point.default if own.read is None else own.read:
                interval_s = own.interval_s or device.interval_s
                interval_ms = None if interval_s is None else round(interval_s * 1000)
                choices[name] = PointChoice(unit=own.unit, interval_ms=interval_ms)
        return choices

    def _point(
        self,
        device: Device,
        profile: Profile,
        point: PointProfile,
        number: int,
        where: str,
        step: PointStep,
        read: BlockRead,
    ) -> PointPlan:
        own = device.points.get(step.name, Point())
        key = f"{where}.points.{step.name}"
        unit = own.unit or point.unit
        quantity = self._quantity(own, point, unit, key)
        silence_s = self._silence_s(own, point, read.interval_ms / 1000, key)
        rules = self._book.rules_of(
            own, quantity=quantity, unit=unit, silence_after_s=silence_s, key=key, report=self._report
        )
        low, high = _range(point, unit)
        en, zh = self._names(device, profile, own, point, key)
        name = self._key(device, quantity, point.suffix, key)
        self.upkeep.add_point(name, quantity, device, own, key)
        return PointPlan(
            key=name,
            quantity=quantity,
            unit=unit,
            kind=step.kind,
            resolution=Fraction(1) if step.resolution is None else step.resolution,
            low=low,
            high=high,
            longest_silence_ms=round(silence_s * 1000),
            device=number,
            en=en,
            zh=zh,
            rules=rules,
        )

    def _deadline_ms(self, device: Device, read: BlockRead, first: int, where: str) -> int:
        """Returns the shortest deadline of a block's points with limits; 0: none is stated."""
        found = []
        for step, point in zip(read.points, self.points[first:], strict=True):
            own = device.points.get(step.name, Point()).deadline_s
            if point.rules.limits:
                found.append(own or device.deadline_s)
            elif own is not None:
                self._report.warning(f"{where}.points.{step.name}.deadline_s", "counts for nothing: no limit is set")
        return min((round(1000 * deadline) for deadline in found if deadline is not None), default=0)

    def _quantity(self, own: Point, point: PointProfile, unit: str, key: str) -> str:
        """What the point measures: as the profile says, or as the site does where the profile cannot know."""
        quantity = own.quantity or point.quantity
        known = QUANTITIES.get(quantity)
        if known is None:
            self._report.problem(f"{key}.quantity", f"{quantity!r} is not known; known are {', '.join(QUANTITIES)}")
            return point.quantity
        is_gas = quantity in _GASES and point.quantity in _GASES
        fits = unit not in UNITS or UNITS[known.unit].dimension == UNITS[unit].dimension
        if own.quantity is not None and not is_gas and not fits:
            message = f"{quantity!r} is not measured in {unit!r}; one that is, like {point.quantity!r}, would be right"
            self._report.problem(f"{key}.quantity", message)
        return quantity

    def take_key(self, device: Device, quantity: str, suffix: str | None, where: str) -> str:
        """Returns the key of a point that is computed, checked like that of one that is read."""
        return self._key(device, quantity, suffix, where)

    def _key(self, device: Device, quantity: str, suffix: str | None, where: str) -> str:
        key = f"{device.id}/{quantity}" if suffix is None else f"{device.id}/{quantity}/{suffix}"
        if not is_point_key(key):
            self._report.problem(where, f"its key {key!r} is longer than 64 bytes; a shorter device id would be right")
        if key in self._keys:
            message = f"another point has the key {key!r} already; another quantity would be right"
            self._report.problem(f"{where}.quantity", message)
        self._keys.add(key)
        return key

    def _silence_s(self, own: Point, point: PointProfile, interval_s: float, key: str) -> float:
        if own.longest_silence_s is None:
            return max(point.longest_silence_s, _DEFAULT_SILENT_INTERVALS * interval_s)
        least = _LEAST_SILENT_INTERVALS * interval_s
        if own.longest_silence_s < least:
            message = f"{own.longest_silence_s:g} s is silence all the time with a reading every {interval_s:g} s"
            self._report.problem(f"{key}.longest_silence_s", f"{message}; {least:g} s or more would be right")
        return own.longest_silence_s

    def _names(self, device: Device, profile: Profile, own: Point, point: PointProfile, key: str) -> tuple[str, str]:
        """Names that stand alone, as on a duty officer's telephone: device and point."""
        if own.name is not None:
            return own.name.en, own.name.zh
        place = device.name or profile.names
        what = point.names if own.quantity is None else QUANTITIES.get(own.quantity, point.names)
        names = f"{place.en} · {what.en}", f"{place.zh} · {what.zh}"
        if any(len(name.encode()) > _NAME_BYTES for name in names):
            message = f"device and point name together are longer than {_NAME_BYTES} bytes; a name here would be right"
            self._report.problem(f"{key}.name", message)
        return names


def spread_phases(blocks: list[BlockPlan], lines: list[int | None]) -> list[BlockPlan]:
    """Returns the blocks with those of one line evenly apart, and those of one device far from each other.

    Blocks of one interval share it evenly; blocks of other intervals begin in between.

    Args:
        blocks: of the whole plan.
        lines: per device the number of its line; None for a device that has its own connection.
    """
    groups: dict[int, dict[int, list[int]]] = {}
    turns: dict[tuple[int, int], int] = {}
    order: dict[int, tuple[int, int]] = {}
    for number, block in enumerate(blocks):
        line = lines[block.device]
        if line is None:
            continue
        groups.setdefault(line, {}).setdefault(block.interval_ms, []).append(number)
        # The first block of every device, then the second of every device, and so on.
        turn = turns.get((block.device, block.interval_ms), 0)
        turns[block.device, block.interval_ms] = turn + 1
        order[number] = turn, number
    spread = list(blocks)
    for intervals in groups.values():
        step_ms = min(interval_ms // len(numbers) for interval_ms, numbers in intervals.items())
        for place, (interval_ms, numbers) in enumerate(sorted(intervals.items())):
            begin_ms = place * step_ms // len(intervals)
            for turn, number in enumerate(sorted(numbers, key=order.__getitem__)):
                phase_ms = (begin_ms + turn * interval_ms // len(numbers)) % interval_ms
                spread[number] = replace(blocks[number], phase_ms=phase_ms)
    return spread


def _range(point: PointProfile, unit: str) -> tuple[float | None, float | None]:
    """The instrument's range in the configured unit; none where the two do not convert."""
    try:
        factor = conversion(point.unit, unit)
    except ContractError:
        return None, None
    ends = (point.range.low, point.range.high)
    low, high = (None if end is None else float(Fraction(end) * factor) for end in ends)
    return low, high
