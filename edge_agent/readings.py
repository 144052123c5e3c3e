"""Readings as people see them: exact text, quality in words, age.  Pure.

A count becomes a decimal without passing through a float, and what has no number shows
none: an empty value with its cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from contracts.quality import CODES, GOOD, WITH_VALUE, quality_of
from contracts.units import UNITS
from edge_agent.plan import Plan, PointPlan

Row = Sequence[int | float | None]
#: block number, monotonic us, values, quality codes (None: all good)
Tick = tuple[int, int, Row, Sequence[int] | None]


def value_text(point: PointPlan, value: float | None) -> str:
    """Returns a sample's number as decimal text; empty where there is none."""
    return number_text(point.kind, point.resolution, value)


def number_text(kind: str, resolution: Fraction, value: float | None) -> str:
    """Returns a number as decimal text; empty where there is none.

    Args:
        kind: ``int``, ``f32`` or ``f64``.
        resolution: units per count, for ``int``.
        value: count, or the number itself.
    """
    if value is None:
        return ""
    if kind == "f64":
        return repr(float(value))
    if kind == "f32":
        # Nine digits tell two singles apart; seven are what one of them holds for sure.
        return f"{value:.7g}"
    return _decimal(Fraction(value) * resolution, resolution)


def engineering_value(point: PointPlan, value: float | None) -> float | None:
    """Returns a sample in the point's unit: counts times resolution, floats as they are."""
    if value is None:
        return None
    return float(Fraction(value) * point.resolution) if point.kind == "int" else float(value)


def describe(plan: Plan, ticks: Iterable[Tick], now_us: int) -> list[dict[str, Any]]:
    """Returns one record per point of the given rows, as plain JSON values in the order of the plan.

    A point without a row is there too, with quality ``missing`` and no age.
    """
    found: dict[int, dict[str, Any]] = {}
    for block, sampled_us, row, codes in ticks:
        numbers = plan.row_blocks[block].points
        for number, value, code in zip(numbers, row, codes or [GOOD] * len(row), strict=True):
            age_s = round(max(0, now_us - sampled_us) / 1_000_000, 3)
            found[number] = _record(plan, plan.points[number], value, code, age_s)
    return [found.get(number) or _unread(plan, point) for number, point in enumerate(plan.points)]


def _record(plan: Plan, point: PointPlan, value: float | None, code: int, age_s: float) -> dict[str, Any]:
    known = CODES.get(code)
    number = value if code in WITH_VALUE else None
    return {
        **_named(plan, point),
        "value": engineering_value(point, number),
        "text": value_text(point, number),
        "quality": quality_of(code).value,
        "reason": known.reason if known is not None else f"code_{code}",
        "reason_en": known.en if known is not None else f"code {code}",
        "reason_zh": known.zh if known is not None else f"代码 {code}",
        "age_s": age_s,
    }


def _unread(plan: Plan, point: PointPlan) -> dict[str, Any]:
    return {
        **_named(plan, point),
        "value": None,
        "text": "",
        "quality": "missing",
        "reason": "not_yet_read",
        "reason_en": "not read yet",
        "reason_zh": "尚未读取",
        "age_s": None,
    }


def _named(plan: Plan, point: PointPlan) -> dict[str, Any]:
    unit, device = UNITS[point.unit], plan.devices[point.device]
    return {
        "point": point.key,
        "en": point.en,
        "zh": point.zh,
        "quantity": point.quantity,
        "unit": point.unit,
        "unit_en": unit.en,
        "unit_zh": unit.zh,
        "profile": device.profile,
        "proved": device.proved,
    }


def _decimal(value: Fraction, resolution: Fraction) -> str:
    """Exact decimal with the places of the resolution; binary steps get six significant digits."""
    rest, twos, fives = resolution.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > 6:
        return f"{float(value):.6g}"
    scaled = value.numerator * 10**places // value.denominator
    digits = str(abs(scaled)).rjust(places + 1, "0")
    sign = "-" if scaled < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"
