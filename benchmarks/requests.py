"""Requests per cycle on a map of 60 points in three clusters, beside the least that any plan could need.

Run: ``python -m benchmarks.requests``.  Counts, not times: the same on every machine.  The least is found by
trying every way to cut the sorted points into reads; one point per read is what a driver without coalescing needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from random import Random

from drivers.planner import Limits, WantedPoint, plan_blocks
from drivers.steps import PointStep

#: requests may be so many times the least
TARGET = 1.3
_LENGTHS = {"u16": 1, "f32": 2}


def clusters(data_type: str, widest_hole: int, *, seed: int = 1) -> list[WantedPoint]:
    """Returns 20 points in each of three clusters, with holes of up to so many registers between them."""
    chance = Random(seed)
    found = []
    for begin in (0, 1000, 40_000):
        address = begin
        for _ in range(20):
            step = PointStep(
                name=f"p{address}", offset=address, data_type=data_type,
                resolution=Fraction(1) if data_type == "u16" else None,
            )  # fmt: skip
            found.append(WantedPoint(step=step, table="holding", interval_ms=1000))
            address += _LENGTHS[data_type] + chance.randint(0, widest_hole)
    return found


def least(points: Sequence[WantedPoint], limits: Limits) -> int:
    """Returns the fewest reads that bring every point, by trying every cut."""
    spans = sorted((low, low + length) for point in points for low, length in point.step.spans)
    best = [0] + [len(spans)] * len(spans)
    for end in range(1, len(spans) + 1):
        for start in range(end):
            part = spans[start:end]
            is_near = all(after[0] - before[1] <= limits.max_gap for before, after in pairwise(part))
            if is_near and part[-1][1] - part[0][0] <= limits.most("holding"):
                best[end] = min(best[end], best[start] + 1)
    return best[-1]


MAPS = (
    ("u16, no holes", "u16", 0, Limits()),
    ("u16, holes of up to 3 registers", "u16", 3, Limits(max_gap=8)),
    ("f32, holes of up to 6 registers", "f32", 6, Limits(max_gap=8)),
    ("f32, a device that gives 16 registers", "f32", 0, Limits(max_registers=16)),
    ("f32, holes, a device that gives 32 registers", "f32", 6, Limits(max_registers=32, max_gap=8)),
    ("u16, holes that may not be read", "u16", 3, Limits()),
)


def rows() -> list[tuple[str, int, int]]:
    """Returns map, requests of the planner, and the least."""
    return [
        (name, len(plan_blocks(points := clusters(data_type, hole), limits)), least(points, limits))
        for name, data_type, hole, limits in MAPS
    ]


def main() -> None:
    """Prints one line per map."""
    for name, planned, fewest in rows():
        told = "met" if planned <= TARGET * fewest else "MISSED"
        print(f"{name:46} {planned:3} requests, least {fewest:3}, {planned / fewest:.2f}x  (60 one by one)  {told}")


if __name__ == "__main__":
    main()
