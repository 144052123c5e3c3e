"""The collector's own alarm, that an identity is used twice: decided, told, in the journal, acknowledged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.alarm_log import AlarmActions
from collector.database import FILE_NAME
from collector.notify.plan import Rule
from collector.rebuild import rebuild
from collector.views import AlarmFilter
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.notify.test_notifier import S, World


@pytest.fixture
def world(bench: Bench) -> Iterator[World]:
    bench.send(bench.gateway.catalogue_message(), bench.gateway.data(S), at_us=S)
    made = World(bench)
    yield made
    made.db.close()
    made.queries.close()


def copy_key(world: World, at_us: int = 30 * S) -> None:
    """Another gateway with the same key seals another batch of the first number."""
    clone = Gateway()
    world.bench.send(clone.data(at_us), at_us=at_us)


def test_it_is_decided_in_the_same_transaction_and_told_once(world: World) -> None:
    copy_key(world)
    (alarm,) = world.queries.alarms()
    assert (alarm.rule_id, alarm.decision, alarm.decision_reason) == ("collector/identity", "page", "new")
    assert world.bench.rows("SELECT decision, reason FROM decision") == [("page", "new")]
    world.step(20 * S)
    assert len(world.channel.sent) == 1
    assert "Gateway identity used twice" in world.channel.sent[0][1]
    seen = world.queries.alarm(alarm.id)
    assert seen is not None
    assert [notice[2] for notice in seen.notices] == ["first"]
    copy_key(world, 40 * S)
    assert len(world.queries.alarms()) == 1
    assert world.step(S) == []


def test_it_is_repeated_until_acknowledged(world: World) -> None:
    copy_key(world)
    world.step(20 * S)
    assert len(world.step(700 * S)) == 1
    actions = AlarmActions(world.run, world.queries, lambda: world.bench.now_us)
    actions.acknowledge(world.queries.alarms()[0].id, "Li Wei")
    assert world.step(7000 * S) == []
    assert world.queries.alarm_counts().unacknowledged == 0


def test_a_rule_for_some_points_is_told_by_gateway(world: World) -> None:
    world.start(Rule(name="duty", severities=frozenset({"orange"}), points=("gas/*",)))
    copy_key(world)
    assert len(world.step(20 * S)) == 1
    world.start(Rule(name="duty", severities=frozenset({"orange"}), gateways=("g-other",)))
    assert world.step(7000 * S) == []


@pytest.mark.parametrize(
    ("filter", "is_there"),
    [
        (AlarmFilter(), True),
        (AlarmFilter(state="active"), True),
        (AlarmFilter(state="standing", severity="orange"), True),
        (AlarmFilter(severity="red"), False),
        (AlarmFilter(state="cleared"), False),
        (AlarmFilter(state="source_silent"), False),
        (AlarmFilter(point="well-1/ch4"), False),
        (AlarmFilter(start_us=START_US + 31 * S), False),
        (AlarmFilter(start_us=START_US + 30 * S, end_us=START_US + 31 * S), True),
    ],
)
def test_it_is_in_the_journal(world: World, filter: AlarmFilter, is_there: bool) -> None:
    copy_key(world)
    found = [alarm for alarm in world.queries.journal(filter).alarms if not alarm.point]
    assert len(found) == is_there


def test_the_journal_lays_it_between_the_others(world: World) -> None:
    world.raise_alarm("yellow", point="well-1/ch4")
    copy_key(world, world.bench.now_us - START_US + S)
    world.raise_alarm("yellow", point="well-1/h2s")
    keys, after = [], None
    while True:
        page = world.queries.journal(AlarmFilter(), limit=1, after=after)
        keys += [(alarm.raised_us, alarm.point) for alarm in page.alarms]
        after = page.next
        if after is None:
            break
    assert [point for _, point in keys] == ["well-1/h2s", "", "well-1/ch4"]
    assert keys == sorted(keys, reverse=True)


def test_it_survives_rebuild_and_a_start(world: World, bench: Bench) -> None:
    copy_key(world)
    before = world.queries.alarms()
    rebuild(bench.data / FILE_NAME, lambda name: bench.gateway.keys, {})
    bench.store.close()
    bench.store.open()
    assert world.queries.alarms() == before
    assert bench.rows("SELECT count(*) FROM decision") == [(1,)]
