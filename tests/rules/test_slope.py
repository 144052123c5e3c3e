"""The robust slope: what it finds, what does not move it, and that it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.slope import EMPTY, MIN_SAMPLES, SLOTS, Track, follow, slope_of

S = 1_000_000
WINDOW = 600 * S


def tracked(values: list[float], *, step_s: int = 25) -> Track:
    track = EMPTY
    for number, value in enumerate(values):
        track = follow(track, number * step_s * S, value, WINDOW)
    return track


def test_a_straight_line_has_its_slope_and_no_noise() -> None:
    slope = tracked([10 + 0.5 * n for n in range(20)]).slope
    assert slope is not None
    assert slope.middle == pytest.approx(0.02)
    assert (slope.low, slope.high) == (pytest.approx(0.02), pytest.approx(0.02))
    assert slope.noise == pytest.approx(0, abs=1e-12)


def test_one_spike_moves_it_little_and_two_samples_would_follow_it() -> None:
    values = [10.0] * 19 + [90.0]
    slope = tracked(values).slope
    assert slope is not None
    assert slope.middle == 0


@pytest.mark.parametrize(
    ("values", "step_s", "is_known"),
    [
        ([1.0] * (MIN_SAMPLES - 1), 100, False),
        ([1.0] * MIN_SAMPLES, 100, True),
        # five samples that cover too little of the window
        ([1.0] * MIN_SAMPLES, 25, False),
    ],
)
def test_too_few_samples_have_no_slope(values: list[float], step_s: int, is_known: bool) -> None:
    assert (tracked(values, step_s=step_s).slope is not None) is is_known


def test_a_slot_takes_one_sample_and_old_ones_leave() -> None:
    track = tracked([float(n) for n in range(2000)], step_s=1)
    assert len(track.times) <= SLOTS + 1
    assert track.times[-1] - track.times[0] <= WINDOW
    assert follow(track, track.times[-1] + 1, 5.0, WINDOW) is track


FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(FLOATS, min_size=2, max_size=25))
def test_the_middle_lies_between_the_ends_of_its_range(values: list[float]) -> None:
    slope = slope_of(tuple(n * S for n in range(len(values))), tuple(values))
    assert slope.low <= slope.middle <= slope.high
    assert slope.noise >= 0


@given(st.lists(FLOATS, min_size=6, max_size=25), st.floats(-10, 10), st.floats(-100, 100))
def test_what_is_added_to_a_line_is_added_to_its_slope(values: list[float], more: float, base: float) -> None:
    times = tuple(n * S for n in range(len(values)))
    one = slope_of(times, tuple(values)).middle
    two = slope_of(times, tuple(value + base + more * n for n, value in enumerate(values))).middle
    assert two == pytest.approx(one + more, abs=1e-4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=20, max_size=25), st.data())
def test_spikes_in_a_quarter_of_the_samples_do_not_leave_the_range_of_the_rest(
    noise: list[float], data: st.DataObject
) -> None:
    """Breakdown point 29 %: with a line below and spikes of any size, the slope stays that of the line."""
    count = len(noise)
    spikes = data.draw(st.sets(st.integers(0, count - 1), max_size=count // 5))
    values = [2.0 * n + (noise[n] if n in spikes else 0.0) for n in range(count)]
    assert slope_of(tuple(n * S for n in range(count)), tuple(values)).middle == pytest.approx(2.0)
