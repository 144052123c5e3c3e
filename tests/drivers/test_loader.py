from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.loader import load_profile, parse_profile, profile_hash, profile_ids, read_profile, shipped_profile_ids

MINIMAL = """
id = "mini"
names = { en = "Mini", zh = "迷你" }
maker = "none"
model = "none"
kind = "other"
confidence = "M"
sources = ["made up for a test"]

[fields.state]
address = 0
type = "u16"

[points.raw]
names = { en = "raw", zh = "原始" }
quantity = "raw"
address = 1
type = "u16"
resolution = "1"
unit = "1"
"""


def problems(text: str, id: str | None = "mini") -> list[str]:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text.encode(), file="mini.toml", id=id)
    return [str(problem) for problem in caught.value.problems]


def test_shipped_profiles() -> None:
    found = shipped_profile_ids()
    assert list(found) == sorted(found)
    assert {"gas-head-10reg", "honeywell-xnx", "keller-30", "qd-transmitter", "vegapuls-6x"} <= set(found)


def test_a_directory_overlays_by_id_and_the_last_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, maker in ((first, "first"), (second, "second")):
        folder.mkdir()
        (folder / "mini.toml").write_text(MINIMAL.replace('maker = "none"', f'maker = "{maker}"'))
    (first / "keller-30.toml").write_text(MINIMAL.replace('"mini"', '"keller-30"'))
    assert load_profile("mini", [first, second]).maker == "second"
    assert load_profile("mini", [second, first]).maker == "first"
    assert load_profile("keller-30", [first]).maker == "none"
    assert load_profile("keller-30").maker == "KELLER"
    assert profile_ids([first]) == tuple(sorted((*shipped_profile_ids(), "mini")))


@pytest.mark.parametrize("id", ["", "nothing", "../errors", ".", "a/b"])
def test_an_unknown_profile_is_named_with_what_there_is(id: str) -> None:
    with pytest.raises(ProfileError, match="keller-30"):
        load_profile(id)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        read_profile(tmp_path / "x.toml")


def test_the_hash_belongs_to_the_content() -> None:
    one = profile_hash(parse_profile(MINIMAL.encode(), file="a", id="mini"))
    assert one == profile_hash(parse_profile(("# comment\n" + MINIMAL).encode(), file="b", id="mini"))
    assert one != profile_hash(parse_profile(MINIMAL.replace("address = 1", "address = 2").encode(), file="a"))
    assert len(one) == 32


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ('id = "mini"', 'id = "other"', "id", "'other'"),
        ('id = "mini"', 'id = "Mini!"', "id", "pattern"),
        ('maker = "none"', "", "maker", "missing"),
        ('maker = "none"', "maker = 5", "maker", "5"),
        ('maker = "none"', 'maker = "none"\ncolour = "red"', "colour", "not a known key"),
        ('kind = "other"', 'kind = "thing"', "kind", "thing"),
        ('sources = ["made up for a test"]', "sources = []", "sources", "at least 1"),
        ('type = "u16"\nresolution', 'type = "u17"\nresolution', "points.raw", "u17"),
        ('type = "u16"\nresolution = "1"', 'type = "f32"\nresolution = "1"', "points.raw", "floats take no"),
        ('resolution = "1"\n', "", "points.raw", "resolution is missing"),
        ('resolution = "1"', 'resolution = "0"', "points.raw.resolution", "above 0"),
        ('resolution = "1"', 'resolution = "1/0"', "points.raw.resolution", "exact number"),
        ('resolution = "1"', "resolution = 0.1", "points.raw.resolution", "0.1"),
        ('unit = "1"', 'unit = "furlong"', "points.raw.unit", "furlong"),
        ('quantity = "raw"', 'quantity = "mood"', "points.raw.quantity", "mood"),
        ("address = 1", "address = 70000", "points.raw.address", "65535"),
        ("address = 1", "address = true", "points.raw.address", "True"),
        ("address = 1", "address = 1.0", "points.raw.address", "1.0"),
        ('unit = "1"', 'unit = "1"\ngates = [{ field = "nope", enum = {} }]', "points.raw.gates[0].field", "state"),
        ('unit = "1"', 'unit = "1"\ngates = [{ field = "state" }]', "points.raw.gates[0]", "exactly one"),
        (
            'unit = "1"',
            'unit = "1"\ngates = [{ field = "state", enum = { x = "ok" } }]',
            "points.raw.gates[0].enum",
            "'x'",
        ),
        (
            'unit = "1"',
            'unit = "1"\ngates = [{ field = "state", enum = { 1 = "fine" } }]',
            "points.raw.gates[0].enum",
            "fine",
        ),
        ('unit = "1"', 'unit = "1"\ngates = [{ field = "state", bits = { 64 = "ok" } }]', "points.raw.gates[0]", "64"),
        (
            'unit = "1"',
            'unit = "1"\ngates = [{ field = "state", ranges = [[2, 1, "ok"]] }]',
            "points.raw.gates[0]",
            "upside",
        ),
        ('unit = "1"', 'unit = "1"\nsentinels = [{ raw = "huge", code = "fault" }]', "points.raw.sentinels[0]", "huge"),
        ('unit = "1"', 'unit = "1"\nsentinels = [{ raw = 1, code = "ok" }]', "points.raw.sentinels[0]", "no"),
        ('unit = "1"', 'unit = "1"\nplausible = { low = 2, high = 1 }', "points.raw.plausible", "above"),
        ('unit = "1"', 'unit = "1"\nunit_from = { field = "state", codes = { 0 = "m" } }', "points.raw", "no code"),
        ('unit = "1"', 'unit = "1"\ndecimals_from = { field = "state", codes = { 2 = 2 } }', "points.raw", "1/100"),
        ('unit = "1"', 'unit = "1"\ntable = "coil"', "points.raw", "bit0"),
        ('unit = "1"', 'unit = "1"\n[limits]\nmax_registers = 0', "limits.max_registers", "0"),
        ('unit = "1"', 'unit = "1"\n[serial]\nparity = "maybe"', "serial.parity", "maybe"),
        ("[fields.state]", 'identity = ["ghost"]\n[fields.state]', "", "not TOML|ghost"),
        ('address = 0\ntype = "u16"', 'address = 0\ntype = "f32"', "fields.state", "float is a point"),
        ('address = 0\ntype = "u16"', 'address = 0\ntype = "string"', "fields.state", "count"),
        ('address = 0\ntype = "u16"', 'address = 0\ntype = "u16"\ncount = 2', "fields.state", "strings only"),
    ],
)
def test_every_wrong_key_is_named(old: str, new: str, key: str, said: str) -> None:
    assert old in MINIMAL
    found = "\n".join(problems(MINIMAL.replace(old, new, 1)))
    assert f"mini.toml: {key}" in found
    assert any(word in found for word in said.split("|"))


def test_all_problems_come_at_once() -> None:
    text = (
        MINIMAL.replace("address = 1", "address = -1").replace('maker = "none"', "").replace('"1"\nunit', '"x"\nunit')
    )
    assert len(problems(text)) == 3
    text = MINIMAL + 'gates = [{ field = "a", enum = {} }, { field = "b", enum = {} }]\n'
    assert len(problems(text, id="elsewhere")) == 3


def test_a_point_apart_from_what_it_depends_on_is_refused() -> None:
    text = MINIMAL.replace("address = 1\n", "address = 9\n") + 'gates = [{ field = "state", enum = { 1 = "ok" } }]\n'
    assert "hole of 8" in problems(text)[0]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"id = ", b"[" * 3000, b"#" * (256 * 1024 + 1)])
def test_what_is_no_toml_is_a_sentence(content: bytes) -> None:
    with pytest.raises(ProfileError, match=r"junk\.toml"):
        parse_profile(content, file="junk.toml")


def test_an_empty_file_names_what_is_missing() -> None:
    assert any("points" in item for item in problems(""))
