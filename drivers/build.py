"""From a profile to plan records: what ``check`` and ``compile`` call for each device.

Pure apart from its types: no file is read here (``drivers.loader`` does) and nothing is
polled.  The daemon never imports it, since profiles need pydantic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from contracts.errors import ContractError
from contracts.quality import BY_REASON, GOOD, INVALID
from contracts.units import conversion
from drivers.errors import PlanError, Problem, ProfileError
from drivers.plan import BlockRead, IdentityRead
from drivers.planner import ForbiddenArea, Limits, WantedPoint, plan_blocks
from drivers.profile import AlarmPoint, GateProfile, PointProfile, Profile
from drivers.steps import DecimalsFrom, FieldRef, Flag, Gate, Heartbeat, PointStep, Sentinel, TriggerStep, UnitFrom
from drivers.words import FLOATS


@dataclass(frozen=True, slots=True, kw_only=True)
class PointChoice:
    """What a site says about one point of a device; ``None`` takes the profile's default."""

    unit: str | None = None
    interval_ms: int | None = None


def plan_device(profile: Profile, choices: Mapping[str, PointChoice] | None = None) -> tuple[BlockRead, ...]:
    """Returns the blocks that read a device.

    Args:
        profile: of the device.
        choices: the points and alarms to read; ``None`` takes all whose ``default`` is true.

    Raises:
        ProfileError: an unknown point, a unit that the instrument cannot have, or limits that
            keep a point apart from what it depends on; lists all.
    """
    points = profile.all_points
    if choices is None:
        choices = {name: PointChoice() for name, point in points.items() if point.default}
    wanted: list[WantedPoint] = []
    problems: list[Problem] = []
    for name, choice in choices.items():
        try:
            wanted.append(_wanted(profile, points, name, choice))
        except ProfileError as error:
            problems.extend(error.problems)
    try:
        blocks = plan_blocks(wanted, profile_limits(profile), source=profile.id)
    except ProfileError as error:
        problems.extend(error.problems)
    if problems:
        raise ProfileError(problems)
    return blocks


def wanted_point(profile: Profile, name: str, choice: PointChoice | None = None) -> WantedPoint:
    """Returns one point or alarm for the planner; raises ProfileError like ``point_step``."""
    return _wanted(profile, profile.all_points, name, choice or PointChoice())


def _wanted(profile: Profile, points: Mapping[str, PointProfile], name: str, choice: PointChoice) -> WantedPoint:
    step = _step(profile, points, name, choice.unit)
    point = points[name]
    trigger = None if point.trigger is None else _trigger(profile, point.trigger)
    interval_ms = choice.interval_ms or point.interval_ms
    return WantedPoint(step=step, table=point.table, interval_ms=interval_ms, trigger=trigger)


def profile_limits(profile: Profile) -> Limits:
    """Returns the planner's limits of a device."""
    limits = profile.limits
    return Limits(
        max_registers=limits.max_registers,
        max_gap=limits.max_gap,
        start_multiple=limits.start_multiple,
        forbidden=tuple(ForbiddenArea(table=area.table, first=area.first, last=area.last) for area in limits.forbidden),
    )


def identity_reads(profile: Profile) -> tuple[IdentityRead, ...]:
    """Returns the fields that tell one unit from another, each as a read of its own."""
    return tuple(field_read(profile, name) for name in profile.identity)


def serial_read(profile: Profile) -> IdentityRead | None:
    """Returns the read of the unit's serial number; ``None`` where the device has none to read."""
    return None if profile.serial_number is None else field_read(profile, profile.serial_number)


def field_read(profile: Profile, name: str) -> IdentityRead:
    """Returns one of the profile's fields as a read of its own; raises KeyError for an unknown name."""
    field = profile.fields[name]
    return IdentityRead(
        name=name,
        table=field.table,
        address=field.address,
        count=field.registers,
        data_type=field.type,
        byte_order=field.byte_order,
        encoding=field.encoding,
        mask=field.mask,
        shift=field.shift,
    )


def point_units(point: PointProfile) -> tuple[str, ...]:
    """Returns the UCUM units that a site may configure for a point, the default first."""
    told = point.unit_from.codes.values() if point.unit_from is not None else point.units
    return tuple(dict.fromkeys((point.unit, *told)))


def point_step(profile: Profile, name: str, *, unit: str | None = None) -> PointStep:
    """Returns the step of a point or an alarm with addresses as offsets.

    Args:
        profile: of the device.
        name: profile-local name of the point.
        unit: UCUM unit that the instrument is set to; ``None`` takes the profile's.

    Raises:
        ProfileError: no such point, or the instrument cannot have that unit.
    """
    return _step(profile, profile.all_points, name, unit)


def _step(profile: Profile, points: Mapping[str, PointProfile], name: str, unit: str | None) -> PointStep:
    point = points.get(name)
    if point is None:
        known = ", ".join(points)
        raise _error(profile, f"points.{name}", f"there is no such point; {known} are")
    unit = unit or point.unit
    if unit not in point_units(point):
        raise _error(profile, f"points.{name}.unit", f"{unit!r} cannot be set; {', '.join(point_units(point))} can")
    low, high = _plausible(point, unit)
    try:
        return PointStep(
            name=name,
            offset=point.address,
            data_type=point.type,
            byte_order=point.byte_order,
            multiply=point.multiply,
            add=point.add,
            resolution=None if point.resolution is None else Fraction(point.resolution),
            decimals_from=_decimals_from(profile, point),
            unit_from=_unit_from(profile, point, unit),
            sentinels=tuple(Sentinel(raw=item.raw, code=BY_REASON[item.code]) for item in point.sentinels),
            gates=tuple(_gate(profile, gate) for gate in point.gates),
            low=low,
            high=high,
            flag=_flag(profile, point),
            heartbeat=_heartbeat(profile, point),
        )
    except PlanError as error:
        raise _error(profile, f"points.{name}", str(error)) from error


def _error(profile: Profile, key: str, message: str) -> ProfileError:
    return ProfileError([Problem(file=profile.id, key=key, message=message)])


def _field_ref(profile: Profile, name: str) -> FieldRef:
    field = profile.fields[name]
    return FieldRef(
        offset=field.address,
        data_type=field.type,
        byte_order=field.byte_order,
        mask=field.mask,
        shift=field.shift,
    )


def _gate(profile: Profile, gate: GateProfile) -> Gate:
    field = _field_ref(profile, gate.field)
    if gate.ranges is not None:
        cases = tuple((low, high, BY_REASON[word]) for low, high, word in gate.ranges)
        return Gate(field=field, kind="range", cases=cases, otherwise=_otherwise(gate, INVALID))
    single = gate.enum if gate.enum is not None else gate.bits or {}
    cases = tuple((raw, raw, BY_REASON[word]) for raw, word in single.items())
    if gate.enum is not None:
        return Gate(field=field, kind="enum", cases=cases, otherwise=_otherwise(gate, INVALID))
    return Gate(field=field, kind="bits", cases=cases, otherwise=_otherwise(gate, GOOD))


def _flag(profile: Profile, point: PointProfile) -> Flag | None:
    if not isinstance(point, AlarmPoint):
        return None
    field, alarm = profile.fields[point.alarm.field], point.alarm
    return Flag(kind="bits" if alarm.bits else "range", cases=alarm.cases, mask=field.mask, shift=field.shift)


def _heartbeat(profile: Profile, point: PointProfile) -> Heartbeat | None:
    told = point.heartbeat
    if told is None:
        return None
    return Heartbeat(field=_field_ref(profile, told.field), still_ms=round(told.still_s * 1000))


def _trigger(profile: Profile, name: str) -> TriggerStep:
    trigger = profile.triggers[name]
    return TriggerStep(
        function=trigger.function,
        address=trigger.address,
        values=trigger.values,
        wait_ms=trigger.wait_ms,
        answered=trigger.answered,
    )


def _otherwise(gate: GateProfile, default: int) -> int:
    return default if gate.otherwise is None else BY_REASON[gate.otherwise]


def _decimals_from(profile: Profile, point: PointProfile) -> DecimalsFrom | None:
    told = point.decimals_from
    if told is None:
        return None
    return DecimalsFrom(
        field=_field_ref(profile, told.field),
        decimals=tuple(told.codes.items()),
        finest=max(told.codes.values(), default=0),
    )


def _unit_from(profile: Profile, point: PointProfile, unit: str) -> UnitFrom | None:
    told = point.unit_from
    if told is None:
        return None
    accepted = tuple(code for code, ucum in told.codes.items() if ucum == unit)
    return UnitFrom(field=_field_ref(profile, told.field), accepted=accepted)


def _plausible(point: PointProfile, unit: str) -> tuple[int | float | None, int | float | None]:
    """The plausible bounds in counts, or in the unit for floats; none where the unit cannot be converted."""
    try:
        factor = conversion(point.unit, unit)
    except ContractError:
        return None, None
    low, high = (None if end is None else Fraction(end) * factor for end in (point.plausible.low, point.plausible.high))
    if point.type in FLOATS:
        return None if low is None else float(low), None if high is None else float(high)
    step = Fraction(point.resolution or "1")
    return None if low is None else math.ceil(low / step), None if high is None else math.floor(high / step)
