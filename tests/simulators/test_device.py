"""A device as a pure function: the replies of the Modbus Application Protocol V1.1b3."""

from __future__ import annotations

import pytest

from simulators.device import Memory, answer

MEMORY = Memory(
    words={"holding": {107: 555, 109: 100}, "coil": {19: 1, 21: 1, 22: 1}, "input": {8: 10}, "discrete": {}},
    ranges={"holding": ((107, 115),), "coil": ((19, 38),), "input": ((8, 9),), "discrete": ((0, 8),)},
    max_registers=4,
    start_multiple=1,
)


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        # section 6.3 of the specification: read holding registers 108 to 110
        ("03 00 6b 00 03", "03 06 02 2b 00 00 00 64"),
        # section 6.4: read input register 9
        ("04 00 08 00 01", "04 02 00 0a"),
        ("01 00 13 00 08", "01 01 0d"),
        ("01 00 13 00 13", "01 03 0d 00 00"),
        ("02 00 00 00 08", "02 01 00"),
        # one more than exists, none, one more than the device allows, more than the protocol allows
        ("03 00 70 00 04", "83 02"),
        ("03 00 6b 00 00", "83 03"),
        ("03 00 6b 00 05", "83 03"),
        ("01 00 13 07 d1", "81 03"),
        ("04 00 00 00 01", "84 02"),
        ("2b 0e 01 00", "ab 01"),
        ("03 00 6b", "83 03"),
    ],
)
def test_replies_to_reads(request_hex: str, reply_hex: str) -> None:
    reply = answer(bytes.fromhex(request_hex), MEMORY)
    assert reply is not None
    assert reply.pdu == bytes.fromhex(reply_hex)
    assert reply.writes == ()


@pytest.mark.parametrize(
    ("request_hex", "reply_hex", "writes"),
    [
        ("06 00 6c 00 03", "06 00 6c 00 03", (("holding", 108, 3),)),
        ("05 00 14 ff 00", "05 00 14 ff 00", (("coil", 20, 1),)),
        ("05 00 14 12 34", "85 03", ()),
        ("06 00 01 00 03", "86 02", ()),
        ("10 00 6c 00 02 04 00 0a 01 02", "10 00 6c 00 02", (("holding", 108, 10), ("holding", 109, 258))),
        ("10 00 6c 00 02 03 00 0a 01", "90 03", ()),
        ("10 00 72 00 02 04 00 0a 01 02", "90 02", ()),
        ("0f 00 13 00 03 01 05", "0f 00 13 00 03", (("coil", 19, 1), ("coil", 20, 0), ("coil", 21, 1))),
        ("0f 00 13 00 03 02 05 00", "8f 03", ()),
        ("0f 00 25 00 03 01 05", "8f 02", ()),
    ],
)
def test_replies_to_writes(request_hex: str, reply_hex: str, writes: tuple[object, ...]) -> None:
    reply = answer(bytes.fromhex(request_hex), MEMORY)
    assert reply is not None
    assert (reply.pdu, reply.writes) == (bytes.fromhex(reply_hex), writes)


def test_an_odd_start_is_refused_where_the_device_says_so() -> None:
    memory = Memory(words={}, ranges={"holding": ((0, 10),)}, start_multiple=2)
    reply = answer(bytes.fromhex("03 00 01 00 02"), memory)
    assert reply is not None
    assert reply.pdu == bytes.fromhex("83 02")


def test_nothing_is_no_request() -> None:
    assert answer(b"", MEMORY) is None
