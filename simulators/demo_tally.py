"""The demo's own count: what the gateway has sealed against what the collector has stored.

It reads the signed bytes on both sides and believes nothing else: no projection, no counter.  Signatures are
verified with the gateway's public key, the grid of expected samples comes from the signed catalogue.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts.batch import Batch, Lane, decode_batch
from contracts.catalogue import Catalogue
from contracts.columns import block_number, decode_block
from contracts.envelope import Type, open_envelope
from contracts.keys import PublicKey, Verifier
from contracts.quality import CODES, GOOD, Quality

#: (boot id, catalogue hash, block number)
_Block = tuple[bytes, bytes, int]

NOT_DELIVERED = "not_delivered"
UNACCOUNTED = "unaccounted"


@dataclass(slots=True)
class Sealed:
    """What a set of signed batches says."""

    #: block -> monotonic us of a tick -> quality codes of its points (None: all good)
    ticks: dict[_Block, dict[int, tuple[int, ...] | None]] = field(default_factory=dict)
    #: block -> (points, interval ms, phase ms)
    grids: dict[_Block, tuple[int, int, int]] = field(default_factory=dict)
    #: ids of alarm events that raise an alarm
    raised: set[bytes] = field(default_factory=set)
    #: samples that came more than once
    duplicates: int = 0

    def expected(self) -> int:
        """Returns the samples that the grid asks for between the first and last tick of each block."""
        return sum(
            grid_length(ticks, *self.grids[block][1:]) * self.grids[block][0] for block, ticks in self.ticks.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The summary of a demo."""

    expected: int
    #: samples at the collector that came from an instrument's reply
    stored: int
    #: cause -> samples that are not there, or are there as missing
    missing: Mapping[str, int]
    alarms_raised: int
    alarms_stored: int
    duplicates: int


def grid_length(times_us: Iterable[int], interval_ms: int, phase_ms: int) -> int:
    """Returns how many ticks of the grid lie from the first to the last of these samples.

    A sample belongs to the tick before it.  On a machine that was held up one can be so late that the next
    tick has come: of two samples in one interval the earlier belongs to the tick before.
    """
    numbers = sorted(((time // 1000 - phase_ms) // interval_ms for time in times_us), reverse=True)
    if not numbers:
        return 0
    tick = numbers[0] + 1
    for number in numbers:
        tick = min(number, tick - 1)
    return numbers[0] - tick + 1


def read_sealed(envelopes: Iterable[tuple[Lane, bytes]], catalogues: Mapping[bytes, bytes], key: PublicKey) -> Sealed:
    """Verifies and counts batches.

    Args:
        envelopes: (lane, signed bytes).
        catalogues: hash -> signed bytes.
        key: of the gateway that signed them.

    Raises:
        ContractError: something is not what it says it is.
    """
    keys = {key.key_id: Verifier(key)}
    known = {
        hash: Catalogue.from_body(open_envelope(envelope, Type.CATALOGUE, keys).body)
        for hash, envelope in catalogues.items()
    }
    sealed = Sealed()
    for lane, envelope in envelopes:
        batch = decode_batch(open_envelope(envelope, lane.type, keys).body, lane.type)
        sealed.raised.update(event.id for event in batch.events if event.id == event.raised_by)
        if batch.blocks:
            _add_blocks(sealed, batch, known[batch.header.catalogue])
    return sealed


def _add_blocks(sealed: Sealed, batch: Batch, catalogue: Catalogue) -> None:
    header = batch.header
    for raw in batch.blocks:
        number = block_number(raw)
        grid = catalogue.blocks[number]
        kinds = [catalogue.points[point].kind for point in grid.points]
        columns = decode_block(raw, kinds, header.sealed_us)
        block = header.boot_id, header.catalogue, number
        sealed.grids[block] = len(kinds), grid.interval_ms, grid.phase_ms
        ticks = sealed.ticks.setdefault(block, {})
        for place, time in enumerate(columns.times):
            if time in ticks:
                sealed.duplicates += len(kinds)
            codes = columns.codes
            ticks[time] = None if codes is None else tuple(column[place] for column in codes)


def compare(gateway: Sealed, collector: Sealed) -> Tally:
    """Returns how much of what the gateway should have read is at the collector, and why the rest is not."""
    missing: Counter[str] = Counter()
    stored = 0
    for block, ticks in gateway.ticks.items():
        points, interval_ms, phase_ms = gateway.grids[block]
        there = collector.ticks.get(block, {})
        missing[NOT_DELIVERED] += sum(1 for time in ticks if time not in there) * points
        missing[UNACCOUNTED] += (grid_length(ticks, interval_ms, phase_ms) - len(ticks)) * points
        for codes in there.values():
            for code in codes if codes is not None else (GOOD,) * points:
                known = CODES.get(code)
                if known is not None and known.quality is Quality.MISSING:
                    missing[known.reason] += 1
                else:
                    stored += 1
    return Tally(
        expected=gateway.expected(),
        stored=stored,
        missing={cause: count for cause, count in sorted(missing.items()) if count},
        alarms_raised=len(gateway.raised),
        alarms_stored=len(gateway.raised & collector.raised),
        duplicates=collector.duplicates,
    )


def read_spool(path: Path) -> tuple[list[tuple[Lane, bytes]], dict[bytes, bytes]]:
    """Returns batches and catalogues of a stopped gateway's spool (id: epoch, lane bit 33, sequence)."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        batches = [(Lane((id >> 33) & 1), envelope) for id, envelope in db.execute("SELECT id, envelope FROM batch")]
        return batches, dict(db.execute("SELECT hash, envelope FROM catalogue"))


def read_evidence(path: Path) -> tuple[list[tuple[Lane, bytes]], dict[bytes, bytes]]:
    """Returns batches and catalogues that a collector keeps as evidence."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        batches = [(Lane(lane), envelope) for lane, envelope in db.execute("SELECT lane, envelope FROM evidence")]
        return batches, dict(db.execute("SELECT hash, envelope FROM catalogue"))
