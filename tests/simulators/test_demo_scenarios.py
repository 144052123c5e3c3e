"""What the demo's scenarios make its own rules tell: over range, silence, a loss while rising, trial.

In virtual time. That registers are decoded as they were meant is tested in ``test_image.py``; here what a
point shows goes straight into the rules of the demo's plan.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.quality import BY_REASON, GOOD, NO_REPLY
from edge_agent.compile import compile_site
from edge_agent.plan import Plan
from rules.model import Severity
from rules.replay import replay
from rules.state import AlarmState, Sample, Transition
from simulators.plant import Plant, read_plant
from simulators.scenario import load_scenario, scenarios_dir
from simulators.world import World
from tests.simulators.conftest import Clock

DEMO = Path(__file__).parents[2] / "config" / "sites" / "demo.toml"
GAS = "gas.ch4.adjacent.v1"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_site(DEMO).plan


@pytest.fixture(scope="module")
def demo() -> Plant:
    return read_plant(DEMO)


def story(demo: Plant, scenario: str, point: str) -> list[Sample]:
    """What a point says once a second while a scenario is played once."""
    clock = Clock()
    world = World(demo, clock)
    played = load_scenario(scenario, scenarios_dir())
    world.play([played])
    device, _, key = point.partition("/")
    found = []
    for second in range(int(played.duration_s)):
        clock.now = 1000.0 + second
        shown = world.shown(device).get(key, 0.0)
        if world.faults(device).is_dead:
            value, code = None, NO_REPLY
        elif isinstance(shown, str):
            value, code = None, BY_REASON[shown]
        else:
            value, code = shown, GOOD
        found.append(Sample(value=value, code=code, at_us=second * 1_000_000))
    return found


def told(plan: Plan, demo: Plant, scenario: str, point: str) -> tuple[Transition, ...]:
    rules = next(item.rules for item in plan.points if item.key == point)
    return replay(rules, story(demo, scenario, point)).transitions


def causes(made: tuple[Transition, ...]) -> dict[str, str]:
    """Why each rule was raised first."""
    found: dict[str, str] = {}
    for item in made:
        if item.alarm is AlarmState.ACTIVE:
            found.setdefault(item.rule_id, item.cause.value)
    return found


def test_a_head_that_is_lost_while_the_gas_rises(plan: Plan, demo: Plant) -> None:
    made = told(plan, demo, "falls_silent", "gas-well-2/gas")
    expected = {f"{GAS}/pre": "limit", f"{GAS}/L1": "lost_while_rising", "silence.v1": "silence"}
    assert causes(made) == expected
    assert causes(told(plan, demo, "falls_silent", "water-inlet/pressure")) == {"silence.v1": "silence"}
    assert all(item.sample is None or item.sample.value != 0 for item in made)


def test_a_head_that_goes_over_range_at_once(plan: Plan, demo: Plant) -> None:
    made = told(plan, demo, "over_range", "gas-well-2/gas")
    assert causes(made) == dict.fromkeys((f"{GAS}/pre", f"{GAS}/L1", f"{GAS}/L2"), "over_range")
    raised = [item for item in made if item.alarm is AlarmState.ACTIVE]
    assert {(item.at_us, item.sample and item.sample.value) for item in raised} == {(8_000_000, None)}
    ends = {item.rule_id: item.alarm for item in made}
    assert set(ends.values()) == {AlarmState.LATCHED}


def test_a_leak_whose_limits_are_on_trial_beside_a_head_with_confirmed_ones(plan: Plan, demo: Plant) -> None:
    rules = {item.key: item.rules for item in plan.points}
    made = told(plan, demo, "gas_leak", "gas-well-1/gas")
    assert causes(made) == dict.fromkeys((f"{GAS}/pre", f"{GAS}/L1", f"{GAS}/L2"), "limit")
    assert all(rules["gas-well-1/gas"].is_on_trial(item.rule_id) for item in made)
    assert not any(rules["gas-well-2/gas"].is_on_trial(f"{GAS}/{name}") for name in ("pre", "L1", "L2"))
    # The head's own alarms say the same, each at its set point.
    for name in ("a1", "a2"):
        own = told(plan, demo, "gas_leak", f"gas-well-1/own-alarm/{name}")
        assert [item.alarm for item in own] == [AlarmState.ACTIVE, AlarmState.CLEARED]
    assert Severity.RED in {limit.severity for limit in rules["gas-well-1/gas"].limits}


def test_calm_tells_nothing(plan: Plan, demo: Plant) -> None:
    for point in plan.points:
        assert told(plan, demo, "calm", point.key) == ()
