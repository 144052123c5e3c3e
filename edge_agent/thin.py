"""Thinning: which samples of quiet data stay when the spool needs room.  Pure: no disk, no clock, no chain.

Of every block and window these ticks stay, each with its own time, values and quality codes:

    the last one;  per point the least, the greatest and the last number, and the first sample of
    every quality code that occurs

They are real samples; nothing is averaged.  A tick stays for all points of its block, because a
block has one time for all of them; so a wide block needs a longer window before thinning it
gains anything.  How many samples went is in the signed loss records that travel with the batch.

Not quiet, and never thinned: a batch that was thinned before, batch 1 of an epoch, one with alarm events or
with a section that is not known here, and (``quiet.py``) what lies within 60 s of an alarm.  Notes are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from contracts.batch import Batch, Note, Origin, decode_batch
from contracts.columns import Columns, block_number, decode_block, encode_block
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError
from contracts.fields import pack
from contracts.quality import GOOD
from edge_agent.spool_records import Gone, StoredBatch, split_id

#: windows that are tried, shortest first (us); a collector draws a line across no more than the longest
WINDOWS_US = (60_000_000, 300_000_000, 900_000_000)
#: what one thinned batch is made from at most: samples, batches, runs of neighbours, us
MOST_READINGS = 48_000
_MOST_BATCHES = 500
_MOST_RUNS = 20
#: below one hour, the longest that a collector looks back for a batch that reaches into a range
_MOST_SPAN_US = 3_000_000_000
#: thinning that does not at least halve the bytes does not happen
_GAIN = 2
#: header, signature and row of the thinned batch, and one loss record (bytes)
_BATCH_BYTES = 500
_RECORD_BYTES = 90
#: what a batch may say besides; anything else (events, waveforms, sections of a newer version) is not quiet
_QUIET_PARTS = frozenset({"header", "blocks", "statement", "health", "losses", "notes"})
_OTHER_PARTS = tuple(item.name for item in fields(Batch) if item.name not in _QUIET_PARTS)

Kinds = Sequence[Sequence[str]]
#: kinds of the points of every block of a catalogue, by its hash; None where it is not known
KindsOf = Callable[[bytes], Kinds | None]


class Taken(Enum):
    """What became of a batch that was offered to a draft."""

    TAKEN = "taken"
    #: it stays as it is
    NOT_QUIET = "not quiet"
    #: it belongs to the next draft: another catalogue, or this one has enough
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinned:
    """What takes the place of some batches."""

    #: the batches that go, as runs of neighbours of one lane, ascending
    runs: tuple[Gone, ...]
    catalogue: bytes
    #: encoded for a batch sealed at 0; see :func:`placed`
    blocks: tuple[Any, ...]
    readings: int
    first_us: int
    last_us: int
    #: of the batches that go
    notes: tuple[Note, ...]
    window_us: int


@dataclass(slots=True)
class _Ticks:
    """The ticks of one block, gathered."""

    times: list[int]
    values: list[list[Any]]
    #: None while every sample is good
    codes: list[list[int]] | None


class Draft:
    """Gathers neighbouring quiet batches of one epoch until there are enough for one thinned batch."""

    def __init__(self, *, epoch: bytes, boot_id: bytes) -> None:
        """Begins empty, for batches of one epoch; those of another boot have times of another clock."""
        self._epoch, self._boot_id = epoch, boot_id
        self._catalogue = b""
        #: kinds of the points of every block of that catalogue
        self._kinds: Kinds = ()
        self._blocks: dict[int, _Ticks] = {}
        self._notes: list[Note] = []
        self._batches = self._readings = 0
        self.runs: list[Gone] = []
        #: monotonic us of the oldest and newest sample
        self.first_us: int | None = None
        self.last_us = 0
        #: whether a batch was offered that belongs to the next draft
        self.is_full = False

    @property
    def span_us(self) -> int:
        """From the oldest to the newest sample."""
        return 0 if self.first_us is None else self.last_us - self.first_us

    def take(self, stored: StoredBatch, kinds_of: KindsOf) -> Taken:
        """Takes a batch in, or says why not; seqs must ascend."""
        if not stored.is_whole:
            return Taken.NOT_QUIET
        try:
            batch = decode_batch(decode_payload(split(stored.envelope)[1]), stored.lane.type)
            if not self._is_quiet(batch, stored):
                return Taken.NOT_QUIET
            if batch.blocks and self._catalogue not in (b"", batch.header.catalogue):
                self.is_full = True
                return Taken.FULL
            kinds = self._kinds
            if batch.blocks and not kinds:
                kinds = kinds_of(batch.header.catalogue) or ()
            numbers = [block_number(raw) for raw in batch.blocks]
            if max(numbers, default=-1) >= len(kinds):
                return Taken.NOT_QUIET
            columns = [
                decode_block(raw, kinds[number], batch.header.sealed_us)
                for raw, number in zip(batch.blocks, numbers, strict=True)
            ]
        except ContractError:
            return Taken.NOT_QUIET
        if not self._has_room(stored, columns):
            self.is_full = True
            return Taken.FULL
        self._kinds = kinds
        self._add(stored, batch, columns)
        return Taken.TAKEN

    def _is_quiet(self, batch: Batch, stored: StoredBatch) -> bool:
        header = batch.header
        return (
            header.origin is not Origin.THINNED
            and header.genesis is None
            and (header.epoch, header.seq, header.boot_id) == (self._epoch, stored.seq, self._boot_id)
            and not any(getattr(batch, name) for name in _OTHER_PARTS)
        )

    def _has_room(self, stored: StoredBatch, columns: Sequence[Columns]) -> bool:
        if not self.runs:
            return True
        is_next = stored.seq == self.runs[-1].last + 1
        times = [time for block in columns for time in (min(block.times), max(block.times))]
        first = min([*times, self.first_us]) if self.first_us is not None else 0
        return (
            self._readings + stored.readings <= MOST_READINGS
            and self._batches < _MOST_BATCHES
            and (is_next or len(self.runs) < _MOST_RUNS)
            and (self.first_us is None or not times or max(*times, self.last_us) - first <= _MOST_SPAN_US)
        )

    def _add(self, stored: StoredBatch, batch: Batch, columns: Sequence[Columns]) -> None:
        self._batches += 1
        self._readings += stored.readings
        self._notes += batch.notes
        if columns:
            self._catalogue = batch.header.catalogue
        for block in columns:
            self._add_block(block)
            first, last = min(block.times), max(block.times)
            self.first_us = first if self.first_us is None else min(self.first_us, first)
            self.last_us = max(self.last_us, last)
        epoch_no, lane, seq = split_id(stored.id)
        size, readings = len(stored.envelope), stored.readings
        before = self.runs[-1] if self.runs else None
        if before is not None and before.last + 1 == seq:
            self.runs[-1] = replace(
                before,
                last=seq,
                digest=stored.digest,
                readings=before.readings + readings,
                size=before.size + size,
            )
            return
        self.runs.append(
            Gone(
                epoch_no=epoch_no,
                lane=lane,
                first=seq,
                last=seq,
                digest=stored.digest,
                readings=readings,
                cause="thinned",
                size=size,
            )
        )

    def _add_block(self, block: Columns) -> None:
        held = self._blocks.get(block.number)
        if held is None:
            held = self._blocks[block.number] = _Ticks([], [[] for _ in block.values], None)
        before = len(held.times)
        held.times += block.times
        for column, more in zip(held.values, block.values, strict=True):
            column += more
        if block.codes is None and held.codes is None:
            return
        if held.codes is None:
            held.codes = [[GOOD] * before for _ in block.values]
        for index, codes in enumerate(held.codes):
            codes += [GOOD] * len(block.times) if block.codes is None else block.codes[index]

    def thin(self, *, records: int = 0) -> Thinned | None:
        """Returns what may take the place of the batches taken in; None where that would gain too little.

        Args:
            records: loss records that lie in these batches and must be sealed anew.
        """
        if self.first_us is None:
            return None
        for window_us in WINDOWS_US:
            blocks, readings, first, last = [], 0, self.last_us, self.first_us
            for number, ticks in sorted(self._blocks.items()):
                kept = kept_ticks(ticks.times, ticks.values, ticks.codes, window_us)
                blocks.append(_encode(number, self._kinds[number], ticks, kept))
                readings += len(kept) * len(ticks.values)
                first, last = min(first, ticks.times[kept[0]]), max(last, ticks.times[kept[-1]])
            cost = len(pack([blocks, [note.to_wire() for note in self._notes]]))
            cost += _BATCH_BYTES + _RECORD_BYTES * (len(self.runs) + records)
            if cost * _GAIN <= sum(run.size for run in self.runs):
                return Thinned(
                    runs=tuple(self.runs),
                    catalogue=self._catalogue,
                    blocks=tuple(blocks),
                    readings=readings,
                    first_us=first,
                    last_us=last,
                    notes=tuple(self._notes),
                    window_us=window_us,
                )
        return None


def kept_ticks(
    times: Sequence[int], values: Sequence[Sequence[Any]], codes: Sequence[Sequence[int]] | None, window_us: int
) -> list[int]:
    """Returns the positions of the ticks of one block that stay, in order of their times.

    Args:
        times: monotonic us, in any order.
        values: per point one entry per tick; None where there is no number.
        codes: per point one quality code per tick; None when every sample is good.
        window_us: windows begin at whole multiples of it.
    """
    order = sorted(range(len(times)), key=times.__getitem__)
    windows: dict[int, list[int]] = {}
    for position in order:
        windows.setdefault(times[position] // window_us, []).append(position)
    kept: list[int] = []
    for ticks in windows.values():
        kept += sorted(_kept_of_window(ticks, values, codes), key=times.__getitem__)
    return kept


def _kept_of_window(
    ticks: Sequence[int], values: Sequence[Sequence[Any]], codes: Sequence[Sequence[int]] | None
) -> set[int]:
    kept = {ticks[-1]}
    for index, column in enumerate(values):
        numbered: Sequence[int] = ticks
        if codes is not None:
            own = codes[index]
            seen = {own[tick] for tick in kept}
            for tick in ticks:
                if own[tick] not in seen:
                    seen.add(own[tick])
                    kept.add(tick)
            numbered = [tick for tick in ticks if column[tick] is not None]
            if not numbered:
                continue
            kept.add(numbered[-1])
        numbers = [column[tick] for tick in numbered]
        for extreme in (min(numbers), max(numbers)):
            if not any(column[tick] == extreme for tick in kept):
                kept.add(numbered[numbers.index(extreme)])
    return kept


def _encode(number: int, kinds: Sequence[str], ticks: _Ticks, kept: Sequence[int]) -> list[Any]:
    times = [ticks.times[tick] for tick in kept]
    rows = [[column[tick] for column in ticks.values] for tick in kept]
    codes: list[list[int] | None] = [None] * len(kept)
    if ticks.codes is not None:
        found = [[column[tick] for column in ticks.codes] for tick in kept]
        codes = [row if any(code != GOOD for code in row) else None for row in found]
    return encode_block(number, kinds, 0, times, rows, codes)


def placed(blocks: Sequence[Any], sealed_us: int) -> tuple[Any, ...]:
    """Returns blocks that were encoded for a batch sealed at 0 as those of one sealed at ``sealed_us``."""
    return tuple([number, [offsets[0] - sealed_us, *offsets[1:]], *rest] for number, offsets, *rest in blocks)


def thinned_note(thinned: Thinned, mono_us: int) -> Note:
    """Returns the line of the journal that says what was done, for people."""
    runs = ", ".join(f"{run.first}-{run.last}" for run in thinned.runs)
    went = sum(run.readings for run in thinned.runs)
    text = f"thinned {went} readings to {thinned.readings} in windows of {thinned.window_us // 1_000_000} s: {runs}"
    return Note(mono_us=mono_us, kind="thinned", text=text[:1000])


def runs_within(runs: Sequence[Gone], waiting: Sequence[tuple[int, int]]) -> bool:
    """Returns whether every run still waits as a whole."""
    return all(any(first <= run.first and run.last <= last for first, last in waiting) for run in runs)
