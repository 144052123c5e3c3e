"""What the gateway states of its limits: which are on trial, and who confirmed the others.

Stated for every point when the agent starts, when a reload changes it, and once a day, so that the centre
always knows how many points are on trial.  What a statement means is in docs/wire-format.md (*Confirmed*).
It only reads the plan; whether a limit is on trial is decided when the plan is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.confirmed import CONFIRMED, NONE, TRIAL, Confirmed
from edge_agent.plan import PointPlan
from rules import PointRules

#: it is stated again after this (us)
AGAIN_US = 86_400_000_000
#: so many points in one record, so that a statement can be parted where it is too large for one batch
_POINTS = 500


class ConfirmedLimits:
    """Remembers what was stated last, and when."""

    def __init__(self) -> None:
        self._points: Sequence[PointPlan] | None = None
        self._stated: tuple[Confirmed, ...] = ()
        self._stated_us = 0

    def due(self, points: Sequence[PointPlan], now_us: int) -> tuple[Confirmed, ...]:
        """Returns what is to be stated in a batch sealed now, and takes it to be stated."""
        is_again = self._points is not None and now_us - self._stated_us >= AGAIN_US
        if points is self._points and not is_again:
            return ()
        found = read_confirmed(points)
        is_news = found != self._stated
        self._points = points
        if not (is_news or is_again):
            return ()
        self._stated, self._stated_us = found, now_us
        return found


def read_confirmed(points: Sequence[PointPlan]) -> tuple[Confirmed, ...]:
    """Returns how the limits of points stand, those that stand alike together, in the order of the plan."""
    groups: dict[tuple[str, str, str, str, bytes], list[str]] = {}
    for point in points:
        groups.setdefault(_standing(point.rules), []).append(point.key)
    return tuple(
        Confirmed(state=state, by=by, at=day, document=document, digest=digest, points=tuple(keys[at : at + _POINTS]))
        for (state, by, day, document, digest), keys in groups.items()
        for at in range(0, len(keys), _POINTS)
    )


def _standing(rules: PointRules) -> tuple[str, str, str, str, bytes]:
    ids = [rule.id for group in (rules.limits, rules.watches, rules.pairs) for rule in group]
    if any(rules.is_on_trial(id) for id in ids):
        return TRIAL, "", "", "", b""
    letter = rules.confirmed
    if not ids or letter is None:
        return NONE, "", "", "", b""
    return CONFIRMED, letter.by, letter.at, letter.document, letter.digest
