"""Short ways to say rules and samples in the tests of this room."""

from __future__ import annotations

from typing import Any

from contracts.quality import GOOD
from rules.limit import step
from rules.model import Direction, LimitRule, Mark, Severity
from rules.point import start
from rules.point_state import PointRules, PointState
from rules.state import LimitState, Sample, Transition

BOOT = b"boot-one"
SECOND = 1_000_000


def limit(name: str = "L1", value: float = 20.0, **changes: Any) -> LimitRule:
    fields: dict[str, Any] = {
        "id": f"test.v1/{name}",
        "en": name,
        "zh": name,
        "direction": Direction.HIGH,
        "value": value,
        "unit": "%{LEL}",
        "severity": Severity.YELLOW,
        "scheme": "test",
        "basis": "test",
        "mark": Mark.DEFAULT,
    }
    return LimitRule(**(fields | changes))


def low(name: str = "low", value: float = 5.0, **changes: Any) -> LimitRule:
    return limit(name, value, direction=Direction.LOW, **changes)


def sample(value: float | None, at_s: float, code: int = GOOD) -> Sample:
    return Sample(value=value, code=code, at_us=round(at_s * SECOND))


def run(rule: LimitRule, *samples: Sample) -> tuple[LimitState, list[Transition]]:
    """Steps a fresh limit through the samples."""
    state = LimitState(rule_id=rule.id)
    made: list[Transition] = []
    for item in samples:
        state, new = step(rule, state, item, BOOT)
        made += new
    return state, made


def fresh(rules: PointRules, now_s: float = 0.0) -> PointState:
    return start(rules, boot=BOOT, now_us=round(now_s * SECOND))


def gas_ladder() -> PointRules:
    """Pre-alarm 10 (60 s), L1 20 (2 samples, 4 s, latching), L2 50 (at once, latching)."""
    pre = limit("pre", 10.0, deadband=3.0, on_delay_s=60, off_delay_s=300, severity=Severity.BLUE)
    first = limit("L1", 20.0, deadband=5.0, on_delay_s=4, on_samples=2, off_delay_s=60, latch=True)
    second = limit("L2", 50.0, deadband=5.0, off_delay_s=60, latch=True, severity=Severity.RED)
    return PointRules(limits=(pre, first, second), gas=True)
