"""Scenarios and plants: what may stand in the files, and how a mistake is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulators.errors import FileError
from simulators.plant import Plant, make_plant, read_plant
from simulators.scenario import load_scenario, make_scenario, scenario_ids, scenario_problems, scenarios_dir
from simulators.toml_file import read_toml

DEMO = Path(__file__).parents[2] / "config" / "sites" / "demo.toml"
GOOD: dict[str, Any] = {"name": {"en": "a", "zh": "甲"}, "duration_s": 10.0}


def test_the_scenarios_are_shipped_and_play_on_the_demo_site() -> None:
    plant = read_plant(DEMO)
    ids = scenario_ids(scenarios_dir())
    assert set(ids) == {
        *("calm", "gas_leak", "falls_silent", "over_range"),
        *("burst_main", "flooding_underpass", "bridge_crossing"),
    }
    for id in ids:
        scenario = load_scenario(id, scenarios_dir())
        assert scenario_problems(scenario, plant) == []
        assert scenario.loop


def test_a_base_comes_first() -> None:
    scenario = load_scenario("gas_leak", scenarios_dir())
    times = [change.at_s for change in scenario.signals]
    assert times == sorted(times)
    assert {change.point for change in scenario.signals if change.at_s == 0} >= {
        "water-main/pressure",
        "bridge/tilt/pitch",
    }


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        ({"duration_s": "long"}, "duration_s", "number"),
        ({"duration_s": 0.0}, "duration_s", "greater than 0"),
        ({"name": None}, "name", ""),
        ({"colour": 1}, "colour", "not a known key"),
        ({"signal": [{"point": "a/b"}]}, "signal[0]", "exactly one of shape and state"),
        ({"signal": [{"point": "a/b", "state": "tired"}]}, "signal[0]", "known are"),
        ({"signal": [{"point": "a/b", "shape": []}]}, "signal[0].shape", "at least 1"),
        ({"signal": [{"point": "a/b", "shape": [{"kind": "wobble"}]}]}, "signal[0].shape[0]", "wobble"),
        (
            {"signal": [{"point": "a/b", "shape": [{"kind": "sine", "amplitude": 1.0, "period_s": 0.0}]}]},
            "signal[0].shape[0].period_s",
            "greater than 0",
        ),
        (
            {"signal": [{"point": "a/b", "shape": [{"kind": "steps", "steps": [[2.0, 1.0], [1.0, 1.0]]}]}]},
            "signal[0]",
            "order of time",
        ),
        ({"signal": [{"at_s": 10.0, "point": "a/b", "state": "fault"}]}, "signal[0].at_s", "not before the end"),
        ({"fault": [{"device": "a", "kind": "bored"}]}, "fault[0].kind", "known are dead"),
        ({"fault": [{"device": "a", "kind": "late", "delay_s": -1.0}]}, "fault[0]", "above 0"),
        ({"fault": [{"device": "a", "kind": "exception", "code": 0}]}, "fault[0]", "from 1 to 255"),
        ({"fault": [{"device": "a", "kind": "dead", "at_s": 5.0, "until_s": 5.0}]}, "fault[0].until_s", "not after"),
        ({"own_alarm": [{"point": "a/x", "of": "a/b"}]}, "own_alarm[0]", "exactly one of above, below and state"),
        ({"own_alarm": [{"point": "a/x", "of": "b/b", "above": 1.0}]}, "own_alarm[0]", "of another device"),
        ({"own_alarm": [{"point": "a/x", "of": "a/b", "state": "tired"}]}, "own_alarm[0].state", "known are"),
        ({"link": [{"state": "slow"}]}, "link[0]", "bytes_per_s"),
        ({"link": [{"state": "cut", "bytes_per_s": 5}]}, "link[0]", "bytes_per_s"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_key(change: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(FileError) as found:
        make_scenario({**GOOD, **change}, id="x", source="x.toml")
    assert any(where == key and text in what for where, what in found.value.problems), found.value.problems


def test_all_mistakes_are_told_at_once() -> None:
    faults = [{"device": "a", "kind": "bored"}, {"device": "a", "kind": "late", "delay_s": 0.0}]
    with pytest.raises(FileError) as found:
        make_scenario({**GOOD, "fault": faults}, id="x", source="x.toml")
    assert len(found.value.problems) == 2


def test_an_unknown_scenario_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there are bridge_crossing, burst_main, calm"):
        load_scenario("quake", scenarios_dir())
    with pytest.raises(FileError, match="there are none"):
        load_scenario("quake", tmp_path)


def test_bases_that_go_round_are_refused(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'base = "{base}"\nname = {{en="x", zh="x"}}\nduration_s = 1.0\n')
    with pytest.raises(FileError, match="a -> b -> a never ends"):
        load_scenario("a", tmp_path)


def test_a_scenario_that_the_plant_cannot_play_says_why(plant: Plant) -> None:
    data = {
        **GOOD,
        "signal": [
            {"point": "nobody/gas", "state": "fault"},
            {"point": "well/co", "state": "fault"},
            {"point": "main/pressure", "state": "warm_up"},
            {"point": "well/gas", "shape": [{"kind": "constant", "value": 5.0}]},
        ],
        "fault": [{"device": "well", "kind": "wrong_crc"}, {"device": "main", "kind": "wrong_crc"}],
        "own_alarm": [
            {"point": "nobody/own-alarm/a1", "of": "nobody/gas", "above": 1.0},
            {"point": "well/gas", "of": "well/heartbeat", "above": 1.0},
            {"point": "well/own-alarm/a1", "of": "well/gas", "state": "over_range"},  # its registers cannot say so
            {"point": "well/own-alarm/a1", "of": "well/gas", "above": 20.0},
        ],
    }
    found = scenario_problems(make_scenario(data, id="x", source="x.toml"), plant)
    assert [origin for origin, _ in found] == [
        "x.toml: signal[0]",
        "x.toml: signal[1]",
        "x.toml: signal[2]",
        "x.toml: own_alarm[0]",
        "x.toml: own_alarm[1]",
        "x.toml: own_alarm[2]",
        "x.toml: fault[0]",
    ]


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("device", 0, "unit_id"), 256, "device[0].unit_id"),
        (("device", 0, "profile"), "abacus", "device[0].profile"),
        (("device", 0, "port"), "nowhere", "device[0].port"),
        (("device", 1, "unit_id"), 1, "device[1].unit_id"),
        (("device", 1, "id"), "well", "device[1].id"),
        (("port", 1, "baud"), "fast", "port[1].baud"),
        (("port", 0, "kind"), "wifi", "port[0]"),
    ],
)
def test_a_wrong_plant_is_refused_with_its_key(
    site: dict[str, Any], tmp_path: Path, path: tuple[str, int, str], value: object, key: str
) -> None:
    part, place, name = path
    site[part][place] = {**site[part][place], name: value}
    with pytest.raises(FileError) as found:
        make_plant(site, "site.toml", tmp_path)
    assert key in [where for where, _ in found.value.problems]


def test_a_file_that_cannot_be_read_or_is_no_toml_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_plant(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1\n")
    with pytest.raises(FileError, match=r"not TOML.*line 1"):
        read_toml(tmp_path / "bad.toml")
