"""Bursts over hours of virtual time: rows on their ticks, missed ones told, waveforms around alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from contracts.batch import AlarmEvent, event_id
from contracts.quality import GOOD, MISSED_TICK, NO_REPLY, NOT_COMPUTABLE
from contracts.waveform import Waveform
from drivers.port import ReadRequest, ReadResult
from edge_agent.compile import compile_site
from edge_agent.plan import Plan
from edge_agent.vibration.burst import Tick
from edge_agent.vibration.bursts import Bursts
from edge_agent.vibration.features import Computed, Scale, compute
from edge_agent.vibration.records import BurstPlan
from tests.contracts.examples import BOOT, EVENT, GATEWAY
from tests.edge_agent.bus.virtual_bus import VirtualTime
from tests.edge_agent.site_files import GATEWAY as GATEWAY_TEXT
from tests.edge_agent.site_files import PORTS, write_site

PIER = """
[[device]]
id = "pier-3"
name = { en = "Pier 3", zh = "3号墩" }
port = "tcp-1"
unit_id = 80
profile = "witmotion-wt901c485"
interval_s = 5.0
[device.burst]
rate_hz = 50.0
length_s = 10.0
every_s = 60.0
upright = [0.0, 0.0, 1.0]
"""


@dataclass
class Bridge:
    """A plan with one burst, a sensor that shakes at 3 Hz, and all that comes out."""

    plan: Plan
    time: VirtualTime = field(default_factory=VirtualTime)
    rows: list[tuple[int, int, Sequence[float | None], Sequence[int] | None]] = field(default_factory=list)
    waves: list[Waveform] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    code: int = GOOD

    def __post_init__(self) -> None:
        self.bursts = Bursts(
            gateway=GATEWAY,
            boot_id=BOOT,
            read=self.read,
            take=lambda block, at, row, codes, known: self.rows.append((block, at, row, codes)),
            keep=self.waves.extend,
            clock=self.time.clock,
            sleep=self.time.sleep,
            compute=self.compute,
        )

    async def read(self, port: str, request: ReadRequest, seconds: float) -> ReadResult:
        begin = self.time.now_us
        self.asked.append(begin)
        await self.time.sleep(0.006 if self.code == GOOD else request.timeout_s)
        shake = round(100 * math.sin(2 * math.pi * 3.0 * (begin + 3_000) / 1e6))
        words = (shake % 65_536, 0, 2048) if self.code == GOOD else None
        return ReadResult(words=words, code=self.code, requested_us=begin, replied_us=self.time.now_us)

    async def compute(self, burst: BurstPlan, plan: Plan, rows: Sequence[Tick]) -> Computed:
        points = [plan.points[number] for number in burst.channels]
        return compute(burst, [Scale(resolution=point.resolution, unit=point.unit) for point in points], rows)

    def names(self) -> list[str]:
        return [self.plan.points[number].key for number in self.plan.bursts[0].block.points]


@pytest.fixture
async def bridge(tmp_path: Path) -> Bridge:
    return Bridge(compile_site(write_site(tmp_path, GATEWAY_TEXT + PORTS + PIER)).plan)


def raised(point: str = "pier-3/acceleration/x-rms", at_us: int = 1) -> AlarmEvent:
    id = event_id(GATEWAY, BOOT, point, bytes(8), "active", at_us)
    return replace(EVENT, id=id, raised_by=id, point=point)


async def test_every_tick_has_one_row_with_its_own_time(bridge: Bridge) -> None:
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(600)
    await bridge.bursts.stop()
    block = bridge.plan.bursts[0].block
    assert len(bridge.rows) == 10
    assert {row[0] for row in bridge.rows} == {len(bridge.plan.blocks)}
    ticks = [row[1] for row in bridge.rows]
    assert ticks == [ticks[0] + n * 60_000_000 for n in range(10)]
    assert ticks[0] // 1000 % block.interval_ms == block.phase_ms
    # Ten seconds of reads around each tick.
    first = [at for at in bridge.asked if abs(at - ticks[0]) <= 5_000_000]
    assert len(first) == 501
    row = dict(zip(bridge.names(), bridge.rows[0][2], strict=True))
    assert row["pier-3/frequency/x-1"] == pytest.approx(3.0, abs=0.02)
    assert row["pier-3/acceleration/x-rms"] == pytest.approx(100 / 2048 / math.sqrt(2), rel=0.01)
    assert row["pier-3/tilt/drift"] == pytest.approx(0.0, abs=0.05)
    assert row["pier-3/frequency/y-1"] is None
    assert bridge.waves == []


async def test_a_silent_device_gives_its_cause_and_is_hardly_asked(bridge: Bridge) -> None:
    bridge.code = NO_REPLY
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(300)
    assert len(bridge.rows) == 5
    assert all(set(row[3] or ()) == {NO_REPLY} for row in bridge.rows)
    assert len(bridge.asked) == 5 + 4  # five tries, then one in each burst
    bridge.code = GOOD
    await bridge.time.advance(60)
    assert bridge.rows[-1][2][0] is not None
    await bridge.bursts.stop()


async def test_an_alarm_keeps_the_burst_before_it_and_takes_one_at_once(bridge: Bridge) -> None:
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(80)
    assert len(bridge.rows) == 1
    event = raised()
    bridge.bursts.take_events([event])
    before = bridge.time.now_us
    await bridge.time.advance(12)
    assert [wave.cause for wave in bridge.waves] == ["before-alarm", "after-alarm"]
    assert [wave.event for wave in bridge.waves] == [event.raised_by] * 2
    old, new = bridge.waves
    assert len(old.columns.times) == len(new.columns.times) == 501
    assert old.columns.times[-1] < before <= new.begin_us <= before + 100_000
    assert [channel.point for channel in new.channels] == [f"pier-3/acceleration/{axis}" for axis in "xyz"]
    # The burst for the alarm is no tick of the grid.
    assert len(bridge.rows) == 1
    await bridge.bursts.stop()


async def test_an_alarm_during_a_burst_keeps_that_one_too(bridge: Bridge) -> None:
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(0.1)
    tick_us = bridge.bursts._next_tick(bridge.bursts._own[0], bridge.time.now_us + 5_000_000)
    await bridge.time.advance((tick_us - bridge.time.now_us) / 1e6)
    bridge.bursts.take_events([raised()])
    await bridge.time.advance(10)
    assert [wave.cause for wave in bridge.waves] == ["during-alarm"]
    assert len(bridge.rows) == 1
    await bridge.bursts.stop()


async def test_a_storm_of_alarms_takes_one_burst_a_minute_and_keeps_no_stretch_twice(bridge: Bridge) -> None:
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(80)
    for number in range(200):
        bridge.bursts.take_events([raised(at_us=number)])
        await bridge.time.advance(1)
    await bridge.bursts.stop()
    assert len({wave.id for wave in bridge.waves}) == len(bridge.waves)
    taken = [wave for wave in bridge.waves if wave.cause == "after-alarm"]
    assert 3 <= len(taken) <= 4


@pytest.mark.parametrize(
    "event",
    [
        raised("pier-4/acceleration/x"),
        replace(raised(), state="cleared"),
        replace(raised(), state="latched"),
        replace(raised(), id=bytes(16)),
    ],
)
async def test_no_other_event_keeps_anything(bridge: Bridge, event: AlarmEvent) -> None:
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(80)
    asked = len(bridge.asked)
    bridge.bursts.take_events([event])
    await bridge.time.advance(10)
    assert (len(bridge.asked), bridge.waves) == (asked, [])
    await bridge.bursts.stop()


async def test_a_tick_that_nobody_had_time_for_is_told(bridge: Bridge) -> None:
    """Computing the first burst takes nearly three minutes."""
    right, slow = bridge.bursts._compute, [170.0]

    async def compute_slowly(burst: BurstPlan, plan: Plan, rows: Sequence[Tick]) -> Computed:
        await bridge.time.sleep(slow.pop() if slow else 0)
        return await right(burst, plan, rows)

    bridge.bursts._compute = compute_slowly
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(360)
    await bridge.bursts.stop()
    found = {row[1]: set(row[3] or ()) for row in bridge.rows}
    assert sorted(found) == [min(found) + n * 60_000_000 for n in range(len(found))]
    missed = [at for at, codes in found.items() if codes == {MISSED_TICK}]
    assert missed == [min(found) + 60_000_000, min(found) + 120_000_000]


async def test_a_defect_is_told_as_no_number_and_the_next_burst_comes(bridge: Bridge) -> None:
    right, bridge.bursts._compute = bridge.bursts._compute, _broken
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(70)
    bridge.bursts._compute = right
    await bridge.time.advance(60)
    await bridge.bursts.stop()
    assert [set(row[3] or (GOOD,)) == {NOT_COMPUTABLE} for row in bridge.rows] == [True, False]


async def _broken(burst: BurstPlan, plan: Plan, rows: Sequence[Tick]) -> Computed:
    raise ZeroDivisionError


async def test_health_tells_rate_jitter_and_gaps(bridge: Bridge) -> None:
    bridge.bursts.start(bridge.plan)
    await bridge.time.advance(80)
    (record,) = bridge.bursts.health()
    facts = dict(record.facts)
    assert record.subject == "burst/pier-3"
    assert (facts["bursts"], facts["waveforms"], facts["refused"], facts["missing"]) == (1, 0, None, 0)
    assert facts["rate_hz"] == pytest.approx(50.0, rel=1e-6)
    assert facts["highest_hz"] == pytest.approx(20.0, rel=1e-6)
    await bridge.bursts.stop()
