from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadHoldingRegistersResponse

from contracts import quality
from drivers.errors import RequestError
from drivers.frames import (
    FrameRequest,
    FrameWrite,
    NeedMore,
    Refused,
    Reply,
    build_exception,
    build_reply,
    crc16,
    crc_fits,
    mirrors,
    parse_reply,
    parse_request,
    read_request,
    silence_s,
    split_replies,
    strip_echo,
    whole_replies,
    why_no_reply,
    with_crc,
    write_request,
)
from drivers.plan import TABLES
from drivers.port import WriteRequest


def ask(unit_id: int = 1, table: str = "holding", address: int = 0, count: int = 2) -> FrameRequest:
    return read_request(unit_id=unit_id, table=table, address=address, count=count)


@pytest.mark.parametrize(
    ("data", "crc"),
    [("01 03 00 00 00 01", "84 0A"), ("01 03 00 00 00 0A", "C5 CD")],
    ids=["device manuals", "gas head document"],
)
def test_crc_check_values(data: str, crc: str) -> None:
    assert with_crc(bytes.fromhex(data)) == bytes.fromhex(data + crc)


def test_a_frame_and_a_zero_pass_the_crc_so_length_comes_first() -> None:
    reply = build_reply(1, 3, (1, 2))
    assert crc_fits(reply)
    assert crc_fits(reply + b"\0")
    assert parse_reply(ask(), reply + b"\0") == Reply(words=(1, 2), skipped=0)


def test_the_spec_example_of_reading_registers() -> None:
    # Modbus Application Protocol V1.1b3, section 6.3: registers 107..109 hold 022B, 0000, 0064
    request = ask(0x11, "holding", 107, 3)
    assert request.adu[:-2] == bytes.fromhex("11 03 00 6B 00 03")
    reply = with_crc(bytes.fromhex("11 03 06 02 2B 00 00 00 64"))
    assert parse_reply(request, reply) == Reply(words=(0x022B, 0, 0x64), skipped=0)


def test_the_spec_example_of_reading_coils() -> None:
    # section 6.1: coils 19..37 are CD 6B 05
    request = ask(0x11, "coil", 19, 19)
    assert request.adu[:-2] == bytes.fromhex("11 01 00 13 00 13")
    reply = parse_reply(request, with_crc(bytes.fromhex("11 01 03 CD 6B 05")))
    assert isinstance(reply, Reply)
    assert reply.words[:8] == (1, 0, 1, 1, 0, 0, 1, 1)
    assert len(reply.words) == 19


@pytest.mark.parametrize(
    ("baud", "bits", "silence"),
    [
        (9600, 11, 0.00401),
        (9600, 10, 0.00401),
        (9600, 12, 0.004375),
        (19200, 11, 0.002005),
        (38400, 11, 0.00175),
        (115200, 10, 0.00175),
        (1200, 11, 0.03208),
    ],
)
def test_silence_before_a_request(baud: int, bits: int, silence: float) -> None:
    assert silence_s(baud, bits) == pytest.approx(silence, rel=1e-3)


@given(st.binary(max_size=250), st.integers(0, 249), st.integers(0, 7))
def test_a_flipped_bit_never_fits(data: bytes, place: int, bit: int) -> None:
    frame = bytearray(with_crc(data.ljust(2, b"\1")))
    frame[place % len(frame)] ^= 1 << bit
    assert not crc_fits(bytes(frame))


@st.composite
def _exchanges(draw: st.DrawFn) -> tuple[FrameRequest, tuple[int, ...], bytes]:
    table = draw(st.sampled_from(sorted(TABLES)))
    count = draw(st.integers(1, 125))
    request = read_request(
        unit_id=draw(st.integers(1, 247)), table=table, address=draw(st.integers(0, 60_000)), count=count
    )
    high = 1 if table in ("coil", "discrete") else 65535
    words = tuple(draw(st.lists(st.integers(0, high), min_size=count, max_size=count)))
    return request, words, build_reply(request.unit_id, request.function, words)


@given(_exchanges(), st.data())
def test_a_reply_is_read_back_once_it_is_whole(
    exchange: tuple[FrameRequest, tuple[int, ...], bytes], data: st.DataObject
) -> None:
    request, words, reply = exchange
    assert len(reply) == request.reply_length
    cut = data.draw(st.integers(0, len(reply) - 1))
    partial = parse_reply(request, reply[:cut])
    assert isinstance(partial, NeedMore)
    assert 1 <= partial.missing <= len(reply) - cut
    assert parse_reply(request, reply) == Reply(words=words, skipped=0)
    assert parse_request(request.adu) == request


@given(_exchanges(), st.data())
def test_a_damaged_reply_is_never_taken(
    exchange: tuple[FrameRequest, tuple[int, ...], bytes], data: st.DataObject
) -> None:
    request, _, reply = exchange
    damaged = bytearray(reply)
    damaged[data.draw(st.integers(0, len(reply) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not isinstance(parse_reply(request, bytes(damaged)), Reply)


@given(st.binary(max_size=40))
def test_any_bytes_are_survived(junk: bytes) -> None:
    request = ask()
    assert isinstance(parse_reply(request, junk), (NeedMore, Refused))
    assert isinstance(why_no_reply(request, junk), Refused)
    parse_request(junk)


OWN = build_reply(1, 3, (7, 8))


@pytest.mark.parametrize(
    "front",
    [
        b"\0",
        b"\xff\xff\0",
        build_reply(2, 3, (5, 6)),
        build_reply(1, 4, (5, 6)),
        build_reply(1, 3, (5, 6, 9)),
        build_exception(2, 3, 2),
        b"\0" + build_reply(2, 3, (5, 6)) + b"\xff",
        build_reply(2, 3, (int.from_bytes(OWN[:2]), int.from_bytes(OWN[2:4]))),
    ],
    ids=["nul", "idle line", "unit", "function", "length", "exception", "all", "looks alike inside"],
)
def test_noise_and_foreign_frames_in_front_are_stepped_over(front: bytes) -> None:
    assert parse_reply(ask(), front + OWN) == Reply(words=(7, 8), skipped=len(front))
    assert isinstance(parse_reply(ask(), front), NeedMore)


def test_a_unit_named_like_noise_is_found() -> None:
    request = ask(unit_id=255)
    assert parse_reply(request, b"\xff\xff" + build_reply(255, 3, (7, 8))) == Reply(words=(7, 8), skipped=2)


def test_an_answer_inside_other_bytes_is_no_answer() -> None:
    assert isinstance(parse_reply(ask(), b"\x55\xaa" + OWN), NeedMore)


@pytest.mark.parametrize(
    ("buffer", "code", "answered"),
    [
        (OWN[:-1] + b"\0", quality.BAD_FRAME, True),
        (build_exception(1, 3, 1), quality.ILLEGAL_FUNCTION, True),
        (build_exception(1, 3, 2), quality.ILLEGAL_ADDRESS, True),
        (build_exception(1, 3, 3), quality.ILLEGAL_VALUE, True),
        (build_exception(1, 3, 4), quality.DEVICE_FAILURE, True),
        (build_exception(1, 3, 6), quality.DEVICE_BUSY, True),
        (build_exception(1, 3, 0x0A), quality.GATEWAY_PATH, True),
        (build_exception(1, 3, 0x0B), quality.GATEWAY_TARGET, True),
        (build_exception(1, 3, 0xA0), quality.DEVICE_EXCEPTION, True),
        (build_exception(1, 3, 2)[:-1] + b"\1", quality.BAD_FRAME, True),
    ],
)
def test_what_more_bytes_will_not_change(buffer: bytes, code: int, answered: bool) -> None:
    refused = parse_reply(ask(), buffer)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.answered) == (code, answered)


@pytest.mark.parametrize(
    ("buffer", "code"),
    [
        (b"", quality.NO_REPLY),
        (b"\0\xff", quality.NO_REPLY),
        (OWN[:4], quality.BAD_FRAME),
        (b"\x55\xaa\x01", quality.BAD_FRAME),
        (build_reply(2, 3, (1, 2)), quality.FOREIGN_REPLY),
        (build_reply(1, 3, (1,)), quality.FOREIGN_REPLY),
    ],
)
def test_why_there_was_no_reply(buffer: bytes, code: int) -> None:
    refused = why_no_reply(ask(), buffer)
    assert refused.code == code
    assert not refused.answered


def test_echo_is_removed_exactly() -> None:
    request = ask()
    assert strip_echo(request, request.adu + OWN, echoes=None) == (OWN, True)
    assert strip_echo(request, OWN, echoes=None) == (OWN, False)
    assert strip_echo(request, request.adu[:5], echoes=None) == (b"", False)
    assert strip_echo(request, request.adu[:5], echoes=False) == (request.adu[:5], False)


def test_a_reply_that_looks_like_its_request() -> None:
    request = ask(table="coil", address=0x0300, count=20)  # its own bytes are a valid reply to it
    assert isinstance(parse_reply(request, request.adu), Reply)
    assert strip_echo(request, request.adu, echoes=None) == (b"", True)
    assert strip_echo(request, request.adu, echoes=False) == (request.adu, False)


def test_whole_replies_in_a_stream() -> None:
    stream = b"\0" + build_reply(5, 3, (1,)) + b"\x55" + build_exception(6, 4, 2) + OWN[:4]
    assert whole_replies(stream) == [(5, 3), (6, 4)]


def test_what_follows_the_last_whole_reply_may_be_the_next_ones_beginning() -> None:
    whole = build_reply(5, 3, (1,))
    assert split_replies(b"\0" + whole + OWN[:4]) == ([(5, 3)], OWN[:4])
    assert split_replies(OWN[:4]) == ([], OWN[:4])
    assert split_replies(OWN[:4] + OWN[4:]) == ([(1, 3)], b"")


# --- writes -------------------------------------------------------------------------------


def write(function: int = 6, address: int = 3, *values: int, answered_by: tuple[int, ...] = (1,)) -> FrameWrite:
    return write_request(
        WriteRequest(
            unit_id=1,
            function=function,
            address=address,
            values=values or (7,),
            timeout_s=0.1,
            max_reply_s=1.0,
            answered_by=answered_by,
        )
    )


CONFIRMED = with_crc(bytes.fromhex("01 06 00 03 00 07"))


def test_a_confirmation_is_found_behind_what_is_none() -> None:
    other = with_crc(bytes.fromhex("01 06 00 04 00 07"))
    for front in (b"", b"\0\xff", other, build_reply(1, 3, (1,)), with_crc(bytes.fromhex("02 06 00 03 00 07"))):
        assert parse_reply(write(), front + CONFIRMED) == Reply(words=(), skipped=len(front))
        assert isinstance(parse_reply(write(), front), NeedMore)
    for cut in range(len(CONFIRMED)):
        assert isinstance(parse_reply(write(), CONFIRMED[:cut]), NeedMore)


@pytest.mark.parametrize(
    ("frame", "mirrored"),
    [
        (write(5, 3, 0xFF00), True),
        (write(6, 3), True),
        (write(6, 3, answered_by=(9,)), False),
        (write(6, 3, answered_by=(9, 1)), True),
        (write(15, 3, 1), False),
        (write(16, 3, 1), False),
        (ask(table="coil", count=20), True),
        (ask(), False),
    ],
)
def test_which_answers_can_equal_their_requests(frame: FrameRequest | FrameWrite, mirrored: bool) -> None:
    assert mirrors(frame) is mirrored


def test_keys_of_a_write() -> None:
    assert write(6, 3, answered_by=(9, 1)).keys == ((1, 6), (9, 6))
    assert write(6, 3, answered_by=()).keys == ((1, 6),)
    with pytest.raises(RequestError):
        write(6, 3, answered_by=(256,))


@given(st.binary(max_size=40))
def test_any_bytes_are_survived_by_a_write(junk: bytes) -> None:
    assert isinstance(parse_reply(write(), junk), (NeedMore, Refused))
    assert isinstance(why_no_reply(write(), junk), Refused)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 126},
        {"table": "coil", "count": 2001},
        {"address": -1},
        {"address": 65535, "count": 2},
        {"unit_id": 256},
        {"table": "registers"},
    ],
)
def test_impossible_requests_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        ask(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", quality.BAD_FRAME),
        (ask().adu[:-1] + b"\0", quality.BAD_FRAME),
        (with_crc(bytes.fromhex("01 06 00 00 00 01")), quality.ILLEGAL_FUNCTION),
        (with_crc(bytes.fromhex("01 03 00 00 00 00")), quality.ILLEGAL_VALUE),
        (with_crc(bytes.fromhex("01 03 FF FF 00 02")), quality.ILLEGAL_ADDRESS),
    ],
)
def test_requests_that_a_device_refuses(frame: bytes, code: int) -> None:
    refused = parse_request(frame)
    assert isinstance(refused, Refused)
    assert refused.code == code


def test_pymodbus_as_referee() -> None:
    pdu = ReadHoldingRegistersRequest(address=107, count=3, dev_id=17)
    assert FramerRTU(DecodePDU(True)).buildFrame(pdu) == ask(17, "holding", 107, 3).adu
    answer = ReadHoldingRegistersResponse(registers=[1, 2, 65535], dev_id=17)
    assert FramerRTU(DecodePDU(False)).buildFrame(answer) == build_reply(17, 3, (1, 2, 65535))
    assert crc16(b"") == 0xFFFF
