"""The judge: rows in, alarm events out; and state that a restart does not raise twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import AlarmEvent, Statement
from contracts.quality import BAD_FRAME, CALIBRATION_OVERDUE, FAULT, GOOD, MISSED_TICK, NO_REPLY, OVER_RANGE
from edge_agent.judge import RESTORE_WAIT_US, Judge, Row
from edge_agent.plan import PointPlan
from rules import Direction, Sample, start, step_point
from tests.edge_agent.small_plans import block, limit, point

GATEWAY = "g-aaaaaaaaaaaa"
BOOT = bytes(range(16))
NEXT_BOOT = bytes(range(1, 17))
S = 1_000_000


class Clock:
    """Monotonic us that the test sets."""

    def __init__(self, now_us: int = 100 * S) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def judge_of(*points: PointPlan, boot: bytes = BOOT, at: int = 100 * S, begin: bool = True) -> Judge:
    """Returns a judge of one block with these points."""
    one = block(offsets=tuple(range(len(points))))
    judge = Judge(GATEWAY, boot, points, [one], Clock(at))
    if begin:
        judge.begin()
    return judge


def feed(judge: Judge, at_s: float, *row: int | float | None, codes: Sequence[int] | None = None) -> list[AlarmEvent]:
    at = round(at_s * S)
    return list(judge.judge_row(0, at, row, codes, at + 1000))


def words(events: Iterable[AlarmEvent]) -> list[tuple[str, str, str]]:
    return [(event.rule_id.split("/")[-1], event.state, event.cause) for event in events]


def test_a_quiet_row_makes_nothing_and_changes_nothing() -> None:
    judge = judge_of(point("a/p", limit()), point("b/p"))
    assert not feed(judge, 101, 99, 5000)
    assert judge.state_bytes() is None
    assert judge.statement(102 * S) == Statement(mono_us=102 * S, events=())


def test_an_event_explains_itself() -> None:
    judge = judge_of(point("a/p", limit()))
    (event,) = feed(judge, 101, 101)
    assert event.id == event.raised_by
    assert AlarmEvent.from_wire(event.to_wire()) == event
    assert replace(event, id=b"", raised_by=b"", rule_hash=b"") == AlarmEvent(
        id=b"",
        raised_by=b"",
        boot_id=BOOT,
        point="a/p",
        quantity="pressure",
        unit="kPa",
        en="pressure",
        zh="压力",
        rule_id="test.v1/H1",
        rule_hash=b"",
        rule_en="limit H1",
        rule_zh="限值 H1",
        severity="red",
        scheme="test levels",
        state="active",
        cause="limit",
        limit=10.0,
        value=10.1,
        code=GOOD,
        sampled_us=101 * S,
        judged_us=101 * S + 1000,
    )


def test_counts_are_judged_in_the_unit_of_the_rule() -> None:
    # 10.0 is reached by 100 counts of 0.1, by no count below it
    judge = judge_of(point("a/p", limit()))
    assert not feed(judge, 101, 99)
    assert words(feed(judge, 102, 100)) == [("H1", "active", "limit")]


def test_floats_are_judged_as_they_are() -> None:
    judge = judge_of(point("a/p", limit(), kind="f32"))
    assert not feed(judge, 101, 9.99)
    assert words(feed(judge, 102, 10.5)) == [("H1", "active", "limit")]


def test_return_refers_to_the_raise() -> None:
    judge = judge_of(point("a/p", limit(deadband=1.0)))
    (raised,) = feed(judge, 101, 120)
    assert not feed(judge, 102, 95)
    (cleared,) = feed(judge, 103, 85)
    assert words([cleared]) == [("H1", "cleared", "returned")]
    assert cleared.raised_by == raised.id != cleared.id
    assert judge.statement(104 * S).events == ()


def test_one_bad_neighbour_hides_nobody() -> None:
    judge = judge_of(point("a/p", limit()), point("b/p", limit()))
    events = feed(judge, 101, None, 150, codes=(FAULT, GOOD))
    assert [(event.point, event.state) for event in events] == [("b/p", "active")]


def test_bad_and_missing_neither_set_nor_clear() -> None:
    judge = judge_of(point("a/p", limit()))
    feed(judge, 101, 150)
    for second, code in enumerate((NO_REPLY, FAULT, BAD_FRAME, MISSED_TICK)):
        assert not feed(judge, 102 + second, None, codes=(code,))
    assert words(judge.statement(110 * S).events) == [("H1", "active", "limit")]


def test_over_range_raises_at_once() -> None:
    judge = judge_of(point("a/p", limit(on_delay_s=60)))
    (event,) = feed(judge, 101, None, codes=(OVER_RANGE,))
    assert (event.cause, event.value, event.code) == ("over_range", None, OVER_RANGE)


def test_an_overdue_reading_is_marked() -> None:
    judge = judge_of(point("a/p", limit()))
    (event,) = feed(judge, 101, 150, codes=(CALIBRATION_OVERDUE,))
    assert event.marks == ("calibration_overdue",)


def test_a_row_out_of_order_is_judged_at_the_newest_time() -> None:
    judge = judge_of(point("a/p", limit()))
    feed(judge, 105, 50)
    (event,) = feed(judge, 104, 150)
    assert event.sampled_us == 105 * S


# -- silence ---------------------------------------------------------------------------


def test_silence_is_one_event_and_ends_with_the_next_sample() -> None:
    judge = judge_of(point("a/p", limit(), silence_s=10))
    feed(judge, 101, 50)
    feed(judge, 105, None, codes=(NO_REPLY,))
    assert not judge.check_silence(110 * S)
    (event,) = judge.check_silence(111 * S)
    assert (event.rule_id, event.state, event.cause, event.severity) == ("silence.v1", "active", "silence", "info")
    assert (event.code, event.value, event.sampled_us) == (NO_REPLY, None, 105 * S)
    assert not judge.check_silence(112 * S)
    assert not feed(judge, 113, None, codes=(NO_REPLY,))
    (back,) = feed(judge, 114, 50)
    assert (back.state, back.cause, back.raised_by) == ("cleared", "returned", event.id)
    assert not judge.check_silence(123 * S)
    assert judge.check_silence(124 * S)


def test_a_point_that_was_never_heard_is_silent_from_the_start() -> None:
    judge = judge_of(point("a/p", silence_s=10))
    assert not judge.check_silence(109 * S)
    (event,) = judge.check_silence(110 * S)
    assert event.value is None


def test_silence_clears_no_alarm() -> None:
    judge = judge_of(point("a/p", limit(), silence_s=10))
    feed(judge, 101, 150)
    judge.check_silence(120 * S)
    assert {event.cause for event in judge.statement(121 * S).events} == {"limit", "silence"}


def test_one_silent_point_of_a_block() -> None:
    judge = judge_of(point("a/p", silence_s=10), point("b/p", silence_s=10))
    for second in range(101, 115):
        feed(judge, second, None, 5, codes=(FAULT, GOOD))
    assert [event.point for event in judge.check_silence(115 * S)] == ["a/p"]


# -- people ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "rule", "by", "refused"),
    [
        ("x/p", "test.v1/H1", "Li", "there is no point 'x/p'"),
        ("a/p", "test.v1/H9", "Li", "there is no limit 'test.v1/H9' here"),
        ("a/p", "test.v1/H1", " ", "a reset needs the name of the person"),
        ("a/p", "test.v1/H1", "x" * 101, "a name has at most 100 characters"),
        ("a/p", "test.v1/H1", "Li", ""),
    ],
)
def test_reset(key: str, rule: str, by: str, refused: str) -> None:
    judge = judge_of(point("a/p", limit(latch=True)))
    feed(judge, 101, 150)
    feed(judge, 102, 50)
    result = judge.reset(key, rule, by, 103 * S)
    assert result.refused == refused
    assert words(result.events) == ([] if refused else [("H1", "cleared", "reset")])
    if not refused:
        assert result.events[0].marks == ("by=Li",)


def test_no_reset_while_the_condition_stands_or_the_value_is_not_good() -> None:
    judge = judge_of(point("a/p", limit(latch=True)))
    feed(judge, 101, 150)
    assert judge.reset("a/p", "test.v1/H1", "Li", 102 * S).refused == "the condition stands"
    feed(judge, 103, 50)
    feed(judge, 104, None, codes=(NO_REPLY,))
    assert judge.reset("a/p", "test.v1/H1", "Li", 105 * S).refused == "the last value is not good"


def test_the_statement_puts_the_gravest_first() -> None:
    low = replace(limit("H0", 5.0), severity=replace(limit()).severity.__class__.YELLOW)
    judge = judge_of(point("a/p", low, limit()))
    feed(judge, 101, 150)
    assert [event.severity for event in judge.statement(102 * S).events] == ["red", "yellow"]


# -- state -----------------------------------------------------------------------------


def restarted(judge: Judge, *points: PointPlan, boot: bytes = BOOT, at: int = 200 * S) -> Judge:
    data = judge.state_bytes()
    assert data is not None
    again = judge_of(*points, boot=boot, at=at, begin=False)
    again.restore(data, same_boot=boot == BOOT)
    return again


@pytest.mark.parametrize("boot", [BOOT, NEXT_BOOT])
def test_a_restart_raises_nothing_twice(boot: bytes) -> None:
    plan = point("a/p", limit())
    judge = judge_of(plan)
    (raised,) = feed(judge, 101, 150)
    again = restarted(judge, plan, boot=boot)
    assert not feed(again, 201, 150)
    assert again.statement(202 * S).events == (raised,)
    (cleared,) = feed(again, 203, 50)
    assert (cleared.raised_by, cleared.boot_id) == (raised.id, boot)


def test_rows_wait_for_the_state_of_the_last_run() -> None:
    plan = point("a/p", limit())
    judge = judge_of(plan)
    feed(judge, 101, 150)
    data = judge.state_bytes()
    assert data is not None
    again = judge_of(plan, at=200 * S, begin=False)
    assert not feed(again, 200.5, 150)
    assert not feed(again, 200.6, 50)
    again.restore(data, same_boot=True)
    assert words(again.check_silence(201 * S)) == [("H1", "cleared", "returned")]
    assert not again.check_silence(202 * S)


def test_events_of_rows_that_waited_come_with_the_next_row() -> None:
    judge = judge_of(point("a/p", limit()), begin=False)
    assert not feed(judge, 100.5, 150)
    judge.begin()
    assert words(feed(judge, 101, 50)) == [("H1", "active", "limit"), ("H1", "cleared", "returned")]


@pytest.mark.parametrize("through_silence", [True, False])
def test_a_store_that_does_not_answer_holds_up_no_alarm(through_silence: bool) -> None:
    clock = Clock()
    judge = Judge(GATEWAY, BOOT, [point("a/p", limit())], [block()], clock)
    assert not feed(judge, 100.5, 150)
    clock.now_us += RESTORE_WAIT_US
    events = judge.check_silence(clock.now_us) if through_silence else feed(judge, 102, 150)
    assert words(events) == [("H1", "active", "limit")]


def test_state_that_comes_too_late_leaves_one_alarm() -> None:
    plan, other = point("a/p", limit()), point("b/p", limit())
    judge = judge_of(plan, other)
    (first, second) = feed(judge, 101, 150, 150)
    data = judge.state_bytes()
    assert data is not None
    again = judge_of(plan, other, at=200 * S)
    (raised,) = feed(again, 201, 150, 50)
    again.restore(data, same_boot=True)
    events = list(again.check_silence(203 * S))
    assert [(e.point, e.state, e.cause, e.raised_by) for e in events] == [("a/p", "cleared", "superseded", first.id)]
    assert {event.id for event in again.statement(204 * S).events} == {raised.id, second.id}


def test_state_is_given_once_for_each_change() -> None:
    judge = judge_of(point("a/p", limit(on_delay_s=5)))
    feed(judge, 101, 150)
    assert judge.is_changed
    assert judge.state_bytes() is not None
    assert judge.state_bytes() is None
    judge.mark_changed()
    assert judge.state_bytes() is not None


def test_a_running_delay_survives_a_restart() -> None:
    plan = point("a/p", limit(on_delay_s=10))
    judge = judge_of(plan)
    feed(judge, 195, 150)
    again = restarted(judge, plan)
    assert not feed(again, 204, 150)
    assert words(feed(again, 205, 150)) == [("H1", "active", "limit")]


def test_after_a_reboot_a_running_delay_counts_as_elapsed() -> None:
    plan = point("a/p", limit(on_delay_s=1000))
    judge = judge_of(plan)
    feed(judge, 101, 150)
    again = restarted(judge, plan, boot=NEXT_BOOT, at=5 * S)
    assert words(feed(again, 6, 150)) == [("H1", "active", "limit")]


def test_alarms_of_points_and_rules_that_are_gone_end_after_a_restart() -> None:
    gone, changed = point("a/p", limit()), point("b/p", limit(), limit("H2", 12.0))
    judge = judge_of(gone, changed)
    assert len(feed(judge, 101, 150, 150)) == 3
    again = restarted(judge, point("b/p", limit()))
    events = again.check_silence(201 * S)
    assert sorted((event.point, *words([event])[0]) for event in events) == [
        ("a/p", "H1", "cleared", "removed"),
        ("b/p", "H2", "cleared", "removed"),
    ]
    assert all(event.rule_en.startswith("limit H") for event in events)
    assert [event.point for event in again.statement(202 * S).events] == ["b/p"]


@pytest.mark.parametrize("data", [b"", b"x", b"\xc1", bytes(100)])
def test_damaged_state_is_reported_and_judging_goes_on(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    judge = judge_of(point("a/p", limit()), begin=False)
    judge.restore(data, same_boot=True)
    assert "cannot be read" in caplog.text
    assert words(feed(judge, 101, 150)) == [("H1", "active", "limit")]


@given(st.integers(0, 400), st.integers(0, 255))
def test_no_damage_of_the_state_is_an_unknown_error(place: int, byte: int) -> None:
    judge = judge_of(point("a/p", limit()))
    feed(judge, 101, 150)
    data = bytearray(judge.state_bytes() or b"")
    data[place % len(data)] = byte
    again = judge_of(point("a/p", limit()), begin=False)
    again.restore(bytes(data), same_boot=True)
    feed(again, 102, 150)


# -- reload ----------------------------------------------------------------------------


def test_a_reload_keeps_what_did_not_change() -> None:
    plan = point("a/p", limit(on_delay_s=10), silence_s=20)
    judge = judge_of(plan)
    feed(judge, 101, 150)
    assert not judge.replace_plan([point("new/p"), plan], [block(offsets=(0, 1))])
    assert not judge.check_silence(120 * S)
    events = judge.judge_row(0, 111 * S, (1, 150), None, 111 * S)
    assert words(events) == [("H1", "active", "limit")]


def test_a_reload_ends_alarms_of_what_is_gone() -> None:
    judge = judge_of(point("a/p", limit()), point("b/p", limit(), limit("H2", 12.0)))
    raised = feed(judge, 101, 150, 150)
    events = judge.replace_plan([point("b/p", limit())], [block()])
    assert sorted((event.point, *words([event])[0]) for event in events) == [
        ("a/p", "H1", "cleared", "removed"),
        ("b/p", "H2", "cleared", "removed"),
    ]
    assert {event.raised_by for event in events} < {event.id for event in raised}
    assert [event.point for event in judge.statement(102 * S).events] == ["b/p"]


def test_a_reload_knows_the_last_value() -> None:
    plan = point("a/p", limit(latch=True))
    judge = judge_of(plan)
    feed(judge, 101, 150)
    feed(judge, 102, 50)
    judge.replace_plan([plan], [block()])
    assert not judge.reset("a/p", "test.v1/H1", "Li", 103 * S).refused


# -- laws ------------------------------------------------------------------------------

LIMITS = st.lists(
    st.builds(
        limit,
        st.sampled_from(["H1", "H2", "L1", "L2"]),
        st.integers(-3, 3).map(float),
        direction=st.sampled_from(Direction),
        deadband=st.sampled_from([0.0, 0.2]),
        on_delay_s=st.sampled_from([0.0, 2.0]),
        off_delay_s=st.sampled_from([0.0, 2.0]),
        latch=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda rule: rule.id,
)
READING = st.one_of(
    st.tuples(st.integers(-40, 40), st.just(GOOD)),
    st.tuples(st.integers(-40, 40), st.just(CALIBRATION_OVERDUE)),
    st.tuples(st.none(), st.sampled_from([NO_REPLY, FAULT, OVER_RANGE, MISSED_TICK, BAD_FRAME])),
)
ROWS = st.lists(st.tuples(st.integers(1, 3), READING, READING), max_size=30)


@given(LIMITS, LIMITS, st.booleans(), ROWS, st.data())
def test_the_short_way_says_what_the_long_way_says(
    first: list[Any], second: list[Any], gas: bool, rows: list[Any], data: st.DataObject
) -> None:
    """Every sample stepped through the rules against the judge, which is also restarted on the way."""
    plans = [point("a/p", *first, gas=gas), point("b/p", *second)]
    judge = judge_of(*plans, at=0)
    states = [start(plan.rules, boot=BOOT, now_us=0) for plan in plans]
    now, told, expected = 0, [], []
    for seconds, *readings in rows:
        now += seconds * S
        row: Row = [value for value, _ in readings]
        codes = [code for _, code in readings]
        events = judge.judge_row(0, now, row, None if not any(codes) else codes, now)
        told += [(event.point, event.rule_id, event.state, event.cause, event.value) for event in events]
        for number, (value, code) in enumerate(readings):
            scaled = None if value is None else float(value * plans[number].resolution)
            states[number], made = step_point(
                plans[number].rules, states[number], Sample(value=scaled, code=code, at_us=now)
            )
            expected += [
                (
                    plans[number].key,
                    t.rule_id,
                    t.alarm.value,
                    t.cause.value,
                    None if t.sample is None else t.sample.value,
                )
                for t in made
            ]
        if not gas and data.draw(st.booleans()):
            kept = judge.state_bytes()
            standing = judge.statement(now).events
            if kept is not None:
                judge = judge_of(*plans, at=now, begin=False)
                judge.restore(kept, same_boot=True)
                assert judge.statement(now).events == standing
            else:
                judge.mark_changed()
    assert told == expected


@given(LIMITS, ROWS)
def test_the_statement_is_what_the_events_add_up_to(limits: list[Any], rows: list[Any]) -> None:
    judge = judge_of(point("a/p", *limits), point("b/p", *limits), at=0)
    now = 0
    standing: dict[tuple[str, str], AlarmEvent] = {}
    ids: set[bytes] = set()
    for seconds, *readings in rows:
        now += seconds * S
        for event in judge.judge_row(0, now, [v for v, _ in readings], [c for _, c in readings], now):
            assert event.id not in ids
            ids.add(event.id)
            assert event.raised_by in ids
            if event.state == "cleared":
                del standing[event.point, event.rule_id]
            else:
                standing[event.point, event.rule_id] = event
    assert set(judge.statement(now).events) == set(standing.values())
