"""A block that its device refuses whole, read point by point: one tick, one row, as many requests as it has points.

Whose turn it is is not known here.  Between two points the poller may serve an alarm block of another device,
as it would between any two requests.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from contracts import quality
from drivers.port import ReadResult
from edge_agent.bus.asking import Asking
from edge_agent.bus.block import split
from edge_agent.bus.device_state import Event, event_of
from edge_agent.bus.polled import PolledBlock, PolledDevice, named
from edge_agent.bus.sink import Sink
from edge_agent.logged_once import LoggedOnce

_LOG = logging.getLogger(__name__)
#: after a split that did not help the block is tried whole for this long (us)
_SPLIT_AGAIN_US = 60_000_000


class Parts:
    """Splits blocks of one port, and reads those that are split."""

    def __init__(
        self,
        *,
        asking: Asking,
        sink: Sink,
        said: LoggedOnce,
        let_alarms_by: Callable[[PolledDevice], Awaitable[None]],
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Takes what it needs.

        Args:
            let_alarms_by: serves alarm blocks that are due, of other devices than this one.
            clock: monotonic us.
            sleep: waits so many seconds.
        """
        self._asking, self._sink, self._said = asking, sink, said
        self._let_alarms_by = let_alarms_by
        self._clock, self._sleep = clock, sleep

    def split(self, block: PolledBlock, refused: ReadResult) -> bool:
        """Splits a refused block where that can help; returns whether it is split now."""
        if refused.replied_us < block.split_from_us or block.plan.read.trigger is not None:
            return False
        block.parts = split(block.plan.read)
        block.is_special = bool(block.parts)
        if block.parts:
            self._said.gone(
                f"split {block.number}",
                "device %s refuses %s: reading its points one by one",
                block.device.plan.id,
                named(block.plan.read),
                level=logging.WARNING,
            )
        return bool(block.parts)

    async def read(self, block: PolledBlock, tick_ms: int) -> None:
        """Reads a split block point by point; after a failure that concerns all, the rest is not asked."""
        row: list[int | float | None] = list(block.nothing)
        codes = [quality.NOT_ASKED] * block.width
        first = last = None
        device = block.device
        for part in block.parts:
            if first is not None:
                await self._let_alarms_by(device)
            rest_us = device.free_us - self._clock()
            if device.gap_us and rest_us > 0:
                await self._sleep(rest_us / 1_000_000)
            result = await self._asking.ask(device, device.request(part.read), 0)
            first, last = first or result, result
            if result.words is not None:
                values, qualities = self._asking.decode(part.decode, result.words, 1)
                row[part.place] = values[0]
                codes[part.place] = quality.GOOD if qualities is None else qualities[0]
                continue
            codes[part.place] = result.code
            if event_of(result.code) in (Event.UNANSWERED, Event.UNKNOWN):
                break
        if first is None or last is None:
            return
        self._note_refused(block, codes, last)
        sampled = (first.requested_us + last.replied_us) // 2 if any(code < 128 for code in codes) else tick_ms * 1000
        self._sink(block.number, sampled, row, codes if any(codes) else None, last.replied_us)

    def _note_refused(self, block: PolledBlock, codes: Sequence[int], last: ReadResult) -> None:
        refused = tuple(
            part.read.points[0].name for part in block.parts if codes[part.place] == quality.ILLEGAL_ADDRESS
        )
        if len(refused) == block.width:
            # Not a hole: the device refuses everything, so one question is enough until later.
            block.parts, block.split_from_us = (), last.replied_us + _SPLIT_AGAIN_US
            block.is_special = False
        elif refused != block.refused and refused:
            _LOG.warning("device %s has no register for %s", block.device.plan.id, ", ".join(refused))
        block.refused = refused
