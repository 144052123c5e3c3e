"""Giving addresses to a handful of equal new units, one after the other on the same line.

The steps come from the profile (``drivers.numbering``); this writes them and believes nothing
that was not asked afterwards.  Questions to the person are the command's; every outcome is a value:

===================  =============================================================
``gone_wrong``       a step was refused, or nobody confirmed a step that is confirmed
``still_old``        the unit answers at its old address and not at the new one
``both``             both addresses answer: two units, or one that needs a restart
``silent``           neither answers: a restart may be needed
``done``             it answers at the new address, and the old one is silent
===================  =============================================================

An answer is anything that the unit says, an exception too; a damaged answer counts, since
somebody spoke.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from contracts import quality
from drivers.numbering import NumberStep
from drivers.port import BusPort, ReadRequest, WriteRequest

#: what a unit did: a reply of its own, be it an exception, or bytes that were damaged
_SPOKE = frozenset(
    {
        quality.GOOD,
        quality.BAD_FRAME,
        quality.ILLEGAL_FUNCTION,
        quality.ILLEGAL_ADDRESS,
        quality.ILLEGAL_VALUE,
        quality.DEVICE_FAILURE,
        quality.DEVICE_BUSY,
        quality.DEVICE_EXCEPTION,
    }
)
#: a unit is asked so often before its silence is believed
TRIES = 2
#: turn-around after a write that nobody answers (Modbus over Serial Line V1.02: 100 to 200 ms)
TURN_AROUND_S = 0.2


class Outcome(Enum):
    """How one numbering ended; see the module."""

    GONE_WRONG = "gone_wrong"
    STILL_OLD = "still_old"
    BOTH = "both"
    SILENT = "silent"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """What came of one unit."""

    outcome: Outcome
    #: one sentence of what the line said; empty where all went well
    detail: str = ""


def outcome_of(*, at_old: bool, at_new: bool) -> Outcome:
    """Returns what the answers at both addresses mean."""
    if at_new:
        return Outcome.BOTH if at_old else Outcome.DONE
    return Outcome.STILL_OLD if at_old else Outcome.SILENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A harmless read that a unit of this kind answers."""

    table: str
    address: int
    count: int


class Numbering:
    """One line with one new unit on it at a time."""

    def __init__(
        self,
        port: BusPort,
        question: Question,
        *,
        max_reply_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Takes an open port; ``max_reply_s`` as the profile says."""
        self._port = port
        self._question = question
        self._max_reply_s = max_reply_s
        self._sleep = sleep

    async def answers(self, unit_id: int) -> bool:
        """Returns whether somebody answers at an address."""
        return await self.heard(unit_id) is not None

    async def heard(self, unit_id: int) -> int | None:
        """Returns the quality code of what is answered at an address, ``None`` where nobody does."""
        for attempt in range(TRIES):
            result = await self._port.read(
                ReadRequest(
                    unit_id=unit_id,
                    table=self._question.table,
                    address=self._question.address,
                    count=self._question.count,
                    timeout_s=self._max_reply_s,
                    max_reply_s=self._max_reply_s,
                )
            )
            if result.code in _SPOKE:
                return result.code
            if result.code == quality.NOT_ASKED and attempt + 1 < TRIES:
                # A late reply of the question before may still come.
                await self._sleep(self._max_reply_s)
        return None

    async def find(self, unit_ids: Sequence[int]) -> int | None:
        """Returns the first of these addresses that answers."""
        for unit_id in unit_ids:
            if await self.answers(unit_id):
                return unit_id
        return None

    async def give(self, steps: Sequence[NumberStep], *, old: int, new: int) -> Numbered:
        """Writes the maker's sequence and looks where the unit is then."""
        for place, step in enumerate(steps, start=1):
            result = await self._port.write(
                WriteRequest(
                    unit_id=step.unit_id,
                    function=step.function,
                    address=step.address,
                    values=step.values,
                    timeout_s=self._max_reply_s if step.answered_by else TURN_AROUND_S,
                    max_reply_s=self._max_reply_s,
                    answered_by=step.answered_by,
                )
            )
            if result.code != quality.GOOD and not (step.does == "restart" and result.code == quality.NO_REPLY):
                told = result.detail or quality.CODES[result.code].en
                at = f"register {step.address}" if step.function in (6, 16) else f"coil {step.address}"
                return Numbered(
                    outcome=Outcome.GONE_WRONG, detail=f"step {place} of {len(steps)} ({step.does}, {at}): {told}"
                )
            if step.wait_ms:
                await self._sleep(step.wait_ms / 1000)
        return await self.look(old=old, new=new)

    async def look(self, *, old: int, new: int) -> Numbered:
        """Asks both addresses."""
        at_new = await self.answers(new)
        at_old = old != new and await self.answers(old)
        return Numbered(outcome=outcome_of(at_old=at_old, at_new=at_new))
