"""The plan: what is written is read back, and nothing else is taken for a plan."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalogue import Catalogue
from edge_agent import __version__
from edge_agent.compile import compile_site
from edge_agent.errors import PlanError
from edge_agent.plan import MAGIC, Plan, inputs_of
from edge_agent.plan_catalogue import catalogue
from tests.edge_agent.site_files import write_site

GATEWAY_ID = "g-abcdefghijkl"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return compile_site(write_site(tmp_path_factory.mktemp("site"))).plan


def test_a_plan_read_back_is_the_plan(plan: Plan) -> None:
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.hash == plan.hash
    assert again.to_bytes() == plan.to_bytes()


def test_the_hash_names_the_content_and_not_the_files_it_came_from(plan: Plan) -> None:
    assert replace(plan, inputs=()).hash == plan.hash
    assert replace(plan, version="another").hash == plan.hash
    assert replace(plan, en="another").hash != plan.hash


def test_version_and_inputs_are_read_without_the_content(plan: Plan) -> None:
    assert inputs_of(plan.to_bytes()) == (plan.version, plan.inputs)


def test_equal_reads_and_rules_are_written_once(plan: Plan) -> None:
    fleet = replace(
        plan,
        blocks=plan.blocks * 50,
        points=tuple(replace(point, key=f"d{n}/{point.quantity}") for n in range(50) for point in plan.points),
    )
    assert Plan.from_bytes(fleet.to_bytes()) == fleet
    assert len(fleet.to_bytes()) < 15 * len(plan.to_bytes())


@given(data=st.data())
def test_a_damaged_plan_is_refused(plan: Plan, data: st.DataObject) -> None:
    good = plan.to_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    flipped = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :]
    for bad in (flipped, good[:place], good + b"\0"):
        with pytest.raises(PlanError):
            Plan.from_bytes(bad)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_plan(data: bytes) -> None:
    for bad in (data, MAGIC + data):
        with pytest.raises(PlanError):
            Plan.from_bytes(bad)


def test_a_plan_of_another_format_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.plan.FORMAT", 99)
        other = plan.to_bytes()
    with pytest.raises(PlanError, match="another format"):
        Plan.from_bytes(other)


def test_the_catalogue_explains_the_plan(plan: Plan) -> None:
    document = catalogue(plan, GATEWAY_ID)
    assert Catalogue.from_body(document.body) == document
    assert [point.key for point in document.points] == [point.key for point in plan.points]
    assert [block.points for block in document.blocks] == [block.points for block in plan.blocks]
    assert [device.port for device in document.devices] == ["tcp-1", "bus-1"]
    limits = {limit.rule_id for point in document.points for limit in point.limits}
    assert "gas.ch4.adjacent.v1/L1" in limits


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == __version__
