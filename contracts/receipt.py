"""The receipt: the collector's signed word that it has committed what it lists.

A gateway forgets nothing without one.  ``contiguous`` names the last batch from 1 on of
which nothing is missing (present, refused, or covered by a signed loss record), ``also``
ranges beyond it.  Inside a range the chain proves the rest, so one digest at its end is
enough.  A receipt is ignored when its (collector epoch, serial) is older than one seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.batch import EPOCH_BYTES, Lane
from contracts.catalogue import HASH_BYTES
from contracts.errors import PayloadError
from contracts.fields import U32, Fields, pack, unpack
from contracts.keys import GATEWAY_ID

COLLECTOR_EPOCH_BYTES = 8
MAX_ALSO = 16
MAX_REFUSED = 64
MAX_WANTED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Batches ``first`` to ``last``, all committed; ``digest`` is that of ``last``."""

    first: int
    last: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A batch whose signature was right and whose content was not: kept in quarantine."""

    seq: int
    digest: bytes
    #: ``code`` of a class in contracts.errors
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the collector holds of one lane of one epoch."""

    gateway: str
    #: new after a restore from backup
    collector_epoch: bytes
    #: when that epoch began, UTC us; orders collector epochs
    collector_since_us: int
    #: grows by one with every receipt of this collector epoch
    serial: int
    epoch: bytes
    lane: Lane
    contiguous: int
    #: digest of batch ``contiguous``; empty when that is 0
    digest: bytes
    also: tuple[Range, ...] = ()
    refused: tuple[Refused, ...] = ()
    #: catalogues without which data batches wait
    wanted: tuple[bytes, ...] = ()
    #: UTC us by the collector's clock, for show
    issued_us: int = 0

    def to_body(self) -> bytes:
        return pack(
            [
                self.gateway,
                self.collector_epoch,
                self.collector_since_us,
                self.serial,
                self.epoch,
                int(self.lane),
                self.contiguous,
                self.digest,
                [[item.first, item.last, item.digest] for item in self.also],
                [[item.seq, item.digest, item.code] for item in self.refused],
                list(self.wanted),
                self.issued_us,
            ]
        )

    @classmethod
    def from_body(cls, body: bytes) -> Receipt:
        """Reads a verified receipt; raises PayloadError naming the field."""
        f = Fields("receipt", unpack(body), 12)
        gateway = f.text("gateway", 16, pattern=lambda t: GATEWAY_ID.fullmatch(t) is not None)
        collector_epoch = f.binary("collector_epoch", COLLECTOR_EPOCH_BYTES)
        since = f.integer("collector_since_us")
        serial = f.integer("serial", 1)
        epoch = f.binary("epoch", EPOCH_BYTES)
        lane = Lane(f.integer("lane", 0, 1))
        contiguous = f.integer("contiguous", 0, U32)
        digest = f.binary("digest", HASH_BYTES if contiguous else 0)
        also = tuple(_range(item) for item in f.items("also", MAX_ALSO))
        last = contiguous
        for item in also:
            if item.first <= last + 1:
                raise PayloadError("receipt.also: ranges grow and leave holes between them")
            last = item.last
        refused = tuple(_refused(item) for item in f.items("refused", MAX_REFUSED))
        wanted = f.items("wanted", MAX_WANTED)
        for item in wanted:
            if type(item) is not bytes or len(item) != HASH_BYTES:
                raise PayloadError(f"receipt.wanted: a catalogue hash has {HASH_BYTES} bytes")
        return cls(
            gateway=gateway,
            collector_epoch=collector_epoch,
            collector_since_us=since,
            serial=serial,
            epoch=epoch,
            lane=lane,
            contiguous=contiguous,
            digest=digest,
            also=also,
            refused=refused,
            wanted=tuple(wanted),
            issued_us=f.integer("issued_us"),
        )


def _range(value: Any) -> Range:
    f = Fields("receipt.also", value, 3)
    first = f.integer("first", 1, U32)
    return Range(first=first, last=f.integer("last", first, U32), digest=f.binary("digest", HASH_BYTES))


def _refused(value: Any) -> Refused:
    f = Fields("receipt.refused", value, 3)
    return Refused(seq=f.integer("seq", 1, U32), digest=f.binary("digest", HASH_BYTES), code=f.text("code", 32))
