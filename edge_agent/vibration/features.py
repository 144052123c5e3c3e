"""The features of one burst: level, peaks, frequencies, tilt.  Pure; imports numpy, so it is imported late.

Mean, root mean square and peaks are of the samples as they came.  Only the spectrum uses a curve
through them, at the equal steps that a Fourier transform needs (gaps of up to two steps are
bridged, longer ones part the series).  A number that cannot be had is no number: its code says why.

Tilt from gravity: each axis against the horizontal, atan2(a_axis, length of the other two), as in
Analog Devices AN-1057, "Using an Accelerometer for Inclination Sensing"; it holds while the mean of the
burst is gravity alone, so its length must be near 1 g.  Drift is the angle between gravity now and
when the drift was zero.  Both are of the mean over the burst.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from contracts.quality import GOOD, IMPLAUSIBLE, NOT_COMPUTABLE, NOT_DISTINCT
from edge_agent.vibration.burst import MOST_MISSING, Refused, Series, Tick, fit
from edge_agent.vibration.records import BurstPlan, Feature
from edge_agent.vibration.spectrum import Floats, Peak, Spectrum, dominant, resample, segment_length, welch

#: samples side by side that the curve may bridge
_BRIDGED = 2
#: rows so near their places need no curve (part of a step)
_EXACT = 1e-4
#: gravity's length that a still structure may show (g)
_GRAVITY_LOW, _GRAVITY_HIGH = 0.8, 1.2
#: standard gravity in m/s2, exact by definition (CGPM 1901)
_STANDARD_GRAVITY = 9.80665


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What one channel's numbers mean."""

    #: 1 for floats
    resolution: Fraction
    #: UCUM
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The features of one burst."""

    #: in the order of the plan's features; single precision, as they are sealed
    row: tuple[float | None, ...]
    codes: tuple[int, ...] | None
    #: None where the burst gave one
    refused: Refused | None
    #: for health: name, value
    facts: tuple[tuple[str, float | int | str | None], ...]


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel of a series in its unit."""

    code: int
    #: row numbers that have a value, and those values
    rows: Floats
    values: Floats
    spectrum: Spectrum | None
    peaks: tuple[Peak, ...]


def compute(plan: BurstPlan, scales: Sequence[Scale], rows: Sequence[Tick]) -> Computed:
    """Returns all features of the plan for the rows of one burst.

    Args:
        scales: per channel of the plan.
        rows: as they were read.
    """
    series = fit(rows, wanted_us=plan.length_ms * 1000)
    if isinstance(series, Refused):
        width = len(plan.features)
        facts: tuple[tuple[str, float | int | str | None], ...] = (("refused", series.reason),)
        return Computed(row=(None,) * width, codes=(series.code,) * width, refused=series, facts=facts)
    wanted = [0] * len(scales)
    for feature in plan.features:
        if feature.kind == "frequency":
            wanted[feature.channel] = max(wanted[feature.channel], feature.rank + 1)
    channels = [
        _channel(series, number, float(scale.resolution), wanted[number]) for number, scale in enumerate(scales)
    ]
    found = [_feature(feature, channels, scales, plan.upright) for feature in plan.features]
    codes = tuple(code for _, code in found)
    return Computed(
        row=tuple(None if value is None else _single(value) for value, _ in found),
        codes=codes if any(codes) else None,
        refused=None,
        facts=_facts(series, channels),
    )


def _single(value: float) -> float:
    """The nearest number of single precision: what is judged is what is sealed."""
    rounded: float = struct.unpack(">f", struct.pack(">f", value))[0]
    return rounded


def _channel(series: Series, number: int, resolution: float, frequencies: int) -> _Channel:
    column = series.columns[number]
    rows = np.array([row for row, value in enumerate(column) if value is not None], dtype=np.int64)
    values = np.array([value for value in column if value is not None], dtype=np.float64) * resolution
    lost = len(column) - len(values)
    if lost > MOST_MISSING * len(column):
        return _Channel(_worst_cause(series.codes[number]), rows.astype(np.float64), values, None, ())
    spectrum = _spectrum(series, rows, values) if frequencies else None
    peaks = dominant(spectrum, frequencies) if spectrum is not None else ()
    return _Channel(GOOD, rows.astype(np.float64), values, spectrum, peaks)


def _worst_cause(codes: tuple[int, ...] | None) -> int:
    causes = [code for code in codes or () if code != GOOD]
    return max(set(causes), key=causes.count) if causes else NOT_COMPUTABLE


def _spectrum(series: Series, rows: np.ndarray[tuple[int], np.dtype[np.int64]], values: Floats) -> Spectrum | None:
    places = np.array(series.places, dtype=np.int64)[rows]
    times = (np.array(series.times_us, dtype=np.float64)[rows] - series.origin_us) / series.step_us
    cuts = np.flatnonzero(np.diff(places) > _BRIDGED + 1) + 1
    runs: list[Floats] = []
    for own_places, own_times, own_values in zip(
        np.split(places, cuts), np.split(times, cuts), np.split(values, cuts), strict=True
    ):
        if len(own_places) < 4:
            continue
        grid = np.arange(own_places[0], own_places[-1] + 1, dtype=np.float64)
        is_exact = len(grid) == len(own_times) and bool(np.all(np.abs(own_times - grid) < _EXACT))
        runs.append(own_values if is_exact else resample(own_times, own_values, grid))
    segment = segment_length([len(run) for run in runs])
    return welch(runs, series.rate_hz, segment) if segment else None


def _feature(
    feature: Feature,
    channels: Sequence[_Channel],
    scales: Sequence[Scale],
    upright: tuple[float, float, float] | None,
) -> tuple[float | None, int]:
    if feature.kind in ("tilt", "drift"):
        return _gravity(feature, channels, scales[0].unit, upright)
    channel = channels[feature.channel]
    if channel.code != GOOD:
        return None, channel.code
    if feature.kind == "frequency":
        if channel.spectrum is None:
            return None, NOT_COMPUTABLE
        if feature.rank >= len(channel.peaks):
            # No fault: the structure is quiet, or has no further frequency of its own.
            return None, NOT_DISTINCT
        return channel.peaks[feature.rank].hz, GOOD
    mean = float(channel.values.mean())
    around = channel.values - mean
    match feature.kind:
        case "mean":
            return mean, GOOD
        case "rms":
            return math.sqrt(float(np.mean(around * around))), GOOD
        case "peak":
            return float(np.max(np.abs(around))), GOOD
        case _:
            return float(channel.values.max() - channel.values.min()), GOOD


def _gravity(
    feature: Feature, channels: Sequence[_Channel], unit: str, upright: tuple[float, float, float] | None
) -> tuple[float | None, int]:
    bad = next((channel.code for channel in channels[:3] if channel.code != GOOD), GOOD)
    if bad != GOOD:
        return None, bad
    mean = [float(channel.values.mean()) for channel in channels[:3]]
    length = math.hypot(*mean) / (1.0 if unit == "[g]" else _STANDARD_GRAVITY)
    if not _GRAVITY_LOW <= length <= _GRAVITY_HIGH:
        return None, IMPLAUSIBLE
    if feature.kind == "drift":
        return (angle_between(mean, upright), GOOD) if upright is not None else (None, NOT_COMPUTABLE)
    others = [mean[axis] for axis in range(3) if axis != feature.channel]
    return math.degrees(math.atan2(mean[feature.channel], math.hypot(*others))), GOOD


def angle_between(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the angle between two vectors in degrees, 0 to 180; exact for small angles too."""
    cross = (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
    return math.degrees(math.atan2(math.hypot(*cross), math.fsum(a * b for a, b in zip(one, other, strict=True))))


def _facts(series: Series, channels: Sequence[_Channel]) -> tuple[tuple[str, float | int | str | None], ...]:
    spectrum = next((channel.spectrum for channel in channels if channel.spectrum is not None), None)
    facts: list[tuple[str, float | int | str | None]] = [
        ("refused", None),
        ("rows", len(series.times_us)),
        ("rate_hz", round(series.rate_hz, 4)),
        ("jitter_us", round(series.jitter_us, 1)),
        ("worst_us", round(series.worst_us, 1)),
        ("missing", series.missing),
        ("longest_gap", series.longest_gap),
    ]
    if spectrum is not None:
        facts += [
            ("line_hz", round(spectrum.line_hz, 5)),
            ("lowest_hz", round(spectrum.lowest_hz, 5)),
            ("highest_hz", round(spectrum.highest_hz, 4)),
            ("segments", spectrum.segments),
        ]
    return tuple(facts)
