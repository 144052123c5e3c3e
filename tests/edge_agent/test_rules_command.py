"""``edge-agent rules``: check, explain, replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.cli import main
from tests.edge_agent.site_files import SITE, write_site

Capture = pytest.CaptureFixture[str]
RULES = Path(__file__).resolve().parents[2] / "config" / "rules"


def test_check_counts_what_is_right_and_names_what_is_left_to_the_site(capsys: Capture) -> None:
    assert main(["--lang", "en", "rules", "check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"OK: rule packs {len(list(RULES.glob('*.toml')))}, limits ")
    assert "bridge.vibration.v1/L1" in out
    assert main(["--lang", "zh", "rules", "check", str(RULES)]) == 0
    assert "由现场给定" in capsys.readouterr().out


def test_check_says_everything_at_once_with_key_and_what_would_be_right(tmp_path: Path, capsys: Capture) -> None:
    text = (RULES / "gas-adjacent.toml").read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.toml"
    # above its ceiling, out of order, no basis, unknown unit
    text = text.replace("value = 50\n", "value = 60\n").replace("value = 10\n", "value = 21\n")
    text = text.replace('basis = "half of the first alarm, so that a rise is seen early"\n', "")
    wrong.write_text(text.replace('unit = "%{LEL}"', 'unit = "%LEL"'), encoding="utf-8")
    assert main(["rules", "check", str(wrong), str(tmp_path / "none.toml")]) == 2
    error = capsys.readouterr().err
    for part in (
        "limit.L2.value: 60 is above its ceiling 50 (GB/T 50493-2019: level 2 at most 50 %LEL); give 50 or less",
        "limit.L1.value: 20 is out of order; give a number above the 21 of pre",
        "limit.pre.basis: is missing",
        "unit: '%LEL' is not a known unit; known are",
        "none.toml: is not there",
    ):
        assert part in error


def test_explain_a_pack_a_file_and_a_point_in_both_languages(tmp_path: Path, capsys: Capture) -> None:
    assert main(["--lang", "en", "rules", "explain", "sewer.level.v1"]) == 0
    assert "overflow_soon sewer overflows soon: left to the site: threshold; engineering" in capsys.readouterr().out
    assert main(["--lang", "zh", "rules", "explain", str(RULES / "tunnel-humidity.toml")]) == 0
    assert "数值达到或高于 90 %RH 时报警" in capsys.readouterr().out
    site = write_site(tmp_path, SITE)
    assert main(["--lang", "en", "rules", "explain", "well-1/ch4", "--config", str(site)]) == 0
    assert "on trial: no letter confirms these limits" in capsys.readouterr().out
    assert main(["rules", "explain", "well-9/ch4", "--config", str(site)]) == 2
    assert "there is no point 'well-9/ch4'; there are well-1/ch4" in capsys.readouterr().err
    assert main(["rules", "explain", "no.v1"]) == 2
    assert "there is no rule pack 'no.v1'; known are" in capsys.readouterr().err


def test_replay_says_what_it_would_have_raised(tmp_path: Path, capsys: Capture) -> None:
    readings = tmp_path / "r.csv"
    readings.write_text("time,value,quality\n" + "".join(f"{5 * n},{n},good\n" for n in range(30)), encoding="utf-8")
    assert main(["--lang", "en", "rules", "replay", "gas.ch4.adjacent.v1", str(readings)]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:4] for line in out.splitlines()[1:3]] == [
        ["105", "active", "yellow", "gas.ch4.adjacent.v1/L1"],
        ["110", "active", "blue", "gas.ch4.adjacent.v1/pre"],
    ]
    assert out.splitlines()[-1] == "samples 30, raised 2"
    site = write_site(tmp_path, SITE)
    command = ["rules", "replay", "well-1/ch4", str(readings), "--config", str(site), "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["samples"], [event["marks"] for event in record["events"]]) == (30, ["trial", "trial"])
    readings.write_text("x,1\n", encoding="utf-8")
    assert main(["rules", "replay", "gas.ch4.adjacent.v1", str(readings)]) == 2
    assert "line 1: 'x' is no time" in capsys.readouterr().err
