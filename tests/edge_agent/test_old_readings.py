"""Readings of the past: forms that are read, and every mistake with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.quality import GOOD, INSTRUMENT_WARNING, INVALID, NO_REPLY, OVER_RANGE
from edge_agent.errors import ConfigError
from edge_agent.old_readings import read_readings
from rules import Sample

S = 1_000_000


def read(folder: Path, text: str, point: str | None = None) -> tuple[Sample, ...]:
    path = folder / "readings"
    path.write_text(text, encoding="utf-8")
    return read_readings(path, point).samples


def refused(folder: Path, text: str, point: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, point)
    return str(caught.value)


def test_a_csv_with_and_without_heads_in_both_forms_of_time(tmp_path: Path) -> None:
    text = "# a comment\n\n1,5,good\n2,,\n3,6,uncertain\n4,,bad\n5,,over_range\n6,7\n"
    samples = read(tmp_path, text)
    assert [item.code for item in samples] == [GOOD, NO_REPLY, INSTRUMENT_WARNING, INVALID, OVER_RANGE, GOOD]
    assert [item.value for item in samples] == [5, None, 6, None, None, 7]
    (one,) = read(tmp_path, "value,time\n5,2026-11-30T00:00:00Z\n")
    assert one.at_us == 1_795_996_800 * S


def line(**changes: object) -> str:
    record = {"kind": "reading", "boot": "aa", "mono_us": 5 * S, "point": "a/p", "value": 1.5, "quality": "good"}
    return json.dumps({**record, "reason": "ok", **changes}) + "\n"


def test_what_spool_export_wrote(tmp_path: Path) -> None:
    text = (
        line()
        + line(kind="event")
        + line(point="b/p", mono_us=6 * S)
        + line(mono_us=7 * S, value=None, reason="no_reply")
    )
    assert read(tmp_path, text, "a/p") == (
        Sample(value=1.5, code=GOOD, at_us=5 * S),
        Sample(value=None, code=NO_REPLY, at_us=7 * S),
    )
    assert "holds readings of 2 points; name one with --point: a/p, b/p" in refused(tmp_path, text)
    assert "more than one boot" in refused(tmp_path, line() + line(boot="bb", mono_us=9 * S), "a/p")
    assert "there is no reading of c/p" in refused(tmp_path, line(), "c/p")
    assert "line 2: is no JSON" in refused(tmp_path, line() + "{\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x,1\n", "line 1: 'x' is no time; give seconds"),
        ("1,abc\n", "line 1: 'abc' is no number; leave it empty"),
        ("1,2,zz\n", "line 1: 'zz' is no quality; known are good"),
        ("1,2,missing\n", "a missing reading has no number"),
        ("1,,good\n", "a good reading needs a number"),
        ("2,1\n1,1\n", "line 2: its time is before that of the line before"),
        ("1e15,1\n", "is no time"),
        ("time,quality\n1,good\n", "line 1: names no column value"),
        ("", "there is no reading"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(tmp_path, text)


def test_many_mistakes_are_counted_and_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    assert "and 10 more" in refused(tmp_path, "x,1\n" * 30)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_readings(tmp_path / "none", None)
    (tmp_path / "latin").write_bytes(b"1,\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_readings(tmp_path / "latin", None)
