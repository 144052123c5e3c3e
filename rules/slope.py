"""How fast a value moves: the Theil-Sen slope over a window, with its range and its noise.

Pure numbers; what a slope means is ``rules.watch``.  The slope is the median of the slopes of
all pairs of samples, so that spikes in up to about a quarter of the samples do not move it; its
range is that of the 10th to the 90th percentile of the pairs (P. K. Sen, 1968).  The work is
bounded: of a window at most one sample in each of ``SLOTS`` equal parts is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

#: equal parts of a window; one sample of each is kept
SLOTS = 24
#: fewer samples have no slope: of five, one may be a spike
MIN_SAMPLES = 5
#: a slope is known when the samples cover this part of the window
_COVERED = 0.5
#: median absolute deviation of a normal distribution to its standard deviation
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How fast a value moved over a window; per second, in the unit of the values."""

    #: median of the slopes of all pairs
    middle: float
    #: 10th and 90th percentile of them
    low: float
    high: float
    #: slopes smaller than this do not stand out of the scatter: 3 sigma / sqrt(n) per window
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The samples of a window that are kept, and their slope."""

    #: monotonic us, rising
    times: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    #: None: too few samples, or they cover too little of the window
    slope: Slope | None = None


EMPTY = Track()


def follow(track: Track, at_us: int, value: float, window_us: int) -> Track:
    """Returns the track with one more sample; the same track where its slot has one already."""
    if track.times and at_us - track.times[-1] < window_us // SLOTS:
        return track
    first = sum(at < at_us - window_us for at in track.times)
    times, values = (*track.times[first:], at_us), (*track.values[first:], value)
    covers = len(times) >= MIN_SAMPLES and at_us - times[0] >= window_us * _COVERED
    return Track(times=times, values=values, slope=slope_of(times, values) if covers else None)


def middle_of(ordered: list[float]) -> float:
    """Returns the median of numbers in order; at least one."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def slope_of(times: tuple[int, ...], values: tuple[float, ...]) -> Slope:
    """Returns the slope of at least two samples.

    Args:
        times: us, rising.
        values: beside them.
    """
    points = [((at - times[0]) / 1e6, value) for at, value in zip(times, values, strict=True)]
    pairs = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
    )
    middle, last = middle_of(pairs), len(pairs) - 1
    rests = sorted(value - middle * at for at, value in points)
    base = middle_of(rests)
    sigma = _MAD_TO_SIGMA * middle_of(sorted(abs(rest - base) for rest in rests))
    return Slope(
        middle=middle,
        low=pairs[round(last * 0.1)],
        high=pairs[round(last * 0.9)],
        noise=3 * sigma / len(points) ** 0.5 / points[-1][0],
    )
