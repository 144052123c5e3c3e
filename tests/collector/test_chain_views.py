"""What the proof shows of batches that come late, twice, in two versions, or without their catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.views import ChainView
from contracts.batch import Head, Lane, Origin, Parent
from tests.collector.conftest import Bench
from tests.collector.gateways import Gateway

S = 1_000_000


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    made = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    yield made
    made.close()


def chain(queries: SqliteQueries, epoch: bytes = b"epoch--1", lane: str = "data") -> ChainView:
    return next(item for item in queries.chains() if (item.epoch, item.lane) == (epoch.hex(), lane))


def test_a_gap_is_shown_and_healed_in_any_order(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    messages = [g.data(n * 2 * S) for n in range(1, 7)]
    bench.send(g.catalogue_message(), messages[0], messages[5])
    assert (chain(queries).missing, chain(queries).verified_to) == (((2, 5),), 1)
    assert queries.gateways()[0].backlog_batches == 4
    bench.send(messages[3])
    assert chain(queries).missing == ((2, 3), (5, 5))
    result = bench.send(messages[4], messages[1], messages[2])
    assert [item.contiguous for item in result.receipts if item.lane is Lane.DATA] == [6]
    assert (chain(queries).missing, chain(queries).breaks, chain(queries).verified_to) == ((), (), 6)
    assert queries.gateways()[0].backlog_batches == 0


def test_a_head_that_the_other_lane_names_is_a_gap_too(bench: Bench, queries: SqliteQueries) -> None:
    """A broker that withholds alarms is caught by the next data batch."""
    g = bench.gateway
    withheld = g.seal(S, lane=Lane.ALARM, events=(g.event("active", S),))
    bench.send(g.catalogue_message(), g.data(2 * S))
    assert chain(queries, lane="alarm").missing == ((1, 1),)
    bench.send(withheld)
    assert chain(queries, lane="alarm").missing == ()


def test_a_batch_that_does_not_continue_the_one_before_is_named(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    one = g.data(2 * S)
    g.heads[Lane.DATA] = Head(seq=1, digest=b"x" * 32)
    bench.send(g.catalogue_message(), one, g.data(4 * S))
    assert chain(queries).breaks == (2,)


def test_a_rolled_back_card_shows_how_far_and_loses_nothing(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    alarm = g.seal(S, lane=Lane.ALARM, events=(g.event("active", S),))
    bench.send(g.catalogue_message(), alarm, *(g.data(n * 2 * S) for n in range(1, 8)))
    parent = Parent(epoch=g.epoch, alarm=Head(seq=0, digest=b""), data=Head(seq=3, digest=b"d" * 32))
    after = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, parent=parent)
    result = bench.send(after.data(2 * S), after.seal(3 * S, lane=Lane.ALARM, events=()))
    assert all(item.contiguous == 1 for item in result.receipts)
    assert (chain(queries, b"epoch--2").rolled_back, chain(queries, b"epoch--2", "alarm").rolled_back) == (4, 1)
    assert (chain(queries).rolled_back, chain(queries).newest) == (0, 7)
    assert queries.gateways()[0].health["identity"] == {"rolled_back": 2}
    assert "cloned" not in [item.cause for item in queries.alarms()]


def test_an_epoch_in_memory_is_no_roll_back(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S), g.data(4 * S))
    parent = Parent(epoch=g.epoch, alarm=Head(seq=0, digest=b""), data=Head(seq=1, digest=b"d" * 32))
    beside = Gateway(epoch=b"epoch--2", parent=parent)
    bench.send(beside.data(5 * S, origin=Origin.VOLATILE))
    assert chain(queries, b"epoch--2").rolled_back == 0


def test_of_two_versions_of_a_batch_both_are_kept_and_everything_goes_on(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    clone = g.data(2 * S, 77, keep_head=True)
    bench.send(g.catalogue_message(), g.data(2 * S), clone)
    assert chain(queries).forks == (1,)
    assert bench.rows("SELECT count(*) FROM evidence WHERE seq=1 AND lane=1") == [(2,)]
    (alarm,) = queries.alarms()
    assert (alarm.cause, alarm.decision, alarm.measurement) == ("cloned", "page", "active")
    assert queries.alarm_counts().standing == [("orange", 1)]
    # Readings, alarms and receipts go on.
    result = bench.send(g.data(4 * S, 60), g.seal(5 * S, lane=Lane.ALARM, events=(g.event("active", 5 * S),)))
    assert {item.lane: item.contiguous for item in result.receipts} == {Lane.DATA: 2, Lane.ALARM: 1}
    assert bench.rows("SELECT value FROM latest WHERE key='well-0/ch4'") == [(61,)]
    assert len(queries.alarms()) == 2


def test_batches_that_wait_for_their_catalogue_are_counted_and_then_taken(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    result = bench.send(g.data(2 * S), g.data(4 * S))
    assert result.receipts[0].wanted == (g.catalogue.hash,)
    waiting = chain(queries)
    assert (waiting.waiting, waiting.verified_to, waiting.newest, waiting.missing) == (2, 0, 2, ())
    assert queries.gateways()[0].backlog_batches == 2
    bench.send(g.ask_message(5 * S))
    assert queries.gateways()[0].backlog_batches == 2
    bench.send(g.catalogue_message())
    assert (chain(queries).waiting, chain(queries).verified_to) == (0, 2)


def test_a_batch_that_does_not_decode_is_kept_with_the_reason_and_the_next_ones_flow(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    poison = g.seal(2 * S, blocks=([0, "no block"],), readings=0)
    result = bench.send(g.catalogue_message(), poison, g.data(4 * S))
    (receipt,) = [item for item in result.receipts if item.lane is Lane.DATA]
    assert (receipt.contiguous, [item.seq for item in receipt.refused]) == (2, [1])
    (kept,) = queries.quarantine()
    assert kept.reason
    assert (chain(queries).refused[0][0], chain(queries).verified_to) == (1, 2)
    assert bench.rows("SELECT length(envelope) FROM evidence WHERE state=2") == [(len(poison[1]),)]


def test_an_hour_of_packets_played_again_adds_nothing(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    messages = [g.catalogue_message()] + [g.data(n * 2 * S) for n in range(1, 30)]
    messages += [g.seal(70 * S, lane=Lane.ALARM, events=(g.event("active", 69 * S),)), g.ask_message(71 * S)]
    bench.send(*messages)
    tables = ("evidence", "alarm", "alarm_event", "rollup", "latest", "chain", "decision", "stated")
    before = {name: bench.rows(f"SELECT * FROM {name}") for name in tables}
    duplicates = 0
    for is_restarted in (False, True):
        if is_restarted:
            bench.store.close()
            bench.store.open()
        for _ in range(5):
            duplicates += bench.send(*messages, at_us=5000 * S).duplicates
    assert {name: bench.rows(f"SELECT * FROM {name}") for name in tables} == before
    assert duplicates == 2 * 5 * 30
