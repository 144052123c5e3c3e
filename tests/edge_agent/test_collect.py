"""The rows between two seals: nothing is lost unseen, and what is packed unpacks to what came."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contracts.columns import decode_block
from contracts.quality import GOOD, NO_REPLY
from edge_agent.collect import Collector, Taken
from tests.edge_agent.small_plans import block, point

SEALED = 10_000_000
TICK = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2 * SEALED),
    st.one_of(st.none(), st.integers(-(10**9), 10**9)),
    st.integers(-1000, 1000),
)


def collector(*, cap: int = 1024, width: int = 2) -> Collector:
    blocks = [block(first_point=width * n, offsets=tuple(range(width))) for n in range(3)]
    points = [point(f"d1/p/{n}", kind="f64" if n == 5 else "int") for n in range(3 * width)]
    return Collector(blocks, points, cap=cap)


def unpacked(taken: Taken) -> dict[int, list[tuple[int, list[Any], list[int]]]]:
    kinds = [("int", "int"), ("int", "int"), ("int", "f64")]
    found = {}
    for raw in taken.blocks:
        columns = decode_block(raw, kinds[raw[0]], SEALED)
        codes = columns.codes or [[GOOD] * len(columns.times)] * 2
        rows = zip(columns.times, zip(*columns.values, strict=True), zip(*codes, strict=True), strict=True)
        found[columns.number] = [(time, list(row), list(code)) for time, row, code in rows]
    return found


def fill(kept: Collector, ticks: list[tuple[int, int, int | None, int]]) -> dict[int, list[Any]]:
    came: dict[int, list[Any]] = {}
    for number, at, first, second in ticks:
        other: int | float = float(second) if number == 2 else second
        codes = None if first is not None else (NO_REPLY, GOOD)
        kept.add(number, at, (first, other), codes)
        came.setdefault(number, []).append((at, [first, other], list(codes or (GOOD, GOOD))))
    return came


@given(st.lists(TICK, max_size=40))
def test_what_is_packed_unpacks_to_what_came(ticks: list[tuple[int, int, int | None, int]]) -> None:
    kept = collector()
    came = fill(kept, ticks)
    taken = kept.take(SEALED)
    assert unpacked(taken) == came
    assert taken.readings == 2 * len(ticks)
    assert taken.first_us == min((tick[1] for tick in ticks), default=None)
    assert taken.last_us == max((tick[1] for tick in ticks), default=None)
    assert kept.take(SEALED) == Taken([], 0, None, None)


@given(st.lists(TICK, min_size=1, max_size=40), st.integers(1, 20))
def test_parts_together_are_everything_in_order(ticks: list[tuple[int, int, int | None, int]], limit: int) -> None:
    kept = collector()
    came = fill(kept, ticks)
    joined: dict[int, list[Any]] = {}
    while kept.readings:
        part = kept.take(SEALED, limit=limit)
        # each of the three blocks gives a row at least, even where the limit has no place for it
        assert 0 < part.readings <= limit + 3 * 2
        for number, rows in unpacked(part).items():
            joined.setdefault(number, []).extend(rows)
    assert joined == came


def test_when_sealing_stalls_the_oldest_go_and_are_counted() -> None:
    kept = collector(cap=3)
    for n in range(5):
        kept.add(0, n, (n, n), None)
    kept.add(1, 9, (9, 9), None)
    assert (kept.lost_rows, kept.lost_readings, kept.readings) == (2, 4, 8)
    assert [row[0] for row in unpacked(kept.take(SEALED))[0]] == [2, 3, 4]


def test_the_latest_row_outlives_the_seal() -> None:
    kept = collector()
    assert kept.latest(0) is None
    kept.add(0, 1, (1, 1), None)
    kept.add(0, 2, (None, 2), (NO_REPLY, GOOD))
    kept.take(SEALED)
    assert kept.latest(0) == (2, (None, 2), (NO_REPLY, GOOD))
    kept.add(0, 3, (3, 3), None)
    assert kept.latest(0) == (3, (3, 3), None)


def test_another_plan_begins_anew_and_counts_what_nobody_sealed() -> None:
    kept = collector()
    kept.add(2, 1, (1, 1.0), None)
    kept.replace_plan([block()], [point()])
    assert (kept.lost_rows, kept.lost_readings) == (1, 2)
    assert kept.latest(0) is None
    kept.add(0, 5, (7,), None)
    assert kept.take(SEALED).readings == 1
