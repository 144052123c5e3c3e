"""Microseconds per reading of the judge on quiet rows: five limits and a silence rule on every point.

Apart from these: rows of points that also have a slope, or a flat line and a fault to watch, and
a row that changes the alarm of a point that a second one confirms.

Run: ``python -m benchmarks.judge``.  It measures CPU of this machine only, no bus and no disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from benchmarks.report import Figure
from drivers.plan import BlockRead, PointStep
from edge_agent.judge import Judge
from edge_agent.plan import BlockPlan, PointPlan
from rules import Direction, LimitRule, Mark, PairRule, PointRules, Severity, SilenceRule, WatchKind, WatchRule

POINTS = 20
#: us per reading with five limits on every point
TARGET_US = 1.0
ROUNDS = 20_000
REPEATS = 5
WATCHED_ROUNDS = 1000
_LIMITS = (
    ("H3", Direction.HIGH, 900.0, Severity.RED),
    ("H2", Direction.HIGH, 800.0, Severity.ORANGE),
    ("H1", Direction.HIGH, 700.0, Severity.YELLOW),
    ("L1", Direction.LOW, 100.0, Severity.YELLOW),
    ("L2", Direction.LOW, 50.0, Severity.RED),
)


def _rules() -> PointRules:
    limits = tuple(_limit(*item, on_delay_s=2.0) for item in _LIMITS)
    return PointRules(limits=limits, silence=SilenceRule(after_s=30.0))


def _limit(
    name: str, direction: Direction, value: float, severity: Severity, unit: str = "kPa", on_delay_s: float = 0.0
) -> LimitRule:
    return LimitRule(
        id=f"bench.v1/{name}",
        en=name,
        zh=name,
        direction=direction,
        value=value,
        unit=unit,
        deadband=5.0,
        on_delay_s=on_delay_s,
        severity=severity,
        scheme="bench",
        basis="a number for the benchmark",
        mark=Mark.DEFAULT,
    )


def _slope() -> tuple[WatchRule, ...]:
    limit = _limit("rise", Direction.HIGH, 60.0, Severity.YELLOW)
    return (WatchRule(kind=WatchKind.RATE, limit=limit, unit="kPa", window_s=600.0),)


def _supervision() -> tuple[WatchRule, ...]:
    return tuple(
        WatchRule(kind=kind, limit=_limit(kind.value, Direction.HIGH, 7200.0, Severity.INFO, "s"), unit="kPa")
        for kind in (WatchKind.FLAT, WatchKind.FAULT)
    )


def _with_pair(plan: PointPlan, number: int) -> PointPlan:
    """Even points are confirmed by the odd one after each; every limit at once."""
    limits = (_limit("H1", Direction.HIGH, 700.0, Severity.YELLOW),)
    pair = PairRule(
        limit=_limit("both", Direction.HIGH, 2.0, Severity.ORANGE, "1"),
        own="bench.v1/H1",
        point=f"bench/pressure/{number + 1}",
        other="bench.v1/H1",
        within_s=60.0,
    )
    return replace(plan, rules=PointRules(limits=limits, pairs=(pair,) if number % 2 == 0 else ()))


def judge_of(kind: str, watches: tuple[WatchRule, ...] = (), *, has_pairs: bool = False) -> Judge:
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
    if watches:
        points = [replace(point, rules=replace(point.rules, watches=watches)) for point in points]
    if has_pairs:
        points = [_with_pair(point, number) for number, point in enumerate(points)]
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


def microseconds_watched(watches: tuple[WatchRule, ...], interval_us: int = 1_000_000) -> float:
    """Returns the best of several runs of rows a second apart, in microseconds per reading."""
    best = float("inf")
    for _ in range(REPEATS):
        judge = judge_of("f32", watches)
        begin = time.perf_counter()
        for at in range(WATCHED_ROUNDS):
            judge.judge_row(0, at * interval_us, [200.0 + (at % 7) + n for n in range(POINTS)], None, at * interval_us)
        best = min(best, time.perf_counter() - begin)
    return best / WATCHED_ROUNDS / POINTS * 1e6


def microseconds_of_a_pair() -> float:
    """Returns the best of several runs, in microseconds per alarm: two points go in and out, and the pair with them."""
    best, events = float("inf"), 0
    for _ in range(REPEATS):
        judge, events = judge_of("f32", has_pairs=True), 0
        begin = time.perf_counter()
        for at in range(WATCHED_ROUNDS):
            value = 720.0 if at % 2 else 200.0
            events += len(judge.judge_row(0, at * 1_000_000, (value,) * POINTS, None, at * 1_000_000))
        best = min(best, time.perf_counter() - begin)
    return best / events * 1e6


def figures() -> Iterator[Figure]:
    """Measures and yields every figure."""
    counts = tuple(range(2000, 2000 + POINTS))
    floats = tuple(200.0 + n for n in range(POINTS))
    yield Figure(name="per reading, counts", unit="us", value=microseconds("int", counts), target=TARGET_US)
    yield Figure(name="per reading, floats", unit="us", value=microseconds("f32", floats), target=TARGET_US)
    slope, supervision = microseconds_watched(_slope()), microseconds_watched(_supervision())
    yield Figure(name="per reading with a slope over 10 minutes", unit="us", value=slope)
    yield Figure(name="per reading with flat line and fault", unit="us", value=supervision)
    yield Figure(name="per event of two points and their pair", unit="us", value=microseconds_of_a_pair())


def main() -> None:
    """Prints one line per figure."""
    print(f"quiet rows of {POINTS} points, {len(_LIMITS)} limits each; beside them rows of floats a second apart")
    for figure in figures():
        print(f"  {figure.name:42} {figure.value:8.3f} us")


if __name__ == "__main__":
    main()
