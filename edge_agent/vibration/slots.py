"""One read of a burst as a slot of its port's schedule; what stands in the way is a result, not an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from contracts.quality import NOT_ASKED
from drivers.port import BusPort, ReadRequest, ReadResult
from edge_agent.errors import ControlError

#: a read that found no slot within this is a gap (seconds)
WAIT_S = 0.5


class Borrow(Protocol):
    """Lends a port between two requests."""

    def __call__(
        self, port_id: str, job: Callable[[BusPort], Awaitable[ReadResult]], *, seconds: float, share: float
    ) -> Awaitable[ReadResult]:
        """Runs the job on the port; ControlError: it has no slot."""


class Slots:
    """Reads through ports that somebody else owns."""

    def __init__(self, borrow: Borrow, clock: Callable[[], int]) -> None:
        """Takes who lends, and the monotonic clock in us."""
        self._borrow = borrow
        self._clock = clock

    async def read(self, port_id: str, request: ReadRequest, seconds: float) -> ReadResult:
        """Reads once; ``not_asked`` where there was no slot in time.

        Args:
            seconds: how long the read takes at most, with what its line needs.
        """
        asked_us = self._clock()
        is_begun = False

        async def job(port: BusPort) -> ReadResult:
            nonlocal is_begun
            is_begun = True
            return await port.read(request)

        lent = asyncio.ensure_future(self._borrow(port_id, job, seconds=seconds, share=1.0))
        try:
            await asyncio.wait({lent}, timeout=WAIT_S)
            if not lent.done() and not is_begun:
                return self._nothing(asked_us, "no slot in time")
            return await lent
        except ControlError as error:
            return self._nothing(asked_us, str(error))
        finally:
            lent.cancel()

    def _nothing(self, asked_us: int, detail: str) -> ReadResult:
        return ReadResult(words=None, code=NOT_ASKED, requested_us=asked_us, replied_us=self._clock(), detail=detail)
