"""Spectra of bursts: Welch's estimate, and the frequencies that stand out of it.

The only module with features.py that imports numpy, and both are only imported when a burst is
configured.  No I/O, no plan, no unit.

Welch's method: P. D. Welch, "The use of fast Fourier transform for the estimation of power spectra",
IEEE Trans. Audio Electroacoust. 15 (1967) 70-73.  Hann window, segments half over each other, mean
taken off each; with equal segments the numbers are those of ``scipy.signal.welch``.  Refinement by
a parabola through the logarithm of three lines: J. O. Smith, "Spectral Audio Signal Processing"
(2011), section "Quadratic interpolation of spectral peaks".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: a segment shorter than this gives no spectrum worth the name
LEAST_SEGMENT = 32
#: of all samples in one segment: gives four segments half over each other where there is no gap
_SEGMENT_SHARE = 0.4
#: of half the sampling rate; above it lies what the rate cannot carry for sure
_BAND_TOP = 0.8
#: whole periods in a segment that a frequency needs, and lines that tell it from the mean
_LEAST_PERIODS = 4
#: a line stands out when it is this many times the middle one of the lines below it, and of those above;
#: chosen with ``test_noise_alone_has_no_frequency``
_STANDS_OUT = 12.0
#: lines to each side that it is compared with, behind those of its own foot (Hann: two lines, and one more)
_AROUND, _FOOT = 8, 3
#: a frequency this much weaker than the strongest line is not looked for (power)
_WEAKEST = 1e-4
#: of the largest sample: what lies below is rounding (amplitude)
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """One-sided power density over frequency."""

    #: Hz, from 0 in equal steps
    frequencies: Floats
    #: square of the samples' unit per Hz
    density: Floats
    rate_hz: float
    #: samples in one segment, and how many were averaged
    segment: int
    segments: int
    #: density that rounding alone may have
    rounding: float

    @property
    def line_hz(self) -> float:
        """From one line to the next."""
        return self.rate_hz / self.segment

    @property
    def lowest_hz(self) -> float:
        """Below it a window of this length does not show a frequency."""
        return _LEAST_PERIODS * self.line_hz

    @property
    def highest_hz(self) -> float:
        """Above it this rate does not show a frequency."""
        return _BAND_TOP * self.rate_hz / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A frequency that stands out."""

    hz: float
    #: power density of its strongest line
    density: float
    #: that line over the higher of the middles of the lines below and above it
    above: float


def segment_length(runs: Sequence[int]) -> int:
    """Returns the segment for stretches of so many samples; 0 where none gives a spectrum."""
    if not runs:
        return 0
    length = min(int(_SEGMENT_SHARE * sum(runs)), max(runs)) // 2 * 2
    return length if length >= LEAST_SEGMENT else 0


def welch(runs: Sequence[Floats], rate_hz: float, segment: int) -> Spectrum:
    """Returns the mean power density of all segments that lie within one stretch.

    Args:
        runs: stretches of samples at equal steps.
        segment: samples; even, at most the longest run.
    """
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(segment) / segment)
    scale = 1.0 / (rate_hz * float(np.sum(window * window)))
    total = np.zeros(segment // 2 + 1)
    count = 0
    for run in runs:
        for start in range(0, len(run) - segment + 1, segment // 2):
            part = run[start : start + segment]
            lines = np.fft.rfft((part - part.mean()) * window)
            total += lines.real**2 + lines.imag**2
            count += 1
    if not count:
        raise ValueError(f"no stretch holds a segment of {segment} samples")
    density = total * (scale / count)
    density[1:-1] *= 2.0  # one-sided; the segment is even, so the last line has no twin
    return Spectrum(
        frequencies=np.arange(segment // 2 + 1, dtype=np.float64) * np.float64(rate_hz / segment),
        density=density,
        rate_hz=rate_hz,
        segment=segment,
        segments=count,
        rounding=(_ROUNDING * max(float(np.max(np.abs(run))) for run in runs)) ** 2 * segment / rate_hz,
    )


def dominant(spectrum: Spectrum, count: int) -> tuple[Peak, ...]:
    """Returns the frequencies that stand out, strongest first, at most ``count``; often none.

    A frequency is shown only between ``lowest_hz`` and ``highest_hz``, only where its line is higher than
    both beside it, and only one within the width of the window's foot.  A resonance wider than that foot
    does not stand out; a shorter burst has wider lines and shows it.
    """
    density = spectrum.density
    found: list[tuple[float, int]] = []
    least = max(spectrum.rounding, _WEAKEST * float(np.max(density[1:])))
    for line in range(1, len(density) - 1):
        hz = float(spectrum.frequencies[line])
        if not spectrum.lowest_hz <= hz <= spectrum.highest_hz:
            continue
        if density[line] <= least or density[line] < density[line - 1] or density[line] <= density[line + 1]:
            continue
        if _above(density, line) >= _STANDS_OUT:
            found.append((float(density[line]), line))
    kept: list[int] = []
    for _, line in sorted(found, reverse=True):
        if all(abs(line - other) > _FOOT for other in kept):
            kept.append(line)
        if len(kept) == count:
            break
    return tuple(
        Peak(hz=_refined(spectrum, line), density=float(density[line]), above=_above(density, line)) for line in kept
    )


def _above(density: Floats, line: int) -> float:
    below = density[max(1, line - _FOOT - _AROUND) : max(1, line - _FOOT)]
    beyond = density[line + _FOOT + 1 : line + _FOOT + 1 + _AROUND]
    # The higher of both: on a slope, as drift makes it, no line stands out.
    floor = max((float(np.median(side)) for side in (below, beyond) if len(side)), default=0.0)
    return float(density[line]) / floor if floor > 0 else float("inf")


def _refined(spectrum: Spectrum, line: int) -> float:
    three = spectrum.density[line - 1 : line + 2]
    if np.any(three <= 0):
        return float(spectrum.frequencies[line])
    before, at, after = np.log(three)
    bend = before - 2.0 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return (line + float(shift)) * spectrum.line_hz


def resample(times: Floats, values: Floats, wanted: Floats) -> Floats:
    """Returns a curve through the samples at other times: a cubic through the four samples around each.

    Args:
        times: ascending, four at least.
        wanted: within ``times`` or at most a step beside.
    """
    first = np.clip(np.searchsorted(times, wanted) - 2, 0, len(times) - 4)
    places: list[Any] = [times[first + number] for number in range(4)]
    result = np.zeros(len(wanted))
    for number in range(4):
        weight = np.ones(len(wanted))
        for other in range(4):
            if other != number:
                weight *= (wanted - places[other]) / (places[number] - places[other])
        result += weight * values[first + number]
    return result
