"""What the judge keeps of each point and of each block between two rows: records that change, and no decisions.

A point has its state and its quiet band, the open interval in which the rules have nothing to say; a block
has the bands of its points as counts, beside each other, so that a quiet row costs two comparisons a point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from contracts.columns import MAX_COUNT
from contracts.quality import GOOD
from edge_agent.plan import PointPlan
from rules import LimitState, PairState, Phase, PointState, Sample, quiet_band, quiet_counts

Row = Sequence[int | float | None]
Codes = Sequence[int] | None
_BEYOND = MAX_COUNT + 1


class JudgedPoint:
    """One point: its plan, where it stands, and what follows from that for the next sample."""

    __slots__ = (
        "_block",
        "_is_at_rest",
        "_place",
        "_resolution",
        "carried",
        "has_rules",
        "heard_us",
        "ignores_unproven",
        "plan",
        "state",
    )

    def __init__(self, plan: PointPlan, state: PointState) -> None:
        self.plan = plan
        self.has_rules = bool(plan.rules.limits or plan.rules.watches) or plan.rules.silence is not None
        #: newest good or uncertain sample that was looked at closely, monotonic us
        self.heard_us: int | None = None
        #: newest sample under an earlier plan
        self.carried: Sample | None = None
        self._resolution: Fraction | None = plan.resolution if plan.kind == "int" else None
        self._block: JudgedBlock | None = None
        self._place = 0
        self.state = state
        self._is_at_rest: bool | None = None
        #: whether a sample that proves nothing leaves the state as it is
        self.ignores_unproven = not plan.rules.watches and _ignores_unproven(state)

    def join(self, block: JudgedBlock, place: int) -> None:
        """Takes its place in a block."""
        self._block, self._place = block, place
        self.put(self.state)

    def part(self) -> None:
        """Gives its place up; it takes no further rows."""
        self._block = None

    def put(self, state: PointState) -> None:
        """Takes a new state, and what follows from it."""
        self.state = state
        self._is_at_rest = None
        self.ignores_unproven = not self.plan.rules.watches and _ignores_unproven(state)
        if self._block is None:
            return
        band = quiet_band(self.plan.rules, state)
        if self._resolution is not None:
            low, high = quiet_counts(band, self._resolution)
            # Integers compare faster with integers; no count lies beyond these.
            band = (_whole(low), _whole(high))
        self._block.lows[self._place], self._block.highs[self._place] = band

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing of its state needs to be kept: it is as it was when the point began.

        Looked at with every alarm and of every point, so the answer is kept until a new state is put.
        """
        if self._is_at_rest is None:
            self._is_at_rest = _is_as_started(self.state)
        return self._is_at_rest

    def sample(self, value: int | float | None, code: int, at_us: int) -> Sample:
        """Returns a sample in the unit of the rules; a count becomes the float nearest to it."""
        if value is None:
            return Sample(value=None, code=code, at_us=at_us)
        number = float(value) if self._resolution is None else float(value * self._resolution)
        return Sample(value=number, code=code, at_us=at_us)

    def heard(self) -> int | None:
        """Returns the time of the newest good or uncertain sample of this boot; None: none yet."""
        block = -1 if self._block is None else self._block.heard_us
        own = -1 if self.heard_us is None else self.heard_us
        newest = max(block, own)
        return None if newest < 0 else newest

    def last(self) -> Sample | None:
        """Returns the newest sample, of whatever quality."""
        block = self._block
        if block is None or block.row is None:
            return self.carried
        code = GOOD if block.codes is None else block.codes[self._place]
        return self.sample(block.row[self._place], code, block.sampled_us)


class JudgedBlock:
    """One block: its points, their quiet bands in counts, and its newest row."""

    __slots__ = ("codes", "heard_us", "highs", "lows", "points", "row", "sampled_us", "silence_us")

    def __init__(self, points: Iterable[JudgedPoint]) -> None:
        self.points = tuple(points)
        self.lows: list[float] = [-math.inf] * len(self.points)
        self.highs: list[float] = [math.inf] * len(self.points)
        self.row: Row | None = None
        self.codes: Codes = None
        self.sampled_us = 0
        #: newest row that was all good and quiet, monotonic us; -1: none yet
        self.heard_us = -1
        rules = [point.plan.rules.silence for point in self.points]
        #: shortest silence that one of its points may not have; None where none is watched
        self.silence_us = min((rule.after_us for rule in rules if rule is not None), default=None)
        for place, point in enumerate(self.points):
            point.join(self, place)

    def leave(self) -> None:
        """Lets its points go when another plan runs.

        They know their block and it knows them: together they would stay, and the whole plan before with them,
        until the collector of cycles comes by, which in a daemon that makes few objects may be hours later.
        """
        for point in self.points:
            point.part()
        self.points = ()


def _is_as_started(state: PointState) -> bool:
    settled = state.silence is None and state.inhibit is None and state.passed_us is None and not state.lost_samples
    limits = (*state.limits, *state.watches)
    is_apart = all(item == PairState(limit=LimitState(rule_id=item.limit.rule_id)) for item in state.pairs)
    return settled and is_apart and all(item == LimitState(rule_id=item.rule_id) for item in limits)


def _ignores_unproven(state: PointState) -> bool:
    # Bad and missing samples matter to an inhibit (its newest sample), to a running off-delay
    # (which they pause) and to a gas point that may be lost while it rises.
    is_clearing = any(item.phase is Phase.CLEARING for item in state.limits)
    return state.inhibit is None and state.passed_us is None and state.lost_samples == 0 and not is_clearing


def _whole(count: float) -> float:
    return int(max(-_BEYOND, min(_BEYOND, count)))
