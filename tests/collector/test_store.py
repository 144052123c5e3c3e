"""The store: one transaction per group, harmless repetition, any order, receipts that are true."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import StoreError
from collector.schema_projections import PROJECTIONS
from contracts.batch import ClockState, Head, HealthRecord, Lane, LossRecord, Origin, Parent, Statement
from contracts.envelope import Type, seal
from contracts.inhibit import Inhibit
from contracts.quality import GOOD, NO_REPLY, OVER_RANGE
from contracts.receipt import Receipt
from contracts.topics import Channel, topic
from contracts.upkeep import Upkeep
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000


def receipt_of(result: Any, lane: Lane, epoch: bytes = b"epoch--1") -> Receipt:
    found: Receipt = next(item for item in result.receipts if item.lane is lane and item.epoch == epoch)
    return found


def test_a_batch_becomes_evidence_latest_and_rollups(bench: Bench) -> None:
    g = bench.gateway
    result = bench.send(g.catalogue_message(), g.data(10 * S))
    assert (result.accepted, result.readings) == (1, 8)
    receipt = receipt_of(result, Lane.DATA)
    assert (receipt.contiguous, receipt.digest) == (1, g.heads[Lane.DATA].digest)
    assert (g.id, "well-0/ch4") in result.change.points
    assert bench.rows("SELECT value, code, mono_us, wall_us FROM latest WHERE key='well-0/ch4'") == [
        (51, GOOD, 10 * S, START_US + 10 * S)
    ]
    assert bench.rows("SELECT count, without, low, high, total, last, worst FROM rollup ORDER BY point_no LIMIT 1") == [
        (2, 0, 50, 51, 101, 51, 0)
    ]


def test_a_repetition_is_harmless_and_answered(bench: Bench) -> None:
    g = bench.gateway
    message = g.data(10 * S)
    bench.send(g.catalogue_message(), message)
    before = bench.rows("SELECT * FROM rollup")
    result = bench.send(message, message)
    assert (result.accepted, result.duplicates) == (0, 2)
    assert receipt_of(result, Lane.DATA).contiguous == 1
    assert bench.rows("SELECT * FROM rollup") == before


def test_a_data_batch_waits_for_its_catalogue(bench: Bench) -> None:
    g = bench.gateway
    result = bench.send(g.data(10 * S))
    receipt = receipt_of(result, Lane.DATA)
    assert (result.waiting, receipt.contiguous, receipt.wanted) == (1, 0, (g.catalogue.hash,))
    assert bench.rows("SELECT * FROM latest") == []
    receipt = receipt_of(bench.send(g.catalogue_message()), Lane.DATA)
    assert (receipt.contiguous, receipt.wanted) == (1, ())
    assert len(bench.rows("SELECT * FROM latest")) == 4


def test_an_alarm_batch_never_waits(bench: Bench) -> None:
    g = bench.gateway
    result = bench.send(g.seal(10 * S, lane=Lane.ALARM, events=(g.event("active", 9 * S),)))
    assert receipt_of(result, Lane.ALARM).contiguous == 1
    assert len(result.change.alarms) == 1
    assert len(result.to_stamp) == 1


def test_latest_never_moves_backwards(bench: Bench) -> None:
    g = bench.gateway
    first, second = g.data(10 * S, 50), g.data(12 * S, 70)
    bench.send(g.catalogue_message(), second)
    bench.send(first)
    assert bench.rows("SELECT value FROM latest WHERE key='well-0/ch4'") == [(71,)]
    assert bench.rows("SELECT sum(count) FROM rollup")[0][0] == 16


def test_a_sample_without_a_number_keeps_the_last_number_apart(bench: Bench) -> None:
    g = bench.gateway
    codes = [[NO_REPLY, GOOD, OVER_RANGE, GOOD]]
    bench.send(g.catalogue_message(), g.data(10 * S))
    bench.send(g.seal(12 * S, times=[12 * S], values=[[None], [5], [None], [1.5]], codes=codes))
    assert bench.rows("SELECT key, code, value, number FROM latest ORDER BY key") == [
        ("well-0/ch4", NO_REPLY, None, 51),
        ("well-1/ch4", GOOD, 5, 5),
        ("well-2/ch4", OVER_RANGE, None, 53),
        ("well-3/ch4", GOOD, 1.5, 1.5),
    ]
    assert bench.rows("SELECT count, without, worst FROM rollup ORDER BY point_no") == [
        (2, 1, NO_REPLY),
        (3, 0, GOOD),
        (2, 1, OVER_RANGE),
        (3, 0, GOOD),
    ]


def test_a_later_boot_is_newer_whatever_its_clock_says(bench: Bench) -> None:
    old = bench.gateway
    bench.send(old.catalogue_message(), old.data(1000 * S, 50), at_us=1000 * S)
    new = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, clock=ClockState.UNSET)
    bench.send(new.data(5 * S, 20), at_us=2000 * S)
    assert bench.rows("SELECT value FROM latest WHERE key='well-0/ch4'") == [(21,)]
    bench.send(old.data(1002 * S, 90), at_us=2001 * S)
    assert bench.rows("SELECT value FROM latest WHERE key='well-0/ch4'") == [(21,)]


def test_a_boot_whose_counter_ran_backwards_is_newer_once_it_asks(bench: Bench) -> None:
    old = Gateway(boot_counter=9)
    bench.send(old.ask_message(10 * S), old.catalogue_message(), old.data(10 * S, 50))
    new = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=1)
    bench.send(new.ask_message(20 * S), new.data(20 * S, 20))
    assert bench.rows("SELECT value FROM latest WHERE key='well-0/ch4'") == [(21,)]


def test_ranges_beyond_a_hole_and_healing(bench: Bench) -> None:
    g = bench.gateway
    messages = [g.data(n * 2 * S) for n in range(1, 7)]
    bench.send(g.catalogue_message(), messages[0])
    receipt = receipt_of(bench.send(messages[3], messages[5]), Lane.DATA)
    assert receipt.contiguous == 1
    assert [(r.first, r.last, r.digest) for r in receipt.also] == [
        (4, 4, g.digest(messages[3])),
        (6, 6, g.digest(messages[5])),
    ]
    receipt = receipt_of(bench.send(messages[1], messages[2], messages[4]), Lane.DATA)
    assert (receipt.contiguous, receipt.also) == (6, ())


def test_a_loss_record_covers_a_hole(bench: Bench) -> None:
    g = bench.gateway
    first = g.data(2 * S)
    lost = [g.data(n * 2 * S) for n in (2, 3)]
    loss = LossRecord(
        epoch=g.epoch, lane=Lane.DATA, first=2, last=3, digest=g.heads[Lane.DATA].digest, readings=16, cause="quota"
    )
    last = g.data(8 * S, losses=(loss,))
    result = bench.send(g.catalogue_message(), first, last)
    assert len(lost) == 2
    assert receipt_of(result, Lane.DATA).contiguous == 4
    assert bench.rows("SELECT first, last, cause FROM loss") == [(2, 3, "quota")]
    assert bench.rows("SELECT breaks FROM chain WHERE lane=1") == [("[]",)]


def test_content_that_does_not_decode_is_refused_and_passed_over(bench: Bench) -> None:
    g = bench.gateway
    good = g.data(2 * S)
    bad = g.data(4 * S, readings=99)
    more = g.data(6 * S)
    receipt = receipt_of(bench.send(g.catalogue_message(), good, bad, more), Lane.DATA)
    assert receipt.contiguous == 3
    assert [(item.seq, item.code) for item in receipt.refused] == [(2, "payload")]
    assert len(bench.rows("SELECT * FROM quarantine")) == 1
    assert bench.rows("SELECT batches, readings FROM chain WHERE lane=1") == [(3, 16)]


def test_what_cannot_be_verified_is_quarantined_and_never_refused(bench: Bench) -> None:
    g = bench.gateway
    where, payload = g.data(2 * S)
    result = bench.send((where, payload[:-1] + bytes([payload[-1] ^ 1])), ("other/topic", b"x"))
    assert (result.quarantined, result.receipts) == (2, ())
    assert bench.rows("SELECT code FROM quarantine ORDER BY id") == [("signature",), ("topic",)]


def test_two_digests_for_one_seq_are_both_kept_and_listed(bench: Bench) -> None:
    g = bench.gateway
    clone = g.data(2 * S, 77, keep_head=True)
    bench.send(g.catalogue_message(), g.data(2 * S), clone)
    assert bench.rows("SELECT count(*) FROM evidence") == [(2,)]
    assert bench.rows("SELECT forks FROM chain WHERE lane=1") == [("[1]",)]


def test_an_ask_is_answered_with_receipts_time_and_what_is_missing(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S))
    result = bench.send(g.ask_message(3 * S, unreceipted=(b"epoch--0", b"epoch--1")))
    assert [(r.epoch, r.lane, r.contiguous) for r in result.receipts] == [
        (b"epoch--0", Lane.ALARM, 0),
        (b"epoch--0", Lane.DATA, 0),
        (b"epoch--1", Lane.ALARM, 0),
        (b"epoch--1", Lane.DATA, 1),
    ]
    assert result.times[0].nonce == b"nonce-0123456789"


def test_serials_grow_also_over_a_restart(bench: Bench) -> None:
    g = bench.gateway
    first = bench.send(g.data(2 * S)).receipts[0]
    bench.store.close()
    bench.store.open()
    second = bench.send(g.data(4 * S)).receipts[0]
    assert second.serial > first.serial
    assert second.collector_epoch == first.collector_epoch


def test_a_crash_between_commit_and_receipt_is_healed_by_the_next_ask(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S))  # committed; suppose no receipt was ever sent
    bench.store.close()
    bench.store.open()
    result = bench.send(g.ask_message(3 * S))
    assert receipt_of(result, Lane.DATA).contiguous == 1
    assert receipt_of(result, Lane.DATA).digest == g.heads[Lane.DATA].digest


def test_a_commit_that_fails_leaves_nothing_and_acknowledges_nothing(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S))
    second = g.data(4 * S)
    pages = bench.store.scalar("PRAGMA page_count")
    bench.store._db.execute(f"PRAGMA max_page_count={pages}")
    bench.store._db.execute("PRAGMA wal_autocheckpoint=0")
    huge = g.seal(6 * S, blocks=(), health=tuple(
        HealthRecord(subject=f"s/{n}", mono_us=6 * S, facts=(("text", "x" * 200),)) for n in range(300)
    ))  # fmt: skip
    with pytest.raises(StoreError):
        bench.send(second, huge)
    bench.store._db.execute("PRAGMA max_page_count=1000000")
    result = bench.send(second, huge)
    assert result.accepted == 2
    assert receipt_of(result, Lane.DATA).contiguous == 3


def test_an_active_that_arrives_behind_its_cleared_does_not_reopen(bench: Bench) -> None:
    g = bench.gateway
    active = g.event("active", 5 * S)
    cleared = g.event("cleared", 9 * S, raised_by=active.id)
    one = g.seal(6 * S, lane=Lane.ALARM, events=(active,))
    two = g.seal(10 * S, lane=Lane.ALARM, events=(cleared,))
    bench.send(two)
    bench.send(one)
    assert bench.rows("SELECT state, is_over, raised_us FROM alarm") == [("cleared", 1, START_US + 5 * S)]


def test_a_statement_tells_of_an_alarm_that_nobody_else_told_of(bench: Bench) -> None:
    g = bench.gateway
    active = g.event("active", 5 * S)
    result = bench.send(g.ask_message(8 * S, (active,)), at_us=8 * S)
    assert result.change.alarms == {active.id.hex()}
    assert bench.rows("SELECT state, raised_us FROM alarm") == [("active", START_US + 5 * S)]
    assert bench.send(g.ask_message(9 * S, (active,))).change.alarms == frozenset()
    result = bench.send(g.seal(10 * S, lane=Lane.ALARM, events=(active,)))
    assert bench.rows("SELECT evidence_id IS NOT NULL FROM alarm_event") == [(1,)]


def test_a_statement_in_a_data_batch_counts_too_even_while_it_waits(bench: Bench) -> None:
    g = bench.gateway
    active = g.event("active", 5 * S)
    result = bench.send(g.data(10 * S, statement=Statement(mono_us=10 * S, events=(active,))))
    assert result.waiting == 1
    assert result.change.alarms == {active.id.hex()}


def test_status_is_a_hint_on_the_link(bench: Bench) -> None:
    from contracts.messages import Status

    g = bench.gateway
    body = Status(gateway=g.id, epoch=g.epoch, session=3, online=False, version="0.1.0").to_body()
    bench.send((topic(g.id, Channel.STATUS), seal(Type.STATUS, body, g.signer)[0]))
    assert bench.rows("SELECT online, session, version FROM link") == [(0, 3, "0.1.0")]


def test_the_genesis_names_the_parent(bench: Bench) -> None:
    parent = Parent(epoch=b"epoch--0", alarm=Head(seq=2, digest=b"a" * 32), data=Head(seq=7, digest=b"d" * 32))
    g = Gateway(parent=parent)
    bench.send(g.data(2 * S, origin=Origin.VOLATILE), gateway=g)
    assert bench.rows("SELECT parent, parent_alarm_seq, parent_data_seq, is_volatile, reason FROM epoch") == [
        (b"epoch--0", 2, 7, 1, "first")
    ]


def test_samples_of_an_unset_clock_get_their_time_from_arrival(bench: Bench) -> None:
    g = Gateway(clock=ClockState.UNSET)
    bench.send(g.catalogue_message(), gateway=g)
    bench.send(g.data(10 * S), at_us=10 * S + 10_000, gateway=g)
    assert bench.rows("SELECT wall_us FROM latest LIMIT 1") == [(START_US + 10 * S,)]


# ---- laws ----------------------------------------------------------------------------------

NATURAL = {
    "latest": "SELECT l.key, p.unit, p.kind, b.boot_id, l.mono_us, l.wall_us, l.code, l.value, l.number,"
    " l.number_mono_us FROM latest l JOIN point p ON p.no=l.point_no JOIN boot b ON b.no=l.boot_no ORDER BY 1",
    "rollup": "SELECT p.key, r.minute, r.count, r.without, r.low, r.high, round(r.total, 6), r.last, r.last_us, r.worst"
    " FROM rollup r JOIN point p ON p.no=r.point_no ORDER BY 1, 2",
    "chain": "SELECT n.epoch, c.lane, c.newest, c.known, c.batches, c.readings, c.first_sample_us, c.last_sample_us,"
    " c.ranges, c.forks, c.breaks FROM chain c JOIN epoch_name n ON n.no=c.epoch_no ORDER BY 1, 2",
    "loss": "SELECT n.epoch, l.lane, l.first, l.last, l.digest, l.readings, l.cause"
    " FROM loss l JOIN epoch_name n ON n.no=l.epoch_no ORDER BY 1, 2, 3",
    "alarm": "SELECT id, point, severity, state, is_over, raised_us, event_id, mono_us FROM alarm ORDER BY 1",
    "alarm_event": "SELECT id, alarm_id, event, sampled_us, evidence_id IS NULL FROM alarm_event ORDER BY 1",
    "health": "SELECT subject, mono_us, wall_us, facts FROM health ORDER BY 1",
    "epoch": "SELECT n.epoch, e.version, e.reason, e.parent, e.is_volatile"
    " FROM epoch e JOIN epoch_name n ON n.no=e.epoch_no ORDER BY 1",
    "waveform": "SELECT id, device, cause, alarm_id, mono_us, wall_us, span_us, ticks, channels FROM waveform"
    " ORDER BY 1",
    "visit": "SELECT id, point, job, result, by, mono_us, wall_us, visit FROM visit ORDER BY 1",
    "inhibit": "SELECT point, mono_us, since_us, until_us, reason, by FROM inhibit ORDER BY 1",
    "upkeep": "SELECT point, job, mono_us, wall_us, last, due, state, street FROM upkeep ORDER BY 1, 2",
    "waiting": "SELECT count(*) FROM waiting",
}


def story() -> tuple[Gateway, list[tuple[str, bytes]]]:
    """A small history: two boots, three epochs, alarms, a loss, health, and samples that fail."""
    g = Gateway()
    messages = [g.catalogue_message()]
    messages += [g.data(n * 20 * S, 50 + n) for n in range(1, 4)]
    codes = [[NO_REPLY, GOOD, OVER_RANGE, GOOD], None]
    messages.append(
        g.seal(
            122 * S, times=[61 * S, 121 * S], values=[[None, 1], [5, 2], [None, 3], [1.5, 0.1]], codes=codes,
            health=(HealthRecord(subject="agent", mono_us=122 * S, facts=(("cpu", 0.5),)),),
        )
    )  # fmt: skip
    active = g.event("active", 30 * S)
    messages.append(g.seal(31 * S, lane=Lane.ALARM, events=(active,)))
    messages.append(g.seal(50 * S, lane=Lane.ALARM, events=(g.event("cleared", 49 * S, raised_by=active.id),)))
    g.data(130 * S)
    loss = LossRecord(
        epoch=g.epoch, lane=Lane.DATA, first=5, last=5, digest=g.heads[Lane.DATA].digest, readings=8, cause="quota"
    )
    waves, visits = (g.waveform(28 * S, active.id),), (g.visit(30 * S),)
    due = Upkeep(point="well-0/ch4", job="bump", last="", due="2026-11-20", state="never", street="Lane 5")
    work = tuple(Inhibit(point=f"well-{n}/ch4", since_us=1, until_us=900 * S, reason="r", by="A") for n in range(2))
    messages.append(g.data(140 * S, losses=(loss,), waveforms=waves, visits=visits, upkeep=(due,), inhibits=work))
    again = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, offset_us=START_US + 200 * S)
    passed = replace(due, last="2026-11-01", due="2027-01-30", state="current")
    ended = [(replace(work[0], by="B"),), (replace(work[0], until_us=15 * S),)]
    messages += [again.data(n * 10 * S, 30 + n, upkeep=(passed,), inhibits=ended[n - 1]) for n in range(1, 3)]
    messages.append(again.seal(25 * S, lane=Lane.ALARM, events=(again.event("active", 24 * S),)))
    return g, messages


def dump(bench: Bench) -> dict[str, list[Any]]:
    return {name: bench.rows(sql) for name, sql in NATURAL.items()}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_any_order_and_repetition_and_grouping_give_the_same_tables(
    make_bench: Callable[[], Bench], data: st.DataObject
) -> None:
    g, messages = story()
    benches = [make_bench(), make_bench()]
    order = data.draw(st.permutations(messages + messages[:4]))
    benches[0].send(*messages, at_us=300 * S, gateway=g)
    while order:
        size = data.draw(st.integers(1, len(order)))
        benches[1].send(*order[:size], at_us=300 * S, gateway=g)
        order = order[size:]
    assert dump(benches[0]) == dump(benches[1])


def test_the_story_touches_every_projection(bench: Bench) -> None:
    g, messages = story()
    bench.send(*messages, at_us=300 * S, gateway=g)
    for table in PROJECTIONS:
        assert bench.rows(f"SELECT count(*) FROM {table}")[0][0] > 0, table


def test_a_job_of_somebody_else_runs_in_its_own_transaction(bench: Bench) -> None:
    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta(key, value) VALUES('x', 1)")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        bench.store.run(fail)
    assert bench.rows("SELECT * FROM meta WHERE key='x'") == []
