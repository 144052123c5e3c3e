"""Words as every type and order, and what a display's number says about them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ToolError
from edge_agent.tools.value_readings import parse_words, plausible, readings, shown, texts


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["0x4088", "0xA3D7"], (0x4088, 0xA3D7)),
        (["4088h,A3D7h"], (0x4088, 0xA3D7)),
        (["16520", "41943"], (0x4088, 0xA3D7)),
        (["4088", "A3D7"], (0x4088, 0xA3D7)),
        (["0x10", "11"], (16, 11)),
        (["-1"], (65535,)),
    ],
)
def test_words_as_people_type_them(typed: list[str], words: tuple[int, ...]) -> None:
    assert parse_words(typed) == words


@pytest.mark.parametrize("typed", [["65536"], ["x"], ["0x12345"], [], ["1.5"]])
def test_what_is_no_word_is_a_sentence(typed: list[str]) -> None:
    with pytest.raises(ToolError):
        parse_words(typed)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", (0x4088, 0xA3D7)),
        ("CDAB", (0xA3D7, 0x4088)),
        ("BADC", (0x8840, 0xD7A3)),
        ("DCBA", (0xD7A3, 0x8840)),
    ],
)
def test_a_display_finds_the_word_order(order: str, words: tuple[int, ...]) -> None:
    best = plausible(readings(words), "4.27")[0]
    assert (best.reading.data_type, best.reading.order, best.power, best.is_exact) == ("f32", order, 0, True)


@pytest.mark.parametrize(
    ("words", "expect", "data_type", "power"),
    [
        ((427,), "4.27", "u16", -2),
        ((65109,), "-4.27", "i16", -2),
        ((0x81AB,), "-4.27", "sm16", -2),
        ((0x0427,), "4.27", "bcd16", -2),
        ((0, 427), "42.7", "u32", -1),
        ((21, 1), "21", "u16", 0),
    ],
)
def test_a_display_finds_the_scale(words: tuple[int, ...], expect: str, data_type: str, power: int) -> None:
    found = [one for one in plausible(readings(words), expect) if one.is_exact]
    assert (data_type, power) in [(one.reading.data_type, one.power) for one in found]


def test_what_nearly_agrees_comes_later() -> None:
    words = struct.unpack(">HH", struct.pack(">f", 4.30))
    (best, *_) = plausible(readings(words), "4.27")
    assert not best.is_exact
    assert best.reading.data_type == "f32"
    assert plausible(readings((1, 1)), "4.27") == ()


def test_an_expectation_that_is_no_number_is_a_sentence() -> None:
    for expect in ("abc", "nan", "inf"):
        with pytest.raises(ToolError, match="--expect"):
            plausible(readings((1,)), expect)


def test_a_block_is_read_from_every_place_on() -> None:
    found = readings((1, 2, 3), data_type="u32", order="ABCD")
    assert [(one.offset, one.value) for one in found] == [(0, 0x10002), (1, 0x20003)]


def test_what_is_no_value_of_a_type_says_why() -> None:
    (one, *_) = readings((0xABCD,), data_type="bcd16")
    assert one.value is None
    assert "BCD" in one.problem
    assert shown(None) == "-"


def test_texts_in_both_byte_orders() -> None:
    assert texts((0x4845, 0x4C4F))["AB"] == "HELO"
    assert texts((0x4548, 0x4F4C))["BA"] == "HELO"


@given(st.floats(min_value=1e-3, max_value=1e5), st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]))
def test_whatever_was_encoded_is_among_what_agrees(value: float, order: str) -> None:
    wire = struct.pack(">f", value)
    places = ["ABCD".index(letter) for letter in order]
    words = struct.unpack(">HH", bytes(wire[place] for place in places))
    found = plausible(readings(words), f"{struct.unpack('>f', wire)[0]:.7g}")
    assert any((one.reading.data_type, one.reading.order, one.power) == ("f32", order, 0) for one in found)
