"""What a poller leaves to the one that takes its place when the plan of its port changes: so that a device
that did not change does not notice.

The port stays open, and with it what it knows of replies that may still come.  A device that is asked as
before keeps its counters, its latencies, and where it stands; a block that is read as before keeps its next
tick, a second attempt that waits, and what it was refused.  All else begins anew.  Pure but for
changing the records that it is handed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drivers.port import BusPort
from edge_agent.bus.counters import PortCounters
from edge_agent.bus.polled import PolledBlock, PolledDevice
from edge_agent.bus.probes import ProbeAccount
from edge_agent.bus.schedule import Schedule
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """What one poller leaves."""

    #: open
    port: BusPort
    devices: Sequence[PolledDevice]
    blocks: Sequence[PolledBlock]
    schedule: Schedule
    counters: PortCounters
    probes: ProbeAccount
    #: why the port is away; empty while it is there
    away_because: str
    gateway_failures: int
    #: monotonic us
    gateway_from_us: int


def as_asked(device: DevicePlan) -> DevicePlan:
    """Returns a device as its line sees it: names, proofs and rights are no part of that, nor is its place."""
    return replace(device, port=0, en="", zh="", serial="", proved="nothing", confidence="", allow_write=False)


def as_read(block: BlockPlan) -> tuple[object, ...]:
    """Returns a block as its line sees it."""
    return block.read, block.interval_ms, block.phase_ms


def take_over(
    estate: Estate, devices: Mapping[int, PolledDevice], blocks: Sequence[PolledBlock]
) -> tuple[dict[int, int], dict[int, int]]:
    """Lets new devices and blocks go on where the old ones stood.

    Args:
        devices: of the new poller, by position in its plan.
        blocks: of the new poller.

    Returns:
        Place in the old schedule -> place in the new one; device -> until when it may not be asked, monotonic ms.
    """
    by_id = {device.plan.id: device for device in estate.devices}
    by_unit = {device.plan.unit_id: device for device in estate.devices}
    #: old device -> new one, where it is asked as before
    heirs: dict[int, PolledDevice] = {}
    held: dict[int, int] = {}
    for place, device in devices.items():
        before = by_id.get(device.plan.id)
        if before is not None and as_asked(before.plan) == as_asked(device.plan):
            device.inherit(before)
            heirs[before.place] = device
        elif (same_unit := by_unit.get(device.plan.unit_id)) is not None:
            # Another profile, the same unit: it wants its pause all the same.
            device.free_us = same_unit.free_us
        if device.free_us:
            held[place] = -(-device.free_us // 1000)
    waiting: dict[tuple[int, tuple[object, ...]], list[PolledBlock]] = {}
    for block in blocks:
        waiting.setdefault((block.device.place, as_read(block.plan)), []).append(block)
    places: dict[int, int] = {}
    for old in estate.blocks:
        heir = heirs.get(old.device.place)
        found = [] if heir is None else waiting.get((heir.place, as_read(old.plan)), [])
        if found:
            new = found.pop(0)
            new.inherit(old)
            places[old.place] = new.place
    return places, held
