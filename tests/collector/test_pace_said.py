"""A gateway that says that it sends seldom is not taken for silent in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from contracts.batch import HealthRecord
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US

S = 1_000_000


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


def _say(bench: Bench, at_s: int, every_s: object) -> None:
    record = HealthRecord(subject="agent", mono_us=at_s * S, facts=(("data_every_s", every_s),))  # type: ignore[arg-type]
    bench.send(bench.gateway.data(at_s * S, health=(record,)), at_us=at_s * S)


def test_it_slows_down_and_is_waited_for_as_long_as_it_said(bench: Bench, queries: SqliteQueries) -> None:
    bench.send(bench.gateway.catalogue_message())
    for at_s in (100, 102, 104):
        _say(bench, at_s, 2.0)
    _say(bench, 106, 60.0)
    bench.now_us = START_US + 160 * S
    (gateway,) = queries.gateways()
    assert (gateway.liveness, gateway.silent_after_s) == ("online", 180.0)
    assert not any(point.is_stale for point in queries.points())
    bench.now_us = START_US + 300 * S
    assert queries.gateways()[0].liveness == "silent"


@pytest.mark.parametrize(("said", "after_s"), [(2.0, 6.0), (0.001, 5.0), (1e12, 10_800.0), ("soon", 6.0), (None, 6.0)])
def test_what_it_says_is_believed_within_bounds(
    bench: Bench, queries: SqliteQueries, said: object, after_s: float
) -> None:
    bench.send(bench.gateway.catalogue_message())
    for at_s in (100, 102):
        _say(bench, at_s, said)
    assert queries.gateways()[0].silent_after_s == after_s
