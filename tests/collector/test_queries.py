"""The read side: what pages, the interface and commands are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from contracts.batch import ClockState, Head, HealthRecord, Lane, LossRecord, Parent
from contracts.quality import GOOD, NO_REPLY
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, lambda: {"live": 1.0})
    yield found
    found.close()


def at(bench: Bench, us: int) -> None:
    bench.now_us = START_US + us


def test_nothing_yet(queries: SqliteQueries) -> None:
    assert queries.gateways() == []
    assert queries.points() == []
    assert queries.alarms() == []
    assert queries.chains() == []
    assert queries.alarm("00") is None
    assert queries.alarm("not hex") is None
    assert queries.point("g-aaaaaaaaaaaa", "a/b") is None
    assert queries.trend("g-aaaaaaaaaaaa", "a/b", 0, 1) is None


def test_a_fresh_value_has_number_unit_quality_and_age(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S), g.data(102 * S), at_us=102 * S)
    at(bench, 103 * S)
    point = queries.point(g.id, "well-0/ch4")
    assert point is not None
    assert (point.value, point.shown, point.unit_en, point.quality, point.age_s) == (5.1, "5.1", "%LEL", "good", 1.0)
    assert point.limits == [(10.0, "high", "yellow", "pre-alarm", "低报")]
    gateway = queries.gateways()[0]
    assert (gateway.liveness, gateway.points, gateway.clock, gateway.zh) == ("online", 4, "ntp", "测试街区")


def test_silence_makes_values_unknown_and_the_gateway_silent(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S), g.data(102 * S), at_us=102 * S)
    at(bench, 114 * S)
    point = queries.point(g.id, "well-0/ch4")
    assert point is not None
    assert (point.value, point.shown, point.quality, point.is_stale) == (None, "", "unknown", True)
    assert (point.last_value, point.last_value_us) == (5.1, START_US + 102 * S)
    gateway = queries.gateways()[0]
    assert (gateway.liveness, gateway.silent_for_s, gateway.points_silent) == ("silent", 12.0, 4)


def test_some_silent_points_degrade(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S), at_us=100 * S)
    for second in (110, 112):
        record = HealthRecord(subject="agent", mono_us=second * S, facts=(("cpu", 1.5),))
        bench.send(g.seal(second * S, health=(record,)), at_us=second * S)
    gateway = queries.gateways()[0]
    assert gateway.liveness == "degraded"
    assert gateway.health == {"agent": {"cpu": 1.5}}


def test_a_wrong_clock_hides_no_value(bench: Bench, queries: SqliteQueries) -> None:
    year = 365 * 86_400 * S
    slow = Gateway(offset_us=START_US - year)
    bench.send(slow.ask_message(100 * S), slow.catalogue_message(), slow.data(100 * S), at_us=100 * S, gateway=slow)
    at(bench, 101 * S)
    point = queries.point(slow.id, "well-0/ch4")
    assert point is not None
    assert (point.quality, point.value) == ("good", 5.1)
    assert point.age_s == pytest.approx(1.0, abs=0.1)


def test_a_clock_that_is_ahead_is_called_wrong_and_not_believed(bench: Bench, queries: SqliteQueries) -> None:
    fast = Gateway(offset_us=START_US + 3600 * S)
    bench.send(fast.catalogue_message(), fast.data(100 * S), at_us=100 * S + 10_000, gateway=fast)
    assert queries.gateways()[0].clock == "wrong"
    assert queries.points()[0].sampled_us == START_US + 100 * S


def test_alarm_with_its_time_line(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(g.catalogue_message(), g.data(100 * S), at_us=100 * S)
    result = bench.send(g.seal(100 * S + 5000, lane=Lane.ALARM, events=(active,)), at_us=100 * S + 20_000)
    bench.store.stamp(result.to_stamp, START_US + 100 * S + 50_000)
    alarm = queries.alarms()[0]
    assert (alarm.id, alarm.state, alarm.shown, alarm.severity) == (active.id.hex(), "active", "12.5", "yellow")
    assert (alarm.sampled_us, alarm.judged_us) == (START_US + 100 * S, START_US + 100 * S + 500)
    assert (alarm.sealed_us, alarm.received_us) == (START_US + 100 * S + 5000, START_US + 100 * S + 20_000)
    assert (alarm.latency_ms, alarm.is_late, alarm.is_source_silent) == (50.0, False, False)
    point = queries.point(g.id, "well-0/ch4")
    assert point is not None
    assert point.alarm == "yellow"
    at(bench, 200 * S)
    assert queries.alarms()[0].is_source_silent
    cleared = g.event("cleared", 150 * S, raised_by=active.id)
    bench.send(g.seal(151 * S, lane=Lane.ALARM, events=(cleared,)), at_us=200 * S)
    assert queries.alarms() == []
    over = queries.alarms(standing_only=False)[0]
    assert (over.state, over.cleared_us, over.raised_us) == ("cleared", START_US + 150 * S + 500, START_US + 100 * S)


def test_a_late_alarm_says_so(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.seal(100 * S, lane=Lane.ALARM, events=(g.event("active", 99 * S),)), at_us=500 * S)
    assert queries.alarms()[0].is_late


def test_chains_show_holes_losses_and_what_is_known_to_exist(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    messages = [g.data(n * 2 * S) for n in range(1, 6)]
    bench.send(g.catalogue_message(), messages[0], messages[2])
    bench.send(g.ask_message(12 * S))
    chain = next(item for item in queries.chains(g.id) if item.lane == "data")
    assert (chain.verified_to, chain.newest, list(chain.missing)) == (1, 5, [(2, 2), (4, 5)])
    assert chain.last_receipt_serial is not None
    assert queries.gateways()[0].backlog_batches == 3
    assert queries.chains("g-aaaaaaaaaaaa") == []


def test_the_parent_that_a_later_epoch_names_is_backlog(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S))
    parent = Parent(epoch=g.epoch, alarm=Head(seq=0, digest=b""), data=Head(seq=9, digest=b"d" * 32))
    after = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, parent=parent)
    bench.send(after.data(2 * S))
    assert queries.gateways()[0].backlog_batches == 8


def test_a_copied_gateway_is_alarmed(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    clone = g.data(2 * S, 77, keep_head=True)
    bench.send(g.catalogue_message(), g.data(2 * S), clone)
    alarm = queries.alarms()[0]
    assert (alarm.cause, alarm.gateway) == ("cloned", g.id)
    assert queries.alarm(alarm.id) == alarm
    assert queries.gateways()[0].health["identity"]["forks"] == 1


def test_a_copied_gateway_is_alarmed_as_of_when_it_was_first_known(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    clones = [g.data(2 * S, 77, keep_head=True)]
    bench.send(g.catalogue_message(), g.data(2 * S), at_us=10 * S)
    clones.append(g.data(4 * S, 77, keep_head=True))
    bench.send(g.data(4 * S), at_us=20 * S)
    for at_us, clone in zip((30 * S, 40 * S), clones, strict=True):
        bench.send(clone, at_us=at_us)
        assert queries.alarms()[0].raised_us == START_US + 30 * S
    # Their evidence went with its day: when it was raised is kept.
    bench.store.run(lambda db: db.execute("DELETE FROM evidence"))
    assert queries.alarms()[0].raised_us == START_US + 30 * S
    # A database of an older version kept no row of it: not before the epoch began, and never in 1970.
    bench.store.run(lambda db: db.execute("DELETE FROM own_alarm"))
    bench.store.close()
    bench.store.open()
    assert queries.alarms()[0].raised_us == START_US + 10 * S


def test_two_epochs_of_one_parent_that_alternate_are_two_gateways(bench: Bench, queries: SqliteQueries) -> None:
    parent = Parent(epoch=b"epoch--0", alarm=Head(seq=0, digest=b""), data=Head(seq=1, digest=b"d" * 32))
    one = Gateway(epoch=b"epoch--1", parent=parent)
    two = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, parent=parent)
    bench.send(one.catalogue_message(), one.data(10 * S), at_us=10 * S)
    bench.send(two.data(20 * S), at_us=20 * S)
    assert queries.alarms() == []
    bench.send(one.data(40 * S), at_us=40 * S)
    bench.send(two.data(50 * S), at_us=50 * S)
    assert [item.cause for item in queries.alarms()] == ["cloned"]


def test_a_parent_behind_what_is_held_is_rolled_back(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(2 * S), g.data(4 * S), g.data(6 * S))
    parent = Parent(epoch=g.epoch, alarm=Head(seq=0, digest=b""), data=Head(seq=1, digest=b"d" * 32))
    after = Gateway(epoch=b"epoch--2", boot_id=b"another-boot-id.", boot_counter=2, parent=parent)
    bench.send(after.data(2 * S))
    assert queries.gateways()[0].health["identity"] == {"rolled_back": 1}
    assert queries.alarms() == []


def test_a_trend_of_hours_is_decoded_and_draws_gaps(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    codes = [[NO_REPLY] + [GOOD] * 3]
    bench.send(
        g.catalogue_message(), g.data(10 * S),
        g.seal(12 * S, times=[11 * S], values=[[None], [1], [1], [0.5]], codes=codes), g.data(20 * S),
    )  # fmt: skip
    trend = queries.trend(g.id, "well-0/ch4", START_US, START_US + 3600 * S)
    assert trend is not None
    assert trend.source == "raw"
    assert [(t - START_US) / S for t in trend.times_us] == [9, 10, 11, 15, 19, 20]
    assert trend.values == [5.0, 5.1, None, None, 5.0, 5.1]
    assert trend.codes[2] == NO_REPLY


def test_a_long_trend_reads_rollups(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *[g.data(m * 60 * S + 30 * S, 100 + m) for m in (0, 1, 2, 9)], at_us=600 * S)
    trend = queries.trend(g.id, "well-0/ch4", START_US, START_US + 3 * 3600 * S)
    assert trend is not None
    assert trend.source == "minute"
    assert trend.values == [10.05, 10.15, 10.25, None, 10.95]
    assert (trend.low[0], trend.high[0]) == (10.0, 10.1)


def test_changed_bytes_are_a_gap_in_the_trend(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S), g.data(12 * S))
    bench.change("UPDATE evidence SET envelope=zeroblob(50) WHERE id=1")
    trend = queries.trend(g.id, "well-0/ch4", START_US, START_US + 3600 * S)
    assert trend is not None
    assert [(t - START_US) / S for t in trend.times_us] == [11, 12]


def test_counters_and_quarantine(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S), ("bad/topic", b"x"))
    counters = queries.counters()
    assert (counters["batches"], counters["readings"], counters["quarantined"], counters["live"]) == (1, 8, 1, 1.0)
    assert [(item.code, item.size) for item in queries.quarantine()] == [("topic", 1)]


def test_a_point_of_an_unset_clock_is_shown_by_arrival(bench: Bench, queries: SqliteQueries) -> None:
    g = Gateway(clock=ClockState.UNSET)
    bench.send(g.catalogue_message(), g.data(100 * S), at_us=100 * S + 10_000, gateway=g)
    at(bench, 101 * S)
    assert queries.points()[0].quality == "good"


def test_a_point_is_told_with_the_name_of_its_device(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message())
    point = queries.points()[0]
    assert (point.device, point.device_en, point.device_zh) == ("well", "Well", "井")


def test_an_alarm_that_the_gateway_states_no_more_says_so(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    lost, kept = g.event("active", 50 * S), g.event("active", 60 * S, rule_id="other")
    bench.send(g.seal(61 * S, lane=Lane.ALARM, events=(lost, kept)), at_us=61 * S)
    assert [item.is_unstated for item in queries.alarms()] == [False, False]
    bench.send(g.ask_message(70 * S, (kept,)), at_us=70 * S)
    assert {item.id: item.is_unstated for item in queries.alarms()} == {lost.id.hex(): True, kept.id.hex(): False}
    later = g.event("active", 80 * S)
    bench.send(g.seal(81 * S, lane=Lane.ALARM, events=(later,)), at_us=81 * S)
    alarm = queries.alarm(later.id.hex())
    assert alarm is not None
    assert not alarm.is_unstated


def test_in_a_flood_the_gravest_alarms_stay(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    events = [g.event("active", n * S, severity="red" if n == 1 else "info") for n in range(1, 6)]
    bench.send(g.seal(10 * S, lane=Lane.ALARM, events=tuple(events)), at_us=10 * S)
    assert [item.severity for item in queries.alarms(limit=2)] == ["red", "info"]
    assert [item.severity for item in queries.alarms(standing_only=False, limit=2)] == ["info", "info"]


def test_losses_of_any_size_can_be_counted(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    losses = tuple(
        LossRecord(epoch=g.epoch, lane=Lane.DATA, first=n, last=n, digest=b"d" * 32, readings=1 << 62, cause="quota")
        for n in range(50, 56)
    )
    bench.send(g.seal(10 * S, losses=losses))
    assert queries.counters()["lost_readings"] > 1e18
