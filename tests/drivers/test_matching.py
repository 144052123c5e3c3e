"""How surely an answering unit is a device of a profile."""

from __future__ import annotations

import pytest

from drivers.errors import ProfileError
from drivers.loader import load_profile, parse_profile
from drivers.matching import Match, Surely, match_profile, recognition_reads
from tests.drivers.test_loader import MINIMAL

SIGNS = """
[fields.name]
address = 10
type = "string"
count = 4
[fields.nibble]
address = 20
type = "u16"
mask = 0x0F00
shift = 8
[[recognise]]
field = "state"
own_address = true
proves = "hint"
[[recognise]]
field = "name"
starts = "Opti"
proves = "model"
[[recognise]]
field = "nibble"
between = [2, 4]
proves = "family"
"""


def match(**readings: str | None) -> Match:
    profile = parse_profile((MINIMAL + SIGNS).encode(), file="mini.toml", id="mini")
    return match_profile(profile, readings, 7)


@pytest.mark.parametrize(
    ("readings", "surely"),
    [
        ({}, Surely.UNKNOWN),
        ({"name": None, "state": None}, Surely.UNKNOWN),
        ({"state": "7"}, Surely.POSSIBLE),
        ({"state": "8"}, Surely.NO),
        ({"nibble": "3"}, Surely.LIKELY),
        ({"nibble": "5"}, Surely.NO),
        ({"state": "7", "nibble": "2"}, Surely.LIKELY),
        ({"state": "7", "nibble": "2", "name": "Optima"}, Surely.SURE),
        ({"state": "7", "nibble": "2", "name": "Excel"}, Surely.NO),
        ({"nibble": "what"}, Surely.NO),
    ],
)
def test_how_surely(readings: dict[str, str | None], surely: Surely) -> None:
    assert match(**readings).surely is surely


def test_the_evidence_is_kept() -> None:
    assert match(state="7", name="Excel").evidence == (("state", "7", True), ("name", "Excel", False))


def test_the_strongest_signs_are_read_first_and_each_once() -> None:
    profile = parse_profile((MINIMAL + SIGNS).encode(), file="mini.toml", id="mini")
    reads = recognition_reads(profile)
    assert [read.name for read in reads] == ["name", "nibble", "state"]
    assert (reads[1].mask, reads[1].shift) == (0x0F00, 8)


def test_three_sisters_are_told_apart_by_their_type_code() -> None:
    for id, code in (("honeywell-xnx", "36"), ("honeywell-xcd", "37"), ("honeywell-xrl", "38")):
        profile = load_profile(id)
        for said in ("36", "37", "38"):
            found = match_profile(profile, {"type-code": said, "own-address": "1"}, 1).surely
            assert (found >= Surely.LIKELY) == (said == code)
            assert (found is Surely.NO) == (said != code)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('field = "name"', 'field = "ghost"', "recognise[1].field"),
        ('starts = "Opti"', "own_address = true", "equals or starts would be right"),
        ('starts = "Opti"', "equals = [5]", "5 cannot be what field 'name' says; a text would be right"),
        ('starts = "Opti"', "", "exactly one of equals"),
        ("between = [2, 4]", 'starts = "x"', "equals or between would be right"),
        ("between = [2, 4]", 'equals = ["x"]', "a number would be right"),
        ("between = [2, 4]", "between = [4, 2]", "upside down"),
        ('proves = "model"', 'proves = "all"', "recognise[1].proves"),
    ],
)
def test_a_wrong_sign_is_named(old: str, new: str, said: str) -> None:
    assert old in SIGNS
    with pytest.raises(ProfileError) as caught:
        parse_profile((MINIMAL + SIGNS.replace(old, new)).encode(), file="mini.toml", id="mini")
    assert said in str(caught.value)
