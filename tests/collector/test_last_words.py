"""Who is silent: remembered words say the same as the batches, and no batch is read twice for a point."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

import collector.last_words
from collector.database import FILE_NAME
from collector.last_words import LastWords
from collector.queries import SqliteQueries
from contracts.batch import Lane
from contracts.quality import FAULT, GOOD, NO_REPLY, OVER_RANGE
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US

S = 1_000_000


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


def told(bench: Bench, at_s: int, *codes: int) -> tuple[str, bytes]:
    """One sample of every point, one second before the sealing."""
    values: list[list[object]] = [[1.0 if n == 3 else 1] if code == GOOD else [None] for n, code in enumerate(codes)]
    return bench.gateway.seal(at_s * S, times=[(at_s - 1) * S], values=values, codes=[list(codes)])


def begin(bench: Bench) -> None:
    g = bench.gateway
    raised = [g.event("active", (97 + n) * S, point=f"well-{n}/ch4", rule_id=f"rule-{n}") for n in range(3)]
    bench.send(g.catalogue_message(), told(bench, 100, GOOD, GOOD, GOOD, GOOD), at_us=100 * S)
    bench.send(g.seal(100 * S, lane=Lane.ALARM, events=tuple(raised)), at_us=100 * S)


def silent(queries: SqliteQueries, bench: Bench) -> list[str]:
    bench.now_us = max(bench.now_us, START_US)
    return sorted(alarm.point for alarm in queries.alarms() if alarm.is_source_silent)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_remembered_is_what_the_batches_say_also_when_some_come_late(
    bench: Bench, queries: SqliteQueries, seed: int
) -> None:
    drawn = random.Random(seed)
    begin(bench)
    late: list[tuple[str, bytes]] = []
    seen = set()
    for second in range(102, 180, 2):
        codes = [drawn.choices((NO_REPLY, OVER_RANGE, FAULT, GOOD), (8, 1, 1, 0.3))[0] for _ in range(3)]
        message = told(bench, second, *codes, GOOD)
        if drawn.random() < 0.2:
            late.append(message)
            continue
        bench.send(message, at_us=second * S)
        if late and drawn.random() < 0.3:
            bench.send(*late, at_us=second * S)
            late.clear()
        now = silent(queries, bench)
        afresh = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
        assert now == silent(afresh, bench)
        afresh.close()
        seen.update(now)
    assert seen == {"well-0/ch4", "well-1/ch4", "well-2/ch4"}


def test_a_page_that_asks_again_reads_only_what_is_new(
    bench: Bench, queries: SqliteQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A longest silence may be hours: to read all of it each second takes longer than that second."""
    read = []
    before = collector.last_words.read_batch
    monkeypatch.setattr(collector.last_words, "read_batch", lambda *asked: read.append(1) or before(*asked))
    begin(bench)
    for second in range(102, 120, 2):
        bench.send(told(bench, second, NO_REPLY, NO_REPLY, GOOD, GOOD), at_us=second * S)
    assert silent(queries, bench) == ["well-0/ch4", "well-1/ch4"]
    once = len(read)
    assert once > 1
    assert silent(queries, bench) == ["well-0/ch4", "well-1/ch4"]
    assert len(read) == once
    bench.send(told(bench, 120, NO_REPLY, NO_REPLY, GOOD, GOOD), at_us=120 * S)
    assert silent(queries, bench) == ["well-0/ch4", "well-1/ch4"]
    assert len(read) == once + 1


def test_what_is_remembered_has_a_bound(bench: Bench, queries: SqliteQueries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector.last_words, "MOST_KEPT", 3)
    words = LastWords()
    monkeypatch.setattr(queries, "_words", words)
    begin(bench)
    for second in range(102, 120, 2):
        bench.send(told(bench, second, NO_REPLY, NO_REPLY, GOOD, GOOD), at_us=second * S)
        silent(queries, bench)
        assert sum(map(len, words._said.values())) <= 3 + 2 * 4  # what one look adds
    assert silent(queries, bench) == ["well-0/ch4", "well-1/ch4"]
