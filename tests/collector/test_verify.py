"""Verify says what is false, and with which evidence; rebuild makes it true again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collector.data_dir import database
from collector.keys import Registry
from collector.rebuild import rebuild
from collector.retention import DAY_US, prune
from collector.verify import Report, verify
from contracts.batch import ClockState, HealthRecord, Lane
from contracts.keys import Verifier
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_store import dump, story

S = 1_000_000


def check(bench: Bench) -> Report:
    registry = Registry(bench.data)
    own = bench.signer.public
    return verify(database(bench.data), registry.keys, {own.key_id: Verifier(own)})


def remake(bench: Bench) -> None:
    registry = Registry(bench.data)
    own = bench.signer.public
    bench.store.close()
    rebuild(database(bench.data), registry.keys, {own.key_id: Verifier(own)})
    bench.store.open()


@pytest.fixture
def told(bench: Bench) -> Bench:
    g, messages = story()
    for message in messages:
        bench.send(message, at_us=300 * S, gateway=g)
    bench.send(g.ask_message(301 * S, (g.event("active", 290 * S),)), at_us=301 * S)
    return bench


def test_an_untouched_database_is_true(told: Bench) -> None:
    report = check(told)
    assert report.is_true, (report.false_rows, report.wrong_facts, report.damaged)
    assert (report.batches, report.shadowed) == (10, 0)
    assert report.rows > 20


@pytest.mark.parametrize(
    ("sql", "table", "column", "words"),
    [
        ("UPDATE latest SET value=value+1 WHERE key='well-1/ch4'", "latest", "value", ("3.4 %{LEL}", "3.5 %{LEL}")),
        ("UPDATE rollup SET high=999 WHERE rowid IS NULL OR point_no=1", "rollup", "high", ("99.9 %{LEL}",)),
        ("UPDATE rollup SET count=count+1 WHERE point_no=1", "rollup", "count", ()),
        ("UPDATE rollup SET total=total*1.001 WHERE point_no=4", "rollup", "total", ()),
        ("DELETE FROM rollup WHERE point_no=2", "rollup", "row", ("nothing",)),
        ("INSERT INTO rollup SELECT point_no, minute+500, count, without, low, high, total, last, last_us, worst"
         " FROM rollup WHERE point_no=2 LIMIT 1", "rollup", "row", ("nothing",)),
        ("UPDATE alarm SET severity='info'", "alarm", "severity", ("info", "yellow")),
        ("UPDATE alarm SET state='cleared', is_over=1", "alarm", "state", ("cleared", "active")),
        ("UPDATE alarm SET raised_us=raised_us+1000000", "alarm", "raised_us", ()),
        ("DELETE FROM alarm", "alarm", "row", ()),
        ("UPDATE alarm_event SET sampled_us=sampled_us-60000000", "alarm_event", "sampled_us", ()),
        ("UPDATE chain SET ranges='[[1,99]]', newest=99", "chain", "ranges", ("[[1,99]]",)),
        ("UPDATE loss SET cause='power'", "loss", "cause", ("power", "quota")),
        ("UPDATE health SET facts='{\"cpu\":0.1}'", "health", "facts", ("0.1", "0.5")),
        ("UPDATE epoch SET version='9'", "epoch", "version", ("'9'",)),
        ("UPDATE epoch SET last_arrived_us=last_arrived_us+1", "epoch", "last_arrived_us", ()),
        ("UPDATE alarm SET rank=rank+1", "alarm", "rank", ()),
        ("UPDATE alarm SET boot_no=9", "alarm", "boot_no", ("9",)),
        ("UPDATE health SET rank=rank+1", "health", "rank", ()),
        ("UPDATE loss SET evidence_id=8", "loss", "evidence_id", ("8",)),
        ("UPDATE rollup SET minute='garb' WHERE (point_no, minute)=(SELECT point_no, min(minute) FROM rollup)",
         "rollup", "row", ("garb",)),
    ],
)  # fmt: skip
def test_a_changed_projection_is_named_with_both_values(
    told: Bench, sql: str, table: str, column: str, words: tuple[str, ...]
) -> None:
    told.change(sql.replace("rowid IS NULL OR ", ""))
    report = check(told)
    found = [item for item in report.false_rows if (item.table, item.column) == (table, column)]
    assert found, report.false_rows
    assert not report.is_true
    for word in words:
        assert any(word in str(item) for item in found), [str(item) for item in found]
    remake(told)
    assert check(told).is_true


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE evidence SET readings=readings+1 WHERE id=2", "another batch"),
        ("UPDATE evidence SET seq=77 WHERE id=2", "seq: 77, signed: 2"),
        ("UPDATE evidence SET gateway_no=99 WHERE id=2", "epoch"),
        ("UPDATE evidence SET lane=0 WHERE id=2", "signature"),
        ("UPDATE evidence SET digest=zeroblob(32) WHERE id=2", "another batch"),
        ("UPDATE evidence SET envelope=substr(envelope, 1, length(envelope)-1) WHERE id=2", "envelope"),
        ("UPDATE evidence SET envelope=zeroblob(100) WHERE id=2", "envelope"),
        ("UPDATE evidence SET envelope=(SELECT envelope FROM evidence WHERE id=3) WHERE id=2", "another batch"),
    ],
)
def test_changed_evidence_is_named_with_its_points_and_time_span(told: Bench, sql: str, words: str) -> None:
    told.change(sql)
    report = check(told)
    assert [item.evidence_id for item in report.damaged] == [2]
    item = report.damaged[0]
    assert words in item.reason
    assert item.points == tuple(f"well-{n}/ch4" for n in range(4))
    assert (item.first_us, item.last_us) == (START_US + 39 * S, START_US + 40 * S)
    assert not report.false_rows, [str(row) for row in report.false_rows]
    assert report.shadowed > 0


def test_evidence_under_an_epoch_that_nobody_has_is_named(told: Bench) -> None:
    told.change("UPDATE evidence SET epoch_no=99 WHERE id=2")
    report = check(told)
    assert [(item.evidence_id, len(item.points)) for item in report.damaged] == [(2, 4)]
    assert {item.table for item in report.false_rows} == {"chain"}


def test_one_flipped_bit_of_evidence_is_found(told: Bench) -> None:
    envelope = told.rows("SELECT envelope FROM evidence WHERE id=3")[0][0]
    told.change("UPDATE evidence SET envelope=? WHERE id=3", envelope[:60] + bytes([envelope[60] ^ 4]) + envelope[61:])
    assert [item.evidence_id for item in check(told).damaged] == [3]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE evidence SET wall_us=wall_us+60000000 WHERE id=1",
        "UPDATE evidence SET first_us=first_us+1, wall_us=wall_us+1 WHERE id=1",
        "UPDATE evidence SET state=2, code='payload' WHERE id=1",
        "UPDATE evidence SET catalogue_no=99 WHERE id=2",
        "UPDATE evidence SET catalogue_no=NULL WHERE id=2",
        "UPDATE evidence SET code='x' WHERE id=2",
        "UPDATE evidence SET boot_no=99 WHERE id=2",
        "UPDATE evidence SET state=1 WHERE id=2",
        "UPDATE boot SET counter=7",
        "UPDATE boot SET counter='x'",
        "UPDATE boot SET rank=rank+1 WHERE no=1",
        "UPDATE boot SET rank='x'",
        "UPDATE boot SET trust=4",
        "UPDATE boot SET live_us='x' WHERE no=1",
        "UPDATE catalogue SET envelope=zeroblob(9)",
        "UPDATE catalogue SET hash='garb'",
        "UPDATE ask SET digest=zeroblob(32)",
        "UPDATE ask SET epoch_no=2",
        "UPDATE ask SET arrived_us='x'",
        "UPDATE link SET data_seq='x'",
        "UPDATE link SET catalogue_hash=NULL",
        "UPDATE link SET catalogue_hash=zeroblob(32)",
        "DELETE FROM link",
        "INSERT INTO waiting(evidence_id, gateway_no, epoch_no, hash) VALUES(2, 1, 1, x'00')",
    ],
)
def test_a_changed_index_is_named(told: Bench, sql: str) -> None:
    told.change(sql)
    assert check(told).wrong_facts


@pytest.mark.parametrize("column", ["first_us", "wall_us", "readings", "lane", "seq", "state"])
def test_evidence_with_text_for_a_number_is_named(told: Bench, column: str) -> None:
    told.change(f"UPDATE evidence SET {column}='garb' WHERE id=2")
    report = check(told)
    assert [(item.evidence_id, item.reason) for item in report.damaged] == [(2, "a column of the table is no integer")]
    assert report.damaged[0].points
    assert not report.false_rows


def test_an_invented_row_that_points_at_no_evidence_is_false(told: Bench) -> None:
    told.change(
        "INSERT INTO loss(epoch_no, lane, first, last, digest, readings, cause, evidence_id)"
        " VALUES(1, 1, 90, 99, zeroblob(32), 5, 'quota', 999)"
    )
    told.change("UPDATE alarm_event SET evidence_id=999, event=zeroblob(9) WHERE evidence_id=6")
    tables = {item.table for item in check(told).false_rows}
    assert {"loss", "alarm_event"} <= tables


def test_an_alarm_that_only_an_ask_told_of_agrees_with_itself(told: Bench) -> None:
    where = "id=(SELECT alarm_id FROM alarm_event WHERE evidence_id IS NULL)"
    told.change(f"UPDATE alarm SET raised_us=raised_us+1000000 WHERE {where}")
    assert [(item.table, item.column) for item in check(told).false_rows] == [("alarm", "raised_us")]
    told.change(f"UPDATE alarm SET raised_us=raised_us-1000000 WHERE {where}")
    told.change("UPDATE alarm_event SET sampled_us=sampled_us+5 WHERE evidence_id IS NULL")
    assert {(item.table, item.column) for item in check(told).false_rows} >= {("alarm_event", "sampled_us")}


def test_a_batch_that_is_refused_after_it_waited_verifies_and_says_the_same_as_one_refused_at_once(
    make_bench: Callable[[], Bench],
) -> None:
    dumps = []
    for order in ("waits", "at once"):
        bench = make_bench()
        g = bench.gateway
        health = (HealthRecord(subject="agent", mono_us=S, facts=(("cpu", 0.5),)),)
        bad = g.data(10 * S, readings=99, health=health)
        catalogue = g.catalogue_message()
        for message in (bad, catalogue) if order == "waits" else (catalogue, bad):
            bench.send(message)
        report = check(bench)
        assert report.is_true, (report.false_rows, report.wrong_facts)
        assert bench.rows("SELECT subject FROM health") == [("agent",)]
        dumps.append(dump(bench))
    assert dumps[0] == dumps[1]


def test_a_boot_that_asks_late_moves_ahead_and_verifies(bench: Bench) -> None:
    old = Gateway(boot_counter=9)
    active = old.event("active", 10 * S)
    bench.send(old.ask_message(10 * S), gateway=old)
    bench.send(old.catalogue_message(), old.data(10 * S, 50), gateway=old)
    bench.send(old.seal(11 * S, lane=Lane.ALARM, events=(active,)), gateway=old)
    new = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=1)
    health = (HealthRecord(subject="agent", mono_us=S, facts=(("cpu", 0.5),)),)
    cleared = new.event("cleared", 20 * S, raised_by=active.id)
    bench.send(new.data(20 * S, 20, health=health), new.seal(21 * S, lane=Lane.ALARM, events=(cleared,)), gateway=new)
    bench.send(new.ask_message(22 * S), gateway=new)
    assert bench.rows("SELECT value FROM latest WHERE key='well-0/ch4'") == [(21,)]
    assert bench.rows("SELECT state FROM alarm") == [("cleared",)]
    assert bench.rows("SELECT sum(count) FROM rollup") == [(16,)]
    report = check(bench)
    assert report.is_true, (report.false_rows, report.wrong_facts)


def test_a_deleted_batch_leaves_false_rows(told: Bench) -> None:
    told.change("DELETE FROM evidence WHERE id=2")
    report = check(told)
    assert not report.is_true
    assert any("batches 2 to 2 are not here" in note for note in report.notes)


def test_rebuild_gives_the_same_tables(told: Bench) -> None:
    before = dump(told)
    remake(told)
    assert dump(told) == before
    assert check(told).is_true


def test_rebuild_puts_times_right_when_the_offset_was_learnt_late(bench: Bench) -> None:
    early = Gateway(clock=ClockState.UNSET)
    bench.send(early.catalogue_message(), early.data(10 * S), at_us=310 * S, gateway=early)  # five minutes late
    assert bench.rows("SELECT wall_us FROM latest LIMIT 1")[0][0] > START_US + 300 * S
    early.clock = ClockState.SYNCHRONISED
    bench.send(early.data(320 * S), at_us=321 * S, gateway=early)
    assert check(bench).is_true
    remake(bench)
    minutes = bench.rows("SELECT DISTINCT minute FROM rollup ORDER BY 1")
    assert minutes == [(START_US // (60 * S),), (START_US // (60 * S) + 5,)]
    assert check(bench).is_true


def test_waiting_batches_are_verified_and_stay_waiting(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.data(2 * S))
    assert check(bench).is_true
    remake(bench)
    bench.send(g.catalogue_message())
    assert check(bench).is_true
    assert bench.rows("SELECT readings FROM chain WHERE lane=1") == [(8,)]


def test_refused_batches_stay_refused(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S), g.data(4 * S, readings=99))
    assert check(bench).is_true
    remake(bench)
    assert check(bench).is_true
    assert bench.rows("SELECT state FROM evidence ORDER BY id") == [(0,), (2,)]


def test_forks_verify(bench: Bench) -> None:
    g = bench.gateway
    clone = g.data(2 * S, 77, keep_head=True)
    bench.send(g.catalogue_message(), g.data(2 * S), clone)
    report = check(bench)
    assert report.is_true
    assert any("exists twice" in note for note in report.notes)


def _days(bench: Bench) -> Gateway:
    """Four days of a batch an hour, an alarm a day, an alarm-free health record now and then."""
    g = bench.gateway
    bench.send(g.catalogue_message())
    for hour in range(96):
        at = (hour * 3600 + 10) * S
        more = {"health": (HealthRecord(subject=f"day/{hour // 24}", mono_us=at, facts=(("n", hour),)),)}
        messages = [g.data(at, hour, **more)]
        if hour % 24 == 5:
            messages.append(g.seal(at + S, lane=Lane.ALARM, events=(g.event("active", at),)))
        bench.send(*messages, at_us=at + 2 * S)
    return g


def test_retention_keeps_what_it_cannot_prove_and_says_from_where_it_proves(bench: Bench) -> None:
    g = _days(bench)
    before = dump(bench)
    limit = START_US + 2 * DAY_US
    dropped = bench.store.run(lambda db: prune(db, bench.signer, limit, bench.now_us))
    assert dropped == 48 + 2
    assert bench.rows("SELECT count(*) FROM evidence") == [(46 + 2 + 2,)]
    assert dump(bench) == before
    report = check(bench)
    assert report.is_true, (report.false_rows, report.wrong_facts)
    assert report.dropped > 0
    remake(bench)
    assert dump(bench) == before
    assert check(bench).is_true
    receipt = bench.send(g.data(96 * 3600 * S)).receipts[0]
    assert receipt.contiguous == 97


def test_a_chain_whose_samples_were_all_dropped_still_verifies(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S), g.data(20 * S), at_us=21 * S)
    late = 3 * DAY_US
    bench.send(g.seal(late), g.seal(late + S), at_us=late + 5 * S)
    before = dump(bench)
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us)) == 2
    assert check(bench).is_true
    remake(bench)
    assert dump(bench) == before
    assert check(bench).is_true


def test_a_dropped_batch_that_had_been_refused_counts_no_readings(bench: Bench) -> None:
    g = bench.gateway
    broken = g.seal(10 * S, blocks=([9, b"", b"", b""],), readings=1)
    bench.send(g.catalogue_message(), broken, g.data(20 * S), at_us=21 * S)
    assert bench.rows("SELECT count(*) FROM evidence WHERE state=2") == [(1,)]
    late = 3 * DAY_US
    bench.send(g.data(late), g.data(late + S), at_us=late + 5 * S)
    before = dump(bench)
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us)) == 2
    assert check(bench).is_true
    remake(bench)
    assert dump(bench) == before
    assert check(bench).is_true


def test_a_dropped_batch_that_is_offered_again_is_a_repetition(bench: Bench) -> None:
    g = bench.gateway
    first = g.data(10 * S)
    bench.send(g.catalogue_message(), first)
    for n in range(2, 5):
        bench.send(g.data(n * DAY_US), at_us=n * DAY_US)
    bench.store.run(lambda db: prune(db, bench.signer, START_US + DAY_US, bench.now_us))
    assert bench.rows("SELECT min(seq) FROM evidence") == [(2,)]
    before = dump(bench)
    result = bench.send(first)
    assert result.duplicates == 1
    assert dump(bench) == before


def test_a_checkpoint_that_the_collector_did_not_sign_is_false(bench: Bench) -> None:
    _days(bench)
    bench.store.run(lambda db: prune(db, bench.signer, START_US + DAY_US, bench.now_us))
    bench.change("UPDATE checkpoint SET envelope=zeroblob(60)")
    assert any("checkpoint" in text for text in check(bench).wrong_facts)


def test_an_alarm_invented_beside_dropped_evidence_is_false(bench: Bench) -> None:
    _days(bench)
    bench.store.run(lambda db: prune(db, bench.signer, START_US + DAY_US, bench.now_us))
    later = START_US + 3 * DAY_US
    bench.change(
        "INSERT INTO alarm_event SELECT gateway_no, x'00112233445566778899aabbccddeeff', alarm_id, event, ?, ?, 1"
        " FROM alarm_event LIMIT 1", later, later,
    )  # fmt: skip
    assert any(item.table == "alarm_event" for item in check(bench).false_rows)


def test_pruned_rollups_changed_afterwards_within_what_is_provable_are_found(bench: Bench) -> None:
    _days(bench)
    bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us))
    bench.change("UPDATE rollup SET high=high+1 WHERE minute > ?", (START_US + 3 * DAY_US) // (60 * S))
    assert {item.column for item in check(bench).false_rows} == {"high"}


def test_verify_beside_another_gateway_with_damage(make_bench: Callable[[], Bench]) -> None:
    bench = make_bench()
    other = Gateway(seed=2)
    bench.register(other)
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S), g.data(4 * S))
    bench.send(other.catalogue_message(), other.data(2 * S), gateway=other)
    bench.change("UPDATE evidence SET envelope=zeroblob(10) WHERE id=1")
    bench.change("UPDATE latest SET value=1 WHERE gateway_no=2 AND key='well-0/ch4'")
    report = check(bench)
    assert [item.gateway for item in report.damaged] == [g.id]
    assert [(item.table, item.column) for item in report.false_rows] == [("latest", "value")]
