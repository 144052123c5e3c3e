"""A burst on a line: equal steps, gaps where others come first, and a silent device left alone."""

from __future__ import annotations

import asyncio

import pytest

from contracts.quality import BAD_FRAME, GOOD, NO_REPLY, NOT_ASKED
from drivers.port import ReadRequest, ReadResult
from edge_agent.bus.block import decoder
from edge_agent.bus.poller import Poller
from edge_agent.errors import ControlError
from edge_agent.vibration.burst import Series, Tick, fit
from edge_agent.vibration.capture import MOST_UNANSWERED, capture
from edge_agent.vibration.slots import Slots
from tests.edge_agent.bus.virtual_bus import Answer, ScriptedPort, VirtualTime, answers, silent
from tests.edge_agent.small_plans import block, device
from tests.edge_agent.vibration.bursts_of import plan

REQUEST = ReadRequest(unit_id=1, table="holding", address=0x34, count=3, timeout_s=0.2, max_reply_s=1.0)
DECODE = decoder(plan().read)


async def captured(time: VirtualTime, port: ScriptedPort, *, length_us: int = 2_000_000, **more: int) -> list[Tick]:
    task = asyncio.ensure_future(
        capture(
            REQUEST,
            DECODE,
            width=3,
            step_us=20_000,
            begin_us=time.now_us,
            length_us=length_us,
            ask=port.read,
            clock=time.clock,
            sleep=time.sleep,
            **more,
        )
    )
    await time.advance(60)
    return await task


async def test_reads_come_at_equal_steps_with_the_middle_as_their_time() -> None:
    time = VirtualTime()
    begin_us = time.now_us
    rows = await captured(time, ScriptedPort(time, {1: answers(1, 65535, 2048, after_us=6_000)}))
    assert [row[0] for row in rows] == [begin_us + 20_000 * n + 3_000 for n in range(101)]
    assert {row[1:] for row in rows} == {((1, -1, 2048), None)}


async def test_a_slow_line_skips_steps_and_the_true_rate_is_seen() -> None:
    time = VirtualTime()
    rows = await captured(time, ScriptedPort(time, {1: answers(1, 2, 3, after_us=28_000)}), length_us=4_000_000)
    series = fit(rows, wanted_us=4_000_000)
    assert isinstance(series, Series)
    assert series.rate_hz == pytest.approx(25.0)


async def test_an_unanswered_read_is_a_row_with_its_cause_and_five_end_the_burst() -> None:
    time = VirtualTime()
    port = ScriptedPort(time, {1: silent})
    rows = await captured(time, port)
    assert len(rows) == len(port.asked) == MOST_UNANSWERED
    assert {row[1:] for row in rows} == {((None,) * 3, (NO_REPLY,) * 3)}
    assert len(await captured(time, port, most_unanswered=1)) == 1


async def test_a_read_that_was_not_asked_is_a_gap_and_no_further_silence() -> None:
    time = VirtualTime()
    codes = [NO_REPLY] + [NOT_ASKED] * 40 + [BAD_FRAME] + [GOOD] * 1000

    def script(request: ReadRequest, now: int) -> Answer:
        code = codes.pop(0)
        return code, (0, 0, 2048) if code == GOOD else (), 1_000

    rows = await captured(time, ScriptedPort(time, {1: script}))
    assert len(rows) == 101
    assert [row[2] is None for row in rows] == [False] * 42 + [True] * 59


# -- through the poller of a port -----------------------------------------------------------------


async def test_a_burst_through_the_poller_keeps_the_polls_of_others_and_its_own_steps() -> None:
    """50 Hz for 10 s beside a device that is polled every 100 ms: no tick of it is missed."""
    time = VirtualTime()
    polled: list[int] = []
    port = ScriptedPort(time, {1: answers(0, 0, 2048, after_us=6_000), 2: answers(7, after_us=9_000)})

    def take(block: int, sampled_us: int, row: object, codes: object, replied_us: int) -> None:
        polled.append(sampled_us)
        assert codes is None

    poller = Poller(
        port_id="bus-1",
        port=port,
        devices=[device("d1", unit_id=1), device("d2", unit_id=2)],
        blocks={0: block(device=1, interval_ms=100), 1: block(device=0, interval_ms=5000)},
        sink=take,
        clock=time.clock,
        sleep=time.sleep,
    )
    running = asyncio.ensure_future(poller.run())
    await time.advance(0.5)
    polled.clear()

    async def borrow(port_id: str, job: object, *, seconds: float, share: float) -> ReadResult:
        return await poller.borrow(job, seconds=seconds, share=share)  # type: ignore[arg-type]

    slots = Slots(borrow, time.clock)
    burst = asyncio.ensure_future(
        capture(
            REQUEST,
            DECODE,
            width=3,
            step_us=20_000,
            begin_us=time.now_us,
            length_us=10_000_000,
            ask=lambda request: slots.read("bus-1", request, 0.3),
            clock=time.clock,
            sleep=time.sleep,
        )
    )
    await time.advance(12)
    assert burst.done()
    series = fit(burst.result(), wanted_us=10_000_000)
    assert isinstance(series, Series), series
    assert series.rate_hz == pytest.approx(50.0, rel=0.01)
    assert series.missing <= 5
    assert 120 <= len(polled) <= 125
    poller.stop()
    await time.advance(1)
    await running


async def test_a_port_that_lends_no_slot_is_a_gap() -> None:
    async def refused(port_id: str, job: object, *, seconds: float, share: float) -> ReadResult:
        raise ControlError("the port is not polled now")

    result = await Slots(refused, VirtualTime().clock).read("bus-1", REQUEST, 0.3)
    assert (result.words, result.code, result.detail) == (None, NOT_ASKED, "the port is not polled now")


async def test_a_slot_that_does_not_come_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.vibration.slots.WAIT_S", 0.01)
    forever: asyncio.Future[ReadResult] = asyncio.get_running_loop().create_future()

    async def never(port_id: str, job: object, *, seconds: float, share: float) -> ReadResult:
        return await forever

    result = await Slots(never, VirtualTime().clock).read("bus-1", REQUEST, 0.3)
    assert (result.words, result.code) == (None, NOT_ASKED)
    await asyncio.sleep(0)
    assert forever.cancelled()
