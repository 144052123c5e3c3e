"""Microseconds per reading of the judge on quiet rows: five limits and a silence rule on every point.

Run: ``python -m benchmarks.judge``.  It measures CPU of this machine only, no bus and no disk.
"""

from __future__ import annotations

import time
from fractions import Fraction

from drivers.plan import BlockRead, PointStep
from edge_agent.judge import Judge
from edge_agent.plan import BlockPlan, PointPlan
from rules import Direction, LimitRule, Mark, PointRules, Severity, SilenceRule

POINTS = 20
ROUNDS = 20_000
REPEATS = 5
_LIMITS = (
    ("H3", Direction.HIGH, 900.0, Severity.RED),
    ("H2", Direction.HIGH, 800.0, Severity.ORANGE),
    ("H1", Direction.HIGH, 700.0, Severity.YELLOW),
    ("L1", Direction.LOW, 100.0, Severity.YELLOW),
    ("L2", Direction.LOW, 50.0, Severity.RED),
)


def _rules() -> PointRules:
    limits = tuple(
        LimitRule(
            id=f"bench.v1/{name}",
            en=name,
            zh=name,
            direction=direction,
            value=value,
            unit="kPa",
            deadband=5.0,
            on_delay_s=2.0,
            severity=severity,
            scheme="bench",
            basis="a number for the benchmark",
            mark=Mark.DEFAULT,
        )
        for name, direction, value, severity in _LIMITS
    )
    return PointRules(limits=limits, silence=SilenceRule(after_s=30.0))


def judge_of(kind: str) -> Judge:
    """Returns a judge of one block of 20 points, of whole counts or of floats."""
    is_int = kind == "int"
    points = [
        PointPlan(
            key=f"bench/pressure/{n}",
            quantity="pressure",
            unit="kPa",
            kind=kind,
            resolution=Fraction(1, 10) if is_int else Fraction(1),
            low=None,
            high=None,
            longest_silence_ms=30_000,
            device=0,
            en="pressure",
            zh="压力",
            rules=_rules(),
        )
        for n in range(POINTS)
    ]
    steps = tuple(PointStep(name=f"p{n}", offset=n, data_type="u16") for n in range(POINTS))
    read = BlockRead(table="holding", address=0, count=POINTS, interval_ms=1000, points=steps)
    block = BlockPlan(device=0, read=read, points=tuple(range(POINTS)), interval_ms=1000, phase_ms=0, is_alarm=True)
    judge = Judge("g-aaaaaaaaaaaa", bytes(16), points, [block], lambda: time.monotonic_ns() // 1000)
    judge.begin()
    return judge


def microseconds(kind: str, row: tuple[float, ...]) -> float:
    """Returns the best of several runs, in microseconds per reading."""
    judge = judge_of(kind)
    judge_row = judge.judge_row
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for at in range(ROUNDS):
            judge_row(0, at, row, None, at)
        best = min(best, time.perf_counter() - begin)
    return best / ROUNDS / POINTS * 1e6


def main() -> None:
    """Prints one line per kind of value."""
    counts = tuple(range(2000, 2000 + POINTS))
    floats = tuple(200.0 + n for n in range(POINTS))
    print(f"quiet rows of {POINTS} points, {len(_LIMITS)} limits each, us per reading")
    print(f"  counts  {microseconds('int', counts):.3f}")
    print(f"  floats  {microseconds('f32', floats):.3f}")


if __name__ == "__main__":
    main()
