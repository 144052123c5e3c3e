"""Projections of samples: latest values and one-minute roll-ups, gathered over a group of batches.

A :class:`Gathering` takes the decoded columns of many batches and writes each touched row
once.  It keeps lists and dictionaries, never an object per reading.  Results do not depend
on how batches are grouped into commits (sums of floats: to rounding).

*Latest* is ordered by boot rank, boot and monotonic time, never by a wall clock, and never
moves backwards.  Where two signed samples claim one instant (a copied gateway) the worse
code and then the larger number stands, so that the order of arrival decides nothing.
Roll-ups go by the UTC minute of the sample under the offset given.

The samples of a *thinned* batch are some of those of other batches, which may be here as well, before
it or after it.  They count as latest values, and for the least, greatest, last and worst of their
minute, which a sample may claim any number of times; never for how many samples a minute had or
for their sum.  So a minute of which only thinned samples are here has count 0 and a low and a high.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from contracts.catalogue import Catalogue
from contracts.columns import Columns
from contracts.quality import CODES, GOOD, Quality

MINUTE_US = 60_000_000
_QUALITIES = list(Quality)
#: order of badness of each code
WORSE = {code: _QUALITIES.index(item.quality) * 256 + code for code, item in CODES.items()}
_I64 = (1 << 63) - 1

#: (boot rank, boot, monotonic us)
Order = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Form:
    """The points of one catalogue: per block the numbers in table ``point`` and the keys."""

    gateway_no: int
    numbers: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch stands in time."""

    rank: int
    boot_no: int
    #: UTC minus monotonic, us
    offset_us: int


def read_form(connection: sqlite3.Connection, gateway_no: int, catalogue: Catalogue) -> Form:
    """Returns the points of a catalogue; makes the rows that are not there yet."""
    numbers: list[int] = []
    for item in catalogue.points:
        step = f"{item.resolution.numerator}/{item.resolution.denominator}"
        row = (gateway_no, item.key, item.unit, item.kind, step)
        connection.execute(
            "INSERT INTO point(gateway_no, key, unit, kind, resolution) VALUES(?,?,?,?,?) ON CONFLICT DO NOTHING", row
        )
        found = connection.execute(
            "SELECT no FROM point WHERE gateway_no=? AND key=? AND unit=? AND kind=? AND resolution=?", row
        ).fetchone()
        numbers.append(found[0])
    return Form(
        gateway_no,
        tuple(tuple(numbers[i] for i in block.points) for block in catalogue.blocks),
        tuple(tuple(catalogue.points[i].key for i in block.points) for block in catalogue.blocks),
    )


@dataclass(slots=True)
class _Good:
    """Good blocks of one minute; ``last`` is the newest of them, ``newest`` its newest tick."""

    form: Form
    columns: list[list[list[Any]]]
    #: microseconds into the minute
    last_us: int
    last: Columns
    newest: int


class Gathering:
    """Latest values and roll-ups of a group of batches, until :meth:`write`."""

    def __init__(self) -> None:
        #: (point, minute) -> [numbers, newest us with a number, last number, without, worst]
        self._minutes: dict[tuple[int, int], list[Any]] = {}
        #: (id of form, block, minute) -> blocks whose samples were all good
        self._good: dict[tuple[int, int, int], _Good] = {}
        #: (id of form, block) -> newest tick of a block whose samples were all good
        self._newest: dict[tuple[int, int], tuple[Order, int, Form, Columns, int]] = {}
        #: (gateway, key) -> (order, wall, point, code, value)
        self._latest: dict[tuple[int, str], tuple[Order, int, int, int, Any]] = {}
        self._numbers: dict[tuple[int, str], tuple[Order, int, int, Any]] = {}
        #: as ``_minutes``, of thinned batches
        self._thinned: dict[tuple[int, int], list[Any]] = {}

    def add_thinned(self, form: Form, place: Place, blocks: Sequence[Columns]) -> None:
        """Takes the columns of one thinned batch."""
        for block in blocks:
            last = max(block.times)
            newest = block.times.index(last)
            self._add_mixed(form.numbers[block.number], place.offset_us, block, self._thinned)
            self._keep(form, block, (place.rank, place.boot_no, last), last + place.offset_us, newest)
            self._keep_numbers(form, block, place)

    def add(self, form: Form, place: Place, blocks: Sequence[Columns]) -> None:
        """Takes the columns of one batch; they must not change afterwards."""
        offset_us = place.offset_us
        for block in blocks:
            times = block.times
            if len(times) == 1:
                newest, first, last = 0, times[0], times[0]
            else:
                first, last = min(times), max(times)
                newest = times.index(last)
            order = (place.rank, place.boot_no, last)
            if block.codes is not None:
                self._add_mixed(form.numbers[block.number], offset_us, block, self._minutes)
                self._keep(form, block, order, last + offset_us, newest)
                self._keep_numbers(form, block, place)
                continue
            minute, into = divmod(last + offset_us, MINUTE_US)
            if (first + offset_us) // MINUTE_US != minute or not self._add_good(form, block, minute, into, newest):
                self._add_mixed(form.numbers[block.number], offset_us, block, self._minutes)
            held = self._newest.get((id(form), block.number))
            if held is None or order > held[0]:
                self._newest[id(form), block.number] = (order, last + offset_us, form, block, newest)
            elif order == held[0]:
                self._keep(form, block, order, last + offset_us, newest)
                self._keep_numbers(form, block, place)

    def _add_good(self, form: Form, block: Columns, minute: int, into: int, newest: int) -> bool:
        """Takes a block whose samples are all good and lie in one minute: nothing to do per point yet.

        Returns False when a block of the same newest time is held: then each point must decide.
        """
        held = self._good.get((id(form), block.number, minute))
        if held is None:
            self._good[id(form), block.number, minute] = _Good(form, [block.values], into, block, newest)
        elif into == held.last_us:
            return False
        else:
            held.columns.append(block.values)
            if into > held.last_us:
                held.last_us, held.last, held.newest = into, block, newest
        return True

    def _spread(self) -> None:
        """Turns the good blocks into minutes of points."""
        minutes = self._minutes
        for (_, _, minute), good in self._good.items():
            last_us, last, newest = good.last_us, good.last.values, good.newest
            for index, number in enumerate(good.form.numbers[good.last.number]):
                column = list(chain.from_iterable([columns[index] for columns in good.columns]))
                held = minutes.get((number, minute))
                if held is None:
                    minutes[number, minute] = [column, last_us, last[index][newest], 0, GOOD]
                else:
                    held[0] += column
                    if held[1] < 0 or (last_us, last[index][newest]) > (held[1], held[2]):
                        held[1], held[2] = last_us, last[index][newest]

    def _add_mixed(
        self, numbers: tuple[int, ...], offset_us: int, block: Columns, minutes: dict[tuple[int, int], list[Any]]
    ) -> None:
        walls = [divmod(time + offset_us, MINUTE_US) for time in block.times]
        for index, (number, column) in enumerate(zip(numbers, block.values, strict=True)):
            codes = None if block.codes is None else block.codes[index]
            for tick, (minute, into) in enumerate(walls):
                held = minutes.get((number, minute))
                if held is None:
                    held = minutes[number, minute] = [[], -1, None, 0, GOOD]
                code = GOOD if codes is None else codes[tick]
                value = column[tick]
                if value is None:
                    held[3] += 1
                else:
                    held[0].append(value)
                    if held[1] < 0 or (into, value) > (held[1], held[2]):
                        held[1], held[2] = into, value
                if WORSE[code] > WORSE[held[4]]:
                    held[4] = code

    def _keep(self, form: Form, block: Columns, order: Order, wall_us: int, tick: int) -> None:
        gateway_no, latest = form.gateway_no, self._latest
        keys, numbers = form.keys[block.number], form.numbers[block.number]
        for index, key in enumerate(keys):
            held = latest.get((gateway_no, key))
            if held is None or order >= held[0]:
                code = GOOD if block.codes is None else block.codes[index][tick]
                value = block.values[index][tick]
                if held is None or (order, code, value or 0) > (held[0], held[3], held[4] or 0):
                    latest[gateway_no, key] = (order, wall_us, numbers[index], code, value)

    def _keep_numbers(self, form: Form, block: Columns, place: Place) -> None:
        """Keeps for each point of a block the newest sample that has a number."""
        keys, numbers = form.keys[block.number], form.numbers[block.number]
        ticks = sorted(range(len(block.times)), key=block.times.__getitem__, reverse=True)
        for index, key in enumerate(keys):
            column = block.values[index]
            tick = next((tick for tick in ticks if column[tick] is not None), None)
            if tick is None:
                continue
            time = block.times[tick]
            self._keep_number(
                (form.gateway_no, key),
                ((place.rank, place.boot_no, time), time + place.offset_us, numbers[index], column[tick]),
            )

    def _keep_number(self, where: tuple[int, str], new: tuple[Order, int, int, Any]) -> None:
        held = self._numbers.get(where)
        if held is None or (new[0], new[3]) > (held[0], held[3]):
            self._numbers[where] = new

    def write(self, connection: sqlite3.Connection, *, with_rollups: bool = True) -> list[tuple[int, str]]:
        """Writes what was gathered, inside the caller's transaction.

        Args:
            connection: the writer's.
            with_rollups: False when the minutes already hold these samples.

        Returns:
            (gateway, key) of every point whose latest sample may have changed.
        """
        self._spread()
        for order, wall_us, form, block, tick in self._newest.values():
            self._keep(form, block, order, wall_us, tick)
            for index, key in enumerate(form.keys[block.number]):
                value = block.values[index][tick]
                self._keep_number((form.gateway_no, key), (order, wall_us, form.numbers[block.number][index], value))
        connection.executemany(
            _LATEST,
            [
                (where[0], where[1], point, *order, wall_us, code, value)
                for where, (order, wall_us, point, code, value) in self._latest.items()
            ],
        )
        connection.executemany(
            _NUMBER,
            [
                (*order, wall_us, value, point, *where, *order, value)
                for where, (order, wall_us, point, value) in self._numbers.items()
            ],
        )
        if with_rollups:
            self._write_minutes(connection)
        return list(self._latest)

    def write_minutes(self, connection: sqlite3.Connection) -> None:
        """Writes the minutes only, inside the caller's transaction: what is newest is known already."""
        self._spread()
        self._write_minutes(connection)

    def _write_minutes(self, connection: sqlite3.Connection) -> None:
        connection.executemany(_ROLLUP, [_rollup_row(key, held) for key, held in self._minutes.items()])
        connection.executemany(_ROLLUP, [_thinned_row(key, held) for key, held in self._thinned.items()])


def _rollup_row(key: tuple[int, int], held: list[Any]) -> tuple[Any, ...]:
    numbers, last_us, last, without, worst = held
    if not numbers:
        return (*key, 0, without, None, None, None, None, -1, worst)
    total = sum(numbers)
    if type(total) is int and not -_I64 <= total <= _I64:
        total = float(total)
    return (*key, len(numbers), without, min(numbers), max(numbers), total, last, last_us, worst)


def _thinned_row(key: tuple[int, int], held: list[Any]) -> tuple[Any, ...]:
    numbers, last_us, last, _, worst = held
    if not numbers:
        return (*key, 0, 0, None, None, None, None, -1, worst)
    return (*key, 0, 0, min(numbers), max(numbers), None, last, last_us, worst)


_LATEST = """
INSERT INTO latest(gateway_no, key, point_no, rank, boot_no, mono_us, wall_us, code, value)
VALUES(?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, key) DO UPDATE SET
  point_no=excluded.point_no, rank=excluded.rank, boot_no=excluded.boot_no, mono_us=excluded.mono_us,
  wall_us=excluded.wall_us, code=excluded.code, value=excluded.value
WHERE (excluded.rank, excluded.boot_no, excluded.mono_us, excluded.code, coalesce(excluded.value, 0))
    > (latest.rank, latest.boot_no, latest.mono_us, latest.code, coalesce(latest.value, 0))
"""

_NUMBER = """
UPDATE latest SET number_rank=?, number_boot_no=?, number_mono_us=?, number_wall_us=?, number=?, number_point_no=?
WHERE gateway_no=? AND key=?
  AND (number_rank IS NULL OR (?,?,?,?) > (number_rank, number_boot_no, number_mono_us, number))
"""

# The order of badness is the order of the code ranges (good < uncertain < bad < missing), so
# max() keeps the worst; a test pins that.
_ROLLUP = """
INSERT INTO rollup(point_no, minute, count, without, low, high, total, last, last_us, worst)
VALUES(?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(point_no, minute) DO UPDATE SET
  count=count+excluded.count, without=without+excluded.without,
  low=CASE WHEN low IS NULL OR excluded.low < low THEN excluded.low ELSE low END,
  high=CASE WHEN high IS NULL OR excluded.high > high THEN excluded.high ELSE high END,
  total=CASE WHEN total IS NULL THEN excluded.total WHEN excluded.total IS NULL THEN total
        ELSE total+excluded.total END,
  last=CASE WHEN excluded.last_us >= 0 AND (last_us < 0 OR (excluded.last_us, excluded.last) > (last_us, last))
       THEN excluded.last ELSE last END,
  last_us=max(last_us, excluded.last_us),
  worst=max(worst, excluded.worst)
"""
