"""Pairs out of a stream of bytes: tables of what lines carry, and laws under any cutting."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import PortRefused
from drivers.frames import build_exception, build_reply, read_request, with_crc
from drivers.overheard import BROKEN_OFF_S, LONGEST_REPLY_S, Overheard, Overhearing
from drivers.serial_wire import LineSettings, SerialWire

CHAR_S = 11 / 9600
STEP_US = 20_000


def ask(unit_id: int, address: int, count: int, table: str = "holding") -> bytes:
    return read_request(unit_id=unit_id, table=table, address=address, count=count).adu


def listen(frames: Sequence[bytes], *, step_us: int = STEP_US) -> tuple[list[Overheard], Overhearing]:
    """Every frame by itself, ``step_us`` apart, and then silence."""
    line, found, now = Overhearing(CHAR_S), [], 1_000_000
    for frame in frames:
        now += step_us
        found += line.hear(frame, now)
    found += line.quiet(now + int(BROKEN_OFF_S * 1e6) + 1)
    found += line.quiet(now + int(LONGEST_REPLY_S * 1e6) + 1)
    return found, line


def test_a_read_and_its_answer() -> None:
    [one], line = listen([ask(1, 7, 2), build_reply(1, 3, (16820, 0))])
    assert (one.unit_id, one.function, one.address, one.count) == (1, 3, 7, 2)
    assert one.words == (16820, 0)
    assert one.replied_us - one.requested_us == STEP_US
    assert (line.counts.requests, line.counts.answers, line.counts.stray_bytes) == (1, 1, 0)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        pytest.param([ask(1, 0, 1)], [(1, None, False)], id="nobody answers"),
        pytest.param(
            [ask(1, 0, 1), ask(2, 0, 1), build_reply(2, 3, (5,))],
            [(1, None, False), (2, (5,), True)],
            id="the next is asked instead",
        ),
        pytest.param([ask(1, 0, 1), build_exception(1, 3, 2)], [(1, None, True)], id="an exception"),
        pytest.param([ask(1, 0, 24, "coil"), build_reply(1, 1, (1, 0) * 12)], [(1, (1, 0) * 12, True)], id="bits"),
        pytest.param(
            # An answer of eight bytes that could be read as a request.
            [ask(1, 0x300, 24, "coil"), build_reply(1, 1, (0,) * 24)],
            [(1, (0,) * 24, True)],
            id="an answer as long as a request",
        ),
        pytest.param([with_crc(bytes.fromhex("01 06 0010 1234"))] * 2, [(1, None, True)], id="a write and its echo"),
        pytest.param(
            [with_crc(bytes.fromhex("01 10 0010 0002 04 00010002")), with_crc(bytes.fromhex("01 10 0010 0002"))],
            [(1, None, True)],
            id="a write of two",
        ),
        pytest.param([with_crc(bytes.fromhex("00 06 0010 1234"))], [(0, None, False)], id="a broadcast"),
        pytest.param([b"\x00", ask(1, 0, 1), build_reply(1, 3, (5,))], [(1, (5,), True)], id="noise first"),
        pytest.param([ask(1, 0, 1), build_reply(2, 3, (5,))], [(1, None, False)], id="another unit answers"),
        pytest.param([ask(1, 0, 2), build_reply(1, 3, (5,))], [(1, None, False)], id="another length"),
        pytest.param([ask(1, 0, 1), build_reply(1, 3, (5,))[:-1]], [(1, None, False)], id="cut short"),
    ],
)
def test_what_a_line_carries(frames: list[bytes], said: list[tuple[int, tuple[int, ...] | None, bool]]) -> None:
    found, _ = listen(frames)
    assert [(one.unit_id, one.words, one.is_answered) for one in found] == said


def test_a_late_answer_is_not_another_registers() -> None:
    late = build_reply(1, 3, (111,))
    found, line = listen([ask(1, 0, 1), ask(1, 50, 1), late])
    assert [one.words for one in found] == [None, None]
    assert line.counts.doubtful == 1


def test_the_same_place_asked_again_is_no_doubt() -> None:
    found, _ = listen([ask(1, 0, 1), ask(1, 0, 1), build_reply(1, 3, (111,))])
    assert [one.words for one in found] == [None, (111,)]


def test_doubt_ends_with_the_longest_reply() -> None:
    step = int(LONGEST_REPLY_S * 1e6) + 1000
    line = Overhearing(CHAR_S)
    line.hear(ask(1, 0, 1), 0)
    line.hear(ask(1, 50, 1), 10_000)
    [one] = line.hear(build_reply(1, 3, (7,)), step)
    assert (one.address, one.words) == (50, (7,))


@given(
    values=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=8),
    noise=st.binary(max_size=5),
    cuts=st.lists(st.integers(1, 12), max_size=30),
)
def test_any_cutting_gives_the_same_pairs(values: list[int], noise: bytes, cuts: list[int]) -> None:
    stream = b"".join(
        ask(unit, 10 * unit, 1) + build_reply(unit, 3, (value,)) for unit, value in enumerate(values, start=1)
    )
    line, found, now, rest = Overhearing(CHAR_S), [], 0, stream
    for cut in [*cuts, len(stream)]:
        piece, rest = rest[:cut], rest[cut:]
        now += 1000
        found += line.hear(piece, now)
    assert [(one.unit_id, one.address, one.words) for one in found] == [
        (unit, 10 * unit, (value,)) for unit, value in enumerate(values, start=1)
    ]
    # Whatever noise comes, the line is understood again after a silence.
    line.hear(noise, now + 1000)
    later = now + 1000 + int(BROKEN_OFF_S * 1e6) + 1
    line.hear(ask(9, 0, 1), later)
    assert [one.words for one in line.hear(build_reply(9, 3, (3,)), later + 1000)] == [(3,)]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_nothing_makes_it_fail(pieces: list[bytes]) -> None:
    line, now = Overhearing(CHAR_S), 0
    for piece in pieces:
        now += 10_000
        line.hear(piece, now)
    line.quiet(now + 10_000_000)
    carried = sum(map(len, pieces))
    assert line.counts.stray_bytes <= carried


def test_a_wire_that_listens_refuses_to_write() -> None:
    master, slave = os.openpty()
    wire = SerialWire(LineSettings(path=os.ttyname(slave)), sends=False)
    wire.open()
    try:
        with pytest.raises(PortRefused, match="only listened to"):
            wire.write(b"x")
        os.write(master, b"y")
        wire.wait(1.0)
        assert wire.read() == b"y"
    finally:
        wire.close()
        os.close(master)
        os.close(slave)


def test_the_answer_to_a_repeated_request_is_not_the_next_ones() -> None:
    # The unit takes 0.4 s and its owner asks again after 0.3 s: two answers of unit 1 are on their way.
    late = build_reply(1, 3, (111,))
    found, line = listen([ask(1, 0, 1), ask(1, 0, 1), late, ask(1, 50, 1), late])
    assert [(one.address, one.words) for one in found] == [(0, None), (0, (111,)), (50, None)]
    assert line.counts.doubtful == 1


def test_doubt_after_a_repeated_request_ends() -> None:
    line, now = Overhearing(CHAR_S), 0
    for frame in (ask(1, 0, 1), ask(1, 0, 1), build_reply(1, 3, (1,))):
        now += STEP_US
        line.hear(frame, now)
    words = []
    for _ in range(40):
        for address in (50, 0):
            line.hear(ask(1, address, 1), now + STEP_US)
            now += 2 * STEP_US
            [one] = line.hear(build_reply(1, 3, (2,)), now)
            words.append(one.words)
    assert words[0] is None
    assert words[-20:] == [(2,)] * 20


def test_a_unit_that_is_known_to_be_slow_is_waited_for() -> None:
    line = Overhearing(CHAR_S, slow_units={7: 5.0})
    line.hear(ask(7, 0, 1), 0)
    assert line.quiet(3_000_000) == []
    [one] = line.hear(build_reply(7, 3, (9,)), 4_000_000)
    assert one.words == (9,)
    line.hear(ask(7, 0, 1), 5_000_000)
    line.hear(ask(7, 50, 1), 6_500_000)
    [late] = line.hear(build_reply(7, 3, (1,)), 8_000_000)
    assert (late.address, late.words) == (50, None)


def test_an_answer_can_be_that_of_any_request_that_is_owed() -> None:
    # 0 and then 50 were given up; 50 is asked again, and what comes is the answer to 0.
    found, line = listen([ask(1, 0, 1), ask(1, 50, 1), ask(1, 50, 1), build_reply(1, 3, (111,))])
    assert [(one.address, one.words) for one in found] == [(0, None), (50, None), (50, None)]
    assert line.counts.doubtful == 1
