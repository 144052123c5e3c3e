"""Entries of packs that are not plain limits: what they become, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import PayloadError
from contracts.quality import GOOD
from rules.confirmation import Confirmation
from rules.errors import PackError, RuleError
from rules.model import Direction, Mark
from rules.pack import load_pack, point_rules
from rules.pack_limit import make_limit, make_watch
from rules.pair import step_pair
from rules.point import start, step_point
from rules.point_state import PointRules
from rules.resetting import reset
from rules.state import AlarmState, Sample
from rules.watch import WatchKind
from tests.rules.builders import BOOT, SECOND, fresh, limit, sample
from tests.rules.test_pair import pair
from tests.rules.test_watching import fault

FOLDER = Path(__file__).resolve().parents[2] / "config" / "rules"

HEAD = """
id = "test.v1"
en = "test"
zh = "测试"
quantities = ["level"]
unit = "m"
scheme = "test"
"""
_WORDS = 'en = "x"\nzh = "某"\nseverity = "yellow"\nbasis = "test"\nmark = "D"\n'
KINDS = {
    "deviation": 'direction = "high"\nvalue = 10\npercent = true\ndeadband = 2\n',
    "rate": 'direction = "high"\nvalue = 0.5\nwindow_s = 600\n',
    "flat": "value = 60\ntolerance = 0.01\n",
    "fault": "value = 60\n",
    "trend": 'direction = "high"\nvalue = 600\nwindow_s = 600\nthreshold = 2\n',
}


def entry(kind: str, *, more: str = "", body: str | None = None, name: str = "") -> str:
    numbers = KINDS.get(kind, "") if body is None else body
    return f'[[limit]]\nkind = "{kind}"\nname = "{name or kind}"\n{_WORDS}{numbers}{more}'


def shipped(stem: str) -> str:
    return (FOLDER / f"{stem}.toml").read_text(encoding="utf-8")


def test_every_kind_becomes_its_rule() -> None:
    pack = load_pack(HEAD + "".join(entry(kind) for kind in KINDS), "t.toml")
    rules = point_rules(pack, {"deviation": {"setpoint": 3.0, "basis": "design"}})
    (deviation,) = rules.limits
    assert (deviation.value, deviation.deadband, deviation.returns_at) == (3.3, 0.06, 3.24)
    assert (deviation.basis, deviation.mark, deviation.set_by) == ("set point 3 + 10 %: design", Mark.DEFAULT, "site")
    assert [watch.kind for watch in rules.watches] == list(WatchKind)
    assert [watch.limit.unit for watch in rules.watches] == ["m", "s", "s", "s"]
    trend = rules.watches[3]
    assert (trend.toward, trend.limit.direction, trend.threshold) == (Direction.HIGH, Direction.LOW, 2.0)


def test_a_deviation_without_percent_is_in_the_packs_unit_and_a_low_one_lies_below() -> None:
    body = 'direction = "low"\nvalue = 0.5\nsetpoint = 3\ndeadband = 0.1\n'
    (rule,) = point_rules(load_pack(HEAD + entry("deviation", body=body), "t.toml")).limits
    assert (rule.value, rule.returns_at, rule.basis) == (2.5, 2.6, "set point 3 - 0.5: test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (entry("fast"), "limit.fast.kind: is 'fast'; give one of limit, deviation, rate"),
        (entry("rate", body='direction = "high"\nvalue = 0.5\n'), "limit.rate.window_s: is None; give the seconds"),
        (entry("rate", body='direction = "low"\nvalue = 0.5\nwindow_s = 60\n'), "give a number below 0 for a fall"),
        (entry("rate", body='direction = "high"\nvalue = -1\nwindow_s = 60\n'), "give a number above 0 for a rise"),
        (
            entry("rate", more='ceiling = 0.4\nbound_basis = "b"\n'),
            "limit.rate.value: 0.5 is above its ceiling 0.4 (b)",
        ),
        (entry("rate", more="tolerance = 1\n"), "limit.rate.tolerance: is not known here"),
        (entry("flat", more='direction = "low"\n'), "limit.flat.direction: of flat is always high"),
        (entry("flat", body="value = 60\ntolerance = -1\n"), "limit.flat.tolerance: -1.0 is not 0 or more"),
        (entry("fault", body="value = 0\n"), "limit.fault.value: 0 s is no time"),
        (entry("trend", body='direction = "high"\nvalue = 9000\nwindow_s = 60\n'), "longer than a trend is believed"),
        (entry("trend", more='ceiling = 5\nbound_basis = "b"\n'), "a trend has no bound; its limit is a time"),
        (entry("deviation", body='direction = "high"\nvalue = -5\n'), "-5 is no distance from a set point"),
        (
            entry("limit", body='direction = "high"\nvalue = 5\nsetpoint = 1\n'),
            "limit.limit.setpoint: is not known here",
        ),
        (
            entry("rate") + entry("rate", name="slower", body='direction = "high"\nvalue = 0.1\nwindow_s = 600\n'),
            "limit.slower.value: 0.1 is out of order; give a number above the 0.5 of rate",
        ),
    ],
)
def test_a_wrong_entry_is_refused_with_the_key_and_what_would_be_right(text: str, expected: str) -> None:
    with pytest.raises(PackError) as caught:
        load_pack(HEAD + text, "t.toml")
    assert any(expected in item for item in caught.value.problems), caught.value.problems


def test_what_is_left_open_makes_no_rule() -> None:
    pack = load_pack(HEAD + entry("trend", body='direction = "high"\nvalue = 600\nwindow_s = 600\n'), "t.toml")
    assert pack.limits[0].left_open == ("threshold",)
    assert not point_rules(pack).watches
    with pytest.raises(RuleError, match="threshold: is left to the site"):
        make_watch(pack.id, pack.limits[0], pack.unit, gas=False)
    supply = load_pack(shipped("gas-supply-pressure"), "x")
    with pytest.raises(RuleError, match="setpoint: is left to the site"):
        make_limit(supply.id, supply.limits[0], supply.unit)
    both = {"setpoint": 300, "basis": "owner"}
    with pytest.raises(PackError, match="out of order"):
        point_rules(supply, {"low": both, "low_low": {**both, "value": 10}})


@pytest.mark.parametrize(
    ("stem", "kinds"),
    [
        ("gas-compartment", ["limit", "limit", "limit"]),
        ("gas-ch4-rise", ["rate"]),
        ("gas-supply-pressure", ["deviation"] * 4),
        ("fire-tank-level", ["deviation"] * 2),
        ("sewer-level", ["limit", "limit", "limit", "trend"]),
        ("flood-ponding-trend", ["trend"]),
        ("tunnel-humidity", ["limit"]),
        ("bridge-vibration", ["limit"] * 3),
        ("bridge-vibration-usual", ["deviation"] * 2),
        ("sensor-fault", ["fault"]),
        ("pressure-flat", ["flat"]),
        ("instrument-alarm", ["limit"]),
    ],
)
def test_shipped_packs(stem: str, kinds: list[str]) -> None:
    pack = load_pack(shipped(stem), stem)
    assert [limit.kind.value for limit in pack.limits] == kinds
    assert all(limit.basis and limit.scheme for limit in pack.limits)


def test_numbers_that_no_source_gave_are_not_shipped() -> None:
    for stem in ("bridge-vibration", "bridge-tilt"):
        assert all(limit.value is None for limit in load_pack(shipped(stem), stem).limits)
    assert load_pack(shipped("gas-compartment"), "x").limits[1].ceiling == 20


def test_off_samples_wait_for_as_many_good_ones() -> None:
    rules = PointRules(limits=(limit(deadband=5.0, off_samples=3),))
    state, made = fresh(rules), []
    for at_s, value in enumerate([25, 10, 17, 10, 10]):  # 17 lies between and does not count
        state, new = step_point(rules, state, sample(float(value), at_s))
        made += [(item.alarm, item.at_us) for item in new]
    assert made == [(AlarmState.ACTIVE, 0), (AlarmState.CLEARED, 4 * SECOND)]
    assert PointRules.from_wire(rules.to_wire()) == rules


def test_the_hash_of_a_rule_without_the_new_words_is_what_it_was() -> None:
    assert len(limit().to_wire()) == 22
    assert len(limit(off_samples=2).to_wire()) == 23
    assert len(PointRules(limits=(limit(),)).to_wire()) == 3


LETTER = Confirmation(by="Li", at="2026-11-20", document="x.pdf", digest=bytes(32))
EVERY = PointRules(limits=(limit(latch=True),), watches=(fault(),), pairs=(pair(latch=True),), confirmed=LETTER)


def test_all_rules_of_a_point_go_through_bytes() -> None:
    assert PointRules.from_wire(EVERY.to_wire()) == EVERY
    with pytest.raises(PayloadError, match=r"confirmation\.digest"):
        PointRules.from_wire([*EVERY.to_wire()[:-1], ["Li", "2026-11-20", "x", b"short"]])


def test_a_reset_finds_rules_of_every_kind_and_refuses_what_is_not_latched() -> None:
    state = start(EVERY, boot=BOOT, now_us=0)
    last = Sample(value=1.0, code=GOOD, at_us=5)
    for rule_id in ("test.v1/L1", "test.v1/fault", "test.v1/both"):
        assert reset(EVERY, state, rule_id, by="Li", last=last, now_us=9).refused == "this alarm is not latched"
    assert "there is no limit" in reset(EVERY, state, "none", by="Li", last=last, now_us=9).refused


def test_a_latched_pair_is_reset_by_a_person() -> None:
    state = start(EVERY, boot=BOOT, now_us=0)
    both = state.pairs[0]
    for at_us, stands in ((1, True), (2, False)):
        both, _ = step_pair(EVERY.pairs[0], both, own=stands, other=stands, at_us=at_us, boot=BOOT, sample=None)
    state = replace(state, pairs=(both,))
    done = reset(EVERY, state, "test.v1/both", by="Li", last=Sample(value=1.0, code=GOOD, at_us=5), now_us=9)
    assert (done.refused, [item.alarm for item in done.transitions]) == ("", [AlarmState.CLEARED])
    assert done.state.pairs[0].limit.alarm is AlarmState.CLEARED
