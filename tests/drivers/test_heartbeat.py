"""A heartbeat that stands still takes the number away, and only then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import FAULT, FROZEN, GOOD
from drivers.build import PointChoice, plan_device
from drivers.errors import PlanError, ProfileError
from drivers.heartbeat import watching
from drivers.loader import load_profile, parse_profile
from drivers.plan import BlockDecoder, BlockRead, FieldRef, Gate, Heartbeat, PointStep, compile_block
from tests.drivers.test_loader import MINIMAL

BEAT = Heartbeat(field=FieldRef(offset=1, data_type="u16", mask=0x00FF), still_ms=1000)
FAULTY = Gate(field=FieldRef(offset=2, data_type="u16"), kind="enum", cases=((1, 1, FAULT),), otherwise=GOOD)
BLOCK = BlockRead(
    table="holding",
    address=0,
    count=3,
    interval_ms=100,
    points=(
        PointStep(name="gas", offset=0, data_type="u16", heartbeat=BEAT, gates=(FAULTY,)),
        PointStep(name="heartbeat", offset=1, data_type="u16"),
    ),
)


class Clock:
    def __init__(self) -> None:
        self.now_us = 5_000_000

    def __call__(self) -> int:
        return self.now_us


def watched(clock: Clock) -> BlockDecoder:
    return watching(BLOCK, compile_block(BLOCK), clock)


def test_it_is_frozen_after_the_time_and_good_with_the_next_beat() -> None:
    clock = Clock()
    decode = watched(clock)
    assert decode((7, 1, 0)) == ((7, 1), None)
    clock.now_us += 1_000_000
    assert decode((7, 1, 0)) == ((7, 1), None)
    clock.now_us += 1
    assert decode((7, 1, 0)) == ((None, 1), (FROZEN, GOOD))
    assert decode((8, 0x0201, 0)) == ((None, 0x0201), (FROZEN, GOOD))  # bits beside the counter are no beat
    assert decode((8, 2, 0)) == ((8, 2), None)


def test_what_is_worse_or_earlier_keeps_its_name() -> None:
    clock = Clock()
    decode = watched(clock)
    decode((7, 1, 1))
    clock.now_us += 2_000_000
    assert decode((7, 1, 1)) == ((None, 1), (FAULT, GOOD))


def test_two_devices_never_share_a_heartbeat() -> None:
    clock = Clock()
    one, other = watched(clock), watched(clock)
    one((7, 1, 0))
    clock.now_us += 2_000_000
    assert other((7, 1, 0)) == ((7, 1), None)


@given(
    beats=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2_000_000)), min_size=1, max_size=30),
)
def test_a_number_stands_exactly_while_the_counter_changed_lately(beats: list[tuple[int, int]]) -> None:
    clock = Clock()
    decode = watched(clock)
    last, since = None, 0
    for beat, later_us in beats:
        clock.now_us += later_us
        if beat != last:
            last, since = beat, clock.now_us
        values, codes = decode((7, beat, 0))
        frozen = clock.now_us - since > 1_000_000
        assert (values[0], codes) == ((None, (FROZEN, GOOD)) if frozen else (7, None))


def test_a_block_without_a_heartbeat_is_decoded_as_ever() -> None:
    (block,) = plan_device(load_profile("gas-head-10reg"))
    decode = compile_block(block)
    assert watching(block, decode, Clock()) is decode


def test_it_survives_the_stored_plan_and_moves_with_its_point() -> None:
    assert BlockRead.from_wire(BLOCK.to_wire()) == BLOCK
    (block,) = plan_device(load_profile("honeywell-xrl"), {"gas": PointChoice()})
    (gas,) = block.points
    assert gas.heartbeat is not None
    assert block.address + gas.heartbeat.field.offset == 107


@pytest.mark.parametrize("still_ms", [0, -5])
def test_an_impossible_heartbeat_is_refused(still_ms: int) -> None:
    with pytest.raises(PlanError, match="stands still"):
        Heartbeat(field=FieldRef(offset=0, data_type="u16"), still_ms=still_ms)


@pytest.mark.parametrize(
    ("field", "still", "said"), [("ghost", 60, "points.raw.heartbeat.field"), ("state", 0, "still_s")]
)
def test_a_wrong_heartbeat_is_named(field: str, still: int, said: str) -> None:
    text = MINIMAL + f'heartbeat = {{ field = "{field}", still_s = {still}.0 }}\n'
    with pytest.raises(ProfileError) as caught:
        parse_profile(text.encode(), file="mini.toml", id="mini")
    assert said in str(caught.value)
