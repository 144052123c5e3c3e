"""The reset of a latched alarm by a named person: what it needs, and what it changes.

Acknowledging is another thing and never resets.  Any kind of rule can latch; a reset is refused
while the condition stands, while the point's newest value is not good, while the point is
inhibited, and while its source is silent.
"""

from __future__ import annotations

from dataclasses import replace

from rules.limit import Signal, Told, advance, refusal
from rules.model import LimitRule
from rules.point_state import PointRules, PointState, Reset
from rules.state import Cause, LimitState, Sample


def reset(rules: PointRules, state: PointState, rule_id: str, *, by: str, last: Sample | None, now_us: int) -> Reset:
    """Returns what becomes of a reset of one latched alarm by a named person.

    Args:
        by: the person's name.
        last: newest sample of the point, of whatever quality.
    """
    found = _find(rules, state, rule_id)
    if found is None:
        return Reset(state=state, refused=f"there is no limit {rule_id!r} here")
    number, rule, item, told = found
    refused = refusal(item, last, by, rule if told is None else None)
    if not refused and state.inhibit is not None:
        refused = "the point is inhibited"
    if not refused and state.silence is not None:
        refused = "the source is silent"
    if refused or last is None:
        return Reset(state=state, refused=refused)
    after, made = advance(
        rule,
        item,
        Signal.RESET,
        last,
        state.boot,
        cause=Cause.RESET,
        at_us=now_us,
        marks=(f"by={by.strip()}",),
        told=told,
    )
    return Reset(state=_with(rules, state, number, after), transitions=made)


def _find(rules: PointRules, state: PointState, rule_id: str) -> tuple[int, LimitRule, LimitState, Told | None] | None:
    """The rule's place among limits, watches and pairs together, and where it stands."""
    places: list[tuple[str, LimitRule, LimitState, Told | None]] = [
        (rule.id, rule, item, None) for rule, item in zip(rules.limits, state.limits, strict=True)
    ]
    for watch, item in zip(rules.watches, state.watches, strict=True):
        places.append((watch.id, watch.limit, item, watch.told))
    for pair, both in zip(rules.pairs, state.pairs, strict=True):
        places.append((pair.id, pair.limit, both.limit, pair.told))
    for number, (found, rule, item, told) in enumerate(places):
        if found == rule_id:
            return number, rule, item, told
    return None


def _with(rules: PointRules, state: PointState, number: int, after: LimitState) -> PointState:
    limits = len(rules.limits)
    if number < limits:
        return replace(state, limits=_put(state.limits, number, after))
    number -= limits
    if number < len(rules.watches):
        return replace(state, watches=_put(state.watches, number, after))
    number -= len(rules.watches)
    pairs = list(state.pairs)
    pairs[number] = replace(pairs[number], limit=after)
    return replace(state, pairs=tuple(pairs))


def _put(items: tuple[LimitState, ...], number: int, after: LimitState) -> tuple[LimitState, ...]:
    return (*items[:number], after, *items[number + 1 :])
