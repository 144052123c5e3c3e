"""The real agent with a shaking sensor behind TCP: features, an alarm of one, and the waveform around it, sealed."""

from __future__ import annotations

import math
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.batch import Batch, Lane, decode_batch
from contracts.catalogue import Catalogue
from contracts.columns import decode_block
from contracts.envelope import decode_payload, split
from edge_agent.state_dir import SPOOL
from tests.edge_agent.running_agent import RunningAgent, until
from tests.edge_agent.tcp_device import TcpDevice

HZ, AMPLITUDE_G = 5.0, 0.1
SITE = """
[gateway]
name = {{ en = "Bridge", zh = "桥" }}
state_dir = "state"
[uplink]
host = "127.0.0.1"
port = 9
seal_interval_s = 0.2
[[port]]
id = "a"
kind = "tcp"
host = "127.0.0.1"
port = {port}
[[device]]
id = "pier-3"
port = "a"
unit_id = 80
profile = "witmotion-wt901c485"
interval_s = 1.0
[device.burst]
rate_hz = 40.0
length_s = 3.0
every_s = 5.0
upright = [0.0, 0.0, 1.0]
[device.burst.feature.drift]
rules = ["bridge.tilt.v1"]
limits.L2 = {{ value = 2.0, on_delay_s = 0, basis = "test", set_by = "test", set_at = "2026-01-01" }}
"""


class ShakingDevice(TcpDevice):
    """x shakes, and the whole sensor leans by so many degrees."""

    lean_deg = 0.0

    def answer(self, frame: bytes) -> bytes:
        shake = AMPLITUDE_G * math.sin(2 * math.pi * HZ * time.monotonic())
        lean = math.radians(self.lean_deg)
        values = (shake + math.sin(lean), 0.0, math.cos(lean))
        self.registers = {
            0x34 + axis: struct.unpack(">H", struct.pack(">h", round(2048 * value)))[0]
            for axis, value in enumerate(values)
        }
        return super().answer(frame)


@pytest.fixture
def device() -> Iterator[ShakingDevice]:
    made = ShakingDevice()
    yield made
    made.close()


@pytest.fixture
def agent(tmp_path: Path, device: ShakingDevice) -> Iterator[RunningAgent]:
    running = RunningAgent(tmp_path, SITE.format(port=device.port))
    yield running
    running.kill()


def _sealed(agent: RunningAgent) -> tuple[list[Batch], Catalogue]:
    db = sqlite3.connect(f"{(agent.state_dir / SPOOL).as_uri()}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT id, envelope FROM batch ORDER BY id").fetchall()
        (catalogue,) = db.execute("SELECT envelope FROM catalogue").fetchone()
    finally:
        db.close()
    batches = [decode_batch(decode_payload(split(raw)[1]), Lane((id >> 33) & 1).type) for id, raw in rows]
    return batches, Catalogue.from_body(decode_payload(split(catalogue)[1]))


def _of(batches: list[Batch], catalogue: Catalogue, key: str) -> list[float]:
    found = []
    for batch in batches:
        for raw in batch.blocks:
            names = [catalogue.points[number].key for number in catalogue.blocks[raw[0]].points]
            if key in names:
                columns = decode_block(raw, catalogue.kinds[raw[0]], batch.header.sealed_us)
                found += [value for value in columns.values[names.index(key)] if value is not None]
    return found


@pytest.mark.alone
def test_features_alarm_and_waveform_are_sealed(agent: RunningAgent, device: ShakingDevice) -> None:
    agent.start()
    until(lambda: int(agent.status().get("sealed_batches", 0)) > 2, "some seals")
    until(lambda: _of(*_sealed(agent), "pier-3/frequency/x-1"), "a frequency", within_s=30)
    device.lean_deg = 5.0
    until(lambda: len([w for batch in _sealed(agent)[0] for w in batch.waveforms]) >= 2, "two waveforms", within_s=40)
    assert agent.end() == 0
    batches, catalogue = _sealed(agent)
    # Loopback and a shared machine: what is checked is right, how exactly is for test_features.py.
    assert _of(batches, catalogue, "pier-3/frequency/x-1")[0] == pytest.approx(HZ, abs=0.2)
    assert _of(batches, catalogue, "pier-3/acceleration/x-rms")[0] == pytest.approx(AMPLITUDE_G / math.sqrt(2), rel=0.1)
    assert max(_of(batches, catalogue, "pier-3/tilt/drift")) == pytest.approx(5.0, abs=0.3)
    events = [event for batch in batches for event in batch.events]
    assert [(event.point, event.state) for event in events] == [("pier-3/tilt/drift", "active")]
    first, second = [wave for batch in batches for wave in batch.waveforms][:2]
    assert (first.cause, second.cause) == ("before-alarm", "after-alarm")
    assert first.event == second.event == events[0].id
    assert first.device == "pier-3"
    assert len(first.columns.times) > 60
    assert first.columns.times[0] < second.columns.times[0]
    # The ordinary reads of the same device went on.
    assert len(_of(batches, catalogue, "pier-3/acceleration/x")) >= 5
    assert all(not lane["problems"] for lane in agent.verified())
