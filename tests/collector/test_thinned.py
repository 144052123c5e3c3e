"""Batches of thinned data: what a minute, a trend and the latest value say of samples that are a part of what was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.trend import RAW_RANGE_US
from collector.web.arrange import trend_figures
from contracts.batch import Lane, LossRecord, Origin
from contracts.quality import GOOD, MISSED_TICK, NO_REPLY
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_verify import check, remake

S = 1_000_000
MINUTE = 60 * S
KEY = "well-0/ch4"
Message = tuple[str, bytes]
#: monotonic us -> (count, code)
Rows = dict[int, tuple[int | None, int]]


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


def seal_rows(g: Gateway, at_us: int, rows: Rows, **more: Any) -> Message:
    """Seals samples of all four points: time -> (value, code)."""
    times = sorted(rows)
    column = [rows[time][0] for time in times]
    codes = [None if rows[time][1] == GOOD else [rows[time][1]] * 4 for time in times]
    floats = [None if value is None else value / 8 for value in column]
    return g.seal(
        at_us, times=times, values=[column, column, column, floats], codes=codes, **more
    )  # fmt: skip


def minute_of_data(g: Gateway, minute: int) -> tuple[list[Message], Rows]:
    """Seals a minute in six batches of five ticks; returns them and their samples."""
    rows: Rows = {
        minute * MINUTE + tick * 2 * S: (None, NO_REPLY) if tick == 11 else (100 + (tick * 7) % 13, GOOD)
        for tick in range(30)
    }
    messages = []
    items = list(rows.items())
    for start in range(0, len(items), 5):
        part = dict(items[start : start + 5])
        messages.append(seal_rows(g, max(part) + S, part))
    return messages, rows


def thinned(g: Gateway, at_us: int, rows: Rows, first: int, last: int) -> Message:
    """Seals the least, the greatest, the failed and the last sample, with the record for what they stand for."""
    numbered = {time: value for time, (value, _) in rows.items() if value is not None}
    kept = {min(numbered, key=numbered.__getitem__), max(numbered, key=numbered.__getitem__), max(rows)}
    kept |= {time for time, (value, _) in rows.items() if value is None}
    loss = LossRecord(
        epoch=g.epoch,
        lane=Lane.DATA,
        first=first,
        last=last,
        digest=g.heads[Lane.DATA].digest,
        readings=4 * len(rows),
        cause="thinned",
        thinned_into=(g.epoch, g.heads[Lane.DATA].seq + 1),
    )
    return seal_rows(g, at_us, {time: rows[time] for time in kept}, losses=(loss,), origin=Origin.THINNED)


def test_a_thinned_minute_has_its_low_high_last_and_worst_and_no_count(bench: Bench) -> None:
    g = bench.gateway
    _, rows = minute_of_data(g, 2)
    bench.send(g.catalogue_message(), thinned(g, 200 * S, rows, 1, 6), at_us=200 * S)
    assert bench.rows("SELECT count, without, low, high, total, last, worst FROM rollup WHERE point_no=1") == [
        (0, 0, 100, 112, None, rows[max(rows)][0], NO_REPLY)
    ]
    assert bench.rows("SELECT ranges FROM chain WHERE lane=1") == [("[[1,7]]",)]
    assert bench.rows(f"SELECT value, mono_us FROM latest WHERE key='{KEY}'") == [(rows[max(rows)][0], max(rows))]
    assert check(bench).is_true


def test_what_has_arrived_before_or_comes_after_counts_once(make_bench: Callable[[], Bench]) -> None:
    dumps = []
    for order in ("before", "after", "between", "together"):
        bench = make_bench()
        g = bench.gateway
        originals, rows = minute_of_data(g, 2)
        copy = thinned(g, 200 * S, rows, 1, 6)
        bench.send(g.catalogue_message())
        if order == "together":
            bench.send(*originals[:3], copy, *originals[3:], at_us=210 * S)
        else:
            at = {"before": 0, "between": 3, "after": 6}[order]
            for message in [*originals[:at], copy, *originals[at:]]:
                bench.send(message, at_us=210 * S)
        dumps.append((bench.rows("SELECT * FROM rollup ORDER BY 1, 2"), bench.rows("SELECT * FROM latest ORDER BY 2")))
        assert check(bench).is_true
        remake(bench)
        assert dumps[-1][0] == bench.rows("SELECT * FROM rollup ORDER BY 1, 2")
    assert all(dump == dumps[0] for dump in dumps)
    point, _, count, without, low, high = dumps[0][0][0][:6]
    assert (point, count, without, low, high) == (1, 29, 1, 100, 112)


def test_thinned_samples_never_move_the_latest_value_back(bench: Bench) -> None:
    g = bench.gateway
    _, rows = minute_of_data(g, 2)
    copy = thinned(g, 200 * S, rows, 1, 6)
    bench.send(g.catalogue_message(), g.data(300 * S), at_us=300 * S)
    before = bench.rows("SELECT * FROM latest ORDER BY key")
    bench.send(copy, at_us=310 * S)
    assert bench.rows("SELECT * FROM latest ORDER BY key") == before


def test_a_thinned_batch_waits_for_its_catalogue_and_its_records_do_not(bench: Bench) -> None:
    g = bench.gateway
    _, rows = minute_of_data(g, 2)
    result = bench.send(thinned(g, 200 * S, rows, 1, 6), at_us=200 * S)
    (receipt,) = [item for item in result.receipts if item.lane is Lane.DATA]
    assert (receipt.contiguous, receipt.wanted) == (6, (g.catalogue.hash,))
    bench.send(g.catalogue_message(), at_us=201 * S)
    assert bench.rows("SELECT sum(count), max(high) FROM rollup WHERE point_no=1") == [(0, 112)]
    assert check(bench).is_true


def test_a_raw_trend_shows_thinned_samples_once_and_draws_no_gap_between_them(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    originals, rows = minute_of_data(g, 2)
    _, more = minute_of_data(g, 3)
    bench.send(g.catalogue_message(), *originals, thinned(g, 400 * S, rows | more, 1, 12), at_us=400 * S)
    trend = queries.trend(g.id, KEY, START_US, START_US + 500 * S)
    assert trend is not None
    assert (trend.source, trend.times_us[0]) == ("raw", START_US + min(rows))
    assert len(trend.times_us) == len(set(trend.times_us))
    assert set(trend.times_us) > {START_US + time for time in rows}
    assert MISSED_TICK not in trend.codes
    assert len(trend.times_us) < len(rows) + 6


def test_silence_between_thinned_samples_is_a_gap(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    rows: Rows = {100 * S: (50, GOOD), 160 * S: (51, GOOD), 281 * S: (52, GOOD)}
    bench.send(g.catalogue_message(), seal_rows(g, 400 * S, rows, origin=Origin.THINNED), at_us=400 * S)
    trend = queries.trend(g.id, KEY, START_US, START_US + 500 * S)
    assert trend is not None
    assert list(trend.values) == [5.0, 5.1, None, 5.2]
    assert list(trend.codes) == [GOOD, GOOD, MISSED_TICK, GOOD]


def test_a_trend_of_minutes_has_low_and_high_and_no_mean_where_data_were_thinned(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    originals, rows = minute_of_data(g, 2)
    _, more = minute_of_data(g, 3)
    bench.send(g.catalogue_message(), *originals, thinned(g, 400 * S, more, 7, 12), at_us=400 * S)
    trend = queries.trend(g.id, KEY, START_US, START_US + RAW_RANGE_US + S)
    assert trend is not None
    assert trend.source == "minute"
    mean = sum(value for value, _ in rows.values() if value is not None) / 29 / 10
    assert [value if value is None else pytest.approx(mean) for value in trend.values] == [pytest.approx(mean), None]
    assert (list(trend.low), list(trend.high)) == ([10.0, 10.0], [11.2, 11.2])
    assert (trend_figures(trend).without_number, trend_figures(trend).low) == (0, 10.0)


def test_what_was_thinned_is_not_told_as_lost(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    _, rows = minute_of_data(g, 2)
    bench.send(g.catalogue_message(), thinned(g, 200 * S, rows, 1, 6), at_us=200 * S)
    counters = queries.counters()
    assert (counters["lost_readings"], counters["thinned_readings"]) == (0, 120)
