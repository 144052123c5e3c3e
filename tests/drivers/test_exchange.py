from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import quality
from drivers.errors import PortGone, RequestError
from drivers.exchange import BACK_OFF_S
from drivers.frames import FrameRequest, build_exception, build_reply
from drivers.port import ReadRequest
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


@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.sampled_from([0, 100]), st.floats(0, 0.5), st.floats(0, 0.3)),
        min_size=2,
        max_size=25,
    )
)
def test_a_reply_is_never_anothers_answer(steps: list[tuple[int, int, float, float]]) -> None:
    """Two registers of one unit, same function and count, any delay up to the bound."""
    delays = iter([delay for _, _, delay, _ in steps])

    def answer(request: FrameRequest) -> Answer:
        return next(delays), build_reply(request.unit_id, request.function, words_of(request))

    line = VirtualLine(SETTINGS, answer)
    exchange = line.exchange()
    for unit_id, address, _, pause in steps:
        result = exchange.ask(read(unit_id=unit_id, address=address, timeout_s=0.05, max_reply_s=0.5))
        assert result.words in (None, (address, address + 1))
        line.now_us += int(pause * 1e6)


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


def test_an_impossible_request_is_the_callers_fault() -> None:
    with pytest.raises(RequestError):
        VirtualLine(SETTINGS, prompt).exchange().ask(read(count=0))
