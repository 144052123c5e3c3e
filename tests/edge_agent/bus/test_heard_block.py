"""Rows out of what an owner asks: one for each tick, whatever it asks and whoever answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import (
    BAD_FRAME,
    DEVICE_BUSY,
    GOOD,
    NO_REPLY,
    NOT_OVERHEARD,
    OWNER_SILENT,
)
from drivers.overheard import Overheard
from edge_agent.bus.heard_block import GRACE_MS, HeardBlock, HeardRow
from tests.edge_agent.small_plans import block

#: the block's first tick begins here (ms)
START = 10_000
SECOND = 1000


def heard(
    at_ms: int,
    words: tuple[int, ...] | None,
    *,
    unit_id: int = 1,
    address: int = 0,
    count: int | None = None,
    exception: int = 0,
    is_answered: bool = True,
) -> Overheard:
    return Overheard(
        unit_id=unit_id,
        function=3,
        address=address,
        count=len(words) if words is not None and count is None else count or 1,
        words=words,
        exception=exception,
        is_answered=is_answered,
        requested_us=at_ms * 1000 - 10_000,
        replied_us=at_ms * 1000 + 10_000,
    )


def make(offsets: tuple[int, ...] = (0, 1)) -> HeardBlock:
    return HeardBlock(block(offsets=offsets, interval_ms=SECOND), 1, START - 1)


def row(at_ms: int, values: tuple[int | None, ...], codes: tuple[int, ...] | None = None) -> HeardRow:
    return HeardRow(at_ms * 1000, values, codes, at_ms * 1000 + 10_000)


def nothing(tick_ms: int, *codes: int) -> HeardRow:
    return HeardRow(tick_ms * 1000, (None,) * len(codes), codes, tick_ms * 1000)


def test_a_whole_answer_is_a_row_at_once() -> None:
    heard_block = make()
    assert heard_block.hear(heard(START + 100, (7, 8)), NOT_OVERHEARD) == [row(START + 100, (7, 8))]
    # The owner asks again within the interval: the tick has its sample.
    assert heard_block.hear(heard(START + 600, (9, 9)), NOT_OVERHEARD) == []
    assert heard_block.hear(heard(START + 1100, (1, 2)), NOT_OVERHEARD) == [row(START + 1100, (1, 2))]


def test_a_wider_answer_is_cut_and_others_are_left() -> None:
    heard_block = HeardBlock(block(offsets=(0,), address=5, interval_ms=SECOND), 1, START - 1)
    assert heard_block.hear(heard(START + 100, (1, 2, 3), address=4), NOT_OVERHEARD) == [row(START + 100, (2,))]
    heard_block = make()
    assert heard_block.hear(heard(START + 100, (1, 2), unit_id=2), NOT_OVERHEARD) == []


def test_points_of_two_answers_make_one_row() -> None:
    heard_block = make()
    assert heard_block.hear(heard(START + 100, (7,)), NOT_OVERHEARD) == []
    assert heard_block.hear(heard(START + 300, (8,), address=1), NOT_OVERHEARD) == [row(START + 300, (7, 8))]


def test_what_the_owner_never_asks_is_missing_and_delays_only_once() -> None:
    heard_block = make()
    assert heard_block.hear(heard(START + 100, (7,)), NOT_OVERHEARD) == []
    end = START + SECOND + GRACE_MS
    assert heard_block.until(end - 1, NOT_OVERHEARD) == []
    assert heard_block.until(end, NOT_OVERHEARD) == [row(START + 100, (7, None), (GOOD, NOT_OVERHEARD))]
    # From now on the row comes with the point that is asked.
    assert heard_block.hear(heard(START + 1300, (9,)), NOT_OVERHEARD) == [
        row(START + 1300, (9, None), (GOOD, NOT_OVERHEARD))
    ]


def test_silence_has_its_cause() -> None:
    heard_block = make()
    assert heard_block.until(START + 2 * SECOND + GRACE_MS, OWNER_SILENT) == [
        nothing(START, OWNER_SILENT, OWNER_SILENT),
        nothing(START + SECOND, OWNER_SILENT, OWNER_SILENT),
    ]
    unanswered = heard(START + 2 * SECOND + 10, None, count=2, is_answered=False)
    assert heard_block.hear(unanswered, NOT_OVERHEARD) == []
    assert heard_block.until(START + 3 * SECOND + GRACE_MS, NOT_OVERHEARD) == [
        nothing(START + 2 * SECOND, NO_REPLY, NO_REPLY)
    ]


def test_an_exception_is_its_cause() -> None:
    heard_block = make()
    busy = heard(START + 100, None, count=2, exception=6)
    [got] = heard_block.hear(busy, NOT_OVERHEARD)
    assert (got.row, got.codes) == ((None, None), (DEVICE_BUSY, DEVICE_BUSY))


def test_a_doubtful_answer_is_none() -> None:
    heard_block = make()
    assert heard_block.hear(heard(START + 100, None, count=2), NOT_OVERHEARD) == []
    assert heard_block.until(START + SECOND + GRACE_MS, NOT_OVERHEARD) == [nothing(START, NOT_OVERHEARD, NOT_OVERHEARD)]


@given(
    st.lists(
        st.tuples(st.integers(0, 700), st.sampled_from(["both", "first", "second", "unanswered", "doubtful"])),
        max_size=40,
    )
)
def test_every_tick_has_one_row(steps: list[tuple[int, str]]) -> None:
    heard_block, rows, now = make(), [], START
    for wait, what in steps:
        now += wait
        one = {
            "both": heard(now, (1, 2)),
            "first": heard(now, (1,)),
            "second": heard(now, (2,), address=1),
            "unanswered": heard(now, None, count=2, is_answered=False),
            "doubtful": heard(now, None, count=2),
        }[what]
        rows += heard_block.hear(one, NOT_OVERHEARD)
    ticks = (now - START) // SECOND + 1
    rows += heard_block.until(START + ticks * SECOND + GRACE_MS, NOT_OVERHEARD)
    assert [got.sampled_us // 1000 // SECOND for got in rows] == [START // SECOND + tick for tick in range(ticks)]
    for got in rows:
        for value, expected, code in zip(got.row, (1, 2), got.codes or (GOOD, GOOD), strict=True):
            assert value == (expected if code == GOOD else None)
            assert code in (GOOD, NO_REPLY, NOT_OVERHEARD)
            assert code != BAD_FRAME
