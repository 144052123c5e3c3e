"""When somebody is told: a table of cases, and laws over random histories."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.notify.plan import (
    BACKOFF_US,
    GATHER_US,
    GIVE_UP_US,
    LONGEST_BACKOFF_RED_US,
    UNTOLD,
    Attempt,
    Kind,
    Rule,
    Subject,
    Told,
    backoff_us,
    fold,
    is_settled,
    owed,
    plan,
)

S = 1_000_000
NOW = 1_000_000 * S
RULE = Rule(name="duty", severities=frozenset({"red", "orange", "yellow"}), repeat_s=600, quiet_s=300)
SEVERITIES = ("red", "orange", "yellow", "blue", "info")


def subject(number: int = 1, severity: str = "orange", **more: Any) -> Subject:
    values: dict[str, Any] = {
        "key": (1, number.to_bytes(16, "big")), "gateway": "g-abc", "point": "gas/ch4", "rule_id": "gas/l1",
        "severity": severity, "is_page": True, "decision_id": number, "decided_us": NOW, "is_over": False,
        "is_acknowledged": False,
    }  # fmt: skip
    return Subject(**(values | more))


def planned(
    *subjects: Subject, rule: Rule = RULE, told: Any = None, quiet: Any = None, gathered: Any = None, at: int = NOW
) -> Any:
    found = plan(rule, subjects, told or {}, quiet or {}, gathered, at)
    return [(m.kind.value, [s.key[1][-1] for s in m.subjects], m.is_possible_repeat) for m in found.messages], (
        found.next_us
    )


A = subject()
RED = subject(1, "red")


@pytest.mark.parametrize(
    ("name", "subjects", "more", "expected"),
    [
        ("a new one is told at once", [A], {}, ([("first", [1], False)], None)),
        ("trial and review are not", [subject(is_page=False)], {}, ([], None)),
        ("one of another severity is not", [subject(severity="blue")], {}, ([], None)),
        ("one that is over by then is told", [subject(is_over=True)], {}, ([("first", [1], False)], None)),
        (
            "one that somebody has acknowledged is told",
            [subject(is_acknowledged=True)],
            {},
            ([("first", [1], False)], None),
        ),
        (
            "told, it is due again after repeat_s",
            [A],
            {"told": {A.key: Told(sent_us=NOW, severity="orange", tried_us=NOW)}, "at": NOW + S},
            ([], NOW + 600 * S),
        ),
        (
            "and is told again then",
            [A],
            {"told": {A.key: Told(sent_us=NOW, severity="orange", tried_us=NOW)}, "at": NOW + 600 * S},
            ([("repeat", [1], False)], None),
        ),
        (
            "not when somebody acknowledged",
            [subject(is_acknowledged=True)],
            {"told": {A.key: Told(sent_us=NOW, severity="orange", tried_us=NOW)}, "at": NOW + 600 * S},
            ([], None),
        ),
        (
            "nor when it is over",
            [subject(is_over=True)],
            {"told": {A.key: Told(sent_us=NOW, severity="orange", tried_us=NOW)}, "at": NOW + 600 * S},
            ([], None),
        ),
        (
            "nor where repetitions are off",
            [A],
            {
                "rule": Rule(name="x", severities=frozenset({"orange"}), repeat_s=0),
                "told": {A.key: Told(sent_us=NOW, severity="orange", tried_us=NOW)},
                "at": NOW + 600 * S,
            },
            ([], None),
        ),
        (
            "graver than told is told at once, alone",
            [RED],
            {"told": {RED.key: Told(sent_us=NOW, severity="orange", tried_us=NOW)}, "at": NOW + S},
            ([("graver", [1], False)], None),
        ),
        (
            "a source that was told of is quiet",
            [subject(2)],
            {"quiet": {A.source: NOW - S}},
            ([], NOW + 299 * S),
        ),
        ("not for red", [RED], {"quiet": {A.source: NOW - S}}, ([("first", [1], False)], None)),
        (
            "flapping becomes one message when the quiet is over",
            [subject(2, is_over=True), subject(3, is_over=True), subject(4)],
            {"quiet": {A.source: NOW - 300 * S}},
            ([("first", [2, 3, 4], False)], None),
        ),
        (
            "those that are not red share a message, reds never, and go first",
            [A, subject(2), subject(3, "red"), subject(4, "yellow"), subject(5, "red")],
            {},
            ([("first", [3], False), ("first", [5], False), ("first", [1, 2, 4], False)], None),
        ),
        (
            "the next shared message waits, a red does not",
            [subject(2), subject(3, "red")],
            {"gathered": NOW - S},
            ([("first", [3], False)], NOW - S + GATHER_US),
        ),
        (
            "after a failure it waits a little",
            [RED],
            {"told": {RED.key: Told(failures=1, tried_us=NOW)}, "at": NOW + S},
            ([], NOW + BACKOFF_US),
        ),
        (
            "and is tried again",
            [RED],
            {"told": {RED.key: Told(failures=1, tried_us=NOW)}, "at": NOW + BACKOFF_US},
            ([("first", [1], False)], None),
        ),
        (
            "an attempt without an answer is made again, as a possible repeat",
            [RED],
            {"told": {RED.key: Told(tried_us=NOW, is_open=True)}, "at": NOW + S},
            ([("first", [1], True)], None),
        ),
        (
            "what was never tried goes before what failed",
            [RED, subject(2, "yellow")],
            {"told": {RED.key: Told(failures=9, tried_us=NOW - 3600 * S)}},
            ([("first", [2], False), ("first", [1], False)], None),
        ),
        (
            "what failed does not take what is new along",
            [A, subject(2)],
            {"told": {A.key: Told(failures=1, tried_us=NOW - 60 * S)}},
            ([("first", [2], False), ("first", [1], False)], None),
        ),
        (
            "what nobody needs is given up after a day",
            [subject(is_over=True, severity="red")],
            {"at": NOW + GIVE_UP_US + 1},
            ([("given_up", [1], False)], None),
        ),
        ("what stands is not", [RED], {"at": NOW + GIVE_UP_US + 1}, ([("first", [1], False)], None)),
        (
            "a clock that went back delays nothing",
            [subject(decided_us=NOW + 3600 * S)],
            {"quiet": {A.source: NOW + 3600 * S}, "gathered": NOW + 3600 * S},
            ([("first", [1], False)], None),
        ),
    ],
)
def test_what_is_told_when(name: str, subjects: list[Subject], more: dict[str, Any], expected: Any) -> None:
    assert planned(*subjects, **more) == expected, name


@pytest.mark.parametrize(
    ("gateways", "points", "is_chosen"),
    [
        (("*",), ("*",), True),
        (("g-abc",), ("gas/*",), True),
        (("g-x*", "g-a*"), ("*/ch4",), True),
        (("g-x*",), ("*",), False),
        (("*",), ("level/*",), False),
    ],
)
def test_patterns_choose(gateways: tuple[str, ...], points: tuple[str, ...], is_chosen: bool) -> None:
    rule = Rule(name="x", severities=frozenset({"orange"}), gateways=gateways, points=points)
    assert rule.chooses(A) is is_chosen


def test_backoff_grows_to_a_bound_that_is_shorter_for_red() -> None:
    assert [backoff_us("red", n) // S for n in range(7)] == [0, 5, 10, 20, 40, 60, 60]
    assert backoff_us("orange", 1000) // S == 600


def test_a_record_folds() -> None:
    def at(n: int, outcome: str | None, severity: str = "orange") -> Attempt:
        return Attempt(at_us=n, severity=severity, outcome=outcome)

    assert fold([]) == UNTOLD
    assert fold([at(1, "failed"), at(2, "failed")]) == Told(failures=2, tried_us=2)
    assert fold([at(1, "failed"), at(2, "sent")]) == Told(sent_us=2, severity="orange", tried_us=2)
    assert fold([at(1, "sent", "red"), at(2, "sent")]) == Told(sent_us=2, severity="red", tried_us=2)
    assert fold([at(1, "sent"), at(2, None)]) == Told(sent_us=1, severity="orange", tried_us=2, is_open=True)
    assert fold([at(1, None), at(2, "failed")]) == Told(failures=1, tried_us=2, is_open=True)
    assert not fold([at(1, None), at(2, "sent")]).is_open


# ---- laws ------------------------------------------------------------------------------------

moments = st.integers(NOW - 4000 * S, NOW + 4000 * S)
tolds = st.builds(
    Told,
    sent_us=st.none() | moments,
    severity=st.sampled_from(SEVERITIES),
    failures=st.integers(0, 8),
    tried_us=st.none() | moments,
    is_open=st.booleans(),
)


@st.composite
def worlds(draw: st.DrawFn) -> Any:
    count = draw(st.integers(1, 6))
    subjects = [
        subject(
            number, draw(st.sampled_from(SEVERITIES)), rule_id=draw(st.sampled_from(("a", "b"))),
            is_page=draw(st.booleans()), is_over=draw(st.booleans()), is_acknowledged=draw(st.booleans()),
            decided_us=draw(moments),
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    told = {s.key: draw(tolds) for s in subjects if draw(st.booleans())}
    quiet = {s.source: draw(moments) for s in subjects if draw(st.booleans())}
    rule = Rule(
        name="x", severities=frozenset(draw(st.sets(st.sampled_from(SEVERITIES), min_size=1))),
        repeat_s=draw(st.sampled_from((0, 30, 600))), quiet_s=draw(st.sampled_from((0, 300, 86_400))),
    )  # fmt: skip
    return rule, subjects, told, quiet, draw(st.none() | moments)


@settings(max_examples=40)
@given(worlds())
def test_a_red_is_never_delayed_or_merged(world: Any) -> None:
    rule, subjects, told, quiet, gathered = world
    found = plan(rule, subjects, told, quiet, gathered, NOW)
    alone = {m.subjects[0].key for m in found.messages if len(m.subjects) == 1}
    for s in subjects:
        known = told.get(s.key, UNTOLD)
        is_new = owed(s, known) in (Kind.FIRST, Kind.GRAVER) and not known.failures
        if s.severity == "red" and rule.chooses(s) and is_new and s.decided_us <= NOW:
            assert s.key in alone
    for message in found.messages:
        assert len(message.subjects) == 1 or all(s.severity != "red" for s in message.subjects)
        assert message.kind is not Kind.GIVEN_UP or all(s.is_over or s.is_acknowledged for s in message.subjects)


@settings(max_examples=40)
@given(worlds())
def test_trial_and_review_are_not_told_and_repeats_need_somebody_to_wait_for(world: Any) -> None:
    rule, subjects, told, quiet, gathered = world
    for message in plan(rule, subjects, told, quiet, gathered, NOW).messages:
        for s in message.subjects:
            assert s.is_page
            assert s.severity in rule.severities
            assert message.kind is not Kind.REPEAT or not (s.is_over or s.is_acknowledged)


@settings(max_examples=40)
@given(worlds())
def test_whoever_waits_for_the_plan_tells_everything_once_and_then_only_repeats(world: Any) -> None:
    rule, subjects, _, quiet, gathered = world
    told: dict[Any, Told] = {}
    now = max(NOW, *(s.decided_us for s in subjects))
    for _ in range(20):
        found = plan(rule, subjects, told, quiet, gathered, now)
        for message in found.messages:
            for s in message.subjects:
                told[s.key] = fold([Attempt(at_us=now, severity=s.severity, outcome="sent")])
            if message.severity != "red":
                gathered = now
        if all(is_settled(rule, s, told.get(s.key, UNTOLD)) for s in subjects):
            break
        assert found.next_us is None or found.next_us > now
        now = found.next_us or now
    assert all(is_settled(rule, s, told.get(s.key, UNTOLD)) for s in subjects)
    assert set(told) == {s.key for s in subjects if rule.chooses(s)}


@settings(max_examples=40)
@given(st.integers(1, 30))
def test_a_red_is_never_left_longer_than_its_bound(failures: int) -> None:
    assert 0 < backoff_us("red", failures) <= LONGEST_BACKOFF_RED_US
