"""From a port's plan to a bus port; nothing is opened.

Adapters are imported when the first port needs them: a gateway with one serial line never
loads the TCP client.
"""

from __future__ import annotations

from drivers.port import BusPort
from edge_agent.plan import PortPlan


def make_port(plan: PortPlan) -> BusPort:
    """Returns the port that a plan describes, closed."""
    if plan.kind == "tcp":
        from drivers.tcp import TcpPort

        return TcpPort(plan.host, plan.port)
    from drivers.line import SerialLine
    from drivers.serial_wire import LineSettings

    settings = LineSettings(path=plan.device, baud=plan.baud, parity=plan.parity, stop_bits=plan.stop_bits)
    return SerialLine(settings)
