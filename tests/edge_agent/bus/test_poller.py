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
from drivers.port import BusPort, ReadRequest
from drivers.steps import TriggerStep
from edge_agent.bus.budget import AlarmBound, PortBudget, Term
from edge_agent.bus.device_state import Phase
from edge_agent.bus.poller import Poller
from edge_agent.errors import ControlError
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan
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
    scripts: dict[int, Script],
    blocks: Sequence[BlockPlan],
    devices: Sequence[DevicePlan] | None = None,
    *,
    in_flight: int = 1,
    budget: PortBudget | None = None,
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
        in_flight=in_flight,
        budget=budget,
    )
    bench = Bench(time, port, poller)
    task = asyncio.create_task(poller.run())
    try:
        yield bench
    finally:
        poller.stop()
        poller.stop()
        await time.advance(5)
        await asyncio.wait_for(task, 10)
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
        assert bench.facts("device/d1")["state"] == "unreached", "nothing is known of it"
    assert set(bench.codes(0)) == {quality.PORT_CLOSED}


async def test_a_port_that_goes_and_comes_is_told_once_each(caplog: pytest.LogCaptureFixture) -> None:
    def script(request: ReadRequest, now: int) -> Answer:
        is_away = 5_003_000_000 <= now < 5_009_000_000
        return (quality.PORT_CLOSED, (), 0) if is_away else answers(7)(request, now)

    with caplog.at_level(logging.INFO, "edge_agent.bus"):
        async with running({1: script}, [block()]) as bench:
            await bench.time.advance(6)
            assert bench.facts("device/d1")["state"] == "unreached"
            await bench.time.advance(9)
            assert bench.facts("device/d1")["state"] == "healthy"
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


async def test_alarm_blocks_of_others_go_between_the_parts_of_a_split_block() -> None:
    """Thirty points one by one take 1.5 s; an alarm block beside them is asked every 200 ms all the same."""
    many = tuple(range(30))

    def hole(request: ReadRequest, now: int) -> Answer:
        whole = request.count > 1
        return (quality.ILLEGAL_ADDRESS, (), 50_000) if whole else (quality.GOOD, (1,), 50_000)

    blocks = [
        block(device=0, offsets=many, interval_ms=5000, phase_ms=100),
        block(device=1, first_point=30, interval_ms=200, is_alarm=True),
    ]
    async with running({1: hole, 2: answers(7, after_us=20_000)}, blocks) as bench:
        await bench.time.advance(11)
        alarms = [at_us for at_us, request in bench.port.asked if request.unit_id == 2]
    assert max(after - before for before, after in pairwise(alarms)) <= 270_000
    assert [row[2] for row in bench.rows if row[0] == 0][-1] == (1,) * 30
    assert sum(code == quality.GOOD for code in bench.codes(1)) >= 50


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
    scripts = {1: answers(1, after_us=10_000), 2: answers(1, after_us=200_000)}
    async with running(scripts, [block(), block(device=1)]) as bench:
        await bench.time.advance(3.5)
    last = {request.unit_id: request.timeout_s for _, request in bench.port.asked}
    first = {request.unit_id: request.timeout_s for _, request in reversed(bench.port.asked)}
    assert first == {1: 0.5, 2: 0.5}
    assert last == {1: pytest.approx(0.2), 2: pytest.approx(0.4)}


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


async def test_a_busy_device_is_left_alone_for_a_while_and_asked_again() -> None:
    results = iter([quality.DEVICE_BUSY, *[quality.GOOD] * 9])
    async with running({1: lambda request, now: (next(results), (5,), 10_000)}, [block()]) as bench:
        await bench.time.advance(1.5)
    (first, _), (second, _) = bench.port.asked[:2]
    assert second - first >= 110_000
    assert len(bench.rows) == 1
    assert bench.rows[0][2:4] == ((5,), None)


async def test_a_second_attempt_that_never_came_is_told_with_the_cause_of_the_first() -> None:
    slow = {1: lambda request, now: (quality.DEVICE_BUSY, (), 10_000), 2: answers(1, after_us=990_000)}
    blocks = [block(), block(device=1, phase_ms=20, is_alarm=True)]
    devices = [device("d1", unit_id=1), replace(device("d2", unit_id=2), timeout_s=1.0)]
    async with running(slow, blocks, devices) as bench:
        await bench.time.advance(3.9)
    assert bench.codes(0)[:3] == [quality.DEVICE_BUSY] * 3
    assert len([request for _, request in bench.port.asked if request.unit_id == 1]) == 3


async def test_what_a_device_refuses_for_good_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    until = 5_004_000_000
    script: Script = lambda request, now: (  # noqa: E731
        (quality.ILLEGAL_FUNCTION, (), 5_000) if now < until else answers(1)(request, now)
    )
    with caplog.at_level(logging.INFO, "edge_agent.bus"):
        async with running({1: script}, [block()]) as bench:
            await bench.time.advance(6.5)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(";")[0] for message in messages] == [
        "device d1 refuses holding 0..0: illegal_function",
        "device d1 answers holding 0..0 again",
    ]


async def test_a_gateway_without_a_path_is_left_alone_and_its_devices_are_not_blamed() -> None:
    script: Script = lambda request, now: (quality.GATEWAY_PATH, (), 5_000)  # noqa: E731
    async with running({1: script, 2: script}, [block(), block(device=1, phase_ms=500)]) as bench:
        await bench.time.advance(12)
        assert set(bench.poller.device_phases().values()) == {Phase.HEALTHY}
    # Three in half-second steps, then one every five seconds.
    assert [round((begin - 5_000_000_000) / 500_000) for begin, _ in bench.port.asked] == [1, 2, 3, 14]
    assert set(bench.codes(0)) == {quality.GATEWAY_PATH, quality.NOT_ASKED}


# --- triggers -----------------------------------------------------------------------------


def triggered(*, answered: bool = True, is_alarm: bool = False, wait_ms: int = 300) -> BlockPlan:
    plan = block(is_alarm=is_alarm)
    trigger = TriggerStep(function=6, address=8, values=(1,), wait_ms=wait_ms, answered=answered)
    return replace(plan, read=replace(plan.read, trigger=trigger))


@pytest.mark.parametrize("answered", [True, False])
async def test_a_trigger_is_written_and_read_after_its_wait(answered: bool) -> None:
    scripts = {1: answers(7), 2: answers(8)}
    async with running(scripts, [triggered(answered=answered), block(device=1, phase_ms=100)]) as bench:
        await bench.time.advance(1.9)
    (at, write), *more = bench.port.written
    assert not more
    assert (write.function, write.address, write.values) == (6, 8, (1,))
    assert write.answered_by == ((1,) if answered else ())
    assert (write.timeout_s > 0) is answered
    asked = [(begin - at, request.unit_id) for begin, request in bench.port.asked if begin > at]
    assert asked == [(100_000, 2), (305_000, 1)]
    assert bench.codes(0) == [quality.GOOD]


async def test_a_trigger_that_is_refused_is_the_cause_of_its_tick() -> None:
    async with running({1: answers(7)}, [triggered()]) as bench:
        bench.port.write_code = quality.ILLEGAL_ADDRESS
        await bench.time.advance(2.5)
    assert bench.port.asked == []
    assert bench.codes(0) == [quality.ILLEGAL_ADDRESS] * 2


async def test_a_dead_device_with_a_trigger_is_silent_too() -> None:
    async with running({1: answers(7)}, [triggered()]) as bench:
        bench.port.write_code = quality.NO_REPLY
        await bench.time.advance(4.5)
        assert bench.poller.device_phases() == {"d1": Phase.SILENT}
    assert bench.codes(0)[:4] == [quality.NO_REPLY] * 3 + [quality.NOT_ASKED]


# --- several requests at once ----------------------------------------------------------------


async def test_several_turns_at_once_and_never_two_with_one_device() -> None:
    under_way: list[int] = []
    most: list[int] = []

    class Port(ScriptedPort):
        async def read(self, request: ReadRequest) -> Any:
            assert request.unit_id not in under_way
            under_way.append(request.unit_id)
            most.append(len(under_way))
            try:
                return await super().read(request)
            finally:
                under_way.remove(request.unit_id)

    time = VirtualTime()
    port = Port(time, {unit: answers(unit, after_us=400_000) for unit in range(1, 6)})
    rows: list[tuple[int, int]] = []
    blocks = [block(device=place, address=10 * number) for place in range(5) for number in range(2)]
    poller = Poller(
        port_id="gw",
        port=port,
        devices=[device(f"d{unit}", unit_id=unit) for unit in range(1, 6)],
        blocks=dict(enumerate(blocks)),
        sink=lambda number, sampled, row, codes, replied: rows.append((number, replied)),
        clock=time.clock,
        sleep=time.sleep,
        in_flight=3,
    )
    task = asyncio.create_task(poller.run())
    await time.advance(10.5)
    poller.stop()
    await time.advance(2)
    await asyncio.wait_for(task, 10)
    assert max(most) == 3
    # Ten reads of 0.4 s, three at a time: a round takes 1.6 s instead of 4 s.
    first_round = [replied for number, replied in rows][:10]
    assert first_round[-1] - 5_001_000_000 <= 1_700_000
    assert {number for number, _ in rows} == set(range(10))


async def test_a_dead_unit_behind_a_gateway_holds_up_nobody() -> None:
    scripts: dict[int, Script] = {1: silent, **{unit: answers(unit) for unit in range(2, 6)}}
    async with running(scripts, [block(device=place) for place in range(5)], in_flight=2) as bench:
        await bench.time.advance(30.5)
    for number in range(1, 5):
        assert bench.codes(number) == [quality.GOOD] * 30


# --- borrowing -------------------------------------------------------------------------------


async def lent(bench: Bench, seconds: float, **options: Any) -> Any:
    """Starts a borrowed read of unit 9 and returns its task."""

    async def job(port: BusPort) -> tuple[int, int]:
        begin = bench.time.now_us
        await bench.time.until(begin + round(seconds * 1e6))
        return begin, bench.time.now_us

    task = asyncio.create_task(bench.poller.borrow(job, **{"seconds": seconds, **options}))
    await asyncio.sleep(0)
    return task


async def test_an_idle_line_is_lent_at_once() -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        await bench.time.advance(1.2)
        task = await lent(bench, 0.3)
        await bench.time.advance(0.4)
        assert await task == (5_001_200_000, 5_001_500_000)
        await bench.time.advance(1)
        assert bench.facts("port/bus-1")["jobs"] == 1
    assert bench.codes(0) == [quality.GOOD] * 2


async def test_a_job_is_a_slot_between_two_requests() -> None:
    scripts = {1: answers(1, after_us=600_000)}
    async with running(scripts, [block()]) as bench:
        await bench.time.advance(1.2)
        task = await lent(bench, 0.2)
        await bench.time.advance(0.7)
        assert (await task)[0] == 5_001_600_000


async def test_jobs_leave_the_line_its_share() -> None:
    """Each job takes 0.1 s of a line that has no idle tenth of a second: a quarter of the time is theirs."""
    blocks = [block(interval_ms=100, phase_ms=phase) for phase in (0, 30, 60, 90)]
    async with running({1: answers(1, after_us=20_000)}, blocks) as bench:
        await bench.time.advance(1)
        began = bench.time.now_us
        tasks = [await lent(bench, 0.1) for _ in range(20)]
        await bench.time.advance(8.3)
        ends = [(await task)[1] for task in tasks]
        assert ends == sorted(ends)
        assert 7.5 <= (ends[-1] - began) / 1e6 <= 8.3
    assert len([code for code in bench.codes(0) if code == quality.GOOD]) > 50


async def test_the_agents_own_burst_may_take_more_and_others_still_have_turns() -> None:
    blocks = [block(interval_ms=100, phase_ms=phase) for phase in (0, 30, 60, 90)]
    async with running({1: answers(1, after_us=5_000)}, blocks) as bench:
        await bench.time.advance(1)
        began = bench.time.now_us
        tasks = [await lent(bench, 0.02, share=1.0) for _ in range(20)]
        await bench.time.advance(2)
        assert ((await tasks[-1])[1] - began) / 1e6 <= 0.75
    assert quality.MISSED_TICK not in bench.codes(0)


def tight(spare_s: float) -> PortBudget:
    bound = AlarmBound(
        block=0,
        device="d1",
        interval_s=1.0,
        bound_s=1.1,
        after_loss_s=3.0,
        deadline_s=1.1 + spare_s,
        terms=(Term(name="interval", seconds=1.0),),
    )
    return PortBudget(port="bus-1", share=0.1, cycle_s=0.1, alarms=(bound,))


async def test_an_alarm_block_whose_deadline_comes_goes_first() -> None:
    async with running({1: answers(1)}, [block(is_alarm=True)], budget=tight(0.2)) as bench:
        await bench.time.advance(1.5)
        # 0.8 s from here would end 0.3 s after the next tick, which may wait for 0.2 s.
        task = await lent(bench, 0.8)
        await bench.time.advance(2)
        begin, end = await task
        assert begin == 5_002_010_000
        assert end <= 5_003_200_000


async def test_a_job_that_never_fits_is_refused_with_the_reason() -> None:
    async with running({1: answers(1)}, [block(is_alarm=True)], budget=tight(0.0)) as bench:
        await bench.time.advance(1.5)
        task = await lent(bench, 1.2)
        await bench.time.advance(31.5)
        with pytest.raises(ControlError, match=r"no slot within 30 s: its alarm points leave no room for 1\.2 s"):
            await task


async def test_a_job_that_is_too_long_or_too_late_is_told_so() -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        await bench.time.advance(0.1)
        with pytest.raises(ControlError, match="up to 30 s, not 31 s"):
            await bench.poller.borrow(lambda port: asyncio.sleep(0), seconds=31)

        async def endless(port: BusPort) -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(bench.poller.borrow(endless, seconds=0.01))
        with pytest.raises(ControlError, match=r"took longer than the 0\.01 s it asked for"):
            await asyncio.wait_for(task, 5)
        await bench.time.advance(2)
    assert bench.codes(0) == [quality.GOOD] * 2


async def test_what_a_job_raises_reaches_its_owner_and_nobody_else() -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        await bench.time.advance(0.1)

        async def broken(port: BusPort) -> None:
            raise RuntimeError("on purpose")

        with pytest.raises(RuntimeError, match="on purpose"):
            await asyncio.wait_for(bench.poller.borrow(broken), 5)
        await bench.time.advance(2)
    assert bench.codes(0) == [quality.GOOD] * 2


async def test_a_stopped_port_ends_jobs_in_words() -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        await bench.time.advance(0.1)
        first, second = await lent(bench, 5), await lent(bench, 5)
        await bench.time.advance(0.5)
        bench.poller.stop()
        await bench.time.advance(0.1)
        for task in (first, second):
            with pytest.raises(ControlError, match="stopped"):
                await asyncio.wait_for(task, 10)
        with pytest.raises(ControlError, match="is not polled now"):
            await bench.poller.borrow(lambda port: asyncio.sleep(0))


async def test_an_owner_who_goes_away_ends_his_job() -> None:
    async with running({1: answers(1)}, [block()]) as bench:
        await bench.time.advance(0.1)
        task = await lent(bench, 20)
        task.cancel()
        await bench.time.advance(2)
    assert bench.codes(0) == [quality.GOOD] * 2


async def test_jobs_run_beside_turns_where_several_are_in_flight() -> None:
    scripts = {unit: answers(unit, after_us=100_000) for unit in (1, 2)}
    async with running(scripts, [block(device=place) for place in range(2)], in_flight=2) as bench:
        await bench.time.advance(0.1)
        task = await lent(bench, 2.0)
        await bench.time.advance(3)
        assert (await task)[1] - (await task)[0] == 2_000_000
    assert bench.codes(0).count(quality.GOOD) == 3
