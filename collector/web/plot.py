"""Samples as lines of a small drawing.  Pure: numbers in, coordinates out; a sample without a number is a gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: of the drawing, in its own units
WIDTH, HEIGHT = 320, 72
#: lines are thinned to their extremes beyond this many points
MOST_POINTS = 640


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The lines of one channel: each a text for the attribute ``points``."""

    lines: tuple[str, ...]
    low: float | None
    high: float | None


def draw(times_us: Sequence[int], values: Sequence[float | None]) -> Drawing:
    """Returns the drawing of one channel; a gap is never bridged and no extreme is left out."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return Drawing(lines=(), low=None, high=None)
    low, high = min(numbers), max(numbers)
    begin, span = times_us[0], max(1, times_us[-1] - times_us[0])
    lines = []
    for first, last in _stretches(values):
        found = []
        for index in _kept(values, first, last):
            value = values[index]
            assert value is not None
            x = (times_us[index] - begin) / span * WIDTH
            y = HEIGHT / 2 if high == low else HEIGHT - (value - low) / (high - low) * HEIGHT
            found.append(f"{x:.1f},{y:.1f}")
        if len(found) == 1:
            x_text, _, y_text = found[0].partition(",")
            found.append(f"{float(x_text) + 1:.1f},{y_text}")  # a single sample is a dot and not nothing
        lines.append(" ".join(found))
    return Drawing(lines=tuple(lines), low=low, high=high)


def _stretches(values: Sequence[float | None]) -> list[tuple[int, int]]:
    """Returns (first, end) of every run of numbers."""
    found: list[tuple[int, int]] = []
    first: int | None = None
    for index, value in enumerate(values):
        if value is None:
            if first is not None:
                found.append((first, index))
            first = None
        elif first is None:
            first = index
    return found if first is None else [*found, (first, len(values))]


def _kept(values: Sequence[float | None], first: int, end: int) -> list[int]:
    """Returns which samples of a run to draw: all, or the lowest and highest of each part of it."""
    if end - first <= MOST_POINTS:
        return list(range(first, end))
    kept = {first, end - 1}
    step = -(-(end - first) // (MOST_POINTS // 2))
    for begin in range(first, end, step):
        part = range(begin, min(end, begin + step))
        kept.add(min(part, key=lambda i: values[i] or 0.0))
        kept.add(max(part, key=lambda i: values[i] or 0.0))
    return sorted(kept)
