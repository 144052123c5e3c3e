"""Streets and intervals of the site file: defaults, refusals, hints, and the plan they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.compile import compile_site
from edge_agent.errors import ConfigError
from edge_agent.plan import Plan
from edge_agent.plan_upkeep import UpkeepPlan, Watched
from edge_agent.replacements import Replacement, add_replacement
from tests.edge_agent.site_files import MAIN, SITE, WELL, write_site

_DEVICE = 'id = "well-1"\n'
_GAS = "[device.points.gas]\n"


def _plan(folder: Path, text: str) -> Plan:
    return compile_site(write_site(folder, text)).plan


def _with(device: str = "", point: str = "", gateway: str = "") -> str:
    text = SITE.replace(_DEVICE, _DEVICE + device).replace(_GAS, _GAS + point)
    return text.replace("[gateway]\n", "[gateway]\n" + gateway)


def test_nothing_said_is_nothing_watched_and_a_gas_point_gets_one_hint(tmp_path: Path) -> None:
    done = compile_site(write_site(tmp_path))
    assert done.plan.upkeep == UpkeepPlan()
    hints = [line for line in done.warnings if "bump_days" in line]
    assert len(hints) == 1
    assert "well-1/ch4: gas points without bump_days and calibration_days" in hints[0]


def test_a_default_of_a_device_counts_for_what_it_measures(tmp_path: Path) -> None:
    text = _with("bump_days = 90\ncalibration_days = 180\n", gateway='street = "East Street"\ngrace_days = 10\n')
    plan = _plan(tmp_path, text.replace(_GAS, "[device.points.heartbeat]\nread = true\n" + _GAS))
    assert "well-1/heartbeat" in [point.key for point in plan.points]
    assert plan.upkeep == UpkeepPlan(
        watched=(
            Watched(point="well-1/ch4", job="bump", days=90),
            Watched(point="well-1/ch4", job="calibration", days=180),
        ),
        streets=("East Street", "East Street"),
        grace_days=10,
    )
    assert Plan.from_bytes(plan.to_bytes()) == plan
    assert not any("bump_days" in line for line in compile_site(write_site(tmp_path, text)).warnings)


def test_a_point_and_a_device_say_otherwise(tmp_path: Path) -> None:
    text = _with(
        'street = "West Street"\nbump_days = 90\ncalibration_days = 180\n',
        "bump_days = 0\ncalibration_days = 365\n",
        'street = "East Street"\n',
    )
    upkeep = _plan(tmp_path, text).upkeep
    assert upkeep.watched == (Watched(point="well-1/ch4", job="calibration", days=365),)
    assert upkeep.streets == ("West Street", "East Street")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (_with("bump_days = -1\n"), "device[well-1].bump_days: -1: input should be greater than or equal to 0"),
        (_with("calibration_days = 4000\n"), "device[well-1].calibration_days: 4000: input should be less than or"),
        (_with(point="bump_days = 1.5\n"), "device[well-1].points.gas.bump_days: 1.5"),
        (_with("street = 7\n"), "device[well-1].street: 7: input should be a valid string"),
        (_with(gateway="grace_days = -1\n"), "gateway.grace_days: -1"),
        (
            SITE.replace(MAIN, MAIN + "bump_days = 30\n"),
            "device[main-1].points.p1.bump_days: main-1/pressure measures pressure; a bump test is done with gas",
        ),
        (
            SITE.replace(WELL, WELL + "[device.points.heartbeat]\nread = true\ncalibration_days = 30\n"),
            "device[well-1].points.heartbeat.calibration_days: well-1/heartbeat is heartbeat, which the instrument",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_site(write_site(tmp_path, text))
    assert any(sentence in problem for problem in caught.value.problems), caught.value.problems


def test_a_unit_that_came_calibrated_brings_its_day(tmp_path: Path) -> None:
    text = _with('serial = "1"\n', "calibration_days = 180\n")
    path = write_site(tmp_path, text)
    (tmp_path / "state").mkdir()

    def accept(old: str, new: str, day: str) -> None:
        one = Replacement(device="well-1", old=old, new=new, by="Li Wei", reason="r", calibrated=day, at="")
        add_replacement(tmp_path / "state", one)

    accept("1", "2", "2026-05-04")
    assert compile_site(path).plan.upkeep.calibrated == (("well-1", "2026-05-04"),)
    accept("2", "3", "")
    assert compile_site(path).plan.upkeep.calibrated == (), "the day was that of another unit"
    path.write_text(text.replace('"1"', '"9"'))
    assert compile_site(path).plan.upkeep.calibrated == (), "and so it is when the file names a third one"


def test_a_day_that_is_none_is_told_and_makes_no_plan_that_nobody_can_read(tmp_path: Path) -> None:
    path = write_site(tmp_path, _with('serial = "1"\n', "calibration_days = 180\n"))
    (tmp_path / "state").mkdir()
    one = Replacement(device="well-1", old="1", new="2", by="A", reason="r", calibrated="2026-02-30", at="")
    add_replacement(tmp_path / "state", one)
    done = compile_site(path)
    assert Plan.from_bytes(done.plan.to_bytes()) == done.plan
    assert any("device[well-1].serial: 2 was accepted as calibrated on 2026-02-30" in line for line in done.warnings)
