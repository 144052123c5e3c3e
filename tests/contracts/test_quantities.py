"""Quantities: ids that fit a point key, a known unit, and both names."""

from __future__ import annotations

import re

from contracts.catalogue import is_point_key
from contracts.quantities import QUANTITIES
from contracts.units import UNITS


def test_every_quantity_fits_a_point_key_and_has_a_known_unit() -> None:
    for id, item in QUANTITIES.items():
        assert item.id == id
        assert is_point_key(f"device/{id}/1")
        assert item.unit in UNITS


def test_every_quantity_has_both_names() -> None:
    for item in QUANTITIES.values():
        assert item.en
        assert re.search("[\u4e00-\u9fff]", item.zh)
