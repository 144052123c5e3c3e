"""One block on a bus that is only listened to: from what the owner asked to a row for each tick.  Pure.

Nobody can tell the owner when to ask, so a tick of the grid takes the first complete set of
points that its interval brings:

* A row is given at once when every point has been heard that the interval before had too.
* Otherwise it is given when the interval is over: points that were not heard carry why.
* A later set in the same interval is not taken, as a poller takes one sample for each tick.

A point is taken from one answer that holds all its registers, or not at all, so that two halves of
a number are never of two moments.  A row has one time, that of its newest answer.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.quality import GOOD, INVALID, NO_REPLY, NOT_OVERHEARD
from drivers.errors import DecodeError
from drivers.frames import READ_FUNCTION
from drivers.overheard import Overheard
from drivers.port import exception_quality
from edge_agent.bus.block import Part, decoder, split
from edge_agent.bus.schedule import last_due
from edge_agent.plan import BlockPlan

#: an answer can be told this long after the tick it belongs to is over (ms)
GRACE_MS = 250


class HeardRow(NamedTuple):
    """One tick of one block."""

    sampled_us: int
    row: tuple[int | float | None, ...]
    codes: tuple[int, ...] | None
    replied_us: int


class HeardBlock:
    """What was heard of one block."""

    def __init__(self, plan: BlockPlan, unit_id: int, now_ms: int) -> None:
        """Begins with the tick after ``now_ms`` (monotonic): half an interval proves nothing."""
        self.plan = plan
        self._key = unit_id, READ_FUNCTION[plan.read.table]
        self._parts = split(plan.read) or (Part(place=0, read=plan.read, decode=decoder(plan.read)),)
        self._tick_ms = last_due(now_ms, plan.interval_ms, plan.phase_ms) + plan.interval_ms
        self._wanted = frozenset(range(len(self._parts)))
        self._begin()

    def _begin(self) -> None:
        self._values: list[int | float | None] = [None] * len(self._parts)
        self._codes = [NOT_OVERHEARD] * len(self._parts)
        self._heard: set[int] = set()
        self._newest: Overheard | None = None
        self._is_given = False

    @property
    def ends_ms(self) -> int:
        """When the tick that is under way is given at the latest, monotonic ms."""
        return self._tick_ms + self.plan.interval_ms + GRACE_MS

    def hear(self, one: Overheard, silence: int) -> list[HeardRow]:
        """Takes one pair; returns the rows that it completes.

        Args:
            one: of any unit and function of the line.
            silence: quality code of ticks in which nothing was heard.
        """
        if (one.unit_id, one.function) != self._key:
            return []
        parts = [part for part in self._parts if _covers(one, part)]
        at_ms = _midpoint(one) // 1000
        if not parts or at_ms < self._tick_ms:
            return []
        rows = self._close_until(at_ms, silence)
        for part in parts:
            self._take(part, one)
        if not self._is_given and self._heard >= self._wanted and self._heard:
            rows.append(self._row(silence))
            self._is_given = True
        return rows

    def until(self, now_ms: int, silence: int) -> list[HeardRow]:
        """Returns the rows of ticks that are over."""
        return self._close_until(now_ms - GRACE_MS, silence)

    def _close_until(self, at_ms: int, silence: int) -> list[HeardRow]:
        rows = []
        interval = self.plan.interval_ms
        while at_ms >= self._tick_ms + interval:
            if not self._is_given:
                rows.append(self._row(silence))
            if self._heard:
                self._wanted = frozenset(self._heard)
            self._tick_ms += interval
            self._begin()
        return rows

    def _take(self, part: Part, one: Overheard) -> None:
        place = part.place
        if not one.is_answered:
            if place not in self._heard and not self._is_given:
                self._codes[place] = NO_REPLY
            return
        if one.words is None and not one.exception:
            return  # doubtful: whose answer it was cannot be told
        self._heard.add(place)
        if self._is_given:
            return
        self._newest = one
        if one.words is None:
            self._values[place], self._codes[place] = None, exception_quality(one.exception)
            return
        first = part.read.address - one.address
        try:
            values, codes = part.decode(one.words[first : first + part.read.count])
        except DecodeError:
            self._values[place], self._codes[place] = None, INVALID
            return
        self._values[place], self._codes[place] = values[0], GOOD if codes is None else codes[0]

    def _row(self, silence: int) -> HeardRow:
        newest = self._newest
        if newest is None:
            codes = tuple(silence if code == NOT_OVERHEARD else code for code in self._codes)
            return HeardRow(self._tick_ms * 1000, tuple(self._values), codes, self._tick_ms * 1000)
        is_good = not any(self._codes)
        return HeardRow(
            _midpoint(newest), tuple(self._values), None if is_good else tuple(self._codes), newest.replied_us
        )


def _covers(one: Overheard, part: Part) -> bool:
    read = part.read
    return one.address <= read.address and read.address + read.count <= one.address + one.count


def _midpoint(one: Overheard) -> int:
    return (one.requested_us + one.replied_us) // 2
