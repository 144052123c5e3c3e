"""``extends`` and ``drop``: sister models that share registers and never a code table."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.inherit import merged
from drivers.loader import load_profile, profile_files, read_profile, shipped_dir, system_dirs

BASE = """
id = "base"
names = { en = "Base", zh = "基础" }
maker = "maker"
model = "base model"
kind = "gas"
confidence = "S1"
proved = "frames"
sources = ["a manual"]
notes = ["of the base only"]
[limits]
max_registers = 8
[fields.unit]
address = 0
type = "u16"
[fields.state]
address = 2
type = "u16"
[points.gas]
names = { en = "gas", zh = "气体" }
quantity = "gas"
address = 1
type = "u16"
resolution = "1"
unit = "mg/m3"
unit_from = { field = "unit", codes = { 1 = "mg/m3", 5 = "%{LEL}" } }
[alarms.a1]
names = { en = "alarm 1", zh = "一级报警" }
field = "state"
bits = [0]
means = "alarm"
level = 1
shows = "relay"
[[examples]]
name = "captured"
captured = true
source = "bench"
address = 0
words = [1, 7, 0]
expect = { gas = { value = 7 } }
"""

SISTER = """
id = "sister"
extends = "base"
drop = ["alarms.a1"]
names = { en = "Sister", zh = "姊妹" }
model = "sister model"
confidence = "S2"
sources = ["another manual"]
[points.gas]
names = { en = "gas", zh = "气体" }
quantity = "gas"
address = 1
type = "u16"
resolution = "1"
unit = "%{LEL}"
unit_from = { field = "unit", codes = { 1 = "%{LEL}", 6 = "[ppm]" } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sister.toml").write_text(SISTER, encoding="utf-8")
    return tmp_path


def test_a_named_entry_replaces_the_whole_entry_and_codes_are_never_merged(folder: Path) -> None:
    sister = load_profile("sister", [folder])
    told = sister.points["gas"].unit_from
    assert told is not None
    assert told.codes == {1: "%{LEL}", 6: "[ppm]"}
    assert set(sister.fields) == {"unit", "state"}
    assert sister.limits.max_registers == 8
    assert sister.maker == "maker"
    assert sister.alarms == {}


def test_what_one_model_says_of_itself_is_not_inherited(folder: Path) -> None:
    sister = load_profile("sister", [folder])
    assert (sister.proved, sister.notes, sister.examples, sister.confidence) == ("nothing", (), (), "S2")
    assert sister.extends == "base"


def test_every_file_that_a_profile_is_made_of_is_known(folder: Path) -> None:
    assert profile_files("sister", [folder]) == (folder / "sister.toml", folder / "base.toml")
    assert profile_files("keller-30") == (shipped_dir() / "keller-30.toml",)
    assert profile_files("nothing") == ()


def test_an_overlay_may_extend_the_profile_of_its_own_id(tmp_path: Path) -> None:
    path = tmp_path / "keller-30.toml"
    text = (
        'id = "keller-30"\nextends = "keller-30"\nnames = { en = "Ours", zh = "本站" }\nmodel = "36XW"\n'
        'confidence = "S1"\nsources = ["seen"]\n[limits]\nmax_registers = 2\nstart_multiple = 2\n'
    )
    path.write_text(text, encoding="utf-8")
    found = load_profile("keller-30", [tmp_path])
    assert (found.names.en, found.limits.max_registers) == ("Ours", 2)
    assert set(found.points) == set(load_profile("keller-30").points)
    assert profile_files("keller-30", [tmp_path]) == (path, shipped_dir() / "keller-30.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('extends = "base"', 'extends = "ghost"', r"sister.toml: extends: there is no profile 'ghost'"),
        ('extends = "base"', 'extends = "sister"', "under this one"),
        ('extends = "base"', "extends = 5", "5 is no id"),
        ('extends = "base"\n', "", "drop: drops entries of a base"),
        ('"alarms.a1"', '"alarms.a9"', r"drop\[0\]: 'alarms.a9' is nothing that the base has; it has fields.unit"),
        ('["alarms.a1"]', '"alarms.a1"', "drop: must be a list"),
    ],
)
def test_what_cannot_be_extended_is_a_sentence(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "sister.toml").write_text(SISTER.replace(old, new), encoding="utf-8")
    with pytest.raises(ProfileError, match=said):
        load_profile("sister", [folder])


def test_a_ring_of_profiles_is_refused(folder: Path) -> None:
    (folder / "base.toml").write_text(BASE.replace('id = "base"', 'id = "base"\nextends = "sister"'), encoding="utf-8")
    with pytest.raises(ProfileError, match="extends itself"):
        load_profile("sister", [folder])
    assert len(profile_files("sister", [folder])) == 2


def test_a_file_of_its_own_finds_its_base_in_the_folders_given(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    path = other / "sister.toml"
    path.write_text(SISTER, encoding="utf-8")
    assert read_profile(path, [folder]).id == "sister"
    with pytest.raises(ProfileError, match="'base'"):
        read_profile(path)


def test_the_base_is_not_changed_by_laying_something_over_it() -> None:
    base = {"points": {"a": 1, "b": 2}, "notes": ["x"]}
    result, problems = merged(base, {"points": {"b": 3}, "drop": ["points.a"], "maker": "m"})
    assert result == {"points": {"b": 3}, "maker": "m"}
    assert problems == []
    assert base == {"points": {"a": 1, "b": 2}, "notes": ["x"]}


def test_the_gateways_own_profiles_count_where_the_folder_exists(tmp_path: Path) -> None:
    assert system_dirs({"QIANSHAO_PROFILES": str(tmp_path)}) == (tmp_path,)
    assert system_dirs({"QIANSHAO_PROFILES": str(tmp_path / "none")}) == ()
