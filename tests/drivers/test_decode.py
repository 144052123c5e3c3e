from __future__ import annotations

import math
from typing import Any

import pytest

from drivers.decode import decode_string, decode_words
from drivers.errors import DecodeError

# words, type, order, value
CASES: list[tuple[list[int], str, str | None, Any]] = [
    ([0x1234], "u16", None, 0x1234),
    ([0x1234], "u16", "AB", 0x1234),
    ([0x1234], "u16", "BA", 0x3412),
    ([0xFFFE], "i16", None, -2),
    ([0xFEFF], "i16", "BA", -2),
    ([0x12F0], "u8h", None, 0x12),
    ([0x12F0], "u8l", None, 0xF0),
    ([0xF012], "i8h", None, -16),
    ([0x12F0], "i8l", None, -16),
    ([0x12F0], "u8h", "BA", 0xF0),
    ([0x0001], "sm16", None, 1),
    ([0x8001], "sm16", None, -1),
    ([0x8000], "sm16", None, 0),
    ([0x0123], "bcd16", None, 123),
    ([0x9999], "bcd16", None, 9999),
    ([0x1234, 0x5678], "bcd32", None, 12345678),
    ([0x5678, 0x1234], "bcd32", "CDAB", 12345678),
    ([0x1234, 0x5678], "u32", None, 0x12345678),
    ([0x5678, 0x1234], "u32", "CDAB", 0x12345678),
    ([0x3412, 0x7856], "u32", "BADC", 0x12345678),
    ([0x7856, 0x3412], "u32", "DCBA", 0x12345678),
    ([0xFFFF, 0xFFFE], "i32", "ABCD", -2),
    ([0x0123, 0x4567, 0x89AB, 0xCDEF], "u64", None, 0x0123456789ABCDEF),
    ([0xCDEF, 0x89AB, 0x4567, 0x0123], "u64", "GHEFCDAB", 0x0123456789ABCDEF),
    ([0x2301, 0x6745, 0xAB89, 0xEFCD], "u64", "BADCFEHG", 0x0123456789ABCDEF),
    ([0xEFCD, 0xAB89, 0x6745, 0x2301], "u64", "HGFEDCBA", 0x0123456789ABCDEF),
    ([0xFFFF] * 4, "i64", None, -1),
    ([0x3C00], "f16", None, 1.0),
    ([0x4248, 0x0000], "f32", None, 50.0),
    ([0x0000, 0x4248], "f32", "CDAB", 50.0),
    ([0x3FF0, 0, 0, 0], "f64", None, 1.0),
    ([0x0001], "bit0", None, True),
    ([0x8000], "bit15", None, True),
    ([0x7FFF], "bit15", None, False),
    ([0x0100], "bit0", "BA", True),
]


@pytest.mark.parametrize(("words", "data_type", "order", "value"), CASES)
def test_value_of_words(words: list[int], data_type: str, order: str | None, value: Any) -> None:
    decoded = decode_words(words, data_type=data_type, byte_order=order)
    assert decoded == value
    assert type(decoded) is type(value)


def test_nan_and_infinities_are_returned_as_they_are() -> None:
    assert math.isnan(decode_words([0x7FC0, 0], data_type="f32"))
    assert decode_words([0x7F80, 0], data_type="f32") == math.inf
    assert decode_words([0xFF80, 0], data_type="f32") == -math.inf


@pytest.mark.parametrize(
    ("words", "data_type", "order", "named"),
    [
        ([1, 2], "u16", None, "takes 1 register"),
        ([1], "f32", None, "takes 2 register"),
        ([], "u16", None, "0 given"),
        ([1], "u17", None, "'u17'"),
        ([1], None, None, "None"),
        ([1], ["u16"], None, "u16"),
        ([1], "bit16", None, "'bit16'"),
        ([1], "u16", "ABCD", "'ABCD'"),
        ([1, 2], "u32", "AB", "'AB'"),
        ([1, 2], "u32", "", "''"),
        ([1, 2], "u32", 7, "7"),
        ([0x10000], "u16", None, "65536"),
        ([-1], "u16", None, "-1"),
        ([True], "u16", None, "True"),
        ([1.0], "u16", None, "1.0"),
        (["1"], "u16", None, "'1'"),
        (b"\x01", "u16", None, "bytes"),
        (None, "u16", None, "NoneType"),
        ([0x00A0], "bcd16", None, "nibble 0xA"),
        ([0x0000, 0x000F], "bcd32", None, "nibble 0xF"),
    ],
)
def test_wrong_input_is_named(words: Any, data_type: Any, order: Any, named: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_words(words, data_type=data_type, byte_order=order)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("words", "options", "text"),
    [
        ([0x4142, 0x4300], {}, "ABC"),
        ([0x4241, 0x0043], {"byte_order": "BA"}, "ABC"),
        ([0x4142, 0x2020], {}, "AB  "),
        ([0x4100, 0x4200], {}, "A\0B"),
        ([0x0000], {}, ""),
        ([], {}, ""),
        ([0xC3A9], {"encoding": "utf-8"}, "é"),
        ([0xCEC2], {"encoding": "gbk"}, "温"),
    ],
)
def test_text_of_words(words: list[int], options: dict[str, str], text: str) -> None:
    assert decode_string(words, **options) == text


@pytest.mark.parametrize(
    ("words", "options", "named"),
    [
        ([0x41E9], {}, "0xE9"),
        ([0x4142], {"byte_order": "ABCD"}, "'ABCD'"),
        ([0x4142], {"byte_order": None}, "None"),
        ([0x4142], {"encoding": "klingon"}, "'klingon'"),
        ([], {"encoding": "klingon"}, "'klingon'"),
        ([0x4142], {"encoding": "hex"}, "'hex'"),
        ([0x4142], {"encoding": None}, "None"),
        ([0x4142], {"encoding": "a\0"}, "a"),
        ([70000], {}, "70000"),
    ],
)
def test_wrong_text_is_named(words: list[int], options: dict[str, Any], named: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_string(words, **options)
    assert named in str(caught.value)
