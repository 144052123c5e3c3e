"""One visit that runs: what is remembered of it, where its point is found in rows, and what a person is shown.

It decides nothing (``rules.visiting`` does) and changes nothing (``visits.py`` does).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from contracts.quality import CODES, GOOD, quality_of
from contracts.visit import Visit
from edge_agent.judged import Codes
from edge_agent.plan import Plan, PointPlan
from edge_agent.readings import value_text
from rules.state import Sample
from rules.visiting import Stage, VisitRule, VisitState, advice, is_sure, outcome, time_to_90


@dataclass(slots=True, kw_only=True)
class Running:
    """One visit, and where its point is found in rows."""

    point: PointPlan
    rule: VisitRule
    state: VisitState
    by: str
    note: str
    serial: str
    #: of the newest sample or stage; grows
    revision: int = 0
    #: (block, place) of the point in the plan that runs
    places: frozenset[tuple[int, int]] = frozenset()
    #: set and replaced whenever the revision grows
    news: asyncio.Event = field(default_factory=asyncio.Event)
    record: Visit | None = None


def places_of(plan: Plan, key: str) -> frozenset[tuple[int, int]]:
    """Returns where a point is found: (block, place in its rows)."""
    return frozenset(
        (number, place)
        for number, block in enumerate(plan.row_blocks)
        for place, point in enumerate(block.points)
        if plan.points[point].key == key
    )


def sample_of(point: PointPlan, value: int | float | None, codes: Codes, place: int, at_us: int) -> Sample:
    """Returns a point's sample of one row, in its unit."""
    code = GOOD if codes is None else codes[place]
    if value is None:
        return Sample(value=None, code=code, at_us=at_us)
    return Sample(
        value=float(value * point.resolution) if point.kind == "int" else float(value), code=code, at_us=at_us
    )


def view_of(visit: Running, plan: Plan, now: int) -> dict[str, Any]:
    """Returns what a person is shown of a visit, as plain JSON values; times in seconds."""
    rule, state, point = visit.rule, visit.state, visit.point
    found, last = outcome(rule, state), state.last
    is_done = state.stage is Stage.DONE
    code = None if last is None else CODES.get(last.code)
    return {
        "point": point.key,
        "en": point.en,
        "zh": point.zh,
        "unit": point.unit,
        "job": rule.job.value,
        "by": visit.by,
        "stage": state.stage.value,
        "advice": advice(rule, state, now).value,
        "revision": visit.revision,
        "value": None if last is None else last.value,
        "text": "" if last is None or last.value is None else _text(point, last.value),
        "quality": None if last is None else quality_of(last.code).value,
        "reason_en": "not read yet" if last is None else code.en if code else f"code {last.code}",
        "reason_zh": "尚未读取" if last is None else code.zh if code else f"代码 {last.code}",
        "is_number_sure": last is not None and is_sure(last),
        "age_s": None if last is None else _seconds(now - last.at_us),
        "zero": state.zero,
        "applied": rule.applied,
        "peak": found.peak,
        "gas_s": _seconds_since(state.gas_us, state.ended_us or now),
        "off_s": _seconds_since(state.off_us, state.ended_us or now),
        "t90_s": _seconds(time_to_90(rule, state)),
        "t90_limit_s": _seconds(rule.t90_limit_us),
        "return_s": _seconds(found.return_us),
        "return_limit_s": _seconds(rule.return_limit_us),
        "without_number": state.without_number,
        "failing": state.fault,
        "left_s": 0.0 if is_done else _seconds(max(0, state.until_us - now)),
        "result": found.result if is_done else None,
        "result_reason": found.reason if is_done else "",
        "id": None if visit.record is None else visit.record.id.hex(),
        "serial": visit.serial,
        "note": visit.note,
        "own_alarms": _own_alarms(plan, point),
    }


def _text(point: PointPlan, value: float) -> str:
    counts = round(value / point.resolution) if point.kind == "int" else value
    return value_text(point, counts)


def _own_alarms(plan: Plan, point: PointPlan) -> list[str]:
    """Keys of the instrument's own alarms beside a point: they are points of their own, and are not inhibited."""
    beside = (item for item in plan.points if item.device == point.device and item.quantity == "own-alarm")
    return [item.key for item in beside if item.rules.limits or item.rules.watches]


def _seconds(us: int | None) -> float | None:
    return None if us is None else round(us / 1e6, 1)


def _seconds_since(since_us: int | None, now_us: int) -> float | None:
    return None if since_us is None else _seconds(max(0, now_us - since_us))
