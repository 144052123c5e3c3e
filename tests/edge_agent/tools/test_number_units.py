"""Numbering against units that behave as real ones do, the helpful and the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from contracts import quality
from drivers.numbering import NumberStep
from drivers.port import ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.tools.number_units import Numbering, Outcome, Question, outcome_of


@dataclass
class Line:
    """Units on a line; each is where it is, until something tells it otherwise."""

    #: addresses that answer
    there: set[int]
    #: what a write does; returns the quality code
    react: Callable[[Line, WriteRequest], int]
    writes: list[WriteRequest] = field(default_factory=list)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, request: ReadRequest) -> ReadResult:
        code = quality.GOOD if request.unit_id in self.there else quality.NO_REPLY
        return ReadResult(words=(0,) if code == quality.GOOD else None, code=code, requested_us=0, replied_us=1)

    async def write(self, request: WriteRequest) -> WriteResult:
        self.writes.append(request)
        return WriteResult(code=self.react(self, request), requested_us=0, replied_us=1)


def step(does: str = "address", *, unit_id: int = 1, answered_by: tuple[int, ...] = (1,)) -> NumberStep:
    return NumberStep(
        does=does,  # type: ignore[arg-type]  # one of the words
        unit_id=unit_id,
        function=6,
        address=26,
        values=(3,),
        answered_by=answered_by,
        wait_ms=100,
        note="",
    )


def moves(line: Line, request: WriteRequest) -> int:
    line.there = {3}
    return quality.GOOD


def refuses(line: Line, request: WriteRequest) -> int:
    return quality.ILLEGAL_ADDRESS


def agrees_and_stays(line: Line, request: WriteRequest) -> int:
    return quality.GOOD


def restarts(line: Line, request: WriteRequest) -> int:
    line.there = {3}
    return quality.NO_REPLY


def falls_silent(line: Line, request: WriteRequest) -> int:
    line.there = set()
    return quality.GOOD


def splits(line: Line, request: WriteRequest) -> int:
    line.there = {1, 3}
    return quality.GOOD


async def no_sleep(seconds: float) -> None:
    assert seconds > 0


def numbering(line: Line) -> Numbering:
    return Numbering(line, Question(table="holding", address=0, count=1), max_reply_s=0.5, sleep=no_sleep)


@pytest.mark.parametrize(
    ("react", "steps", "outcome", "detail"),
    [
        (moves, [step()], Outcome.DONE, ""),
        (refuses, [step("unlock"), step()], Outcome.GONE_WRONG, "step 1 of 2 (unlock, register 26)"),
        (agrees_and_stays, [step()], Outcome.STILL_OLD, ""),
        (restarts, [step("restart")], Outcome.DONE, ""),
        (restarts, [step("save")], Outcome.GONE_WRONG, "(save, register 26): no reply"),
        (falls_silent, [step()], Outcome.SILENT, ""),
        (splits, [step()], Outcome.BOTH, ""),
    ],
)
async def test_how_a_numbering_ends(
    react: Callable[[Line, WriteRequest], int], steps: list[NumberStep], outcome: Outcome, detail: str
) -> None:
    line = Line(there={1}, react=react)
    got = await numbering(line).give(steps, old=1, new=3)
    assert got.outcome is outcome
    assert detail in got.detail


async def test_a_step_that_nobody_answers_waits_the_turn_around_only() -> None:
    line = Line(there={1}, react=moves)
    await numbering(line).give([step(unit_id=0, answered_by=())], old=1, new=3)
    assert (line.writes[0].timeout_s, line.writes[0].answered_by) == (0.2, ())


async def test_a_unit_is_found_at_the_first_address_that_answers() -> None:
    line = Line(there={7}, react=moves)
    assert await numbering(line).find([1, 7, 9]) == 7
    assert await numbering(line).find([1, 2]) is None


@pytest.mark.parametrize(
    ("at_old", "at_new", "outcome"),
    [
        (False, True, Outcome.DONE),
        (True, True, Outcome.BOTH),
        (True, False, Outcome.STILL_OLD),
        (False, False, Outcome.SILENT),
    ],
)
def test_answers_at_both_addresses(at_old: bool, at_new: bool, outcome: Outcome) -> None:
    assert outcome_of(at_old=at_old, at_new=at_new) is outcome
