from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import quality
from drivers.errors import RequestError
from drivers.pdu import WRITE_LIMITS, check_write_reply, write_pdu
from drivers.port import WriteRequest


def write(function: int = 6, address: int = 1, values: tuple[int, ...] = (3,), unit_id: int = 1) -> WriteRequest:
    return WriteRequest(
        unit_id=unit_id,
        function=function,
        address=address,
        values=values,
        timeout_s=1.0,
        max_reply_s=1.0,
        answered_by=(unit_id,),
    )


@pytest.mark.parametrize(
    ("request_", "asked", "answered"),
    [
        (write(5, 0xAC, (0xFF00,)), "05 00AC FF00", "05 00AC FF00"),
        (write(6, 1, (3,)), "06 0001 0003", "06 0001 0003"),
        (write(15, 0x13, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0)), "0F 0013 000A 02 CD01", "0F 0013 000A"),
        (write(16, 1, (0x000A, 0x0102)), "10 0001 0002 04 000A 0102", "10 0001 0002"),
    ],
)
def test_the_worked_examples_of_the_specification(request_: WriteRequest, asked: str, answered: str) -> None:
    """Modbus Application Protocol V1.1b3, sections 6.5, 6.6, 6.11 and 6.12."""
    assert write_pdu(request_) == bytes.fromhex(asked)
    assert check_write_reply(request_, bytes.fromhex(answered)) == (quality.GOOD, "")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("86 01", quality.ILLEGAL_FUNCTION),
        ("86 04", quality.DEVICE_FAILURE),
        ("86", quality.BAD_FRAME),
        ("86 01 00", quality.BAD_FRAME),
        ("06 0001 0004", quality.BAD_FRAME),
        ("06 0001 00", quality.BAD_FRAME),
        ("06 0002 0003", quality.FOREIGN_REPLY),
        ("10 0001 0001", quality.FOREIGN_REPLY),
        ("90 01", quality.FOREIGN_REPLY),
        ("", quality.FOREIGN_REPLY),
    ],
)
def test_what_does_not_confirm_a_write(reply: str, code: int) -> None:
    found, detail = check_write_reply(write(), bytes.fromhex(reply))
    assert found == code
    assert detail


@given(st.binary(max_size=8))
def test_only_the_echo_confirms(reply: bytes) -> None:
    assert (check_write_reply(write(), reply)[0] == quality.GOOD) == (reply == write_pdu(write()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"function": 3},
        {"unit_id": 256},
        {"unit_id": -1},
        {"values": ()},
        {"values": (1, 2)},
        {"values": (65536,)},
        {"values": (-1,)},
        {"address": -1},
        {"address": 65536},
        {"function": 16, "address": 65535, "values": (1, 2)},
        {"function": 15, "values": (2,)},
        {"function": 15, "values": (0,) * (WRITE_LIMITS[15] + 1)},
        {"function": 16, "values": (0,) * (WRITE_LIMITS[16] + 1)},
    ],
)
def test_an_impossible_write(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        write_pdu(write(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [15, 16])
def test_the_largest_writes_fit_a_pdu(function: int) -> None:
    assert len(write_pdu(write(function, values=(1,) * WRITE_LIMITS[function]))) <= 253
