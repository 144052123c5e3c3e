"""From the plan of a port that somebody else owns to what listens to it; nothing is opened.

Apart from ``ports.py`` so that a gateway that owns all its buses never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivers.listen import Hear, ListenLine
from drivers.overheard import LONGEST_REPLY_S
from drivers.serial_wire import LineSettings
from edge_agent.bus.listener import Listener
from edge_agent.bus.poller import Sink
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan, PortPlan


def make_listener(
    port: PortPlan, devices: Sequence[DevicePlan], blocks: Mapping[int, BlockPlan], sink: Sink
) -> Listener:
    """Returns the listener of a serial port.

    Args:
        port: with ``listen_only``.
        devices: of the whole plan; blocks name them by position.
        blocks: of this port, by number.
        sink: takes every row.
    """
    settings = LineSettings(path=port.device, baud=port.baud, parity=port.parity, stop_bits=port.stop_bits)

    used = [devices[place] for place in {block.device for block in blocks.values()}]
    slow = {device.unit_id: device.max_reply_s for device in used if device.max_reply_s > LONGEST_REPLY_S}

    def make_line(hear: Hear) -> ListenLine:
        return ListenLine(settings, hear, slow_units=slow)

    return Listener(port_id=port.id, make_line=make_line, devices=devices, blocks=blocks, sink=sink)
