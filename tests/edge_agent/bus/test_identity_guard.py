"""Rows of a unit that may be another: they wait for its number, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from contracts import quality
from contracts.batch import HealthRecord
from drivers.plan import IdentityRead
from drivers.port import BusPort, ReadResult
from edge_agent.bus import identity_guard
from edge_agent.bus.identity import ASK_AGAIN_US
from edge_agent.bus.identity_guard import IdentityGuard
from edge_agent.errors import ControlError
from tests.edge_agent.small_plans import block, device

SERIAL = IdentityRead(name="serial", table="holding", address=100, count=2, data_type="u32")
Row = tuple[int, tuple[object, ...], Sequence[int] | None]


class Bench:
    """A guard, what it passed on, and the answers of the unit."""

    def __init__(self, declared: str = "104233") -> None:
        self.passed: list[Row] = []
        self.is_passed = asyncio.Event()
        self.answers: list[ReadResult | Exception] = []
        self.asked = 0
        self.now_us = 1_000_000
        self.is_open = asyncio.Event()
        self.is_open.set()
        devices = [replace(device(), serial=declared, serial_read=SERIAL), device("d2", unit_id=2)]
        blocks = {0: block(offsets=(0, 1)), 1: block(device=1)}
        self.guard = IdentityGuard(devices, blocks, self._take, self._borrow, lambda: self.now_us)

    def _take(self, block: int, sampled_us: int, row: object, codes: Sequence[int] | None, _: int) -> None:
        assert isinstance(row, tuple)
        self.passed.append((block, row, codes))
        self.is_passed.set()

    async def _borrow(self, job: Callable[[BusPort], Awaitable[ReadResult]], seconds: float) -> ReadResult:
        assert 0 < seconds < 2
        self.asked += 1
        await self.is_open.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def row(self, *values: int | None, codes: Sequence[int] | None = None, block: int = 0) -> None:
        self.guard.take(block, self.now_us, values, codes, self.now_us)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def said(number: int) -> ReadResult:
    return ReadResult(words=(number >> 16, number & 0xFFFF), code=quality.GOOD, requested_us=0, replied_us=1)


def failed(code: int) -> ReadResult:
    return ReadResult(words=None, code=code, requested_us=0, replied_us=1)


async def test_rows_wait_for_the_right_number_and_come_in_order() -> None:
    bench = Bench()
    bench.answers = [said(104233)]
    bench.row(1, 2)
    bench.row(3, 4)
    bench.row(9, block=1)
    assert bench.passed == [(1, (9,), None)]
    await bench.settle()
    bench.row(5, 6)
    assert bench.passed[1:] == [(0, (1, 2), None), (0, (3, 4), None), (0, (5, 6), None)]
    assert bench.asked == 1
    [record] = bench.guard.health([HealthRecord(subject="device/d1", mono_us=0, facts=())])
    assert dict(record.facts) == {"identity": "same", "serial_declared": "104233", "serial_read": "104233"}


async def test_no_value_of_another_unit_is_passed_on() -> None:
    bench = Bench()
    bench.answers = [said(104877), said(104233)]
    bench.row(1, 2)
    await bench.settle()
    bench.row(None, 4, codes=(quality.OVER_RANGE, quality.GOOD))
    bench.row(None, None, codes=(quality.NO_REPLY,) * 2)
    other = (quality.OTHER_DEVICE,) * 2
    assert bench.passed == [
        (0, (None, None), other),
        (0, (None, None), other),
        (0, (None, None), (quality.NO_REPLY,) * 2),
    ]
    # The right one is put back without a silence that was seen.
    bench.now_us += ASK_AGAIN_US
    bench.row(5, 6)
    await bench.settle()
    bench.row(7, 8)
    assert bench.passed[3:] == [(0, (None, None), other), (0, (7, 8), None)]


@pytest.mark.parametrize("code", [quality.NO_REPLY, quality.NOT_ASKED])
async def test_after_a_silence_the_number_is_read_again(code: int) -> None:
    bench = Bench()
    bench.answers = [said(104233), said(104877)]
    bench.row(1, 2)
    await bench.settle()
    for _ in range(3):
        bench.row(None, None, codes=(code,) * 2)
    bench.row(3, 4)
    await bench.settle()
    assert bench.asked == 2
    assert bench.passed[-1] == (0, (None, None), (quality.OTHER_DEVICE,) * 2)


async def test_one_lost_reply_is_no_silence() -> None:
    bench = Bench()
    bench.answers = [said(104233)]
    bench.row(1, 2)
    await bench.settle()
    bench.row(None, None, codes=(quality.NO_REPLY,) * 2)
    bench.row(3, 4)
    await bench.settle()
    assert bench.asked == 1


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (failed(quality.NO_REPLY), "unchecked"),
        (failed(quality.DEVICE_BUSY), "unchecked"),
        (failed(quality.ILLEGAL_ADDRESS), "untold"),
        (said(0), "untold"),
        (ControlError("no slot"), "unchecked"),
        (RuntimeError("a defect"), "unchecked"),
    ],
)
async def test_a_unit_that_does_not_tell_is_not_accused(answer: ReadResult | Exception, state: str) -> None:
    bench = Bench()
    bench.answers = [answer]
    bench.row(1, 2)
    await bench.settle()
    bench.row(3, 4)
    assert bench.passed == [(0, (1, 2), None), (0, (3, 4), None)]
    [record] = bench.guard.health([HealthRecord(subject="device/d1", mono_us=0, facts=())])
    assert dict(record.facts)["identity"] == state


async def test_a_row_waits_no_longer_than_an_alarm_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_guard, "HOLD_S", 0.01)
    bench = Bench()
    bench.is_open.clear()
    bench.answers = [said(104877)]
    bench.row(1, 2)
    assert bench.passed == []
    async with asyncio.timeout(5):
        await bench.is_passed.wait()
    bench.row(3, 4)
    assert bench.passed == [(0, (1, 2), None), (0, (3, 4), None)]
    bench.is_open.set()
    await bench.settle()
    bench.row(5, 6)
    assert bench.passed[-1] == (0, (None, None), (quality.OTHER_DEVICE,) * 2)


async def test_what_waits_is_passed_on_at_the_end() -> None:
    bench = Bench()
    bench.is_open.clear()
    bench.row(1, 2)
    bench.guard.stop()
    bench.guard.stop()
    bench.row(3, 4)
    assert bench.passed == [(0, (1, 2), None), (0, (3, 4), None)]
    await bench.settle()
