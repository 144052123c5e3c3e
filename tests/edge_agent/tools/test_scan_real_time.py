"""A scan on a paced pseudo terminal in real time: 247 addresses within 12 s, and who thinks for 50 ms is found.

What a PTY leaves unproved: a UART's own delays and a USB adapter's latency; both add to each answer, not to silence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.tools.scan_line import Scan
from edge_agent.tools.scan_plan import Settings, first_passes
from edge_agent.tools.scan_state import ScanState
from edge_agent.tools.where import OwnLine
from simulators.plant import LineSettings, SerialLine, make_plant
from simulators.rtu_server import RtuBus
from simulators.world import World

#: what other work on the machine of the tests may cost
_LOADED_S = 3.0


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[RtuBus]:
    parts = {
        "port": [{"id": "bus-1", "kind": "serial", "device": "bus-1", "baud": 9600}],
        "device": [
            {"id": "main", "port": "bus-1", "unit_id": 1, "profile": "keller-30"},
            {"id": "level", "port": "bus-1", "unit_id": 246, "profile": "vegapuls-6x"},
        ],
    }
    world = World(make_plant(parts, "site.toml", tmp_path), time.monotonic)
    world.set_fault("level", "late", delay_s=0.048)
    line = SerialLine(id="bus-1", path=tmp_path / "bus-1", settings=LineSettings())
    bus = RtuBus(line, {1: "main", 246: "level"}, world)
    bus.start()
    yield bus
    bus.stop()


@pytest.mark.alone
async def test_a_fast_pass_is_over_within_12_s_and_finds_the_slow_one_by_its_late_reply(bus: RtuBus) -> None:
    settings = Settings()
    line = OwnLine(str(bus.line.path), settings)
    scan = Scan(line, ScanState(passes=first_passes((), settings)[:2]))
    began = time.monotonic()
    try:
        await scan.search(lambda state: None)
    finally:
        await line.close()
    took_s = time.monotonic() - began
    assert took_s <= 12.0 + _LOADED_S
    by_unit = {seen.unit_id: seen for seen in scan.state.found}
    assert sorted(by_unit) == [1, 246]
    assert by_unit[246].is_late
    assert bus.counts.short_gaps == 0
    print(f"fast pass over 247 addresses: {took_s:.2f} s")
