"""What the judge keeps of its points: which of them are at rest, and that an earlier plan lets them go."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import BAD_FRAME, FAULT, GOOD, NO_REPLY, OVER_RANGE
from edge_agent.judge import Judge
from edge_agent.judge_state import unpack_state
from edge_agent.judged import JudgedPoint
from tests.edge_agent.small_plans import block, limit, point

S = 1_000_000
_POINTS = (point("a/p", limit(value=100.0, on_delay_s=3.0)), point("b/p", limit(value=100.0, latch=True)), point("c/p"))
_SAMPLES = st.tuples(
    st.sampled_from([(99, GOOD), (101, GOOD), (None, BAD_FRAME), (None, NO_REPLY), (None, OVER_RANGE), (None, FAULT)]),
    st.sampled_from([(99, GOOD), (101, GOOD), (None, NO_REPLY)]),
)
_ACTIONS = st.one_of(_SAMPLES, st.sampled_from(["inhibit", "end", "reset", "silence"]))


def _judge() -> Judge:
    judge = Judge("g-aaaaaaaaaaaa", bytes(16), _POINTS, [block(offsets=(0, 1, 2))], lambda: 100 * S)
    judge.begin()
    return judge


@given(st.lists(_ACTIONS, max_size=20))
def test_points_that_moved_are_kept_and_the_others_are_not(actions: Sequence[object]) -> None:
    judge = _judge()
    for number, action in enumerate(actions):
        now = (101 + number) * S
        match action:
            case ((first, code), (second, other)):
                judge.judge_row(0, now, (first, second, 1), (code, other, GOOD), now)
            case "inhibit":
                judge.inhibit("a/p", reason="a test", by="somebody", now_us=now, until_us=now + 4 * S)
            case "end":
                judge.end_inhibit("a/p", now)
            case "reset":
                judge.reset("b/p", "test.v1/H1", "somebody", now)
            case _:
                judge.check_silence(now)
        judge.mark_changed()
        kept = judge.state_bytes()
        assert kept is not None
        moved = {item.plan.key for item in judge._points if not JudgedPoint(item.plan, item.state).is_at_rest}
        assert {item.key for item in unpack_state(kept).points} == moved
        assert {item.plan.key for item in judge._points if not item.is_at_rest} == moved


def test_an_earlier_plan_is_gone_when_it_is_replaced() -> None:
    gc.collect()
    gc.disable()
    try:
        judge = _judge()
        judge.judge_row(0, 101 * S, (101, 101, 101), None, 101 * S)
        for _ in range(3):
            judge.replace_plan(_POINTS, [block(offsets=(0, 1, 2))])
        mine = [item for item in gc.get_objects() if isinstance(item, JudgedPoint) and item.plan in _POINTS]
        assert len(mine) == len(_POINTS)
    finally:
        gc.enable()
