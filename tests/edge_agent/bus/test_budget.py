"""The budget in numbers that a person can follow; that it holds is ``test_laws.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers.frames import silence_s
from drivers.steps import TriggerStep
from edge_agent.bus.budget import AlarmBound, deadline_s, port_budget, slot_deadline_ms, unmet
from edge_agent.bus.request_time import bits_per_character, read_bytes, wire_s, write_bytes
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan, PortPlan
from tests.edge_agent.small_plans import block, device, read

LINE = PortPlan(id="bus-1", kind="serial", device="/dev/null", baud=9600, parity="N", stop_bits=1)
TCP = PortPlan(id="tcp-1", kind="tcp", host="127.0.0.1", port=502)
#: 8 + 5 + 2 bytes of 10 bits at 9600 baud, and the silence before them
SILENCE = silence_s(9600, 10)
ONE_REGISTER = 15 * 10 / 9600 + SILENCE
#: its time-out and what the machine needs for one request
ALLOWED = 0.5 + 0.002


def bounds(port: PortPlan, devices: list[DevicePlan], blocks: list[BlockPlan]) -> list[AlarmBound]:
    return list(port_budget(port, devices, dict(enumerate(blocks))).alarms)


def terms(alarm: AlarmBound) -> dict[str, float]:
    return {term.name: round(term.seconds, 6) for term in alarm.terms if term.seconds}


@pytest.mark.parametrize(
    ("changes", "bits"),
    [({}, 10), ({"parity": "E"}, 11), ({"stop_bits": 2}, 11), ({"parity": "O", "stop_bits": 2}, 12)],
)
def test_a_character(changes: dict[str, object], bits: int) -> None:
    assert bits_per_character(replace(LINE, **changes)) == bits  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "count", "expected"), [(5, 1, 16), (6, 1, 16), (15, 9, 9 + 2 + 8), (16, 3, 9 + 6 + 8)]
)
def test_the_bytes_of_a_write(function: int, count: int, expected: int) -> None:
    assert (
        write_bytes(TriggerStep(function=function, address=0, values=(0,) * count, wait_ms=0, answered=True))
        == expected
    )


def test_the_bytes_of_a_read() -> None:
    assert read_bytes(read(range(10))) == 8 + 5 + 20
    assert read_bytes(replace(read((0,)), table="coil", count=17, points=())) == 8 + 5 + 3
    assert wire_s(TCP, 100) == 0.0
    assert wire_s(replace(LINE, baud=115_200), 100) == pytest.approx(1000 / 115_200 + 0.00175)


def test_a_device_alone() -> None:
    (alarm,) = bounds(LINE, [device()], [block(is_alarm=True)])
    assert terms(alarm) == {"interval": 1.0, "own": round(ONE_REGISTER + ALLOWED, 6), "process": 0.05}
    assert alarm.deadline_s == 31.0
    assert alarm.is_met
    assert alarm.dominating.name == "interval"
    assert alarm.spare_s == pytest.approx(31 - alarm.bound_s)


def test_every_part_of_a_shared_line() -> None:
    devices = [device(f"d{unit}", unit_id=unit) for unit in range(1, 5)]
    devices[3] = replace(devices[3], max_reply_s=4.0, timeout_s=0.8)
    blocks = [
        block(is_alarm=True),
        block(device=1, is_alarm=True),
        block(device=2, is_alarm=True, interval_ms=500),
        block(device=3),
    ]
    first, _, quick = bounds(LINE, devices, blocks)
    own = ONE_REGISTER + ALLOWED
    slow = ONE_REGISTER + 0.802
    assert terms(first) == {
        "interval": 1.0,
        # the slow device's request is not interrupted
        "under way": round(slow, 6),
        # d2 once; d3 once and once more, since its next tick can have an earlier deadline
        "alarms": round(own + 2 * own, 6),
        # three alarm turns leave room for two of ordinary blocks
        "ordinary": round(2 * slow, 6),
        # a probe of d4 can wait four seconds
        "probe": round(4.0 - 0.8, 6),
        "own": round(own, 6),
        "process": 0.05,
    }
    assert terms(quick)["alarms"] == round(2 * own, 6)
    assert first.dominating.name == "probe"
    assert first.dominating.device == "d4"


def test_the_pause_that_a_device_wants() -> None:
    devices = [device(gap_ms=500), device("d2", unit_id=2)]
    blocks = [block(is_alarm=True), block(device=1)]
    alarm, *_ = bounds(LINE, devices, blocks)
    own = ONE_REGISTER + ALLOWED
    assert terms(alarm)["gap"] == round(0.5 + own, 6)
    # With an ordinary block of its own the pause can come twice.
    alarm, *_ = bounds(LINE, devices, [*blocks, block(address=100)])
    assert terms(alarm)["gap"] == round(2 * (0.5 + own), 6)


def test_a_lost_reply_costs_its_wait_and_another_round() -> None:
    (alarm,) = bounds(LINE, [device()], [block(is_alarm=True)])
    response = alarm.bound_s - 1.0
    # Half a second until the time-out, half until the late reply can no longer come, and the next tick.
    assert alarm.after_loss_s == pytest.approx(alarm.bound_s + response + 0.5 + 1.0)


def test_what_a_link_adds() -> None:
    plan = block(is_alarm=True, interval_ms=5000)
    (near,) = bounds(TCP, [device()], [plan])
    (far,) = bounds(replace(TCP, gateway_timeout_s=1.5), [device()], [plan])
    assert far.bound_s - near.bound_s == pytest.approx(1.0)
    (dtu,) = bounds(replace(LINE, kind="dtu", network_delay_s=2.0, gap_ms=20), [device()], [plan])
    (wire,) = bounds(LINE, [device()], [plan])
    assert dtu.bound_s - wire.bound_s == pytest.approx(2.02)


def test_a_line_that_carries_only_so_much() -> None:
    budget = port_budget(LINE, [device()], {0: block(), 7: block(address=50, is_alarm=True)})
    assert budget.share == pytest.approx(2 * (ONE_REGISTER + SILENCE))
    assert budget.cycle_s == pytest.approx(2 * (ONE_REGISTER + ALLOWED))
    assert [alarm.block for alarm in budget.alarms] == [7]
    assert port_budget(TCP, [device()], {0: block()}).share is None


@pytest.mark.parametrize(
    ("interval_ms", "deadline_ms", "is_alarm", "seconds", "slot_ms"),
    [
        (1000, 0, True, 31.0, 1000),
        (1000, 5000, True, 5.0, 1000),
        (1000, 1200, True, 1.2, 200),
        (1000, 500, True, 0.5, 1),
        (60_000, 61_000, True, 61.0, 1000),
        (1000, 1200, False, 1.2, 1000),
    ],
)
def test_deadlines(interval_ms: int, deadline_ms: int, is_alarm: bool, seconds: float, slot_ms: int) -> None:
    plan = replace(block(interval_ms=interval_ms, is_alarm=is_alarm), deadline_ms=deadline_ms)
    assert deadline_s(plan) == seconds
    assert slot_deadline_ms(plan) == slot_ms


def test_what_cannot_be_met_is_found() -> None:
    late = replace(block(is_alarm=True), deadline_ms=1400)
    budget = port_budget(LINE, [device()], {0: late, 1: block(is_alarm=True, address=10)})
    ((found, alarm),) = unmet([budget])
    assert found is budget
    assert alarm.block == 0
    assert not alarm.is_met
    assert alarm.spare_s == 0
