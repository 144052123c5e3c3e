"""The poller on virtual time: one row for every tick, whatever the bus does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from contracts import quality
from drivers.plan import PointStep
from drivers.port import ReadRequest
from edge_agent.bus.device_state import Phase
from edge_agent.bus.poller import Poller
from edge_agent.plan import BlockPlan, DevicePlan
from tests.edge_agent.bus.virtual_bus import Answer, Script, ScriptedPort, VirtualTime, answers, silent
from tests.edge_agent.small_plans import block, device

Row = tuple[int, int, tuple[Any, ...], tuple[int, ...] | None, int]


@dataclass
class Bench:
    """One poller with all that is around it."""

    time: VirtualTime
    port: ScriptedPort
    poller: Poller
    rows: list[Row] = field(default_factory=list)
    fails_once: bool = False

    def take(self, block: int, sampled_us: int, row: Sequence[Any], codes: Sequence[int] | None, replied: int) -> None:
        if self.fails_once:
            self.fails_once = False
            raise RuntimeError("on purpose")
        self.rows.append((block, sampled_us, tuple(row), None if codes is None else tuple(codes), replied))

    def codes(self, block: int) -> list[int]:
        return [quality.GOOD if row[3] is None else row[3][0] for row in self.rows if row[0] == block]

    def facts(self, subject: str) -> dict[str, Any]:
        return next(dict(record.facts) for record in self.poller.health() if record.subject == subject)


@asynccontextmanager
async def running(
    scripts: dict[int, Script], blocks: Sequence[BlockPlan], devices: Sequence[DevicePlan] | None = None
) -> AsyncIterator[Bench]:
    time = VirtualTime()
    port = ScriptedPort(time, scripts)
    if devices is None:
        devices = [device(f"d{unit}", unit_id=unit) for unit in scripts]
    bench: Bench

    def sink(*row: Any) -> None:
        bench.take(*row)

    poller = Poller(
        port_id="bus-1",
        port=port,
        devices=devices,
        blocks=dict(enumerate(blocks)),
        sink=sink,
        clock=time.clock,
        sleep=time.sleep,
    )
    bench = Bench(time, port, poller)
    task = asyncio.create_task(poller.run())
    try:
        yield bench
    finally:
        poller.stop()
        poller.stop()
        await time.advance(5)
        await asyncio.wait_for(task, 1)
        assert not port.is_open


async def test_a_good_row_carries_the_middle_of_its_request() -> None:
    async with running({1: answers(42, after_us=20_000)}, [block()]) as bench:
        await bench.time.advance(1.5)
    tick = 5_001_000_000
    assert bench.rows[0] == (0, tick + 10_000, (42,), None, tick + 20_000)


async def test_ticks_keep_to_the_grid() -> None:
    async with running({1: answers(1)}, [block(interval_ms=250, phase_ms=40)]) as bench:
        await bench.time.advance(1.0)
    assert [begin // 1000 % 250 for begin, _ in bench.port.asked] == [40] * 4


async def test_nothing_due_nothing_done() -> None:
    async with running({1: answers(1)}, [block(interval_ms=60_000)]) as bench:
        await bench.time.advance(30)
    assert bench.port.asked == []


async def test_a_failed_read_has_no_numbers_and_its_cause() -> None:
    async with running({1: silent}, [block(offsets=(0, 1))]) as bench:
        await bench.time.advance(2.9)
    tick = 5_001_000_000
    assert bench.rows[0] == (0, tick, (None, None), (quality.NO_REPLY,) * 2, tick + 1_000_000)


async def test_every_tick_gives_one_row_while_a_device_is_silent() -> None:
    async with running({1: silent}, [block()]) as bench:
        await bench.time.advance(120.5)
    times = [row[1] for row in bench.rows]
    grid = [time // 1_000_000 for time in times]
    assert grid == list(range(5001, 5001 + len(grid)))
    codes = bench.codes(0)
    assert codes[:4] == [quality.NO_REPLY] * 3 + [quality.NOT_ASKED]
    assert set(codes) <= {quality.NO_REPLY, quality.NOT_ASKED, quality.MISSED_TICK}
    assert bench.facts("device/d1")["not_asked"] == codes.count(quality.NOT_ASKED) > 60
    assert bench.facts("device/d1")["state"] == "silent"


async def test_a_device_that_returns_is_found_by_a_probe(caplog: pytest.LogCaptureFixture) -> None:
    back_us = 5_020_000_000

    def script(request: ReadRequest, now: int) -> Answer:
        return answers(7)(request, now) if now >= back_us else silent(request, now)

    with caplog.at_level(logging.INFO, "edge_agent.bus"):
        async with running({1: script}, [block()]) as bench:
            await bench.time.advance(60)
    first_good = next(row for row in bench.rows if row[3] is None)
    assert back_us <= first_good[1] <= back_us + 16_000_000
    assert bench.codes(0)[-1] == quality.GOOD
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages] == ["device d1 is silent", "device d1 answers again"]


async def test_one_dead_device_of_ten_leaves_the_others_their_rate() -> None:
    scripts: dict[int, Script] = {unit: answers(unit, after_us=80_000) for unit in range(1, 10)}
    alive_until = 5_010_000_000
    scripts[10] = lambda request, now: (
        answers(1, after_us=80_000)(request, now) if now < alive_until else silent(request, now)
    )
    blocks = [block(device=n) for n in range(10)]
    async with running(scripts, blocks) as bench:
        await bench.time.advance(130)
    living = [row for row in bench.rows if row[0] < 9 and row[1] >= alive_until]
    good = sum(row[3] is None for row in living)
    assert good >= 0.95 * len(living)
    # 130 ticks each; the newest may still be under way when the bus is stopped
    assert {len(bench.codes(number)) for number in range(10)} <= {129, 130, 131}


async def test_missed_ticks_are_reported_on_the_grid() -> None:
    slow = answers(1, after_us=700_000)
    async with running({1: slow}, [block(interval_ms=200)], [device(max_reply_s=2.0)]) as bench:
        await bench.time.advance(3)
    assert [row[1] // 200_000 for row in bench.rows if row[3] is not None][:2] == [5_000_400 // 200, 5_000_600 // 200]
    assert bench.codes(0)[:4] == [quality.GOOD, quality.MISSED_TICK, quality.MISSED_TICK, quality.GOOD]
    missed = bench.facts("device/d1")["missed_ticks"]
    assert missed == bench.codes(0).count(quality.MISSED_TICK)


@pytest.mark.parametrize(
    ("cause", "asked", "retries"),
    [
        (quality.BAD_FRAME, 2, 1),
        (quality.DEVICE_BUSY, 2, 1),
        (quality.NO_REPLY, 1, 0),
        (quality.FOREIGN_REPLY, 1, 0),
        (quality.ILLEGAL_FUNCTION, 1, 0),
        (quality.ILLEGAL_VALUE, 1, 0),
        (quality.DEVICE_FAILURE, 1, 0),
        (quality.PORT_CLOSED, 1, 0),
        (quality.NOT_ASKED, 1, 0),
    ],
)
async def test_the_retry_policy(cause: int, asked: int, retries: int) -> None:
    async with running({1: lambda request, now: (cause, (), 10_000)}, [block()]) as bench:
        await bench.time.advance(1.5)
        assert len(bench.port.asked) == asked
        assert bench.facts("device/d1")["retries"] == retries
    assert bench.codes(0)[:1] == [cause]


async def test_no_retry_when_it_would_not_end_in_time() -> None:
    async with running({1: lambda request, now: (quality.BAD_FRAME, (), 600_000)}, [block()]) as bench:
        await bench.time.advance(1.9)
        assert len(bench.port.asked) == 1


async def test_a_retry_that_helps_is_a_good_row() -> None:
    results = iter([quality.BAD_FRAME, *[quality.GOOD] * 9])
    async with running({1: lambda request, now: (next(results), (5,), 10_000)}, [block()]) as bench:
        await bench.time.advance(1.5)
    assert bench.rows[0][1:4] == (5_001_015_000, (5,), None)


async def test_a_port_that_is_away_makes_no_device_silent() -> None:
    async with running({1: lambda request, now: (quality.PORT_CLOSED, (), 0)}, [block()]) as bench:
        await bench.time.advance(20)
        assert bench.poller.device_phases() == {"d1": Phase.HEALTHY}
    assert set(bench.codes(0)) == {quality.PORT_CLOSED}


async def test_a_port_that_goes_and_comes_is_told_once_each(caplog: pytest.LogCaptureFixture) -> None:
    def script(request: ReadRequest, now: int) -> Answer:
        is_away = 5_003_000_000 <= now < 5_009_000_000
        return (quality.PORT_CLOSED, (), 0) if is_away else answers(7)(request, now)

    with caplog.at_level(logging.INFO, "edge_agent.bus"):
        async with running({1: script}, [block()]) as bench:
            await bench.time.advance(15)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(" ")[2].partition(" ")[2] for message in messages] == [
        "is away: as the script says",
        "is back",
    ]


def refuses(*addresses: int) -> Script:
    def script(request: ReadRequest, now: int) -> Answer:
        asked = range(request.address, request.address + request.count)
        if any(address in asked for address in addresses):
            return quality.ILLEGAL_ADDRESS, (), 5_000
        return quality.GOOD, tuple(asked), 5_000

    return script


async def test_a_block_over_a_hole_is_split_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with running({1: refuses(102)}, [block(offsets=(0, 1, 4), address=100)]) as bench:
        await bench.time.advance(3.5)
        facts = bench.facts("device/d1")
    assert [row[2:4] for row in bench.rows[:3]] == [((100, 101, 104), None)] * 3
    assert [request.count for _, request in bench.port.asked[:4]] == [5, 1, 1, 1]
    assert all(request.count == 1 for _, request in bench.port.asked[1:])
    assert facts["split_blocks"] == 1
    assert facts["holes"] == "holding 102..103"
    assert facts["refused_points"] is None
    assert sum("one by one" in record.getMessage() for record in caplog.records) == 1


async def test_a_point_without_register_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async with running({1: refuses(1)}, [block(offsets=(0, 1, 2))]) as bench:
        await bench.time.advance(3.5)
        assert bench.facts("device/d1")["refused_points"] == "p1"
    assert bench.rows[1][2:4] == ((0, None, 2), (quality.GOOD, quality.ILLEGAL_ADDRESS, quality.GOOD))
    assert sum("has no register" in record.getMessage() for record in caplog.records) == 1


async def test_a_device_that_refuses_everything_is_not_split() -> None:
    async with running({1: refuses(0, 1)}, [block(offsets=(0, 1))]) as bench:
        await bench.time.advance(10.5)
        assert bench.facts("device/d1")["split_blocks"] == 0
    assert bench.rows[0][2:4] == ((None, None), (quality.ILLEGAL_ADDRESS,) * 2)
    assert len(bench.port.asked) == 3 + 9


async def test_a_split_block_stops_asking_a_device_that_went_away() -> None:
    def script(request: ReadRequest, now: int) -> Answer:
        return refuses(2)(request, now) if now < 5_002_000_000 else silent(request, now)

    async with running({1: script}, [block(offsets=(0, 1, 4))]) as bench:
        await bench.time.advance(2.9)
    assert bench.rows[1] == (
        0,
        5_002_000_000,
        (None, None, None),
        (quality.NO_REPLY, quality.NOT_ASKED, quality.NOT_ASKED),
        5_003_000_000,
    )


async def test_a_split_point_keeps_its_companion() -> None:
    plan = block(offsets=(0, 1))
    read = plan.read
    gate = PointStep.from_wire(
        {
            **read.points[1].to_wire(),
            "gates": [
                {
                    "field": {"offset": 3, "type": "u16", "order": None, "mask": None, "shift": 0},
                    "kind": "enum",
                    "cases": [[13, 13, quality.GOOD]],
                    "otherwise": quality.FAULT,
                }
            ],
        }
    )
    plan = replace(plan, read=replace(read, address=10, count=4, points=(read.points[0], gate)))

    def script(request: ReadRequest, now: int) -> Answer:
        if request.count == 4:
            return quality.ILLEGAL_ADDRESS, (), 1000
        return quality.GOOD, tuple(range(request.address, request.address + request.count)), 1000

    async with running({1: script}, [plan]) as bench:
        await bench.time.advance(1.5)
    assert [(r.address, r.count) for _, r in bench.port.asked] == [(10, 4), (10, 1), (11, 3)]
    assert bench.rows[0][2:4] == ((10, 11), None)


async def test_the_gap_between_requests_of_a_device_is_kept() -> None:
    blocks = [block(first_point=n) for n in range(3)]
    async with running({1: answers(1)}, blocks, [device(gap_ms=50)]) as bench:
        await bench.time.advance(1.5)
    starts = [begin for begin, _ in bench.port.asked]
    assert [later - earlier for earlier, later in pairwise(starts)] == [60_000, 60_000]


async def test_time_outs_follow_the_device_where_others_wait() -> None:
    scripts = {1: answers(1, after_us=10_000), 2: answers(1, after_us=300_000)}
    async with running(scripts, [block(), block(device=1)]) as bench:
        await bench.time.advance(3.5)
    last = {request.unit_id: request.timeout_s for _, request in bench.port.asked}
    first = {request.unit_id: request.timeout_s for _, request in reversed(bench.port.asked)}
    assert first == {1: 1.0, 2: 1.0}
    assert last == {1: pytest.approx(0.2), 2: pytest.approx(0.6)}


async def test_an_error_of_ours_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        bench.fails_once = True
        await bench.time.advance(3.5)
        assert bench.facts("port/bus-1")["faults"] == 1
    assert len(bench.rows) >= 2
    assert "on purpose" in caplog.text


async def test_a_reply_of_the_wrong_length_has_no_numbers() -> None:
    async with running({1: answers(1, 2, 3)}, [block()]) as bench:
        await bench.time.advance(1.5)
    assert bench.rows[0][2:4] == ((None,), (quality.INVALID,))


async def test_a_count_that_no_batch_can_carry_is_invalid() -> None:
    plan = block(offsets=(0,))
    wide = PointStep(name="wide", offset=0, data_type="u64")
    plan = replace(plan, read=replace(plan.read, count=4, points=(wide,)))
    words: Callable[[int], Script] = lambda high: answers(high, 0, 0, 1)  # noqa: E731
    for high, expected in ((0x0001, ((1 << 48) + 1,)), (0xFFFF, (None,))):
        async with running({1: words(high)}, [plan]) as bench:
            await bench.time.advance(1.5)
        assert bench.rows[0][2] == expected
        assert bench.rows[0][3] == (None if expected[0] else (quality.INVALID,))


async def test_health_of_a_port() -> None:
    async with running({1: answers(1, after_us=100_000)}, [block()]) as bench:
        await bench.time.advance(10.5)
        facts = bench.facts("port/bus-1")
        own = bench.facts("device/d1")
    assert facts["bus_load"] == pytest.approx(0.1, abs=0.01)
    assert facts["late_worst_ms"] == 0
    assert own["requests"] == own["good"] == 10
    assert own["latency_p95_ms"] == own["latency_max_ms"] == 100.0


async def test_stop_before_the_first_tick() -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        await bench.time.advance(0)
        assert bench.port.is_open
    assert bench.rows == []
