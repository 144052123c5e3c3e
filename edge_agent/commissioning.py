"""The test alarm of a point, and what a visit list is made of: operations of the running agent.

    test-alarm   points, by, wait_s     -> results per point, how the link is
    upkeep                              -> what is due, by point

A test alarm is a pair of events, active and cleared at once, of the rule ``test``: severity info, cause ``test``,
marks ``test`` and ``by=NAME``.  Both travel in one signed batch of the ordinary alarm lane, so that whatever ends
in the middle, a test alarm never stands.  It does not pass the judge: no rule, delay, latch or annunciator hears of
it.  *Seen* is counted from judged to the signed receipt that covers the batch, with this gateway's monotonic clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.batch import AlarmEvent, Lane, event_id
from contracts.quality import NOT_ASKED
from edge_agent.control import Handler, Request, text_of
from edge_agent.delivery import BatchKey, Delivery
from edge_agent.errors import ControlError
from edge_agent.judge import MAX_NAME
from edge_agent.keeper import Keeper, StoreState
from edge_agent.plan import Plan, PointPlan
from edge_agent.seal import Boot
from edge_agent.sealer import Sealer
from edge_agent.upkeep import UpkeepBook
from edge_agent.uplink import Uplink
from rules import AlarmState, Severity

#: rule id, cause, scheme and mark of a test alarm
TEST = "test"
_RULE_HASH = hashlib.sha256(b"qianshao test alarm v1").digest()
#: points whose pairs share a batch
_PAIRS = 50
#: points that one request may name: what is raised next waits behind all their pairs
_MOST_POINTS = 200
#: nobody waits longer for a receipt (seconds)
LONGEST_WAIT_S = 300.0
#: how often a receipt is looked for (seconds)
_LOOK_S = 0.01


class Agent(Protocol):
    """What is asked of the agent."""

    plan: Plan
    gateway: str
    boot: Boot
    sealer: Sealer
    delivery: Delivery
    uplink: Uplink | None
    upkeep: UpkeepBook

    @property
    def keeper(self) -> Keeper | None: ...

    def note(self, kind: str, text: str) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Sent:
    points: Sequence[str]
    #: of the batch that holds their pairs; None: it could not be sealed
    key: BatchKey | None
    judged_us: int
    seen_s: float | None = None


def pair_of(point: PointPlan, *, gateway: str, boot_id: bytes, by: str, now_us: int) -> tuple[AlarmEvent, AlarmEvent]:
    """Returns the two events of a test alarm: active, then cleared.

    Args:
        by: name of the person, at most ``MAX_NAME`` characters.
        now_us: monotonic.
    """

    def event(state: AlarmState, at_us: int) -> AlarmEvent:
        def id_of(state: AlarmState, at_us: int) -> bytes:
            return event_id(gateway, boot_id, point.key, _RULE_HASH, state.value, at_us)

        return AlarmEvent(
            id=id_of(state, at_us),
            raised_by=id_of(AlarmState.ACTIVE, now_us),
            boot_id=boot_id,
            point=point.key,
            quantity=point.quantity,
            unit=point.unit,
            en=point.en,
            zh=point.zh,
            rule_id=TEST,
            rule_hash=_RULE_HASH,
            rule_en="test alarm",
            rule_zh="测试报警",
            severity=Severity.INFO.value,
            scheme=TEST,
            state=state.value,
            cause=TEST,
            limit=None,
            value=None,
            code=NOT_ASKED,
            sampled_us=at_us,
            judged_us=at_us,
            marks=(TEST, f"by={by}"),
        )

    return event(AlarmState.ACTIVE, now_us), event(AlarmState.CLEARED, now_us + 1)


def commissioning(agent: Agent, clock: Callable[[], int]) -> dict[str, Handler]:
    """Returns operation -> handler for the control server.

    Args:
        clock: monotonic us.
    """

    async def test_alarm(request: Request) -> Any:
        by = text_of(request, "by", MAX_NAME)
        points = _points(request, agent.plan)
        wait_s = request.get("wait_s", 10.0)
        is_number = isinstance(wait_s, (int, float)) and math.isfinite(wait_s)
        if not is_number or not 0 <= wait_s <= LONGEST_WAIT_S:
            raise ControlError(f"wait_s: expected a number from 0 to {LONGEST_WAIT_S:g}", exit_status=2)
        keeper = agent.keeper
        if keeper is None:
            raise ControlError("the agent is still asking its store; try again in a few seconds")
        sent = [
            _send(agent, keeper, points[start : start + _PAIRS], by, clock) for start in range(0, len(points), _PAIRS)
        ]
        await _wait(agent.delivery, sent, clock, wait_s)
        seen = [point for item in sent if item.seen_s is not None for point in item.points]
        if seen:
            agent.upkeep.commissioned(seen)
        agent.note("test-alarm", f"by {by}: {len(seen)} of {len(points)} seen at the centre: {', '.join(seen)}")
        serials = {point.key: agent.plan.devices[point.device].serial for point in points}
        results = [
            {**_result(agent.delivery, item, point), "serial": serials[point]} for item in sent for point in item.points
        ]
        return {"results": results, "wait_s": wait_s, **_link(agent, keeper, clock)}

    async def upkeep(request: Request) -> Any:
        return agent.upkeep.describe()

    return {"test-alarm": test_alarm, "upkeep": upkeep}


def _points(request: Request, plan: Plan) -> list[PointPlan]:
    known = {point.key: point for point in plan.points}
    wanted = request.get("points")
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= _MOST_POINTS:
        raise ControlError(f"'points' is needed: a list of 1 to {_MOST_POINTS} keys", exit_status=2)
    for key in wanted:
        if not isinstance(key, str) or key not in known:
            raise ControlError(f"there is no point {key!r}; `edge-agent read` shows which there are", exit_status=2)
    return [known[key] for key in dict.fromkeys(wanted)]


def _send(agent: Agent, keeper: Keeper, points: Sequence[PointPlan], by: str, clock: Callable[[], int]) -> _Sent:
    """Seals the pairs of some points, in a batch of their own."""
    # What waits goes first: real alarms are never behind a test.
    agent.sealer.seal_alarms()
    judged_us = clock()
    events = [
        event
        for point in points
        for event in pair_of(point, gateway=agent.gateway, boot_id=agent.boot.boot_id, by=by, now_us=judged_us)
    ]
    before = keeper.chain.head(Lane.ALARM).seq
    keeper.seal_alarms(events)
    seq = keeper.chain.head(Lane.ALARM).seq
    key = (keeper.epoch_no, Lane.ALARM, seq) if seq > before else None
    return _Sent(points=[point.key for point in points], key=key, judged_us=judged_us)


async def _wait(delivery: Delivery, sent: Sequence[_Sent], clock: Callable[[], int], wait_s: float) -> None:
    """Waits until every batch has its receipt, or the time is over."""
    until_us = clock() + round(wait_s * 1e6)
    waiting = [item for item in sent if item.key is not None]
    while waiting:
        now = clock()
        for item in waiting:
            assert item.key is not None
            if delivery.is_delivered(item.key) and not _refusal(delivery, item):
                item.seen_s = (now - item.judged_us) / 1e6
        waiting = [item for item in waiting if item.seen_s is None and not _refusal(delivery, item)]
        if not waiting or now >= until_us:
            return
        await asyncio.sleep(_LOOK_S)


def _refusal(delivery: Delivery, item: _Sent) -> str:
    """Returns the collector's word for refusing a batch; empty: it did not."""
    return next((code for *key, code in delivery.refused if tuple(key) == item.key), "")


def _result(delivery: Delivery, item: _Sent, point: str) -> dict[str, Any]:
    refused = _refusal(delivery, item) if item.key is not None else "not sealed"
    return {"point": point, "seen_s": None if item.seen_s is None else round(item.seen_s, 3), "refused": refused}


def _link(agent: Agent, keeper: Keeper, clock: Callable[[], int]) -> dict[str, Any]:
    uplink = agent.uplink
    down_us = None if uplink is None else uplink.down_us
    return {
        "link": "none" if uplink is None else "up" if uplink.is_up else "down",
        "link_down_s": None if down_us is None else round((clock() - down_us) / 1e6, 1),
        "is_kept": keeper.state is StoreState.NORMAL,
    }
