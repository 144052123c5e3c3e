"""The instrument's own alarms in a site: points of plan and catalogue, and what their profile was compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.catalogue import Catalogue
from edge_agent.compile import compile_site
from edge_agent.plan import Plan
from edge_agent.plan_catalogue import catalogue
from edge_agent.readings import describe
from tests.edge_agent.site_files import SITE, write_site

OWN = ("well-1/own-alarm/a1", "well-1/own-alarm/a2", "well-1/own-fault/fault", "well-1/own-warning/warning")


def compiled(folder: Path, text: str = SITE) -> Plan:
    return compile_site(write_site(folder, text)).plan


def test_own_alarms_are_points_of_the_plan_and_of_the_catalogue(tmp_path: Path) -> None:
    plan = compiled(tmp_path)
    points = {point.key: point for point in plan.points}
    assert set(OWN) <= set(points)
    alarm = points["well-1/own-alarm/a2"]
    assert (alarm.unit, alarm.kind, alarm.low, alarm.high) == ("1", "int", 0.0, 1.0)
    assert (alarm.en, alarm.zh) == ("Well 1 · alarm 2", "1号井 · 二级报警")
    document = Catalogue.from_body(catalogue(plan, "g-aaaaaaaaaaaa").body)
    assert set(OWN) <= {point.key for point in document.points}
    assert Plan.from_bytes(plan.to_bytes()) == plan


def test_they_cost_no_request_of_their_own(tmp_path: Path) -> None:
    plan = compiled(tmp_path)
    assert [block.read.address for block in plan.blocks if plan.devices[block.device].id == "well-1"] == [2]


def test_a_site_leaves_one_out(tmp_path: Path) -> None:
    text = SITE.replace("[device.points.gas]", "[device.points.a2]\nread = false\n[device.points.gas]", 1)
    keys = {point.key for point in compiled(tmp_path, text).points}
    assert "well-1/own-alarm/a1" in keys
    assert "well-1/own-alarm/a2" not in keys


def test_a_reading_tells_what_its_profile_was_compared_with(tmp_path: Path) -> None:
    plan = compiled(tmp_path)
    assert {device.confidence for device in plan.devices} == {"S1"}
    readings = describe(plan, [], 0)
    assert {(item["profile"], item["proved"]) for item in readings} == {
        ("honeywell-xnx", "nothing"),
        ("keller-30", "nothing"),
    }


def test_the_gateways_own_profiles_overlay_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("QIANSHAO_PROFILES", str(own))
    before = compiled(tmp_path)
    assert str(own) in {name for name, _ in before.inputs}
    text = (
        'id = "keller-30"\nextends = "keller-30"\nnames = { en = "Ours", zh = "本站" }\nmodel = "36XW"\n'
        'confidence = "S2"\nsources = ["seen"]\n'
    )
    (own / "keller-30.toml").write_text(text, encoding="utf-8")
    after = compiled(tmp_path)
    (device,) = (device for device in after.devices if device.profile == "keller-30")
    assert device.confidence == "S2"
    inputs = {name for name, _ in after.inputs}
    assert str(own / "keller-30.toml") in inputs
    assert any(name.endswith("drivers/profiles/keller-30.toml") for name in inputs)
