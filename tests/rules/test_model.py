from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.errors import ContractError, PayloadError
from rules.errors import RuleError
from rules.model import (
    Direction,
    LimitRule,
    Mark,
    Severity,
    SilenceRule,
    decimal_sum,
    in_unit,
    rule_from_wire,
)
from tests.rules.builders import limit, low

FULL = limit(
    value=20,
    deadband=5.0,
    on_delay_s=4.0,
    off_delay_s=60.0,
    on_samples=2,
    latch=True,
    inclusive=False,
    ceiling=25.0,
    bound_basis="the standard",
    set_by="李工",
    set_at="2026-11-30",
    mark=Mark.KNOWN,
)


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        (
            {"value": 30.0, "ceiling": 25.0, "bound_basis": "the standard"},
            "value",
            "above its ceiling 25 (the standard)",
        ),
        ({"value": float("nan")}, "value", "not a finite number"),
        ({"deadband": -1.0}, "deadband", "not 0 or more"),
        ({"on_delay_s": -0.1}, "on_delay_s", "not from 0"),
        ({"off_delay_s": float("inf")}, "off_delay_s", "not from 0"),
        ({"on_delay_s": float("nan")}, "on_delay_s", "not from 0"),
        ({"on_samples": 0}, "on_samples", "not 1 or more"),
        ({"unit": "%LEL"}, "unit", "not a known unit"),
        ({"basis": " "}, "basis", "missing"),
        ({"floor": 1.0}, "floor", "only a low limit"),
        ({"direction": Direction.LOW, "ceiling": 100.0}, "ceiling", "only a high limit"),
        ({"direction": Direction.LOW, "value": 19.0, "floor": 19.5}, "value", "below its floor 19.5"),
        ({"id": ""}, "id", "empty"),
    ],
)
def test_an_impossible_rule_cannot_be_built(changes: dict[str, Any], field: str, text: str) -> None:
    with pytest.raises(RuleError) as caught:
        limit(**changes)
    assert [name for name, _ in caught.value.problems] == [field]
    assert text in str(caught.value)


def test_a_value_at_its_bound_is_allowed() -> None:
    assert limit(value=25.0, ceiling=25.0).value == 25.0
    assert low(value=19.5, floor=19.5).value == 19.5


@pytest.mark.parametrize(
    ("rule", "returns_at"),
    [
        (limit(value=20.0, deadband=5.0), 15.0),
        (low(value=0.14, deadband=0.01), 0.15),
        (low(value=19.5, deadband=0.2), 19.7),
        (limit(value=0.3, deadband=0.1), 0.2),
        (limit(value=20.0), 20.0),
    ],
)
def test_the_deadband_is_added_as_decimals(rule: LimitRule, returns_at: float) -> None:
    assert rule.returns_at == returns_at


def test_decimal_sum_is_not_the_binary_sum() -> None:
    assert decimal_sum(0.14, 0.01) == 0.15 != 0.14 + 0.01


def test_rules_survive_the_wire() -> None:
    assert LimitRule.from_wire(FULL.to_wire()) == FULL
    assert rule_from_wire(FULL.to_wire()) == FULL
    silence = SilenceRule(after_s=30)
    assert rule_from_wire(silence.to_wire()) == silence


def test_the_hash_covers_every_field_and_only_content() -> None:
    changes: list[dict[str, Any]] = [
        {"id": "x/L1"},
        {"en": "x"},
        {"zh": "x"},
        {"value": 21.0},
        {"unit": "%"},
        {"inclusive": True},
        {"deadband": 4.0},
        {"on_delay_s": 5.0},
        {"off_delay_s": 61.0},
        {"on_samples": 3},
        {"latch": False},
        {"severity": Severity.RED},
        {"scheme": "x"},
        {"basis": "x"},
        {"mark": Mark.VERIFIED},
        {"ceiling": 24.0},
        {"bound_basis": "x"},
        {"set_by": "x"},
        {"set_at": "2026-12-01"},
    ]
    hashes = {replace(FULL, **change).rule_hash for change in changes} | {FULL.rule_hash}
    assert len(hashes) == len(changes) + 1
    assert all(len(item) == 16 for item in hashes)
    assert limit(value=20).rule_hash == limit(value=20.0).rule_hash
    assert SilenceRule(after_s=30).rule_hash != SilenceRule(after_s=31).rule_hash


@pytest.mark.parametrize(
    ("position", "value", "field"),
    [
        (0, "rate", "limit.kind"),
        (1, 7, "limit.id"),
        (4, "sideways", "limit.direction"),
        (5, "20", "limit.value"),
        (5, float("inf"), "limit.value"),
        (5, 26.0, "limit.value"),
        (6, "furlong", "limit.unit"),
        (7, 1, "limit.inclusive"),
        (8, -1.0, "limit.deadband"),
        (9, None, "limit.on_delay_s"),
        (11, 1.5, "limit.on_samples"),
        (13, "purple", "limit.severity"),
        (16, "?", "limit.mark"),
        (17, True, "limit.ceiling"),
    ],
)
def test_a_wrong_wire_field_is_named(position: int, value: object, field: str) -> None:
    wire = FULL.to_wire()
    wire[position] = value
    with pytest.raises(PayloadError, match=field.replace(".", r"\.")):
        LimitRule.from_wire(wire)


@pytest.mark.parametrize("wire", [None, [], 5, ["flow"], [["limit"]], FULL.to_wire()[:-1], {}])
def test_nonsense_is_no_rule(wire: object) -> None:
    with pytest.raises(PayloadError):
        rule_from_wire(wire)


@pytest.mark.parametrize("after_s", [0.0, -1.0, float("nan"), float("inf")])
def test_silence_needs_a_time(after_s: float) -> None:
    with pytest.raises(RuleError):
        SilenceRule(after_s=after_s)
    with pytest.raises(PayloadError, match="after_s"):
        SilenceRule.from_wire(["silence", "s", "s", "s", after_s, "info"])


def test_a_rule_is_converted_within_a_dimension() -> None:
    rule = low(value=0.14, deadband=0.01, floor=0.14, unit="MPa")
    in_kpa = in_unit(rule, "kPa")
    assert (in_kpa.value, in_kpa.deadband, in_kpa.floor, in_kpa.unit) == (140.0, 10.0, 140.0, "kPa")
    assert in_unit(in_kpa, "MPa") == rule
    assert in_unit(rule, "MPa") is rule
    assert in_unit(limit(value=27.0, unit="cm", ceiling=40.0), "m").ceiling == 0.4


def test_ppm_is_never_converted_to_mass() -> None:
    with pytest.raises(ContractError):
        in_unit(limit(unit="[ppm]"), "mg/m3")


def test_a_recalled_number_asks_for_confirmation() -> None:
    assert FULL.confirm_locally
    assert not limit(mark=Mark.VERIFIED).confirm_locally
