"""Compiling bursts: the points they compute, and every mistake named with its key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.compile import compile_site
from edge_agent.errors import ConfigError
from edge_agent.plan import Plan
from edge_agent.plan_catalogue import catalogue
from tests.edge_agent.site_files import GATEWAY, PORTS, write_site

ROOT = Path(__file__).parents[2]
PIER = """
[[device]]
id = "pier-3"
name = { en = "Pier 3", zh = "3号墩" }
port = "bus-1"
unit_id = 80
profile = "witmotion-wt901c485"
interval_s = 5.0
"""
BURST = """
[device.burst]
rate_hz = 20.0
length_s = 10.0
every_s = 60.0
"""


def compiled(folder: Path, text: str) -> Plan:
    return compile_site(write_site(folder, GATEWAY + PORTS + PIER + text)).plan


def test_features_become_points_behind_those_that_are_read(tmp_path: Path) -> None:
    plan = compiled(tmp_path, BURST)
    (burst,) = plan.bursts
    read = {number for block in plan.blocks for number in block.points}
    assert sorted(burst.block.points) == list(range(len(read), len(plan.points)))
    assert [plan.points[number].key for number in burst.block.points] == [
        f"pier-3/{key}"
        for axis in "xyz"
        for key in (f"acceleration/{axis}-rms", f"acceleration/{axis}-peak", f"frequency/{axis}-1")
    ] + ["pier-3/tilt/gravity-x", "pier-3/tilt/gravity-y"]
    assert [plan.points[number].key for number in burst.channels] == [f"pier-3/acceleration/{axis}" for axis in "xyz"]
    rms = plan.points[burst.block.points[0]]
    assert (rms.en, rms.zh, rms.unit, rms.kind) == (
        "Pier 3 · acceleration X, RMS",
        "3号墩 · X 轴加速度有效值",
        "[g]",
        "f32",
    )
    assert (burst.read.address, burst.read.count, burst.step_us, burst.length_ms) == (0x34, 3, 50_000, 10_000)
    assert (burst.block.interval_ms, burst.block.is_alarm) == (60_000, False)


def test_a_collector_learns_the_features_from_the_catalogue(tmp_path: Path) -> None:
    plan = compiled(tmp_path, BURST)
    document = catalogue(plan, "g-aaaaaaaaaaaa")
    assert [block.points for block in document.blocks] == [block.points for block in plan.row_blocks]
    assert document.blocks[-1].interval_ms == 60_000
    assert document.kinds[-1] == ("f32",) * 11


def test_a_plan_with_bursts_survives_its_file(tmp_path: Path) -> None:
    plan = compiled(tmp_path, BURST + "upright = [0.01, -0.02, 0.999]\nwaveform = false\nfrequencies = 3\n")
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.bursts[0].upright == (0.01, -0.02, 0.999)
    assert not again.bursts[0].keeps_waveform
    keys = [plan.points[number].key for number in plan.bursts[0].block.points]
    assert [key for key in keys if key.startswith("pier-3/frequency/x")] == [f"pier-3/frequency/x-{n}" for n in "123"]
    assert keys[-1] == "pier-3/tilt/drift"


def test_chosen_features_of_chosen_points_only(tmp_path: Path) -> None:
    plan = compiled(tmp_path, BURST + 'points = ["acceleration-z"]\nfeatures = ["p2p", "mean"]\n')
    assert [plan.points[number].key for number in plan.bursts[0].block.points] == [
        "pier-3/acceleration/z-p2p",
        "pier-3/acceleration/z-mean",
    ]


def test_a_site_without_bursts_has_none(tmp_path: Path) -> None:
    plan = compiled(tmp_path, "")
    assert plan.bursts == ()
    assert plan.row_blocks == plan.blocks


# (what follows [device.burst], the key that the problem must name, a word that it must have)
MISTAKES = [
    ("", "device[pier-3].burst.rate_hz", "is missing"),
    ("rate_hz = 20.0\nlength_s = 2.0", "device[pier-3].burst.length_s", "64 to 20000"),
    ("rate_hz = 20.0\nevery_s = 25.0", "device[pier-3].burst.every_s", "30 s or more"),
    ("rate_hz = 100.0", "device[pier-3].burst.rate_hz", "faster than the line"),
    ('rate_hz = 20.0\npoints = ["acceleration-w"]', "device[pier-3].burst.points", "acceleration-x"),
    ('rate_hz = 20.0\npoints = ["yaw"]', "device[pier-3].burst.points", "not read of this device"),
    (
        'rate_hz = 20.0\npoints = ["acceleration-x"]\nfeatures = ["tilt"]',
        "device[pier-3].burst.features",
        "x, y and z",
    ),
    ('rate_hz = 20.0\nfeatures = ["drift"]', "device[pier-3].burst.upright", "angle"),
    ("rate_hz = 20.0\nupright = [0, 0, 0]", "device[pier-3].burst.upright", "no direction"),
    ("rate_hz = 20.0\nupright = [0, 1]", "device[pier-3].burst.upright", "3 items"),
    ('rate_hz = 20.0\nfeatures = ["kurtosis"]', "device[pier-3].burst.features[0]", "'rms'"),
    (
        "rate_hz = 20.0\n[device.burst.feature.x-crest]\nrules = []",
        "device[pier-3].burst.feature.x-crest",
        "x-rms, x-peak, x-frequency-1",
    ),
    (
        'rate_hz = 20.0\n[device.burst.feature.x-rms]\nrules = ["gas.ch4.adjacent.v1"]',
        "device[pier-3].burst.feature.x-rms.rules",
        "measures acceleration",
    ),
    ("rate_hz = 20.0\nspeed = 3", "device[pier-3].burst.speed", "rate_hz"),
]


@pytest.mark.parametrize(("text", "key", "word"), MISTAKES, ids=[f"{key}-{word}"[-50:] for _, key, word in MISTAKES])
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, key: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(tmp_path, f"[device.burst]\n{text}\n")
    found = [line for line in caught.value.problems if f"site.toml: {key}: " in line]
    assert found, caught.value.problems
    assert word in found[0]


def test_a_burst_without_numpy_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.site_bursts.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="extra vibration"):
        compiled(tmp_path, BURST)


def test_a_line_that_is_half_full_is_told(tmp_path: Path) -> None:
    done = compile_site(write_site(tmp_path, GATEWAY + PORTS + PIER + BURST.replace("20.0", "30.0")))
    assert any("device[pier-3].burst.rate_hz" in line and "true rate" in line for line in done.warnings)


def test_the_daemon_loads_numpy_only_when_it_computes() -> None:
    """Plan, judge, sealer and the bursts' own tasks come without it."""
    code = (
        "import sys; import edge_agent.app, edge_agent.vibration.bursts, edge_agent.vibration.slots;"
        "print([name for name in ('numpy', 'pydantic', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_asked_on_a_port_that_is_only_listened_to(tmp_path: Path) -> None:
    ports = PORTS.replace('device = "bus-1"', 'device = "bus-1"\nlisten_only = true')
    with pytest.raises(ConfigError, match=r"device\[pier-3\]\.burst: port 'bus-1' is only listened to"):
        compile_site(write_site(tmp_path, GATEWAY + ports + PIER + BURST))
