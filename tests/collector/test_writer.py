"""The writer: urgent first, receipts only after the commit, a refusing disk is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from collector.alarm_log import AlarmActions
from collector.database import FILE_NAME
from collector.errors import StoreError
from collector.queries import SqliteQueries
from collector.store import Arrival, CommitResult, Store
from collector.views import Change
from collector.writer import Writer
from contracts.batch import Lane
from contracts.envelope import Type, open_envelope
from contracts.keys import Verifier
from contracts.receipt import Receipt
from tests.collector.conftest import Bench

S = 1_000_000


class Observed(Store):
    """A real store that can be held up or fail on demand."""

    gate: threading.Event
    failures: list[Exception]
    groups: list[int]

    def commit(self, arrivals: Sequence[Arrival]) -> CommitResult:
        assert self.gate.wait(10)
        self.groups.append(len(arrivals))
        if self.failures:
            raise self.failures.pop(0)
        return super().commit(arrivals)


class Desk:
    def __init__(self, bench: Bench) -> None:
        bench.store.close()
        self.bench = bench
        self.store = Observed(bench.data / FILE_NAME, lambda: bench.now_us)
        self.store.gate, self.store.failures, self.store.groups = threading.Event(), [], []
        self.store.open()
        self.sent: list[tuple[str, bytes]] = []
        self.changes: list[Change] = []
        self.arrived = threading.Condition()
        self.writer = Writer(
            self.store, bench.signer, publish=self.publish, on_change=self.changes.append, now_us=lambda: bench.now_us
        )
        self.writer.start()

    def publish(self, topic: str, payload: bytes) -> None:
        with self.arrived:
            self.sent.append((topic, payload))
            self.arrived.notify_all()

    def receipts(self, count: int) -> list[Receipt]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.sent) >= count, timeout=10), self.sent
        own = self.bench.signer.public
        keys = {own.key_id: Verifier(own)}
        return [
            Receipt.from_body(open_envelope(payload, Type.RECEIPT, keys).body)
            for where, payload in self.sent
            if where.endswith("receipt")
        ]


@pytest.fixture
def desk(bench: Bench) -> Iterator[Desk]:
    made = Desk(bench)
    yield made
    made.store.gate.set()
    made.writer.stop()
    made.writer.stop()
    made.store.close()


def test_alarms_overtake_data_in_the_queue(desk: Desk) -> None:
    g = desk.bench.gateway
    first = g.arrival(g.catalogue_message(), S)
    desk.writer.put(first)  # taken by the thread, which now waits at the gate
    for n in range(1, 4):
        desk.writer.put(g.arrival(g.data(n * 2 * S), S))
    desk.writer.put(g.arrival(g.seal(9 * S, lane=Lane.ALARM, events=(g.event("active", 8 * S),)), S))
    desk.store.gate.set()
    receipts = desk.receipts(2)
    assert [item.lane for item in receipts] == [Lane.ALARM, Lane.DATA]
    assert receipts[1].contiguous == 3


def test_a_refusing_disk_is_waited_for_and_nothing_is_acknowledged_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("collector.writer.RETRY_S", 0.001)
    g = desk.bench.gateway
    desk.store.failures[:] = [StoreError("disk full")] * 3
    desk.store.gate.set()
    desk.writer.put(g.arrival(g.data(2 * S), S))
    receipts = desk.receipts(1)
    assert len(receipts) == 1
    assert len(desk.store.groups) == 4
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert desk.writer.counters()["ingest_failed_commits"] == 3


def test_one_impossible_message_does_not_stop_the_others(desk: Desk) -> None:
    g = desk.bench.gateway
    desk.store.failures[:] = [ValueError("group"), ValueError("first of them")]
    desk.writer.put(g.arrival(g.catalogue_message(), S))
    for n in range(1, 4):
        desk.writer.put(g.arrival(g.data(n * 2 * S), S))
    desk.store.gate.set()
    receipts = desk.receipts(1)
    assert receipts
    desk.writer.stop()
    assert desk.writer.counters()["ingest_let_go"] >= 1


def test_acknowledging_goes_through_the_writer(desk: Desk) -> None:
    bench, g = desk.bench, desk.bench.gateway
    desk.store.gate.set()
    active = g.event("active", 8 * S)
    desk.writer.put(g.arrival(g.seal(9 * S, lane=Lane.ALARM, events=(active,)), S))
    desk.receipts(1)
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    actions = AlarmActions(desk.writer.run, queries, lambda: bench.now_us)
    alarm = actions.acknowledge(active.id.hex(), "Li Wei", "on my way", "test")
    assert alarm is not None
    assert (alarm.acknowledged_by, alarm.acknowledged_us, alarm.state) == ("Li Wei", bench.now_us, "active")
    again = actions.acknowledge(active.id.hex(), "Somebody", "", "test")
    assert again is not None
    assert again.acknowledged_by == "Li Wei"
    assert actions.acknowledge("00" * 16, "x", "", "") is None
    queries.close()


def test_after_the_stop_nothing_is_taken(desk: Desk) -> None:
    desk.store.gate.set()
    desk.writer.stop()
    with pytest.raises(StoreError):
        desk.writer.run(lambda db: None).result(timeout=5)


def test_stop_commits_what_is_queued(desk: Desk) -> None:
    g = desk.bench.gateway
    for n in range(1, 6):
        desk.writer.put(g.arrival(g.data(n * 2 * S), S))
    desk.store.gate.set()
    desk.writer.stop()
    assert desk.store.scalar("SELECT count(*) FROM evidence") == 5
