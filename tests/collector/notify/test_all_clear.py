"""Who was told of an alarm that stood is told once that it is over, in words that promise nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from collector.alarm_log import AlarmActions
from collector.notify.log import Answer
from collector.notify.plan import GATHER_US, GIVE_UP_CLEARED
from tests.collector.conftest import Bench
from tests.collector.notify.test_notifier import RULE, S, World

CLEAR = replace(RULE, all_clear=True)
KINDS = "SELECT n.kind, s.outcome FROM notice n LEFT JOIN notice_answer s ON s.notice_id=n.id ORDER BY n.id"


@pytest.fixture
def world(bench: Bench) -> Iterator[World]:
    bench.send(bench.gateway.catalogue_message(), bench.gateway.data(100 * S), at_us=100 * S)
    made = World(bench)
    made.start(CLEAR)
    yield made
    made.db.close()
    made.queries.close()


def kinds(world: World) -> list[tuple[str, str]]:
    return [(str(kind), str(outcome)) for kind, outcome in world.bench.rows(KINDS)]


def test_a_red_that_was_told_is_told_to_be_over_once(world: World) -> None:
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    (title,) = world.step()
    _, body, severity = world.channel.sent[-1]
    assert title.startswith("前哨：报警已解除")
    assert "Qianshao: alarm cleared" in title
    assert "红" not in title
    assert severity == "info"
    assert "says nothing about safety" in body
    assert "不说明现场安全" in body
    assert "Please check, act" not in body
    assert world.step(7200 * S) == []
    assert kinds(world) == [("first", "sent"), ("cleared", "sent")]
    seen = world.queries.alarm(event.id.hex())
    assert seen is not None
    assert [notice[2] for notice in seen.notices] == ["first", "cleared"]


def test_latched_is_not_over_and_acknowledging_keeps_nothing_back(world: World) -> None:
    event = world.raise_alarm()
    world.step()
    AlarmActions(world.run, world.queries, lambda: world.bench.now_us).acknowledge(event.id.hex(), "Li Wei")
    world.raise_alarm(state="latched", raised_by=event.id)
    assert world.step(S) == []
    world.raise_alarm(state="cleared", raised_by=event.id)
    assert len(world.step(S)) == 1


def test_one_that_was_over_when_it_was_told_is_not_told_of_again(world: World) -> None:
    event = world.raise_alarm()
    world.raise_alarm(state="cleared", raised_by=event.id)
    assert len(world.step()) == 1
    assert world.step(7200 * S) == []
    world.start(CLEAR)
    assert world.step(7200 * S) == []
    assert kinds(world) == [("first", "sent")]


def test_what_was_never_told_is_not_told_to_be_over(world: World) -> None:
    event = world.raise_alarm(marks=("trial",))
    world.raise_alarm(state="cleared", raised_by=event.id, marks=("trial",))
    assert world.step(7200 * S) == []


def test_a_rule_may_turn_it_off(world: World) -> None:
    world.start(RULE)
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    assert world.step(7200 * S) == []


def test_a_flapping_source_is_not_told_to_be_over_while_it_stands_again(world: World) -> None:
    """The second alarm is held back by anti-flap: word that the first is over would read as if nothing stood."""
    first = world.raise_alarm("yellow")
    world.step(GATHER_US)
    world.raise_alarm("yellow", state="cleared", raised_by=first.id)
    assert world.step(GATHER_US) == []
    second = world.raise_alarm("yellow")
    assert world.step(GATHER_US) == []
    assert len(world.step(300 * S)) == 1  # the second; the first waits for it
    world.raise_alarm("yellow", state="cleared", raised_by=second.id)
    world.step(300 * S)
    world.step(300 * S)
    assert kinds(world) == [("first", "sent"), ("first", "sent"), ("cleared", "sent")]
    assert world.bench.rows("SELECT alarms FROM notice ORDER BY id") == [(1,), (1,), (2,)]


def test_many_that_end_share_a_message(world: World) -> None:
    events = [world.raise_alarm(point=f"well-{n}/ch4") for n in range(3)]
    assert len(world.step()) == 3
    for event in events:
        world.raise_alarm(state="cleared", raised_by=event.id, point=event.point)
    world.step(GATHER_US)
    world.step(GATHER_US)
    assert [kind for kind, _ in kinds(world)][3:] == ["cleared"]


def test_one_that_ends_while_it_is_being_told_is_told_to_be_over(world: World) -> None:
    event = world.raise_alarm()

    def end() -> None:
        world.channel.on_send = lambda: None
        world.raise_alarm(state="cleared", raised_by=event.id)

    world.channel.on_send = end
    world.step()
    world.step(GATHER_US)
    assert kinds(world) == [("first", "sent"), ("cleared", "sent")]


def test_what_ended_while_it_was_turned_off_is_not_told_when_it_is_turned_on(world: World) -> None:
    world.start(RULE)
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    world.start(CLEAR)
    assert world.step(7200 * S) == []
    again = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=again.id)
    assert len(world.step(GATHER_US)) == 1


def test_it_is_given_up_after_a_day_also_for_a_red_that_nobody_could_be_told_of_again(world: World) -> None:
    failed = Answer(outcome="failed", detail="answered 500")
    event = world.raise_alarm()
    world.step()
    world.channel.answers = [failed] * 1000
    while len(kinds(world)) < 1 + GIVE_UP_CLEARED + 10:  # repetitions that failed do not count
        world.step(60 * S)
    world.raise_alarm(state="cleared", raised_by=event.id)
    began_us = world.bench.now_us
    while kinds(world)[-1][0] != "given_up":
        world.step(600 * S)
    assert [kind for kind, _ in kinds(world)].count("cleared") == GIVE_UP_CLEARED
    assert 23 * 3600 * S < world.bench.now_us - began_us < 27 * 3600 * S
    assert world.step(86_400 * S) == []


def test_a_failure_is_tried_again(world: World) -> None:
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    world.channel.answers = [Answer(outcome="failed", detail="answered 500")]
    world.step()
    world.step(GATHER_US)
    assert kinds(world)[1:] == [("cleared", "failed"), ("cleared", "sent")]
    assert world.step(7200 * S) == []


def test_what_ended_while_the_collector_was_down_is_told_after_the_start(world: World) -> None:
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    world.start(CLEAR)
    assert len(world.step()) == 1
    world.start(CLEAR)
    assert world.step(7200 * S) == []
    assert kinds(world) == [("first", "sent"), ("cleared", "sent")]


def test_what_was_told_before_this_was_known_is_not_told_to_be_over(world: World) -> None:
    """A database of an older version: its history must not go out at the first start."""
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    world.bench.change("DELETE FROM meta WHERE key LIKE 'notify_clear/%'")
    world.start(CLEAR)
    assert world.step(7200 * S) == []


def test_one_that_stands_again_is_told_again_and_to_be_over_again(world: World) -> None:
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    world.step()
    world.raise_alarm(state="active", raised_by=event.id)
    assert len(world.step(601 * S)) == 1
    world.raise_alarm(state="cleared", raised_by=event.id)
    world.step(S)
    assert [kind for kind, _ in kinds(world)] == ["first", "cleared", "repeat", "cleared"]
