"""Which points are silent: no word of them, or for their longest silence only that there is no reading.

A word is a sample of any quality except ``missing``: an instrument that says that it is broken, or that there is more
than it can measure, is heard.  ``latest`` keeps the newest sample and the newest number; the newest word without
a number is in the signed batches alone, and they are asked for the few points where it matters.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from collector.evidence import read_batch
from contracts.catalogue import Catalogue
from contracts.columns import block_number, decode_qualities
from contracts.errors import ContractError
from contracts.quality import Quality, quality_of

#: a batch is no longer than this, or than the longest silence, of which the time between two sealings is a part (us)
_BATCH_US = 120_000_000

#: UTC us: from the first to the second
Span = tuple[int, int]
#: finds one by its number
Catalogues = Callable[[int], Catalogue]


class Heard(Protocol):
    """What is looked at of a point, as in ``PointView``."""

    @property
    def key(self) -> str: ...
    @property
    def quality(self) -> str: ...
    @property
    def is_stale(self) -> bool: ...
    @property
    def sampled_us(self) -> int | None: ...
    @property
    def last_value_us(self) -> int | None: ...
    @property
    def longest_silence_s(self) -> float | None: ...


def silent_points(
    db: sqlite3.Connection, gateway_no: int, points: Iterable[Heard], catalogue: Catalogues
) -> frozenset[str]:
    """Returns the keys of the silent ones among points of a gateway."""
    stale, missed = set(), {}
    for point in points:
        span = _missed(point)
        if point.is_stale:
            stale.add(point.key)
        elif span is not None and (point.last_value_us is None or point.last_value_us < span[0]):
            missed[point.key] = span
    return frozenset(stale | (missed.keys() - _heard(db, gateway_no, missed, catalogue)))


def _missed(point: Heard) -> Span | None:
    """Returns the longest silence before the newest reading, which is missing; None where that is not so."""
    if point.quality != Quality.MISSING.value or point.sampled_us is None or point.longest_silence_s is None:
        return None
    return point.sampled_us - round(point.longest_silence_s * 1e6), point.sampled_us


def _heard(db: sqlite3.Connection, gateway_no: int, spans: Mapping[str, Span], catalogue: Catalogues) -> frozenset[str]:
    """Returns the points of which there is a word in their span."""
    wanted = dict(spans)
    found: set[str] = set()
    if not wanted:
        return frozenset()
    first_us, last_us = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    rows = db.execute(_BATCHES, (gateway_no, first_us - max(_BATCH_US, last_us - first_us), last_us, first_us))
    for catalogue_no, offset_us, envelope in rows:
        try:
            heard = _heard_in_batch(envelope, catalogue(catalogue_no), wanted, offset_us)
        except ContractError:
            continue  # the bytes changed after they were verified: `collector verify` names them
        found |= heard
        for key in heard:
            del wanted[key]
        if not wanted:
            break
    return frozenset(found)


def _heard_in_batch(envelope: bytes, catalogue: Catalogue, wanted: Mapping[str, Span], offset_us: int) -> set[str]:
    places = [
        (number, index, key)
        for number, block in enumerate(catalogue.blocks)
        for index, point in enumerate(block.points)
        if (key := catalogue.points[point].key) in wanted
    ]
    numbers = {number for number, _, _ in places}
    batch = read_batch(envelope, 1)
    found: set[str] = set()
    for raw in batch.blocks:
        number = block_number(raw)
        if number not in numbers:
            continue
        width = len(catalogue.blocks[number].points)
        times, codes = decode_qualities(raw, width, batch.header.sealed_us)
        for at, index, key in places:
            if at != number or key in found:
                continue
            start_us, end_us = wanted[key]
            if any(
                start_us <= time + offset_us <= end_us
                and (codes is None or quality_of(codes[tick * width + index]) is not Quality.MISSING)
                for tick, time in enumerate(times)
            ):
                found.add(key)
    return found


_BATCHES = """
SELECT catalogue_no, wall_us-first_us, envelope FROM evidence
WHERE gateway_no=? AND wall_us BETWEEN ? AND ? AND lane=1 AND state=0 AND readings>0
  AND wall_us+last_us-first_us >= ? ORDER BY wall_us DESC
"""
