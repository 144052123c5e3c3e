"""A trial alarm that a person at the desk makes a real warning: kept, told at once, never taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.alarm_log import AlarmActions
from collector.database import FILE_NAME
from collector.errors import NotOnTrialError
from collector.rebuild import rebuild
from tests.collector.conftest import Bench
from tests.collector.notify.test_notifier import S, World

TRIAL = ("trial",)


@pytest.fixture
def world(bench: Bench) -> Iterator[World]:
    bench.send(bench.gateway.catalogue_message(), bench.gateway.data(100 * S), at_us=100 * S)
    made = World(bench)
    yield made
    made.db.close()
    made.queries.close()


@pytest.fixture
def actions(world: World) -> AlarmActions:
    return AlarmActions(world.run, world.queries, lambda: world.bench.now_us, world.changed.append)


def test_it_pages_at_once_and_says_whose_word_it_is(world: World, actions: AlarmActions) -> None:
    event = world.raise_alarm(marks=TRIAL)
    assert world.step() == []
    world.bench.now_us += 7 * S
    seen = actions.warn(event.id.hex(), "Li Wei", "smelt on site", "page 127.0.0.1")
    assert seen is not None
    assert (seen.decision, seen.decision_reason, seen.warned_by) == ("page", "desk", "Li Wei")
    assert seen.warned_us == seen.decided_us == world.bench.now_us
    assert not seen.is_late
    assert seen.stood_s is not None
    assert seen.stood_s < 1
    assert seen.acknowledged_by is None
    assert seen.acknowledgements == [("warn", "Li Wei", world.bench.now_us, "smelt on site", "page 127.0.0.1")]
    assert len(world.step()) == 1
    _, body, severity = world.channel.sent[0]
    assert severity == "red"
    assert "made a real warning by Li Wei" in body
    assert "Li Wei 认定为真实预警" in body
    assert world.changed[0].alarms == {event.id.hex()}


def test_anti_flap_does_not_hold_the_word_of_a_person_back(world: World, actions: AlarmActions) -> None:
    for n in range(2):
        event = world.raise_alarm("yellow", marks=TRIAL)
        world.raise_alarm("yellow", state="cleared", raised_by=event.id, marks=TRIAL)
        actions.warn(event.id.hex(), "Li Wei")
        assert len(world.step(S)) == 1, n


def test_it_is_repeated_until_somebody_acknowledges(world: World, actions: AlarmActions) -> None:
    event = world.raise_alarm(marks=TRIAL)
    actions.warn(event.id.hex(), "Li Wei")
    assert len(world.step()) == 1
    assert len(world.step(601 * S)) == 1
    seen = actions.acknowledge(event.id.hex(), "Wang Fang")
    assert seen is not None
    assert seen.acknowledged_by == "Wang Fang"
    assert seen.warned_by == "Li Wei"
    assert world.step(3600 * S) == []


def test_one_that_was_acknowledged_before_stays_so_and_is_told(world: World, actions: AlarmActions) -> None:
    event = world.raise_alarm(marks=TRIAL)
    actions.acknowledge(event.id.hex(), "Wang Fang")
    seen = actions.warn(event.id.hex(), "Li Wei")
    assert seen is not None
    assert seen.acknowledged_by == "Wang Fang"
    assert world.queries.alarm_counts().unacknowledged == 0
    assert len(world.step()) == 1
    assert world.step(3600 * S) == []


@pytest.mark.parametrize("after_us", [5 * S, 3 * 86_400 * S])
def test_one_that_is_over_pages_and_says_so(world: World, actions: AlarmActions, after_us: int) -> None:
    event = world.raise_alarm(marks=TRIAL)
    world.raise_alarm(state="cleared", raised_by=event.id, marks=TRIAL)
    assert world.step() == []
    world.bench.now_us += after_us
    seen = actions.warn(event.id.hex(), "Li Wei")
    assert seen is not None
    assert (seen.measurement, seen.decision) == ("cleared", "page")
    assert len(world.step()) == 1
    assert "cleared" in world.channel.sent[0][1]
    assert world.step(3600 * S) == []


def test_nothing_takes_it_back(world: World, actions: AlarmActions) -> None:
    event = world.raise_alarm(marks=TRIAL)
    actions.warn(event.id.hex(), "Li Wei")
    world.raise_alarm(state="latched", raised_by=event.id, marks=TRIAL)
    with pytest.raises(NotOnTrialError, match="page, because desk"):
        actions.warn(event.id.hex(), "Somebody Else")
    actions.unacknowledge(event.id.hex(), "Somebody Else")
    seen = world.queries.alarm(event.id.hex())
    assert seen is not None
    assert (seen.decision, seen.warned_by) == ("page", "Li Wei")
    assert world.bench.rows("SELECT decision, reason FROM decision ORDER BY id") == [
        ("nothing", "trial"), ("page", "desk"),
    ]  # fmt: skip


def test_only_what_is_held_back_for_trial(world: World, actions: AlarmActions) -> None:
    event = world.raise_alarm()
    with pytest.raises(NotOnTrialError, match="page, because new"):
        actions.warn(event.id.hex(), "Li Wei")
    assert actions.warn("ab" * 16, "Li Wei") is None
    assert world.bench.rows("SELECT count(*) FROM acknowledgement") == [(0,)]


def test_it_survives_rebuild(world: World, actions: AlarmActions, bench: Bench) -> None:
    event = world.raise_alarm(marks=TRIAL)
    actions.warn(event.id.hex(), "Li Wei")
    rebuild(bench.data / FILE_NAME, lambda name: bench.gateway.keys, {})
    seen = world.queries.alarm(event.id.hex())
    assert seen is not None
    assert (seen.decision, seen.warned_by) == ("page", "Li Wei")
