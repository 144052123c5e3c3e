"""A bus with an owner of its own, heard through its tap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.listen import ListenLine
from drivers.overheard import Overheard
from drivers.serial_wire import LineSettings
from simulators.bus_owner import OwnedBus
from simulators.errors import PortInUse
from simulators.plant import Plant, SerialLine
from simulators.world import World


def make_bus(plant: Plant, path: Path, cycle_s: float = 0.2) -> OwnedBus:
    line = next(line for line in plant.lines if isinstance(line, SerialLine))
    world = World(plant, time.monotonic)
    world.set_point("inlet/pressure", 318.2)
    devices = [device for device in plant.devices.values() if device.line == line.id]
    return OwnedBus(replace(line, path=path), devices, world, cycle_s=cycle_s)


async def test_what_the_owner_asks_is_heard_at_the_tap(plant: Plant, tmp_path: Path) -> None:
    bus, heard, is_there = make_bus(plant, tmp_path / "tap"), list[Overheard](), asyncio.Event()
    bus.start()

    def hear(found: Sequence[Overheard], away: str) -> None:
        heard.extend(found)
        if any(one.unit_id == 2 and one.words for one in found):
            is_there.set()

    line = ListenLine(LineSettings(path=str(tmp_path / "tap"), baud=9600), hear)
    await line.open()
    try:
        async with asyncio.timeout(10):
            await is_there.wait()
        assert {one.unit_id for one in heard} == {1, 2}
        assert line.counts.doubtful == 0
        bus.is_silent.set()
        await asyncio.sleep(0.5)
        asked = bus.counts.requests
        await asyncio.sleep(0.5)
        assert bus.counts.requests == asked
    finally:
        await line.close()
        bus.stop()
    assert bus.bytes_into_tap == 0
    assert not (tmp_path / "tap").exists()


def test_a_file_in_the_taps_place_is_not_touched(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "tap").write_text("mine")
    bus = make_bus(plant, tmp_path / "tap")
    with pytest.raises(PortInUse, match="give a path that is free"):
        bus.start()
    assert (tmp_path / "tap").read_text() == "mine"
    bus.stop()
