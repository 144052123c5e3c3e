"""Which points confirm each other, and where that stands: the judge's part of ``rules.pair``.

A pair belongs to the point that names the other one.  It is looked at when an alarm of either
changes, and about once a second, because its window ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edge_agent.judged import JudgedPoint
from rules import PointState, Transition, is_active, step_pair


class Pairs:
    """The pairs of all points of a plan."""

    def __init__(self, points: Iterable[JudgedPoint] = ()) -> None:
        known = {point.plan.key: point for point in points}
        self._others: dict[str, JudgedPoint] = {}
        self._watching: dict[str, list[JudgedPoint]] = {}
        #: points that have a pair
        self.owners: tuple[JudgedPoint, ...] = tuple(point for point in known.values() if point.plan.rules.pairs)
        for owner in self.owners:
            for key in sorted({owner.plan.key, *(rule.point for rule in owner.plan.rules.pairs)}):
                self._watching.setdefault(key, []).append(owner)
                if key in known:
                    self._others[key] = known[key]

    def watching(self, key: str) -> Sequence[JudgedPoint]:
        """Returns the points whose pairs an alarm of this point concerns."""
        return self._watching.get(key, ())

    def step(self, owner: JudgedPoint, at_us: int) -> tuple[PointState, list[Transition]]:
        """Returns the state of a point with its pairs as they stand at ``at_us``, and what changed for others.

        While somebody works on the point its pairs stay as they are.
        """
        state, made = owner.state, list[Transition]()
        if state.inhibit is not None:
            return state, made
        pairs = list(state.pairs)
        for number, rule in enumerate(owner.plan.rules.pairs):
            other = self._others.get(rule.point)
            pairs[number], transitions = step_pair(
                rule,
                pairs[number],
                own=is_active(state, rule.own),
                other=other is not None and is_active(other.state, rule.other),
                at_us=at_us,
                boot=state.boot,
                sample=owner.last(),
            )
            made += transitions
        return (state if tuple(pairs) == state.pairs else replace(state, pairs=tuple(pairs))), made
