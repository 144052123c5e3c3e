"""Rules in a site file: watches, deviations, pairs, the instrument's own alarm, confirmed limits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge_agent.compile import Compiled, compile_site
from edge_agent.errors import ConfigError
from edge_agent.plan import Plan
from rules import PointRules, WatchKind
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, UPLINK, WELL, write_site

SECOND_WELL = WELL.replace("well-1", "well-2").replace("unit_id = 1", "unit_id = 3").replace("Well 1", "Well 2")
PAIR = """
[[device.points.gas.pair]]
name = "two_heads"
en = "two heads in one well"
zh = "同井双探头"
when = "L1"
point = "well-2/ch4"
rule = "pre"
within_s = 300
severity = "orange"
basis = "the heads hang in one well"
"""
CONFIRMATION = """
[[confirmation]]
by = "Li Wei"
at = "2026-11-20"
document = "limits.txt"
points = ["well-*/ch4"]
"""
LETTER = b"The limits of all wells are confirmed.\n"


def site(*parts: str) -> str:
    return (
        GATEWAY
        + "".join(part for part in parts if part.startswith("\n[[confirmation"))
        + UPLINK
        + PORTS
        + "".join(part for part in parts if not part.startswith("\n[[confirmation"))
    )


def compiled(folder: Path, *parts: str) -> Compiled:
    (folder / "limits.txt").write_bytes(LETTER)
    return compile_site(write_site(folder, site(*parts)))


def problems(folder: Path, *parts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compiled(folder, *parts)
    return str(caught.value)


def rules_of(plan: Plan, key: str) -> PointRules:
    assert Plan.from_bytes(plan.to_bytes()) == plan
    return next(point.rules for point in plan.points if point.key == key)


def test_a_rate_beside_limits_in_the_points_unit_and_changed_by_the_site(tmp_path: Path) -> None:
    well = WELL.replace('["gas.ch4.adjacent.v1"]', '["gas.ch4.adjacent.v1", "gas.ch4.rise.v1", "sensor.fault.v1"]')
    change = "[device.points.gas.limits.fast_rise]\nvalue = 1\nwindow_s = 300\nbasis = 'survey'\n"
    rules = rules_of(compiled(tmp_path, well, change).plan, "well-1/ch4")
    assert [(watch.id, watch.kind) for watch in rules.watches] == [
        ("gas.ch4.rise.v1/fast_rise", WatchKind.RATE),
        ("sensor.fault.v1/fault", WatchKind.FAULT),
    ]
    rate, fault = rules.watches
    assert (rate.limit.value, rate.window_s, rate.min_value, rate.limit.basis) == (1.0, 300.0, 5.0, "survey")
    assert (fault.limit.value, fault.unit) == (300.0, "%{LEL}")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    text = problems(tmp_path, WELL, "[device.points.gas.limits.L1]\nwindow_s = 300\n")
    assert "limits.L1.window_s: is not known here; known are value" in text


def test_deviations_follow_the_set_point_in_any_unit(tmp_path: Path) -> None:
    main = MAIN.replace("water.pressure.end.v1", "gas.supply.pressure.v1")
    change = "".join(
        f"[device.points.p1.limits.{name}]\nsetpoint = 0.3\nunit = 'MPa'\nbasis = 'owner'\n"
        for name in ("low", "low_low", "high", "high_high")
    )
    rules = rules_of(compiled(tmp_path, WELL, main, change).plan, "main-1/pressure")
    in_kpa = [
        round(rule.value * (100 if rule.unit == "bar" else 1000 if rule.unit == "MPa" else 1), 6)
        for rule in rules.limits
    ]
    assert in_kpa == [255, 210, 330, 360]
    assert rules.limits[0].basis == "set point 300 - 15 %: owner"


def test_what_is_left_open_is_told_with_what_to_give(tmp_path: Path) -> None:
    main = MAIN.replace("water.pressure.end.v1", "gas.supply.pressure.v1")
    done = compiled(tmp_path, WELL, main)
    assert not rules_of(done.plan, "main-1/pressure").limits
    assert any(
        "ships no number for it, so it does not count; give setpoint and basis" in line for line in done.warnings
    )


def test_a_gas_head_at_zero_is_no_flat_line_whichever_pack_looks(tmp_path: Path) -> None:
    own = tmp_path / "packs"
    own.mkdir()
    pack = """
id = "ch4.flat.v1"
en = "flat"
zh = "停滞"
quantities = ["ch4"]
unit = "%{LEL}"
lel_basis_vol = 5.0
scheme = "supervision"
[[limit]]
kind = "flat"
name = "flat"
en = "flat"
zh = "停滞"
value = 7200
severity = "info"
basis = "test"
mark = "D"
"""
    (own / "flat.toml").write_text(pack, encoding="utf-8")
    well = WELL.replace('["gas.ch4.adjacent.v1"]', '["gas.ch4.adjacent.v1", "ch4.flat.v1"]')
    text = 'rule_dirs = ["packs"]\n' + site(well)
    plan = compile_site(write_site(tmp_path, text)).plan
    assert rules_of(plan, "well-1/ch4").watches[0].spares_zero


def test_a_pair_finds_the_other_points_rule_by_name(tmp_path: Path) -> None:
    rules = rules_of(compiled(tmp_path, WELL, PAIR, SECOND_WELL).plan, "well-1/ch4")
    (pair,) = rules.pairs
    assert (pair.id, pair.own, pair.point, pair.other) == (
        "pair/two_heads",
        "gas.ch4.adjacent.v1/L1",
        "well-2/ch4",
        "gas.ch4.adjacent.v1/pre",
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('when = "L1"', 'when = "L9"', "pair[two_heads].when: 'L9' is not one rule of this point; it has gas.ch4"),
        ('rule = "pre"', 'rule = "L9"', "pair/two_heads.rule: 'L9' is not one rule of well-2/ch4; it has gas.ch4"),
        ('"well-2/ch4"', '"well-9/ch4"', "there is no point 'well-9/ch4' on this gateway; there are"),
        ('"well-2/ch4"', '"well-1/ch4"', "is this point itself; name another one"),
        ('"well-2/ch4"', '"Well 2"', "pair[two_heads].point: 'Well 2' is no key of a point"),
        ("within_s = 300", "within_s = -1", "within_s"),
        ('severity = "orange"', 'severity = "bad"', "severity"),
    ],
)
def test_a_pair_that_cannot_be_is_refused_in_words(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in problems(tmp_path, WELL, PAIR.replace(old, new), SECOND_WELL)


def test_an_instruments_own_alarm_raises_by_itself_unless_the_site_says_otherwise(tmp_path: Path) -> None:
    key = "well-1/own-alarm/a1"
    assert [rule.id for rule in rules_of(compiled(tmp_path, WELL).plan, key).limits] == ["instrument.alarm.v1/on"]
    assert not rules_of(compiled(tmp_path, WELL, "[device.points.a1]\nrules = []\n").plan, key).limits


def test_limits_are_on_trial_until_a_letter_confirms_them(tmp_path: Path) -> None:
    before = compiled(tmp_path, WELL, SECOND_WELL, MAIN)
    assert rules_of(before.plan, "well-1/ch4").is_on_trial("gas.ch4.adjacent.v1/L1")
    assert any("no letter confirms the limits of" in line for line in before.warnings)
    after = compiled(tmp_path, CONFIRMATION, WELL, SECOND_WELL, MAIN).plan
    for key in ("well-1/ch4", "well-2/ch4"):
        rules = rules_of(after, key)
        assert not rules.is_on_trial("gas.ch4.adjacent.v1/L1")
        assert rules.confirmed is not None
        assert rules.confirmed.digest == hashlib.sha256(LETTER).digest()
    # Nobody confirmed the main, and nothing but the mark differs.
    assert rules_of(after, "main-1/pressure").confirmed is None
    assert rules_of(after, "well-1/ch4").limits == rules_of(before.plan, "well-1/ch4").limits


def test_another_letter_is_another_plan(tmp_path: Path) -> None:
    one = compiled(tmp_path, CONFIRMATION, WELL).plan
    (tmp_path / "limits.txt").write_bytes(b"other")
    assert compile_site(tmp_path / "site.toml").plan.hash != one.hash


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("limits.txt", "nothing.txt", "confirmation[0].document: 'nothing.txt' cannot be read"),
        ("well-*/ch4", "well-9/*", "confirmation[0].points: 'well-9/*' is no point here; a key such as"),
        ("2026-11-20", "yesterday", "confirmation[0].at"),
        ('by = "Li Wei"', 'by = ""', "confirmation[0].by"),
    ],
)
def test_a_letter_that_proves_nothing_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in problems(tmp_path, CONFIRMATION.replace(old, new), WELL)


def test_a_limit_set_after_its_letter_has_to_be_confirmed_again(tmp_path: Path) -> None:
    change = "[device.points.gas.limits.L1]\nvalue = 15\nbasis = 'new'\nset_at = '2026-11-25'\n"
    text = problems(tmp_path, CONFIRMATION, WELL, change)
    assert "gas.ch4.adjacent.v1/L1 of well-1/ch4 was set after 2026-11-20; confirm it again" in text
