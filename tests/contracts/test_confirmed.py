"""Confirmed limits on the wire: what their record refuses."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.confirmed import MAX_POINTS, Confirmed
from contracts.errors import PayloadError
from tests.contracts.examples import CONFIRMED

_NAMES = ("state", "by", "at", "document", "digest", "points")


@pytest.mark.parametrize("record", CONFIRMED)
def test_a_record_reads_back(record: Confirmed) -> None:
    assert Confirmed.from_wire(record.to_wire()) == record


@pytest.mark.parametrize(
    ("which", "name", "value"),
    [
        (1, "state", "maybe"),
        (1, "state", "trial"),
        (1, "by", ""),
        (1, "at", "2026-02-30"),
        (1, "at", ""),
        (1, "document", ""),
        (1, "digest", b""),
        (1, "digest", bytes(31)),
        (1, "digest", bytes(33)),
        (1, "points", []),
        (1, "points", ["no key"]),
        (1, "points", [7]),
        (1, "points", ["a/b"] * (MAX_POINTS + 1)),
        (0, "state", "confirmed"),
        (0, "by", "Somebody"),
        (0, "digest", bytes(32)),
        (2, "at", "2026-11-20"),
    ],
)
def test_what_contradicts_itself_is_refused(which: int, name: str, value: Any) -> None:
    wire = CONFIRMED[which].to_wire()
    wire[_NAMES.index(name)] = value
    with pytest.raises(PayloadError, match="confirmed"):
        Confirmed.from_wire(wire)
