"""What rules would have raised on readings of the past.

Pure: samples in the order of their times go through the same steps as live ones.  Where no
sample comes for long, silence is looked at as the running agent would, once a second at most.
What it cannot know is said nowhere in the readings: inhibits, restarts, and second points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rules.point import check_silence, is_heard, silence_due_us, start, step_point
from rules.point_state import PointRules, PointState
from rules.state import Sample, Transition

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of a story."""

    #: in the order of their times
    transitions: tuple[Transition, ...]
    #: where everything stood at the end
    state: PointState
    samples: int


def replay(rules: PointRules, samples: Iterable[Sample], *, boot: bytes = b"replay") -> Replay:
    """Returns what the rules would have told of these samples.

    Args:
        samples: in the order of their times (monotonic us of one clock).
    """
    made: list[Transition] = []
    state: PointState | None = None
    heard_us: int | None = None
    last: Sample | None = None
    count = 0
    for sample in samples:
        if state is None:
            state = start(rules, boot=boot, now_us=sample.at_us)
        # The agent looks once a second; only the first look that finds silence matters.
        due = silence_due_us(rules, state, heard_us)
        if due is not None and sample.at_us - due >= _SECOND_US:
            state, new = check_silence(rules, state, heard_us=heard_us, now_us=due, last=last)
            made += new
        state, new = step_point(rules, state, sample)
        made += new
        heard_us = sample.at_us if is_heard(sample.code) else heard_us
        last = sample
        count += 1
    if state is None:
        state = start(rules, boot=boot, now_us=0)
    return Replay(transitions=tuple(made), state=state, samples=count)
