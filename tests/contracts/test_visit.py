"""Visits and upkeep: what their records refuse, and which visits are the same."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import PayloadError
from contracts.upkeep import Upkeep, is_date_or_empty
from contracts.visit import Visit, visit_id
from tests.contracts.examples import UPKEEP, VISITS

_NAMES = (
    "id", "boot_id", "point", "job", "began_us", "ended_us", "by", "result", "reason", "unit", "zero", "applied",
    "peak", "t90_us", "return_us", "t90_limit_us", "return_limit_us", "serial", "note",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", b"short"),
        ("boot_id", b""),
        ("point", "x" * 65),
        ("job", "repair"),
        ("began_us", -1),
        ("ended_us", 1),
        ("by", "长" * 86),
        ("result", "ok"),
        ("reason", None),
        ("unit", "LEL"),
        ("zero", float("nan")),
        ("applied", "50"),
        ("peak", float("inf")),
        ("t90_us", -1),
        ("return_us", 1.5),
        ("t90_limit_us", True),
        ("return_limit_us", 1 << 63),
        ("serial", "x" * 65),
        ("note", "x" * 1025),
    ],
)
def test_a_field_of_a_visit_out_of_its_range_is_refused_by_name(name: str, value: Any) -> None:
    raw = VISITS[0].to_wire()
    raw[_NAMES.index(name)] = value
    with pytest.raises(PayloadError, match=rf"visit\.{name}"):
        Visit.from_wire(raw)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 5), (1, "other"), (2, "2026-02-30"), (3, "1.6.2026"), (4, "late"), (5, "x" * 257)],
)
def test_a_field_of_upkeep_out_of_its_range_is_refused_by_name(place: int, value: Any) -> None:
    raw = UPKEEP[0].to_wire()
    raw[place] = value
    with pytest.raises(PayloadError, match=rf"upkeep\.{('point', 'job', 'last', 'due', 'state', 'street')[place]}"):
        Upkeep.from_wire(raw)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("2028-02-29", True),
        ("2026-02-29", False),
        ("20260601", False),
        ("2026-W01-1", False),
        ("２０２６-01-01", False),
    ],
)
def test_a_date_is_a_day_of_the_calendar_or_nothing(text: str, expected: bool) -> None:
    assert is_date_or_empty(text) is expected


def test_the_same_visit_has_the_same_id_and_no_other_has_it() -> None:
    ids = {
        visit_id("g-a", bytes(16), "a/ch4", 5),
        visit_id("g-a", bytes(16), "a/ch4", 6),
        visit_id("g-a", bytes(16), "a/co", 5),
        visit_id("g-b", bytes(16), "a/ch4", 5),
        visit_id("g-a", bytes(range(16)), "a/ch4", 5),
    }
    assert len(ids) == 5
    assert visit_id("g-a", bytes(16), "a/ch4", 5) in ids
