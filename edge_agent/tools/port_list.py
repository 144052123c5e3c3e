"""The serial ports of this machine as a scan without a port shows them: what they are, who holds them, what they carry.

It sends nothing.  A free port is opened and listened to for a moment; a port that somebody holds is not touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.port import RawPort
from drivers.serial_ports import FoundPort
from drivers.serial_wire import LineSettings
from edge_agent.borrowed_port import lent_ports
from edge_agent.errors import NotRunningError, ToolError
from edge_agent.tools.scan_plan import Settings
from edge_agent.tools.where import Make, OwnLine

#: how long each free port is listened to (seconds)
IDLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPort:
    """One port for a person."""

    port: FoundPort
    #: id in the running agent's configuration; empty where it has none
    agent_port: str
    #: bytes heard without sending; None where it could not be listened to
    idle_bytes: int | None
    #: why it could not
    because: str = ""


def silent_line(settings: LineSettings) -> RawPort:
    """Returns a serial port of this machine, closed, with RTS off: an adapter that sends by it keeps off the line."""
    from drivers.line import SerialLine
    from drivers.serial_wire import SerialWire

    return SerialLine(settings, wire=SerialWire(settings, sends=False))


async def listed(
    ports: Sequence[FoundPort], agent_ports: dict[str, str], make: Make = silent_line, seconds: float = IDLE_S
) -> list[ListedPort]:
    """Returns every port with what it carries while nobody asks, all listened to at once.

    Args:
        ports: what there is.
        agent_ports: device file -> id of the running agent's port.
        make: settings -> port.
        seconds: how long to listen.
    """
    return list(await asyncio.gather(*(_one(port, agent_ports, make, seconds) for port in ports)))


async def _one(port: FoundPort, agent_ports: dict[str, str], make: Make, seconds: float) -> ListedPort:
    agent_port = agent_ports.get(port.path, "")
    if agent_port or port.holders.found or not port.is_permitted:
        return ListedPort(port=port, agent_port=agent_port, idle_bytes=None)
    line = OwnLine(port.path, Settings(), make)
    try:
        asker = await line.at(line.settings)
        heard = await asker.overhear(seconds)
    except ToolError as error:
        return ListedPort(port=port, agent_port=agent_port, idle_bytes=None, because=str(error))
    finally:
        await line.close()
    return ListedPort(port=port, agent_port=agent_port, idle_bytes=sum(len(data) for _, data in heard))


def agent_ports(socket: Path | None, real: Callable[[str], str]) -> dict[str, str]:
    """Returns device file -> port id of the running agent; empty where none runs."""
    if socket is None:
        return {}
    try:
        return {real(port.device): port.id for port in lent_ports(socket) if port.device}
    except NotRunningError:
        return {}
