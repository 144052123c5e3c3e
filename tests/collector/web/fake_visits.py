"""Visits, due dates and errands of the made-up city."""

from __future__ import annotations

from typing import Any

from collector.visit_views import ErrandView, UpkeepView, VisitView
from contracts.units import UNITS
from rules.errands import Finding, errand_of

GATEWAY, SECOND = "g-abcdefghijkl", "g-mnopqrstuvwx"
DAY_US = 86_400_000_000


def make_visit(number: int, at_us: int, **fields: Any) -> VisitView:
    """A bump test that passed, unless the fields say otherwise."""
    unit = UNITS["%{LEL}"]
    values: dict[str, Any] = {
        "gateway": GATEWAY, "id": f"{number:032x}", "point": "well-1/ch4", "en": "Gas well 1 · methane",
        "zh": "1号燃气井 · 甲烷", "job": "bump", "result": "passed", "reason": "", "by": "Li Wei", "recorded_us": at_us,
        "began_us": at_us - 120_000_000, "ended_us": at_us - 1_000_000, "unit": "%{LEL}", "unit_en": unit.en,
        "unit_zh": unit.zh, "zero": 0.4, "applied": 50.0, "peak": 48.7, "t90_s": 18.5, "t90_limit_s": 30.0,
        "return_s": 31.0, "return_limit_s": 60.0, "serial": "H7-00412", "note": "",
    }  # fmt: skip
    return VisitView(**(values | fields))


def make_visits(now_us: int) -> list[VisitView]:
    """Newest first."""
    failed = {
        "result": "failed",
        "reason": "no answer: at most 21.3 with gas of 50",
        "peak": 21.3,
        "t90_s": None,
        "return_s": None,
    }
    return [
        make_visit(9, now_us - 3_600_000_000, point="well-2/ch4", en="", zh="", by="=cmd()", **failed),
        make_visit(8, now_us - DAY_US),
        make_visit(
            7, now_us - 40 * DAY_US, job="calibration", zero=3.1, peak=0.1, t90_s=None, t90_limit_s=None, return_s=None,
            return_limit_s=None, note="new filter",
        ),
        make_visit(6, now_us - 90 * DAY_US, result="abandoned", reason="time up", peak=None, t90_s=None,
                   return_s=None, began_us=None, ended_us=None),
    ]  # fmt: skip


def make_upkeep(now_us: int) -> list[UpkeepView]:
    """One that is overdue, one that is current."""
    return [
        UpkeepView(
            gateway=GATEWAY, point="well-1/ch4", job="calibration", last="2025-09-01", due="2026-09-01",
            state="overdue", street="Harbour Road", stated_us=now_us - 600_000_000, is_stated=True,
        ),
        UpkeepView(
            gateway=SECOND, point="level-1/level", job="calibration", last="2026-09-01", due="2027-09-01",
            state="current", street="", stated_us=now_us - 600_000_000, is_stated=True,
        ),
    ]  # fmt: skip


def make_errand(finding: Finding, now_us: int, *, quantity: str = "ch4", reason: str = "", **fields: Any) -> ErrandView:
    """An errand at the gas well, unless the fields say otherwise."""
    found = errand_of(finding, quantity=quantity, reason=reason)
    values: dict[str, Any] = {
        "street": "Harbour Road 港湾路", "gateway": GATEWAY, "gateway_en": "Gas block", "gateway_zh": "燃气片区",
        "device": "well-1", "point": "well-1/ch4", "en": "Gas well 1 · methane", "zh": "1号燃气井 · 甲烷",
        "finding": finding.value, "rank": found.rank, "what": found.what, "cause": found.cause, "bring": found.bring,
        "due": "", "detail": "", "based_us": now_us - 600_000_000,
    }  # fmt: skip
    return ErrandView(**(values | fields))


def make_errands(now_us: int) -> list[ErrandView]:
    """A street with three, and a gateway without a street."""
    second = {
        "street": "", "gateway": SECOND, "gateway_en": "Underpass", "gateway_zh": "下穿通道", "device": "", "point": "",
        "en": "Underpass", "zh": "下穿通道",
    }  # fmt: skip
    return [
        make_errand(Finding.GATEWAY_SILENT, now_us, quantity="", **second),
        make_errand(Finding.DEVICE_SILENT, now_us, reason="no_reply", device="well-2", point="", en="Gas well 2",
                    zh="2号燃气井"),
        make_errand(Finding.BUMP_FAILED, now_us, detail="no answer: at most 21.3 with gas of 50"),
        make_errand(Finding.CALIBRATION_OVERDUE, now_us, due="2026-09-01"),
    ]  # fmt: skip
