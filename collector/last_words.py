"""Which points are silent: no word of them, or for their longest silence only that there is no reading.

A word is a sample of any quality except ``missing``: an instrument that says that it is broken, or that there is more
than it can measure, is heard.  Where another device answers at its address, it is not.

``latest`` keeps the newest sample and the newest number; the newest word without a number is in the signed batches
alone, and they are asked for the few points where it matters: each batch once for each of them, because a longest
silence may be hours, and a page that is open asks every second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from collector.evidence import read_batch
from contracts.catalogue import Catalogue
from contracts.columns import block_number, decode_qualities
from contracts.errors import ContractError
from contracts.quality import OTHER_DEVICE, Quality, quality_of

#: a batch is no longer than this, or than the longest silence, of which the time between two sealings is a part (us)
_BATCH_US = 120_000_000

#: what is kept in memory, before all of it is forgotten: pairs of a point and a batch
MOST_KEPT = 500_000

#: UTC us: from the first to the second
Span = tuple[int, int]
#: monotonic us of the words of a point in a batch
Times = tuple[int, ...]
#: finds one by its number
Catalogues = Callable[[int], Catalogue]


class Heard(Protocol):
    """What is looked at of a point, as in ``PointView``."""

    @property
    def key(self) -> str: ...
    @property
    def code(self) -> int: ...
    @property
    def is_stale(self) -> bool: ...
    @property
    def sampled_us(self) -> int | None: ...
    @property
    def last_value_us(self) -> int | None: ...
    @property
    def longest_silence_s(self) -> float | None: ...


class LastWords:
    """Finds silent points, and remembers what batches said of them; safe to ask from any thread."""

    def __init__(self) -> None:
        #: (gateway, key) -> evidence -> its words
        self._said: dict[tuple[int, str], dict[int, Times]] = {}

    def silent_points(
        self, db: sqlite3.Connection, gateway_no: int, points: Iterable[Heard], catalogue: Catalogues
    ) -> frozenset[str]:
        """Returns the keys of the silent ones among points of a gateway."""
        stale, missed = set(), {}
        for point in points:
            span = _missed(point)
            if point.is_stale:
                stale.add(point.key)
            elif span is not None and (point.last_value_us is None or point.last_value_us < span[0]):
                missed[point.key] = span
        return frozenset(stale | (missed.keys() - self._heard(db, gateway_no, missed, catalogue)))

    def _heard(
        self, db: sqlite3.Connection, gateway_no: int, spans: Mapping[str, Span], catalogue: Catalogues
    ) -> frozenset[str]:
        """Returns the points of which there is a word in their span."""
        wanted = dict(spans)
        found: set[str] = set()
        if not wanted:
            return frozenset()
        before = {key: self._said.get((gateway_no, key), {}) for key in wanted}
        now: dict[str, dict[int, Times]] = {key: {} for key in wanted}
        first_us, last_us = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
        reach_us = max(_BATCH_US, last_us - first_us)
        rows = db.execute(_BATCHES, (gateway_no, first_us - reach_us, last_us, first_us)).fetchall()
        for id, catalogue_no, offset_us in rows:
            unread = {key for key in wanted if id not in before[key]}
            words = _words(db, id, catalogue(catalogue_no), unread) if unread else {}
            for key, (start_us, end_us) in tuple(wanted.items()):
                times = now[key][id] = words.get(key, ()) if key in unread else before[key][id]
                if any(start_us <= time + offset_us <= end_us for time in times):
                    found.add(key)
                    del wanted[key]
            if not wanted:
                break
        self._keep(gateway_no, now)
        return frozenset(found)

    def _keep(self, gateway_no: int, now: Mapping[str, dict[int, Times]]) -> None:
        """Remembers what was looked at now, and of these points nothing older."""
        if sum(map(len, tuple(self._said.values()))) > MOST_KEPT:
            self._said.clear()
        for key, said in now.items():
            self._said[gateway_no, key] = said


def _missed(point: Heard) -> Span | None:
    """Returns the longest silence before the newest reading, which is no word; None where that is not so."""
    if _is_word(point.code) or point.sampled_us is None or point.longest_silence_s is None:
        return None
    return point.sampled_us - round(point.longest_silence_s * 1e6), point.sampled_us


def _is_word(code: int) -> bool:
    return code != OTHER_DEVICE and quality_of(code) is not Quality.MISSING


def _words(db: sqlite3.Connection, id: int, catalogue: Catalogue, keys: Collection[str]) -> dict[str, Times]:
    """Returns the words of a batch; of a point that it says nothing of there is no item."""
    row = db.execute("SELECT envelope FROM evidence WHERE id=?", (id,)).fetchone()
    places = [
        (number, index, key)
        for number, block in enumerate(catalogue.blocks)
        for index, point in enumerate(block.points)
        if (key := catalogue.points[point].key) in keys
    ]
    numbers = {number for number, _, _ in places}
    found: dict[str, Times] = {}
    if row is None:
        return found  # dropped meanwhile
    try:
        batch = read_batch(row[0], 1)
        for raw in batch.blocks:
            if (number := block_number(raw)) not in numbers:
                continue
            width = len(catalogue.blocks[number].points)
            times, codes = decode_qualities(raw, width, batch.header.sealed_us)
            for at, index, key in places:
                if at == number:
                    found[key] = found.get(key, ()) + tuple(
                        time
                        for tick, time in enumerate(times)
                        if codes is None or _is_word(codes[tick * width + index])
                    )
    except ContractError:
        return {}  # the bytes changed after they were verified: `collector verify` names them
    return found


_BATCHES = """
SELECT id, catalogue_no, wall_us-first_us FROM evidence
WHERE gateway_no=? AND wall_us BETWEEN ? AND ? AND lane=1 AND state=0 AND readings>0
  AND wall_us+last_us-first_us >= ? ORDER BY wall_us DESC
"""
