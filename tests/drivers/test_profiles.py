"""The shipped profiles: their examples, and the traps that their makers' documents name."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from drivers.build import PointChoice, identity_reads, plan_device, point_step, point_units
from drivers.errors import ProfileError
from drivers.examples import example_problems
from drivers.loader import load_profile, read_profile, shipped_profile_ids
from drivers.plan import BlockRead

PLAIN = Path(__file__).parents[2] / "benchmarks" / "profiles" / "plain-20.toml"


@pytest.mark.parametrize("id", shipped_profile_ids())
def test_examples_hold(id: str) -> None:
    profile = load_profile(id)
    assert profile.examples
    assert example_problems(profile) == []


@pytest.mark.parametrize("id", shipped_profile_ids())
def test_every_point_has_an_example_with_a_number(id: str) -> None:
    profile = load_profile(id)
    shown = {name for example in profile.examples for name, item in example.expect.items() if item.value is not None}
    assert set(profile.points) | set(profile.alarms) == shown


@pytest.mark.parametrize("id", shipped_profile_ids())
def test_every_profile_tells_its_sources_and_survives_the_stored_plan(id: str) -> None:
    profile = load_profile(id)
    assert profile.sources
    assert profile.notes
    for block in plan_device(profile):
        assert BlockRead.from_wire(block.to_wire()) == block


def test_an_example_that_does_not_hold_is_told() -> None:
    profile = load_profile("qd-transmitter")
    example = profile.examples[0]
    wrong = {
        "value": example.expect["pressure"].model_copy(update={"value": "9"}),
        "quality": example.expect["pressure"].model_copy(update={"quality": "fault"}),
    }
    for what, expected in wrong.items():
        changed = example.model_copy(update={"expect": {"pressure": expected}})
        (problem,) = example_problems(profile.model_copy(update={"examples": (changed,)}))
        assert what in problem
    outside = example.model_copy(update={"address": 4})
    assert example_problems(profile.model_copy(update={"examples": (outside,)}))


BEST_POLLS = {
    "honeywell-xnx": [("holding", 2, 9)],
    "gas-head-10reg": [("holding", 0, 10)],
    "keller-30": [("holding", 2, 2), ("holding", 8, 2)],
    "qd-transmitter": [("holding", 2, 3)],
    "vegapuls-6x": [("input", 2000, 4)],
    "witmotion-wt901c485": [("holding", 0x34, 13)],
}


@pytest.mark.parametrize("id", sorted(BEST_POLLS))
def test_default_polls(id: str) -> None:
    blocks = plan_device(load_profile(id))
    assert [(block.table, block.address, block.count) for block in blocks] == BEST_POLLS[id]


def test_vegapuls_with_all_values_is_one_read_of_ten() -> None:
    profile = load_profile("vegapuls-6x")
    (block,) = plan_device(profile, {name: PointChoice() for name in profile.points})
    assert (block.address, block.count) == (2000, 10)


def test_keller_never_starts_odd_and_never_asks_more_than_four() -> None:
    profile = load_profile("keller-30")
    blocks = plan_device(profile, {name: PointChoice() for name in profile.points})
    assert all(block.address % 2 == 0 and block.count <= 4 for block in blocks)
    (serial,) = identity_reads(profile)
    assert (serial.name, serial.address, serial.count) == ("serial-number", 0x0202, 2)


def test_witmotion_scales_are_exact() -> None:
    profile = load_profile("witmotion-wt901c485")
    assert point_step(profile, "acceleration-x").resolution == Fraction(16, 32768)
    assert point_step(profile, "roll").resolution == Fraction(180, 32768)


def test_only_units_that_the_instrument_knows_can_be_configured() -> None:
    profile = load_profile("honeywell-xnx")
    assert point_units(profile.points["gas"])[0] == "%{LEL}"
    unit = point_step(profile, "gas", unit="[ppm]").unit_from
    assert unit is not None
    assert unit.accepted == (4,)
    with pytest.raises(ProfileError, match="kPa"):
        plan_device(profile, {"gas": PointChoice(unit="kPa"), "nothing": PointChoice()})


def test_all_problems_of_a_choice_come_at_once() -> None:
    with pytest.raises(ProfileError) as caught:
        plan_device(load_profile("honeywell-xnx"), {"gas": PointChoice(unit="kPa"), "nothing": PointChoice()})
    assert [problem.key for problem in caught.value.problems] == ["points.gas.unit", "points.nothing"]


def test_intervals_of_a_site_make_blocks_of_their_own() -> None:
    blocks = plan_device(
        load_profile("gas-head-10reg"), {"gas": PointChoice(), "humidity": PointChoice(interval_ms=60_000)}
    )
    assert [(block.interval_ms, block.address, block.count) for block in blocks] == [(1000, 0, 6), (60_000, 9, 1)]


def test_plausible_ends_follow_the_unit() -> None:
    profile = load_profile("gas-head-10reg")
    step = point_step(profile, "humidity")
    assert (step.low, step.high) == (0, 1000)


def test_benchmark_profile() -> None:
    (block,) = plan_device(read_profile(PLAIN))
    assert (block.address, block.count, len(block.points)) == (0, 20, 20)
