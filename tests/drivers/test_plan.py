from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import (
    CODES,
    FAULT,
    GOOD,
    IMPLAUSIBLE,
    INHIBITED,
    INSTRUMENT_WARNING,
    INVALID,
    NOT_A_NUMBER,
    OVER_RANGE,
    UNDER_RANGE,
    UNIT_MISMATCH,
    WARM_UP,
    WITH_VALUE,
)
from drivers.decode import decode_words
from drivers.encode import encode_words
from drivers.errors import DecodeError, PlanError
from drivers.plan import (
    BlockRead,
    DecimalsFrom,
    FieldRef,
    Gate,
    IdentityRead,
    PointStep,
    Sentinel,
    UnitFrom,
    compile_block,
    read_identity,
    resolution_text,
    worse,
)
from drivers.words import FLOATS, ORDERS, REGISTERS


def block(*points: PointStep, count: int) -> BlockRead:
    return BlockRead(table="holding", address=0, count=count, interval_ms=1000, points=points)


def u16(offset: int, **more: Any) -> PointStep:
    return PointStep(name=f"p{offset}", offset=offset, data_type="u16", **more)


STATE = FieldRef(offset=0, data_type="u16")


def test_plain_words_come_through() -> None:
    decode = compile_block(block(*(u16(n) for n in range(20)), count=20))
    assert decode(tuple(range(20))) == (tuple(range(20)), None)
    assert decode(list(range(20))) == (tuple(range(20)), None)


def test_plain_words_with_holes_and_in_another_order() -> None:
    assert compile_block(block(u16(3), u16(1), count=5))((10, 11, 12, 13, 14)) == ((13, 11), None)
    assert compile_block(block(u16(2), count=5))((10, 11, 12, 13, 14)) == ((12,), None)


def test_one_register_seen_twice() -> None:
    raw, tenth = u16(0), PointStep(name="t", offset=0, data_type="i16", add=-500)
    assert compile_block(block(raw, tenth, count=1))((400,)) == ((400, -100), None)


def test_mixed_types_in_one_pass() -> None:
    points = (
        PointStep(name="a", offset=0, data_type="i16"),
        PointStep(name="b", offset=2, data_type="u32", byte_order="CDAB"),
        PointStep(name="c", offset=4, data_type="u8l"),
        PointStep(name="d", offset=4, data_type="bit15"),
        PointStep(name="e", offset=5, data_type="bcd16"),
        PointStep(name="f", offset=6, data_type="f32", resolution=None),
        PointStep(name="g", offset=8, data_type="sm16"),
    )
    words = (0xFFFF, 9, 0x5678, 0x1234, 0x8007, 0x0042, 0x4248, 0, 0x8003)
    assert compile_block(block(*points, count=9))(words) == ((-1, 0x12345678, 7, 1, 42, 50.0, -3), None)


def test_bcd_that_is_none_is_invalid() -> None:
    points = (PointStep(name="a", offset=0, data_type="bcd16"), u16(1))
    assert compile_block(block(*points, count=2))((0x00A0, 5)) == ((None, 5), (INVALID, GOOD))


def test_counts_are_scaled_with_integers() -> None:
    # (raw - 500) / 10 Celsius: resolution 0.1, add -500
    step = PointStep(name="t", offset=0, data_type="u16", add=-500, resolution=Fraction(1, 10))
    values, codes = compile_block(block(step, count=1))((715,))
    assert (values, codes) == ((215,), None)
    assert values[0] * step.resolution == Fraction("21.5")  # type: ignore[operator]


@pytest.mark.parametrize(("decimals", "expected"), [(0, 5000), (1, 500), (3, 5), (4, None), (0xFFFF, None)])
def test_decimals_from_a_register(decimals: int, expected: int | None) -> None:
    told = DecimalsFrom(field=STATE, decimals=((0, 0), (1, 1), (2, 2), (3, 3)), finest=3)
    decode = compile_block(block(u16(1, decimals_from=told, resolution=Fraction(1, 1000)), count=2))
    assert decode((decimals, 5)) == ((expected,), None if expected is not None else (INVALID,))


def test_nibbles_are_masked() -> None:
    unit = UnitFrom(field=FieldRef(offset=0, data_type="u16", mask=0xF000, shift=12), accepted=(2,))
    decode = compile_block(block(u16(1, unit_from=unit), count=2))
    assert decode((0x2F00, 7)) == ((7,), None)
    assert decode((0x4F00, 7)) == ((None,), (UNIT_MISMATCH,))


ENUM = Gate(field=STATE, kind="enum", cases=((1, 1, GOOD), (2, 2, WARM_UP), (7, 7, INSTRUMENT_WARNING)))
RANGE = Gate(field=STATE, kind="range", cases=((0, 0, GOOD), (1, 999, INSTRUMENT_WARNING), (1000, 1999, FAULT)))
BITS = Gate(field=STATE, kind="bits", cases=((4, 4, INSTRUMENT_WARNING), (6, 7, FAULT)), otherwise=GOOD)


@pytest.mark.parametrize(
    ("gate", "raw", "value", "code"),
    [
        (ENUM, 1, 9, GOOD),
        (ENUM, 2, None, WARM_UP),
        (ENUM, 7, 9, INSTRUMENT_WARNING),
        (ENUM, 99, None, INVALID),
        (RANGE, 0, 9, GOOD),
        (RANGE, 999, 9, INSTRUMENT_WARNING),
        (RANGE, 1000, None, FAULT),
        (RANGE, 2000, None, INVALID),
        (BITS, 0, 9, GOOD),
        (BITS, 0x10, 9, INSTRUMENT_WARNING),
        (BITS, 0x80, None, FAULT),
        (BITS, 0x50, None, FAULT),
        (BITS, 0x01, 9, GOOD),
    ],
)
def test_gates(gate: Gate, raw: int, value: int | None, code: int) -> None:
    values, codes = compile_block(block(u16(1, gates=(gate,)), count=2))((raw, 9))
    assert values == (value,)
    assert codes == (None if code == GOOD else (code,))


def test_the_worst_gate_wins_and_the_first_of_equals() -> None:
    inhibited = Gate(field=STATE, kind="enum", cases=((2, 2, INHIBITED), (7, 7, GOOD)))
    assert compile_block(block(u16(1, gates=(ENUM, inhibited)), count=2))((2, 9))[1] == (WARM_UP,)
    assert compile_block(block(u16(1, gates=(inhibited, ENUM)), count=2))((2, 9))[1] == (INHIBITED,)
    assert compile_block(block(u16(1, gates=(inhibited, ENUM)), count=2))((7, 9)) == ((9,), (INSTRUMENT_WARNING,))


def test_a_sentinel_is_worse_than_a_warning_beside_a_number() -> None:
    point = u16(1, gates=(ENUM,), sentinels=(Sentinel(raw=0xFFFF, code=OVER_RANGE),))
    assert compile_block(block(point, count=2))((7, 0xFFFF)) == ((None,), (OVER_RANGE,))


F32 = {"offset": 0, "data_type": "f32", "resolution": None}
NAMED = (
    Sentinel(raw="nan", code=FAULT),
    Sentinel(raw="+inf", code=OVER_RANGE),
    Sentinel(raw="-inf", code=UNDER_RANGE),
    Sentinel(raw=-999.0, code=INHIBITED),
)


@pytest.mark.parametrize(
    ("value", "sentinels", "code"),
    [
        (math.nan, NAMED, FAULT),
        (math.inf, NAMED, OVER_RANGE),
        (-math.inf, NAMED, UNDER_RANGE),
        (-999.0, NAMED, INHIBITED),
        (math.nan, (), NOT_A_NUMBER),
        (math.inf, (), NOT_A_NUMBER),
        (-math.inf, (), NOT_A_NUMBER),
    ],
)
def test_what_floats_stand_for(value: float, sentinels: tuple[Sentinel, ...], code: int) -> None:
    decode = compile_block(block(PointStep(name="p", sentinels=sentinels, **F32), count=2))
    assert decode(encode_words(value, data_type="f32")) == ((None,), (code,))


def test_plausible_ends_belong_to_the_range() -> None:
    decode = compile_block(block(u16(0, low=10, high=20), count=1))
    assert [decode((raw,)) for raw in (10, 20)] == [((10,), None), ((20,), None)]
    assert [decode((raw,)) for raw in (9, 21)] == [((None,), (IMPLAUSIBLE,))] * 2
    floats = compile_block(block(PointStep(name="p", low=0.0, high=100.0, **F32), count=2))
    assert floats(encode_words(100.5, data_type="f32")) == ((None,), (IMPLAUSIBLE,))


@pytest.mark.parametrize("words", [(), (1,), (1, 2, 3)])
@pytest.mark.parametrize("data_type", ["u16", "i16", "sm16"])
def test_a_block_of_another_length_is_an_error(words: tuple[int, ...], data_type: str) -> None:
    points = [PointStep(name=str(n), offset=n, data_type=data_type) for n in range(2)]
    with pytest.raises(DecodeError, match="2 words"):
        compile_block(block(*points, count=2))(words)


@st.composite
def _blocks(draw: st.DrawFn) -> BlockRead:
    count = draw(st.integers(4, 12))
    points = []
    for number in range(draw(st.integers(1, 6))):
        data_type = draw(st.sampled_from(sorted(REGISTERS)))
        order = draw(st.sampled_from((None, *ORDERS[REGISTERS[data_type]])))
        offset = draw(st.integers(0, count - REGISTERS[data_type]))
        is_float = data_type in FLOATS
        points.append(
            PointStep(
                name=f"p{number}",
                offset=offset,
                data_type=data_type,
                byte_order=order,
                resolution=None if is_float else Fraction(1, 10),
                add=0 if is_float else draw(st.integers(-5, 5)),
                gates=draw(st.sampled_from([(), (ENUM,), (RANGE, BITS)])),
                sentinels=draw(st.sampled_from([(), NAMED if is_float else (Sentinel(raw=0, code=FAULT),)])),
            )
        )
    return BlockRead(table="holding", address=100, count=count, interval_ms=1000, points=tuple(points))


@given(_blocks(), st.data())
def test_a_block_agrees_with_decode_words_and_keeps_the_contract(read: BlockRead, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 65535), min_size=read.count, max_size=read.count))
    values, codes = compile_block(read)(words)
    assert codes is None or any(codes)
    for point, value, code in zip(read.points, values, codes or [GOOD] * len(values), strict=True):
        assert (value is not None) == (code in WITH_VALUE)
        if value is not None:
            offset, length = point.span
            raw = decode_words(words[offset : offset + length], data_type=point.data_type, byte_order=point.byte_order)
            assert value == raw + point.add


@given(_blocks())
def test_a_block_survives_the_stored_plan(read: BlockRead) -> None:
    stored = msgpack.unpackb(msgpack.packb(read.to_wire()))
    assert BlockRead.from_wire(stored) == read


def test_everything_survives_the_stored_plan() -> None:
    point = PointStep(
        name="gas",
        offset=1,
        data_type="u16",
        multiply=2,
        add=-3,
        resolution=Fraction(16, 32768),
        decimals_from=DecimalsFrom(field=STATE, decimals=((0, 0), (4, 1)), finest=1),
        unit_from=UnitFrom(field=FieldRef(offset=0, data_type="u16", mask=0xF000, shift=12), accepted=(2, 3)),
        sentinels=(Sentinel(raw=0xFFFF, code=FAULT),),
        gates=(ENUM, RANGE, BITS),
        low=0,
        high=100,
    )
    read = block(point, count=2)
    assert BlockRead.from_wire(msgpack.unpackb(msgpack.packb(read.to_wire()))) == read
    assert point.moved(5).moved(-5) == point
    assert point.moved(5).spans[1] == (5, 1)
    identity = IdentityRead(name="serial-number", table="holding", address=514, count=2, data_type="u32")
    assert IdentityRead.from_wire(msgpack.unpackb(msgpack.packb(identity.to_wire()))) == identity


def _mutations() -> list[Any]:
    good = block(u16(1, gates=(ENUM,), sentinels=(Sentinel(raw=1, code=FAULT),)), count=2).to_wire()
    point = good["points"][0]
    gate = point["gates"][0]

    def with_point(**more: Any) -> dict[str, Any]:
        return good | {"points": [point | more]}

    return [
        None,
        [],
        good | {"table": "coils"},
        good | {"count": 0},
        good | {"count": 126},
        good | {"count": True},
        good | {"address": 65535},
        good | {"interval_ms": 0},
        good | {"points": 3},
        good | {"extra": 1},
        {key: value for key, value in good.items() if key != "count"},
        with_point(offset=2),
        with_point(offset=-1),
        with_point(type="u17"),
        with_point(order="ABCD"),
        with_point(resolution=None),
        with_point(resolution="1/0"),
        with_point(resolution="-1/1"),
        with_point(resolution="abc"),
        with_point(name=5),
        with_point(sentinels=[[1]]),
        with_point(sentinels=[["many", FAULT]]),
        with_point(sentinels=[[1, GOOD]]),
        with_point(sentinels=[[1, 999]]),
        with_point(gates=[gate | {"kind": "fuzzy"}]),
        with_point(gates=[gate | {"cases": [[1, 2]]}]),
        with_point(gates=[gate | {"cases": [[2, 1, 0]]}]),
        with_point(gates=[gate | {"cases": [[1, 1, 999]]}]),
        with_point(gates=[gate | {"field": {}}]),
        with_point(gates=[gate | {"field": gate["field"] | {"type": "f32"}}]),
        with_point(gates=[gate | {"field": gate["field"] | {"offset": 9}}]),
        with_point(unit_from={"field": gate["field"], "accepted": ["x"]}),
        with_point(decimals_from={"field": gate["field"], "decimals": [[0, 9]], "finest": 3}),
    ]


@pytest.mark.parametrize("data", _mutations())
def test_a_stored_plan_of_another_shape_is_refused(data: Any) -> None:
    with pytest.raises(PlanError):
        BlockRead.from_wire(data)


def test_floats_are_not_scaled() -> None:
    with pytest.raises(PlanError, match="resolution"):
        PointStep(name="p", offset=0, data_type="f32")
    with pytest.raises(PlanError, match="scaled"):
        PointStep(name="p", add=1, **F32)


def test_kinds() -> None:
    kinds = [
        PointStep(name="p", offset=0, data_type=kind, resolution=None if kind in FLOATS else Fraction(1)).kind
        for kind in ("u16", "bit3", "f16", "f32", "f64")
    ]
    assert kinds == ["int", "int", "f32", "f32", "f64"]


@pytest.mark.parametrize(
    ("resolution", "text"),
    [
        ("0.01", "0.01"),
        ("1", "1"),
        ("100", "100"),
        ("2.5", "2.5"),
        ("1/3", "1/3"),
        ("16/32768", "1/2048"),
        ("0.001", "0.001"),
    ],
)
def test_resolutions_are_written_exactly(resolution: str, text: str) -> None:
    assert resolution_text(Fraction(resolution)) == text
    assert Fraction(text) == Fraction(resolution)


def test_worse_orders_all_codes() -> None:
    for first in CODES:
        assert worse(first, first) == first
        for second in CODES:
            assert worse(first, second) in (first, second)
    assert worse(INSTRUMENT_WARNING, OVER_RANGE) == OVER_RANGE
    assert worse(FAULT, WARM_UP) == FAULT


def test_identity_is_text() -> None:
    number = IdentityRead(name="serial-number", table="holding", address=0, count=2, data_type="u32")
    assert read_identity(number, (1, 0xE240)) == "123456"
    name = IdentityRead(name="name", table="holding", address=0, count=2, data_type="string")
    assert read_identity(name, (0x4142, 0x2000)) == "AB"
