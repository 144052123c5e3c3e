"""Which block is asked next on one port: pure, the time comes in as an argument.

It is not a timer and asks nobody.  The grid is the catalogue's: a block is due whenever
monotonic milliseconds leave ``phase_ms`` when divided by ``interval_ms``, so that a collector
knows every expected tick without being told.

* *Earliest deadline first.*  A tick should be asked before the block's next tick; at equal
  deadlines a block with a limit on it goes before one without, then the lower slot number.
* *The start.*  A block begins with its next tick, or, where ``at_once`` is set, with the tick that
  has begun, taken late: then no device is unwatched for an interval after a restart.  Where that
  tick is over before its turn comes, it belongs to the time before the start and is not missed.
* *Missed ticks: skip.*  A tick that was not asked before the next one came is never caught
  up; it is reported with its grid time.  While a block waits its deadline stays that of the
  oldest tick that was not asked: others get a later one with every turn, so on a port with
  too much to do every block is still asked in turn and none starves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """When one block of a port is due."""

    #: above 0
    interval_ms: int
    #: 0 to ``interval_ms`` - 1
    phase_ms: int
    #: whether a limit stands on any of its points
    is_alarm: bool


class Turn(NamedTuple):
    """One block whose turn it is."""

    #: position of the slot in the schedule
    slot: int
    #: grid time of the tick that is asked now, monotonic ms
    tick_ms: int
    #: grid times of the ticks before it that nobody asked, oldest first; usually empty
    missed: range


def next_due(now_ms: int, interval_ms: int, phase_ms: int) -> int:
    """Returns the first tick after ``now_ms``, monotonic ms."""
    return now_ms + 1 + (phase_ms - now_ms - 1) % interval_ms


def last_due(now_ms: int, interval_ms: int, phase_ms: int) -> int:
    """Returns the newest tick at or before ``now_ms``, monotonic ms."""
    return now_ms - (now_ms - phase_ms) % interval_ms


class Schedule:
    """The turns of one port, from ``now_ms`` on."""

    def __init__(self, slots: Sequence[Slot], now_ms: int, *, at_once: bool = False) -> None:
        """Begins with each slot's next tick, or with the one that has begun."""
        self._slots = tuple(slots)
        self._began_ms = now_ms
        begin = last_due if at_once else next_due
        # (tick, slot) of those that are not due yet
        self._coming = [(begin(now_ms, slot.interval_ms, slot.phase_ms), n) for n, slot in enumerate(self._slots)]
        # (deadline, is ordinary, slot, tick) of those that are
        self._ready: list[tuple[int, bool, int, int]] = []
        heapify(self._coming)

    @property
    def next_ms(self) -> int | None:
        """The next tick that is not due yet, monotonic ms; None without slots."""
        return self._coming[0][0] if self._coming else None

    def take(self, now_ms: int) -> Turn | None:
        """Returns the block to ask now, or None when nothing is due; ``now_ms`` never goes back."""
        coming, ready = self._coming, self._ready
        while coming and coming[0][0] <= now_ms:
            tick, number = heappop(coming)
            slot = self._slots[number]
            heappush(ready, (tick + slot.interval_ms, not slot.is_alarm, number, tick))
        if not ready:
            return None
        _, _, number, tick = heappop(ready)
        slot = self._slots[number]
        newest = last_due(now_ms, slot.interval_ms, slot.phase_ms)
        heappush(coming, (newest + slot.interval_ms, number))
        first = tick if tick >= self._began_ms else tick + slot.interval_ms
        return Turn(number, newest, range(first, newest, slot.interval_ms))
