"""What the annunciator's writes can cost the alarm points of a port: part of the budget.  Pure arithmetic.

An output is switched before everybody (``lending.FIRST``), so its slots come on top of every wait.  Their number is
bounded by the annunciator's own pace (``annunciator.pace`` and ``drive``; the numbers here are the same ones):

* a board that fails: one slow and one quick try in each ``LEAST_S``, each ending with one whole time-out;
* a board that answers: on and off again in each ``LEAST_ON_S``, a look back every ``LOOK_ON_S``, a renewal of
  "agent alive".  It is counted with ``REPLY_S`` for each answer, which is assumed: the makers of relay boards
  state none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.bus.device_state import counted_timeout_s
from edge_agent.bus.request_time import wire_s
from edge_agent.plan_annunciator import LEAST_ON_S, LEAST_S, LOOK_ON_S, OutputPlan
from edge_agent.plan_ports import DevicePlan, PortPlan

#: an answering board's own time for one answer (seconds; assumed), with thread and event loop
REPLY_S = 0.05
#: unit id, function, address, value, CRC, and the same as the answer; a pulse may carry a word more
_WRITE_BYTES = 18
#: a bound beyond this is none (seconds)
_ENDLESS_S = 36_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCost:
    """What one board's outputs cost its line."""

    device: str
    outputs: int
    #: one slot in which all outputs are written and read back, the board answering, seconds
    slot_s: float
    #: what a slot takes longer when the board fails, seconds
    wait_s: float
    #: of "agent alive", seconds; 0: the board has no such output
    renew_s: float
    #: bytes' time and answer of one renewal, seconds
    renewal_s: float

    @property
    def quiet_share(self) -> float:
        """Of the line's time while no alarm stands: renewals alone, and a look back now and then."""
        renewals = self.renewal_s / self.renew_s if self.renew_s else 0.0
        return renewals + self.slot_s / LOOK_ON_S

    def within(self, seconds: float) -> tuple[float, int]:
        """Returns the most time that its slots take within a window, and how many they are."""
        failed = 2 * (1 + int(seconds / LEAST_S))
        good = 2 * (1 + int(seconds / LEAST_ON_S)) + 1 + int(seconds / LOOK_ON_S)
        renewals = 1 + int(seconds / self.renew_s) if self.renew_s else 0
        took = failed * (self.slot_s + self.wait_s) + good * self.slot_s + renewals * self.renewal_s
        return took, failed + good + renewals


def output_costs(port: PortPlan, devices: Mapping[int, DevicePlan], outputs: Sequence[OutputPlan]) -> list[OutputCost]:
    """Returns what the outputs on one port cost, per board.

    Args:
        port: the line.
        devices: of this port, by place in the plan.
        outputs: of the annunciator; those of other ports are left out.
    """
    found = []
    for place, device in devices.items():
        own = [output for output in outputs if output.device == place]
        if not own:
            continue
        write = _exchange_s(port, _WRITE_BYTES)
        reads = {(o.readback.table, o.readback.address, o.readback.count) for o in own if o.readback is not None}
        read_s = sum(_exchange_s(port, 13 + _data_bytes(table, count)) for table, _, count in reads)
        found.append(
            OutputCost(
                device=device.id,
                outputs=len(own),
                slot_s=len(own) * write + read_s,
                wait_s=max(counted_timeout_s(device.timeout_s, device.max_reply_s), port.gateway_timeout_s)
                + port.network_delay_s,
                renew_s=min((output.renew_s for output in own if output.hold_s), default=0.0),
                renewal_s=write,
            )
        )
    return found


def outputs_within(costs: Sequence[OutputCost], known_s: float) -> tuple[float, int]:
    """Returns what all boards' slots add to a wait that lasts ``known_s`` without them, and how many they are."""
    added, count = 0.0, 0
    while True:
        parts = [cost.within(known_s + added) for cost in costs]
        took, count = sum(part[0] for part in parts), sum(part[1] for part in parts)
        if took <= added or took > _ENDLESS_S:
            return max(took, added), count
        added = took


def _exchange_s(port: PortPlan, count: int) -> float:
    return wire_s(port, count) + REPLY_S + port.network_delay_s + port.gap_ms / 1000


def _data_bytes(table: str, count: int) -> int:
    return (count + 7) // 8 if table in ("coil", "discrete") else 2 * count
