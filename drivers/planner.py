"""Which blocks to read: registers coalesced within a device's limits.

Pure: points with addresses in, blocks out, tested as tables.  It is not a schedule.  A value
is never split between two reads, and a point comes with its companions (status, unit,
decimals) in one reply, because a value and a state of different moments say nothing
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drivers.errors import Problem, ProfileError
from drivers.plan import TABLES, BlockRead
from drivers.steps import PointStep, TriggerStep


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPoint:
    """A point that shall be read; offsets in the step are addresses."""

    step: PointStep
    table: str
    interval_ms: int
    #: write that must come before the read; points of different triggers are never read together
    trigger: TriggerStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForbiddenArea:
    """Addresses first..last of a table that must never be read."""

    table: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may ask of a device."""

    #: registers per request; bit tables take 16 bits for each
    max_registers: int = 125
    #: registers that nobody asked for and one read may run over
    max_gap: int = 0
    #: reads start at a multiple of this
    start_multiple: int = 1
    forbidden: tuple[ForbiddenArea, ...] = ()

    def most(self, table: str) -> int:
        """Registers or bits that one request of a table may ask."""
        return min(TABLES[table], self.max_registers * (16 if table in ("coil", "discrete") else 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hull:
    """Addresses low..high-1 that must come in one read, for some points."""

    low: int
    high: int
    points: tuple[WantedPoint, ...]


def plan_blocks(wanted: Iterable[WantedPoint], limits: Limits, *, source: str = "plan") -> tuple[BlockRead, ...]:
    """Returns the blocks that bring every wanted point exactly once.

    Points of one table, interval and trigger are joined while the block stays within the limits;
    blocks are ordered by table, interval, trigger (none first) and address.

    Args:
        wanted: points with addresses; names must be unique.
        limits: of the device.
        source: file or profile named in errors.

    Raises:
        ProfileError: a point and its companions cannot come in one read; lists every such point.
    """
    groups: dict[tuple[str, int, _TriggerKey], tuple[TriggerStep | None, list[_Hull]]] = {}
    problems: list[Problem] = []
    for point in wanted:
        hull = _hull_of(point, limits)
        problem = _hull_problem(hull, point, limits)
        if problem is not None:
            problems.append(Problem(file=source, key=f"points.{point.step.name}", message=problem))
        key = point.table, point.interval_ms, _trigger_key(point.trigger)
        groups.setdefault(key, (point.trigger, []))[1].append(hull)
    if problems:
        raise ProfileError(problems)
    blocks: list[BlockRead] = []
    for (table, interval_ms, _), (trigger, hulls) in sorted(groups.items(), key=lambda item: item[0]):
        blocks.extend(_block(hull, table, interval_ms, trigger) for hull in _joined(hulls, table, limits))
    return tuple(blocks)


_TriggerKey = tuple[int, int, tuple[int, ...], int, bool] | tuple[()]


def _trigger_key(trigger: TriggerStep | None) -> _TriggerKey:
    if trigger is None:
        return ()
    return trigger.function, trigger.address, trigger.values, trigger.wait_ms, trigger.answered


def _hull_of(point: WantedPoint, limits: Limits) -> _Hull:
    spans = point.step.spans
    low = min(offset for offset, _ in spans)
    return _Hull(
        low=low - low % limits.start_multiple, high=max(offset + length for offset, length in spans), points=(point,)
    )


def _hull_problem(hull: _Hull, point: WantedPoint, limits: Limits) -> str | None:
    count, most = hull.high - hull.low, limits.most(point.table)
    place = f"{point.table} {hull.low}..{hull.high - 1}"
    if count > most:
        return f"the value and what it depends on need {place}, {count} in one read; the device allows {most}"
    if _touches_forbidden(hull.low, hull.high, point.table, limits):
        return f"the value and what it depends on need {place}, which runs over a forbidden area"
    gap = _widest_gap(point)
    if gap > limits.max_gap:
        return (
            f"the value and what it depends on need {place} in one read with a hole of {gap}; "
            f"limits.max_gap allows {limits.max_gap}"
        )
    return None


def _widest_gap(point: WantedPoint) -> int:
    widest, reached = 0, None
    for offset, length in sorted(point.step.spans):
        if reached is not None:
            widest = max(widest, offset - reached)
        reached = max(reached or 0, offset + length)
    return widest


def _touches_forbidden(low: int, high: int, table: str, limits: Limits) -> bool:
    return any(area.table == table and area.first < high and area.last >= low for area in limits.forbidden)


def _joined(hulls: list[_Hull], table: str, limits: Limits) -> list[_Hull]:
    done: list[_Hull] = []
    for hull in sorted(hulls, key=lambda item: (item.low, item.high)):
        if done and _can_join(done[-1], hull, table, limits):
            last = done[-1]
            done[-1] = _Hull(low=last.low, high=max(last.high, hull.high), points=last.points + hull.points)
        else:
            done.append(hull)
    return done


def _can_join(last: _Hull, hull: _Hull, table: str, limits: Limits) -> bool:
    high = max(last.high, hull.high)
    return (
        hull.low - last.high <= limits.max_gap
        and high - last.low <= limits.most(table)
        and not _touches_forbidden(last.low, high, table, limits)
    )


def _block(hull: _Hull, table: str, interval_ms: int, trigger: TriggerStep | None) -> BlockRead:
    points = sorted(hull.points, key=lambda point: (point.step.offset, point.step.name))
    return BlockRead(
        table=table,
        address=hull.low,
        count=hull.high - hull.low,
        interval_ms=interval_ms,
        points=tuple(point.step.moved(-hull.low) for point in points),
        trigger=trigger,
    )
