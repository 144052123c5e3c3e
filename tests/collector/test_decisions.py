"""Late alarms, statements and decisions, through the store as a gateway would send them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.alarm_log import AlarmActions
from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.statements import WHOLE_BELOW
from contracts.batch import AlarmEvent, Lane, Statement
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_queries import at

S = 1_000_000
HOUR = 3600 * S


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    made = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    yield made
    made.close()


def alarm_batch(g: Gateway, sealed_us: int, *events: AlarmEvent) -> tuple[str, bytes]:
    return g.seal(sealed_us, lane=Lane.ALARM, events=events)


def decisions(queries: SqliteQueries) -> list[tuple[str, str, str, bool]]:
    found = queries.alarms(standing_only=False)
    return [(item.measurement, item.decision, item.decision_reason, item.is_late) for item in found]


def test_an_alarm_that_comes_at_once_pages(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(100 * S), at_us=100 * S)
    bench.send(alarm_batch(g, 100 * S, g.event("active", 100 * S)), at_us=100 * S + 20_000)
    assert decisions(queries) == [("active", "page", "new", False)]


def test_a_late_alarm_that_still_stands_pages_and_says_how_long_it_has_stood(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    waiting = alarm_batch(g, 101 * S, active)
    bench.send(g.ask_message(HOUR, (active,)), at_us=HOUR)
    bench.send(waiting, at_us=HOUR + S)
    (alarm,) = queries.alarms()
    assert (alarm.decision, alarm.decision_reason, alarm.is_late, alarm.stood_s) == ("page", "late", True, 3500.0)
    assert alarm.decided_us == START_US + HOUR  # the statement came first, and was enough


def test_a_late_alarm_whose_source_went_silent_since_pages(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(g.catalogue_message(), g.data(101 * S), g.ask_message(HOUR, (active,)), at_us=HOUR)
    bench.send(alarm_batch(g, 101 * S, active), at_us=HOUR)
    at(bench, HOUR + 60 * S)
    assert decisions(queries) == [("source_silent", "page", "late", True)]


@pytest.mark.parametrize("is_one_group", [True, False])
def test_a_late_alarm_that_is_over_asks_for_review_and_pages_nobody(
    bench: Bench, queries: SqliteQueries, is_one_group: bool
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    messages = [
        g.ask_message(HOUR),  # comes first on every connect: nothing stands
        alarm_batch(g, 101 * S, active),
        alarm_batch(g, 201 * S, g.event("cleared", 200 * S, raised_by=active.id)),
    ]
    for group in [messages] if is_one_group else [[message] for message in messages]:
        bench.send(*group, at_us=HOUR)
    (alarm,) = queries.reviews()
    assert (alarm.measurement, alarm.decision, alarm.is_late) == ("cleared", "review", True)
    assert bench.rows("SELECT count(*) FROM decision WHERE decision='page'") == [(0,)]
    assert queries.alarm_counts().to_review == 1


def test_without_a_word_that_it_is_over_it_pages(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(alarm_batch(g, 101 * S, g.event("active", 100 * S)), at_us=HOUR)  # no ask has come
    assert decisions(queries)[0][1:3] == ("page", "late")


def test_a_gateway_that_says_that_it_stands_after_all_pages(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(g.ask_message(HOUR), alarm_batch(g, 101 * S, active), at_us=HOUR)
    assert decisions(queries)[0][1:3] == ("review", "unstated")
    again = g.event("latched", HOUR + S, raised_by=active.id)
    bench.send(alarm_batch(g, HOUR + S, again), at_us=HOUR + S)
    assert decisions(queries)[0][1:3] == ("page", "new") or decisions(queries)[0][1:3] == ("page", "late")
    assert queries.alarm_counts().to_review == 0
    assert bench.rows("SELECT decision FROM decision ORDER BY id") == [("review",), ("page",)]


@pytest.mark.parametrize("is_in_batch", [True, False])
def test_an_alarm_put_to_review_because_it_was_not_named_pages_as_soon_as_it_is(
    bench: Bench, queries: SqliteQueries, is_in_batch: bool
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(g.catalogue_message(), g.ask_message(110 * S), at_us=110 * S)
    bench.send(alarm_batch(g, 111 * S, active), at_us=111 * S)
    assert decisions(queries)[0][1:3] == ("review", "unstated")
    counts = queries.alarm_counts()
    assert (list(counts.standing), counts.to_review) == ([("yellow", 1)], 0)  # it stands; nothing is counted twice
    again = g.seal(170 * S, statement=Statement(mono_us=170 * S, events=(active,)))
    bench.send(again if is_in_batch else g.ask_message(170 * S, (active,)), at_us=170 * S)
    assert decisions(queries)[0][1:] == ("page", "late", True)
    assert queries.alarm_counts().to_review == 0


def test_what_was_over_before_it_came_does_not_say_that_it_stood_until_then(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    cleared = g.event("cleared", 130 * S, raised_by=active.id)
    bench.send(alarm_batch(g, 131 * S, active, cleared), at_us=HOUR)
    (alarm,) = queries.reviews(10)
    assert alarm.stood_s == pytest.approx(30, abs=0.01)


def test_an_alarm_on_trial_pages_nobody_and_a_later_event_without_the_mark_does(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S, marks=("trial",))
    bench.send(alarm_batch(g, 101 * S, active), at_us=101 * S)
    assert decisions(queries)[0][1:3] == ("nothing", "trial")
    bench.send(alarm_batch(g, 111 * S, g.event("latched", 110 * S, raised_by=active.id)), at_us=111 * S)
    assert decisions(queries)[0][1] == "page"


def test_the_mark_late_goes_by_repaired_time(bench: Bench, queries: SqliteQueries) -> None:
    """The clock was unset; the ask of the same boot binds its monotonic time to ours."""
    from contracts.batch import ClockState

    g = Gateway(clock=ClockState.UNSET)
    bench.send(g.ask_message(HOUR), at_us=HOUR, gateway=g)
    bench.send(alarm_batch(g, 101 * S, g.event("active", 100 * S)), at_us=HOUR + S, gateway=g)
    (alarm,) = queries.alarms()
    assert (alarm.is_late, alarm.raised_us) == (True, START_US + 100 * S)


def test_an_alarm_of_a_boot_of_which_nothing_came_by_itself_is_late(bench: Bench, queries: SqliteQueries) -> None:
    g = Gateway(boot_id=b"another-boot-id.", boot_counter=2)
    active = g.event("active", 100 * S, boot_id=b"boot-before-that")
    bench.send(g.ask_message(2 * S, (active,)), at_us=100 * S, gateway=g)
    assert decisions(queries) == [("active", "page", "late", True)]


def test_repetitions_and_rebuild_decide_nothing_again(bench: Bench, queries: SqliteQueries) -> None:
    from collector.rebuild import rebuild

    g = bench.gateway
    message = alarm_batch(g, 101 * S, g.event("active", 100 * S))
    bench.send(message, at_us=101 * S)
    bench.send(message, at_us=HOUR)
    before = bench.rows("SELECT * FROM decision")
    bench.store.close()
    rebuild(bench.data / FILE_NAME, lambda name: g.keys, {})
    bench.store.open()
    assert bench.rows("SELECT * FROM decision") == before
    assert len(before) == 1


def test_a_gateway_lost_during_an_alarm_stays_active_with_a_silent_source(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    bench.send(alarm_batch(g, 100 * S, g.event("active", 100 * S)), at_us=100 * S)  # no catalogue ever came
    assert decisions(queries)[0][0] == "active"
    at(bench, HOUR)
    assert decisions(queries)[0][0] == "source_silent"
    assert len(queries.alarms()) == 1


# ---- the two lists ---------------------------------------------------------------------------


def test_statements_in_data_batches_count_like_those_of_asks(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    one, two = g.event("active", 50 * S), g.event("active", 60 * S)
    bench.send(alarm_batch(g, 61 * S, one, two), at_us=61 * S)
    assert queries.statements() == []
    bench.send(g.data(70 * S, statement=Statement(mono_us=70 * S, events=(two,))), at_us=70 * S)
    (view,) = queries.statements()
    assert (view.stated, view.standing, view.unstated, view.stated_over) == (1, 2, [one.id.hex()], [])
    assert {item.id: item.is_unstated for item in queries.alarms()} == {one.id.hex(): True, two.id.hex(): False}


def test_an_older_statement_that_comes_later_changes_nothing(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    active = g.event("active", 50 * S)
    older = g.data(40 * S, statement=Statement(mono_us=40 * S, events=()))
    bench.send(alarm_batch(g, 51 * S, active), g.ask_message(60 * S, (active,)), at_us=60 * S)
    bench.send(older, at_us=61 * S)
    assert queries.statements()[0].stated == 1
    assert not queries.alarms()[0].is_unstated


def test_an_alarm_that_is_over_here_and_still_stated_is_a_difference(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    active = g.event("active", 50 * S)
    cleared = g.event("cleared", 55 * S, raised_by=active.id)
    bench.send(alarm_batch(g, 56 * S, active, cleared), at_us=56 * S)
    bench.send(g.ask_message(60 * S, (active,)), at_us=60 * S)
    assert queries.statements()[0].stated_over == [active.id.hex()]
    alarm = queries.alarm(active.id.hex())
    assert alarm is not None
    assert (alarm.is_stated_over, alarm.measurement) == (True, "cleared")


def test_what_may_have_been_left_out_for_want_of_room_is_not_called_unstated(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    blue = g.event("active", 50 * S, severity="blue")
    red = g.event("active", 51 * S, severity="red")
    bench.send(alarm_batch(g, 52 * S, blue, red), at_us=HOUR)
    named = tuple(g.event("active", (60 + n) * S, severity="orange") for n in range(WHOLE_BELOW))
    bench.send(g.ask_message(HOUR, named), at_us=HOUR)
    known = {item.id: item.is_unstated for item in queries.alarms()}
    assert (known[blue.id.hex()], known[red.id.hex()]) == (False, True)
    assert not queries.statements()[0].is_surely_whole


# ---- people ----------------------------------------------------------------------------------


class Direct:
    """Runs what the writer's thread would run, at once."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def __call__(self, job: object) -> object:
        from concurrent.futures import Future

        future: Future[object] = Future()
        try:
            future.set_result(self.bench.store.run(job))  # type: ignore[arg-type]
        except Exception as error:
            future.set_exception(error)
        return future


def test_acknowledging_and_taking_back_are_kept_with_who_when_and_where_from(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(alarm_batch(g, 101 * S, active), at_us=101 * S)
    told: list[object] = []
    actions = AlarmActions(Direct(bench), queries, lambda: bench.now_us, told.append)  # type: ignore[arg-type]
    id = active.id.hex()
    actions.acknowledge(id, "Li Wei", "on my way", "page 10.0.0.1")
    bench.now_us += S
    actions.acknowledge(id, "Zhao", "", "api 10.0.0.2")
    bench.now_us += S
    alarm = actions.unacknowledge(id, "Wang", "wrong one", "page 10.0.0.3")
    assert alarm is not None
    assert (alarm.acknowledged_by, alarm.measurement) == (None, "active")
    assert queries.alarm_counts().unacknowledged == 1
    bench.now_us += S
    alarm = actions.acknowledge(id, "Zhao", "", "api 10.0.0.2")
    assert alarm is not None
    assert (alarm.acknowledged_by, alarm.acknowledged_us) == ("Zhao", bench.now_us)
    assert [(said[0], said[1], said[4]) for said in alarm.acknowledgements] == [
        ("acknowledge", "Li Wei", "page 10.0.0.1"),
        ("acknowledge", "Zhao", "api 10.0.0.2"),
        ("unacknowledge", "Wang", "page 10.0.0.3"),
        ("acknowledge", "Zhao", "api 10.0.0.2"),
    ]
    assert len(told) == 4
    assert actions.unacknowledge("00" * 16, "x", "", "") is None


def test_a_review_is_done_when_somebody_acknowledges_and_is_back_when_that_is_taken_back(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(alarm_batch(g, 101 * S, active, g.event("cleared", 100 * S + 1, raised_by=active.id)), at_us=HOUR)
    actions = AlarmActions(Direct(bench), queries, lambda: bench.now_us)  # type: ignore[arg-type]
    assert [item.id for item in queries.reviews()] == [active.id.hex()]
    actions.acknowledge(active.id.hex(), "Li")
    assert queries.reviews() == []
    actions.unacknowledge(active.id.hex(), "Li")
    assert [item.id for item in queries.reviews()] == [active.id.hex()]


def test_in_a_flood_an_acknowledged_alarm_makes_room_for_one_that_nobody_has_seen(
    bench: Bench, queries: SqliteQueries
) -> None:
    g = bench.gateway
    reds = [g.event("active", n * S, severity="red", rule_id=f"rule-{n}") for n in (10, 11, 12)]
    bench.send(alarm_batch(g, 13 * S, *reds, g.event("active", 9 * S)), at_us=13 * S)
    actions = AlarmActions(Direct(bench), queries, lambda: bench.now_us)  # type: ignore[arg-type]

    def shown() -> list[str]:
        return [item.id for item in queries.alarms(limit=2)]

    assert shown() == [reds[2].id.hex(), reds[1].id.hex()]
    actions.acknowledge(reds[2].id.hex(), "Li")
    assert shown() == [reds[1].id.hex(), reds[0].id.hex()]
    actions.acknowledge(reds[1].id.hex(), "Li")
    assert [item.severity for item in queries.alarms(limit=2)] == ["red", "yellow"]
    actions.unacknowledge(reds[2].id.hex(), "Li")
    assert shown() == [reds[2].id.hex(), reds[0].id.hex()]


def test_an_alarm_is_shown_once_and_a_failed_note_is_made_again(bench: Bench, queries: SqliteQueries) -> None:
    from concurrent.futures import Future

    g = bench.gateway
    active = g.event("active", 100 * S)
    bench.send(alarm_batch(g, 101 * S, active), at_us=101 * S)
    run = Direct(bench)
    failing = [True]

    def sometimes(job: object) -> object:
        if failing:
            failing.pop()
            future: Future[object] = Future()
            future.set_exception(OSError("full"))
            return future
        return run(job)

    actions = AlarmActions(sometimes, queries, lambda: bench.now_us)  # type: ignore[arg-type]
    actions.note_shown([active.id.hex()])
    assert queries.alarms()[0].shown_us is None
    actions.note_shown([active.id.hex()])
    shown_us = bench.now_us
    bench.now_us += S
    AlarmActions(run, queries, lambda: bench.now_us).note_shown([active.id.hex()])  # type: ignore[arg-type]
    assert queries.alarms()[0].shown_us == shown_us
