"""Bytes to frames and answers: the cases of a line, and laws."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivers.frames import build_exception, build_reply, crc_fits, read_request, with_crc
from edge_agent.tools.heard import Kind, Outcome, find_frames, joined, missing_bytes, read_answer, read_idle

CHAR_S = 10 / 9600
QUESTION = read_request(unit_id=7, table="holding", address=0, count=1)
GOOD = build_reply(7, 3, (0x1234,))
OTHER = build_reply(9, 3, (5,))


def answer(data: bytes, at_us: int = 60_000) -> Outcome:
    return read_answer(QUESTION, [(at_us, data)] if data else [], sent_us=0, char_s=CHAR_S).outcome


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"", Outcome.SILENT),
        (GOOD, Outcome.GOOD),
        (QUESTION.adu + GOOD, Outcome.GOOD),
        (QUESTION.adu, Outcome.SILENT),
        (build_exception(7, 3, 2), Outcome.EXCEPTION),
        (b"\0" + GOOD, Outcome.GOOD),
        (b"\xff\0" + GOOD + b"\0", Outcome.GOOD),
        (GOOD + GOOD, Outcome.DOUBLED),
        (GOOD + GOOD[:-1] + b"\x55", Outcome.DOUBLED),
        (GOOD[:-1] + b"\x55", Outcome.DAMAGED),
        (b"\x80\xfe\x12", Outcome.DAMAGED),
        (GOOD[1:], Outcome.CUT_HEAD),
        (GOOD[2:], Outcome.CUT_HEAD),
        (GOOD[3:], Outcome.CUT_HEAD),
        (build_exception(7, 3, 2)[1:], Outcome.CUT_HEAD),
        (b"\0\xff\0", Outcome.NOISE),
        (OTHER, Outcome.FOREIGN),
        (build_reply(7, 3, (1, 2)), Outcome.FOREIGN),
        (OTHER + GOOD, Outcome.GOOD),
    ],
)
def test_what_a_question_gave(data: bytes, outcome: Outcome) -> None:
    assert answer(data) is outcome


def test_a_good_answer_tells_words_delay_noise_and_echo() -> None:
    chunks = [(1_000, QUESTION.adu), (25_000, b"\0"), (32_000, GOOD)]
    found = read_answer(QUESTION, chunks, sent_us=8_000, char_s=CHAR_S)
    assert (found.words, found.noise_before, found.is_echoed) == ((0x1234,), 1, True)
    assert found.delay_s == pytest.approx(0.017 - CHAR_S)


def test_answers_of_others_are_handed_on_for_credit() -> None:
    found = read_answer(QUESTION, [(9_000, OTHER + GOOD)], sent_us=0, char_s=CHAR_S)
    assert [frame.unit_id for frame in found.others] == [9]


@pytest.mark.parametrize(
    ("data", "missing"), [(b"", 0), (GOOD, 0), (GOOD[:3], 4), (GOOD[:6], 1), (QUESTION.adu + GOOD[:4], 3), (OTHER, 0)]
)
def test_an_answer_that_has_begun_may_end(data: bytes, missing: int) -> None:
    assert missing_bytes(QUESTION, [(0, data)] if data else []) == missing


def _is_also_a_reply(data: bytes) -> bool:
    """Whether a question's first bytes are a whole reply by chance: no look at bytes alone tells which it is."""
    length = 5 + data[2]
    return data[1] == 4 and length != 8 and len(data) >= length and crc_fits(data[:length])


def test_a_question_that_begins_as_a_whole_reply_is_taken_for_one() -> None:
    question = read_request(unit_id=0x61, table="input", address=0x025B, count=2).adu
    assert _is_also_a_reply(question)
    found, rest = find_frames(question)
    assert [(frame.kind, frame.data) for frame in found] == [(Kind.REPLY, question[:7])]
    assert rest == question[7:]


@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda unit, words: build_reply(unit, 3, words),
                st.integers(1, 247),
                st.lists(st.integers(0, 65535), min_size=1, max_size=20),
            ),
            st.builds(build_exception, st.integers(1, 247), st.integers(1, 4), st.integers(1, 11)),
            st.builds(
                lambda unit, address: read_request(unit_id=unit, table="input", address=address, count=2).adu,
                st.integers(1, 247),
                st.integers(0, 60000),
            ),
        ),
        max_size=6,
    )
)
def test_frames_in_a_row_are_all_found_and_nothing_is_left(frames: list[bytes]) -> None:
    starts = [sum(map(len, frames[:number])) for number in range(len(frames))]
    assume(not any(_is_also_a_reply(b"".join(frames)[start:]) for start in starts))
    found, rest = find_frames(b"".join(frames))
    assert [frame.data for frame in found] == frames
    assert rest == b""


@given(st.binary(max_size=64))
def test_no_byte_is_lost_or_made_up(data: bytes) -> None:
    found, rest = find_frames(data)
    assert sum(len(frame.data) for frame in found) + len(rest) == len(data)
    assert answer(data) in Outcome


def test_kinds_of_frames() -> None:
    write = with_crc(bytes.fromhex("05 06 00 10 00 01"))
    many = with_crc(bytes.fromhex("05 10 00 10 00 01 02 00 07"))
    kinds = [frame.kind for frame in find_frames(write + many + GOOD + build_exception(1, 3, 2))[0]]
    assert kinds == [Kind.REQUEST, Kind.REQUEST, Kind.REPLY, Kind.EXCEPTION]


def test_a_conversation_of_others_is_told_with_its_period() -> None:
    question = read_request(unit_id=3, table="input", address=100, count=1).adu
    chunks = []
    for turn in range(4):
        chunks += [(turn * 500_000, question), (turn * 500_000 + 20_000, build_reply(3, 4, (turn,)))]
    idle = read_idle(chunks, 2.0)
    (talk,) = idle.conversations
    assert (talk.unit_id, talk.function, talk.address, talk.count) == (3, 4, 100, 1)
    assert (talk.times, talk.answered) == (4, 4)
    assert talk.every_s == pytest.approx(0.5)
    assert idle.octets == len(joined(chunks))
    assert (idle.noise, idle.strange, idle.uncalled) == (0, 0, 0)


def test_a_write_and_its_confirmation_are_one_question() -> None:
    write = with_crc(bytes.fromhex("05 06 00 10 00 01"))
    (talk,) = read_idle([(0, write), (30_000, write)], 1.0).conversations
    assert (talk.unit_id, talk.function, talk.times, talk.answered) == (5, 6, 1, 1)


def test_an_answer_without_a_question_is_uncalled_for() -> None:
    idle = read_idle([(0, GOOD)], 1.0)
    assert (idle.uncalled, idle.is_busy) == (1, False)


def test_a_header_again_and_again_is_a_device_that_reports() -> None:
    chunks = [(turn * 100_000, bytes((0x55, 0x51, turn, 1, 2))) for turn in range(5)]
    assert read_idle(chunks, 1.0).reporting == (b"\x55\x51", pytest.approx(0.1))
    assert read_idle(chunks[:2], 1.0).reporting is None
    assert read_idle([(turn * 100_000, b"\0\0") for turn in range(5)], 1.0).reporting is None
