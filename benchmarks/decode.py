"""Microseconds per block of ``drivers.plan.compile_block``, for the shapes that matter.

Run: ``python -m benchmarks.decode``.  It measures CPU of this machine only, no bus.
"""

from __future__ import annotations

import time
from fractions import Fraction

from contracts import quality
from drivers.plan import BlockRead, FieldRef, Gate, PointStep, Sentinel, compile_block

ROUNDS = 20_000
REPEATS = 5


def _block(name: str, points: list[PointStep], count: int) -> tuple[str, BlockRead]:
    return name, BlockRead(table="holding", address=0, count=count, interval_ms=1000, points=tuple(points))


def blocks() -> list[tuple[str, BlockRead]]:
    """Returns the measured blocks by name; all read 20 registers."""
    state = Gate(field=FieldRef(offset=0, data_type="u16"), kind="enum", cases=((1, 1, quality.GOOD),))
    infinities = (Sentinel(raw="+inf", code=quality.OVER_RANGE), Sentinel(raw="-inf", code=quality.UNDER_RANGE))
    return [
        _block("20 u16, plain", [PointStep(name=f"p{n}", offset=n, data_type="u16") for n in range(20)], 20),
        _block("20 i16, plain", [PointStep(name=f"p{n}", offset=n, data_type="i16") for n in range(20)], 20),
        _block(
            "20 i16, shifted",
            [
                PointStep(name=f"p{n}", offset=n, data_type="i16", add=-500, resolution=Fraction(1, 10))
                for n in range(20)
            ],
            20,
        ),
        _block(
            "10 f32, +/-Inf named",
            [
                PointStep(name=f"p{n}", offset=2 * n, data_type="f32", resolution=None, sentinels=infinities)
                for n in range(10)
            ],
            20,
        ),
        _block(
            "19 u16 behind one state gate",
            [PointStep(name=f"p{n}", offset=n, data_type="u16", gates=(state,)) for n in range(1, 20)],
            20,
        ),
    ]


def microseconds(block: BlockRead) -> float:
    """Returns the best of several runs, in microseconds per block."""
    decode = compile_block(block)
    words = (1, *range(1, block.count))
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for _ in range(ROUNDS):
            decode(words)
        best = min(best, time.perf_counter() - begin)
    return best / ROUNDS * 1e6


def main() -> None:
    """Prints one line per block."""
    for name, block in blocks():
        print(f"{name:32} {microseconds(block):7.2f} us per block of {block.count} registers")


if __name__ == "__main__":
    main()
