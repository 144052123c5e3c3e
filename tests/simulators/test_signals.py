"""Laws and cases of signals: pure functions of time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.errors import SignalError
from simulators.signals import (
    Approach,
    Constant,
    Count,
    Noise,
    Ramp,
    Ring,
    Signal,
    Sine,
    State,
    Steps,
    Sum,
    Walk,
    add,
    shown_at,
    unit_hash,
)

TIMES = st.floats(min_value=0, max_value=1e6)
VALUES = st.floats(min_value=-1e6, max_value=1e6)
SEEDS = st.integers(min_value=0, max_value=2**32)


@pytest.mark.parametrize(
    ("signal", "t_s", "value"),
    [
        (Constant(value=3.5), 99.0, 3.5),
        (Sine(mean=1.0, amplitude=2.0, period_s=4.0), 0.0, 1.0),
        (Sine(mean=1.0, amplitude=2.0, period_s=4.0), 1.0, 3.0),
        (Sine(amplitude=2.0, period_s=4.0, phase_s=3.0), 0.0, -2.0),
        (Ramp(start=1.0, end=5.0, over_s=4.0), 1.0, 2.0),
        (Ramp(start=1.0, end=5.0, over_s=4.0), 400.0, 5.0),
        (Steps(steps=((1.0, 10.0), (3.0, 20.0))), 0.0, 10.0),
        (Steps(steps=((1.0, 10.0), (3.0, 20.0))), 3.0, 20.0),
        (Approach(start=0.0, end=100.0, tau_s=10.0), 0.0, 0.0),
        (Approach(start=0.0, end=100.0, tau_s=10.0), 10.0, 100.0 * (1 - math.exp(-1))),
        (Ring(amplitude=1.0, period_s=4.0, tau_s=2.0), 1.0, math.exp(-0.5)),
        (Ring(amplitude=1.0, period_s=4.0, tau_s=2.0, every_s=10.0), 11.0, math.exp(-0.5)),
        (Count(every_s=5.0), 14.9, 2.0),
        (Count(every_s=1.0, modulo=3), 4.0, 1.0),
        (Sum(parts=(Constant(value=1.0), Constant(value=2.0))), 0.0, 3.0),
    ],
)
def test_value_at_a_time(signal: Signal, t_s: float, value: float) -> None:
    assert signal.at(t_s) == pytest.approx(value)


@given(t=TIMES, seed=SEEDS, amplitude=st.floats(min_value=0, max_value=1e3))
def test_noise_is_the_same_each_time_and_stays_within_its_amplitude(t: float, seed: int, amplitude: float) -> None:
    signal = Noise(amplitude=amplitude, seed=seed, tick_s=0.5)
    assert signal.at(t) == Noise(amplitude=amplitude, seed=seed, tick_s=0.5).at(t)
    assert abs(signal.at(t)) <= amplitude


@given(t=TIMES, seed=SEEDS)
def test_a_walk_stays_within_reach_and_has_no_jumps(t: float, seed: int) -> None:
    signal = Walk(start=5.0, reach=2.0, seed=seed, tick_s=1.0)
    assert 3.0 <= signal.at(t) <= 7.0
    # six layers, each at most twice its height apart within one tick of it
    assert abs(signal.at(t + 0.001) - signal.at(t)) <= 2.0 * 6 * 2 * 0.001 / 63 * 32


@given(start=VALUES, end=VALUES, t=TIMES)
def test_ramp_and_approach_stay_between_their_ends(start: float, end: float, t: float) -> None:
    low, high = min(start, end), max(start, end)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    for signal in (Ramp(start=start, end=end, over_s=7.0), Approach(start=start, end=end, tau_s=7.0)):
        assert low - slack <= signal.at(t) <= high + slack


@given(seed=SEEDS, tick=st.integers(min_value=-1000, max_value=10**9))
def test_the_hash_is_from_minus_one_to_one(seed: int, tick: int) -> None:
    assert -1.0 <= unit_hash(seed, tick) <= 1.0


def test_different_seeds_and_ticks_differ() -> None:
    values = {unit_hash(seed, tick) for seed in range(20) for tick in range(20)}
    assert len(values) == 400


def test_a_state_shows_its_word() -> None:
    assert shown_at(State(word="fault"), 3.0) == "fault"
    assert shown_at(Constant(value=1.0), 3.0) == 1.0


def test_one_signal_alone_is_not_wrapped() -> None:
    signal = Constant(value=1.0)
    assert add([signal]) is signal


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sine(amplitude=1.0, period_s=0.0),
        lambda: Ramp(start=0.0, end=1.0, over_s=-1.0),
        lambda: Steps(steps=()),
        lambda: Steps(steps=((2.0, 1.0), (1.0, 1.0))),
        lambda: State(word="tired"),
        lambda: Approach(start=0.0, end=1.0, tau_s=math.nan),
    ],
)
def test_an_impossible_signal_cannot_be_built(make: object) -> None:
    with pytest.raises(SignalError):
        make()  # type: ignore[operator]
