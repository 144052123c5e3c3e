"""Which line a command means: a port of the running agent, borrowed, or one that is opened here.

A name can be an id of the site file, a device file, or ``HOST:PORT`` of a Modbus TCP device.  Where the
running agent polls that port its schedule has the line, so it is borrowed; else it is opened here.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.port import BusPort, RawPort, RawRequest
from drivers.rs485 import Rs485Settings
from drivers.serial_wire import LineSettings
from edge_agent.borrowed_port import BorrowedPort, LentPort, lent_ports
from edge_agent.commands.place import config_path, state_dir
from edge_agent.errors import ConfigError, NotRunningError, ToolError
from edge_agent.state_dir import CONTROL
from edge_agent.tools.asking import Asker
from edge_agent.tools.evidence import LineErrors
from edge_agent.tools.scan_plan import Settings

_PARITY = {"none": "N", "even": "E", "odd": "O"}
#: a borrowed line is given back after so long, for the agent's own reads (seconds)
_BORROWED_SLICE_S = 0.25
#: kind of a borrowed port -> what is added to each wait: its thread may be busy when the frame leaves, and a
#: network lies between the agent and a serial server or a DTU (seconds)
_BORROWED_EXTRA_S = {"serial": 0.02, "rtu-tcp": 0.2, "dtu": 1.0}

Make = Callable[[LineSettings], RawPort]


def serial_line(settings: LineSettings) -> RawPort:
    """Returns a serial port of this machine, closed."""
    from drivers.line import SerialLine

    return SerialLine(settings)


class OwnLine:
    """A serial port that is opened here."""

    is_borrowed = False

    def __init__(self, path: str, settings: Settings, make: Make = serial_line) -> None:
        """Takes the device file and how it is set; opens nothing."""
        self.path = path
        self.settings = settings
        #: unit id -> id of the device, where somebody else polls it
        self.polled: dict[int, str] = {}
        #: id in the site file; empty where it is none
        self.port_id = ""
        self._make = make
        self._port: RawPort | None = None
        self._now: Settings | None = None

    async def at(self, settings: Settings) -> Asker:
        """Returns the line with these settings; opens it anew where it has others."""
        if self._port is None or self._now != settings:
            await self.close()
            self._port, self._now = self._make(settings.line(self.path)), settings
            await self._port.open()
        return Asker(port=self._port, char_s=settings.char_s)

    async def close(self) -> None:
        """Closes the port; safe to call twice."""
        port, self._port, self._now = self._port, None, None
        if port is not None:
            await port.close()

    async def errors(self) -> LineErrors | None:
        """Returns what the receiver counted since the system was started; None where the driver does not tell."""
        settings = self._now or self.settings
        # The driver's counters outlive the open file, and a fresh open reads them at once.
        await self.close()
        asker = await self.at(settings)
        await asker.port.raw(RawRequest(frame=b"", listen_s=0.001))
        report = getattr(asker.port, "electronics", None)
        counters = None if report is None else report().counters
        if counters is None or not hasattr(counters, "frame"):
            return None
        return LineErrors(
            frame=counters.frame, parity=counters.parity, breaks=counters.breaks, overrun=counters.overrun
        )

    async def latency_ms(self) -> int | None:
        """Returns how long the adapter may hold bytes back; None where that is not known."""
        asker = await self.at(self._now or self.settings)
        report = getattr(asker.port, "electronics", None)
        found = None if report is None else report().latency_ms
        return found if isinstance(found, int) else None


class BorrowedLine:
    """A line of the running agent, one slot at a time."""

    is_borrowed = True

    def __init__(self, socket: Path, lent: LentPort) -> None:
        """Takes the agent's socket and its port."""
        self.path = lent.device
        self.settings = Settings(baud=lent.baud, parity=lent.parity, stop_bits=lent.stop_bits)
        self.polled = lent.devices
        self.port_id = lent.id
        self._extra_s = _BORROWED_EXTRA_S[lent.kind]
        self._port = BorrowedPort(socket, lent.id)

    async def at(self, settings: Settings) -> Asker:
        """Returns the line; raises ToolError for other settings than it has."""
        if settings != self.settings:
            raise ToolError(f"{self.port_id} is polled at {self.settings}; stop the agent to try {settings}")
        return Asker(
            port=self._port,
            char_s=settings.char_s,
            extra_s=self._extra_s,
            slice_s=_BORROWED_SLICE_S,
        )

    async def close(self) -> None:
        """Does nothing: the agent keeps the port."""

    async def errors(self) -> LineErrors | None:
        """Returns None: the agent has the receiver."""
        return None

    async def latency_ms(self) -> int | None:
        """Returns None: the agent has the adapter."""
        return None


ToolLine = OwnLine | BorrowedLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a port's name turned out to be."""

    #: the running agent's, or None
    lent: LentPort | None = None
    socket: Path | None = None
    #: an own serial port: path, settings
    path: str = ""
    settings: Settings | None = None
    #: the kernel switches its direction, as the site file says
    rs485: Rs485Settings | None = None
    #: id in the site file, of a serial port or a TCP device; empty where it is none
    port_id: str = ""
    #: an own TCP device
    host: str = ""
    tcp_port: int = 0


def named(options: argparse.Namespace) -> Named:
    """Returns what ``options.port`` names.

    Raises:
        ControlError: the agent's socket may not be used by this user.
        ToolError: there is no such port.
    """
    name: str = options.port
    address = _address(name)
    socket = agent_socket(options)
    if socket is not None:
        try:
            for lent in lent_ports(socket):
                is_same_line = bool(lent.device) and _same_device(name, lent.device)
                if name == lent.id or is_same_line or address == (lent.host, lent.tcp_port):
                    return Named(lent=lent, socket=socket)
        except NotRunningError:
            pass
    found = _in_site_file(options, name)
    if found is not None:
        return found
    if address is not None:
        return Named(host=address[0], tcp_port=address[1])
    if "/" not in name:
        raise ToolError(f"there is no port {name!r}: give its id in the site file, or a device such as /dev/ttyUSB0")
    return Named(path=name, settings=_settings(options, Settings()))


def line_of(found: Named, options: argparse.Namespace, make: Make = serial_line) -> ToolLine:
    """Returns the line for a tool that reads bytes.

    Raises:
        ToolError: it is no line of RTU frames, or its settings cannot be changed.
    """
    if found.lent is not None and found.socket is not None:
        if found.lent.kind == "tcp":
            raise ToolError(f"{found.lent.id} is a Modbus TCP port; scan and doctor are for serial lines")
        line = BorrowedLine(found.socket, found.lent)
        wanted = _settings(options, line.settings)
        if wanted != line.settings:
            raise ToolError(
                f"{line.port_id} is polled by the running agent at {line.settings}; stop the agent to try {wanted}"
            )
        return line
    if found.host or found.settings is None:
        raise ToolError(f"{options.port} is a Modbus TCP device; scan and doctor are for serial lines")
    own = OwnLine(found.path, found.settings, lambda settings: make(replace(settings, rs485=found.rs485)))
    own.port_id = found.port_id
    return own


def port_of(found: Named) -> BusPort:
    """Returns the port for a tool that reads registers, closed."""
    if found.lent is not None and found.socket is not None:
        return BorrowedPort(found.socket, found.lent.id)
    from edge_agent.plan_ports import PortPlan
    from edge_agent.ports import make_port

    if found.host:
        return make_port(PortPlan(id="tcp", kind="tcp", host=found.host, port=found.tcp_port))
    assert found.settings is not None
    return serial_line(replace(found.settings.line(found.path), rs485=found.rs485))


def agent_socket(options: argparse.Namespace) -> Path | None:
    """Returns where the agent's socket would be; None where no site file tells."""
    try:
        return state_dir(options) / CONTROL
    except ConfigError:
        # No site file yet: a technician scans before there is one.
        return None


def _address(name: str) -> tuple[str, int] | None:
    """Returns host and port of ``HOST:PORT``; None for any other name."""
    host, _, number = name.rpartition(":")
    if not host or "/" in name or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 65536:
        return None
    return host.strip("[]"), int(number)


def _same_device(name: str, device: str) -> bool:
    return os.path.realpath(name) == os.path.realpath(device)


def _in_site_file(options: argparse.Namespace, name: str) -> Named | None:
    path = config_path(options)
    if not path.exists():
        return None
    from edge_agent.config import read_site

    folder = path.absolute().parent
    for port in read_site(path).port:
        device = str(folder / port.device) if port.kind == "serial" else ""
        is_same_line = bool(device) and _same_device(name, device)
        if port.kind in ("tcp", "rtu-tcp"):
            is_same_line = _address(name) == (port.host, port.port)
        if port.id != name and not is_same_line:
            continue
        if port.kind == "tcp":
            return Named(host=port.host, tcp_port=port.port, port_id=port.id)
        if port.kind != "serial":
            raise ToolError(f"{name} is of kind {port.kind}; start the agent, then its port is borrowed from there")
        if port.listen_only:
            raise ToolError(
                f"{port.id} is only listened to (listen_only = true in {path}): another controller owns its bus, and "
                "nothing may be sent there"
            )
        own = Settings(baud=port.baud, parity=_PARITY[port.parity], stop_bits=port.stop_bits)
        return Named(path=device, settings=_settings(options, own), rs485=port.switching, port_id=port.id)
    return None


def _settings(options: argparse.Namespace, own: Settings) -> Settings:
    """Returns the settings that the command line names, else those that the port has."""
    parity = getattr(options, "parity", None)
    return Settings(
        baud=getattr(options, "baud", None) or own.baud,
        parity=own.parity if parity is None else _PARITY[parity],
        stop_bits=getattr(options, "stop_bits", None) or own.stop_bits,
    )
