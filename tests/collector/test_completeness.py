"""Completeness over real stores: what became of every tick, told from the signed batches alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.retention import prune
from collector.views import CompletenessView
from contracts.batch import NO_HEAD, ClockState, Lane, LossRecord, Origin, Parent
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.test_verify import remake
from tests.collector.virtual_day import FAST, KEYS, SLOW, Day, Fate

S = 1_000_000
HOUR = 3600 * S
KEY = "well-0/ch4"
#: what a batch that is not here can be
NOT_HERE = ("thinned", "lost", "not_arrived", "quarantined", "never_sent")
#: causes of a tick for which nothing ran
DOWN = ("agent_stopped", "power", "configuration_change")
#: chances of a batch: here, dropped, thinned, held back, refused
ONE_FAULT = {"none": (1, 0, 0, 0, 0), "dropped": (95, 2, 0, 0, 0), "thinned": (95, 0, 2, 0, 0),
             "held back": (95, 0, 0, 2, 0), "refused": (95, 0, 0, 0, 2)}  # fmt: skip


def ask(bench: Bench, start_us: int = 0, end_us: int = 40 * HOUR, **more: object) -> list[CompletenessView]:
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    try:
        found = queries.completeness(START_US + start_us, START_US + end_us, **more)  # type: ignore[arg-type]
    finally:
        queries.close()
    for view in found:
        assert view.expected == sum(count for *_, count in view.counts)
    return found


def told(bench: Bench, key: str = KEY, **more: int) -> dict[Fate, int]:
    found: Counter[Fate] = Counter()
    for view in ask(bench, **more):
        if view.point == key and not view.boot:
            found.update({(outcome, cause): count for outcome, cause, _, count in view.counts})
    return dict(found)


def live_a_day(seed: int, weights: tuple[float, ...], slow: float = 0.01) -> Day:
    rng = random.Random(seed)
    day = Day(rng, weights=weights, slow=slow)
    is_same_epoch = False
    while day.now_us < 24 * HOUR:
        if not is_same_epoch:
            day.start()
        why = rng.choice(["agent_stopped", "killed", "power", "configuration_change"])
        day.run(rng.randint(600, 14_000), ("missing", why))
        is_same_epoch = day.runs[-1].after[1] == "configuration_change"
        if is_same_epoch:
            day.reload(rng.choice([seconds for seconds in (5, 10, 20) if seconds * S != day.interval_us]))
        else:
            day.now_us += rng.randint(5, 5000) * S
    if not is_same_epoch:
        day.start()
    # Of what follows the last batch that is here nobody could tell the truth.
    day.run(1200, ("missing", "agent_stopped"))
    return day


def deliver(bench: Bench, day: Day) -> None:
    bench.send(*day.messages, at_us=day.now_us)
    bench.now_us = START_US + day.now_us


@pytest.mark.parametrize("fault", ONE_FAULT)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.ci) for seed in (2, *range(10, 18)))])
def test_a_day_of_random_faults_is_told_tick_by_tick(bench: Bench, fault: str, seed: int) -> None:
    # A late sample whose neighbour was thinned away cannot be told from one in time.
    day = live_a_day(seed, ONE_FAULT[fault], slow=0.0 if fault == "thinned" else 0.01)
    deliver(bench, day)
    for block in (FAST, SLOW):
        for key in KEYS[block]:
            assert told(bench, key) == day.told(block)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.ci) for seed in range(1, 4))])
def test_a_day_of_every_fault_at_once_adds_up_to_the_grid(bench: Bench, seed: int) -> None:
    day = live_a_day(seed, (95, 2, 2, 2, 1))
    deliver(bench, day)
    for block in (FAST, SLOW):
        found, truth = Counter(told(bench, KEYS[block][0])), day.told(block)
        assert found.total() == truth.total()
        # What a sample says is exact.  Where two holes meet, which of them a tick lay in is known to about a batch.
        for fate in truth | found:
            if fate[0] in NOT_HERE or fate[1] in DOWN:
                assert abs(found[fate] - truth[fate]) <= 0.1 * truth[fate] + 12
            else:
                assert found[fate] == truth[fate]


def test_what_arrives_late_is_counted_then_and_hours_add_up_to_days(bench: Bench) -> None:
    day = live_a_day(5, ONE_FAULT["held back"])
    deliver(bench, day)
    assert ("not_arrived", "named") in told(bench)
    bench.send(*day.held_back, at_us=day.now_us)
    assert not [fate for fate in told(bench) if fate == ("not_arrived", "named")]
    hours, days = ask(bench), ask(bench, by_day=True)
    assert len(days) == 4 * 2
    assert sum(view.expected for view in hours) == sum(view.expected for view in days)
    # Cut anywhere, the parts are the whole.
    parts = Counter(told(bench, end_us=7 * HOUR + 123_456_789)) + Counter(told(bench, start_us=7 * HOUR + 123_456_789))
    assert parts == told(bench)
    only = ask(bench, key="well-3/ch4")
    assert only == [view for view in hours if view.point == "well-3/ch4"]
    remake(bench)
    assert ask(bench) == hours


def test_what_a_damaged_store_gave_back_is_good_and_counts_once(bench: Bench) -> None:
    g = bench.gateway
    first, gone = minutes(g, 100, 150), minutes(g, 150, 200)
    second = Gateway(epoch=b"epoch--2", parent=Parent(epoch=g.epoch, alarm=NO_HEAD, data=g.heads[Lane.DATA]))
    bench.send(g.catalogue_message(), *first, *minutes(second, 200, 300), at_us=300 * S)
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 150, ("not_arrived", "named"): 50}
    salvage = Gateway(epoch=b"salvage-", parent=g.parent)
    for place, message in enumerate(gone):
        record = LossRecord(
            epoch=g.epoch, lane=Lane.DATA, first=6 + place, last=6 + place, digest=g.digest(message), readings=40,
            cause="damaged", thinned_into=(salvage.epoch, place + 1),
        )  # fmt: skip
        (again,) = minutes(salvage, 150 + 10 * place, 160 + 10 * place, origin=Origin.RECOVERED, losses=(record,))
        bench.send(again, at_us=400 * S)
    bench.change(
        "UPDATE epoch SET reason='salvage' WHERE epoch_no=(SELECT no FROM epoch_name WHERE epoch=?)", b"salvage-"
    )
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 200}
    bench.send(*gone, at_us=401 * S)
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 200}


# ---- one thing at a time ----------------------------------------------------------------------


def minutes(g: Gateway, begin_s: int, end_s: int, **more: object) -> list[tuple[str, bytes]]:
    """Seals a sample each second from ``begin_s`` to before ``end_s``, ten seconds in a batch."""
    return [g.data((at + 9) * S, ticks=10, **more) for at in range(begin_s, end_s, 10)]


def test_nothing_is_expected_of_a_gateway_that_never_sent(bench: Bench) -> None:
    assert ask(bench) == []
    bench.send(bench.gateway.catalogue_message())
    assert ask(bench) == []


def test_what_waits_for_its_catalogue_has_not_arrived(bench: Bench) -> None:
    g = bench.gateway
    first, second = minutes(g, 100, 120), minutes(g, 120, 140)
    bench.send(g.catalogue_message(), *first, at_us=140 * S)
    g.catalogue = replace(g.catalogue, en="another")
    late = minutes(g, 140, 160)
    bench.send(*late, *second, at_us=160 * S)
    bench.now_us = START_US + 160 * S
    assert told(bench) == {("good", ""): 40, ("not_arrived", "catalogue"): 20}
    bench.send(g.catalogue_message(), at_us=161 * S)
    bench.now_us = START_US + 160 * S
    assert told(bench) == {("good", ""): 60}


def test_what_retention_dropped_was_here(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *minutes(g, 100, 400), at_us=400 * S)
    bench.now_us = START_US + 400 * S
    assert told(bench) == {("good", ""): 300}
    bench.store.run(lambda db: db.execute("UPDATE evidence SET arrived_us=wall_us"))
    assert bench.store.run(lambda db: prune(db, bench.signer, START_US + 205 * S, bench.now_us)) == 10
    assert told(bench) == {("pruned", "retention"): 100, ("good", ""): 200}


def test_bytes_that_changed_here_are_our_loss(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *minutes(g, 100, 200), at_us=200 * S)
    bench.now_us = START_US + 200 * S
    bench.change("UPDATE evidence SET envelope=zeroblob(9) WHERE seq=5")
    assert told(bench) == {("good", ""): 90, ("lost", "damaged_here"): 10}
    assert {by for view in ask(bench) for outcome, _, by, _ in view.counts if outcome == "lost"} == {"collector"}


def test_a_tick_that_no_batch_has_was_never_sent(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *minutes(g, 100, 200), at_us=200 * S)
    # Half a minute is in no batch, and no number is missing.
    bench.send(*minutes(g, 230, 300), at_us=300 * S)
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 170, ("never_sent", "not_sealed"): 30}


def test_a_copy_in_another_epoch_and_a_repetition_count_once(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *minutes(g, 100, 200), at_us=200 * S)
    again = Gateway(epoch=b"epoch--2", parent=Parent(epoch=g.epoch, alarm=NO_HEAD, data=g.heads[Lane.DATA]))
    bench.send(*minutes(again, 190, 300), at_us=300 * S)
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 200}


def test_a_volatile_epoch_fills_the_hole_that_the_old_one_leaves(bench: Bench) -> None:
    g = bench.gateway
    first = minutes(g, 100, 200)
    volatile = Gateway(epoch=b"volatile", parent=Parent(epoch=g.epoch, alarm=NO_HEAD, data=g.heads[Lane.DATA]))
    between = minutes(volatile, 200, 260)
    bench.send(g.catalogue_message(), *first, *minutes(g, 260, 300), at_us=300 * S)
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 140, ("never_sent", "not_sealed"): 60}
    bench.send(*between, at_us=301 * S)
    bench.now_us = START_US + 300 * S
    assert told(bench) == {("good", ""): 200}


def test_an_epoch_that_is_lost_whole_is_not_told_as_a_stop(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *minutes(g, 100, 200), at_us=200 * S)
    gone = Gateway(epoch=b"epoch--2", parent=Parent(epoch=g.epoch, alarm=NO_HEAD, data=g.heads[Lane.DATA]))
    lost = minutes(gone, 220, 300)
    head = gone.heads[Lane.DATA]
    third = Gateway(epoch=b"epoch--3", parent=Parent(epoch=gone.epoch, alarm=NO_HEAD, data=head))
    record = LossRecord(
        epoch=gone.epoch, lane=Lane.DATA, first=1, last=8, digest=head.digest, readings=320, cause="quota"
    )  # fmt: skip
    after = minutes(third, 300, 400)
    bench.send(*after, at_us=400 * S)
    bench.now_us = START_US + 400 * S
    found = told(bench)
    assert found[("not_arrived", "named")] + found[("missing", "agent_stopped")] == 100
    assert 75 <= found[("not_arrived", "named")] <= 85
    bench.send(third.data(409 * S, ticks=10, losses=(record,)), at_us=410 * S)
    bench.now_us = START_US + 400 * S
    found = told(bench, end_us=400 * S)
    assert found[("lost", "quota")] + found[("missing", "agent_stopped")] == 100
    assert 75 <= found[("lost", "quota")] <= 85
    assert lost


def test_a_boot_without_a_clock_has_its_own_heading_until_the_clock_is_known(bench: Bench) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), *minutes(g, 100, 200), at_us=200 * S)
    # Offline, its clock unset, and the next boot has brought its data much later.
    dark = Gateway(
        boot_id=b"boot-without-clo", boot_counter=2, epoch=b"epoch--2", clock=ClockState.UNSET,
        parent=Parent(epoch=g.epoch, alarm=NO_HEAD, data=g.heads[Lane.DATA]),
    )  # fmt: skip
    unset = minutes(dark, 50, 150)
    third = Gateway(
        boot_id=b"boot-with-a-cloc", boot_counter=3, epoch=b"epoch--3", offset_us=START_US + 8000 * S,
        parent=Parent(epoch=dark.epoch, alarm=NO_HEAD, data=dark.heads[Lane.DATA]),
    )  # fmt: skip
    bench.send(*minutes(third, 100, 200), *unset, at_us=8200 * S)
    bench.now_us = START_US + 8200 * S
    assert told(bench) == {("good", ""): 200, ("unplaced", "clock_not_known"): 7900}
    (own,) = [view for view in ask(bench, key=KEY) if view.boot]
    assert (own.boot, own.begin_us, own.counts) == (dark.boot_id.hex(), None, [("good", "", "", 100)])
    assert not [view for view in ask(bench, start_us=8201 * S) if view.boot]
    # The clock of that boot is learnt: it was at work from 1050 s on.
    bench.store.run(
        lambda db: db.execute(
            "UPDATE boot SET offset_us=?, trust=3 WHERE boot_id=?", (START_US + 1000 * S, dark.boot_id)
        )
    )
    found = told(bench)
    assert found == {("good", ""): 300, ("missing", "power"): 850 + 6950}
    assert [view for view in ask(bench) if view.boot] == []


@pytest.mark.parametrize("wrong_s", [-400 * 86_400, -30, 30, 400 * 86_400])
def test_a_wrong_clock_moves_readings_and_loses_none(bench: Bench, wrong_s: int) -> None:
    g = Gateway(offset_us=START_US + wrong_s * S)
    bench.send(g.catalogue_message(), g.ask_message(90 * S), *minutes(g, 100, 200), at_us=200 * S)
    bench.now_us = START_US + 200 * S
    views = ask(bench, start_us=-500 * 86_400 * S, end_us=500 * 86_400 * S, key=KEY)
    assert sum(count for view in views for outcome, *_, count in view.counts if outcome == "good") == 100
    assert not [view for view in views for outcome, *_ in view.counts if outcome in ("missing", "never_sent")]


def test_every_outcome_says_whose_cause_it_is(make_bench: Callable[[], Bench]) -> None:
    bench = make_bench()
    deliver(bench, live_a_day(3, (90, 3, 3, 3, 3)))
    by: dict[str, set[str]] = {}
    for view in ask(bench):
        for outcome, cause, whose, _ in view.counts:
            by.setdefault(outcome if outcome not in ("bad", "missing", "uncertain") else cause, set()).add(whose)
    assert by["good"] == {""}
    assert by["no_reply"] == by["fault"] == {"device"}
    assert by["bad_frame"] == by["missed_tick"] == by["late"] == {"bus"}
    assert by["agent_stopped"] == by["power"] == by["lost"] == by["thinned"] == by["quarantined"] == {"gateway"}
    assert by["calibration_overdue"] == {"person"}
    assert by["not_arrived"] == {"link"}


def test_the_gateways_sums_do_not_depend_on_the_order_of_arrival(make_bench: Callable[[], Bench]) -> None:
    day = live_a_day(7, (90, 3, 3, 3, 3))
    messages = [*day.messages, *day.held_back]
    dumps = []
    for order in range(2):
        bench = make_bench()
        if order:
            random.Random(1).shuffle(messages)
        for place in range(0, len(messages), 200):
            bench.send(*messages[place : place + 200], at_us=day.now_us)
        bench.now_us = START_US + day.now_us
        dumps.append(ask(bench))
    assert dumps[0] == dumps[1]
