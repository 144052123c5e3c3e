"""From a transition of a rule to the alarm event that travels, which explains itself.

Pure.  The id of an event follows from what happened, so the same event sealed twice (by a volatile
epoch and again by the store) is the same event; the id of the event that raised an alarm follows
from its occurrence, so it is known after a restart too.
"""

from __future__ import annotations

from contracts.batch import AlarmEvent, event_id
from contracts.quality import NOT_ASKED
from edge_agent.plan import PointPlan
from rules import TRIAL, AlarmState, Occurrence, PointRules, Transition

#: scheme of the silence rule's severity: it watches the source and maps no published level
SUPERVISION = "supervision"


def words_of(rules: PointRules, rule_id: str) -> tuple[str, str, str] | None:
    """Returns (en, zh, scheme) of a rule; None when the point has no such rule."""
    for rule in rules.limits:
        if rule.id == rule_id:
            return rule.en, rule.zh, rule.scheme
    computed = [watch.limit for watch in rules.watches] + [pair.limit for pair in rules.pairs]
    for rule in computed:
        if rule.id == rule_id:
            return rule.en, rule.zh, rule.scheme
    silence = rules.silence
    if silence is not None and silence.id == rule_id:
        return silence.en, silence.zh, SUPERVISION
    return None


def raise_id(gateway: str, point: str, occurrence: Occurrence) -> bytes:
    """Returns the id of the event that raised an alarm."""
    at = occurrence.raised_at_us
    return event_id(gateway, occurrence.boot, point, occurrence.rule_hash, AlarmState.ACTIVE.value, at)


def event_of(
    transition: Transition,
    *,
    gateway: str,
    boot_id: bytes,
    point: PointPlan,
    before: AlarmEvent | None,
    judged_us: int,
) -> AlarmEvent:
    """Returns the event that tells of a transition.

    Args:
        boot_id: whose monotonic clock the transition's times are of.
        point: as it is, or was before it was removed.
        before: the alarm's newest event, which knows the words of a rule that is gone.
        judged_us: monotonic.
    """
    words = words_of(point.rules, transition.rule_id)
    if words is None:
        words = (before.rule_en, before.rule_zh, before.scheme) if before is not None else (transition.rule_id,) * 3
    sample = transition.sample
    state = transition.alarm.value
    return AlarmEvent(
        id=event_id(gateway, boot_id, point.key, transition.rule_hash, state, transition.at_us),
        raised_by=raise_id(gateway, point.key, transition.occurrence),
        boot_id=boot_id,
        point=point.key,
        quantity=point.quantity,
        unit=point.unit,
        en=point.en,
        zh=point.zh,
        rule_id=transition.rule_id,
        rule_hash=transition.rule_hash,
        rule_en=words[0],
        rule_zh=words[1],
        severity=transition.severity.value,
        scheme=words[2],
        state=state,
        cause=transition.cause.value,
        limit=transition.limit,
        value=None if sample is None else sample.value,
        code=NOT_ASKED if sample is None else sample.code,
        sampled_us=transition.at_us if sample is None else sample.at_us,
        judged_us=judged_us,
        marks=(*transition.marks, TRIAL) if point.rules.is_on_trial(transition.rule_id) else transition.marks,
    )


def ended(event: AlarmEvent, cause: str, *, gateway: str, boot_id: bytes, now_us: int) -> AlarmEvent:
    """Returns the event that ends an alarm that no rule follows any more, from its newest event alone."""
    return AlarmEvent(
        id=event_id(gateway, boot_id, event.point, event.rule_hash, AlarmState.CLEARED.value, now_us),
        raised_by=event.raised_by,
        boot_id=boot_id,
        point=event.point,
        quantity=event.quantity,
        unit=event.unit,
        en=event.en,
        zh=event.zh,
        rule_id=event.rule_id,
        rule_hash=event.rule_hash,
        rule_en=event.rule_en,
        rule_zh=event.rule_zh,
        severity=event.severity,
        scheme=event.scheme,
        state=AlarmState.CLEARED.value,
        cause=cause,
        limit=event.limit,
        value=None,
        code=NOT_ASKED,
        sampled_us=now_us,
        judged_us=now_us,
        marks=tuple(mark for mark in event.marks if mark == TRIAL),
    )
