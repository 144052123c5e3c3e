"""docs/wire-format.md says what contracts/ does: tables, closed lists, limits and examples."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from contracts import (
    batch,
    catalogue,
    columns,
    confirmed,
    envelope,
    errors,
    fields,
    inhibit,
    messages,
    receipt,
    upkeep,
    visit,
    waveform,
)
from contracts.envelope import Type
from contracts.keys import Algorithm
from contracts.quality import CODES
from contracts.topics import TYPES
from contracts.units import UNITS
from tests.contracts.make_vectors import load

DOC = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")


def _part(heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    match = re.search(rf"^#+ {heading}$(.*?)(?=^#|\Z)", DOC, re.DOTALL | re.MULTILINE)
    assert match, heading
    return match[1]


def _rows(text: str) -> list[list[str]]:
    """The cells of every table row, headings and rules left out."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if not set(row[0]) <= set("-|")]


def _words(line_start: str, text: str = DOC) -> list[str]:
    """The words in backticks of the line that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(line_start)]
    return re.findall("`([^`]+)`", line)


RECORDS: list[Any] = [
    batch.Header, batch.Head, batch.Anchor, batch.Genesis, batch.Parent, batch.AlarmEvent, batch.Statement,
    batch.HealthRecord, batch.LossRecord, batch.Note, catalogue.CatalogueDevice, catalogue.CataloguePoint,
    catalogue.CatalogueLimit, catalogue.CatalogueBlock, messages.Ask, messages.Time, messages.Command, messages.Status,
    receipt.Receipt, receipt.Range, receipt.Refused, waveform.Waveform, waveform.WaveChannel,
    inhibit.Inhibit, visit.Visit, upkeep.Upkeep, confirmed.Confirmed,
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.__name__))
def test_a_record_has_the_fields_of_its_table_in_their_order(record: Any) -> None:
    rows = _rows(_part(record.__name__))[1:]
    assert [row[0] for row in rows] == [str(index) for index in range(len(rows))]
    assert [row[1].strip("`") for row in rows] == [item.name for item in dataclasses.fields(record)]


def test_the_catalogue_has_its_keys_in_their_order() -> None:
    rows = _rows(_part("Catalogue"))[1:]
    keys = fields.unpack(bytes.fromhex(next(c for c in load("sealed") if c["name"] == "catalogue/p256/raw")["body"]))
    assert [row[1].strip("`") for row in rows] == list(keys)


def test_the_quality_table_is_that_of_the_code() -> None:
    rows = _rows(_part("8. Quality codes"))[1:]
    expected = [
        [str(c.code), c.quality.value, f"`{c.reason}`", "yes" if c.has_value else "no", c.en, c.zh]
        for c in CODES.values()
    ]
    assert rows == expected


def test_the_limits_are_those_of_the_code() -> None:
    rows = {row[0].strip("`"): int(row[1]) for row in _rows(_part("1. Conventions")) if row[0].startswith("`MAX_")}
    assert rows == {
        "MAX_ENVELOPE": envelope.MAX_ENVELOPE,
        "MAX_BODY": fields.MAX_BODY,
        "MAX_CATALOGUE_BODY": fields.MAX_CATALOGUE_BODY,
        "MAX_ARRAY": fields.MAX_ARRAY,
        "MAX_STR": fields.MAX_STR,
        "MAX_DEPTH": fields.MAX_DEPTH,
        "MAX_SAMPLES": columns.MAX_SAMPLES,
    }


def test_topics_and_types_are_those_of_the_code() -> None:
    rows = _rows(_part("4. Topics and types"))[1:]
    assert {row[0].strip("`"): row[1].strip("`") for row in rows} == {c.value: t.value for c, t in TYPES.items()}
    assert Type.CHECKPOINT.value in _part("4. Topics and types")


def test_error_codes_and_algorithms_are_those_of_the_code() -> None:
    family = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.ContractError)]
    assert {row[0].strip("`") for row in _rows(_part("Error codes"))[1:]} == {c.code for c in family}
    algorithms = {row[0].strip("`") for row in _rows(_part("2. Keys and names"))[1:]}
    assert algorithms == set(Algorithm)


def test_section_numbers_are_those_of_the_code() -> None:
    rows = _rows(_part("Sections"))[1:]
    assert {row[1]: int(row[0]) for row in rows} == {s.name.lower(): s.value for s in batch.Section}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("Origins: ", set(batch.Origin)),
        ("States: `unset`", set(batch.ClockState) | {"wall_us"}),
        ("States: `active`", batch.EVENT_STATES),
        ("Reasons: ", batch.REASONS),
        ("Causes: ", batch.LOSS_CAUSES),
        ("Severities", catalogue.SEVERITIES),
        ("Jobs: ", visit.JOBS),
        ("Results: ", visit.RESULTS),
        ("States: `current`", upkeep.STATES),
        ("States: `trial`", confirmed.STATES),
        ("`1`, ", set(UNITS)),
    ],
)
def test_a_closed_list_is_that_of_the_code(start: str, expected: set[str]) -> None:
    assert set(_words(start)) == expected


def _hex_of(text: str, first: str, last: str) -> str:
    """The bytes of an annotated example, from the line that begins with ``first`` to that with ``last``."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"    {first}"))
    end = next(i for i in range(begin, len(lines)) if lines[i].strip().startswith(last))
    return "".join(_bytes_of(line) for line in lines[begin : end + 1])


def _bytes_of(line: str) -> str:
    """The groups of hex digits that a line begins with."""
    groups = itertools.takewhile(lambda group: re.fullmatch("(?:[0-9a-f]{2})+", group), line.split())
    return "".join(groups)


def _sealed(name: str) -> Any:
    return next(case for case in load("sealed") if case["name"] == name)


def test_the_examples_are_vectors() -> None:
    status, first = _sealed("status/ed25519/raw"), _sealed("data-first/ed25519/raw")
    assert _hex_of(_part("3. The envelope"), "94 ", "a951962827") == status["envelope"]
    assert status["digest"] in DOC
    assert _hex_of(_part("Sections"), "92 ", "90 ") == first["body"]
    block = next(case for case in load("columns")["good"] if case["name"] == "worked-example")["block"]
    columns_part = _part("7. Blocks: columns of samples")
    assert f"    {block}\n" in columns_part
    assert _hex_of(columns_part, "96  ", "01 12") == block
    wave = next(case for case in load("waveforms")["good"] if case["name"] == "worked-example")["waveform"]
    wave_part = _part("Waveform")
    packed = _hex_of(wave_part, "95 ", "02 00 ")
    assert f"    {packed}\n" in wave_part
    assert wave.endswith(packed)
