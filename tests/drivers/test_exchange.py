from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts import quality
from drivers.errors import PortGone, RequestError
from drivers.exchange import BACK_OFF_S
from drivers.frames import FrameRequest, build_exception, build_reply, with_crc
from drivers.port import RawRequest, ReadRequest, WriteRequest
from drivers.serial_wire import LineSettings
from tests.drivers.virtual_wire import Answer, VirtualLine

SETTINGS = LineSettings(path="virtual", baud=19200)


def read(unit_id: int = 1, address: int = 0, count: int = 2, table: str = "holding", **more: float) -> ReadRequest:
    times = {"timeout_s": 0.1, "max_reply_s": 1.0} | more
    return ReadRequest(unit_id=unit_id, table=table, address=address, count=count, **times)


def words_of(request: FrameRequest) -> tuple[int, ...]:
    """Every register holds its own address."""
    return tuple(range(request.address, request.address + request.count))


def prompt(request: FrameRequest) -> Answer:
    return 0.002, build_reply(request.unit_id, request.function, words_of(request))


def test_a_read() -> None:
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    result = exchange.ask(read(address=7))
    assert (result.words, result.code, result.detail) == ((7, 8), quality.GOOD, "")
    # 8 + 9 characters and the device's 2 ms
    assert result.replied_us - result.requested_us == pytest.approx(17 * 10 / 19200 * 1e6 + 2000, abs=600)
    assert exchange.counters.good == exchange.counters.requests == 1


def test_bits_are_zeros_and_ones() -> None:
    line = VirtualLine(SETTINGS, lambda request: (0.001, build_reply(1, request.function, (1, 0, 1))))
    assert line.exchange().ask(read(table="coil", count=3)).words == (1, 0, 1)


def test_silence_is_kept_before_every_request() -> None:
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    for address in range(20):
        assert exchange.ask(read(address=address)).code == quality.GOOD
    assert line.shortest_silence_us >= SETTINGS.silence_s * 1e6


@pytest.mark.parametrize(
    ("answer", "code", "counter"),
    [
        (None, quality.NO_REPLY, "timeouts"),
        ((0.001, build_exception(1, 3, 2)), quality.ILLEGAL_ADDRESS, "exceptions"),
        ((0.001, build_exception(1, 3, 6)), quality.DEVICE_BUSY, "exceptions"),
        ((0.001, build_reply(1, 3, (1, 2))[:-1] + b"\0"), quality.BAD_FRAME, "bad_frames"),
        ((0.001, build_reply(1, 3, (1, 2))[:-3]), quality.BAD_FRAME, "bad_frames"),
        ((0.001, build_reply(2, 3, (1, 2))), quality.FOREIGN_REPLY, "foreign"),
        ((0.001, build_reply(1, 4, (1, 2))), quality.FOREIGN_REPLY, "foreign"),
        ((0.001, build_reply(1, 3, (1, 2, 3))), quality.FOREIGN_REPLY, "foreign"),
    ],
)
def test_failures_are_values(answer: Answer, code: int, counter: str) -> None:
    line = VirtualLine(SETTINGS, lambda _: answer)
    exchange = line.exchange()
    result = exchange.ask(read())
    assert result.words is None
    assert result.code == code
    assert result.detail
    assert getattr(exchange.counters, counter) == 1
    assert len(line.heard) == 1  # no retry by itself


def test_waiting_ends_with_the_time_out() -> None:
    line = VirtualLine(SETTINGS, lambda _: None)
    result = line.exchange().ask(read(timeout_s=0.1))
    assert (result.replied_us - result.requested_us) / 1e6 == pytest.approx(0.1 + 17 * 10 / 19200, abs=0.002)


def test_an_exception_or_a_damaged_reply_of_the_unit_itself_blocks_nothing() -> None:
    for frame in (build_exception(1, 3, 2), build_reply(1, 3, (1, 2))[:-1] + b"\0"):
        line = VirtualLine(SETTINGS, lambda _, frame=frame: (0.001, frame))  # type: ignore[misc]
        exchange = line.exchange()
        assert exchange.ask(read()).code == exchange.ask(read(address=4)).code != quality.NOT_ASKED


def test_noise_in_front_is_stepped_over_and_bytes_of_idle_time_are_drained() -> None:
    line = VirtualLine(SETTINGS, lambda request: (0.001, b"\0\xff" + build_reply(1, 3, words_of(request))))
    exchange = line.exchange()
    assert exchange.ask(read()).words == (0, 1)
    line.inject(b"\x55\xaa\x01\x03", 0.001)
    line.now_us += 500_000
    assert exchange.ask(read(address=4)).words == (4, 5)
    assert exchange.counters.stray_bytes == 4


def test_a_line_that_is_never_silent_is_told() -> None:
    line = VirtualLine(SETTINGS, prompt)
    line.inject(b"\x55" * 4000, 0.0)
    result = line.exchange().ask(read())
    assert (result.code, result.words) == (quality.BAD_FRAME, None)
    assert "silent" in result.detail
    assert line.heard == []


def test_an_echo_is_removed() -> None:
    line = VirtualLine(SETTINGS, prompt, echoes=True)
    exchange = line.exchange()
    for address in range(0, 0x400, 0x80):
        assert exchange.ask(read(address=address)).words == (address, address + 1)
    assert exchange.counters.echo_bytes == 8 * 8


def test_an_echo_alone_is_no_reply() -> None:
    line = VirtualLine(SETTINGS, lambda _: None, echoes=True)
    assert line.exchange().ask(read()).code == quality.NO_REPLY
    line = VirtualLine(SETTINGS, lambda _: None, echoes=True)
    assert line.exchange().ask(read(table="coil", address=0x0300, count=20)).code == quality.NO_REPLY


def test_a_reply_that_equals_its_request_is_taken_on_a_line_without_echo() -> None:
    def answer(request: FrameRequest) -> Answer:
        return (0.001, request.adu) if request.function == 1 else prompt(request)

    exchange = VirtualLine(SETTINGS, answer).exchange()
    exchange.ask(read())
    assert exchange.ask(read(table="coil", address=0x0300, count=20)).code == quality.GOOD


# --- the late-reply rule ------------------------------------------------------------------


def test_after_a_time_out_the_unit_is_held_back_and_others_go_on() -> None:
    line = VirtualLine(SETTINGS, lambda request: None if request.unit_id == 1 else prompt(request))
    exchange = line.exchange()
    assert exchange.ask(read(address=0)).code == quality.NO_REPLY
    held = exchange.ask(read(address=4))
    assert (held.code, held.words) == (quality.NOT_ASKED, None)
    assert exchange.ask(read(unit_id=2)).code == quality.GOOD
    assert exchange.ask(read(table="input")).code == quality.NO_REPLY  # another function cannot be confused
    line.now_us += 1_100_000
    assert exchange.ask(read(address=4)).code == quality.NO_REPLY
    assert exchange.counters.held_back == 1


def test_a_late_reply_is_dropped_and_counted() -> None:
    late = build_reply(1, 3, (111, 222))
    line = VirtualLine(SETTINGS, lambda request: (0.3, late) if request.unit_id == 1 else prompt(request))
    exchange = line.exchange()
    assert exchange.ask(read()).code == quality.NO_REPLY
    line.now_us += 400_000
    assert exchange.ask(read(unit_id=2)).words == (0, 1)
    assert exchange.counters.late_replies == 1
    assert exchange.counters.foreign == 0


def test_a_late_reply_while_another_unit_is_asked_is_stepped_over() -> None:
    late = build_reply(1, 3, (111, 222))
    line = VirtualLine(SETTINGS, lambda request: None if request.unit_id == 1 else (0.05, build_reply(2, 3, (7, 8))))
    exchange = line.exchange()
    assert exchange.ask(read()).code == quality.NO_REPLY
    line.inject(late, 0.01)
    assert exchange.ask(read(unit_id=2)).words == (7, 8)
    assert exchange.counters.late_replies == 1


def test_a_device_beyond_its_bound_raises_the_bound() -> None:
    line = VirtualLine(SETTINGS, lambda request: None if request.unit_id == 1 else (0.09, build_reply(2, 3, (7, 8))))
    exchange = line.exchange()
    exchange.ask(read(max_reply_s=0.2))
    line.now_us += 400_000
    line.inject(build_reply(1, 3, (1, 2)), 0.01)
    exchange.ask(read(unit_id=2))  # while this one is awaited, the late one passes
    assert exchange.counters.late_replies == 1
    exchange.ask(read(max_reply_s=0.2))
    line.now_us += 300_000
    assert exchange.ask(read(max_reply_s=0.2)).code == quality.NOT_ASKED


def late_by(line: VirtualLine, delay_s: float) -> None:
    line.answer = lambda request: (
        prompt(request)
        if request.unit_id != 1
        else (delay_s, build_reply(request.unit_id, request.function, words_of(request)))
    )


@pytest.mark.parametrize("where", ["idle", "silence", "another unit", "behind its answer", "cut in two"])
def test_a_reply_beyond_its_bound_is_noticed_wherever_it_comes(where: str) -> None:
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    late_by(line, 0.9)
    assert exchange.ask(read(max_reply_s=0.2)).code == quality.NO_REPLY
    sent_us = line.heard[-1][0]
    if where == "idle":
        line.idle(exchange, sent_us + 1_000_000)
    elif where == "silence":
        line.idle(exchange, sent_us + 900_000)  # it comes in the 20 ms after the last look
        line.now_us += 15_000
    elif where == "another unit":
        line.idle(exchange, sent_us + 890_000)
        line.answer = lambda request: (0.06, build_reply(request.unit_id, request.function, words_of(request)))
    elif where == "behind its answer":
        line.idle(exchange, sent_us + 885_000)
        line.answer = lambda request: (0.001, build_reply(request.unit_id, request.function, words_of(request)))
    else:
        line.idle(exchange, sent_us + 908_000)
    if where != "idle":
        assert exchange.ask(read(unit_id=2)).words == (0, 1)
        line.idle(exchange, line.now_us + 50_000)
    assert (exchange.counters.late_replies, exchange.counters.foreign) == (1, 0)
    line.answer = lambda _: None
    exchange.ask(read(max_reply_s=0.2))
    line.now_us += 900_000
    assert exchange.ask(read(max_reply_s=0.2)).code == quality.NOT_ASKED  # the bound is 0.9 s at least


def test_an_answer_that_was_an_earlier_requests_is_counted_and_not_repeated() -> None:
    """Beyond the bound the bytes are the same; the reply too many tells."""
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    late_by(line, 0.3)
    assert exchange.ask(read(address=0, max_reply_s=0.2)).code == quality.NO_REPLY
    line.idle(exchange, line.heard[-1][0] + 260_000)
    assert exchange.ask(read(address=100, max_reply_s=0.2)).words == (0, 1)
    line.idle(exchange, line.now_us + 500_000)
    assert exchange.counters.doubtful == 1
    assert exchange.ask(read(address=0, max_reply_s=0.2)).code == quality.NO_REPLY
    line.idle(exchange, line.heard[-1][0] + 280_000)
    assert exchange.ask(read(address=100, max_reply_s=0.2)).code == quality.NOT_ASKED


def test_a_damaged_reply_settles_nothing_while_another_late_one_may_come() -> None:
    """A late reply of unit 2 whose unit id was hit, then the true one of unit 1."""
    damaged = b"\x01" + build_reply(2, 3, (7, 8))[1:]
    line = VirtualLine(SETTINGS, lambda request: None)
    exchange = line.exchange()
    exchange.ask(read(unit_id=2))
    line.answer = lambda request: (0.001, damaged)
    assert exchange.ask(read(unit_id=1)).code == quality.BAD_FRAME
    assert exchange.ask(read(unit_id=1, address=4)).code == quality.NOT_ASKED


Step = tuple[int, int, float, float]


@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.sampled_from([0, 100]), st.floats(0, 0.5), st.floats(0, 0.3)),
        min_size=2,
        max_size=25,
    )
)
@example([(1, 0, 0.5, 0.0), (1, 100, 0.0, 0.22)] * 6)  # at the bound, asked as soon as it is over
@example([(1, 0, 0.0499, 0.0), (1, 100, 0.0501, 0.0)] * 6)  # at the time-out
def test_a_reply_is_never_anothers_answer(steps: list[Step]) -> None:
    """Two registers of one unit, same function and count, any delay up to the bound."""
    delays = iter([delay for _, _, delay, _ in steps])

    def answer(request: FrameRequest) -> Answer:
        return next(delays), build_reply(request.unit_id, request.function, words_of(request))

    line = VirtualLine(SETTINGS, answer)
    exchange = line.exchange()
    for unit_id, address, _, pause in steps:
        result = exchange.ask(read(unit_id=unit_id, address=address, timeout_s=0.05, max_reply_s=0.5))
        assert result.words in (None, (address, address + 1))
        line.idle(exchange, line.now_us + int(pause * 1e6))


@given(
    st.floats(0.21, 3.0),
    st.lists(st.tuples(st.integers(1, 4), st.floats(0, 0.4)), min_size=12, max_size=12),
)
@example(0.234375, [(1, 0.0)] * 12)  # so little beyond it that a look at the line comes too late to see it
def test_a_unit_beyond_its_bound_is_noticed_once_it_is_left_alone(
    delay: float, rounds: list[tuple[int, float]]
) -> None:
    """A unit that always takes longer than its bound of 0.2 s; every round ends with a pause longer than that."""
    queue = 0  # when the unit has finished its work so far: one at a time, in order

    def answer(request: FrameRequest) -> Answer:
        nonlocal queue
        arrives = line.now_us + int(8 * SETTINGS.char_s * 1e6)
        queue = max(arrives + int(delay * 1e6), queue + 30_000)
        return (queue - arrives) / 1e6, build_reply(request.unit_id, request.function, words_of(request))

    line = VirtualLine(SETTINGS, answer)
    exchange = line.exchange()
    swapped_in = []
    for number, (asked, pause) in enumerate(rounds):
        for turn in range(asked):
            address = 100 * (turn % 2)
            words = exchange.ask(read(address=address, timeout_s=0.1, max_reply_s=0.2)).words
            if words not in (None, (address, address + 1)):
                swapped_in.append(number)
            line.idle(exchange, line.now_us + int(pause * 1e6))
        line.idle(exchange, max(line.now_us, queue) + 1_000_000)
    assert max(swapped_in, default=0) < 6  # what was learned holds
    exchange.ask(read(address=0, timeout_s=0.1, max_reply_s=0.2))
    line.idle(exchange, line.heard[-1][0] + int(delay * 1e6))
    assert exchange.ask(read(address=100, timeout_s=0.1, max_reply_s=0.2)).code == quality.NOT_ASKED


# --- a port that comes and goes -----------------------------------------------------------


def test_a_port_that_goes_is_a_value_and_comes_back() -> None:
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    assert exchange.ask(read()).code == quality.GOOD
    line.broken = PortGone("unplugged")
    lost = exchange.ask(read(unit_id=2))
    assert (lost.code, lost.detail) == (quality.PORT_CLOSED, "unplugged")
    assert exchange.ask(read(unit_id=3)).code == quality.PORT_CLOSED
    line.now_us += 1_000_001
    assert exchange.ask(read(unit_id=3)).code == quality.GOOD
    assert exchange.counters.reopened == 1
    assert line.opened == 2


def test_opening_backs_off() -> None:
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    attempts = []
    for _ in range(int(sum(BACK_OFF_S) * 10 + 700)):
        line.broken = PortGone("not there")
        assert exchange.ask(read()).code == quality.PORT_CLOSED
        if line.broken is None:
            attempts.append(line.now_us)
        line.now_us += 100_000
    gaps = [(later - sooner) / 1e6 for sooner, later in pairwise(attempts)]
    assert gaps[: len(BACK_OFF_S)] == pytest.approx(BACK_OFF_S)
    assert gaps[-1] == pytest.approx(30.0)


def test_a_read_that_lost_its_port_can_still_be_answered_late() -> None:
    line = VirtualLine(SETTINGS, prompt)
    exchange = line.exchange()
    exchange.ask(read())
    line.broken = PortGone("unplugged")
    exchange.ask(read(max_reply_s=5.0))
    line.now_us += 2_000_000
    assert exchange.ask(read(max_reply_s=5.0)).code == quality.NOT_ASKED


def test_a_port_that_goes_while_nobody_asks() -> None:
    line = VirtualLine(SETTINGS, lambda request: None if request.unit_id == 1 else prompt(request))
    exchange = line.exchange()
    exchange.ask(read())
    assert exchange.is_watching()
    line.broken = PortGone("unplugged")
    exchange.look()
    assert not exchange.is_watching()
    assert exchange.ask(read(unit_id=2)).detail == "unplugged"
    line.now_us += 1_000_001
    assert exchange.ask(read(unit_id=2)).code == quality.GOOD
    assert exchange.counters.reopened == 1


def test_an_impossible_request_is_the_callers_fault() -> None:
    with pytest.raises(RequestError):
        VirtualLine(SETTINGS, prompt).exchange().ask(read(count=0))


# --- writes -------------------------------------------------------------------------------


def writing(function: int = 6, address: int = 3, values: tuple[int, ...] = (7,), **more: object) -> WriteRequest:
    fields: dict[str, object] = {"unit_id": 1, "timeout_s": 0.1, "max_reply_s": 1.0, "answered_by": (1,)} | more
    return WriteRequest(function=function, address=address, values=values, **fields)  # type: ignore[arg-type]


def confirm(frame: bytes) -> Answer:
    """A device that does what it is told."""
    return 0.002, frame if frame[1] in (5, 6) else with_crc(frame[:6])


def other(answer: Answer, *, echoes: bool = False) -> VirtualLine:
    return VirtualLine(SETTINGS, prompt, answer_other=lambda _: answer, echoes=echoes)


@pytest.mark.parametrize(
    ("function", "values", "adu"),
    [
        # Modbus Application Protocol V1.1b3: sections 6.5, 6.6, 6.11 and 6.12
        (5, (0xFF00,), "11 05 00 AC FF 00"),
        (6, (3,), "11 06 00 AC 00 03"),
        (15, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0), "11 0F 00 AC 00 0A 02 CD 01"),
        (16, (10, 0x0102), "11 10 00 AC 00 02 04 00 0A 01 02"),
    ],
)
@pytest.mark.parametrize("echoes", [False, True])
def test_a_write(function: int, values: tuple[int, ...], adu: str, echoes: bool) -> None:
    line = VirtualLine(SETTINGS, prompt, confirm, echoes=echoes)
    exchange = line.exchange()
    exchange.ask(read())
    result = exchange.write(writing(function, 0xAC, values, unit_id=0x11, answered_by=(0x11,)))
    assert (result.code, result.detail) == (quality.GOOD, "")
    assert [frame for _, frame in line.heard_other] == [with_crc(bytes.fromhex(adu))]
    assert result.requested_us < result.replied_us
    assert exchange.counters.good == exchange.counters.requests == 2
    assert (exchange.counters.echo_bytes > 0) == echoes
    assert line.shortest_silence_us >= SETTINGS.silence_s * 1e6


WRITE_REPLY = with_crc(bytes.fromhex("01 06 00 03 00 07"))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, quality.NO_REPLY),
        ((0.001, build_exception(1, 6, 3)), quality.ILLEGAL_VALUE),
        ((0.001, build_exception(1, 6, 6)), quality.DEVICE_BUSY),
        ((0.001, WRITE_REPLY[:-1] + b"\0"), quality.BAD_FRAME),
        ((0.001, WRITE_REPLY[:5]), quality.BAD_FRAME),
        ((0.001, with_crc(bytes.fromhex("01 06 00 03 00 08"))), quality.BAD_FRAME),
        ((0.001, with_crc(bytes.fromhex("01 06 00 04 00 07"))), quality.FOREIGN_REPLY),
        ((0.001, with_crc(bytes.fromhex("02 06 00 03 00 07"))), quality.FOREIGN_REPLY),
        ((0.001, with_crc(bytes.fromhex("01 10 00 03 00 07"))), quality.FOREIGN_REPLY),
    ],
    ids=["silent", "refused", "busy", "crc", "cut", "value", "address", "unit", "function"],
)
@pytest.mark.parametrize("echoes", [False, True])
def test_a_write_that_is_not_confirmed(answer: Answer, code: int, echoes: bool) -> None:
    line = other(answer, echoes=echoes)
    exchange = line.exchange()
    exchange.ask(read())
    result = exchange.write(writing())
    assert result.code == code
    assert result.detail
    assert len(line.heard_other) == 1  # no retry by itself


def test_the_echo_of_a_write_is_not_its_confirmation() -> None:
    """Nobody is there, and the request comes back: on a new line, and on one that is known to echo."""
    line = other(None, echoes=True)
    exchange = line.exchange()
    fresh = exchange.write(writing())
    assert fresh.code == quality.NO_REPLY
    assert "echo" in fresh.detail
    exchange.ask(read())
    line.now_us += 2_000_000
    assert exchange.write(writing()).code == quality.NO_REPLY


def test_a_confirmation_on_a_new_line_is_taken_once_a_read_has_shown_that_it_does_not_echo() -> None:
    line = VirtualLine(SETTINGS, prompt, confirm)
    exchange = line.exchange()
    assert exchange.write(writing()).code == quality.NO_REPLY
    assert exchange.ask(read()).code == quality.GOOD
    line.now_us += 2_000_000
    assert exchange.write(writing()).code == quality.GOOD
    line.broken = PortGone("unplugged")
    exchange.ask(read())
    line.now_us += 2_000_000
    assert exchange.write(writing()).code == quality.NO_REPLY  # it may be another adapter


@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("how", ["exception", "raw"])
def test_any_answer_tells_whether_the_line_echoes(how: str, echoes: bool) -> None:
    line = VirtualLine(SETTINGS, lambda _: (0.002, build_exception(1, 3, 2)), confirm, echoes=echoes)
    exchange = line.exchange()
    if how == "exception":
        assert exchange.ask(read()).code == quality.ILLEGAL_ADDRESS
    else:
        exchange.raw(RawRequest(frame=with_crc(bytes.fromhex("01 03 00 00 00 01")), listen_s=0.05))
    assert exchange.write(writing()).code == quality.GOOD


def test_a_confirmation_that_nobody_awaited_is_not_learned_as_an_echo() -> None:
    line = VirtualLine(SETTINGS, prompt, confirm)
    exchange = line.exchange()
    exchange.write(writing(answered_by=()))
    assert exchange.ask(read()).code == quality.GOOD
    exchange.write(writing(answered_by=(), address=4))
    line.now_us += 2_000_000
    assert exchange.write(writing()).code == quality.GOOD


def test_a_write_of_many_needs_no_read_before_it() -> None:
    for echoes in (False, True):
        line = VirtualLine(SETTINGS, prompt, confirm, echoes=echoes)
        assert line.exchange().write(writing(16, 3, (1, 2))).code == quality.GOOD


def test_an_answer_from_the_new_address() -> None:
    line = other((0.001, with_crc(bytes.fromhex("03 06 00 10 00 03"))))
    exchange = line.exchange()
    exchange.ask(read())
    change = writing(6, 0x10, (3,), answered_by=(1, 3))
    assert exchange.write(change).code == quality.GOOD
    only_old = other((0.001, with_crc(bytes.fromhex("03 06 00 10 00 03")))).exchange()
    only_old.ask(read())
    assert only_old.write(writing(6, 0x10, (3,))).code == quality.FOREIGN_REPLY


@pytest.mark.parametrize("echoes", [False, True])
def test_a_write_that_nobody_answers_holds_the_line(echoes: bool) -> None:
    line = other(None, echoes=echoes)
    exchange = line.exchange()
    result = exchange.write(writing(unit_id=0, answered_by=(), timeout_s=0.15))
    assert (result.code, result.detail) == (quality.GOOD, "no answer awaited")
    assert (result.replied_us - result.requested_us) / 1e6 == pytest.approx(0.15 + 8 * 10 / 19200, abs=0.001)
    assert exchange.ask(read()).code == quality.GOOD
    assert line.heard[-1][0] - line.heard_other[-1][0] >= 150_000
    assert exchange.counters.foreign == exchange.counters.stray_bytes == 0


def test_an_answer_that_nobody_awaits_is_not_the_next_requests() -> None:
    line = other((0.2, WRITE_REPLY))
    exchange = line.exchange()
    exchange.ask(read())
    exchange.write(writing(answered_by=(), timeout_s=0.05))
    assert exchange.write(writing()).code == quality.NOT_ASKED
    assert exchange.ask(read(count=3)).code == quality.GOOD


@given(
    st.lists(
        st.tuples(st.sampled_from([3, 4]), st.sampled_from([7, 8]), st.floats(0, 0.5), st.floats(0, 0.3)),
        min_size=2,
        max_size=25,
    )
)
def test_a_late_confirmation_is_never_another_writes(steps: list[Step]) -> None:
    """A device that confirms late and does not always do it: what is confirmed was confirmed for this write."""
    answers = iter(steps)
    confirmed = []

    def answer(frame: bytes) -> Answer:
        delay = next(answers)[2]
        confirmed.append((line.now_us, delay))
        return delay, frame

    line = VirtualLine(SETTINGS, prompt, answer)
    exchange = line.exchange()
    exchange.ask(read())
    for address, value, _, pause in steps:
        before = len(confirmed)
        result = exchange.write(writing(6, address, (value,), timeout_s=0.05, max_reply_s=0.5))
        if len(confirmed) == before:
            assert result.code == quality.NOT_ASKED
            next(answers)
        else:
            own_us, delay = confirmed[-1]
            is_in_time = result.replied_us >= own_us + int(delay * 1e6)
            assert (result.code == quality.GOOD) <= is_in_time
        line.idle(exchange, line.now_us + int(pause * 1e6))


# --- raw frames ---------------------------------------------------------------------------

RAW = with_crc(bytes.fromhex("05 11"))
RAW_REPLY = with_crc(bytes.fromhex("05 11 03 01 02 FF"))


def test_raw_bytes_come_back_with_their_times() -> None:
    line = other((0.003, RAW_REPLY))
    exchange = line.exchange()
    result = exchange.raw(RawRequest(frame=RAW, listen_s=0.2))
    assert result.code == quality.GOOD
    assert b"".join(data for _, data in result.heard) == RAW_REPLY
    assert all(result.requested_us < at <= result.ended_us for at, _ in result.heard)
    # ended by the whole frame and the silence behind it
    wire_us = (len(RAW) + len(RAW_REPLY)) * SETTINGS.char_s * 1e6
    assert result.ended_us - result.requested_us < wire_us + 3000 + 3 * SETTINGS.silence_s * 1e6 + 1000


@pytest.mark.parametrize(("frame", "until_frame"), [(RAW, False), (b"", True), (b"", False)])
def test_listening_lasts_as_long_as_was_asked(frame: bytes, until_frame: bool) -> None:
    line = other((0.003, RAW_REPLY))
    result = line.exchange().raw(RawRequest(frame=frame, listen_s=0.2, until_frame=until_frame))
    sent_s = len(frame) * SETTINGS.char_s
    assert (result.ended_us - result.requested_us) / 1e6 == pytest.approx(0.2 + sent_s, abs=0.001)
    assert bool(line.heard_other) == bool(frame)


def test_an_echo_is_heard_and_is_not_the_frame_that_is_awaited() -> None:
    line = other((0.05, RAW_REPLY), echoes=True)
    result = line.exchange().raw(RawRequest(frame=RAW, listen_s=0.2))
    assert b"".join(data for _, data in result.heard) == RAW + RAW_REPLY


def test_what_came_late_is_given_to_the_next_raw_request() -> None:
    """So a scan can credit it to the unit that it names."""
    late = build_reply(5, 3, (1,))
    line = VirtualLine(SETTINGS, lambda request: (0.05, late) if request.unit_id == 5 else None)
    exchange = line.exchange()
    first, second = (with_crc(bytes((unit, 3, 0, 0, 0, 1))) for unit in (5, 6))
    assert exchange.raw(RawRequest(frame=first, listen_s=0.031)).heard == ()
    line.now_us += 30_000
    result = exchange.raw(RawRequest(frame=second, listen_s=0.031))
    assert [data for at, data in result.heard if at < result.requested_us] == [late]


def test_what_a_tool_asked_is_owed_like_any_other_reply() -> None:
    line = VirtualLine(SETTINGS, lambda request: None if request.address == 9 else prompt(request))
    exchange = line.exchange()
    silent, answered = (with_crc(bytes((1, 3, 0, address, 0, 1))) for address in (9, 4))
    exchange.raw(RawRequest(frame=silent, listen_s=0.031))
    assert exchange.ask(read()).code == quality.NOT_ASKED
    line.now_us += 1_200_000
    exchange.raw(RawRequest(frame=answered, listen_s=0.031))
    assert exchange.ask(read()).code == quality.GOOD


def test_nothing_is_sent_into_a_line_that_is_never_silent() -> None:
    line = other(None)
    line.inject(b"\x55" * 4000, 0.0)
    result = line.exchange().raw(RawRequest(frame=RAW, listen_s=0.031))
    assert result.code == quality.NOT_ASKED
    assert line.heard_other == []
    assert result.heard


def test_a_port_that_is_gone_tells_a_tool() -> None:
    line = other(None)
    line.broken = PortGone("unplugged")
    result = line.exchange().raw(RawRequest(frame=RAW, listen_s=0.031))
    assert (result.code, result.detail, result.heard) == (quality.PORT_CLOSED, "unplugged", ())


@dataclass
class LineThatCounts(VirtualLine):
    """Counts how often the exchange looks at what came."""

    looks: int = 0

    def read(self) -> bytes:
        self.looks += 1
        return super().read()


@pytest.mark.parametrize("babble", [b"\0", b"\x09\x03\xff"])
def test_a_line_that_babbles_is_not_searched_on_and_on(babble: bytes) -> None:
    line = LineThatCounts(SETTINGS, lambda request: (0.001, babble * (20_000 // len(babble))))
    result = line.exchange().ask(read(timeout_s=60.0))
    assert line.looks < 800  # of 8192 bytes; each look searches all that came
    assert result.code == quality.BAD_FRAME
    assert "no answer among them" in result.detail
    assert result.replied_us - result.requested_us < 6_000_000
