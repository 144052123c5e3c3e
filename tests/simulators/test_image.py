"""The image is the inverse of the block decoder: whatever is shown is decoded again, for every profile."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import BY_REASON, GOOD
from drivers.build import PointChoice, plan_device
from drivers.loader import load_profile, read_profile, shipped_profile_ids
from drivers.plan import compile_block
from drivers.profile import Profile
from simulators.device import Memory, answer
from simulators.errors import ImageError
from simulators.image import DeviceImage
from simulators.signals import SILENT, Shown

PROFILES = shipped_profile_ids()
#: two points of one register: only one of them can be read
ALONE = {(id, name) for id in ("qd-transmitter", "qdy30a") for name in ("pressure", "level")}


@cache
def profile_of(id: str) -> Profile:
    return load_profile(id)


def read_back(profile: Profile, image: DeviceImage, name: str, shown: dict[str, Shown]) -> tuple[object, int]:
    """What the agent would make of one point: planned, asked with function 3 or 4, decoded."""
    block = plan_device(profile, {name: PointChoice()})[0]
    values, codes = compile_block(block)(words_of(image.memory(shown), block.table, block.address, block.count))
    place = [step.name for step in block.points].index(name)
    return values[place], GOOD if codes is None else codes[place]


def words_of(memory: Memory, table: str, address: int, count: int) -> tuple[int, ...]:
    function = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}[table]
    reply = answer(bytes((function,)) + address.to_bytes(2, "big") + count.to_bytes(2, "big"), memory)
    assert reply is not None
    assert reply.pdu[0] == function, f"exception {reply.pdu[1]} for {table} {address}+{count}"
    data = reply.pdu[2:]
    if function in (1, 2):
        return tuple(data[place // 8] >> place % 8 & 1 for place in range(count))
    return tuple(int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2))


def image_of(profile: Profile, name: str) -> DeviceImage:
    return DeviceImage(profile, read=[name] if (profile.id, name) in ALONE else None)


@pytest.mark.parametrize("id", PROFILES)
@given(data=st.data())
def test_a_shown_value_is_decoded_again(id: str, data: st.DataObject) -> None:
    profile = profile_of(id)
    name = data.draw(st.sampled_from(sorted(profile.points)))
    point = profile.points[name]
    image = image_of(profile, name)
    step = image.points[point.key].step
    low, high = image.span(point.key)
    if step.resolution is None:
        bound = [end for end in (step.low, step.high) if end is not None]
        value = data.draw(st.floats(min_value=max([-1e6, *bound[:1]]), max_value=min([1e6, *bound[1:]]), width=32))
        assert read_back(profile, image, name, {point.key: value}) == (value, GOOD)
        return
    bottom = math.ceil(Fraction(low) / step.resolution) if step.low is None else int(step.low)
    top = math.floor(Fraction(high) / step.resolution) if step.high is None else int(step.high)
    count = data.draw(st.integers(min_value=bottom, max_value=top))
    got, code = read_back(profile, image, name, {point.key: float(count * step.resolution)})
    assert code == GOOD
    if step.decimals_from is None:
        assert got == count
    else:  # as fine as the decimals register can say for a number of this size
        assert abs(Fraction(str(got)) - count) <= Fraction(10**step.decimals_from.finest, 2)


@pytest.mark.parametrize("id", PROFILES)
def test_every_state_that_a_point_can_show_is_decoded_as_that_state(id: str) -> None:
    profile = profile_of(id)
    for name, point in profile.points.items():
        image = image_of(profile, name)
        for word in image.states(point.key):
            if word == SILENT:
                continue
            _, code = read_back(profile, image, name, {point.key: word})
            assert code == BY_REASON[word], (name, word)


@pytest.mark.parametrize("id", [id for id in PROFILES if profile_of(id).alarms])
def test_every_alarm_of_an_instrument_can_be_shown_by_itself(id: str) -> None:
    profile = profile_of(id)
    image = DeviceImage(profile)
    for name in profile.alarms:
        key = profile.all_points[name].key
        assert image.span(key) == (0.0, 1.0)
        for value in (0, 1):
            got, code = read_back(profile, image, name, {key: float(value)})
            assert (got, code) == (value, GOOD), (name, value)


def test_alarms_stand_beside_a_number_and_a_state() -> None:
    profile, image = profile_of("honeywell-midas"), DeviceImage(profile_of("honeywell-midas"))
    shown: dict[str, Shown] = {"gas": 5.0, "own-alarm/a1": 1.0, "own-alarm/a2": 1.0}
    assert read_back(profile, image, "gas", shown) == (5.0, GOOD)
    assert read_back(profile, image, "a1", shown) == read_back(profile, image, "a2", shown) == (1, GOOD)
    assert words_of(image.memory(shown), "holding", 0, 1) == (0x00C1,)
    head, told = profile_of("gas-head-10reg"), DeviceImage(profile_of("gas-head-10reg"))
    shown = {"gas": 12.5, "own-alarm/low-alarm": 0.0, "own-alarm/high-alarm": 1.0}
    assert words_of(told.memory(shown), "holding", 5, 1) == (6,)
    assert words_of(told.memory({**shown, "gas": "fault"}), "holding", 5, 1) == (3,)
    troubled = DeviceImage(profile_of("honeywell-xnx")).memory({"gas": "fault", "own-alarm/a2": 1.0})
    assert words_of(troubled, "holding", 5, 2) == (0x0002, 8)
    assert read_back(head, told, "gas", shown)[1] == GOOD


def test_heartbeats_count_unless_a_point_says_otherwise() -> None:
    image = DeviceImage(profile_of("honeywell-xrl"))
    assert [words_of(image.memory({}, beat=beat), "holding", 107, 1) for beat in (0, 5, 65536)] == [(0,), (5,), (0,)]
    assert words_of(image.memory({"heartbeat": 9.0}, beat=5), "holding", 107, 1) == (9,)


@pytest.mark.parametrize("id", PROFILES)
def test_a_device_that_was_told_nothing_is_healthy(id: str) -> None:
    profile = profile_of(id)
    for block in plan_device(profile):
        image = DeviceImage(profile)
        _, codes = compile_block(block)(words_of(image.memory({}), block.table, block.address, block.count))
        assert codes is None


@pytest.mark.parametrize(
    ("profile", "key", "states"),
    [
        ("honeywell-xnx", "gas", {"fault", "warm_up", "inhibited", "instrument_warning", "calibrating", "simulated"}),
        ("gas-head-10reg", "gas", {"fault", "warm_up", "over_range", "calibration_overdue"}),
        ("keller-30", "pressure", {"fault", "over_range", "under_range"}),
        ("qd-transmitter", "pressure", {"unit_mismatch", "invalid"}),
        ("vegapuls-6x", "level", {"invalid"}),
    ],
)
def test_states_that_an_instrument_must_be_able_to_show(profile: str, key: str, states: set[str]) -> None:
    assert states <= set(DeviceImage(profile_of(profile)).states(key))


def test_an_inhibited_xnx_reads_zero_on_the_wire() -> None:
    memory = DeviceImage(profile_of("honeywell-xnx")).memory({"gas": "inhibited"})
    assert words_of(memory, "holding", 2, 2) == (0, 0)


def test_the_xnx_register_image_is_the_documented_one() -> None:
    memory = DeviceImage(profile_of("honeywell-xnx")).memory({"gas": 50.0, "heartbeat": 7.0})
    assert words_of(memory, "holding", 2, 9) == (0x4248, 0x0000, 0, 0, 1, 7, 0, 0, 5)


def test_a_value_beyond_the_registers_saturates_and_check_says_so() -> None:
    image = DeviceImage(profile_of("witmotion-wt901c485"))
    with pytest.raises(ImageError, match="does not fit"):
        image.check("acceleration/x", 20.0)
    assert words_of(image.memory({"acceleration/x": 20.0}), "holding", 0x34, 1) == (0x7FFF,)


def test_unknown_points_and_states_are_named() -> None:
    image = DeviceImage(profile_of("keller-30"))
    with pytest.raises(ImageError, match="no point 'gas'; it has pressure"):
        image.memory({"gas": 1.0})
    with pytest.raises(ImageError, match="cannot show 'warm_up'; it can show fault"):
        image.check("pressure", "warm_up")


def test_the_serial_number_is_in_the_identity_registers() -> None:
    memory = DeviceImage(profile_of("keller-30"), serial="104233").memory({})
    assert words_of(memory, "holding", 0x0202, 2) == (104233 >> 16, 104233 & 0xFFFF)


def test_the_road_profile_differs_from_the_shipped_one_in_quantity_and_unit_only() -> None:
    road = read_profile(Path(__file__).parents[2] / "config/sites/profiles/vegapuls-6x-road.toml")
    shipped = profile_of("vegapuls-6x").points["level"]
    ponding = road.points["ponding"]
    assert (ponding.quantity, ponding.unit) == ("ponding", "cm")
    for field in ("table", "address", "type", "byte_order", "gates"):
        assert getattr(ponding, field) == getattr(shipped, field)
    assert road.fields["status"] == profile_of("vegapuls-6x").fields["status"]
