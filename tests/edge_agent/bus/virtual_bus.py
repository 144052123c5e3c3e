"""A clock that only moves when somebody waits for it, and a port that answers by script on it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from contracts import quality
from drivers.port import ReadRequest, ReadResult, WriteRequest, WriteResult

Answer = tuple[int, Sequence[int], int]
#: request, now -> (quality code, words, microseconds until it is known)
Script = Callable[[ReadRequest, int], Answer]


class VirtualTime:
    """Monotonic microseconds that stand still while code runs."""

    def __init__(self, now_us: int = 5_000_000_000) -> None:
        self.now_us = now_us
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def clock(self) -> int:
        return self.now_us

    async def sleep(self, seconds: float) -> None:
        await self.until(self.now_us + round(seconds * 1_000_000))

    async def until(self, at_us: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (max(at_us, self.now_us), self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Lets everybody who waits go on in order, until so much time has passed."""
        end = self.now_us + round(seconds * 1_000_000)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at_us, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self.now_us = at_us
            future.set_result(None)
            await self._settle()
        self.now_us = end

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def answers(*values: int, after_us: int = 10_000) -> Script:
    """A device that always answers the same words (or as many of them as were asked)."""
    return lambda request, now: (quality.GOOD, values or (0,) * request.count, after_us)


def silent(request: ReadRequest, now: int) -> Answer:
    """A device that never answers."""
    return quality.NO_REPLY, (), round(request.timeout_s * 1_000_000)


@dataclass
class ScriptedPort:
    """Fits ``drivers.port.BusPort``; one script per unit id."""

    time: VirtualTime
    scripts: dict[int, Script]
    asked: list[tuple[int, ReadRequest]] = field(default_factory=list)
    #: (monotonic us, write) as they came; each takes 5 ms
    written: list[tuple[int, WriteRequest]] = field(default_factory=list)
    #: what writes get
    write_code: int = quality.GOOD
    is_open: bool = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def read(self, request: ReadRequest) -> ReadResult:
        begin = self.time.now_us
        self.asked.append((begin, request))
        code, words, after_us = self.scripts[request.unit_id](request, begin)
        if after_us:
            await self.time.until(begin + after_us)
        return ReadResult(
            words=tuple(words) if code == quality.GOOD else None,
            code=code,
            requested_us=begin,
            replied_us=self.time.now_us,
            detail="" if code == quality.GOOD else "as the script says",
        )

    async def write(self, request: WriteRequest) -> WriteResult:
        begin = self.time.now_us
        self.written.append((begin, request))
        await self.time.until(begin + 5_000)
        return WriteResult(code=self.write_code, requested_us=begin, replied_us=self.time.now_us)
