"""A site whose bus belongs to a controller: read along by the agent's own parts, and never written to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.port import BusPort
from edge_agent.compile import compile_site
from edge_agent.plan import Plan
from edge_agent.plan_ports import PortPlan
from edge_agent.read_once import read_once
from simulators.bus_owner import OwnedBus
from simulators.plant import SerialLine, read_plant
from simulators.world import World

SITE = """
[gateway]
name = { en = "Pump house", zh = "泵房" }
state_dir = "state"
[[port]]
id = "plc-bus"
kind = "serial"
device = "plc-bus"
baud = 19200
listen_only = true
[[device]]
id = "main"
port = "plc-bus"
unit_id = 1
profile = "keller-30"
interval_s = 0.5
[[device]]
id = "inlet"
port = "plc-bus"
unit_id = 2
profile = "qd-transmitter"
interval_s = 0.5
[device.points.pressure]
unit = "kPa"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE, encoding="utf-8")
    return path


@pytest.fixture
def bus(site: Path) -> Iterator[OwnedBus]:
    plant = read_plant(site)
    line = next(line for line in plant.lines if isinstance(line, SerialLine))
    world = World(plant, time.monotonic)
    world.set_point("inlet/pressure", 318.2)
    bus = OwnedBus(line, list(plant.devices.values()), world, cycle_s=0.3)
    bus.start()
    yield bus
    bus.stop()


def no_port(plan: PortPlan) -> BusPort:
    raise AssertionError("a port that could send was made")


def test_the_plan_says_so(site: Path) -> None:
    plan = Plan.from_bytes(compile_site(site).plan.to_bytes())
    assert plan.ports[0].listen_only


async def test_one_reading_is_listened_for(site: Path, bus: OwnedBus) -> None:
    told: list[tuple[str, str]] = []
    plan = compile_site(site).plan
    ticks = await read_once(plan, no_port, lambda *words: told.append(words))
    values = {plan.points[number].key: value for block, _, row, _ in ticks for number, value in zip(
        plan.blocks[block].points, row, strict=True)}  # fmt: skip
    assert values["inlet/pressure"] is not None
    assert float(values["inlet/pressure"] * plan.points[-1].resolution) == pytest.approx(318.2, abs=0.1)
    assert all(not any(codes) for _, _, _, codes in ticks)
    assert "nothing is sent" in told[0][1]
    assert bus.bytes_into_tap == 0
