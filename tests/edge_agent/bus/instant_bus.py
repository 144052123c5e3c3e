"""The whole engine without waiting: a clock that jumps, a line that costs what a line costs, devices that die.

The poller under test is the real one.  Its ``sleep`` and the port's ``read`` move the clock and return at once,
so minutes of a bus are milliseconds of a test, and every run of the same case is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from contracts import quality
from drivers.port import BusPort, RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.bus.budget import PortBudget, port_budget
from edge_agent.bus.poller import Codes, Poller, Row
from edge_agent.bus.request_time import wire_s
from edge_agent.errors import ControlError
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan, PortPlan

LINE = PortPlan(id="bus-1", kind="serial", device="/dev/null", baud=9600, parity="N", stop_bits=1)

#: ``Asked.address`` of a write
WRITE = -1
#: unit id, monotonic us -> microseconds that the device needs to answer; None: it does not answer
Reply = Callable[[int, int], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request on the line, monotonic us."""

    unit_id: int
    address: int
    requested_us: int
    replied_us: int
    code: int


@dataclass
class InstantPort:
    """A serial line as the budget sees it: frames, silence, and the wait."""

    replies: Reply
    line: PortPlan = LINE
    now_us: int = 5_000_000_000
    end_us: int = 0
    asked: list[Asked] = field(default_factory=list)
    poller: Poller | None = None
    #: seconds of jobs that are asked for at the start
    jobs: Sequence[float] = ()
    #: what they took
    lent_us: int = 0
    _lent: list[asyncio.Task[None]] = field(default_factory=list)
    #: unit id -> until when a late reply can come
    _owed_until_us: dict[int, int] = field(default_factory=dict)
    #: what an answer becomes: unit id, now -> quality code
    spoils: Callable[[int, int], int] = lambda unit_id, now: quality.GOOD

    def clock(self) -> int:
        return self.now_us

    async def sleep(self, seconds: float) -> None:
        await self._pass(max(1, round(seconds * 1e6)))

    async def open(self) -> None:
        for seconds in self.jobs:
            self._lent.append(asyncio.get_running_loop().create_task(self._borrow(seconds)))
        await asyncio.sleep(0)

    async def _borrow(self, seconds: float) -> None:
        assert self.poller is not None

        async def job(port: BusPort) -> None:
            self.lent_us += round(seconds * 1e6)
            await self._pass(round(seconds * 1e6))

        with suppress(ControlError):
            await self.poller.borrow(job, seconds=seconds)

    async def close(self) -> None:
        pass

    async def read(self, request: ReadRequest) -> ReadResult:
        began = self.now_us
        if began < self._owed_until_us.get(request.unit_id, 0):
            return ReadResult(words=None, code=quality.NOT_ASKED, requested_us=began, replied_us=began)
        data = (request.count + 7) // 8 if request.table in ("coil", "discrete") else 2 * request.count
        code = await self._exchange(request.unit_id, 13 + data, request.timeout_s)
        good = code == quality.GOOD
        if code == quality.NO_REPLY:
            wire_us = round(wire_s(self.line, 13 + data) * 1e6)
            self._owed_until_us[request.unit_id] = began + wire_us + round(request.max_reply_s * 1e6)
        asked = Asked(
            unit_id=request.unit_id, address=request.address, requested_us=began, replied_us=self.now_us, code=code
        )
        self.asked.append(asked)
        words = (0,) * request.count if good else None
        return ReadResult(words=words, code=code, requested_us=began, replied_us=self.now_us)

    async def write(self, request: WriteRequest) -> WriteResult:
        began = self.now_us
        if request.answered_by:
            code = await self._exchange(request.unit_id, 16, request.timeout_s)
        else:
            await self._pass(round(wire_s(self.line, 8) * 1e6))
            code = quality.GOOD
        asked = Asked(unit_id=request.unit_id, address=WRITE, requested_us=began, replied_us=self.now_us, code=code)
        self.asked.append(asked)
        return WriteResult(code=code, requested_us=began, replied_us=self.now_us)

    async def raw(self, request: RawRequest) -> RawResult:
        raise AssertionError("nobody asks for bytes here")

    async def _exchange(self, unit_id: int, count: int, timeout_s: float) -> int:
        wire_us = round(wire_s(self.line, count) * 1e6)
        took, wait_us = self.replies(unit_id, self.now_us), round(timeout_s * 1e6)
        if took is None or took > wait_us:
            await self._pass(wire_us + wait_us)
            return quality.NO_REPLY
        code = self.spoils(unit_id, self.now_us)
        # A damaged reply is known as such only when nothing more comes.
        await self._pass(wire_us + (wait_us if code == quality.BAD_FRAME else took))
        return code

    async def _pass(self, us: int) -> None:
        self.now_us += us
        if self.now_us >= self.end_us and self.poller is not None:
            asyncio.get_running_loop().call_soon(self.poller.stop)
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One row as the sink got it."""

    block: int
    sampled_us: int
    replied_us: int
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a run."""

    rows: list[Told]
    asked: list[Asked]
    facts: Mapping[str, Mapping[str, float | int | str | None]]
    began_us: int
    ended_us: int
    budget: PortBudget
    #: time that jobs took
    lent_us: int


def run(
    devices: Sequence[DevicePlan],
    blocks: Sequence[BlockPlan],
    replies: Reply,
    *,
    seconds: float,
    line: PortPlan = LINE,
    spoils: Callable[[int, int], int] | None = None,
    jobs: Sequence[float] = (),
) -> Seen:
    """Runs a poller for so long and returns what was seen."""
    port = InstantPort(replies, line)
    if spoils is not None:
        port.spoils = spoils
    port.jobs = jobs
    began = port.now_us
    port.end_us = began + round(seconds * 1e6)
    rows: list[Told] = []

    def sink(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int, /) -> None:
        code = quality.GOOD if codes is None else codes[0]
        rows.append(Told(block=block, sampled_us=sampled_us, replied_us=replied_us, code=code))

    numbered = dict(enumerate(blocks))
    budget = port_budget(line, devices, numbered)
    bus: BusPort = port
    poller = Poller(
        port_id=line.id,
        port=bus,
        devices=devices,
        blocks=numbered,
        sink=sink,
        clock=port.clock,
        sleep=port.sleep,
        line=line,
        budget=budget,
    )
    port.poller = poller
    asyncio.run(poller.run())
    facts = {record.subject: dict(record.facts) for record in poller.health()}
    return Seen(
        rows=rows,
        asked=port.asked,
        facts=facts,
        began_us=began,
        ended_us=port.now_us,
        budget=budget,
        lent_us=port.lent_us,
    )
