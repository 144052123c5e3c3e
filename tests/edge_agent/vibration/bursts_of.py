"""Burst plans and rows for tests: a three-axis accelerometer at an angle, shaking."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

from drivers.plan import BlockRead, PointStep
from edge_agent.vibration.burst import Tick
from edge_agent.vibration.features import Scale
from edge_agent.vibration.records import BurstPlan, Feature, FeatureBlock

#: counts of one g, as WitMotion's WT901C485 has them
COUNTS = 2048
SCALES = (Scale(resolution=Fraction(1, COUNTS), unit="[g]"),) * 3
FEATURES = (
    *(Feature(kind=kind, channel=axis) for axis in range(3) for kind in ("mean", "rms", "peak", "p2p", "frequency")),
    *(Feature(kind="tilt", channel=axis) for axis in range(2)),
    Feature(kind="drift", channel=0),
)


def plan(
    *,
    step_us: int = 20_000,
    length_ms: int = 20_000,
    interval_ms: int = 60_000,
    phase_ms: int = 0,
    features: tuple[Feature, ...] = FEATURES,
    upright: tuple[float, float, float] | None = (0.0, 0.0, 1.0),
    keeps_waveform: bool = True,
    first_point: int = 3,
) -> BurstPlan:
    """Returns bursts of holding registers 0x34 to 0x36 of device 0."""
    points = tuple(PointStep(name=f"a{axis}", offset=axis, data_type="i16") for axis in range(3))
    return BurstPlan(
        device=0,
        read=BlockRead(table="holding", address=0x34, count=3, interval_ms=1000, points=points),
        channels=(0, 1, 2),
        step_us=step_us,
        length_ms=length_ms,
        features=features,
        block=FeatureBlock(
            points=tuple(range(first_point, first_point + len(features))),
            interval_ms=interval_ms,
            phase_ms=phase_ms,
            is_alarm=False,
        ),
        upright=upright,
        keeps_waveform=keeps_waveform,
    )


def shaking(
    *,
    count: int = 1000,
    step_us: int = 20_000,
    tilt_deg: float = 0.0,
    tones: tuple[tuple[int, float, float], ...] = ((0, 3.3, 0.05),),
    noise_g: float = 0.001,
    jitter_us: float = 0.0,
    seed: int = 1,
    lost: Callable[[int], bool] = lambda number: False,
    cause: int = 128,
) -> list[Tick]:
    """Returns rows of a sensor that leans about its y axis; tones are (axis, Hz, amplitude in g)."""
    source = random.Random(seed)
    lean = math.radians(tilt_deg)
    still = (math.sin(lean), 0.0, math.cos(lean))
    rows: list[Tick] = []
    for number in range(count):
        at = 1_000_000_000 + number * step_us + round(source.gauss(0, jitter_us))
        values = [
            still[axis]
            + sum(size * math.sin(2 * math.pi * hz * at / 1e6) for own, hz, size in tones if own == axis)
            + source.gauss(0, noise_g)
            for axis in range(3)
        ]
        if lost(number):
            rows.append((at, (None,) * 3, (cause,) * 3))
        else:
            rows.append((at, tuple(round(value * COUNTS) for value in values), None))
    return rows
