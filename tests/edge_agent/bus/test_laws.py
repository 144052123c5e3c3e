"""Laws of the whole engine, schedule, device states, probes and poller together, on a line of virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from contracts import quality
from drivers.port import ReadRequest, ReadResult
from drivers.steps import TriggerStep
from edge_agent.bus.budget import PortBudget, port_budget
from edge_agent.bus.device_state import RETURN_S
from edge_agent.bus.poller import Poller
from edge_agent.bus.schedule import ALARM_RUN
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan, PortPlan
from tests.edge_agent.bus.instant_bus import Reply, Seen, run
from tests.edge_agent.bus.virtual_bus import Answer, ScriptedPort, VirtualTime
from tests.edge_agent.small_plans import block, device

ALIVE_US = 20_000


@dataclass(frozen=True)
class Bus:
    """Devices, blocks, and when which device does not answer."""

    devices: tuple[DevicePlan, ...]
    blocks: tuple[BlockPlan, ...]
    #: per device the answer time, us
    takes: tuple[int, ...]
    #: per device (from, to) seconds after the start in which it is dead
    deaths: tuple[tuple[tuple[float, float], ...], ...]

    def reply(self, unit_id: int, now_us: int) -> int | None:
        at = (now_us - 5_000_000_000) / 1e6
        dead = any(begin <= at < end for begin, end in self.deaths[unit_id - 1])
        return None if dead else self.takes[unit_id - 1]

    def always_alive(self, place: int) -> bool:
        return not self.deaths[place]


INTERVALS_MS = st.sampled_from([100, 200, 500, 1000, 2000, 5000, 30_000, 3_600_000])
SPANS = st.lists(
    st.tuples(st.floats(0, 60), st.floats(0.1, 60)).map(lambda span: (span[0], span[0] + span[1])), max_size=3
)


@st.composite
def buses(draw: st.DrawFn, *, gaps: bool = True) -> Bus:
    count = draw(st.integers(1, 6))
    devices, takes, deaths, blocks = [], [], [], []
    for place in range(count):
        most_s = draw(st.sampled_from([0.2, 1.0, 3.0, 10.0]))
        gap_ms = draw(st.sampled_from([0, 0, 0, 50, 500])) if gaps else 0
        stated = draw(st.sampled_from([0.0, 0.0, 0.1, 1.0]))
        one = replace(device(f"d{place}", unit_id=place + 1, max_reply_s=most_s, gap_ms=gap_ms), timeout_s=stated)
        devices.append(one)
        counted = min(stated or 0.5, most_s)
        takes.append(draw(st.integers(1_000, int(counted * 0.8e6))))
        deaths.append(tuple(draw(SPANS)) if draw(st.booleans()) else ())
        for number in range(draw(st.integers(1, 2))):
            interval = draw(INTERVALS_MS)
            plan = block(
                device=place,
                interval_ms=interval,
                phase_ms=draw(st.integers(0, interval - 1)),
                is_alarm=draw(st.booleans()),
                address=100 * number,
                offsets=range(draw(st.sampled_from([1, 10, 60]))),
            )
            if draw(st.integers(0, 5)) == 0:
                trigger = TriggerStep(
                    function=6, address=8, values=(1,), wait_ms=draw(st.integers(0, 800)), answered=draw(st.booleans())
                )
                plan = replace(plan, read=replace(plan.read, trigger=trigger))
            deadline = draw(st.sampled_from([0, 0, interval + 200, interval + 3000]))
            blocks.append(replace(plan, deadline_ms=deadline if plan.is_alarm else 0))
    return Bus(tuple(devices), tuple(blocks), tuple(takes), tuple(deaths))


def seen_of(bus: Bus, seconds: float = 90.0) -> Seen:
    return run(bus.devices, bus.blocks, bus.reply, seconds=seconds)


@settings(deadline=None)
@given(buses())
def test_no_alarm_is_later_than_its_bound_while_others_are_dead(bus: Bus) -> None:
    seen = seen_of(bus)
    bounds = {alarm.block: alarm.bound_s for alarm in seen.budget.alarms}
    for number, plan in enumerate(bus.blocks):
        if not plan.is_alarm or not bus.always_alive(plan.device):
            continue
        own = [asked for asked in seen.asked if asked.unit_id == plan.device + 1 and asked.address == plan.read.address]
        assert all(asked.code == quality.GOOD for asked in own)
        # A register that changes just after it was read is judged with the next reply.
        waits = [(later.replied_us - earlier.requested_us) / 1e6 for earlier, later in pairwise(own)]
        if own:
            waits.append((seen.ended_us - own[-1].requested_us) / 1e6)
        worst = max(waits, default=0.0)
        target(worst / bounds[number], label=f"of the bound, block {number}")
        assert worst <= bounds[number] + 0.0015


@settings(deadline=None)
@given(buses(), st.lists(st.floats(0.01, 3), min_size=1, max_size=30))
def test_a_job_never_costs_an_alarm_its_deadline(bus: Bus, jobs: list[float]) -> None:
    seen = run(bus.devices, bus.blocks, bus.reply, seconds=60, jobs=jobs)
    for alarm in seen.budget.alarms:
        plan = bus.blocks[alarm.block]
        if not bus.always_alive(plan.device) or not alarm.is_met:
            continue
        own = [asked for asked in seen.asked if asked.unit_id == plan.device + 1 and asked.address == plan.read.address]
        waits = [(later.replied_us - earlier.requested_us) / 1e6 for earlier, later in pairwise(own)]
        assert max(waits, default=0.0) <= alarm.deadline_s + 0.0015


@settings(deadline=None, max_examples=15)
@given(buses(), st.integers(2, 4))
def test_the_bound_holds_with_several_requests_in_flight(bus: Bus, in_flight: int) -> None:
    async def polled() -> tuple[list[tuple[int, int, int, int]], PortBudget]:
        time, asked = VirtualTime(), []

        def script(request: ReadRequest, now: int) -> Answer:
            took, wait_us = bus.reply(request.unit_id, now), round(request.timeout_s * 1e6)
            if took is None or took > wait_us:
                return quality.NO_REPLY, (), wait_us
            return quality.GOOD, (0,) * request.count, took

        class Port(ScriptedPort):
            async def read(self, request: ReadRequest) -> ReadResult:
                result = await super().read(request)
                asked.append((request.unit_id, request.address, result.requested_us, result.replied_us))
                return result

        port = Port(time, dict.fromkeys(range(1, len(bus.devices) + 1), script))
        line = PortPlan(id="gw", kind="tcp", host="127.0.0.1", port=502, in_flight=in_flight)
        numbered = dict(enumerate(bus.blocks))
        budget = port_budget(line, bus.devices, numbered)
        poller = Poller(
            port_id="gw",
            port=port,
            devices=bus.devices,
            blocks=numbered,
            sink=lambda *row: None,
            clock=time.clock,
            sleep=time.sleep,
            in_flight=in_flight,
            line=line,
            budget=budget,
        )
        task = asyncio.create_task(poller.run())
        await time.advance(20)
        poller.stop()
        await time.advance(15)
        await asyncio.wait_for(task, 5)
        return asked, budget

    asked, budget = asyncio.run(polled())
    for alarm in budget.alarms:
        plan = bus.blocks[alarm.block]
        if bus.always_alive(plan.device):
            own = sorted(
                times for unit, place, *times in asked if (unit, place) == (plan.device + 1, plan.read.address)
            )
            waits = [(later[1] - earlier[0]) / 1e6 for earlier, later in pairwise(own)]
            assert max(waits, default=0.0) <= alarm.bound_s + 0.0015


@settings(deadline=None)
@given(buses(), st.integers(1, 8))
def test_one_lost_reply_of_its_own_costs_an_alarm_no_more_than_stated(bus: Bus, every: int) -> None:
    count = [0]
    lost: list[int] = []
    loser = next((plan.device for plan in bus.blocks if plan.is_alarm), 0)
    alive = replace(bus, deaths=tuple(() if place == loser else spans for place, spans in enumerate(bus.deaths)))
    own = {number for number, plan in enumerate(bus.blocks) if plan.is_alarm and plan.device == loser}
    after = run(alive.devices, alive.blocks, alive.reply, seconds=1).budget.alarms
    apart_us = max([alarm.after_loss_s for alarm in after], default=1) * 2e6

    def reply(unit_id: int, now_us: int) -> int | None:
        if unit_id == loser + 1:
            count[0] += 1
            if count[0] % every == 0 and (not lost or now_us - lost[-1] > apart_us):
                lost.append(now_us)
                return None
        return alive.reply(unit_id, now_us)

    seen = run(alive.devices, alive.blocks, reply, seconds=90)
    bounds = {alarm.block: alarm.after_loss_s for alarm in seen.budget.alarms}
    for number in own:
        plan = bus.blocks[number]
        good = [
            asked
            for asked in seen.asked
            if asked.unit_id == loser + 1 and asked.address == plan.read.address and asked.code == quality.GOOD
        ]
        waits = [(later.replied_us - earlier.requested_us) / 1e6 for earlier, later in pairwise(good)]
        assert max(waits, default=0.0) <= bounds[number] + 0.0015


@settings(deadline=None)
@given(buses())
def test_nobody_starves(bus: Bus) -> None:
    """Whoever is due is served within a number of turns that only depends on how many there are."""
    seen = seen_of(bus)
    longest = 0.0
    for plan in bus.blocks:
        dev = bus.devices[plan.device]
        longest = max(longest, dev.max_reply_s + dev.min_request_gap_ms / 1000 + 0.25)
    for number, plan in enumerate(bus.blocks):
        told = sorted(row.replied_us for row in seen.rows if row.block == number)
        steps = [(later - earlier) / 1e6 for earlier, later in pairwise(told)]
        most = plan.interval_ms / 1000 * 2 + (ALARM_RUN + 1) * (len(bus.blocks) + 1) * longest
        assert max(steps, default=0.0) <= most


@settings(deadline=None)
@given(buses())
def test_every_tick_is_told_exactly_once(bus: Bus) -> None:
    seen = seen_of(bus)
    began_ms = seen.began_us // 1000
    for number, plan in enumerate(bus.blocks):
        rows = [row for row in seen.rows if row.block == number]
        first = began_ms + 1 + (plan.phase_ms - began_ms - 1) % plan.interval_ms
        last = max((row.replied_us for row in rows), default=seen.began_us) // 1000
        ticks = len(range(first, max(last, first - 1) + 1, plan.interval_ms))
        # The newest ticks may have come while a row was being made.
        busy_ms = (max(dev.max_reply_s for dev in bus.devices) + 0.5) * 1000
        assert ticks - 1 - busy_ms / plan.interval_ms <= len(rows) <= ticks or not rows


@settings(deadline=None)
@given(buses(gaps=False))
def test_a_device_that_returns_is_asked_within_30_s(bus: Bus) -> None:
    back_at = 45.0
    dead = replace_deaths(bus, ((0.0, back_at),))
    seen = seen_of(dead, 45.0 + 2 * RETURN_S)
    shortest = min(plan.interval_ms for plan in bus.blocks if plan.device == 0)
    if shortest > 5000 or (seen.budget.share or 0) > 0.5 or seen.budget.cycle_s > 5:
        return
    back_us = seen.began_us + round(back_at * 1e6)
    again = [asked for asked in seen.asked if asked.unit_id == 1 and asked.requested_us >= back_us]
    assert again
    assert again[0].requested_us - back_us <= RETURN_S * 1e6


def replace_deaths(bus: Bus, of_the_first: tuple[tuple[float, float], ...]) -> Bus:
    return replace(bus, deaths=(of_the_first, *bus.deaths[1:]))


def ten(interval_ms: int, *, alarms: bool = False) -> tuple[list[DevicePlan], list[BlockPlan]]:
    devices = [device(f"d{unit}", unit_id=unit) for unit in range(1, 11)]
    blocks = [
        block(
            device=place,
            interval_ms=interval_ms,
            phase_ms=place * interval_ms // 10,
            offsets=range(20),
            is_alarm=alarms and place == 0,
        )
        for place in range(10)
    ]
    return devices, blocks


def rate(seen: Seen, living: Sequence[int], from_s: float, to_s: float, interval_ms: int) -> float:
    low, high = (seen.began_us + round(at * 1e6) for at in (from_s, to_s))
    good = sum(
        asked.code == quality.GOOD and asked.unit_id in living and low <= asked.requested_us < high
        for asked in seen.asked
    )
    return good / (len(living) * (to_s - from_s) * 1000 / interval_ms)


@pytest.mark.parametrize(("max_reply_s", "seconds"), [(1.0, 60), (3.0, 120)])
@pytest.mark.parametrize(("dead", "least"), [(1, 0.95), (3, 0.88)])
@pytest.mark.parametrize("dies_at", [0.0, 20.0])
def test_dead_devices_leave_the_others_their_rate(
    dead: int, least: float, dies_at: float, max_reply_s: float, seconds: int
) -> None:
    # 20 registers at 9600 baud and 2 ms of thinking: 61.3 ms; ten of them use 80 % of 766 ms.
    interval_ms = 766
    devices, blocks = ten(interval_ms)
    devices = [replace(one, max_reply_s=max_reply_s) for one in devices]

    def reply(unit_id: int, now_us: int) -> int | None:
        return None if unit_id <= dead and now_us >= 5_000_000_000 + dies_at * 1e6 else 2_000

    seen = run(devices, blocks, reply, seconds=dies_at + seconds + 2)
    living = range(dead + 1, 11)
    assert rate(seen, living, dies_at, dies_at + seconds, interval_ms) >= least


@pytest.mark.parametrize("dead", [1, 3, 6])
def test_probes_cost_their_share_in_the_long_run(dead: int) -> None:
    devices, blocks = ten(1000)
    seen = run(devices, blocks, lambda unit, now: None if unit <= dead else 2_000, seconds=1800)
    spent = seen.facts["port/bus-1"]["probes_s"]
    assert isinstance(spent, float)
    # What a device has to wait for to be found within 30 s is more than the account from four dead ones on.
    assert spent / 1800 <= max(0.03, dead * 0.0195)


def test_a_slow_device_is_found_by_a_long_probe_and_told() -> None:
    devices, blocks = ten(1000)
    reply: Reply = lambda unit, now: 700_000 if unit == 3 else 2_000  # noqa: E731
    seen = run(devices, blocks, reply, seconds=60)
    facts = seen.facts["device/d3"]
    assert facts["state"] == "healthy"
    assert facts["over_budget"] == 1
    codes = Counter(asked.code for asked in seen.asked if asked.unit_id == 3)
    assert codes[quality.NO_REPLY] <= 4
    assert codes[quality.GOOD] >= 40


def test_damage_never_delays_an_alarm_beyond_its_bound() -> None:
    """Second attempts wait for alarm blocks, so a noisy line costs an alarm no more than a dead one."""
    devices, blocks = ten(1000, alarms=True)
    noisy = run(
        devices,
        blocks,
        lambda unit, now: 2_000,
        seconds=120,
        spoils=lambda unit, now: quality.GOOD if unit == 1 or now // 977 % 3 else quality.BAD_FRAME,
    )
    (bound,) = noisy.budget.alarms
    assert noisy.facts["device/d2"]["retries"] != 0
    worst = noisy.facts["device/d1"]["alarm_worst_ms_holding_0"]
    assert isinstance(worst, float)
    assert worst <= bound.bound_s * 1000
    assert noisy.facts["port/bus-1"]["alarm_worst_ms"] == worst
