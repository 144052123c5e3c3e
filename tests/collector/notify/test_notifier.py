"""The notifier on a real store with a fake channel: what goes out, what is recorded, and what a restart does."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from collector.alarm_log import AlarmActions
from collector.database import FILE_NAME, open_reader
from collector.errors import StoreError
from collector.notify.log import Answer, NoticeLog
from collector.notify.notifier import Notifier
from collector.notify.plan import GATHER_US, Rule
from collector.queries import SqliteQueries
from collector.views import Change
from contracts.batch import AlarmEvent, Lane
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway

S = 1_000_000
RULE = Rule(
    name="duty",
    severities=frozenset({"red", "orange", "yellow"}),
    lang="both",
    repeat_s=600,
    quiet_s=300,
    all_clear=False,
)


class FakeChannel:
    """Takes what it is given, or answers what it is told to; the last word counts on."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.answers: list[Answer] = []
        self.on_send: Callable[[], None] = lambda: None

    def send(self, title: str, body: str, severity: str) -> Answer:
        self.sent.append((title, body, severity))
        self.on_send()
        return self.answers.pop(0) if self.answers else Answer(outcome="sent")


class Killed(BaseException):
    """The collector's process is gone."""


class World:
    """One bench, one channel, and a notifier that can be started again."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.channel = FakeChannel()
        self.queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
        self.changed: list[Change] = []
        self.db = open_reader(bench.data / FILE_NAME)
        self.is_disk_full = False
        self.start()

    def run(self, job: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            if self.is_disk_full:
                raise StoreError("disk full")
            future.set_result(self.bench.store.run(job))
        except StoreError as error:
            future.set_exception(error)
        return future

    def start(self, rule: Rule = RULE) -> None:
        log = NoticeLog(self.run)
        log.open(self.db)
        self.notifier = Notifier(
            "duty/1", rule, self.channel, path=self.bench.data / FILE_NAME, notices=log, queries=self.queries,
            now_us=lambda: self.bench.now_us, on_change=self.changed.append, names=lambda gateway: ("Test", "测试"),
        )  # fmt: skip
        self.notifier.open(self.db)

    def step(self, after_us: int = 0) -> list[str]:
        """Lets time pass, looks, and returns the titles that went out."""
        self.bench.now_us += after_us
        before = len(self.channel.sent)
        while not self.notifier.step(self.db):
            pass
        return [title for title, _, _ in self.channel.sent[before:]]

    def raise_alarm(self, severity: str = "red", state: str = "active", **more: Any) -> AlarmEvent:
        """Sends an event that was judged just now."""
        self.bench.now_us += 1000  # an event's id follows from its time
        g, at_us = self.bench.gateway, self.bench.now_us - START_US
        event = replace(g.event(state, at_us, more.pop("raised_by", None)), severity=severity, **more)
        self.bench.send(self.seal(g, at_us, event), at_us=at_us)
        return event

    @staticmethod
    def seal(g: Gateway, at_us: int, *events: AlarmEvent) -> tuple[str, bytes]:
        return g.seal(at_us, lane=Lane.ALARM, events=events)

    def kept(self) -> list[tuple[Any, ...]]:
        return self.bench.rows(
            "SELECT n.kind, n.alarms, n.is_possible_repeat, s.outcome, s.detail FROM notice n"
            " LEFT JOIN notice_answer s ON s.notice_id=n.id ORDER BY n.id"
        )


@pytest.fixture
def world(bench: Bench) -> Iterator[World]:
    bench.send(bench.gateway.catalogue_message(), bench.gateway.data(100 * S), at_us=100 * S)
    made = World(bench)
    yield made
    made.db.close()
    made.queries.close()


def test_a_red_is_told_recorded_and_stands_on_the_time_line(world: World) -> None:
    event = world.raise_alarm()
    assert len(world.step()) == 1
    title, body, severity = world.channel.sent[0]
    assert severity == "red"
    assert title.startswith("【红色】前哨：可能的险情，")
    assert "possible hazard" in title
    assert "Supplementary monitoring aid" in body
    assert "辅助监测" in body
    for never in ("safe", "安全"):
        assert never not in (title + body).lower()
    assert world.kept() == [("first", 1, 0, "sent", "")]
    alarm = world.queries.alarm(event.id.hex())
    assert alarm is not None
    assert [(target, kind, outcome) for _, target, kind, _, _, outcome, _ in alarm.notices] == [
        ("duty/1", "first", "sent")
    ]
    assert world.changed[-1].alarms == {event.id.hex()}
    assert world.step() == []


def test_it_is_told_again_until_somebody_acknowledges_and_anew_when_that_is_taken_back(world: World) -> None:
    event = world.raise_alarm()
    actions = AlarmActions(world.run, world.queries, lambda: world.bench.now_us)
    assert len(world.step()) == 1
    assert world.step(599 * S) == []
    assert len(world.step(S)) == 1
    assert "尚无人确认" in world.channel.sent[-1][1]
    actions.acknowledge(event.id.hex(), "Li")
    assert world.step(7200 * S) == []
    actions.unacknowledge(event.id.hex(), "Li")
    assert len(world.step()) == 1
    assert [kind for kind, *_ in world.kept()] == ["first", "repeat", "repeat"]


def test_it_stops_when_it_is_over(world: World) -> None:
    event = world.raise_alarm()
    world.step()
    world.raise_alarm(state="cleared", raised_by=event.id)
    assert world.step(7200 * S) == []


def test_trial_and_review_page_nobody(world: World) -> None:
    world.raise_alarm(marks=("trial",))
    g, at_us = world.bench.gateway, world.bench.now_us - START_US
    old = g.event("active", at_us - S)
    over = replace(g.event("cleared", at_us, old.id), severity="red")
    world.bench.send(world.seal(g, at_us, replace(old, severity="red"), over), at_us=at_us)
    assert world.bench.rows("SELECT decision FROM decision ORDER BY id") == [("nothing",), ("review",)]
    assert world.step() == []
    assert world.kept() == []


def test_a_failure_is_recorded_and_tried_again(world: World) -> None:
    world.channel.answers = [Answer(outcome="failed", detail="answered 500")]
    world.raise_alarm()
    assert len(world.step()) == 1
    assert world.step(4 * S) == []
    assert len(world.step(S)) == 1
    assert world.kept() == [("first", 1, 0, "failed", "answered 500"), ("first", 1, 0, "sent", "")]


def test_a_flood_of_others_is_few_messages_and_each_red_has_its_own(world: World) -> None:
    g, at_us = world.bench.gateway, world.bench.now_us - START_US
    events = [
        replace(g.event("active", at_us - n), severity="red" if n % 10 == 0 else "yellow", rule_id=f"r/{n}")
        for n in range(50)
    ]
    world.bench.send(world.seal(g, at_us, *events), at_us=at_us)
    world.step()
    assert sorted(alarms for _, alarms, *_ in world.kept()) == [1, 1, 1, 1, 1, 45]
    assert "另有25项报警" in world.channel.sent[-1][1]
    world.raise_alarm("yellow", rule_id="r/late")
    world.raise_alarm("red", rule_id="r/grave")
    assert len(world.step(S)) == 1  # the red one
    assert len(world.step(GATHER_US)) == 1


def test_a_value_that_flaps_is_told_once_and_then_in_one_message(world: World) -> None:
    told = 0
    for _ in range(10):
        event = world.raise_alarm("orange", rule_id="gas/l1")
        told += len(world.step(2 * S))
        world.raise_alarm("orange", "cleared", rule_id="gas/l1", raised_by=event.id)
        told += len(world.step(2 * S))
    assert told == 1
    assert len(world.step(300 * S)) == 1
    assert [alarms for _, alarms, *_ in world.kept()] == [1, 9]


def test_a_kill_between_send_and_record_tells_it_again_as_a_possible_repeat(world: World) -> None:
    def die() -> None:
        raise Killed

    world.raise_alarm()
    world.channel.on_send = die
    with pytest.raises(Killed):
        world.step()
    assert world.kept() == [("first", 1, 0, None, None)]
    world.channel.on_send = lambda: None
    world.start()
    assert len(world.step()) == 1
    assert "可能重复" in world.channel.sent[-1][1]
    assert "Possible repeat" in world.channel.sent[-1][1]
    assert world.kept() == [("first", 1, 0, None, None), ("first", 1, 1, "sent", "")]


def test_a_restart_tells_nothing_twice_and_forgets_nothing(world: World) -> None:
    told, over = world.raise_alarm(rule_id="a"), world.raise_alarm(rule_id="b")
    world.step()
    late = world.raise_alarm(rule_id="c")
    world.raise_alarm(state="cleared", rule_id="c", raised_by=late.id)  # told to nobody before it was over
    world.raise_alarm(state="cleared", rule_id="b", raised_by=over.id)
    world.start()
    world.step()
    assert [(kind, alarms) for kind, alarms, *_ in world.kept()] == [("first", 1), ("first", 1), ("first", 1)]
    assert late.id.hex()[:12] in world.channel.sent[-1][1]
    assert told.id.hex()[:12] in world.channel.sent[0][1]
    world.start()
    assert world.step() == []


def test_a_rule_that_is_new_tells_what_stands_and_not_what_is_past(world: World) -> None:
    old = world.raise_alarm(rule_id="a")
    world.raise_alarm(state="cleared", rule_id="a", raised_by=old.id)
    standing = world.raise_alarm(rule_id="b")
    world.bench.change("DELETE FROM meta WHERE key LIKE 'notify_read/%'")
    world.start()
    assert len(world.step()) == 1
    assert standing.id.hex()[:12] in world.channel.sent[0][1]


def test_a_disk_that_takes_nothing_stops_no_message(world: World) -> None:
    world.raise_alarm()
    world.is_disk_full = True
    assert len(world.step()) == 1
    assert world.step() == []
    assert world.kept() == []


def test_an_alarm_without_words_is_told_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.queries, "alarms_by_id", lambda ids: [])
    world.raise_alarm()
    world.step()
    assert "well-0/ch4" in world.channel.sent[0][1]
    assert world.kept() == [("first", 1, 0, "sent", "")]


def test_the_thread_is_woken_sends_a_test_and_ends(world: World) -> None:
    came = threading.Event()
    world.channel.on_send = came.set
    world.notifier.start()
    try:
        number = world.notifier.test("page 127.0.0.1").result(timeout=20)
        assert world.channel.sent[0][0].startswith("前哨：测试通知")
        assert world.kept() == [("test", 0, 0, "sent", "")]
        assert number == 1
        came.clear()
        world.raise_alarm()
        world.notifier.wake()
        assert came.wait(20)
    finally:
        world.notifier.stop()
        world.notifier.stop()
