from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.decode import decode_string, decode_words
from drivers.encode import encode_string, encode_words
from drivers.errors import EncodeError
from drivers.words import ORDERS, REGISTERS

_RANGES = {
    "u8h": (0, 255),
    "u8l": (0, 255),
    "i8h": (-128, 127),
    "i8l": (-128, 127),
    "sm16": (-32767, 32767),
    "bcd16": (0, 9999),
    "bcd32": (0, 99_999_999),
}


def _values(data_type: str) -> st.SearchStrategy[Any]:
    if data_type.startswith("bit"):
        return st.booleans()
    if data_type.startswith("f"):
        return st.floats(width=int(data_type[1:]))
    if data_type in _RANGES:
        return st.integers(*_RANGES[data_type])
    bits = int(data_type[1:])
    low = -(1 << bits - 1) if data_type[0] == "i" else 0
    return st.integers(low, low + (1 << bits) - 1)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[str, str | None, Any]:
    data_type = draw(st.sampled_from(sorted(REGISTERS)))
    order = draw(st.sampled_from((None, *ORDERS[REGISTERS[data_type]])))
    return data_type, order, draw(_values(data_type))


@given(_cases())
def test_decode_after_encode_is_identity(case: tuple[str, str | None, Any]) -> None:
    data_type, order, value = case
    words = encode_words(value, data_type=data_type, byte_order=order)
    assert len(words) == REGISTERS[data_type]
    back = decode_words(words, data_type=data_type, byte_order=order)
    assert back == value or (math.isnan(back) and math.isnan(value))


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20), st.sampled_from(["AB", "BA"]))
def test_text_comes_back(text: str, order: str) -> None:
    assert decode_string(encode_string(text, byte_order=order), byte_order=order) == text


@pytest.mark.parametrize(
    ("value", "data_type"),
    [
        (65536, "u16"),
        (-1, "u16"),
        (1.5, "u16"),
        (True, "u16"),
        (40000, "i16"),
        (-32768, "sm16"),
        (10000, "bcd16"),
        (-1, "bcd32"),
        (2, "bit3"),
        ("1", "f32"),
        (1e39, "f32"),
        (10**400, "f64"),
        (1, "f99"),
    ],
)
def test_what_does_not_fit_is_refused(value: Any, data_type: str) -> None:
    with pytest.raises(EncodeError):
        encode_words(value, data_type=data_type)


def test_wrong_order_is_refused() -> None:
    with pytest.raises(EncodeError, match="'AB'"):
        encode_words(1, data_type="u32", byte_order="AB")


def test_text_is_padded_and_bounded() -> None:
    assert encode_string("ABC", count=3) == (0x4142, 0x4300, 0)
    with pytest.raises(EncodeError, match="3 bytes"):
        encode_string("ABC", count=1)
    with pytest.raises(EncodeError):
        encode_string("é")
    with pytest.raises(EncodeError):
        encode_string("A", byte_order="X")
