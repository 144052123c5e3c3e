"""A person works on a point: no alarm meanwhile, and a signed statement for whoever reads its samples."""

from __future__ import annotations

import pytest

from contracts.inhibit import Inhibit
from contracts.quality import NO_REPLY
from edge_agent.inhibits import AGAIN_US, Inhibits
from tests.edge_agent.small_plans import block, limit, point
from tests.edge_agent.test_judge import BOOT, NEXT_BOOT, S, feed, judge_of, words

KEY = "a/p"


def _stated(now_s: float, judge: object) -> list[tuple[str, int, int]]:
    found = judge.inhibits.due(round(now_s * S))  # type: ignore[attr-defined]
    return [(item.point, item.since_us // S, item.until_us // S) for item in found]


def test_it_is_stated_at_its_beginning_every_ten_minutes_and_at_its_end() -> None:
    inhibits = Inhibits()
    inhibits.begin(Inhibit(point=KEY, since_us=0, until_us=7200 * S, reason="r", by="A"))
    assert len(inhibits.due(0)) == 1
    assert inhibits.due(AGAIN_US - 1) == ()
    assert [item.until_us for item in inhibits.due(AGAIN_US)] == [7200 * S]
    inhibits.begin(Inhibit(point=KEY, since_us=900 * S, until_us=9000 * S, reason="r", by="A"))
    assert [(item.since_us, item.until_us) for item in inhibits.due(900 * S)] == [(0, 9000 * S)], "made longer"
    inhibits.end(KEY, 1000 * S)
    assert [item.until_us for item in inhibits.due(1000 * S)] == [1000 * S]
    assert inhibits.due(10_000 * S) == ()
    assert not inhibits


def test_an_inhibited_point_raises_nothing_and_is_raised_at_once_when_it_ends() -> None:
    judge = judge_of(point(KEY, limit(value=10.0)))
    assert not judge.inhibit(KEY, reason="bump test", by="A", now_us=100 * S, until_us=200 * S).refused
    assert judge.inhibited() == [KEY]
    assert not feed(judge, 101, 200)
    assert _stated(101, judge) == [(KEY, 100, 200)]
    assert not words(judge.check_silence(150 * S))
    assert words(judge.check_silence(200 * S)) == [("H1", "active", "limit")]
    assert judge.inhibited() == []
    assert _stated(201, judge) == [(KEY, 100, 200)]


def test_a_sample_that_comes_after_its_time_ends_it_too() -> None:
    judge = judge_of(point(KEY, limit(value=10.0)))
    judge.inhibit(KEY, reason="bump test", by="A", now_us=100 * S, until_us=110 * S)
    assert words(feed(judge, 111, 200)) == [("H1", "active", "limit")]
    judge.check_silence(112 * S)
    assert judge.inhibited() == []


def test_an_active_alarm_stays_and_ending_early_says_when() -> None:
    judge = judge_of(point(KEY, limit(value=10.0)))
    assert words(feed(judge, 101, 200)) == [("H1", "active", "limit")]
    judge.inhibit(KEY, reason="bump test", by="A", now_us=102 * S, until_us=900 * S)
    assert not feed(judge, 103, 0)
    assert len(judge.statement(104 * S).events) == 1
    assert not judge.end_inhibit(KEY, 110 * S).refused
    assert _stated(110, judge) == [(KEY, 102, 110)]
    assert words(feed(judge, 111, 0)) == [("H1", "cleared", "returned")]


def test_a_point_without_rules_can_be_inhibited_and_ends_by_itself() -> None:
    judge = judge_of(point(KEY))
    judge.inhibit(KEY, reason="maintenance", by="A", now_us=100 * S, until_us=110 * S)
    feed(judge, 101, None, codes=(NO_REPLY,))
    judge.check_silence(111 * S)
    assert judge.inhibited() == []


@pytest.mark.parametrize("was_inhibited", [False, True])
def test_one_that_begins_before_the_last_state_is_here_goes_on(was_inhibited: bool) -> None:
    plan = point(KEY, limit(value=10.0))
    judge = judge_of(plan)
    feed(judge, 101, 5)
    if was_inhibited:
        judge.inhibit(KEY, reason="maintenance", by="B", now_us=102 * S, until_us=900 * S)
    else:
        feed(judge, 102, 150)
    again = judge_of(plan, at=200 * S, begin=False)
    again.inhibit(KEY, reason="bump test", by="A", now_us=200 * S, until_us=300 * S)
    again.restore(judge.state_bytes() or b"", same_boot=True)
    again.check_silence(201 * S)
    found = again.inhibits.of(KEY)
    assert found is not None
    assert (found.by, found.until_us) == ("A", 300 * S)
    assert not feed(again, 202, 200)
    assert again.inhibited() == [KEY]
    assert not again.end_inhibit(KEY, 203 * S).refused


@pytest.mark.parametrize(("before", "seen"), [(200, 5), (5, 200), (None, 200)])
def test_its_end_looks_at_the_newest_sample_and_not_at_one_of_the_last_run(before: int | None, seen: int) -> None:
    plan = point(KEY, limit(value=10.0))
    judge = judge_of(plan)
    judge.inhibit(KEY, reason="maintenance", by="B", now_us=100 * S, until_us=900 * S)
    if before is not None:
        feed(judge, 101, before)
    again = judge_of(plan, at=200 * S)
    again.inhibit(KEY, reason="bump test", by="A", now_us=200 * S, until_us=300 * S)
    feed(again, 201, seen)
    again.restore(judge.state_bytes() or b"", same_boot=True)
    result = again.end_inhibit(KEY, 203 * S)
    assert words(result.events) == ([("H1", "active", "limit")] if seen == 200 else [])


def test_what_cannot_be_is_refused_in_words() -> None:
    judge = judge_of(point(KEY))
    assert "no point" in judge.inhibit("x/y", reason="r", by="A", now_us=1, until_us=2).refused
    assert "reason" in judge.inhibit(KEY, reason=" ", by="A", now_us=1, until_us=2).refused
    assert "100 characters" in judge.inhibit(KEY, reason="r", by="A" * 101, now_us=1, until_us=2).refused
    assert "256 bytes" in judge.inhibit(KEY, reason="检" * 86, by="A", now_us=1, until_us=2).refused
    assert "not inhibited" in judge.end_inhibit(KEY, 1).refused


def test_a_restart_in_the_same_boot_goes_on_and_another_boot_does_not() -> None:
    judge = judge_of(point(KEY, limit()))
    judge.inhibit(KEY, reason="r", by="A", now_us=100 * S, until_us=900 * S)
    kept = judge.state_bytes()
    assert kept is not None
    same = judge_of(point(KEY, limit()), at=200 * S, begin=False)
    same.restore(kept, same_boot=True)
    assert _stated(200, same) == [(KEY, 200, 900)]
    other = judge_of(point(KEY, limit()), boot=NEXT_BOOT, at=5 * S, begin=False)
    other.restore(kept, same_boot=False)
    assert other.inhibited() == []
    assert BOOT != NEXT_BOOT


def test_a_reload_keeps_it_and_a_removed_point_ends_it() -> None:
    one = point(KEY, limit())
    judge = judge_of(one)
    judge.inhibit(KEY, reason="r", by="A", now_us=100 * S, until_us=900 * S)
    judge.inhibits.due(100 * S)
    judge.replace_plan([point(KEY, limit(value=20.0))], [block()])
    assert judge.inhibited() == [KEY]
    assert not feed(judge, 101, 5000), "and still nothing is raised"
    judge.replace_plan([point("b/p")], [block()])
    assert judge.inhibited() == []
    assert _stated(102, judge) == [(KEY, 100, 100)]
