from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from contracts.quantities import QUANTITIES
from rules.errors import PackError
from rules.model import Direction, Mark, Severity
from rules.pack import RulePack, index_packs, load_pack, point_rules, select_pack

FOLDER = Path(__file__).resolve().parents[2] / "config" / "rules"
SHIPPED = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.toml"))}

GOOD_PACK = """
id = "test.v1"
en = "test"
zh = "测试"
quantities = ["o2"]
unit = "%{vol}"
scheme = "test scheme"

[[limit]]
name = "low"
en = "low"
zh = "低"
direction = "low"
value = 19.5
deadband = 0.2
severity = "yellow"
basis = "somewhere"
mark = "V"
floor = 19.5
bound_basis = "the standard"

[[limit]]
name = "deep_low"
en = "deep low"
zh = "过低"
direction = "low"
value = 18
severity = "red"
basis = "somewhere"
mark = "D"

[[limit]]
name = "high"
en = "high"
zh = "高"
direction = "high"
value = 23.5
severity = "yellow"
basis = "somewhere"
mark = "K"
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PackError) as caught:
        load_pack(text, "t.toml")
    return caught.value.problems


def changed(old: str, new: str, *, count: int = 1) -> str:
    assert old in GOOD_PACK
    return GOOD_PACK.replace(old, new, count)


def test_a_pack_becomes_rules() -> None:
    pack = load_pack(GOOD_PACK, "t.toml")
    rules = point_rules(pack, silence_after_s=30)
    assert [rule.id for rule in rules.limits] == ["test.v1/low", "test.v1/deep_low", "test.v1/high"]
    low = rules.limits[0]
    assert (low.value, low.deadband, low.unit, low.floor) == (19.5, 0.2, "%{vol}", 19.5)
    assert (low.severity, low.mark, low.scheme) == (Severity.YELLOW, Mark.VERIFIED, "test scheme")
    assert rules.silence is not None
    assert rules.silence.after_s == 30
    assert point_rules(pack).silence is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed('zh = "测试"', ""), "t.toml: zh: is missing; give a Chinese name"),
        (changed('en = "test"', "en = 5"), "t.toml: en: is 5; give an English name"),
        (changed('id = "test.v1"', 'id = "Test V1"'), "t.toml: id: is 'Test V1'; give an id of"),
        (changed('["o2"]', '["o3"]'), "t.toml: quantities: 'o3' is not known; known are acceleration"),
        (changed('["o2"]', "[]"), "t.toml: quantities: is []; give a list"),
        (changed('quantities = ["o2"]', ""), "t.toml: quantities: is missing"),
        (changed('unit = "%{vol}"', 'unit = "%VOL"'), "t.toml: unit: '%VOL' is not a known unit; known are"),
        (changed('unit = "%{vol}"', 'unit = "%{LEL}"'), "t.toml: lel_basis_vol: is missing"),
        ("lel_basis_vol = 100\n" + GOOD_PACK, "t.toml: lel_basis_vol: is 100; give percent"),
        ("colour = 1\n" + GOOD_PACK, "t.toml: colour: is not known here; known are id,"),
        ("gas = 1\n" + GOOD_PACK, "t.toml: gas: is 1; give true or false"),
        (f'note = "{"x" * 3000}"\n' + GOOD_PACK, "t.toml: note: has 3000 bytes; give at most 2048"),
        (changed("value = 18", "threshold = 18"), "t.toml: limit.deep_low.threshold: is not known here"),
        (changed('basis = "somewhere"', ""), "t.toml: limit.low.basis: is missing; give in words"),
        (changed('basis = "somewhere"', 'basis = " "'), "t.toml: limit.low.basis: is ' '; give in words"),
        (changed('mark = "V"', 'mark = "?"'), "t.toml: limit.low.mark: is '?'; give one of V, K, D"),
        (changed('severity = "red"', "severity = 1"), "t.toml: limit.deep_low.severity: is 1; give one of red"),
        (changed('severity = "red"', ""), "t.toml: limit.deep_low.severity: is missing; give one of red"),
        (changed('direction = "high"', 'direction = "up"'), "t.toml: limit.high.direction: is 'up'; give one of"),
        (changed("value = 19.5", "value = 19"), "limit.low.value: 19 is below its floor 19.5 (the standard)"),
        (changed("value = 18", "value = 20"), "limit.deep_low.value: 20 is out of order; give a number below the 19.5"),
        (changed("value = 18", "value = 19.5"), "limit.deep_low.value: 19.5 is out of order"),
        (changed("value = 23.5", "value = 19"), "leave no normal value"),
        (changed("value = 18", "value = true"), "limit.deep_low.value: is True; give a number"),
        (changed("value = 18", "value = nan"), "limit.deep_low.value: is nan; give a number"),
        (changed("deadband = 0.2", "deadband = -1"), "limit.low.deadband: -1.0 is not 0 or more"),
        (changed("deadband = 0.2", "on_delay_s = -1"), "limit.low.on_delay_s: -1.0 is not from 0"),
        (changed("deadband = 0.2", "off_delay_s = 1e9"), "limit.low.off_delay_s: 1000000000.0 is not from 0"),
        (changed("deadband = 0.2", "on_samples = 0"), "limit.low.on_samples: 0 is not 1 or more"),
        (changed("deadband = 0.2", "on_samples = 1.5"), "limit.low.on_samples: is 1.5; give a whole number"),
        (changed("deadband = 0.2", 'latch = "yes"'), "limit.low.latch: is 'yes'; give true or false"),
        (changed("deadband = 0.2", 'set_at = "yesterday"'), "limit.low.set_at: is 'yesterday'; give a date"),
        (changed("deadband = 0.2", "ceiling = 30"), "limit.low.ceiling: only a high limit has a ceiling"),
        (changed('bound_basis = "the standard"', ""), "limit.low.bound_basis: is missing"),
        (changed('scheme = "test scheme"', ""), "limit.low.scheme: is missing here and in the pack"),
        (changed('severity = "red"', 'severity = "blue"'), "limit.deep_low.severity: blue is milder than the yellow"),
        (changed('name = "deep_low"', 'name = "low"'), "limit.low.name: stands twice"),
        (changed('name = "low"', 'name = "1/2"'), "limit.1/2.name: is '1/2'; give a name like L1"),
        (changed('name = "low"', ""), "limit.1.name: is missing; give a name like L1"),
        (GOOD_PACK[: GOOD_PACK.index("[[limit]]")] + "limit = 5", "t.toml: limit: is no list of tables"),
        ("=", "t.toml: is not TOML"),
    ],
)
def test_a_wrong_pack_is_refused_with_the_key_and_what_would_be_right(text: str, expected: str) -> None:
    found = problems(text)
    assert any(expected in item for item in found), found


def test_every_problem_is_said_at_once() -> None:
    text = changed('unit = "%{vol}"', 'unit = "x"').replace("value = 19.5", "value = 5").replace('mark = "D"', "")
    found = problems(text)
    assert len(found) == 4  # unit, floor, mark, and deep_low above low
    assert len(set(found)) == 4


def test_high_limits_ascend() -> None:
    text = SHIPPED["gas-adjacent"]
    swapped = text.replace("value = 10\n", "value = 21\n")
    assert any("limit.L1.value: 20 is out of order; give a number above the 21 of pre" in p for p in problems(swapped))


def test_a_high_limit_above_its_ceiling_is_refused() -> None:
    text = SHIPPED["gas-adjacent"].replace("value = 20\n", "value = 26\n")
    assert any("limit.L1.value: 26 is above its ceiling 25" in item for item in problems(text))


class TestOverrides:
    PACK = load_pack(GOOD_PACK, "t.toml")

    def test_a_sites_value_wins_and_says_so(self) -> None:
        rules = point_rules(self.PACK, {"low": {"value": 20, "deadband": 0.5, "on_delay_s": 3, "on_samples": 2}})
        low = rules.limits[0]
        assert (low.value, low.deadband, low.on_delay_s, low.on_samples) == (20.0, 0.5, 3.0, 2)
        assert (low.mark, low.set_by, low.basis) == (Mark.DEFAULT, "site", "value of the site; the pack has 19.5")
        assert low.rule_hash != point_rules(self.PACK).limits[0].rule_hash

    def test_it_may_name_its_basis_and_who_set_it(self) -> None:
        change = {"value": 20.5, "basis": "owner's letter", "set_by": "李工", "set_at": "2026-11-30"}
        low = point_rules(self.PACK, {"low": change}).limits[0]
        assert (low.basis, low.set_by, low.set_at) == ("owner's letter", "李工", "2026-11-30")

    def test_delays_alone_leave_value_and_mark(self) -> None:
        low = point_rules(self.PACK, {"low": {"off_delay_s": 30}}).limits[0]
        assert (low.mark, low.set_by, low.off_delay_s) == (Mark.VERIFIED, "", 30.0)
        assert low.basis == "somewhere"

    @pytest.mark.parametrize(
        ("overrides", "expected"),
        [
            ({"low": {"value": 19.0}}, "rules.low.value: 19 is below its floor 19.5 (the standard)"),
            ({"low": {"value": "20"}}, "rules.low.value: is '20'; give a number"),
            ({"low": {"value": 24}}, "leave no normal value"),
            ({"deep_low": {"value": 19.6}}, "rules.deep_low.value: 19.6 is out of order"),
            ({"low": {"deadband": -1}}, "rules.low.deadband: -1.0 is not 0 or more"),
            ({"low": {"on_delay_s": -1}}, "rules.low.on_delay_s: -1.0 is not from 0"),
            ({"low": {"latch": True}}, "rules.low.latch: is not known here; known are value"),
            ({"low": {"floor": 0}}, "rules.low.floor: is not known here"),
            ({"low": {"set_at": "now"}}, "rules.low.set_at: is 'now'; give a date"),
            ({"low": 20}, "rules.low: is 20; give a table"),
            ({"L1": {"value": 20}}, "rules.L1: pack test.v1 has no such limit; it has low, deep_low, high"),
        ],
    )
    def test_a_wrong_change_is_refused(self, overrides: dict[str, Any], expected: str) -> None:
        with pytest.raises(PackError) as caught:
            point_rules(self.PACK, overrides, where="rules")
        assert any(expected in item for item in caught.value.problems), caught.value.problems

    def test_every_problem_is_said_at_once(self) -> None:
        with pytest.raises(PackError) as caught:
            point_rules(self.PACK, {"low": {"value": 1, "x": 1}, "y": {}}, silence_after_s=0)
        text = str(caught.value)
        assert all(part in text for part in ("low.x", "low.value", "y: pack", "silence.after_s"))

    def test_an_open_limit_counts_once_the_site_gives_a_value_and_its_basis(self) -> None:
        pack = load_pack(SHIPPED["bridge-tilt"], "bridge-tilt.toml")
        assert point_rules(pack).limits == ()
        with pytest.raises(PackError, match=r"L2\.basis: is missing; the pack ships no number"):
            point_rules(pack, {"L2": {"value": 0.4}})
        rules = point_rules(pack, {"L2": {"value": 0.4, "deadband": 0.05, "basis": "design of the bridge"}})
        assert [(rule.id, rule.value, rule.basis) for rule in rules.limits] == [
            ("bridge.tilt.v1/L2", 0.4, "design of the bridge")
        ]


def test_packs_are_chosen_by_id() -> None:
    pack = load_pack(GOOD_PACK, "a.toml")
    packs = index_packs([pack])
    assert select_pack(packs, "test.v1", "points.x.rules") is pack
    with pytest.raises(PackError, match=r"points\.x\.rules: there is no rule pack 'no\.v1'; known are test\.v1"):
        select_pack(packs, "no.v1", "points.x.rules")
    with pytest.raises(PackError, match=r"b\.toml: id: 'test\.v1' is already the id of a\.toml"):
        index_packs([pack, load_pack(GOOD_PACK, "b.toml")])


class TestShipped:
    PACKS = index_packs(load_pack(text, f"{name}.toml") for name, text in SHIPPED.items())

    @pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.id)
    def test_every_limit_says_where_its_number_comes_from(self, pack: RulePack) -> None:
        assert set(pack.quantities) <= set(QUANTITIES)
        for rule in point_rules(pack).limits:
            assert rule.basis
            assert rule.scheme
            assert re.search(r"[\u4e00-\u9fff]", rule.zh)
            if rule.mark is Mark.KNOWN:
                assert "confirmed" in rule.basis

    @pytest.mark.parametrize(
        ("pack_id", "limits"),
        [
            ("gas.ch4.adjacent.v1", [("pre", 10, "blue"), ("L1", 20, "yellow"), ("L2", 50, "red")]),
            ("gas.o2.v1", [("low", 19.5, "orange"), ("deep_low", 18, "red"), ("high", 23.5, "orange")]),
            ("gas.h2s.v1", [("L1", 10, "yellow"), ("L2", 20, "red")]),
            ("gas.co.v1", [("L1", 30, "yellow"), ("L2", 60, "red")]),
            ("water.pressure.end.v1", [("low", 0.14, "yellow"), ("low_low", 0.10, "orange")]),
            ("flood.ponding.v1", [("blue", 5, "blue"), ("yellow", 15, "yellow"), ("orange", 27, "orange")]),
            ("fire.static.highrise.v1", [("low", 0.10, "yellow"), ("fire_water_absent", 0.02, "orange")]),
        ],
    )
    def test_the_starter_profile(self, pack_id: str, limits: list[tuple[str, float, str]]) -> None:
        found = [(limit.name, limit.value, limit.severity.value) for limit in self.PACKS[pack_id].limits]
        assert found[: len(limits)] == limits

    def test_the_upper_gas_limit_has_no_on_delay_and_gas_alarms_latch(self) -> None:
        for pack in self.PACKS.values():
            if pack.gas:
                rules = {rule.id.split("/")[1]: rule for rule in point_rules(pack).limits}
                assert (rules["L2"].on_delay_s, rules["L2"].on_samples) == (0, 1)
                assert rules["L1"].latch
                assert rules["L2"].latch
                assert all(rule.direction is Direction.HIGH for rule in rules.values())

    def test_a_pressure_exactly_as_required_is_no_alarm(self) -> None:
        assert not point_rules(self.PACKS["water.pressure.end.v1"]).limits[0].inclusive
