"""From the rows of one burst to a series with a true sampling rate, or a reason why there is none.  Pure.

A burst is some seconds of fast reads of one device.  Reads wait for a line that others use too,
so the rows come nearly, not exactly, at equal steps, and some do not come at all.  Here the steps
that were really taken are fitted: each row gets a place on a grid, and what differs from the grid is
jitter, what is not there is a gap.  Nothing is made up: a place without a row stays without one.

It computes no feature and knows no unit.  Rate and jitter are those of the reads: how old the
number is that a device answers with is the device's affair and is not seen here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from contracts.quality import GOOD, NOT_COMPUTABLE

Row = Sequence[int | float | None]
#: monotonic us, values, quality codes (None: all good)
Tick = tuple[int, Row, Sequence[int] | None]

#: fewer rows than this say nothing about a vibration
LEAST_ROWS = 64
#: of the grid that may be without a row
MOST_MISSING = 0.2
#: root mean square of what rows are beside their places, as part of the step
MOST_JITTER = 0.2
#: of the time that was wanted which the rows must span
LEAST_SPAN = 0.5
#: how fast the fit follows the rows while they are put into their places
_FOLLOW_PLACE, _FOLLOW_STEP = 0.2, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Rows on a grid of equal steps."""

    #: of each row, monotonic us, ascending
    times_us: tuple[int, ...]
    #: place of each row on the grid, ascending, from 0
    places: tuple[int, ...]
    #: per channel one value for each row; None where that channel had no number
    columns: tuple[tuple[int | float | None, ...], ...]
    #: per channel the quality codes of the rows; None where all are good
    codes: tuple[tuple[int, ...] | None, ...]
    #: time of place 0, monotonic us, and from one place to the next
    origin_us: float
    step_us: float
    #: what the rows are beside their places (us): root mean square, and the worst
    jitter_us: float
    worst_us: float
    #: places without a row, and the most of them side by side
    missing: int
    longest_gap: int

    @property
    def rate_hz(self) -> float:
        """True rate of the grid."""
        return 1e6 / self.step_us

    @property
    def length(self) -> int:
        """Places of the grid, with and without a row."""
        return self.places[-1] + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a burst is no series."""

    #: quality code of everything that would have been computed
    code: int
    #: ``silent``, ``few``, ``short``, ``gaps`` or ``jitter``
    reason: str
    #: one sentence for the log and health
    detail: str


def fit(rows: Sequence[Tick], *, wanted_us: int) -> Series | Refused:
    """Puts the rows of one burst on a grid, or says why that is not possible.

    Args:
        rows: in the order in which they were asked; those without any number are gaps.
        wanted_us: how long the burst was to last.
    """
    answered = [row for row in rows if any(value is not None for value in row[1])]
    if not answered:
        return Refused(code=_commonest_cause(rows), reason="silent", detail=f"none of {len(rows)} reads gave a number")
    if len(answered) < LEAST_ROWS:
        return _refused("few", f"{len(answered)} rows; {LEAST_ROWS} or more would be right")
    if answered[-1][0] - answered[0][0] < LEAST_SPAN * wanted_us:
        span_s = (answered[-1][0] - answered[0][0]) / 1e6
        return _refused("short", f"rows over {span_s:.1f} s of the {wanted_us / 1e6:g} s wanted")
    placed = _place([row[0] for row in answered])
    if len(placed) < LEAST_ROWS:
        return _refused("few", f"{len(placed)} rows at different times; {LEAST_ROWS} or more would be right")
    return _series([answered[number] for number, _ in placed], [place for _, place in placed], wanted_us)


def _series(rows: Sequence[Tick], places: Sequence[int], wanted_us: int) -> Series | Refused:
    times = [row[0] for row in rows]
    origin, step = _line(places, times)
    beside = [time - origin - step * place for place, time in zip(places, times, strict=True)]
    jitter = math.sqrt(math.fsum(error * error for error in beside) / len(beside))
    length = places[-1] + 1
    # What was wanted and did not come at the end is a gap as well.
    wanted = max(length, int(wanted_us / step))
    missing = wanted - len(places)
    if missing > MOST_MISSING * wanted:
        share = f"{missing} of {wanted} places have no row ({missing / wanted:.0%})"
        return _refused("gaps", f"{share}; at most {MOST_MISSING:.0%} would be right")
    if jitter > MOST_JITTER * step:
        return _refused("jitter", f"rows are {jitter / step:.0%} of a step beside; at most {MOST_JITTER:.0%} is right")
    steps = [after - before for before, after in pairwise(places)]
    width = len(rows[0][1])
    return Series(
        times_us=tuple(times),
        places=tuple(places),
        columns=tuple(tuple(row[1][channel] for row in rows) for channel in range(width)),
        codes=tuple(_codes_of(rows, channel) for channel in range(width)),
        origin_us=origin,
        step_us=step,
        jitter_us=jitter,
        worst_us=max(map(abs, beside)),
        missing=missing,
        longest_gap=max(max(steps) - 1, wanted - length),
    )


def _codes_of(rows: Sequence[Tick], channel: int) -> tuple[int, ...] | None:
    codes = tuple(GOOD if row[2] is None else row[2][channel] for row in rows)
    return codes if any(codes) else None


def _refused(reason: str, detail: str) -> Refused:
    return Refused(code=NOT_COMPUTABLE, reason=reason, detail=detail)


def _commonest_cause(rows: Sequence[Tick]) -> int:
    causes = Counter(code for row in rows for code in row[2] or () if code != GOOD)
    return causes.most_common(1)[0][0] if causes else NOT_COMPUTABLE


def _place(times: Sequence[int]) -> list[tuple[int, int]]:
    """Returns (row, place) for the rows that have a place of their own.

    The fit follows the rows instead of counting steps, so that one row that came late does not move
    all that come after it.  A late row that lands on the place of the next one belongs to the
    place before, where that is free; else it is left out.
    """
    steps = [after - before for before, after in pairwise(times) if after > before]
    if not steps:
        return []
    step = float(median(steps))
    placed = [(0, 0)]
    at = float(times[0])  # where the fit thinks the last place is
    for number in range(1, len(times)):
        last = placed[-1][1]
        ahead = round((times[number] - at) / step)
        if ahead <= 0:
            if len(placed) > 1 and placed[-2][1] < last - 1:
                placed[-1] = (placed[-1][0], last - 1)
                placed.append((number, last))
            continue
        beside = times[number] - (at + ahead * step)
        at += ahead * step + _FOLLOW_PLACE * beside
        step += _FOLLOW_STEP * beside / ahead
        placed.append((number, last + ahead))
    return placed


def _line(places: Sequence[int], times: Sequence[int]) -> tuple[float, float]:
    """Returns origin and step of the line through the rows with the least squared distance."""
    mean_place = math.fsum(places) / len(places)
    first = times[0]
    mean_time = math.fsum(time - first for time in times) / len(times)
    over = math.fsum(
        (place - mean_place) * (time - first - mean_time) for place, time in zip(places, times, strict=True)
    )
    under = math.fsum((place - mean_place) ** 2 for place in places)
    step = over / under
    return first + mean_time - step * mean_place, step
