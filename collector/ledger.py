"""The gap ledger, pure: samples to ticks, and every tick to exactly one outcome.

The *grid* is the catalogue's: a block is due whenever the monotonic clock leaves its phase when
divided by its interval (docs/wire-format.md, section 9).  Nothing here knows a database or a
clock; monotonic time only decides, the wall clock only says to which hour a tick is counted.

Which tick a sample belongs to
    The tick before it.  A request that was answered slowly can have its midpoint behind the next
    tick; then that tick's own sample comes in the same interval, and the earlier of the two belongs
    to the tick before, where that one has none.  Rows that tell of a tick that was not asked have
    the tick's own time and stay on it; the earlier ones are passed by them.

What a tick without a sample is
    What the stretch of time says that it lies in (:class:`Stretches`): the agent was stopped, its
    batch is lost, has not arrived, and so on.  Where every batch of the time is here, a hole
    beside a start or a change of configuration is that; any other is *never sent*.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.outcomes import LATE, NEVER_SENT, ON_TIME, RECONFIGURED, Why
from contracts.quality import MISSED_TICK, NOT_ASKED, NOT_OVERHEARD, OWNER_SILENT

#: how far a row of slow replies may push each other to the tick before (us)
LONGEST_PUSH_US = 64_000_000
_MOST_PUSHED = 32
#: holes this close to a start or a change of configuration belong to it (us)
SETTLING_US = 60_000_000
#: a reply comes within this many intervals
_LONGEST_REPLY = 3
#: codes of rows that were not asked and have their tick's own time
_ON_THE_TICK = frozenset({MISSED_TICK, NOT_ASKED, NOT_OVERHEARD, OWNER_SILENT})

#: outcomes of one point and hour
Counts = Counter[Why]


class Row(NamedTuple):
    """One time of one block."""

    #: monotonic us
    time_us: int
    #: quality codes of the block's points; None: all good
    codes: tuple[int, ...] | None
    #: of the epoch that it was sealed in; 0 where a later batch carries it
    run: int = 0


class Placed(NamedTuple):
    """A row on its tick."""

    row: Row
    is_late: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """When a block is due; us."""

    interval_us: int
    phase_us: int

    def tick_at(self, time_us: int) -> int:
        """Returns the number of the newest tick at or before a monotonic time."""
        return (time_us - self.phase_us) // self.interval_us

    def tick_from(self, time_us: int) -> int:
        """Returns the number of the first tick at or after a monotonic time."""
        return -((self.phase_us - time_us) // self.interval_us)

    def time_of(self, tick: int) -> int:
        """Returns the monotonic time of a tick."""
        return tick * self.interval_us + self.phase_us


def place_rows(rows: Iterable[Row], grid: Grid) -> dict[int, Placed]:
    """Returns the rows by the number of the tick that they belong to; a tick has one at most.

    Rows come in any order and any number of times.  What finds no tick (taken again after a restart
    within one interval) is left out.
    """
    by_time: dict[int, Row] = {}
    for row in rows:
        known = by_time.get(row.time_us)
        if known is None or not known.run:
            by_time[row.time_us] = row
    placed: dict[int, Placed] = {}
    pinned: set[int] = set()
    spare: list[tuple[int, Row]] = []
    for time_us, row in sorted(by_time.items()):
        tick = grid.tick_at(time_us)
        held = placed.get(tick)
        if held is not None and held.row.run and row.run and held.row.run != row.run:
            continue  # taken once more after a restart
        is_pinned = time_us == grid.time_of(tick) and row.codes is not None and _ON_THE_TICK.issuperset(row.codes)
        if tick in pinned:
            spare.append((tick, row))
            continue
        if held is not None:
            spare.append((tick, held.row))
        if is_pinned:
            pinned.add(tick)
        placed[tick] = Placed(row, False)
    for tick, row in spare:
        _push(placed, pinned, tick, row, grid)
    return placed


def _push(placed: dict[int, Placed], pinned: set[int], tick: int, row: Row, grid: Grid) -> None:
    """Puts a row on the tick before, and the rows there one further, up to the first tick without one.

    Rows that stay on their tick are passed over.
    """
    most = max(_LONGEST_REPLY, min(_MOST_PUSHED, LONGEST_PUSH_US // grid.interval_us))
    pushed: list[tuple[int, Row]] = []
    free = tick
    while True:
        free -= 1
        if grid.tick_at(row.time_us) - free > _LONGEST_REPLY or tick - free > most:
            return
        if free in pinned:
            continue
        pushed.append((free, row))
        if free not in placed:
            break
        held = placed[free].row
        if row.run and held.run and row.run != held.run:
            return
        row = held
    for at, one in pushed:
        placed[at] = Placed(one, True)


class Stretch(NamedTuple):
    """A stretch of time and what a tick in it is that has no sample."""

    begin_us: int
    end_us: int
    why: Why


class Stretches:
    """Stretches that follow each other without a hole; later ones of a list lie over earlier ones."""

    def __init__(self, layers: Sequence[Stretch]) -> None:
        """Takes the stretches, lowest first; outside of all of them a tick is never sent."""
        cuts = sorted({edge for item in layers if item.begin_us < item.end_us for edge in item[:2]})
        whys: list[Why] = [NEVER_SENT] * (len(cuts) + 1)
        for begin_us, end_us, why in layers:
            if begin_us < end_us:
                for place in range(bisect_left(cuts, begin_us) + 1, bisect_left(cuts, end_us) + 1):
                    whys[place] = why
        self._cuts, self._whys = cuts, whys

    def at(self, time_us: int) -> tuple[Why, int | None]:
        """Returns what a time is, and when that ends; None: never."""
        place = bisect_right(self._cuts, time_us)
        why = self._whys[place]
        while place < len(self._cuts) and self._whys[place + 1] == why:
            place += 1
        return why, self._cuts[place] if place < len(self._cuts) else None


class Edge(NamedTuple):
    """A moment beside which a hole has this cause."""

    time_us: int
    why: Why

    @property
    def is_two_sided(self) -> bool:
        """Whether it explains what is before it as well."""
        return self.why == RECONFIGURED


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The rows of one block of one boot, on their ticks."""

    #: keys of its points, in order
    keys: tuple[str, ...]
    grid: Grid
    placed: Mapping[int, Placed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A block's grid in force, from ``begin_us`` to before ``end_us``, monotonic."""

    track: Track
    begin_us: int
    end_us: int
    #: of the same boot, with some of the same points on the same grid: before or after a change
    others: tuple[Track, ...] = ()


@dataclass(slots=True)
class Account:
    """Counts outcomes by point and hour (or whatever ``hour_of`` says)."""

    stretches: Stretches
    edges: Sequence[Edge]
    #: monotonic us of a tick -> its hour, and the monotonic us at which that hour ends
    hour_of: Callable[[int], tuple[int, int]]
    #: keys that are asked for; None: all
    wanted: frozenset[str] | None = None
    counts: dict[tuple[str, int], Counts] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        """Counts every tick of a piece, for every point of it, once."""
        track, grid = piece.track, piece.track.grid
        tick, end = grid.tick_from(piece.begin_us), grid.tick_from(piece.end_us)
        taken = sorted(track.placed)
        good: Counter[int] = Counter()
        for number in taken[bisect_left(taken, tick) : bisect_left(taken, end)]:
            if tick < number:
                self._holes(piece, tick, number, taken)
            hour = self.hour_of(grid.time_of(number))[0]
            found = track.placed[number]
            if found.row.codes is None and not found.is_late:
                good[hour] += 1
            else:
                self._sample(found, track.keys, hour)
            tick = number + 1
        if tick < end:
            self._holes(piece, tick, end, taken)
        for hour, count in good.items():
            self._count(track.keys, hour, ON_TIME[0], count)

    def _sample(self, found: Placed, keys: Sequence[str], hour: int) -> None:
        table = LATE if found.is_late else ON_TIME
        codes = found.row.codes or (0,) * len(keys)
        for key, code in zip(keys, codes, strict=True):
            self._count((key,), hour, table[code], 1)

    def _count(self, keys: Sequence[str], hour: int, why: Why, count: int) -> None:
        for key in keys:
            if self.wanted is None or key in self.wanted:
                self.counts.setdefault((key, hour), Counter())[why] += count

    # ---- ticks without a row ----------------------------------------------------------------

    def _holes(self, piece: Piece, first: int, end: int, taken: Sequence[int]) -> None:
        """Counts the ticks from ``first`` to before ``end``; ``taken`` are those of the track that have a row."""
        grid, keys = piece.track.grid, piece.track.keys
        elsewhere: dict[int, Track] = {}
        for other in piece.others:
            elsewhere.update(dict.fromkeys((tick for tick in other.placed if first <= tick < end), other))
        for tick, count, why in self._causes(piece, first, end, taken, elsewhere):
            time_us = grid.time_of(tick)
            if tick in elsewhere:
                rest = self._from_other(elsewhere[tick], tick, keys, self.hour_of(time_us)[0])
                self._count(rest, self.hour_of(time_us)[0], why, 1)
                continue
            while count:
                hour, ends_us = self.hour_of(grid.time_of(tick))
                part = min(count, max(1, grid.tick_from(ends_us) - tick))
                self._count(keys, hour, why, part)
                tick, count = tick + part, count - part

    def _from_other(self, other: Track, tick: int, keys: Sequence[str], hour: int) -> list[str]:
        """Counts the points that another track has a sample of; returns the rest."""
        found = other.placed[tick]
        codes = dict(zip(other.keys, found.row.codes or (0,) * len(other.keys), strict=True))
        here = [key for key in keys if key in codes]
        table = LATE if found.is_late else ON_TIME
        for key in here:
            self._count((key,), hour, table[codes[key]], 1)
        return [key for key in keys if key not in codes]

    def _causes(
        self, piece: Piece, first: int, end: int, taken: Sequence[int], alone: Mapping[int, object]
    ) -> Iterator[tuple[int, int, Why]]:
        """Yields (tick, how many, why): runs of ticks of one cause; those in ``alone`` by themselves."""
        grid = piece.track.grid
        # Looked up without regard to the piece: a sample before its begin is a sample.
        place = bisect_left(taken, first)
        before_us = grid.time_of(taken[place - 1]) if place else None
        after_us = grid.time_of(taken[place]) if place < len(taken) else None
        tick = first
        while tick < end:
            time_us = grid.time_of(tick)
            why, ends_us = self.stretches.at(time_us)
            if why == NEVER_SENT:
                next_us = min((cut for cut in self._cuts(grid, ends_us) if cut > time_us), default=None)
                until = end if next_us is None else min(end, max(tick + 1, grid.tick_from(next_us)))
                until = min([until, *(other for other in alone if tick < other < until)])
                count = 1 if tick in alone else until - tick
                yield tick, count, self._beside(time_us, grid.interval_us, ends_us, before_us, after_us)
                tick += count
                continue
            until = end if ends_us is None else min(end, max(tick + 1, grid.tick_from(ends_us)))
            while tick < until:
                stop = min((other for other in alone if tick <= other < until), default=until)
                if stop > tick:
                    yield tick, stop - tick, why
                if stop < until:
                    yield stop, 1, why
                tick = stop + 1 if stop < until else until

    def _cuts(self, grid: Grid, ends_us: int | None) -> Iterator[int]:
        """Yields the times at which the answer of :meth:`_beside` may change, and just behind them."""
        for edge in self.edges:
            for cut in (-SETTLING_US, -grid.interval_us, 0, SETTLING_US):
                yield edge.time_us + cut
                yield edge.time_us + cut + 1
        if ends_us is not None:
            for cut in (grid.interval_us, _reach_us(grid.interval_us)):
                yield ends_us - cut
                yield ends_us - cut + 1
            yield ends_us

    def _beside(
        self, time_us: int, interval_us: int, ends_us: int | None, before_us: int | None, after_us: int | None
    ) -> Why:
        """Returns the cause of a hole where every batch is here: what lies beside it, if anything does."""
        for edge in self.edges:
            since_us = time_us - edge.time_us
            is_behind = 0 <= since_us < SETTLING_US and (before_us is None or before_us < edge.time_us)
            is_ahead = edge.is_two_sided and (
                -max(SETTLING_US, interval_us) < since_us < 0 and (after_us is None or after_us >= edge.time_us)
            )
            if is_behind or is_ahead:
                return edge.why
        if ends_us is not None and ends_us - time_us < _reach_us(interval_us):
            # Its reply may have come in the stretch that follows, and went with that.
            return self.stretches.at(ends_us)[0]
        return NEVER_SENT


def _reach_us(interval_us: int) -> int:
    """Returns within which time the row of a tick is handed on."""
    return max(interval_us, min(_LONGEST_REPLY * interval_us, SETTLING_US))
