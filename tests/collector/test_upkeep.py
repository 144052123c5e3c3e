"""Visits and due dates: kept once as signed, the newest counts, verify covers them, rebuild makes them again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import pytest

from collector.database import FILE_NAME, open_reader
from collector.queries import SqliteQueries
from collector.retention import DAY_US, prune
from collector.upkeep import RESTATED_US, is_repeated, select
from collector.visit_views import VisitFilter
from contracts.batch import ClockState
from contracts.upkeep import Upkeep
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_clock_repair import mend
from tests.collector.test_verify import check, remake

S = 1_000_000
HOUR = 3600 * S


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    found = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    yield found
    found.close()


def upkeep(point: str = "well-0/ch4", **more: str) -> Upkeep:
    values = {"point": point, "job": "bump", "last": "", "due": "2026-11-20", "state": "never", "street": "Lane 5"}
    return Upkeep(**(values | more))


def tables(bench: Bench) -> list[list[tuple[object, ...]]]:
    return [bench.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in ("visit", "upkeep")]


def test_a_visit_is_shown_with_its_numbers_as_they_were_signed(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    made = g.visit(100 * S)
    bench.send(g.catalogue_message(), g.seal(200 * S, visits=(made,)), at_us=201 * S)
    (view,) = queries.visits(VisitFilter()).visits
    assert (view.gateway, view.id, view.point, view.en) == (g.id, made.id.hex(), "well-0/ch4", "Well 0")
    assert (view.job, view.result, view.by, view.unit, view.serial) == ("bump", "passed", "Li Wei", "%{LEL}", "S1")
    assert (view.zero, view.applied, view.peak) == (0.5, 50.0, 49.5)
    assert (view.t90_s, view.t90_limit_s, view.return_s, view.return_limit_s) == (18.5, 30.0, 31.0, 60.0)
    assert (view.began_us, view.ended_us) == (START_US + 100 * S, START_US + 190 * S)
    assert view.recorded_us == START_US + 200 * S
    point = queries.point(g.id, "well-0/ch4")
    assert point is not None
    assert point.visit is not None
    assert (point.visit.job, point.visit.result, point.visit.by) == ("bump", "passed", "Li Wei")


def test_the_same_visit_in_two_batches_is_one(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    made = g.visit(100 * S)
    first = g.seal(200 * S, visits=(made,))
    bench.send(first, at_us=201 * S)
    bench.send(first, g.seal(203 * S, visits=(made, g.visit(150 * S))), at_us=204 * S)
    assert len(queries.visits(VisitFilter()).visits) == 2
    before = tables(bench)
    assert check(bench).is_true
    remake(bench)
    assert tables(bench) == before


def test_a_visit_that_a_power_cut_ended_has_times_only_where_the_clock_of_its_boot_is_known(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    unknown, known = b"boot-nobody-know", b"boot-before-this"
    old = Gateway(boot_id=known, epoch=b"epoch--0", boot_counter=0)
    bench.send(old.data(50 * S), at_us=51 * S)
    visits = tuple(g.visit(20 * S, boot_id=boot, result="interrupted") for boot in (unknown, known))
    bench.send(g.seal(200 * S, visits=visits), at_us=201 * S)
    found = {view.id: view for view in queries.visits(VisitFilter()).visits}
    assert [found[item.id.hex()].began_us for item in visits] == [None, START_US + 20 * S]
    assert {view.recorded_us for view in found.values()} == {START_US + 200 * S}


def test_visits_are_found_by_gateway_point_job_and_result(bench: Bench, queries: SqliteQueries) -> None:
    g, other = bench.gateway, Gateway(seed=2)
    bench.register(other)
    visits = (
        g.visit(100 * S),
        g.visit(110 * S, "well-1/ch4", result="failed", reason="t90"),
        g.visit(120 * S, "well-1/ch4", job="calibration", t90_us=None, return_us=None),
    )
    bench.send(g.seal(200 * S, visits=visits), at_us=201 * S)
    bench.send(other.seal(300 * S, visits=(other.visit(250 * S),)), at_us=301 * S, gateway=other)

    def ids(**fields: str) -> set[str]:
        return {view.id for view in queries.visits(VisitFilter(**fields)).visits}

    first, second, third = (item.id.hex() for item in visits)
    assert len(ids()) == 4
    assert ids(gateway=g.id) == {first, second, third}
    assert ids(gateway=g.id, point="well-1/ch4") == ids(point="well-1/") == {second, third}
    assert ids(job="calibration") == {third}
    assert ids(result="failed") == {second}
    assert ids(gateway="g-aaaaaaaaaaaa") == set()
    for wrong in ({"job": "x"}, {"result": "x"}):
        with pytest.raises(ValueError, match="is none of"):
            queries.visits(VisitFilter(**wrong))
    for place in ("", "x", "1-2", f"{1 << 63}-1-00", "1-1-zz"):
        with pytest.raises(ValueError, match="after: is not"):
            queries.visits(VisitFilter(), after=place)


def test_pages_of_visits_hold_each_once_and_are_found_by_an_index(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    for at in range(3):
        visits = tuple(g.visit((at * 10 + n) * S, f"well-{n % 2}/ch4") for n in range(10))
        bench.send(g.seal((100 + at) * S, visits=visits), at_us=(101 + at) * S)
    whole = queries.visits(VisitFilter(), limit=100).visits
    assert all((a.recorded_us, a.id) > (b.recorded_us, b.id) for a, b in pairwise(whole))
    for limit in (1, 7, 30):
        found, after = [], None
        while True:
            page = queries.visits(VisitFilter(), limit=limit, after=after)
            found += page.visits
            if page.next is None:
                break
            after = page.next
        assert found == whole
    for filter in (VisitFilter(), VisitFilter(gateway=g.id), VisitFilter(gateway=g.id, point="well-1/ch4")):
        for place in (None, (START_US, 1, bytes(16))):
            sql, values = select(filter, 1 if filter.gateway else None, place, 10)
            with closing(open_reader(bench.data / FILE_NAME)) as db:
                plan = db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
            assert len(plan) == 1, plan  # nothing is sorted afterwards
            assert "ix_visit_" in plan[0][3]


def test_of_statements_the_newest_counts_in_any_order_of_arrival(make_bench: Callable[[], Bench]) -> None:
    g = Gateway()
    later = Gateway(boot_id=b"boot-later-boot-", epoch=b"epoch--2", boot_counter=2)
    messages = [
        g.seal(100 * S, upkeep=(upkeep(), upkeep(job="calibration", due="", state="current"))),
        g.seal(200 * S, upkeep=(upkeep(last="2026-11-01", due="2027-01-30", state="current"),)),
        later.seal(50 * S, upkeep=(upkeep(last="2026-11-01", due="2027-01-30", state="due"), upkeep("well-1/ch4"))),
    ]
    shuffled = random.Random(3)
    for _ in range(4):
        bench = make_bench()
        for message in shuffled.sample(messages, len(messages)):
            bench.send(message, at_us=300 * S)
        found = bench.rows("SELECT point, job, state, mono_us FROM upkeep ORDER BY 1, 2")
        assert found == [
            ("well-0/ch4", "bump", "due", 50 * S),
            ("well-0/ch4", "calibration", "current", 100 * S),
            ("well-1/ch4", "bump", "never", 50 * S),
        ]
        before = tables(bench)
        remake(bench)
        assert tables(bench) == before
        assert check(bench).is_true


@pytest.mark.parametrize(
    ("order", "newest", "expected"),
    [
        ((1, 1, 5 * S), (1, 1, 5 * S), True),
        ((1, 1, 0), (1, 1, RESTATED_US), True),
        ((1, 1, 0), (1, 1, RESTATED_US + 1), False),
        ((1, 1, 10**15), (2, 2, 60 * S), True),
        ((1, 1, 10**15), (2, 2, RESTATED_US + 1), False),
    ],
)
def test_a_statement_that_is_no_longer_repeated_is_none(
    order: tuple[int, int, int], newest: tuple[int, int, int], expected: bool
) -> None:
    assert is_repeated(order, newest) is expected


def test_what_a_gateway_leaves_out_when_it_states_everything_anew_is_due_no_more(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    first = (upkeep(state="overdue"), upkeep("well-1/ch4", state="due"))
    bench.send(g.catalogue_message(), g.data(100 * S, upkeep=first), at_us=101 * S)
    assert [view.is_stated for view in queries.upkeep()] == [True, True]
    late = 100 * S + RESTATED_US + S
    bench.send(g.data(late, upkeep=first[1:]), at_us=late + S)
    assert [(view.point, view.is_stated) for view in queries.upkeep(g.id)] == [
        ("well-0/ch4", False),
        ("well-1/ch4", True),
    ]
    assert [len(point.due) for point in queries.points()] == [0, 1, 0, 0]
    assert [(item.finding, item.point) for item in queries.errands()] == [("bump_due", "well-1/ch4")]


def test_it_waits_for_no_catalogue_and_goes_with_the_clock(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    g.clock = ClockState.UNSET
    bench.send(g.data(100 * S, visits=(g.visit(10 * S),), upkeep=(upkeep(),)), at_us=5 * HOUR)
    (early,) = queries.visits(VisitFilter()).visits
    assert queries.upkeep()[0].stated_us == early.recorded_us == START_US + 5 * HOUR
    g.clock = ClockState.SYNCHRONISED
    bench.send(g.catalogue_message(), g.data(200 * S), at_us=5 * HOUR)
    mend(bench)
    (late,) = queries.visits(VisitFilter()).visits
    assert queries.upkeep()[0].stated_us == late.recorded_us == START_US + 100 * S + 10_000
    assert late.began_us == START_US + 10 * S
    assert check(bench).is_true


def test_what_is_false_in_the_tables_is_told(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.seal(200 * S, visits=(g.visit(100 * S, result="failed"),), upkeep=(upkeep(),)), at_us=201 * S)
    bench.change("UPDATE visit SET result='passed'")
    bench.change("UPDATE upkeep SET state='current'")
    report = check(bench)
    assert [(item.table, item.column) for item in report.false_rows] == [("visit", "result"), ("upkeep", "state")]
    assert "well-0/ch4 bump: state: the table says 'current', the signed bytes say 'never'" in str(report.false_rows[1])
    remake(bench)
    assert check(bench).is_true


def test_they_outlive_the_evidence_of_their_day(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.seal(100 * S, visits=(g.visit(10 * S),), upkeep=(upkeep(),)), at_us=101 * S)
    late = 3 * DAY_US
    bench.send(g.seal(late), g.seal(late + S), at_us=late + 5 * S)
    before = tables(bench)
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us)) == 1
    remake(bench)
    assert tables(bench) == before
    assert check(bench).is_true
    assert len(queries.visits(VisitFilter()).visits) == 1


def test_a_visit_sealed_in_the_minute_after_the_last_sample_that_is_dropped_is_kept(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    sealed = (60 - START_US // S % 60) * S + 61 * S
    bench.send(g.catalogue_message(), g.data(S), at_us=2 * S)
    bench.send(
        g.seal(sealed, times=[sealed - 2 * S], values=[[1], [1], [1], [1.0]], visits=(g.visit(2 * S),)), at_us=sealed
    )
    late = 3 * DAY_US
    bench.send(g.data(late), g.data(late + S), at_us=late + 5 * S)
    before = tables(bench)
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 2 * DAY_US, bench.now_us)) == 2
    assert check(bench).is_true
    remake(bench)
    assert tables(bench) == before
    assert len(queries.visits(VisitFilter()).visits) == 1


def test_the_newest_verdict_is_the_one_that_ended_last_also_within_one_batch(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    visits = [
        g.visit(at * S, result="failed" if at % 2 else "passed", reason="slow" if at % 2 else "") for at in range(8)
    ]
    bench.send(g.catalogue_message(), g.data(200 * S, visits=tuple(visits[::-1])), at_us=201 * S)
    assert [item.finding for item in queries.errands() if item.point == "well-0/ch4"] == ["bump_failed"]
    bench.send(g.data(300 * S, visits=(g.visit(250 * S),)), at_us=301 * S)
    assert [item.finding for item in queries.errands() if item.point == "well-0/ch4"] == []


def test_the_newest_verdict_goes_by_boots_and_not_by_wall_clocks(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    g.offset_us += 400 * DAY_US  # a clock that was set to another year
    bench.send(g.catalogue_message(), g.data(200 * S, visits=(g.visit(10 * S),)), at_us=201 * S)
    later = Gateway(boot_id=b"boot-later-boot-", epoch=b"epoch--2", boot_counter=2)
    failed = later.visit(20 * S, result="failed", reason="slow")
    bench.send(later.data(100 * S, visits=(failed,)), at_us=400 * S)
    assert [item.finding for item in queries.errands() if item.point == "well-0/ch4"] == ["bump_failed"]


def test_a_time_that_cannot_be_reckoned_with_is_refused(bench: Bench) -> None:
    g = bench.gateway
    far = replace(g.visit(100 * S), began_us=1 << 62, ended_us=1 << 62)
    bench.send(g.seal(200 * S, visits=(far,)), at_us=201 * S)
    assert bench.rows("SELECT count(*) FROM visit") == [(0,)]
    assert bench.rows("SELECT count(*) FROM quarantine") == [(1,)]
