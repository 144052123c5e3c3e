"""The writer: urgent first, receipts only after the commit, a refusing disk is waited for."""

from __future__ import annotations

import threading
import time
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
    desk.writer.put(first)
    while desk.writer.counters()["ingest_queue"]:
        time.sleep(0.001)  # taken by the thread, which now waits at the gate
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


def test_alarms_and_jobs_do_not_wait_behind_data_that_a_full_disk_refuses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.writer.RETRY_S", 0.001)
    is_full = True

    def commit(arrivals: Sequence[Arrival]) -> CommitResult:
        if is_full and any(arrival.topic.endswith("/data") for arrival in arrivals):
            raise StoreError("disk full")
        return Store.commit(desk.store, arrivals)

    monkeypatch.setattr(desk.store, "commit", commit)
    gateway = desk.bench.gateway
    desk.store.gate.set()
    desk.writer.put(gateway.arrival(gateway.catalogue_message(), S))
    desk.writer.put(gateway.arrival(gateway.data(100 * S), 100 * S))
    assert desk.writer.run(lambda db: 7).result(5) == 7
    event = gateway.event("active", 101 * S)
    desk.writer.put(gateway.arrival(gateway.seal(101 * S, lane=Lane.ALARM, events=(event,)), 101 * S))
    assert [item.lane for item in desk.receipts(1)] == [Lane.ALARM]
    assert desk.writer.counters()["ingest_failing"] == 1, "the data are still refused"
    is_full = False
    assert {item.lane for item in desk.receipts(2)} == {Lane.ALARM, Lane.DATA}
    assert desk.writer.counters()["ingest_failing"] == 0


def test_an_acknowledgement_that_was_not_recorded_in_time_is_not_recorded_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.alarm_log.WAIT_S", 0.01)
    gateway = desk.bench.gateway
    raised = gateway.event("active", 100 * S)
    desk.store.gate.set()
    desk.writer.put(gateway.arrival(gateway.seal(101 * S, lane=Lane.ALARM, events=(raised,)), 101 * S))
    desk.receipts(1)
    queries = SqliteQueries(desk.bench.data / FILE_NAME, lambda: desk.bench.now_us)
    try:
        actions = AlarmActions(desk.writer.run, queries, lambda: desk.bench.now_us)
        is_held, may_go = threading.Event(), threading.Event()

        def hold(db: object) -> bool:
            is_held.set()
            return may_go.wait(10)

        held = desk.writer.run(hold)
        assert is_held.wait(10)
        with pytest.raises(StoreError, match="not recorded"):
            actions.acknowledge(raised.id.hex(), "Li")
        may_go.set()
        assert held.result(10)
        monkeypatch.setattr("collector.alarm_log.WAIT_S", 10.0)
        found = actions.acknowledge(raised.id.hex(), "Wang")
        assert found is not None
        assert [said[1] for said in found.acknowledgements] == ["Wang"]
    finally:
        queries.close()


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


def test_an_answer_that_fails_does_not_end_the_writer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Pages that could not be told of a change ended the thread, and with it every later commit and receipt."""
    g = desk.bench.gateway
    told = desk.changes

    def fail_once(change: Change) -> None:
        told.append(change)
        if len(told) == 1:
            raise ValueError("a page")

    monkeypatch.setattr(desk.writer, "_on_change", fail_once)
    desk.store.gate.set()
    desk.writer.put(g.arrival(g.catalogue_message(), S))
    desk.writer.put(g.arrival(g.data(2 * S), S))
    desk.receipts(1)
    desk.writer.put(g.arrival(g.data(4 * S), S))
    assert desk.receipts(2)[-1].contiguous == 2
    assert "could not be answered for" in caplog.text


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


def test_what_came_while_a_commit_was_on_its_way_is_the_next_group(desk: Desk) -> None:
    g = desk.bench.gateway
    desk.writer.put(g.arrival(g.catalogue_message(), S))
    for n in range(1, 101):
        desk.writer.put(g.arrival(g.data(n * 2 * S), S))
    desk.store.gate.set()
    assert desk.receipts(1)[-1].contiguous >= 1
    desk.writer.stop()
    assert sum(desk.store.groups) == 101
    assert len(desk.store.groups) <= 3
    assert desk.receipts(1)[-1].contiguous == 100


def test_a_slow_store_slows_receipts_and_drops_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.writer.QUEUE_SIZE", 4)
    monkeypatch.setattr("collector.writer.GROUP_SIZE", 2)
    g = desk.bench.gateway
    messages = [g.arrival(g.data(n * 2 * S), S) for n in range(1, 41)]
    longest = 0

    def offer() -> None:
        nonlocal longest
        for message in messages:
            assert desk.writer.put(message)
            longest = max(longest, int(desk.writer.counters()["ingest_queue"]))

    desk.writer.put(g.arrival(g.catalogue_message(), S))
    sender = threading.Thread(target=offer)
    sender.start()
    for _ in range(1000):
        if desk.writer.counters()["ingest_queue"] >= 4:
            break
        sender.join(0.005)
    assert sender.is_alive()  # it waits for room
    assert not desk.sent  # and nothing is receipted
    desk.store.gate.set()
    sender.join(20)
    desk.writer.stop()
    assert desk.receipts(1)[-1].contiguous == 40
    assert (longest <= 4, desk.writer.counters()["ingest_let_go"]) == (True, 0)


def test_what_is_let_go_is_counted_never_receipted_and_taken_when_it_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.writer.QUEUE_SIZE", 2)
    monkeypatch.setattr("collector.writer.PUT_WAIT_S", 0.01)
    g = desk.bench.gateway
    messages = [g.arrival(g.catalogue_message(), S)] + [g.arrival(g.data(n * 2 * S), S) for n in range(1, 9)]
    taken = [desk.writer.put(message) for message in messages]
    assert not all(taken)
    assert desk.writer.counters()["ingest_let_go"] == taken.count(False)
    # An alarm has a queue of its own and finds room.
    assert desk.writer.put(g.arrival(g.seal(30 * S, lane=Lane.ALARM, events=(g.event("active", 29 * S),)), 30 * S))
    desk.store.gate.set()
    desk.receipts(2)
    monkeypatch.setattr("collector.writer.PUT_WAIT_S", 10)
    for message in messages:
        assert desk.writer.put(message)
    desk.writer.stop()
    assert [item.contiguous for item in desk.receipts(1) if item.lane is Lane.DATA][-1] == 8


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
