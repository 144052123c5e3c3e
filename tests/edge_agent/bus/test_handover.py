"""One poller takes the place of another on virtual time: who did not change does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import quality
from drivers.port import ReadRequest
from edge_agent.bus.device_state import Phase
from edge_agent.bus.handover import Estate
from edge_agent.bus.poller import Poller
from edge_agent.bus.schedule import Schedule, Slot
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan
from tests.edge_agent.bus.virtual_bus import Answer, Script, ScriptedPort, VirtualTime, answers, silent
from tests.edge_agent.small_plans import block, device

FIRST, SECOND = device("d1", unit_id=1), device("d2", unit_id=2)


@dataclass
class Line:
    """A port whose poller is replaced."""

    scripts: dict[int, Script]
    in_flight: int = 1
    time: VirtualTime = field(default_factory=VirtualTime)
    rows: list[tuple[str, int, tuple[int, ...] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = ScriptedPort(self.time, self.scripts)
        self.poller: Poller | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, devices: Sequence[DevicePlan], blocks: Sequence[BlockPlan], estate: Estate | None = None) -> None:
        def take(number: int, sampled_us: int, row: Any, codes: Any, replied_us: int) -> None:
            self.rows.append((devices[blocks[number].device].id, sampled_us, None if codes is None else tuple(codes)))

        self.poller = Poller(
            port_id="bus-1",
            port=self.port,
            devices=devices,
            blocks=dict(enumerate(blocks)),
            sink=take,
            clock=self.time.clock,
            sleep=self.time.sleep,
            at_once=True,
            in_flight=self.in_flight,
            estate=estate,
        )
        self.task = asyncio.create_task(self.poller.run())

    async def hand_over(self) -> Estate:
        assert self.poller is not None
        assert self.task is not None
        self.poller.hand_over()
        await self.time.advance(2)
        await self.task
        estate = self.poller.estate
        assert estate is not None
        return estate

    async def stop(self) -> None:
        assert self.poller is not None
        assert self.task is not None
        self.poller.stop()
        await self.time.advance(5)
        await self.task

    def facts(self, subject: str) -> dict[str, Any]:
        assert self.poller is not None
        return next(dict(record.facts) for record in self.poller.health() if record.subject == subject)


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_a_device_that_did_not_change_is_asked_at_every_tick_once(in_flight: int) -> None:
    line = Line({1: answers(7), 2: answers(8)}, in_flight)
    line.start([FIRST], [block(interval_ms=1000, phase_ms=300)])
    await line.time.advance(10)
    before = line.facts("device/d1")
    line.poller.hand_over()  # type: ignore[union-attr]
    await line.time.advance(0.05)
    estate = line.poller.estate  # type: ignore[union-attr]
    assert estate is not None
    assert line.port.is_open
    # The new device stands first in the plan now.
    both = [block(interval_ms=1000, phase_ms=800), block(device=1, interval_ms=1000, phase_ms=300)]
    line.start([SECOND, FIRST], both, estate)
    await line.time.advance(10)
    after = line.facts("device/d1")
    assert after["requests"] == before["requests"] + 10
    assert after["latency_min_ms"] == before["latency_min_ms"]
    ticks = [sampled_us // 1_000_000 for id, sampled_us, _ in line.rows if id == "d1"][1:]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks))), "each tick once, none left out"
    assert [codes for id, _, codes in line.rows if id == "d1"] == [None] * (len(ticks) + 1)
    assert sum(1 for id, _, _ in line.rows if id == "d2") >= 9
    await line.stop()
    assert not line.port.is_open


async def test_a_silent_device_stays_silent_and_a_changed_one_begins_anew() -> None:
    line = Line({1: silent, 2: silent})
    two = [block(interval_ms=1000), block(device=1, interval_ms=1000, phase_ms=500)]
    line.start([FIRST, SECOND], two)
    await line.time.advance(30)
    assert line.poller is not None
    assert set(line.poller.device_phases().values()) <= {Phase.SILENT, Phase.PROBING}
    estate = await line.hand_over()
    line.start([FIRST, replace(SECOND, max_reply_s=2.0)], two, estate)
    await line.time.advance(0.1)
    assert line.facts("device/d1")["requests"] > 3
    assert line.facts("device/d2")["requests"] <= 1, "asked at once, as any new device"
    await line.stop()


async def test_a_second_attempt_that_waits_goes_on_under_the_new_plan() -> None:
    calls = 0

    def loses_one(request: ReadRequest, now: int) -> Answer:
        nonlocal calls
        calls += 1
        return (quality.DEVICE_BUSY, (), 20_000) if calls == 3 else (quality.GOOD, (1,), 10_000)

    line = Line({1: loses_one, 2: answers(8)})
    line.start([FIRST], [block(interval_ms=1000)])
    while calls < 3:
        await line.time.advance(0.005)
    assert line.poller is not None
    line.poller.hand_over()
    await line.time.advance(0.03)
    estate = line.poller.estate
    assert estate is not None
    line.start([FIRST, SECOND], [block(interval_ms=1000), block(device=1, interval_ms=1000, phase_ms=500)], estate)
    await line.time.advance(5)
    assert [codes for id, _, codes in line.rows if id == "d1" and codes is not None] == [], "nothing was lost"
    assert line.facts("device/d1")["retries"] == 1
    await line.stop()


async def test_a_poller_that_is_stopped_after_all_closes_its_port() -> None:
    line = Line({1: answers(7)})
    line.start([FIRST], [block(interval_ms=1000)])
    await line.time.advance(3)
    assert line.poller is not None
    line.poller.hand_over()
    line.poller.stop()
    await line.time.advance(2)
    assert line.poller.estate is None
    assert not line.port.is_open


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 59), st.booleans()), min_size=1, max_size=6),
    st.integers(0, 400),
    st.data(),
)
def test_over_a_change_every_tick_of_a_kept_slot_comes_exactly_once(
    drawn: list[tuple[int, int, bool]], cut_ms: int, data: st.DataObject
) -> None:
    """Law: what two schedules give of a slot, one after the other, is what one would have given."""
    slots = [
        Slot(interval_ms=interval, phase_ms=phase % interval, is_alarm=is_alarm, device=number)
        for number, (interval, phase, is_alarm) in enumerate(drawn)
    ]
    order = data.draw(st.permutations(range(len(slots))))
    first = Schedule(slots, 1000)
    told: dict[int, list[int]] = {number: [] for number in range(len(slots))}
    for now in range(1000, 1000 + cut_ms):
        while (turn := first.take(now)) is not None:
            told[turn.slot] += [*turn.missed, turn.tick_ms]
    second = Schedule([slots[place] for place in order], 1000 + cut_ms, at_once=True)
    second.take_over(first, {place: order.index(place) for place in range(len(slots))})
    for now in range(1000 + cut_ms, 1500):
        while (turn := second.take(now)) is not None:
            told[order[turn.slot]] += [*turn.missed, turn.tick_ms]
    for number, slot in enumerate(slots):
        expected = [at for at in range(1001, 1500) if at % slot.interval_ms == slot.phase_ms]
        assert told[number] == expected
