"""A job that goes before everybody: an alarm output waits for the request under way, and for nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drivers.port import BusPort
from edge_agent.bus.lending import FIRST, Lending
from edge_agent.bus.schedule import Schedule, Slot
from edge_agent.errors import ControlError

PORT: Any = object()


def busy_schedule() -> Schedule:
    """An alarm block that is due now and may not wait."""
    return Schedule([Slot(device=0, interval_ms=1000, phase_ms=0, is_alarm=True, deadline_ms=1000)], 0, at_once=True)


async def test_it_is_taken_at_once_where_another_job_has_no_slot() -> None:
    lending = Lending("bus-1", PORT, lambda: 1_000_000)
    schedule = busy_schedule()

    async def ordinary(port: BusPort) -> str:
        return "ordinary"

    async def first(port: BusPort) -> str:
        assert port is PORT
        return "first"

    lending.ask(ordinary, 1.0, 0.25)
    assert lending.take(schedule, [0], 1_000_000) is None
    answer = lending.ask(first, 1.0, FIRST)
    job = lending.take(schedule, [0], 1_000_000)
    assert job is not None
    await lending.run(job)
    assert answer.result() == "first"
    assert lending.take(schedule, [0], 1_000_000) is None


async def test_its_first_request_leaves_in_the_step_of_the_poller() -> None:
    lending = Lending("bus-1", PORT, lambda: 1_000_000)
    told: list[str] = []

    async def work(port: BusPort) -> None:
        told.append("asked")
        await asyncio.sleep(0)

    asyncio.get_running_loop().call_soon(told.append, "sealed")
    lending.ask(work, 1.0, FIRST)
    job = lending.take(busy_schedule(), [0], 1_000_000)
    assert job is not None
    await lending.run(job)
    assert told == ["asked", "sealed"]


async def test_what_it_raises_and_what_takes_too_long_is_its_owners() -> None:
    lending = Lending("bus-1", PORT, lambda: 1_000_000)

    async def fails(port: BusPort) -> None:
        raise ValueError("defect")

    async def hangs(port: BusPort) -> None:
        await asyncio.Event().wait()

    for work, error in ((fails, ValueError), (hangs, ControlError)):
        answer = lending.ask(work, 0.01, FIRST)
        job = lending.take(busy_schedule(), [0], 1_000_000)
        assert job is not None
        await lending.run(job)
        with pytest.raises(error):
            answer.result()


async def test_a_poller_that_is_cancelled_leaves_nobody_waiting() -> None:
    lending = Lending("bus-1", PORT, lambda: 1_000_000)

    async def hangs(port: BusPort) -> None:
        await asyncio.Event().wait()

    answer = lending.ask(hangs, 1.0, FIRST)
    job = lending.take(busy_schedule(), [0], 1_000_000)
    assert job is not None
    task = asyncio.ensure_future(lending.run(job))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ControlError, match="was stopped"):
        answer.result()
