"""Which block is asked next on one port: pure, the time comes in as an argument.

It is not a timer and asks nobody.  The grid is the catalogue's: a block is due whenever
monotonic milliseconds leave ``phase_ms`` when divided by ``interval_ms``, so that a collector
knows every expected tick without being told.

::

    coming --tick comes--> ready, one queue per class     take() picks
                           1 alarm blocks                 the earliest deadline of the first class
                           2 second attempts              that has somebody who may be asked;
                           3 ordinary blocks              every fourth turn goes to class 3
                                                          while somebody there is overdue

* *Alarm blocks first, earliest deadline first among them.*  A block's deadline is its next tick,
  or earlier where its alarm points must be known earlier; then the lower slot number.
* *Nobody starves.*  While an ordinary block is past its deadline, at most ``ALARM_RUN`` turns in
  a row go to others; so an overloaded line still asks everybody, and an alarm block waits
  for at most one ordinary request in ``ALARM_RUN + 1`` (``budget`` counts them).  Of one device
  they take turns.
* *The start.*  A block begins with its next tick, or, where ``at_once`` is set, with the tick that
  has begun, taken late: then no device is unwatched for an interval after a restart.  Where that
  tick is over before its turn comes, it belongs to the time before the start and is not missed.
* *Missed ticks: skip* (``MISSED_TICKS``).  A tick that was not asked before the next one came is
  never caught up; it is reported with its grid time.  While a block waits its deadline stays
  that of the oldest tick that was not asked.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import NamedTuple

#: name of the policy for ticks that were not asked in time
MISSED_TICKS = "skip"
#: turns in a row that others get while an ordinary block is overdue
ALARM_RUN = 3

_ALARM, _SECOND, _ORDINARY = 0, 1, 2
#: deadline, slot, tick, whether the tick was asked before
_Ready = tuple[int, int, int, bool]
_FOR_NOW = sys.maxsize
_NO_TICKS = range(0)
_NOBODY: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """When one block of a port is due."""

    #: above 0
    interval_ms: int
    #: 0 to ``interval_ms`` - 1
    phase_ms: int
    #: whether a limit stands on any of its points
    is_alarm: bool
    #: which device it asks; never two requests at once to one
    device: int = 0
    #: from a tick to when it should be asked; 0: the interval
    deadline_ms: int = 0


class Turn(NamedTuple):
    """One block whose turn it is."""

    #: position of the slot in the schedule
    slot: int
    #: grid time of the tick that is asked now, monotonic ms
    tick_ms: int
    #: grid times of the ticks before it that nobody asked, oldest first; usually empty
    missed: range
    #: whether the same tick was asked before
    is_second: bool = False


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
        self._waits = tuple(slot.deadline_ms or slot.interval_ms for slot in self._slots)
        #: when each slot began
        self._began_ms = [now_ms] * len(self._slots)
        begin = last_due if at_once else next_due
        self._classes = tuple(_ALARM if slot.is_alarm else _ORDINARY for slot in self._slots)
        # (when, slot, tick, class, is second) of those that are not due yet
        self._coming = [
            (tick, number, tick, self._classes[number], False)
            for number, slot in enumerate(self._slots)
            for tick in (begin(now_ms, slot.interval_ms, slot.phase_ms),)
        ]
        # per class (deadline, slot, tick, is second) of those that are
        self._ready: tuple[list[_Ready], ...] = ([], [], [])
        # slot -> tick that is to be asked once more
        self._second: dict[int, int] = {}
        #: slots whose tick was begun; their next one waits
        self._begun: set[int] = set()
        self._is_mixed = len(set(self._classes)) > 1
        self._run = 0
        #: devices whose last turn was one of an ordinary block
        self._ordinary_last: set[int] = set()
        heapify(self._coming)

    def take_over(self, old: Schedule, places: Mapping[int, int]) -> None:
        """Lets slots go on where those of an earlier schedule stood: no tick is asked twice, none is passed over.

        Args:
            old: of the same port; it is not to be used afterwards.
            places: slot there -> slot here, of the same interval and phase.
        """
        carried = set(places.values())
        self._coming = [entry for entry in self._coming if entry[1] not in carried]
        for when, slot, tick, queue, is_second in old._coming:
            if (number := places.get(slot)) is not None:
                kept = _SECOND if queue == _SECOND else self._classes[number]
                self._coming.append((when, number, tick, kept, is_second))
        for queue, ready in enumerate(old._ready):
            for _, slot, tick, is_second in ready:
                if (number := places.get(slot)) is not None:
                    kept = _SECOND if queue == _SECOND else self._classes[number]
                    heappush(self._ready[kept], (tick + self._waits[number], number, tick, is_second))
        for slot, number in places.items():
            self._began_ms[number] = old._began_ms[slot]
            if slot in old._second:
                self._second[number] = old._second[slot]
            if slot in old._begun:
                self._begun.add(number)
        heapify(self._coming)

    @property
    def next_ms(self) -> int | None:
        """When the next block becomes due, monotonic ms; None without slots."""
        return self._coming[0][0] if self._coming else None

    def take(self, now_ms: int, held: Mapping[int, int] = _NOBODY) -> Turn | None:
        """Returns the block to ask now, or None when nobody may be asked; ``now_ms`` never goes back.

        Args:
            held: device -> until when (monotonic ms) it may not be asked.
        """
        self._come(now_ms)
        alarm, second, ordinary = self._ready
        if not (alarm or ordinary or second):
            return None
        if ordinary and self._run >= ALARM_RUN and ordinary[0][0] <= now_ms:
            turn = self._pick(_ORDINARY, now_ms, self._with_wanted(held) if alarm else held)
            if turn is not None:
                return turn
        if alarm:
            turn = self._pick(_ALARM, now_ms, held)
            if turn is not None:
                return turn
        if second:
            turn = self._pick(_SECOND, now_ms, held)
            if turn is not None:
                return turn
        return self._pick(_ORDINARY, now_ms, held)

    def take_alarm(self, now_ms: int, held: Mapping[int, int]) -> Turn | None:
        """As ``take``, but only an alarm block: what may go between the parts of a block that is read in pieces."""
        self._come(now_ms)
        return self._pick(_ALARM, now_ms, held) if self._ready[_ALARM] else None

    def _come(self, now_ms: int) -> None:
        coming = self._coming
        while coming and coming[0][0] <= now_ms:
            _, number, tick, queue, is_second = heappop(coming)
            heappush(self._ready[queue], (tick + self._waits[number], number, tick, is_second))

    def again(self, slot: int, tick_ms: int, at_ms: int) -> None:
        """Wants a second attempt of a tick from ``at_ms`` on; it lapses when the slot's next tick comes."""
        self._second[slot] = tick_ms
        heappush(self._coming, (at_ms, slot, tick_ms, _SECOND, True))

    def go_on(self, slot: int, tick_ms: int, at_ms: int) -> None:
        """Wants the rest of a tick that was begun (its trigger is written) from ``at_ms`` on.

        It is of the slot's own class, never lapses, and the slot's next tick waits for it.
        """
        self._second[slot] = tick_ms
        self._begun.add(slot)
        heappush(self._coming, (at_ms, slot, tick_ms, self._classes[slot], True))

    def is_idle_until(self, end_ms: int) -> bool:
        """Returns whether no block is due, and none becomes due before ``end_ms``."""
        return not any(self._ready) and (not self._coming or self._coming[0][0] >= end_ms)

    def alarm_comes_by(self, end_ms: int, spare_ms: Sequence[int]) -> bool:
        """Returns whether something that ends at ``end_ms`` would cost an alarm block its deadline.

        Args:
            spare_ms: per slot, how much longer than in its worst case it may wait after its tick.
        """
        slots = self._slots
        waiting = any(tick + spare_ms[number] < end_ms for _, number, tick, _ in self._ready[_ALARM])
        return waiting or any(
            slots[number].is_alarm and not is_second and tick + spare_ms[number] < end_ms
            for _, number, tick, _, is_second in self._coming
        )

    def _with_wanted(self, held: Mapping[int, int]) -> Mapping[int, int]:
        """Adds the devices that an alarm block waits for and that an ordinary block had last.

        Otherwise a device that wants a pause after each request could be asked by its ordinary
        blocks only, while others use up the turns of its alarm blocks.
        """
        wanted = {self._slots[number].device for _, number, _, _ in self._ready[_ALARM]}
        return {**held, **dict.fromkeys(wanted & self._ordinary_last, _FOR_NOW)}

    def _is_wanted(self, number: int, tick: int, now_ms: int) -> bool:
        """Whether a tick is still to be asked once more: its slot's next one has not come."""
        if self._second.get(number) != tick:
            return False
        return number in self._begun or now_ms < tick + self._slots[number].interval_ms

    def _pick(self, queue: int, now_ms: int, held: Mapping[int, int]) -> Turn | None:
        """Takes the first of a class who may be asked."""
        found = self._first(self._ready[queue], now_ms, held)
        if found is None:
            return None
        _, number, tick, is_second = found
        slot = self._slots[number]
        if self._is_mixed:
            self._note(queue, slot.device)
        if is_second:
            del self._second[number]
            self._begun.discard(number)
            return Turn(number, tick, _NO_TICKS, True)
        if self._second:
            self._second.pop(number, None)
        interval_ms = slot.interval_ms
        newest = now_ms - (now_ms - slot.phase_ms) % interval_ms
        coming = newest + interval_ms
        heappush(self._coming, (coming, number, coming, self._classes[number], False))
        if newest == tick:
            return Turn(number, tick, _NO_TICKS)
        first = tick if tick >= self._began_ms[number] else tick + interval_ms
        return Turn(number, newest, range(first, newest, interval_ms))

    def _first(self, ready: list[_Ready], now_ms: int, held: Mapping[int, int]) -> _Ready | None:
        passed: list[_Ready] | None = None
        found = None
        while ready:
            entry = heappop(ready)
            if entry[3] and not self._is_wanted(entry[1], entry[2], now_ms):
                continue
            is_waiting = self._begun and entry[1] in self._begun and not entry[3]
            if is_waiting or (held and held.get(self._slots[entry[1]].device, 0) > now_ms):
                passed = passed or []
                passed.append(entry)
                continue
            found = entry
            break
        if passed:
            for entry in passed:
                heappush(ready, entry)
        return found

    def _note(self, queue: int, device: int) -> None:
        """Counts the turns of the classes, where there are two."""
        if queue == _ORDINARY:
            self._run = 0
            self._ordinary_last.add(device)
        else:
            self._run += 1
            self._ordinary_last.discard(device)
