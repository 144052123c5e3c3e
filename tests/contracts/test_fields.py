"""Bounded decoding: bombs, wrong types, and errors that name the field."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError, PayloadError, TooLargeError
from contracts.fields import MAX_ARRAY, MAX_BODY, MAX_DEPTH, MAX_STR, U63, Fields, pack, unpack

_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(_plain)
def test_unpack_after_pack_is_identity(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_or_a_contract_error(data: bytes) -> None:
    try:
        unpack(data)
    except ContractError:
        pass


def _claim(lead: int, count: int) -> bytes:
    return bytes([lead]) + struct.pack(">I", count)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", PayloadError, id="empty"),
        pytest.param(b"\xc1", PayloadError, id="never-used-byte"),
        pytest.param(b"\x01\x01", PayloadError, id="bytes-left-over"),
        pytest.param(b"\x92\x01", PayloadError, id="cut-short"),
        pytest.param(b"\xa1\xff", PayloadError, id="not-utf-8"),
        pytest.param(b"\xa3\xed\xa0\x80", PayloadError, id="surrogate"),
        pytest.param(b"\xd4\x05\x00", ContractError, id="ext-of-one-byte"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x00", ContractError, id="timestamp"),
        pytest.param(b"\xc7\x00\x05", PayloadError, id="ext-of-no-bytes"),
        pytest.param(b"\xc7\x00\xff", PayloadError, id="timestamp-of-no-bytes"),
        pytest.param(b"\x91\xc7\x00\x00", PayloadError, id="ext-of-no-bytes-inside"),
        pytest.param(b"\x82\xa1a\x01\xa1a\x02", PayloadError, id="repeated-key"),
        pytest.param(b"\x81\x01\x01", PayloadError, id="integer-key"),
        pytest.param(b"\x81\xc4\x01a\x01", PayloadError, id="bytes-key"),
        pytest.param(b"\x81\xc0\x01", PayloadError, id="nil-key"),
        pytest.param(b"\x81\x90\x01", PayloadError, id="list-key"),
        pytest.param(b"\x81\x81\xa1a\x01\x01", PayloadError, id="map-key"),
        pytest.param(_claim(0xDD, 2**32 - 1), TooLargeError, id="array-claim"),
        pytest.param(_claim(0xDD, MAX_ARRAY + 1), TooLargeError, id="array-one-too-long"),
        pytest.param(_claim(0xDD, MAX_ARRAY), PayloadError, id="array-claim-without-items"),
        pytest.param(_claim(0xDF, 2**32 - 1), TooLargeError, id="map-claim"),
        pytest.param(_claim(0xDB, 2**32 - 1), PayloadError, id="text-claim"),
        pytest.param(_claim(0xC6, 2**32 - 1), PayloadError, id="bytes-claim"),
        pytest.param(_claim(0xC9, 2**32 - 1) + b"\x05", TooLargeError, id="ext-claim"),
        pytest.param(_claim(0xDD, MAX_ARRAY) * 1000, ContractError, id="nested-claims"),
        pytest.param(pack("x" * (MAX_STR + 1)), TooLargeError, id="long-text"),
        pytest.param(bytes(MAX_BODY + 1), TooLargeError, id="large-body"),
        pytest.param(b"\x91" * MAX_DEPTH + b"\x90", TooLargeError, id="one-too-deep"),
        pytest.param(b"\x91" * 900 + b"\x01", TooLargeError, id="very-deep"),
        pytest.param(b"\x91" * 100_000 + b"\x01", TooLargeError, id="stack"),
        pytest.param(b"\x81\xa1a" * 12 + b"\x01", TooLargeError, id="maps-too-deep"),
    ],
)
def test_a_bomb_is_refused(data: bytes, error: type[ContractError]) -> None:
    with pytest.raises(error):
        unpack(data)


def test_the_deepest_allowed_nesting_is_read() -> None:
    value = unpack(b"\x91" * MAX_DEPTH + b"\x01")
    for _ in range(MAX_DEPTH):
        assert isinstance(value, list)
        value = value[0]
    assert value == 1


def _one(value: Any) -> Fields:
    return Fields("thing", [value], 1)


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        ("integer", [0, 1, U63], [True, False, -1, U63 + 1, 1.0, "1", b"1", None, [], {}]),
        ("optional_integer", [None, 0, U63], [True, -1, 1.5, "", []]),
        ("number", [0, 1.5, -3, 2**53], [True, None, math.nan, math.inf, -math.inf, "1", b"", []]),
        ("optional_number", [None, 0.5], [False, math.nan, "x", {}]),
        ("boolean", [True, False], [0, 1, None, "true", [], 1.0]),
        ("text", ["", "x" * 256, "长" * 85], ["x" * 257, "长" * 86, b"x", 1, None, []]),
    ],
)
def test_a_field_takes_its_type_and_no_other(read: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(_one(value), read)("field") == value
    for value in bad:
        with pytest.raises(PayloadError, match=r"thing\.field: expected"):
            getattr(_one(value), read)("field")


@pytest.mark.parametrize("bad", [b"", b"1", bytes(3), bytearray(2), "xx", None, 2, [1, 2]])
def test_binary_has_an_exact_length(bad: Any) -> None:
    assert _one(b"ab").binary("field", 2) == b"ab"
    with pytest.raises(PayloadError, match="2 bytes"):
        _one(bad).binary("field", 2)


@pytest.mark.parametrize("bad", ["c", "", None, 1, b"a", ["a"], {"a": 1}])
def test_choice_names_what_is_allowed(bad: Any) -> None:
    assert _one("a").choice("field", frozenset({"a", "b"})) == "a"
    with pytest.raises(PayloadError, match="one of a, b"):
        _one(bad).choice("field", frozenset({"a", "b"}))


def test_optional_binary_items_and_pattern() -> None:
    assert _one(None).optional_binary("field", 2) is None
    assert _one(b"ab").optional_binary("field", 0, 2) == b"ab"
    assert _one([1, 2]).items("field", 2) == [1, 2]
    with pytest.raises(PayloadError, match="at most 1"):
        _one([1, 2]).items("field", 1)
    with pytest.raises(PayloadError, match="right form"):
        _one("A").text("field", pattern=str.islower)


@pytest.mark.parametrize("bad", [None, 1, "ab", b"ab", {}, {"a": 1, "b": 2}, [], [1], [1, 2, 3]])
def test_a_record_is_a_list_of_its_length(bad: Any) -> None:
    with pytest.raises(PayloadError, match="thing: expected"):
        Fields("thing", bad, 2)


def test_an_error_shows_a_short_form_of_the_value() -> None:
    for value in ("x" * 4000, bytes(4000), [0] * 4000, 10**300):
        with pytest.raises(PayloadError) as caught:
            _one(value).boolean("field")
        assert len(str(caught.value)) < 160


def test_packing_uses_bin_for_bytes_and_str_for_text() -> None:
    assert pack([b"a", "a"]) == b"\x92\xc4\x01a\xa1a"
    assert msgpack.unpackb(pack([b"a", "a"])) == [b"a", "a"]
