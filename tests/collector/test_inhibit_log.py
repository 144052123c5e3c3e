"""Which points people work on: the newest signed statement, shown while it holds, proved and made again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import collector.database
from collector.database import FILE_NAME, upgrade
from collector.inhibit_views import InhibitView
from collector.queries import SqliteQueries
from collector.retention import DAY_US, prune
from collector.views import AlarmFilter
from contracts.batch import ClockState, HealthRecord, Lane
from contracts.inhibit import Inhibit
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_clock_repair import mend
from tests.collector.test_verify import check, remake

S = 1_000_000
KEY = "well-0/ch4"


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


def work(since_s: int, until_s: int, point: str = KEY, *, reason: str = "bump test", by: str = "Li Wei") -> Inhibit:
    return Inhibit(point=point, since_us=since_s * S, until_us=until_s * S, reason=reason, by=by)


def after_restart() -> Gateway:
    """The same gateway after its machine has restarted."""
    return Gateway(boot_id=b"boot-later-boot-", epoch=b"epoch--2", boot_counter=2, offset_us=START_US + 300 * S)


def table(bench: Bench) -> list[tuple[object, ...]]:
    return bench.rows("SELECT * FROM inhibit ORDER BY 1, 2")


def newest(bench: Bench) -> list[tuple[object, ...]]:
    return bench.rows("SELECT point, since_us/1000000, until_us/1000000, by FROM inhibit ORDER BY 1")


def inhibited(queries: SqliteQueries) -> list[str]:
    points = queries.points()
    assert all(point.is_inhibited == (point.inhibit is not None) for point in points)
    return [point.key for point in points if point.is_inhibited]


def test_a_point_says_who_works_on_it_and_why_and_until_when(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    assert inhibited(queries) == [KEY]
    point = queries.point(g.id, KEY)
    assert point is not None
    assert point.inhibit == InhibitView(
        since_us=START_US + 90 * S, until_us=START_US + 400 * S, reason="bump test", by="Li Wei"
    )


def test_until_when_does_not_tremble_with_the_clock(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    before = queries.point(g.id, KEY)
    g.offset_us += 3_000  # what NTP does from one batch to the next
    bench.send(g.data(110 * S), at_us=111 * S)
    after = queries.point(g.id, KEY)
    assert before is not None
    assert after is not None
    assert after.inhibit == before.inhibit


def test_an_epoch_that_also_carries_batches_of_another_boot_says_nothing_of_this_one(
    bench: Bench, queries: SqliteQueries
) -> None:
    """A recovered store's epoch does."""
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    g.boot_id, g.boot_counter, g.offset_us = b"boot-before-this", 0, START_US - 6000 * S
    bench.send(g.data(5000 * S), at_us=150 * S)
    assert inhibited(queries) == [KEY]


def test_what_health_says_of_it_is_not_asked(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    health = HealthRecord(subject="agent", mono_us=100 * S, facts=(("inhibited", "well-1/ch4"),))
    bench.send(g.catalogue_message(), g.data(100 * S, health=(health,), inhibits=(work(90, 400),)), at_us=101 * S)
    assert inhibited(queries) == [KEY]


def test_more_points_than_health_could_name_are_all_shown(bench: Bench, queries: SqliteQueries) -> None:
    g = Gateway(points=60)
    stated = tuple(work(90, 400, f"well-{n}/ch4", reason="r" * 256, by="b" * 256) for n in range(60))
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=stated), at_us=101 * S)
    assert len(inhibited(queries)) == 60


def test_it_ends_when_the_gateway_says_so_or_its_time_is_up(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    stated = (work(90, 400), work(95, 200, "well-1/ch4"))
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=stated), at_us=101 * S)
    bench.send(g.data(150 * S, inhibits=(work(90, 149),)), at_us=151 * S)
    assert inhibited(queries) == ["well-1/ch4"]
    bench.send(g.data(201 * S), at_us=202 * S)
    assert inhibited(queries) == []
    assert newest(bench) == [(KEY, 90, 149, "Li Wei"), ("well-1/ch4", 95, 200, "Li Wei")]


def test_one_that_ends_and_the_next_may_come_in_one_batch(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    ended, again = work(90, 149), work(149, 500, by="Wang Fang")
    bench.send(g.catalogue_message(), g.data(150 * S, inhibits=(again, ended)), at_us=151 * S)
    assert newest(bench) == [(KEY, 149, 500, "Wang Fang")]
    assert inhibited(queries) == [KEY]


def test_of_a_silent_gateway_it_stays_until_its_time_is_up(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    for now_s, expected in ((399, [KEY]), (402, [])):
        bench.now_us = START_US + now_s * S
        assert queries.gateways()[0].liveness == "silent"
        assert inhibited(queries) == expected


def test_a_backlog_does_not_bring_back_what_has_ended(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    bench.send(g.data(110 * S), at_us=7200 * S)
    assert inhibited(queries) == []


def test_the_clock_of_the_gateway_may_say_what_it_will(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    g.offset_us += 300 * DAY_US
    bench.send(g.ask_message(99 * S), g.catalogue_message(), at_us=99 * S)
    bench.send(g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    assert inhibited(queries) == [KEY]
    bench.now_us = START_US + 402 * S
    assert inhibited(queries) == []


def test_until_when_goes_with_the_clock_that_is_learnt_later(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    g.clock = ClockState.UNSET
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 9000),)), at_us=500 * S)

    def until_us() -> int:
        point = queries.point(g.id, KEY)
        assert point is not None
        assert point.inhibit is not None
        return point.inhibit.until_us

    assert until_us() == START_US + 9400 * S - 10_000
    g.clock = ClockState.SYNCHRONISED
    bench.send(g.data(501 * S), at_us=502 * S)
    mend(bench)
    assert until_us() == START_US + 9000 * S
    assert check(bench).is_true


def test_a_restart_of_the_machine_ends_it_and_one_of_the_agent_does_not(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 9000),)), at_us=101 * S)
    agent = Gateway(epoch=b"epoch--3")
    bench.send(agent.ask_message(150 * S), agent.data(160 * S), at_us=161 * S)
    assert inhibited(queries) == [KEY]
    bench.send(agent.data(170 * S, inhibits=(work(165, 9000),)), at_us=171 * S)
    assert inhibited(queries) == [KEY]
    machine = after_restart()
    bench.send(machine.ask_message(10 * S), at_us=311 * S)
    assert inhibited(queries) == []
    bench.send(machine.data(20 * S, inhibits=(work(15, 9000, "well-1/ch4"),)), at_us=321 * S)
    assert inhibited(queries) == ["well-1/ch4"]
    # What the first boot had left to send changes nothing.
    bench.send(agent.data(175 * S, inhibits=(work(165, 9000), work(90, 9000, "well-1/ch4"))), at_us=322 * S)
    assert inhibited(queries) == ["well-1/ch4"]


def test_of_statements_the_newest_counts_in_any_order_of_arrival(make_bench: Callable[[], Bench]) -> None:
    g, later = Gateway(), after_restart()
    messages = [
        g.catalogue_message(),
        g.data(100 * S, inhibits=(work(90, 400), work(90, 400, "well-1/ch4"))),
        g.seal(110 * S, lane=Lane.ALARM, inhibits=(work(90, 105, "well-1/ch4"),)),
        g.data(120 * S, inhibits=(work(90, 115), work(118, 300, by="Wang Fang"))),
        g.data(130 * S, inhibits=(work(90, 400, "well-2/ch4"),)),
        later.data(20 * S, inhibits=(work(5, 19, "well-2/ch4"), work(5, 900, "well-3/ch4"))),
        later.ask_message(21 * S),
    ]
    shuffled = random.Random(5)
    for _ in range(6):
        bench = make_bench()
        for message in shuffled.sample(messages, len(messages)):
            bench.send(message, at_us=330 * S)
        assert newest(bench) == [
            (KEY, 118, 300, "Wang Fang"),
            ("well-1/ch4", 90, 105, "Li Wei"),
            ("well-2/ch4", 5, 19, "Li Wei"),
            ("well-3/ch4", 5, 900, "Li Wei"),
        ]
        before = table(bench)
        assert check(bench).is_true
        remake(bench)
        assert table(bench) == before


def test_a_boot_that_turns_out_to_be_the_newer_one_is_heard_again(bench: Bench) -> None:
    g = Gateway(boot_counter=5)
    replaced = Gateway(boot_id=b"boot-counts-anew", epoch=b"epoch--2", boot_counter=1)
    bench.send(g.catalogue_message(), g.ask_message(90 * S), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    bench.send(replaced.data(50 * S, inhibits=(work(40, 500, by="Wang Fang"),)), at_us=201 * S)
    assert newest(bench) == [(KEY, 90, 400, "Li Wei")]
    bench.send(replaced.ask_message(60 * S), at_us=211 * S)
    assert newest(bench) == [(KEY, 40, 500, "Wang Fang")]
    before = table(bench)
    assert check(bench).is_true
    remake(bench)
    assert table(bench) == before


def test_a_statement_whose_batch_was_dropped_keeps_the_place_of_its_boot(bench: Bench) -> None:
    g = Gateway(boot_counter=5)
    replaced = Gateway(boot_id=b"boot-counts-anew", epoch=b"epoch--2", boot_counter=1)
    bench.send(g.catalogue_message(), g.ask_message(90 * S), at_us=91 * S)
    bench.send(replaced.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    late = 3 * DAY_US
    bench.send(replaced.data(late), replaced.data(late + S), at_us=late + 5 * S)
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us)) == 1
    bench.send(replaced.ask_message(late + 6 * S), at_us=late + 6 * S)
    assert bench.rows("SELECT rank FROM inhibit") == [(6,)] == bench.rows("SELECT max(rank) FROM boot")
    assert check(bench).is_true


def test_a_statement_waits_for_no_catalogue_and_stands_in_a_batch_that_is_refused(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    assert newest(bench) == [(KEY, 90, 400, "Li Wei")]
    broken = g.seal(150 * S, blocks=([9, b"", b"", b""],), readings=1, inhibits=(work(90, 140),))
    bench.send(g.catalogue_message(), broken, at_us=151 * S)
    assert bench.rows("SELECT count(*) FROM evidence WHERE state=2") == [(1,)]
    assert newest(bench) == [(KEY, 90, 140, "Li Wei")]
    before = table(bench)
    assert check(bench).is_true
    remake(bench)
    assert table(bench) == before


@pytest.mark.parametrize(
    ("sql", "column", "words"),
    [
        ("UPDATE inhibit SET until_us=until_us+1", "until_us", "says 400000001, the signed bytes say 400000000"),
        ("UPDATE inhibit SET by='Wang Fang'", "by", "the table says 'Wang Fang', the signed bytes say 'Li Wei'"),
        ("DELETE FROM inhibit", "row", "the table says nothing, the signed bytes say that there is one"),
        ("UPDATE inhibit SET point='well-1/ch4'", "row", "the signed bytes say nothing"),
    ],
)  # fmt: skip
def test_what_is_false_in_the_table_is_told(bench: Bench, sql: str, column: str, words: str) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)
    before = table(bench)
    assert check(bench).is_true
    bench.change(sql)
    found = check(bench).false_rows
    assert {(item.table, item.column) for item in found} == {("inhibit", column)}
    assert any(f"{bench.gateway.id} " in str(item) and words in str(item) for item in found)
    remake(bench)
    assert table(bench) == before
    assert check(bench).is_true


def test_it_outlives_the_evidence_of_its_day(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    far_s = 4 * DAY_US // S
    bench.send(g.catalogue_message(), g.data(100 * S, inhibits=(work(90, far_s),)), at_us=101 * S)
    late = 3 * DAY_US
    bench.send(g.data(late), g.data(late + S), at_us=late + 5 * S)
    before, shown = table(bench), queries.point(g.id, KEY)
    assert shown is not None
    assert shown.is_inhibited
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us)) == 1
    remake(bench)
    assert table(bench) == before
    assert check(bench).is_true
    again = queries.point(g.id, KEY)
    assert again is not None
    assert again.inhibit == shown.inhibit


def test_an_alarm_that_stands_says_that_somebody_works_on_its_point(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    raised, other = g.event("active", 50 * S), g.event("active", 60 * S, point="well-1/ch4", rule_id="other")
    bench.send(g.catalogue_message(), g.seal(61 * S, lane=Lane.ALARM, events=(raised, other)), at_us=61 * S)
    bench.send(g.data(100 * S, inhibits=(work(90, 400),)), at_us=101 * S)

    def told() -> dict[str, str | None]:
        listed, paged = queries.alarms(), queries.journal(AlarmFilter(state="standing")).alarms
        names = [
            {alarm.point: None if alarm.inhibit is None else alarm.inhibit.by for alarm in alarms}
            for alarms in (listed, paged)
        ]
        assert names[0] == names[1]
        return names[0]

    assert told() == {KEY: "Li Wei", "well-1/ch4": None}
    over = g.event("cleared", 110 * S, raised.id)
    bench.send(g.seal(111 * S, lane=Lane.ALARM, events=(over,)), at_us=111 * S)
    assert told() == {"well-1/ch4": None}
    found = queries.alarm(raised.id.hex())
    assert found is not None
    assert found.inhibit is None


def test_pages_are_told_of_a_point_whose_inhibit_changed_and_that_has_no_new_sample(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S), at_us=101 * S)
    stating = g.seal(110 * S, inhibits=(work(105, 400),))
    assert bench.send(stating, at_us=111 * S).change.points == {(g.id, KEY)}
    assert bench.send(g.seal(112 * S, inhibits=(work(105, 400),)), at_us=113 * S).change.points == {(g.id, KEY)}
    assert bench.send(g.seal(114 * S), at_us=115 * S).change.points == frozenset()


def _at(path: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(collector.database.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_an_older_database_learns_what_was_stated_before(bench: Bench, queries: SqliteQueries) -> None:
    g, later = bench.gateway, after_restart()
    broken = g.seal(160 * S, blocks=([9, b"", b"", b""],), readings=1, inhibits=(work(150, 155, "well-3/ch4"),))
    stating = [
        g.data(150 * S, inhibits=(work(90, 149), work(149, 500, by="Wang Fang"))),
        broken,
        g.data(100 * S, inhibits=(work(90, 400), work(90, 9000, "well-1/ch4"), work(90, 400, "well-3/ch4"))),
        later.data(20 * S, inhibits=(work(5, 9000, "well-1/ch4", by="王芳"),)),
        g.data(180 * S, inhibits=(work(170, 400, "well-1/ch4"),)),
        later.seal(40 * S),
    ]
    bench.send(g.catalogue_message(), *stating, later.ask_message(41 * S), at_us=342 * S)
    before, shown = table(bench), inhibited(queries)
    assert len(before) == 3
    assert shown == ["well-1/ch4"]
    bench.change("UPDATE evidence SET envelope=x'00' WHERE id=(SELECT max(id) FROM evidence)")  # damaged since
    queries.close()
    bench.store.close()
    path = bench.data / FILE_NAME
    _at(path, "0007")
    upgrade(path, bench.now_us)
    bench.store.open()
    assert table(bench) == before
    assert inhibited(queries) == shown
    assert not check(bench).false_rows
