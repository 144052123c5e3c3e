"""What may be written on a bus that this gateway reads.  Pure.

A device takes writes only where the site file says ``allow_write = true`` for it.  An address that no
device of the site has is the technician's: a new unit gets its number there.  A broadcast reaches every unit, so
all devices of the port must allow it.  A port that is only listened to takes nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.plan import Plan

BROADCAST = 0


def why_not(plan: Plan, port_id: str, unit_ids: Sequence[int]) -> str:
    """Returns why these addresses may not be written to on a port, or nothing where they may.

    Args:
        plan: that runs.
        port_id: of the port; one that the plan does not have is free.
        unit_ids: all addresses that the write names: where it goes to, and what a unit is to be called.
    """
    place = next((place for place, port in enumerate(plan.ports) if port.id == port_id), None)
    if place is None:
        return ""
    if plan.ports[place].listen_only:
        return f"port {port_id} is only listened to; another controller owns its bus"
    for device in plan.devices:
        if device.port != place or device.allow_write:
            continue
        if BROADCAST in unit_ids:
            return (
                f"a broadcast reaches {device.id}, which may not be written to; {_RIGHT} for every device of the port"
            )
        if device.unit_id in unit_ids:
            return f"address {device.unit_id} is {device.id}, which may not be written to; {_RIGHT}"
    return ""


_RIGHT = "allow_write = true in the site file would allow it"
