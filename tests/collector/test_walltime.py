"""Which anchor is believed."""

from __future__ import annotations

import pytest

from collector.walltime import UNKNOWN_CLOCK, BootClock, Trust, improve
from contracts.batch import Anchor, ClockState

S = 1_000_000


def anchor(mono_s: int, offset_s: int, state: ClockState, uncertainty_ms: int | None = 5) -> Anchor:
    return Anchor(mono_us=mono_s * S, wall_us=(mono_s + offset_s) * S, state=state, uncertainty_ms=uncertainty_ms)


NTP, FREE, UNSET = ClockState.SYNCHRONISED, ClockState.FREE_RUNNING, ClockState.UNSET
ARRIVED = (UNKNOWN_CLOCK, 10 * S, 1010 * S)


@pytest.mark.parametrize(
    ("anchors", "offset_s", "trust"),
    [
        ((), 1000, Trust.ARRIVAL),
        ((anchor(9, 999, NTP),), 999, Trust.TRUSTED),
        ((anchor(9, 998, NTP), anchor(10, 999, NTP)), 999, Trust.TRUSTED),
        ((anchor(9, 900, FREE),), 900, Trust.FREE),
        ((anchor(9, 900, FREE, None),), 1000, Trust.ARRIVAL),
        ((anchor(9, 0, UNSET),), 1000, Trust.ARRIVAL),
        ((anchor(9, 1006, NTP),), 1000, Trust.ARRIVAL),
        ((anchor(9, 1004, NTP),), 1004, Trust.TRUSTED),
    ],
)
def test_the_best_anchor_wins(anchors: tuple[Anchor, ...], offset_s: int, trust: Trust) -> None:
    clock = improve(UNKNOWN_CLOCK, anchors, 10 * S, 1010 * S)
    assert (clock.offset_us, clock.trust, clock.bound_us) == (offset_s * S, trust, 1000 * S)


def test_a_tighter_arrival_improves_and_a_looser_one_does_not() -> None:
    clock = improve(UNKNOWN_CLOCK, (), 10 * S, 1310 * S)
    clock = improve(clock, (), 400 * S, 1401 * S)
    assert clock == BootClock(bound_us=1001 * S, offset_us=1001 * S, trust=Trust.ARRIVAL)
    assert improve(clock, (), 20 * S, 9999 * S) == clock


def test_trusted_is_not_replaced_by_less() -> None:
    clock = improve(UNKNOWN_CLOCK, (anchor(9, 999, NTP),), 10 * S, 1010 * S)
    assert improve(clock, (anchor(11, 900, FREE),), 12 * S, 1012 * S).offset_us == 999 * S
