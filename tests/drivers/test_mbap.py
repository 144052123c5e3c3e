from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import quality
from drivers.errors import RequestError
from drivers.mbap import LAST_TRANSACTION, MOST, Splitter, encode, next_transaction, read_pdu, read_words
from drivers.port import ReadRequest

FRAMES = st.tuples(st.integers(0, 65535), st.integers(0, 255), st.binary(min_size=1, max_size=MOST - 1))


def read(table: str = "holding", address: int = 0, count: int = 3, unit_id: int = 1) -> ReadRequest:
    return ReadRequest(unit_id=unit_id, table=table, address=address, count=count, timeout_s=1.0, max_reply_s=1.0)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def test_the_worked_example_of_the_guide() -> None:
    """Modbus Messaging on TCP/IP V1.0b, section 4.4.2.1: read one register at 4, transaction 0x1501."""
    assert encode(0x1501, 0xFF, read_pdu(read(address=4, count=1))) == bytes.fromhex("1501 0000 0006 FF 03 0004 0001")


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 2200), max_size=20))
def test_any_segmentation_gives_the_same_frames(frames: list[tuple[int, int, bytes]], places: list[int]) -> None:
    splitter, found = Splitter(), []
    for segment in cut(b"".join(encode(*frame) for frame in frames), places):
        found += splitter.feed(segment)
        assert len(splitter._rest) < 6 + MOST
    assert found == frames
    assert not splitter.lost
    assert not splitter.is_inside


@given(FRAMES, st.binary(min_size=6, max_size=40), st.lists(st.integers(0, 300), max_size=8))
def test_frames_before_nonsense_are_given_and_none_after_it(
    frame: tuple[int, int, bytes], nonsense: bytes, places: list[int]
) -> None:
    nonsense = nonsense[:2] + b"\x00\x01" + nonsense[4:]  # a protocol that is not Modbus
    splitter, found = Splitter(), []
    for segment in cut(encode(*frame) + nonsense + encode(*frame), places):
        found += splitter.feed(segment)
    assert found == [frame]
    assert "no Modbus TCP frame" in splitter.lost
    assert splitter.feed(encode(*frame)) == []


@pytest.mark.parametrize("length", [0, 1, 255, 256, 65535])
def test_impossible_lengths_end_the_stream(length: int) -> None:
    splitter = Splitter()
    assert splitter.feed(struct.pack(">HHH", 1, 0, length)) == []
    assert splitter.lost


def test_which_transaction_a_begun_frame_can_be() -> None:
    splitter = Splitter()
    assert not splitter.may_be_inside(0x1234)
    splitter.feed(b"\x12")
    assert splitter.may_be_inside(0x1234)
    assert not splitter.may_be_inside(0x1334)
    splitter.feed(b"\x34\x00")
    assert splitter.may_be_inside(0x1234)
    assert not splitter.may_be_inside(0x1235)


def test_transactions_run_round_without_zero() -> None:
    assert next_transaction(1) == 2
    assert next_transaction(LAST_TRANSACTION) == 1


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=125))
def test_registers_come_back(words: list[int]) -> None:
    pdu = struct.pack(f">BB{len(words)}H", 4, 2 * len(words), *words)
    assert read_words(read("input", count=len(words)), pdu) == (tuple(words), quality.GOOD, "")


@given(st.lists(st.integers(0, 1), min_size=1, max_size=2000))
def test_bits_come_back(bits: list[int]) -> None:
    size = (len(bits) + 7) // 8
    packed = sum(bit << place for place, bit in enumerate(bits)).to_bytes(size, "little")
    assert read_words(read("coil", count=len(bits)), bytes((1, size)) + packed) == (tuple(bits), quality.GOOD, "")


@given(st.binary(min_size=1, max_size=253), st.sampled_from(["holding", "input", "coil", "discrete"]))
def test_any_reply_is_words_or_a_cause(pdu: bytes, table: str) -> None:
    words, code, detail = read_words(read(table), pdu)
    assert (words is None) == (code != quality.GOOD) == bool(detail)
    assert words is None or len(words) == 3


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("83 02", quality.ILLEGAL_ADDRESS),
        ("83 0B", quality.GATEWAY_TARGET),
        ("83 0A", quality.GATEWAY_PATH),
        ("83", quality.BAD_FRAME),
        ("83 02 00", quality.BAD_FRAME),
        ("03", quality.BAD_FRAME),
        ("03 06 0001 0002", quality.BAD_FRAME),
        ("03 04 0001 0002", quality.BAD_FRAME),
        ("03 06 0001 0002 0003 00", quality.BAD_FRAME),
        ("04 06 0001 0002 0003", quality.FOREIGN_REPLY),
        ("84 02", quality.FOREIGN_REPLY),
    ],
)
def test_what_a_reply_means(pdu: str, code: int) -> None:
    assert read_words(read(), bytes.fromhex(pdu))[:2] == (None, code)


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"count": 126}, {"address": -1}, {"address": 65534}, {"table": "x"}, {"unit_id": 256}],
)
def test_an_impossible_read(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        read_pdu(read(**wrong))  # type: ignore[arg-type]
