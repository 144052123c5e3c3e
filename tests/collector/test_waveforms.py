"""Waveforms: noted with their batch, shown from the signed bytes, covered by verify, made again by rebuild."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.retention import DAY_US, prune
from contracts.columns import Columns
from contracts.quality import GOOD, NO_REPLY
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US
from tests.collector.test_verify import check, remake

S = 1_000_000


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


def test_a_waveform_is_listed_and_its_samples_come_from_the_signed_bytes(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    event = g.event("active", 99 * S)
    wave = g.waveform(98 * S, event.raised_by)
    bench.send(g.catalogue_message(), g.seal(100 * S, waveforms=(wave,)), at_us=101 * S)
    (view,) = queries.waveforms()
    assert (view.gateway, view.device, view.cause, view.alarm) == (g.id, "well", "after-alarm", event.id.hex())
    assert (view.begin_us, view.span_us, view.ticks, view.channels) == (START_US + 98 * S, 40_000, 3, 1)
    assert view.is_kept
    found = queries.waveform(g.id, view.id)
    assert found is not None
    assert found.waveform == view
    assert found.rate_hz == pytest.approx(50.0)
    assert found.times_us == [START_US + 98 * S + 20_000 * n for n in range(3)]
    (channel,) = found.channels
    assert (channel.point, channel.unit) == ("well-0/acceleration/x", "[g]")
    assert channel.values == [0.5, None, 1026 / 2048]
    assert channel.codes == [GOOD, NO_REPLY, GOOD]


def test_they_are_found_by_gateway_and_by_alarm(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    event = g.event("active", 99 * S)
    waves = (g.waveform(97 * S), g.waveform(98 * S, event.id))
    bench.send(g.seal(100 * S, waveforms=waves), at_us=101 * S)
    assert [view.begin_us - START_US for view in queries.waveforms()] == [98 * S, 97 * S]
    assert [view.begin_us - START_US for view in queries.waveforms(alarm=event.id.hex())] == [98 * S]
    assert len(queries.waveforms(limit=1)) == 1
    assert queries.waveforms(gateway="g-aaaaaaaaaaaa") == []
    assert queries.waveforms(alarm="not hex") == []
    assert queries.waveform(g.id, "not hex") is None
    assert queries.waveform(g.id, "00" * 16) is None


def test_the_same_waveform_sealed_twice_is_one(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    wave = g.waveform(98 * S)
    message = g.seal(100 * S, waveforms=(wave,))
    bench.send(message, at_us=101 * S)
    bench.send(message, g.seal(102 * S, waveforms=(wave,)), at_us=103 * S)
    assert len(queries.waveforms()) == 1
    assert check(bench).is_true


def test_a_batch_that_waits_for_its_catalogue_shows_its_waveform_already(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.data(100 * S, waveforms=(g.waveform(98 * S),)), at_us=101 * S)
    assert len(queries.waveforms()) == 1
    bench.send(g.catalogue_message(), at_us=102 * S)
    assert len(queries.waveforms()) == 1
    report = check(bench)
    assert report.is_true, report.false_rows


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("UPDATE waveform SET device='pier-9'", "device"),
        ("UPDATE waveform SET wall_us=wall_us+1", "wall_us"),
        ("UPDATE waveform SET alarm_id=zeroblob(16)", "alarm_id"),
        ("UPDATE waveform SET evidence_id=1", "evidence_id"),
        ("DELETE FROM waveform", "row"),
    ],
)
def test_a_changed_row_is_named_and_made_right(bench: Bench, queries: SqliteQueries, sql: str, column: str) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(99 * S), g.seal(100 * S, waveforms=(g.waveform(98 * S),)), at_us=101 * S)
    before = queries.waveforms()
    bench.change(sql)
    report = check(bench)
    assert {(item.table, item.column) for item in report.false_rows} == {("waveform", column)}
    remake(bench)
    assert check(bench).is_true
    assert queries.waveforms() == before


def test_a_pruned_waveform_is_still_listed_and_no_longer_shown(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.seal(100 * S, waveforms=(g.waveform(98 * S),)), at_us=101 * S)
    late = 30 * DAY_US
    bench.send(g.data(late), g.data(late + 2 * S), at_us=late + 2 * S)
    bench.store.run(lambda db: prune(db, bench.signer, before_us=START_US + late - DAY_US, now_us=bench.now_us))
    (view,) = queries.waveforms()
    assert not view.is_kept
    assert queries.waveform(g.id, view.id) is None
    report = check(bench)
    assert report.is_true, (report.false_rows, report.wrong_facts)
    remake(bench)
    assert queries.waveforms() == [view]


def test_a_time_that_no_clock_shows_is_refused(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    far = replace(g.waveform(98 * S), begin_us=1 << 54, columns=Columns(0, [1 << 54], [[1]], None))
    bench.send(g.seal(100 * S, waveforms=(far,)), at_us=101 * S)
    assert queries.waveforms() == []
    assert bench.rows("SELECT count(*) FROM evidence WHERE state=2") == [(1,)]
