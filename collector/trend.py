"""The history of one point: decoded from the signed batches for two hours, roll-ups beyond.

A gap is a None between two times: where a sample has no number, and where two samples lie
further apart than two and a half of the point's intervals.  Nothing is interpolated.
Of thinned data one or two samples a minute may be all there is: there the gap begins at two minutes,
and a minute of roll-ups has a low and a high and no mean.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

from collector.evidence import read_batch
from collector.identities import read_catalogue
from collector.project import MINUTE_US
from collector.views import Trend
from contracts.batch import Batch, Origin
from contracts.catalogue import Catalogue
from contracts.columns import block_number, decode_block
from contracts.errors import ContractError
from contracts.quality import GOOD, MISSED_TICK

#: longer ranges read roll-ups (us)
RAW_RANGE_US = 2 * 3600 * 1_000_000
#: a batch may begin this long before its newest sample (us)
_LONGEST_BATCH_US = 3600 * 1_000_000

#: two samples of thinned data are no further apart where nothing is missing between them (us); of windows of a minute
_THINNED_GAP_US = 120_000_000

#: (UTC us, value, code, whether it is of a thinned batch)
Sample = tuple[int, float | None, int, bool]


def read_trend(
    db: sqlite3.Connection, gateway_no: int, gateway: str, key: str, unit: str, start_us: int, end_us: int
) -> Trend:
    """Returns the samples of one point in ``[start_us, end_us]`` (UTC)."""
    if end_us - start_us <= RAW_RANGE_US:
        samples, interval_us = _decode_range(db, gateway_no, key, start_us, end_us)
        times, values, codes = _with_gaps(samples, interval_us * 5 // 2)
        return Trend(
            gateway=gateway, point=key, unit=unit, source="raw", times_us=times, values=values, low=(), high=(),
            codes=codes,
        )  # fmt: skip
    return _read_rollups(db, gateway_no, gateway, key, unit, start_us, end_us)


def _decode_range(
    db: sqlite3.Connection, gateway_no: int, key: str, start_us: int, end_us: int
) -> tuple[list[Sample], int]:
    rows = db.execute(
        "SELECT catalogue_no, wall_us-first_us, envelope FROM evidence"
        " WHERE gateway_no=? AND wall_us BETWEEN ? AND ? AND lane=1 AND state=0 AND readings>0"
        " AND wall_us+last_us-first_us >= ? ORDER BY wall_us",
        (gateway_no, start_us - _LONGEST_BATCH_US, end_us, start_us),
    )
    places: dict[int, _Place | None] = {}
    found: list[tuple[bytes, int, Sample]] = []
    interval_us = 1_000_000
    has_recovered = False
    for catalogue_no, offset_us, envelope in rows:
        if catalogue_no not in places:
            row = db.execute("SELECT envelope FROM catalogue WHERE no=?", (catalogue_no,)).fetchone()
            places[catalogue_no] = None if row is None else _Place.find(read_catalogue(row[0]), key)
        place = places[catalogue_no]
        if place is None:
            continue
        interval_us = place.interval_us
        try:
            batch = read_batch(envelope, 1)
            is_thinned = batch.header.origin is Origin.THINNED
            has_recovered = has_recovered or batch.header.origin is Origin.RECOVERED
            found += (
                (batch.header.boot_id, mono_us, (mono_us + offset_us, value, code, is_thinned))
                for mono_us, value, code in place.decode(batch)
                if start_us <= mono_us + offset_us <= end_us
            )
        except ContractError:
            continue  # the bytes changed after they were verified: a gap here, and `collector verify` names them
    if has_recovered:
        # What was recovered from a damaged store may be here in its own batch too.
        found = list({(boot, mono_us, sample[3]): (boot, mono_us, sample) for boot, mono_us, sample in found}.values())
    return sorted(_once(found), key=lambda sample: sample[0]), interval_us


def _once(found: list[tuple[bytes, int, Sample]]) -> list[Sample]:
    """Leaves out the samples of thinned batches that are here in their own batch too."""
    if not any(sample[3] for _, _, sample in found):
        return [sample for _, _, sample in found]
    own = {(boot, mono_us) for boot, mono_us, sample in found if not sample[3]}
    return [sample for boot, mono_us, sample in found if not sample[3] or (boot, mono_us) not in own]


class _Place:
    """Where one point stands in the batches of one catalogue."""

    def __init__(self, catalogue: Catalogue, block: int, index: int) -> None:
        point = catalogue.points[catalogue.blocks[block].points[index]]
        self._block, self._index, self._kinds = block, index, catalogue.kinds[block]
        self._step = point.resolution if point.kind == "int" else None
        self.interval_us = catalogue.blocks[block].interval_ms * 1000

    @classmethod
    def find(cls, catalogue: Catalogue, key: str) -> _Place | None:
        for number, block in enumerate(catalogue.blocks):
            for index, point in enumerate(block.points):
                if catalogue.points[point].key == key:
                    return cls(catalogue, number, index)
        return None

    def decode(self, batch: Batch) -> Iterable[tuple[int, float | None, int]]:
        """Yields (monotonic us, value, code)."""
        for raw in batch.blocks:
            if block_number(raw) != self._block:
                continue
            columns = decode_block(raw, self._kinds, batch.header.sealed_us)
            codes = None if columns.codes is None else columns.codes[self._index]
            for tick, time in enumerate(columns.times):
                value = columns.values[self._index][tick]
                yield time, scaled(value, self._step), GOOD if codes is None else codes[tick]


def scaled(value: Any, step: Fraction | None) -> float | None:
    """Returns a count as a number of the point's unit; floats as they are."""
    if value is None or step is None:
        return None if value is None else float(value)
    return value * step.numerator / step.denominator  # type: ignore[no-any-return]


def _with_gaps(samples: list[Sample], limit_us: int) -> tuple[list[int], list[float | None], list[int]]:
    times: list[int] = []
    values: list[float | None] = []
    codes: list[int] = []
    was_thinned = False
    for time, value, code, is_thinned in samples:
        if times and time == times[-1]:
            continue
        allowed_us = max(limit_us, _THINNED_GAP_US) if is_thinned or was_thinned else limit_us
        was_thinned = is_thinned
        if times and time - times[-1] > allowed_us:
            times.append(times[-1] + (time - times[-1]) // 2)
            values.append(None)
            codes.append(MISSED_TICK)
        times.append(time)
        values.append(value)
        codes.append(code)
    return times, values, codes


def _read_rollups(
    db: sqlite3.Connection, gateway_no: int, gateway: str, key: str, unit: str, start_us: int, end_us: int
) -> Trend:
    rows = db.execute(
        "SELECT r.minute, r.count, r.low, r.high, r.total, r.worst, p.kind, p.resolution"
        " FROM point p JOIN rollup r ON r.point_no=p.no"
        " WHERE p.gateway_no=? AND p.key=? AND p.unit=? AND r.minute BETWEEN ? AND ? ORDER BY r.minute",
        (gateway_no, key, unit, start_us // MINUTE_US, end_us // MINUTE_US),
    ).fetchall()
    times: list[int] = []
    columns: tuple[list[float | None], ...] = ([], [], [])
    codes: list[int] = []

    def put(time: int, numbers: Iterable[float | None], code: int) -> None:
        times.append(time)
        codes.append(code)
        for column, number in zip(columns, numbers, strict=True):
            column.append(number)

    usual = min((b[0] - a[0] for a, b in pairwise(rows) if b[0] > a[0]), default=1)
    for minute, count, low, high, total, worst, kind, resolution in rows:
        time = minute * MINUTE_US + MINUTE_US // 2
        if times and time - times[-1] > usual * MINUTE_US * 5 // 2:
            put(times[-1] + (time - times[-1]) // 2, (None, None, None), MISSED_TICK)
        step = Fraction(resolution) if kind == "int" else None
        if count:
            mean = (scaled(total, step) or 0.0) / count
            put(time, (mean, scaled(low, step), scaled(high, step)), worst)
        else:
            put(time, (None, scaled(low, step), scaled(high, step)), worst)
    return Trend(
        gateway=gateway, point=key, unit=unit, source="minute", times_us=times, values=columns[0], low=columns[1],
        high=columns[2], codes=codes,
    )  # fmt: skip
