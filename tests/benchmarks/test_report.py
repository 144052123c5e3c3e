"""Tables, ratios and verdicts."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import Figure, Result, lines_of, middle, to_json


@pytest.mark.parametrize(
    ("value", "target", "is_least", "met"),
    [
        (7.0, 8.0, False, True),
        (8.0, 8.0, False, True),
        (9.0, 8.0, False, False),
        (96.0, 95.0, True, True),
        (94.0, 95.0, True, False),
        (None, 8.0, False, None),
        (7.0, None, False, None),
    ],
)
def test_targets(value: float | None, target: float | None, is_least: bool, met: bool | None) -> None:
    assert Figure(name="x", unit="", value=value, target=target, is_least=is_least).is_met is met


def test_ratio_needs_both() -> None:
    assert Figure(name="x", unit="us", value=12.0, floor=8.0).ratio == 1.5
    assert Figure(name="x", unit="us", value=None, floor=8.0).ratio is None
    assert Figure(name="x", unit="us", value=12.0).ratio is None


def test_a_table_shows_what_was_not_measured_as_a_dash() -> None:
    figures = (
        Figure(name="CPU", unit="us", value=12.0, floor=8.0, target=10),
        Figure(name="drain", unit="readings/s", value=None),
        Figure(name="backlog", unit="readings", value=102_000.0, note="51 batches"),
    )
    lines = lines_of(Result(title="T", method="how", figures=figures))
    assert lines[0] == "T"
    assert lines[1] == "  how"
    assert lines[3].split() == ["CPU,", "us", "12", "8", "1.50x", "<=", "10", "MISSED"]
    assert lines[4].split() == ["drain,", "readings/s", "-"]
    assert lines[5].split() == ["backlog,", "readings", "102,000", "(51", "batches)"]


def test_middle_ignores_what_is_not_there() -> None:
    assert middle([3.0, None, 1.0, 2.0]) == 2.0
    assert middle([None]) is None


def test_json_has_the_machine() -> None:
    result = Result(title="T", method="m", figures=(Figure(name="x", unit="ms", value=1.0),))
    document = json.loads(to_json([result]))
    assert set(document) == {"machine", "results"}
    assert document["results"][0]["figures"][0]["value"] == 1.0
