"""Bursts over a real pseudo-terminal, through the real line and poller, beside a device that is polled."""

from __future__ import annotations

import asyncio
import math
import struct
import time

import pytest

from drivers.frames import FrameRequest, build_reply
from drivers.line import SerialLine
from drivers.port import ReadRequest, ReadResult, monotonic_us
from drivers.serial_wire import LineSettings
from edge_agent.bus.block import decoder
from edge_agent.bus.poller import Poller
from edge_agent.vibration.burst import Series, Tick, fit
from edge_agent.vibration.capture import capture
from edge_agent.vibration.features import compute
from edge_agent.vibration.records import Feature
from edge_agent.vibration.slots import Slots
from tests.drivers.pty_devices import Answer, PtyDevices, words_of
from tests.edge_agent.small_plans import block, device
from tests.edge_agent.vibration.bursts_of import COUNTS, SCALES, plan

HZ = 7.3
REQUEST = ReadRequest(unit_id=80, table="holding", address=0x34, count=3, timeout_s=0.2, max_reply_s=1.0)


def shaking(request: FrameRequest) -> Answer:
    """Unit 80 shakes and answers after the time that 115200 baud needs; others answer like any device."""
    if request.unit_id != 80 or request.address != REQUEST.address:
        return 0.002, build_reply(request.unit_id, request.function, words_of(request))
    shake = 0.1 * math.sin(2 * math.pi * HZ * time.monotonic())
    values = (round(shake * COUNTS), 0, COUNTS)
    words = struct.unpack(">3H", struct.pack(">3h", *values))
    return 0.002, build_reply(request.unit_id, request.function, words)


async def burst(path: str, *, step_us: int, length_us: int) -> list[Tick]:
    poller = Poller(
        port_id="bus-1",
        port=SerialLine(LineSettings(path=path, baud=115200, parity="N", stop_bits=1)),
        devices=[device("pier", unit_id=80), device("other", unit_id=2)],
        blocks={0: block(device=0, interval_ms=2000), 1: block(device=1, interval_ms=200)},
        sink=lambda *row: None,
    )
    running = asyncio.ensure_future(poller.run())
    await asyncio.sleep(0.3)

    async def borrow(port_id: str, job: object, *, seconds: float, share: float) -> ReadResult:
        return await poller.borrow(job, seconds=seconds, share=share)  # type: ignore[arg-type]

    slots = Slots(borrow, monotonic_us)
    try:
        return await capture(
            REQUEST,
            decoder(plan().read),
            width=3,
            step_us=step_us,
            begin_us=monotonic_us(),
            length_us=length_us,
            ask=lambda request: slots.read("bus-1", request, 0.4),
            clock=monotonic_us,
            sleep=asyncio.sleep,
        )
    finally:
        poller.stop()
        await running


@pytest.mark.alone
async def test_a_burst_on_a_serial_line_has_its_rate_and_finds_the_tone() -> None:
    with PtyDevices(shaking) as line:
        rows = await burst(line.path, step_us=20_000, length_us=6_000_000)
    series = fit(rows, wanted_us=6_000_000)
    assert isinstance(series, Series), series
    # A shared machine may stall for some reads; the rate is that of the reads that came.
    assert series.rate_hz == pytest.approx(50.0, rel=0.02)
    wanted = plan(length_ms=6000, features=(Feature(kind="frequency", channel=0), Feature(kind="rms", channel=0)))
    computed = compute(wanted, SCALES, rows)
    assert computed.row[0] == pytest.approx(HZ, abs=0.1)
    assert computed.row[1] == pytest.approx(0.1 / math.sqrt(2), rel=0.05)
