"""Columns: identity over every kind and every pattern of missing numbers, and hostile blocks."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.columns import MAX_COUNT, MAX_SAMPLES, block_number, decode_block, decode_qualities, encode_block
from contracts.errors import ContractError, PayloadError, TooLargeError
from contracts.fields import U63, pack, unpack
from contracts.quality import CALIBRATION_OVERDUE, GOOD, NO_REPLY, NOT_A_NUMBER, OVER_RANGE
from tests.contracts.strategies import Samples, damaged, mutated, samples


def _encoded(s: Samples) -> list[Any]:
    return encode_block(s.number, s.kinds, s.sealed_us, s.times, s.rows, s.codes)


@given(samples())
def test_decode_after_encode_is_identity(s: Samples) -> None:
    block = decode_block(unpack(pack(_encoded(s))), s.kinds, s.sealed_us)
    assert block.number == s.number
    assert block.times == s.times
    assert block.values == [list(column) for column in zip(*s.rows, strict=True)]
    codes = [row if row is not None else [GOOD] * len(s.kinds) for row in s.codes]
    if block.codes is None:
        assert {code for row in codes for code in row} == {GOOD}
    else:
        assert block.codes == [list(column) for column in zip(*codes, strict=True)]


@given(samples())
def test_a_number_is_there_exactly_where_the_code_says_so(s: Samples) -> None:
    block = decode_block(_encoded(s), s.kinds, s.sealed_us)
    for index, column in enumerate(block.values):
        for tick, value in enumerate(column):
            code = GOOD if block.codes is None else block.codes[index][tick]
            assert (value is None) == (code not in (GOOD, CALIBRATION_OVERDUE, 19))


@given(samples())
def test_times_and_qualities_alone_are_those_of_the_block(s: Samples) -> None:
    raw = unpack(pack(_encoded(s)))
    block = decode_block(raw, s.kinds, s.sealed_us)
    times, codes = decode_qualities(raw, len(s.kinds), s.sealed_us)
    assert times == block.times
    by_point = None if codes is None else [codes[place :: len(s.kinds)] for place in range(len(s.kinds))]
    assert by_point == block.codes


@pytest.mark.parametrize(
    "raw",
    [
        [0, [], None, None, None, None],
        [0, ["1"], None, None, None, None],
        [0, [-9], None, None, None, None],
        [0, [0], None, None, None, [2, 0]],
        [0, [0], None, None, None, [1, 15]],
        [0, [0] * 140_000, [], None, None, None],
    ],
)
def test_times_and_qualities_that_are_none_are_refused(raw: Any) -> None:
    with pytest.raises(PayloadError):
        decode_qualities(raw, 1, 5)


@given(st.data())
def test_a_mutated_block_is_samples_or_a_contract_error(data: st.DataObject) -> None:
    s = data.draw(samples())
    raw = unpack(pack(_encoded(s)))
    try:
        raw = data.draw(mutated(raw)) if data.draw(st.booleans()) else unpack(data.draw(damaged(pack(raw))))
        block = decode_block(raw, s.kinds, s.sealed_us)
    except ContractError:
        return
    assert all(len(column) == len(block.times) for column in block.values)
    numbers = [value for column in block.values for value in column if value is not None]
    assert all(type(value) in (int, float) and math.isfinite(value) for value in numbers)


def test_a_worked_example() -> None:
    """Two points, three ticks; the second point's second reading had no reply."""
    raw = encode_block(
        3,
        ("int", "int"),
        10_000_000,
        [8_000_000, 9_000_000, 10_000_500],
        [(250, 1000), (251, None), (249, 1002)],
        [None, (GOOD, NO_REPLY), None],
    )
    assert raw == [3, [-2_000_000, 1_000_000, 1_000_500], [250, 1000, 1, -2, 2], None, None, [3, 0, 1, 128, 2, 0]]


def test_all_good_has_no_qualities() -> None:
    raw = encode_block(0, ("int", "f32"), 5, [5], [(7, 0.5)], [None])
    assert raw == [0, [0], [7], struct.pack(">f", 0.5), None, None]


def test_nothing_but_missing_has_no_numbers() -> None:
    raw = encode_block(0, ("int", "f64"), 5, [5], [(None, None)], [(NO_REPLY, OVER_RANGE)])
    assert raw == [0, [0], None, None, None, [1, NO_REPLY, 1, OVER_RANGE]]
    assert decode_block(raw, ("int", "f64"), 5).values == [[None], [None]]


def test_the_extremes_of_a_count_survive() -> None:
    rows = [(MAX_COUNT,), (-MAX_COUNT,), (MAX_COUNT,)]
    raw = unpack(pack(encode_block(0, ("int",), 0, [0, 1, 2], rows, [None] * 3)))
    assert decode_block(raw, ("int",), 0).values == [[MAX_COUNT, -MAX_COUNT, MAX_COUNT]]


def _f32(*values: float) -> bytes:
    return struct.pack(f">{len(values)}f", *values)


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        pytest.param(None, ("int",), id="nil"),
        pytest.param({}, ("int",), id="map"),
        pytest.param([0, [0], [1], None, None], ("int",), id="five-parts"),
        pytest.param([0, [0], [1], None, None, None, None], ("int",), id="seven-parts"),
        pytest.param([-1, [0], [1], None, None, None], ("int",), id="negative-number"),
        pytest.param([True, [0], [1], None, None, None], ("int",), id="bool-number"),
        pytest.param(["0", [0], [1], None, None, None], ("int",), id="text-number"),
        pytest.param([0, [], [], None, None, None], ("int",), id="no-ticks"),
        pytest.param([0, None, [1], None, None, None], ("int",), id="no-times"),
        pytest.param([0, [0] * 65_537, [1] * 65_537, None, None, None], ("int",), id="too-many-ticks"),
        pytest.param([0, [False], [1], None, None, None], ("int",), id="bool-time"),
        pytest.param([0, [0.0], [1], None, None, None], ("int",), id="float-time"),
        pytest.param([0, [-101], [1], None, None, None], ("int",), id="time-before-boot"),
        pytest.param([0, [U63], [1], None, None, None], ("int",), id="time-overflow"),
        pytest.param([0, [0, U63, U63], [1] * 3, None, None, None], ("int",), id="time-overflow-by-sum"),
        pytest.param([0, [0], None, None, None, None], ("int",), id="no-ints"),
        pytest.param([0, [0], [], None, None, None], ("int",), id="too-few-ints"),
        pytest.param([0, [0], [1, 2], None, None, None], ("int",), id="too-many-ints"),
        pytest.param([0, [0], [True], None, None, None], ("int",), id="bool-int"),
        pytest.param([0, [0], [1.0], None, None, None], ("int",), id="float-int"),
        pytest.param([0, [0], [None], None, None, None], ("int",), id="nil-int"),
        pytest.param([0, [0], b"\x01", None, None, None], ("int",), id="bytes-ints"),
        pytest.param([0, [0], [MAX_COUNT + 1], None, None, None], ("int",), id="count-beyond"),
        pytest.param([0, [0], [-MAX_COUNT - 1], None, None, None], ("int",), id="count-below"),
        pytest.param([0, [0, 0], [MAX_COUNT, 1], None, None, None], ("int",), id="count-beyond-by-sum"),
        pytest.param([0, [0], [1], b"", b"\x00", None], ("int",), id="floats-nobody-has"),
        pytest.param([0, [0], [1], _f32(1.0), None, None], ("int",), id="float-for-int"),
        pytest.param([0, [0], None, None, None, None], ("f32",), id="no-floats"),
        pytest.param([0, [0], None, _f32(1.0)[:3], None, None], ("f32",), id="cut-float"),
        pytest.param([0, [0], None, [1.0], None, None], ("f32",), id="float-list"),
        pytest.param([0, [0], None, "abcd", None, None], ("f32",), id="float-text"),
        pytest.param([0, [0], None, None, _f32(1.0), None], ("f64",), id="single-for-double"),
        pytest.param([0, [0], None, _f32(math.nan), None, None], ("f32",), id="nan"),
        pytest.param([0, [0], None, _f32(math.inf), None, None], ("f32",), id="inf"),
        pytest.param([0, [0], None, None, struct.pack(">d", -math.inf), None], ("f64",), id="double-inf"),
        pytest.param([0, [0], [1], None, None, []], ("int",), id="no-runs"),
        pytest.param([0, [0], [1], None, None, [1]], ("int",), id="half-a-run"),
        pytest.param([0, [0], [1], None, None, [0, 0, 1, 0]], ("int",), id="run-of-none"),
        pytest.param([0, [0], [1], None, None, [-1, 0, 2, 0]], ("int",), id="negative-run"),
        pytest.param([0, [0], [1], None, None, [2, 0]], ("int",), id="runs-too-long"),
        pytest.param([0, [0, 0], [1, 2], None, None, [1, 0]], ("int",), id="runs-too-short"),
        pytest.param([0, [0], [1], None, None, [2**63, 0]], ("int",), id="run-bomb"),
        pytest.param([0, [0], [1], None, None, [True, 0]], ("int",), id="bool-run"),
        pytest.param([0, [0], [1], None, None, [1, 1]], ("int",), id="code-nobody-assigned"),
        pytest.param([0, [0], [1], None, None, [1, 256]], ("int",), id="code-beyond-a-byte"),
        pytest.param([0, [0], [1], None, None, [1, NO_REPLY]], ("int",), id="number-for-missing"),
        pytest.param([0, [0], [1], None, None, [1, NOT_A_NUMBER]], ("int",), id="number-for-bad"),
        pytest.param([0, [0], [1], None, None, [1, OVER_RANGE]], ("int",), id="number-for-over-range"),
        pytest.param([0, [0], None, None, None, [1, CALIBRATION_OVERDUE]], ("int",), id="no-number-for-uncertain"),
        pytest.param([0, [0], None, _f32(math.nan), None, [1, CALIBRATION_OVERDUE]], ("f32",), id="nan-uncertain"),
        pytest.param([0, [0], [1], None, None, "0"], ("int",), id="text-runs"),
    ],
)
def test_a_hostile_block_is_refused(raw: Any, kinds: tuple[str, ...]) -> None:
    with pytest.raises(PayloadError):
        decode_block(raw, kinds, 100)


def test_runs_of_missing_samples_cannot_unpack_to_gigabytes() -> None:
    kinds = ("int",) * 2000
    raw = [0, [0] * 65_536, None, None, None, [2000 * 65_536, NO_REPLY]]
    with pytest.raises(TooLargeError, match=str(MAX_SAMPLES)):
        decode_block(raw, kinds, 0)
    with pytest.raises(TooLargeError):
        encode_block(0, kinds, 0, [0] * 66, [[1] * 2000] * 66, [None] * 66)


def test_the_largest_block_survives_whatever_its_qualities() -> None:
    ticks = 65_536
    times, rows = list(range(ticks)), [(1, 2)] * ticks
    raw = unpack(pack(encode_block(0, ("int", "int"), 0, times, rows, [None] * ticks)))
    assert decode_block(raw, ("int", "int"), 0).values[1] == [2] * ticks
    codes = [(GOOD, CALIBRATION_OVERDUE)] * ticks
    with pytest.raises(TooLargeError, match="runs"):
        encode_block(0, ("int", "int"), 0, times, rows, codes)


@pytest.mark.parametrize("raw", [None, [], [1], [True] + [None] * 5, [-1] + [None] * 5, [1.0] + [None] * 5])
def test_a_block_begins_with_its_number(raw: Any) -> None:
    with pytest.raises(PayloadError):
        block_number(raw)
    assert block_number([7, *[None] * 5]) == 7
