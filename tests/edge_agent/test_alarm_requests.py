"""What persons ask of the judge: done in their name, or refused and then not noted."""

from __future__ import annotations

import pytest

from contracts.batch import AlarmEvent
from edge_agent.alarm_requests import AlarmRequests
from tests.edge_agent.small_plans import limit, point
from tests.edge_agent.test_judge import Clock, S, feed, judge_of, words

POINT = "a/p"


class Sealer:
    """Remembers what is to be sealed."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self.events: list[AlarmEvent] = []

    def note(self, kind: str, text: str) -> None:
        self.notes.append((kind, text))

    def take_events(self, events: tuple[AlarmEvent, ...]) -> None:
        self.events += events


class Bench:
    """A judge of one latching limit, and somebody who may be on a visit."""

    def __init__(self) -> None:
        self.judge = judge_of(point(POINT, limit(latch=True)))
        self.sealer, self.clock, self.visitor = Sealer(), Clock(), ""
        self.requests = AlarmRequests(
            judge=self.judge,
            sealer=self.sealer,  # type: ignore[arg-type]
            refusal=lambda key: self.visitor,
            clock=self.clock,
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_reset_ends_a_latched_alarm_in_a_name(bench: Bench) -> None:
    feed(bench.judge, 101, 101)
    feed(bench.judge, 102, 50)
    bench.clock.now_us = 103 * S
    result = bench.requests.reset(POINT, "test.v1/H1", "Li")
    assert result.refused == ""
    assert bench.sealer.events == list(result.events)
    assert [state for _, state, _ in words(result.events)] == ["cleared"]
    assert bench.sealer.notes == [("alarm-reset", "a/p test.v1/H1 by Li")]


def test_a_reset_that_is_refused_is_not_noted(bench: Bench) -> None:
    assert bench.requests.reset("x/y", "test.v1/H1", "Li").refused
    assert (bench.sealer.notes, bench.sealer.events) == ([], [])


def test_an_inhibit_begins_and_ends_in_a_name(bench: Bench) -> None:
    assert not bench.requests.inhibit(POINT, reason="bump test", by="Li", seconds=60).refused
    assert bench.judge.inhibited() == [POINT]
    bench.clock.now_us = 110 * S
    assert not bench.requests.end_inhibit(POINT, "Wang").refused
    assert bench.judge.inhibited() == []
    assert bench.sealer.notes == [("inhibit", "a/p for 60 s by Li: bump test"), ("inhibit", "a/p ended by Wang")]
    assert bench.requests.end_inhibit(POINT, "Wang").refused
    assert len(bench.sealer.notes) == 2


def test_during_a_visit_nobody_else_begins_or_ends_an_inhibit(bench: Bench) -> None:
    bench.visitor = "Wang is at a/p"
    assert bench.requests.inhibit(POINT, reason="r", by="Li", seconds=60).refused == bench.visitor
    assert bench.requests.end_inhibit(POINT, "Li").refused == bench.visitor
    assert bench.judge.inhibited() == []
    assert bench.sealer.notes == []
