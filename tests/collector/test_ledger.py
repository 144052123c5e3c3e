"""The gap ledger's laws: every tick once, whatever happened; a sample on its own tick."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.completeness_words import CAUSES, OUTCOMES, cause_word
from collector.ledger import Account, Edge, Grid, Piece, Row, Stretch, Stretches, Track, place_rows
from collector.outcomes import (
    LATE,
    NAMED,
    NEVER_SENT,
    ON_TIME,
    POWER,
    RECONFIGURED,
    STOPPED,
    UNHEARD,
    Outcome,
    Whose,
    Why,
    whose,
)
from contracts.batch import LOSS_CAUSES
from contracts.quality import CALIBRATION_OVERDUE, CODES, FAULT, GOOD, MISSED_TICK, NO_REPLY
from tests.collector.virtual_day import poll

S = 1_000_000
GRID = Grid(S, 0)
LOST = Why(Outcome.LOST, "quota")
DAY = 86_400 * S


def rows_at(*times_s: float, run: int = 1) -> list[Row]:
    return [Row(round(time * S), None, run) for time in times_s]


def placed_at(rows: list[Row]) -> dict[int, tuple[float, bool]]:
    return {tick: (found.row.time_us / S, found.is_late) for tick, found in place_rows(rows, GRID).items()}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (rows_at(1.0, 2.1, 3.9), {1: (1.0, False), 2: (2.1, False), 3: (3.9, False)}),
        # The reply of tick 2 was slow; tick 3 has its own sample in the same interval.
        (rows_at(1.1, 3.1, 3.6, 4.1), {1: (1.1, False), 2: (3.1, True), 3: (3.6, False), 4: (4.1, False)}),
        # Three slow ones in a row push each other.
        (rows_at(1.1, 3.1, 4.2, 4.8), {1: (1.1, False), 2: (3.1, True), 3: (4.2, True), 4: (4.8, False)}),
        # A tick that was not asked keeps its own; the sample in its interval is of the one before.
        ([*rows_at(1.1, 3.4), Row(3 * S, (MISSED_TICK,), 1)], {1: (1.1, False), 2: (3.4, True), 3: (3.0, False)}),
        # Taken once more after a restart within the interval: the first one stands.
        ([*rows_at(1.1, 2.1), *rows_at(2.6, 3.1, run=2)], {1: (1.1, False), 2: (2.1, False), 3: (3.1, False)}),
        # Two in one interval and no free tick before: no third place is made up.
        (rows_at(1.0, 2.0, 2.5), {0: (1.0, True), 1: (2.0, True), 2: (2.5, False)}),
        # The same sample again, carried by a thinned batch.
        ([*rows_at(1.1, 2.1), *rows_at(2.1, run=0)], {1: (1.1, False), 2: (2.1, False)}),
    ],
)
def test_which_tick_a_sample_belongs_to(rows: list[Row], expected: dict[int, tuple[float, bool]]) -> None:
    assert placed_at(rows) == expected


@given(seed=st.integers(0, 1 << 32), interval_s=st.sampled_from([1, 5, 60]), slow=st.sampled_from([0.0, 0.02, 0.2]))
def test_what_a_poller_tells_lands_on_its_own_tick(seed: int, interval_s: int, slow: float) -> None:
    rng = random.Random(seed)
    interval, phase = interval_s * S, rng.randrange(interval_s * S)
    taken = poll(rng, 0, interval, phase, 1000 * S, (1000 + 300 * interval_s) * S, at_once=True, slow=slow)
    rows = [Row(row.time_us, (row.code,) if row.code else None, 1) for row in taken]
    rng.shuffle(rows)
    grid = Grid(interval, phase)
    found = place_rows(rows + rows[:50], grid)
    assert {grid.time_of(tick): (at.row.time_us, at.is_late) for tick, at in found.items()} == {
        row.tick_us: (row.time_us, row.is_late) for row in taken
    }


#: a stretch: from, how long (s), why
layers = st.lists(
    st.tuples(
        st.integers(0, 5000),
        st.integers(0, 2000),
        st.sampled_from([STOPPED, POWER, NEVER_SENT, NAMED, UNHEARD, LOST]),
    ),
    max_size=12,
).map(lambda items: [Stretch(at * S, (at + length) * S, why) for at, length, why in items])
samples = st.lists(
    st.tuples(st.integers(0, 6000 * S), st.sampled_from([None, (GOOD, NO_REPLY), (FAULT, FAULT)]), st.integers(0, 2)),
    max_size=60,
).map(lambda items: [Row(*item) for item in items])


def account(stretches: list[Stretch], edges: list[Edge]) -> Account:
    return Account(
        stretches=Stretches(stretches),
        edges=edges,
        hour_of=lambda time_us: (time_us // (600 * S), (time_us // (600 * S) + 1) * 600 * S),
    )


@given(
    layers=layers,
    rows=samples,
    others=samples,
    interval_s=st.sampled_from([1, 7, 60]),
    phase_us=st.integers(0, S - 1),
    cuts=st.lists(st.integers(0, 6000 * S), max_size=4),
    edge_s=st.integers(0, 6000),
)
def test_every_tick_has_one_outcome_and_parts_add_up(
    layers: list[Stretch],
    rows: list[Row],
    others: list[Row],
    interval_s: int,
    phase_us: int,
    cuts: list[int],
    edge_s: int,
) -> None:
    grid = Grid(interval_s * S, phase_us)
    track = Track(keys=("a/b", "a/c"), grid=grid, placed=place_rows(rows, grid))
    other = Track(keys=("a/c", "a/d"), grid=grid, placed=place_rows(others, grid))
    edges = [Edge(edge_s * S, RECONFIGURED), Edge(edge_s * S // 2, STOPPED)]
    whole, parts = account(layers, edges), account(layers, edges)
    end_us = 6000 * S
    whole.add(Piece(track=track, begin_us=0, end_us=end_us, others=(other,)))
    bounds = sorted({0, end_us, *cuts})
    for begin, end in pairwise(bounds):
        parts.add(Piece(track=track, begin_us=begin, end_us=end, others=(other,)))
    assert whole.counts == parts.counts
    for key in track.keys:
        by_hour: Counter[int] = Counter()
        for (point, hour), outcomes in whole.counts.items():
            if point == key:
                by_hour[hour] += outcomes.total()
        grid_by_hour = Counter(
            grid.time_of(tick) // (600 * S) for tick in range(grid.tick_from(0), grid.tick_from(end_us))
        )
        assert by_hour == grid_by_hour
        good = sum(
            outcomes[ON_TIME[GOOD]] + outcomes[LATE[GOOD]] for (at, _), outcomes in whole.counts.items() if at == key
        )
        assert good <= len(rows) + len(others)


def count(layers: list[Stretch], rows: list[Row], edges: list[Edge], end_s: int) -> dict[Why, int]:
    track = Track(keys=("a/b",), grid=GRID, placed=place_rows(rows, GRID))
    made = account(layers, edges)
    made.add(Piece(track=track, begin_us=0, end_us=end_s * S))
    found: Counter[Why] = Counter()
    for outcomes in made.counts.values():
        found.update(outcomes)
    return dict(found)


def test_a_hole_is_what_its_time_says() -> None:
    ran = [Stretch(0, 100 * S, STOPPED), Stretch(0, 40 * S, NEVER_SENT), Stretch(60 * S, 100 * S, NEVER_SENT)]
    lost = [Stretch(70 * S, 80 * S, LOST)]
    good = rows_at(*(at + 0.1 for at in [*range(40), *range(60, 70), *range(80, 95)]))
    assert count(ran + lost, good, [], 95) == {ON_TIME[GOOD]: 65, STOPPED: 20, LOST: 10}


def test_a_hole_beside_a_start_or_a_change_is_that() -> None:
    ran = [Stretch(0, 1000 * S, NEVER_SENT)]
    rows = rows_at(*(at + 0.1 for at in range(10, 1000) if not 497 <= at < 505 and not 700 <= at < 710))
    edges = [Edge(0, STOPPED), Edge(500 * S, RECONFIGURED)]
    assert count(ran, rows, edges, 1000) == {ON_TIME[GOOD]: 972, STOPPED: 10, RECONFIGURED: 8, NEVER_SENT: 10}


def test_a_long_silence_is_not_counted_tick_by_tick() -> None:
    made = account([Stretch(0, 400 * DAY, POWER)], [])
    made.hour_of = lambda time_us: (time_us // DAY, (time_us // DAY + 1) * DAY)
    made.add(Piece(track=Track(keys=("a/b",), grid=GRID, placed={}), begin_us=0, end_us=400 * DAY))
    assert sum(outcomes[POWER] for outcomes in made.counts.values()) == 400 * 86_400
    assert len(made.counts) == 400


@given(layers=layers, at_s=st.integers(0, 8000))
def test_the_uppermost_stretch_counts(layers: list[Stretch], at_s: int) -> None:
    covering = [item.why for item in layers if item.begin_us <= at_s * S < item.end_us]
    why, ends_us = Stretches(layers).at(at_s * S)
    assert why == (covering[-1] if covering else NEVER_SENT)
    assert ends_us is None or ends_us > at_s * S


# ---- words ------------------------------------------------------------------------------------


def test_every_quality_code_has_an_outcome_and_whose_it_is() -> None:
    assert set(ON_TIME) == set(LATE) == set(CODES)
    assert ON_TIME[GOOD] == ("good", "")
    assert LATE[CALIBRATION_OVERDUE] == ("late", "calibration_overdue")
    assert LATE[NO_REPLY] == ON_TIME[NO_REPLY] == ("missing", "no_reply")
    for why in (*ON_TIME.values(), *LATE.values()):
        assert (whose(why) is Whose.NOBODY) == (why.outcome is Outcome.GOOD)


def test_every_outcome_and_cause_has_words() -> None:
    assert set(OUTCOMES) == set(Outcome)
    assert LOSS_CAUSES - {"power"} <= set(CAUSES)
    for language in ("en", "zh"):
        for cause in [*CAUSES, *(code.reason for code in CODES.values())]:
            assert cause_word(cause, language) != cause
    assert cause_word("of-a-newer-gateway", "zh") == "of-a-newer-gateway"
