"""What the SQL of the roll-ups relies on."""

from __future__ import annotations

from collector.project import WORSE
from contracts.quality import CODES


def test_worse_codes_have_larger_numbers() -> None:
    assert sorted(CODES) == sorted(CODES, key=WORSE.__getitem__)
