"""What differs between two plans, as a reload needs it.  Pure: nothing is stopped or started here.

Of a port there are three cases: it is read as before and does not notice; its line is as before and
other devices or blocks are on it, then its poller is replaced and the line stays open
(``bus.handover``); or the line itself differs, then it is closed and opened.

Compiling spreads the blocks of a line evenly over their interval, so one more device would move
everybody's grid.  ``keep_phases`` lets blocks that are read as before keep their phase; a new
block gets the middle of the widest gap.  A start compiles without it and spreads evenly again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_agent.bus.handover import as_asked
from edge_agent.plan import BlockPlan, Plan
from edge_agent.plan_ports import DevicePlan, PortPlan
from rules.point_state import PointRules

#: what is judged is no part of what is read
_NO_RULES = PointRules()
#: old block number -> new one
Numbers = dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a reload has to touch."""

    #: ports that do not notice, with their block numbers
    same: Mapping[str, Numbers]
    #: ports whose line stays open
    handed: tuple[str, ...]
    #: ports that are closed
    closed: tuple[str, ...]
    #: ids of devices
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def difference(old: Plan, new: Plan) -> Difference:
    """Returns what differs from ``old`` to ``new``."""
    same = unchanged_ports(old, new)
    new_ports = {port.id: (place, port) for place, port in enumerate(new.ports)}
    handed: list[str] = []
    closed: list[str] = []
    for port in old.ports:
        if port.id in same:
            continue
        place, other = new_ports.get(port.id, (-1, None))
        is_kept = port == other and not port.listen_only and bool(_blocks_on(new, place))
        (handed if is_kept else closed).append(port.id)
    before, after = _devices(old), _devices(new)
    return Difference(
        same=same,
        handed=tuple(handed),
        closed=tuple(closed),
        added=tuple(id for id in after if id not in before),
        removed=tuple(id for id in before if id not in after),
        changed=tuple(id for id in after if id in before and after[id] != before[id]),
    )


def unchanged_ports(old: Plan, new: Plan) -> dict[str, Numbers]:
    """Returns the ports that both plans read alike, with their old block numbers and the new ones."""
    found = {}
    for place, port in enumerate(old.ports):
        mapping = _same_port(old, new, place, port)
        if mapping is not None:
            found[port.id] = mapping
    return found


def same_rows(old: Plan, new: Plan) -> Numbers:
    """Returns the blocks whose rows mean the same in both plans: the same points, counted alike."""
    places = {_row_of(new, block.points): number for number, block in enumerate(new.row_blocks)}
    found = {}
    for number, block in enumerate(old.row_blocks):
        place = places.get(_row_of(old, block.points))
        if place is not None:
            found[number] = place
    return found


def same_bursts(old: Plan, new: Plan) -> bool:
    """Returns whether every burst goes on as it is: same device, same channels, same numbers of its blocks."""
    if old.bursts != new.bursts or len(old.blocks) != len(new.blocks):
        return False
    return all(_burst_of(old, place) == _burst_of(new, place) for place in range(len(old.bursts)))


def keep_phases(old: Plan, new: Plan) -> Plan:
    """Returns ``new`` with the phases that ``old`` has, wherever a block is read as before."""
    old_ports = {port.id: place for place, port in enumerate(old.ports)}
    kept: dict[tuple[object, ...], list[int]] = {}
    for block in old.blocks:
        device = old.devices[block.device]
        kept.setdefault((device.port, as_asked(device), block.read, block.interval_ms), []).append(block.phase_ms)
    blocks = list(new.blocks)
    fresh: list[int] = []
    taken: dict[tuple[int, int], list[int]] = {}
    for number, block in enumerate(new.blocks):
        device = new.devices[block.device]
        place = old_ports.get(new.ports[device.port].id)
        phases = kept.get((place, as_asked(device), block.read, block.interval_ms))
        if phases:
            blocks[number] = replace(block, phase_ms=phases.pop(0))
            taken.setdefault((device.port, block.interval_ms), []).append(blocks[number].phase_ms)
        else:
            fresh.append(number)
    for number in fresh:
        block = new.blocks[number]
        others = taken.get((new.devices[block.device].port, block.interval_ms))
        if others:
            blocks[number] = replace(block, phase_ms=widest_gap(others, block.interval_ms))
            others.append(blocks[number].phase_ms)
    return replace(new, blocks=tuple(blocks)) if blocks != list(new.blocks) else new


def widest_gap(phases: Sequence[int], interval_ms: int) -> int:
    """Returns the middle of the widest gap between phases on a circle of ``interval_ms``."""
    ordered = sorted(set(phases))
    gaps = [
        ((after - before) % interval_ms or interval_ms, before)
        for before, after in zip(ordered, [*ordered[1:], ordered[0]], strict=True)
    ]
    width, before = max(gaps, key=lambda gap: (gap[0], -gap[1]))
    return (before + width // 2) % interval_ms


def _blocks_on(plan: Plan, port: int) -> dict[int, BlockPlan]:
    return {number: block for number, block in enumerate(plan.blocks) if plan.devices[block.device].port == port}


def _same_port(old: Plan, new: Plan, place: int, port: PortPlan) -> Numbers | None:
    new_place = next((i for i, other in enumerate(new.ports) if other.id == port.id), None)
    if new_place is None or port != new.ports[new_place]:
        return None
    old_blocks, new_blocks = _blocks_on(old, place), _blocks_on(new, new_place)
    if len(old_blocks) != len(new_blocks):
        return None
    mapping = {}
    for (number, block), (new_number, new_block) in zip(old_blocks.items(), new_blocks.items(), strict=True):
        if _as_read(old, block) != _as_read(new, new_block):
            return None
        mapping[number] = new_number
    return mapping


def _as_read(plan: Plan, block: BlockPlan) -> tuple[object, ...]:
    """Returns all that a poller goes by; places in the plan's lists are no part of it."""
    return (
        replace(plan.devices[block.device], port=0),
        block.read,
        block.interval_ms,
        block.phase_ms,
        block.is_alarm,
        block.deadline_ms,
        _row_of(plan, block.points),
    )


def _row_of(plan: Plan, points: Sequence[int]) -> tuple[object, ...]:
    return tuple(
        (plan.points[number].key, plan.points[number].kind, plan.points[number].resolution) for number in points
    )


def _burst_of(plan: Plan, place: int) -> tuple[object, ...]:
    number = plan.bursts[place].device
    device = plan.devices[number]
    points = [replace(point, rules=_NO_RULES) for point in plan.points if point.device == number]
    return device, plan.ports[device.port], points


def _devices(plan: Plan) -> dict[str, tuple[object, ...]]:
    """Returns all that is said of each device, without places in the plan's lists."""
    reads: dict[int, list[object]] = {}
    for block in plan.blocks:
        reads.setdefault(block.device, []).append(_as_read(plan, block))
    points: dict[int, list[object]] = {}
    for point in plan.points:
        points.setdefault(point.device, []).append(replace(point, device=0))
    return {
        device.id: (_line(plan, device), replace(device, port=0), reads.get(place), points.get(place))
        for place, device in enumerate(plan.devices)
    }


def _line(plan: Plan, device: DevicePlan) -> PortPlan:
    return plan.ports[device.port]
