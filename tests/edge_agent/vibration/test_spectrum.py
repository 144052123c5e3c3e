"""Spectra against scipy and published cases.

Tolerances: density 1e-9 of scipy's; a refined frequency within 0.02 lines without noise, 0.1 lines in the
noise here; a tone up to 0.3 of the rate, read up to a tenth of a step beside: 0.04 of its amplitude, root mean square.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import interpolate, signal

from edge_agent.vibration.spectrum import Floats, dominant, resample, segment_length, welch


def tone(hz: float, rate: float, count: int, amplitude: float = 1.0, phase: float = 0.3) -> Floats:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * np.arange(count) / rate + phase))


@pytest.mark.parametrize(("count", "segment"), [(1000, 400), (1000, 1000), (257, 64), (4096, 512)])
def test_the_density_is_that_of_scipy(count: int, segment: int) -> None:
    values = np.random.default_rng(5).normal(3.0, 1.0, count) + tone(7.3, 100.0, count)
    frequencies, density = signal.welch(values, 100.0, window="hann", nperseg=segment, detrend="constant")
    ours = welch([values], 100.0, segment)
    np.testing.assert_allclose(ours.frequencies, frequencies, rtol=1e-12)
    np.testing.assert_allclose(ours.density, density, rtol=1e-9, atol=1e-15)


def test_stretches_are_averaged_and_no_segment_lies_over_a_gap() -> None:
    noise = np.random.default_rng(6).normal(0, 1, 1000)
    parts = [noise[:450], noise[500:]]
    ours = welch(parts, 50.0, 200)
    alone = [signal.welch(part, 50.0, window="hann", nperseg=200)[1] for part in parts]
    counts = [(len(part) - 200) // 100 + 1 for part in parts]
    expected = np.average(alone, axis=0, weights=counts)
    np.testing.assert_allclose(ours.density, expected, rtol=1e-9)
    assert ours.segments == sum(counts)


def test_the_published_case_of_scipys_manual() -> None:
    """scipy.signal.welch, Examples: 2 Vrms at 1234 Hz in white noise of 0.001 V**2/Hz, sampled at 10 kHz."""
    rate, count = 10e3, 100_000
    values = tone(1234.0, rate, count, 2 * math.sqrt(2))
    values = values + np.random.default_rng(7).normal(scale=math.sqrt(0.001 * rate / 2), size=count)
    spectrum = welch([values], rate, 1024)
    (peak,) = dominant(spectrum, 3)
    assert peak.hz == pytest.approx(1234.0, abs=0.05 * spectrum.line_hz)
    floor = float(np.mean(spectrum.density[256:-1]))
    assert floor == pytest.approx(0.001, rel=0.05)
    near = slice(int(1234 / spectrum.line_hz) - 4, int(1234 / spectrum.line_hz) + 6)
    power = float(np.sum(spectrum.density[near]) * spectrum.line_hz) - 10 * 0.001 * spectrum.line_hz
    assert math.sqrt(power) == pytest.approx(2.0, rel=0.02)


def test_the_published_figures_of_the_hann_window() -> None:
    """F. J. Harris, Proc. IEEE 66 (1978) 51-83, table 1: noise bandwidth 1.50 lines, scalloping 1.42 dB."""
    segment, rate = 512, 512.0
    on_a_line = welch([tone(100.0, rate, segment)], rate, segment).density.max()
    between = welch([tone(100.5, rate, segment)], rate, segment).density.max()
    assert 10 * math.log10(on_a_line / between) == pytest.approx(1.42, abs=0.01)
    # Mean square of the tone is 1/2: its line has that over 1.5 lines of 1 Hz.
    assert on_a_line == pytest.approx(0.5 / 1.5, rel=1e-3)


@given(st.floats(0.08, 0.39), st.floats(0, 6.28), st.integers(100, 400))
def test_a_refined_frequency_is_within_a_fiftieth_of_a_line(share: float, phase: float, half: int) -> None:
    segment, rate = 2 * half, 50.0
    spectrum = welch([tone(share * rate, rate, 4 * segment, phase=phase)], rate, segment)
    peaks = dominant(spectrum, 2)
    assert len(peaks) == 1
    assert abs(peaks[0].hz - share * rate) <= 0.02 * spectrum.line_hz


def test_the_peaks_are_those_scipy_finds() -> None:
    rate, count = 100.0, 4000
    values = tone(3.21, rate, count, 0.5) + tone(11.7, rate, count, 1.0) + tone(27.05, rate, count, 0.2)
    values = values + np.random.default_rng(8).normal(0, 0.05, count)
    spectrum = welch([values], rate, segment_length([count]))
    ours = [peak.hz for peak in dominant(spectrum, 5)]
    lines, facts = signal.find_peaks(spectrum.density, height=12 * float(np.median(spectrum.density)), distance=4)
    theirs = spectrum.frequencies[lines][np.argsort(-facts["peak_heights"])]
    assert ours == pytest.approx(list(theirs), abs=0.5 * spectrum.line_hz)
    assert ours == pytest.approx([11.7, 3.21, 27.05], abs=0.1 * spectrum.line_hz)


def test_the_modes_of_a_simply_supported_beam_stand_as_1_4_9() -> None:
    """Euler-Bernoulli: f_n = n**2 f_1.  Each mode is driven by noise through 1 % of critical damping."""
    rate, count, first = 100.0, 12_000, 3.6
    drive = np.random.default_rng(9)
    values = np.zeros(count)
    for mode in (1, 2, 3):
        at, damping = first * mode**2, 0.01
        pole = np.exp((-damping + 1j * math.sqrt(1 - damping**2)) * 2 * np.pi * at / rate)
        response = signal.lfilter([1.0], [1.0, -2 * pole.real, abs(pole) ** 2], drive.normal(0, 1, count))
        values += response / response.std() / mode
    spectrum = welch([values], rate, 400)
    found = sorted(peak.hz for peak in dominant(spectrum, 3))
    assert found == pytest.approx([first, 4 * first, 9 * first], abs=0.5 * spectrum.line_hz)


def test_no_frequency_is_shown_that_the_rate_cannot_carry() -> None:
    rate, count = 50.0, 2000
    for hz in (20.5, 22.0, 24.9):
        assert dominant(welch([tone(hz, rate, count)], rate, 800), 3) == (), hz
    spectrum = welch([tone(19.9, rate, count)], rate, 800)
    assert spectrum.highest_hz == 20.0
    assert [round(peak.hz, 2) for peak in dominant(spectrum, 3)] == [19.9]


def test_no_frequency_is_shown_that_the_window_is_too_short_for() -> None:
    rate, segment = 50.0, 200  # 4 s: lines every 0.25 Hz, four periods from 1 Hz on
    assert dominant(welch([tone(0.5, rate, 1000)], rate, segment), 3) == ()
    slow = np.arange(1000) * 0.01  # a drift is no frequency
    assert dominant(welch([np.asarray(slow)], rate, segment), 3) == ()
    assert len(dominant(welch([tone(1.1, rate, 1000)], rate, segment), 3)) == 1


@pytest.mark.ci
def test_noise_alone_has_no_frequency() -> None:
    """White and red noise, 300 windows of each: one false frequency in a hundred windows at most."""
    source = np.random.default_rng(10)
    false = {"white": 0, "red": 0}
    for _ in range(300):
        white = source.normal(0, 1, 1000)
        red = signal.lfilter([1.0], [1.0, -0.9], source.normal(0, 1, 1000))
        for name, values in (("white", white), ("red", np.asarray(red))):
            false[name] += bool(dominant(welch([values], 50.0, segment_length([1000])), 3))
    assert max(false.values()) <= 3, false


def test_two_frequencies_closer_than_the_window_tells_apart_are_one() -> None:
    rate, segment = 50.0, 500
    values = tone(5.0, rate, 2000) + tone(5.15, rate, 2000, 0.8, phase=1.0)
    assert len(dominant(welch([values], rate, segment), 3)) == 1


@pytest.mark.parametrize(
    ("runs", "segment"), [([], 0), ([70], 0), ([80], 32), ([1000], 400), ([300, 300, 400], 400), ([100] * 10, 100)]
)
def test_a_segment_fits_the_longest_stretch(runs: list[int], segment: int) -> None:
    assert segment_length(runs) == segment


def test_a_stretch_shorter_than_a_segment_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="segment of 64"):
        welch([np.zeros(10)], 50.0, 64)


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.3))
def test_a_resampled_tone_is_the_tone(seed: int, share: float) -> None:
    source = np.random.default_rng(seed)
    times = np.arange(200) + source.uniform(-0.1, 0.1, 200)
    grid = np.arange(2, 198).astype(np.float64)
    found = resample(times, np.sin(2 * np.pi * share * times), grid)
    assert np.max(np.abs(found - np.sin(2 * np.pi * share * grid))) <= 0.1
    rms = math.sqrt(float(np.mean((found - np.sin(2 * np.pi * share * grid)) ** 2)))
    assert rms <= 0.04


def test_a_cubic_is_met_exactly_and_scipys_curve_nearly() -> None:
    times = np.sort(np.random.default_rng(11).uniform(0, 50, 60))
    grid = np.arange(1.0, 49.0)
    cubic = times**3 - 4 * times**2 + 1
    np.testing.assert_allclose(resample(times, cubic, grid), grid**3 - 4 * grid**2 + 1, rtol=1e-6, atol=1e-3)
    even = np.arange(100) + 0.05 * np.sin(np.arange(100))
    smooth = np.sin(2 * np.pi * 0.05 * even)
    theirs = interpolate.CubicSpline(even, smooth)(np.arange(3, 97))
    np.testing.assert_allclose(resample(even, smooth, np.arange(3, 97).astype(float)), theirs, atol=2e-3)


def test_a_sensor_at_rest_has_no_frequency() -> None:
    for level in (0.0, 1.0, 1 / 3):
        assert dominant(welch([np.full(1000, level)], 50.0, 400), 3) == ()
