"""The spool's records and row ids: what goes in, what comes out.  Pure; no SQLite here."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.batch import Head, Lane, LossRecord
from edge_agent.ranges import Ranges
from edge_agent.seal import Sealed

#: bits of a row's checksum: of its bytes, and above them of its other columns
_LOW, _HIGH = 0xFFFFFFFF, 0x7FFFFFFF
EPOCH_SHIFT = 34
SEQ_MASK = (1 << 33) - 1
#: epoch numbers from here on were given without asking the store
FIRST_UNASKED = 1 << 28

#: key in table ``state`` of the CRC-32 over the rows of table ``delivered``
DELIVERED_SUM = "delivered_sum"
#: reason of an epoch that ``salvage.py`` made
SALVAGE = "salvage"


def batch_id(epoch_no: int, lane: Lane, seq: int) -> int:
    """Returns the row id of a batch."""
    return (epoch_no << EPOCH_SHIFT) | (int(lane) << 33) | seq


def split_id(row: int) -> tuple[int, Lane, int]:
    """Returns epoch number, lane and seq of a row id."""
    return row >> EPOCH_SHIFT, Lane((row >> 33) & 1), row & SEQ_MASK


def unasked_epoch_no() -> int:
    """Returns a number for an epoch when the store cannot be asked: random, above those of restarts."""
    return FIRST_UNASKED | int.from_bytes(os.urandom(3), "big")


def row_checksum(digest: bytes, envelope: bytes) -> int:
    """Returns the CRC-32 of a row's own bytes: SQLite's checks do not see a flipped bit in them."""
    return zlib.crc32(envelope, zlib.crc32(digest))


def with_place(checksum: int, *columns: int | None) -> int:
    """Returns a row's checksum with one of its other columns above it: a bit in its id would give it another place.

    Args:
        columns: id, readings, oldest and newest sample.
    """
    return (zlib.crc32(repr(columns).encode()) & _HIGH or 1) << 32 | checksum


def is_in_its_place(checksum: int, *columns: int | None) -> bool:
    """Returns whether a row's other columns are what was written; rows of before say nothing of them."""
    return checksum <= _LOW or with_place(checksum & _LOW, *columns) == checksum


def is_whole_row(digest: object, checksum: object, envelope: object) -> bool:
    """Returns whether a row's bytes are those that were written.

    Raises:
        ValueError: they are no bytes at all: not this row, its page is damaged.
    """
    if type(digest) is not bytes or type(envelope) is not bytes:
        raise ValueError("a row of its table batch has other types than were written")
    return type(checksum) is int and row_checksum(digest, envelope) == checksum & _LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One epoch as the spool knows it."""

    no: int
    epoch: bytes
    reason: str
    boot_id: bytes
    boot_counter: int
    #: monotonic us of its boot
    started_us: int
    #: the agent's running time over all its starts, seconds: what retention is measured by
    started_uptime_s: int
    is_volatile: bool = False

    @property
    def age_key(self) -> tuple[int, int, int]:
        """Orders epochs by age: boots by counter, starts within a boot by its monotonic clock."""
        return self.boot_counter, self.started_us, self.no


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """A batch as it lies in the spool."""

    id: int
    digest: bytes
    readings: int
    envelope: bytes
    #: whether its bytes are those that were written
    is_whole: bool = True

    @property
    def lane(self) -> Lane:
        return split_id(self.id)[1]

    @property
    def seq(self) -> int:
        return split_id(self.id)[2]


@dataclass(slots=True, kw_only=True)
class LaneView:
    """What is known of one lane of one epoch."""

    head: Head
    #: receipted
    delivered: Ranges
    #: no longer sent because a loss record stands for them
    lost: Ranges = field(default_factory=Ranges)
    #: receipted once and removed since: they cannot be sent again, whatever a restored collector lacks
    released: Ranges = field(default_factory=Ranges)
    #: all three: what does not wait
    settled: Ranges = field(init=False)

    def __post_init__(self) -> None:
        self.settled = Ranges([*self.delivered, *self.lost, *self.released])


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A range that is not in the spool, and why.  ``digest`` is that of batch ``last``."""

    epoch_no: int
    lane: Lane
    first: int
    last: int
    digest: bytes
    readings: int
    #: ``released`` after a receipt, else the cause of a loss record
    cause: str
    #: bytes of their envelopes, where somebody asked for it
    size: int = 0


def loss_record(
    gone: Gone, epoch: bytes, cause: str = "", *, thinned_into: tuple[bytes, int] | None = None
) -> LossRecord:
    """Returns the record that stands for a range; ``cause`` where it is another than the range's own."""
    return LossRecord(
        epoch=epoch,
        lane=gone.lane,
        first=gone.first,
        last=gone.last,
        digest=gone.digest,
        readings=gone.readings,
        cause=cause or gone.cause,
        thinned_into=thinned_into,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Batches of one lane that may go."""

    epoch_no: int
    lane: Lane
    #: seqs, ascending
    ranges: Sequence[tuple[int, int]]
    #: batches whose newest sample is later stay (monotonic us); None: no such bound
    keep_after_us: int | None = None
    #: batches with a sample in one of these spans (monotonic us, ascending, apart) stay
    spared: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the spool found when it was opened."""

    epochs: tuple[EpochRow, ...]
    lanes: dict[tuple[int, Lane], LaneView]
    state: dict[str, bytes]
    catalogues: frozenset[bytes]
    #: sentence about a file that was put aside, or None
    put_aside: str | None
    #: what could still be read of that file
    before: Opened | None = None
    #: sentence about anything else that is not as it was left
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Everything that becomes durable together."""

    epoch_no: int
    #: epochs to be there; one that is known by its bytes is left as it is
    epochs: Sequence[EpochRow] = ()
    batches: Sequence[Sealed] = ()
    #: small state by key
    state: dict[str, bytes] = field(default_factory=dict)
    #: whole replacement of the delivered ranges of a lane
    delivered: dict[tuple[int, Lane], tuple[tuple[int, int], ...]] = field(default_factory=dict)
    #: (hash, envelope)
    catalogue: tuple[bytes, bytes] | None = None
    #: ranges to remove because a loss record in ``batches`` now stands for them
    drop: Sequence[tuple[int, LossRecord]] = ()
    #: ranges that never came here, or whose rows stay although nobody can use them
    gone: Sequence[Gone] = ()
