"""The way of a row: what is told of it, in which order, and that the reading is kept whatever becomes of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.quality import CALIBRATION_OVERDUE
from edge_agent.row_path import RowPath


class Told:
    """Every neighbour of the path at once: notes who was told, and with which codes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.codes: list[Sequence[int] | None] = []
        self.events: list[str] = []
        self.marks: dict[int, tuple[int, ...]] = {}
        self.is_waiting = False
        self.is_broken = False

    def marked(self, block: int, codes: Sequence[int] | None, width: int) -> Sequence[int]:
        return [CALIBRATION_OVERDUE] * width

    def judge_row(self, block: int, sampled_us: int, row: Any, codes: Any, replied_us: int) -> list[str]:
        self.said.append("judge")
        self.codes.append(codes)
        if self.is_broken:
            raise TypeError("a defect")
        return self.events

    def take_events(self, events: list[str]) -> None:
        self.said.append("sealer")

    def add(self, block: int, sampled_us: int, row: Any, codes: Any) -> None:
        self.said.append("columns")
        self.codes.append(codes)

    def take_row(self, block: int, sampled_us: int, row: Any, codes: Any) -> None:
        self.said.append("visits")
        self.codes.append(codes)

    def hear(self, block: int, codes: Any) -> None:
        self.said.append("reloads")
        self.codes.append(codes)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def rows(told: Told) -> RowPath:
    parts: dict[str, Any] = dict.fromkeys(("judge", "columns", "sealer", "upkeep", "visits", "reloads"), told)
    return RowPath(**parts, first=lambda: told.said.append("first"))


def take(rows: RowPath) -> None:
    rows.take(0, 1_000, (1, 2), None, 2_000)


def test_a_quiet_row_is_judged_and_kept_and_only_the_first_one_is_told(told: Told, rows: RowPath) -> None:
    take(rows)
    take(rows)
    assert told.said == ["judge", "columns", "visits", "first", "judge", "columns", "visits"]
    assert rows.count == 2


def test_events_are_sealed_before_anybody_else_hears_of_them(told: Told, rows: RowPath) -> None:
    rows.on_events = lambda events: told.said.append("bursts")
    rows.on_judged = lambda: told.said.append("annunciator")
    take(rows)
    assert told.said == ["judge", "annunciator", "columns", "visits", "first"]
    told.said.clear()
    told.events, told.is_waiting = ["an event"], True
    take(rows)
    assert told.said == ["judge", "sealer", "bursts", "annunciator", "columns", "visits", "reloads"]


def test_what_is_overdue_is_marked_for_everybody(told: Told, rows: RowPath) -> None:
    told.marks, told.is_waiting = {0: (0, 1)}, True
    take(rows)
    assert told.codes == [[CALIBRATION_OVERDUE] * 2] * 4


def test_a_reading_whose_judgement_fails_is_kept_and_is_no_first_one(told: Told, rows: RowPath) -> None:
    told.is_broken = True
    with pytest.raises(TypeError):
        take(rows)
    assert told.said == ["judge", "columns", "visits"]
    told.is_broken = False
    take(rows)
    assert told.said[-1] == "first"
