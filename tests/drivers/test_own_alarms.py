"""The instrument's own alarms: from a file to points of 0 and 1."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import INVALID, SIMULATED
from drivers.build import PointChoice, plan_device, point_step
from drivers.errors import PlanError, ProfileError
from drivers.loader import load_profile, parse_profile
from drivers.plan import BlockRead, FieldRef, Flag, Gate, PointStep, TriggerStep, compile_block
from drivers.planner import Limits, WantedPoint, plan_blocks
from tests.drivers.test_loader import MINIMAL

ALARM = """
[alarms.a1]
names = { en = "alarm 1", zh = "一级报警" }
field = "state"
bits = [0]
means = "alarm"
level = 1
shows = "relay"
"""
TRIGGER = """
[triggers.measure]
function = 6
address = 8
values = [1]
wait_ms = 300
"""


def flagged(flag: Flag, data_type: str = "u16", **more: Any) -> BlockRead:
    point = PointStep(name="a", offset=0, data_type=data_type, flag=flag, **more)
    return BlockRead(table="holding", address=0, count=4, interval_ms=1000, points=(point,))


@given(
    word=st.integers(min_value=0, max_value=65535),
    mask=st.one_of(st.none(), st.integers(min_value=1, max_value=65535)),
    shift=st.integers(min_value=0, max_value=15),
    bit=st.integers(min_value=0, max_value=15),
    cases=st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: (min(pair), max(pair))), min_size=1
    ),
)
def test_a_flag_is_one_exactly_where_its_field_says_so(
    word: int, mask: int | None, shift: int, bit: int, cases: list[tuple[int, int]]
) -> None:
    field = (word if mask is None else word & mask) >> shift
    bits = Flag(kind="bits", cases=((bit, bit),), mask=mask, shift=shift)
    among = Flag(kind="range", cases=tuple(cases), mask=mask, shift=shift)
    for flag, expected in ((bits, field >> bit & 1), (among, any(low <= field <= high for low, high in cases))):
        block = flagged(flag)
        assert compile_block(block)((word, 0, 0, 0)) == ((int(expected),), None)
        assert BlockRead.from_wire(block.to_wire()) == block


def test_a_flag_of_many_bits_and_of_32_bits() -> None:
    decode = compile_block(flagged(Flag(kind="bits", cases=((6, 18),)), "u32", byte_order="ABCD"))
    assert [decode((high, low, 0, 0))[0][0] for high, low in ((0, 0x003F), (0, 0x0040), (4, 0), (8, 0))] == [0, 1, 1, 0]


def test_a_digit_that_is_none_is_no_alarm_and_no_calm() -> None:
    assert compile_block(flagged(Flag(kind="range", cases=((1, 9),)), "bcd16"))((0xF000, 0, 0, 0)) == (
        (None,),
        (INVALID,),
    )


def test_gates_take_the_number_of_a_flag_away() -> None:
    state = FieldRef(offset=1, data_type="u16")
    gate = Gate(field=state, kind="enum", cases=((4, 4, SIMULATED),), otherwise=0)
    decode = compile_block(flagged(Flag(kind="bits", cases=((0, 0),)), gates=(gate,)))
    assert decode((1, 1, 0, 0)) == ((1,), None)
    assert decode((1, 4, 0, 0)) == ((None,), (SIMULATED,))


@pytest.mark.parametrize(
    "more",
    [
        {"multiply": 2},
        {"add": 1},
        {"low": 0},
        {"data_type": "f32", "resolution": None},
    ],
)
def test_a_flag_is_neither_scaled_nor_bounded(more: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="flag"):
        PointStep(**{"name": "a", "offset": 0, "data_type": "u16", "flag": Flag(kind="bits", cases=((0, 0),)), **more})


@pytest.mark.parametrize("cases", [(), ((2, 1),)])
def test_impossible_flags_are_refused(cases: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(PlanError, match="flag"):
        Flag(kind="bits", cases=cases)


def test_an_alarm_is_a_point_with_a_key_of_its_own() -> None:
    profile = parse_profile((MINIMAL + ALARM).encode(), file="mini.toml", id="mini")
    point = profile.all_points["a1"]
    assert (point.key, point.unit, point.table, point.address) == ("own-alarm/a1", "1", "holding", 0)
    (block,) = plan_device(profile)
    assert (block.address, block.count, [step.name for step in block.points]) == (0, 2, ["a1", "raw"])
    assert compile_block(block)((3, 9)) == ((1, 9), None)
    assert [step.name for block in plan_device(profile, {"raw": PointChoice()}) for step in block.points] == ["raw"]


def test_alarms_of_the_xnx_come_with_the_gas_in_one_read() -> None:
    (block,) = plan_device(load_profile("honeywell-xnx"))
    assert {"gas", "a1", "a2", "warning", "fault"} <= {step.name for step in block.points}


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ('field = "state"', 'field = "ghost"', "alarms.a1.field", "state"),
        ("bits = [0]", "", "alarms.a1", "exactly one of bits"),
        ("bits = [0]", "bits = [0]\nvalues = [1]", "alarms.a1", "exactly one of bits"),
        ("bits = [0]", "bits = [16]", "alarms.a1.bits", "0 to 15, not 16"),
        ("bits = [0]", "ranges = [[2, 1]]", "alarms.a1", "upside"),
        ("level = 1", "", "alarms.a1", "level belongs"),
        ('means = "alarm"', 'means = "fault"', "alarms.a1", "level belongs"),
        ('shows = "relay"', 'shows = "maybe"', "alarms.a1.shows", "maybe"),
        ('shows = "relay"', 'shows = "relay"\nseverity = "pink"', "alarms.a1.severity", "pink"),
        ("[alarms.a1]", "[alarms.raw]", "alarms.raw", "a point has this name too"),
        ('shows = "relay"', 'shows = "relay"\ntrigger = "ghost"', "alarms.a1.trigger", "ghost"),
        (
            'shows = "relay"',
            'shows = "relay"\ngates = [{ field = "ghost", enum = { 1 = "ok" } }]',
            "alarms.a1.gates[0].field",
            "ghost",
        ),
    ],
)
def test_a_wrong_alarm_is_named(old: str, new: str, key: str, said: str) -> None:
    assert old in ALARM
    with pytest.raises(ProfileError) as caught:
        parse_profile((MINIMAL + ALARM.replace(old, new)).encode(), file="mini.toml", id="mini")
    assert any(
        str(problem).startswith(f"mini.toml: {key}") and said in str(problem) for problem in caught.value.problems
    )


def test_a_triggered_point_is_read_by_itself_and_carries_the_write() -> None:
    text = MINIMAL + 'trigger = "measure"\n' + ALARM + TRIGGER
    profile = parse_profile(text.encode(), file="mini.toml", id="mini")
    plain, triggered = plan_device(profile)
    assert [step.name for step in plain.points] == ["a1"]
    assert plain.trigger is None
    assert [step.name for step in triggered.points] == ["raw"]
    assert triggered.trigger == TriggerStep(function=6, address=8, values=(1,), wait_ms=300, answered=True)
    assert BlockRead.from_wire(triggered.to_wire()) == triggered


def test_points_of_one_trigger_come_after_one_write() -> None:
    trigger = TriggerStep(function=6, address=8, values=(1,), wait_ms=300, answered=False)
    steps = [PointStep(name=f"p{n}", offset=n, data_type="u16") for n in range(3)]
    wanted = [
        WantedPoint(step=step, table="holding", interval_ms=1000, trigger=trigger if place < 2 else None)
        for place, step in enumerate(steps)
    ]
    blocks = plan_blocks(wanted, Limits())
    assert [(block.trigger, block.address, block.count) for block in blocks] == [(None, 2, 1), (trigger, 0, 2)]


@pytest.mark.parametrize("changed", [{"function": 3}, {"values": ()}, {"wait_ms": -1}])
def test_impossible_triggers_are_refused(changed: dict[str, Any]) -> None:
    kept: dict[str, Any] = {"function": 6, "address": 1, "values": (1,), "wait_ms": 0, "answered": True}
    with pytest.raises(PlanError, match="trigger"):
        TriggerStep(**{**kept, **changed})


def test_an_alarm_cannot_be_set_to_a_unit() -> None:
    with pytest.raises(ProfileError, match="cannot be set"):
        point_step(load_profile("honeywell-xnx"), "a1", unit="[ppm]")
