"""Batches recovered from a damaged store: their samples count once, whichever way and in whatever order they come."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.trend import read_trend
from contracts.batch import Lane, LossRecord, Origin
from contracts.envelope import Type, open_envelope
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_verify import check, remake

S = 1_000_000
Message = tuple[str, bytes]


def loss_of(g: Gateway, original: Message, at: Gateway, seq: int = 1) -> LossRecord:
    """Returns the record that a recovered batch of ``at`` carries for a batch of ``g``."""
    digest = open_envelope(original[1], Type.DATA_BATCH, g.keys).digest
    return LossRecord(
        epoch=g.epoch,
        lane=Lane.DATA,
        first=seq,
        last=seq,
        digest=digest,
        readings=8,
        cause="damaged",
        thinned_into=(at.epoch, at.heads[Lane.DATA].seq + 1),
    )


def recovered(at: Gateway, losses: tuple[LossRecord, ...]) -> Message:
    """Seals the samples of the original anew, in an epoch of their own."""
    return at.data(60 * S, origin=Origin.RECOVERED, losses=losses)


def state(bench: Bench) -> tuple[list[object], ...]:
    return (
        list(bench.rows("SELECT * FROM rollup ORDER BY 1, 2")),
        list(bench.rows("SELECT gateway_no, key, mono_us, value FROM latest ORDER BY 2")),
        list(bench.rows("SELECT first, last, cause FROM loss WHERE epoch_no=1 ORDER BY 1, 2, 3")),
    )


def test_every_order_of_original_and_two_recovered_forms_counts_once(make_bench: Callable[[], Bench]) -> None:
    seen = []
    for order in permutations(range(3)):
        for is_late in (False, True):
            bench = make_bench()
            g = bench.gateway
            first, second = Gateway(epoch=b"salvage1"), Gateway(epoch=b"salvage2")
            original = g.data(60 * S)
            loss = loss_of(g, original, first)
            one = recovered(first, (loss,))
            # Salvaged from the store that the first recovered batch lay in: it names both.
            two = recovered(second, (loss, loss_of(first, one, second)))
            messages = [(original, one, two)[place] for place in order]
            messages.insert(3 if is_late else 0, g.catalogue_message())
            for message in messages:
                bench.send(message, at_us=70 * S)
            counts = bench.rows("SELECT sum(count) FROM rollup WHERE point_no=1")
            assert counts == [(2,)], (order, is_late)
            assert check(bench).is_true
            before = state(bench)
            remake(bench)
            assert state(bench) == before
            seen.append(before)
    # The first table row of epochs depends on the order; sums, values and causes do not.
    assert all(item[:2] == seen[0][:2] for item in seen)


def test_a_record_of_damage_that_came_first_does_not_hide_what_was_recovered(bench: Bench) -> None:
    g, other = bench.gateway, Gateway(epoch=b"salvage1")
    original = g.data(60 * S)
    loss = loss_of(g, original, other)
    plain = LossRecord(epoch=g.epoch, lane=Lane.DATA, first=1, last=1, digest=loss.digest, readings=0, cause="damaged")
    bench.send(g.catalogue_message(), Gateway(epoch=b"epoch--2").seal(61 * S, losses=(plain,)), at_us=70 * S)
    bench.send(recovered(other, (loss,)), at_us=71 * S)
    bench.send(original, at_us=72 * S)
    assert bench.rows("SELECT sum(count) FROM rollup WHERE point_no=1") == [(2,)]
    assert bench.rows("SELECT cause FROM loss") == [("recovered",)]
    assert check(bench).is_true


def test_recovered_readings_are_not_listed_as_lost(bench: Bench) -> None:
    g, other = bench.gateway, Gateway(epoch=b"salvage1")
    original = g.data(60 * S)
    bench.send(g.catalogue_message(), recovered(other, (loss_of(g, original, other),)), at_us=70 * S)
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    try:
        chains = queries.chains(g.id)
    finally:
        queries.close()
    lost = [item for chain in chains for item in chain.lost]
    assert lost == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_trend_shows_each_recovered_sample_once(bench: Bench, is_first: bool) -> None:
    g, other = bench.gateway, Gateway(epoch=b"salvage1")
    original = g.data(60 * S)
    copy = recovered(other, (loss_of(g, original, other),))
    messages = (original, copy) if is_first else (copy, original)
    bench.send(g.catalogue_message(), *messages, at_us=70 * S)
    trend = bench.store.run(lambda db: read_trend(db, 1, g.id, "well-0/ch4", "%{LEL}", START_US, START_US + 3600 * S))
    assert len(trend.times_us) == 2
