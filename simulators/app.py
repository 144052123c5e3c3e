"""Wires a simulator together and runs it: lines, world, link proxy, control socket.

The only place that knows all of them.  Constructors open nothing; ``start`` does, ``stop`` may be
called twice.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulators.bus_owner import OwnedBus
from simulators.control import ControlServer, required
from simulators.dtu_client import DtuClient
from simulators.errors import SimulatorError
from simulators.link_proxy import LinkProxy
from simulators.plant import DtuLine, Plant, RtuTcpLine, SerialLine, TcpLine
from simulators.rtu_server import RtuBus
from simulators.rtu_tcp_server import RtuTcpServer
from simulators.scenario import LinkState, Scenario, load_scenario
from simulators.signals import STATES
from simulators.tcp_server import TcpServer
from simulators.world import World

#: how often the scenario's wish for the link is looked at, seconds
LINK_TICK_S = 0.1


class Simulator:
    """A running plant."""

    def __init__(
        self,
        plant: Plant,
        *,
        scenarios: Sequence[Scenario] = (),
        scenario_folder: Path,
        control: Path | None = None,
        link: LinkProxy | None = None,
    ) -> None:
        """Builds everything; opens nothing.

        Raises:
            FileError: the plant lacks something that a scenario needs.
        """
        self.world = World(plant, time.monotonic)
        if scenarios:
            self.world.play(scenarios)
        self.link = link
        self.tcp: list[TcpServer] = []
        self.buses: list[RtuBus | OwnedBus] = []
        #: serial lines behind TCP
        self.far: list[RtuTcpServer | DtuClient] = []
        for line in plant.lines:
            units = {device.unit_id: device.id for device in plant.devices.values() if device.line == line.id}
            if isinstance(line, TcpLine):
                self.tcp.append(TcpServer(line, units, self.world))
            elif isinstance(line, RtuTcpLine):
                self.far.append(RtuTcpServer(line, units, self.world))
            elif isinstance(line, DtuLine):
                self.far.append(DtuClient(line, units, self.world))
            elif isinstance(line, SerialLine) and line.is_owned:
                self.buses.append(OwnedBus(line, [plant.devices[id] for id in units.values()], self.world))
            elif isinstance(line, SerialLine):
                self.buses.append(RtuBus(line, units, self.world))
        self._folder = scenario_folder
        self._control = None if control is None else ControlServer(control, self._handlers())
        self._link_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens every line; raises a SimulatorError, with everything closed again, when one cannot be opened."""
        try:
            for server in (*self.tcp, *self.far):
                await server.start()
            for bus in self.buses:
                bus.start()
            if self.link is not None:
                await self.link.start()
                self._link_task = asyncio.create_task(self._follow_link(self.link))
            if self._control is not None:
                await self._control.start()
        except SimulatorError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Closes everything; safe to call twice."""
        if self._control is not None:
            await self._control.stop()
        task, self._link_task = self._link_task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.link is not None:
            await self.link.stop()
        for server in (*self.tcp, *self.far):
            await server.stop()
        for bus in self.buses:
            bus.stop()

    async def _follow_link(self, link: LinkProxy) -> None:
        """Does with the link what the scenario says; what a person did holds until the scenario's next change."""
        wanted = LinkState()
        while True:
            now = self.world.link()
            if now != wanted:
                wanted = now
                await link.set(now)
            await asyncio.sleep(LINK_TICK_S)

    def _handlers(self) -> dict[str, Any]:
        return {
            "set": self._set,
            "fault": self._fault,
            "link": self._set_link,
            "scenario": self._play,
            "status": self._status,
        }

    async def _set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        point = required(request, "point", str)
        value = required(request, "value", (int, float, str))
        if value == "auto":
            self.world.release(point)
            return {"point": point, "shows": "auto"}
        if isinstance(value, str) and value not in STATES:
            raise SimulatorError(
                f"{value!r} is neither a number nor a state; states are {', '.join(sorted(STATES))}, auto"
            )
        self.world.set_point(point, value)
        return {"point": point, "shows": value}

    async def _fault(self, request: Mapping[str, Any]) -> dict[str, Any]:
        device = required(request, "device", str)
        options = {key: required(request, key, (int, float)) for key in ("delay_s", "code") if key in request}
        self.world.set_fault(device, required(request, "kind", str), is_on=request.get("on") is not False, **options)
        return {"device": device, "faults": list(self.world.faults(device).words())}

    async def _set_link(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.link is None:
            raise SimulatorError("this simulator has no link; start it with --link LISTEN_PORT:BROKER_PORT")
        state = required(request, "state", str)
        if state != "status":
            rate = required(request, "bytes_per_s", int) if state == "slow" else 0
            await self.link.set(LinkState(state=state, bytes_per_s=rate))
        return self._link_facts(self.link)

    async def _play(self, request: Mapping[str, Any]) -> dict[str, Any]:
        names = required(request, "name", str).split(",")
        self.world.play([load_scenario(name.strip(), self._folder) for name in names])
        return self._playing()

    async def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        world = self.world
        devices = {
            device.id: {
                "profile": device.image.profile_id,
                "line": device.line,
                "unit_id": device.unit_id,
                "shows": world.shown(device.id),
                "faults": list(world.faults(device.id).words()),
                "requests": world.counts[device.id].requests,
                "replies": world.counts[device.id].replies,
                "exceptions": world.counts[device.id].exceptions,
                **({"outputs": world.outputs(device.id)} if device.id in world.boards else {}),
            }
            for device in world.plant.devices.values()
        }
        return {
            "devices": devices,
            "set_by_hand": list(world.by_hand()),
            "lines": {server.line.id: {"port": server.port} for server in self.tcp}
            | {far.line.id: far.facts() for far in self.far}
            | {bus.line.id: _bus_facts(bus) for bus in self.buses},
            "link": None if self.link is None else self._link_facts(self.link),
            **self._playing(),
        }

    def _playing(self) -> dict[str, Any]:
        now = self.world.playing()
        if now is None:
            return {"scenario": None}
        scenario, since = now
        return {"scenario": scenario.id, "en": scenario.en, "zh": scenario.zh, "since_s": round(since, 1)}

    @staticmethod
    def _link_facts(link: LinkProxy) -> dict[str, Any]:
        return {
            "state": link.link.state,
            "bytes_per_s": link.link.bytes_per_s,
            "port": link.port,
            "connections": link.connections,
            "bytes_up": link.counts.bytes_up,
            "bytes_down": link.counts.bytes_down,
        }


def _bus_facts(bus: RtuBus | OwnedBus) -> dict[str, Any]:
    counts = bus.counts
    return {
        "device": bus.device,
        "path": str(bus.line.path),
        "baud": bus.line.settings.baud,
        "requests": counts.requests,
        "replies": counts.replies,
        "crc_errors": counts.crc_errors,
        "short_gaps": counts.short_gaps,
    }


async def run_until_signal(simulator: Simulator, ready: asyncio.Event | None = None) -> None:
    """Starts a simulator, waits for SIGINT or SIGTERM and stops it; raises SimulatorError when it cannot start."""
    await simulator.start()
    try:
        if ready is not None:
            ready.set()
        await wait_for_signal()
    finally:
        await simulator.stop()


async def wait_for_signal() -> None:
    """Returns when the process is asked to end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
