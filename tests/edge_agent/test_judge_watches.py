"""The judge with rules on many samples and on two points: events, marks, restarts, reload."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.batch import AlarmEvent
from contracts.quality import NO_REPLY
from edge_agent.judge import Judge
from edge_agent.plan import PointPlan
from rules import Direction, LimitRule, Mark, PairRule, PointRules, Severity, WatchKind, WatchRule
from tests.edge_agent.small_plans import CONFIRMED, block, limit, point
from tests.edge_agent.test_judge import S, feed, judge_of, words


def head(name: str, value: float, unit: str, **changes: Any) -> LimitRule:
    fields: dict[str, Any] = {"direction": Direction.HIGH, "severity": Severity.ORANGE, "scheme": "test"}
    names = {"id": f"test.v1/{name}", "en": f"rule {name}", "zh": f"规则 {name}"}
    return LimitRule(**names, value=value, unit=unit, basis="test", mark=Mark.DEFAULT, **(fields | changes))


RISE = WatchRule(kind=WatchKind.RATE, limit=head("rise", 0.6, "kPa"), unit="kPa", window_s=60.0)
FAULT = WatchRule(kind=WatchKind.FAULT, limit=head("fault", 10.0, "s"), unit="kPa")
PAIR = PairRule(limit=head("both", 2.0, "1"), own="test.v1/H1", point="b/p", other="test.v1/H1", within_s=30.0)


def with_rules(plan: PointPlan, **changes: Any) -> PointPlan:
    return replace(plan, rules=replace(plan.rules, **changes))


def watched() -> PointPlan:
    return with_rules(point("a/p", limit()), watches=(RISE, FAULT))


def rise(judge: Judge, begin_s: int = 101, count: int = 14) -> list[AlarmEvent]:
    return [event for n in range(count) for event in feed(judge, begin_s + 5 * n, n + 10)]


def test_a_rise_is_an_event_that_explains_itself() -> None:
    judge = judge_of(watched())
    (event,) = rise(judge)
    assert (event.rule_en, event.rule_zh, event.cause, event.limit) == ("rule rise", "规则 rise", "rate", None)
    assert event.rule_hash == RISE.rule_hash
    assert event.marks == ("rate=1.2/min", "rate_limit=0.6/min")
    assert AlarmEvent.from_wire(event.to_wire()) == event


def test_a_restart_raises_it_no_second_time() -> None:
    judge = judge_of(watched())
    (event,) = rise(judge)
    kept = judge.state_bytes()
    assert kept is not None
    again = judge_of(watched(), at=200 * S, begin=False)
    again.restore(kept, same_boot=True)
    assert not rise(again, begin_s=201)
    assert again.statement(400 * S).events == (event,)


def test_what_a_watch_remembers_is_nothing_to_be_kept() -> None:
    judge = judge_of(watched())
    for n in range(20):
        assert not feed(judge, 101 + 5 * n, 10)
    assert judge.state_bytes() is None


def test_missing_readings_raise_a_fault_and_the_next_good_one_ends_it() -> None:
    judge = judge_of(watched(), point("c/p", limit()))
    events = []
    for n in range(4):
        events += feed(judge, 101 + 5 * n, None, 50, codes=[NO_REPLY, 0])
    events += feed(judge, 130, 50, 50)
    assert words(events) == [("fault", "active", "fault"), ("fault", "cleared", "returned")]


def two() -> tuple[PointPlan, PointPlan]:
    return with_rules(point("a/p", limit()), pairs=(PAIR,)), point("b/p", limit())


class TestPairs:
    def test_the_second_point_confirms_in_the_same_row(self) -> None:
        judge = judge_of(*two())
        assert words(feed(judge, 101, 101, 50)) == [("H1", "active", "limit")]
        second = feed(judge, 105, 101, 101)
        assert words(second) == [("H1", "active", "limit"), ("both", "active", "confirmed")]
        both = second[1]
        assert (both.point, both.marks, both.limit, both.rule_zh) == ("a/p", ("with=b/p",), None, "规则 both")

    def test_one_that_is_over_confirms_within_the_window_and_the_pair_ends_with_the_last(self) -> None:
        judge = judge_of(*two())
        feed(judge, 101, 50, 101)
        feed(judge, 105, 50, 50)
        assert words(feed(judge, 120, 101, 50)) == [("H1", "active", "limit"), ("both", "active", "confirmed")]
        assert words(feed(judge, 125, 50, 50)) == [("H1", "cleared", "returned"), ("both", "cleared", "returned")]

    def test_the_window_ends_by_itself(self) -> None:
        judge = judge_of(*two())
        feed(judge, 101, 101, 101)
        feed(judge, 105, 101, 50)
        assert not judge.check_silence(134 * S)
        assert words(judge.check_silence(136 * S)) == [("both", "cleared", "returned")]

    def test_a_restart_keeps_the_pair_and_reload_removes_it(self) -> None:
        judge = judge_of(*two())
        events = feed(judge, 101, 101, 101)
        kept = judge.state_bytes()
        assert kept is not None
        again = judge_of(*two(), at=110 * S, begin=False)
        again.restore(kept, same_boot=True)
        assert not feed(again, 111, 101, 101)
        assert len(again.statement(112 * S).events) == len(events) == 3
        made = again.replace_plan([point("a/p", limit()), point("b/p", limit())], [block(offsets=(0, 1))])
        assert words(made) == [("both", "cleared", "removed")]

    def test_while_somebody_works_on_the_point_nothing_changes(self) -> None:
        judge = judge_of(*two())
        feed(judge, 101, 101, 50)
        judge.inhibit("a/p", reason="test", by="Li", now_us=102 * S, until_us=200 * S)
        assert words(feed(judge, 105, 101, 101)) == [("H1", "active", "limit")]
        assert not judge.check_silence(110 * S)
        assert judge.end_inhibit("a/p", 120 * S).refused == ""
        assert words(judge.check_silence(121 * S)) == [("both", "active", "confirmed")]


class TestTrial:
    def test_an_unconfirmed_limit_marks_every_event_and_changes_nothing_else(self) -> None:
        plain = point("a/p", limit(latch=True))
        on_trial = with_rules(plain, confirmed=None)
        assert plain.rules.confirmed == CONFIRMED
        told = []
        for plan in (plain, on_trial):
            judge = judge_of(plan)
            told.append(
                [*feed(judge, 101, 101), *feed(judge, 105, 10), *judge.reset("a/p", "test.v1/H1", "Li", 106 * S).events]
            )
        confirmed, trial = told
        assert [replace(event, marks=event.marks[:-1]) for event in trial] == confirmed
        assert all(event.marks[-1] == "trial" for event in trial)

    def test_an_alarm_whose_point_is_gone_keeps_the_mark(self) -> None:
        judge = judge_of(with_rules(point("a/p", limit()), confirmed=None))
        feed(judge, 101, 101)
        kept = judge.state_bytes()
        assert kept is not None
        again = judge_of(point("b/p", limit()), at=110 * S, begin=False)
        again.restore(kept, same_boot=True)
        (event,) = again.check_silence(111 * S)
        assert (event.cause, event.marks) == ("removed", ("trial",))

    def test_silence_and_faults_are_never_on_trial(self) -> None:
        rules = PointRules(limits=(limit(),), watches=(RISE, FAULT))
        assert [rules.is_on_trial(watch.id) for watch in rules.watches] == [True, False]
