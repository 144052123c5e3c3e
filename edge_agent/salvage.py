"""Salvage: what a damaged spool still proves, sealed again so that it can be sent.

    pages -> rows -> signature right? -> not receipted? -> sealed again, origin ``recovered``

A batch counts only when this gateway's own signature fits its bytes; so nothing that a damaged
disk made up can come back.  Each epoch of the file gets one salvage epoch of its own: genesis
``salvage``, boot, times, anchors and sections as they were, and in each batch a loss record that names the batch
it was made from.  A batch that was thinned stays ``thinned``.  Where the batch behind a hole is there, the hole is
signed for too, unless the file says that it was receipted or signed for before.

The same file gives the same epochs and the same bytes: they are made from what was found and from
nothing else, so that salvaging twice adds nothing anywhere.  The damaged file is only read.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.batch import (
    NO_HEAD,
    Genesis,
    Head,
    Header,
    Lane,
    LossRecord,
    Origin,
    Section,
    decode_batch,
)
from contracts.catalogue import Catalogue
from contracts.envelope import Opened as OpenedEnvelope
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError, TooLargeError
from contracts.fields import Fields, pack, unpack
from contracts.keys import Signer, Verifier
from edge_agent.errors import SpoolError
from edge_agent.ranges import Ranges
from edge_agent.seal import Sealed
from edge_agent.spool_pages import BatchRow, Place, SpoolPages
from edge_agent.spool_records import SALVAGE, Opened, split_id

#: cause on the wire (docs/wire-format.md)
CAUSE = "damaged"

Keys = Mapping[bytes, Verifier]
ChainKey = tuple[bytes, Lane]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """One batch whose signature fits; its bytes stay in the file."""

    place: Place
    digest: bytes
    previous: bytes
    sealed_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Batches that should be in the file and are not."""

    epoch: bytes
    lane: Lane
    first: int
    last: int


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a damaged file holds."""

    #: (epoch, lane) -> seq -> batch
    chains: dict[ChainKey, dict[int, Proved]] = field(default_factory=dict)
    catalogues: dict[bytes, bytes] = field(default_factory=dict)
    #: rows that are as they were written and that this gateway did not sign
    foreign: int = 0
    #: what the file says of receipts and of ranges signed for; None where that cannot be read
    settled: dict[ChainKey, Ranges] | None = None
    #: which collector receipted last, by the file
    collector: bytes = b""

    @property
    def batches(self) -> int:
        """How many are proved."""
        return sum(len(chain) for chain in self.chains.values())

    def is_settled(self, epoch: bytes, lane: Lane, seq: int) -> bool:
        """Returns whether the file says that a batch need not be sent again."""
        return self.settled is not None and seq in self.settled.get((epoch, lane), Ranges())

    def wanted(self, epoch: bytes, lane: Lane) -> list[int]:
        """Returns the seqs of a chain that are to be sealed again, ascending."""
        return [seq for seq in sorted(self.chains.get((epoch, lane), {})) if not self.is_settled(epoch, lane, seq)]

    def holes(self) -> list[Hole]:
        """Returns what is missing below the newest proved batch of each chain; what is above, nobody knows."""
        found = []
        for (epoch, lane), chain in sorted(self.chains.items()):
            here = Ranges() if self.settled is None else Ranges(self.settled.get((epoch, lane), Ranges()))
            for seq in chain:
                here.add(seq, seq)
            found += [Hole(epoch=epoch, lane=lane, first=a, last=b) for a, b in here.missing(max(chain))]
        return found


def survey(pages: SpoolPages, keys: Keys, gateway: str, remains: Opened | None) -> Survey:
    """Reads and verifies everything that a damaged file still holds.

    Args:
        keys: of this gateway.
        remains: what SQLite could still read of the small tables; None where it could not.
    """
    found = Survey()
    seen: set[bytes] = set()
    numbers: dict[int, bytes] = {}
    for row in pages.batches():
        if row.digest in seen:
            continue
        opened = _opened(row, keys)
        if opened is None or opened.digest != row.digest:
            found.foreign += 1
            continue
        seen.add(opened.digest)
        try:
            header = Header.from_wire(Fields("batch", unpack(opened.body), 2).raw())
            decode_batch(opened.body, header.lane.type)
        except ContractError:
            found.foreign += 1
            continue
        if header.gateway != gateway:
            found.foreign += 1
            continue
        number, lane, seq = split_id(row.id)
        if (lane, seq) == (header.lane, header.seq):
            numbers[number] = header.epoch
        proved = Proved(place=row.place, digest=opened.digest, previous=header.previous, sealed_us=header.sealed_us)
        found.chains.setdefault((header.epoch, header.lane), {}).setdefault(header.seq, proved)
    for hash, envelope in pages.catalogues():
        if hash not in found.catalogues and _is_catalogue(hash, envelope, keys):
            found.catalogues[hash] = envelope
    if remains is not None:
        found.settled = _settled(remains, numbers)
    return found


def _opened(row: BatchRow, keys: Keys) -> OpenedEnvelope | None:
    for type in (Type.DATA_BATCH, Type.ALARM_BATCH):
        try:
            return open_envelope(row.envelope, type, keys)
        except ContractError:
            continue
    return None


def _is_catalogue(hash: bytes, envelope: bytes, keys: Keys) -> bool:
    try:
        return Catalogue.from_body(open_envelope(envelope, Type.CATALOGUE, keys).body).hash == hash
    except ContractError:
        return False


def _settled(remains: Opened, numbers: Mapping[int, bytes]) -> dict[ChainKey, Ranges]:
    names = {row.no: row.epoch for row in remains.epochs} | dict(numbers)
    found: dict[ChainKey, Ranges] = {}
    for (number, lane), view in remains.lanes.items():
        # A range beyond the head is no receipt of ours: the row was damaged.
        ranges = [(first, last) for first, last in view.settled if last <= view.head.seq]
        found[names[number], lane] = Ranges(ranges)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SalvageEpoch:
    """One epoch of the file, to be sealed again."""

    epoch: bytes
    #: of the file
    source: bytes
    #: in the order of sealing: (lane, seq)
    batches: tuple[tuple[Lane, int], ...]


def salvage_epochs(found: Survey, version: str) -> list[SalvageEpoch]:
    """Returns what is to be sealed again, one epoch of the file after the other."""
    made = []
    for source in sorted({epoch for epoch, _ in found.chains}):
        order = sorted(
            (found.chains[source, lane][seq].sealed_us, lane, seq)
            for lane in Lane
            for seq in found.wanted(source, lane)
        )
        # A lane goes by its own numbers; times only decide between the lanes.
        lanes = {lane: iter(found.wanted(source, lane)) for lane in Lane}
        batches = tuple((lane, next(lanes[lane])) for _, lane, _ in order)
        if batches:
            # Compression belongs to the bytes that are signed, and its library to compression.
            name = hashlib.sha256(f"{SALVAGE}\0{version}\0{zlib.ZLIB_RUNTIME_VERSION}\0".encode() + source)
            for lane, seq in batches:
                name.update(found.chains[source, lane][seq].digest)
            made.append(SalvageEpoch(epoch=name.digest()[:8], source=source, batches=batches))
    return made


class Resealer:
    """Seals the batches of one salvage epoch."""

    def __init__(self, pages: SpoolPages, found: Survey, made: SalvageEpoch, signer: Signer, version: str) -> None:
        """Takes what it needs; reads nothing yet."""
        self._pages, self._found, self._made, self._signer = pages, found, made, signer
        self._version = version
        self._heads: dict[Lane, Head] = {Lane.ALARM: NO_HEAD, Lane.DATA: NO_HEAD}
        self._holes = {(hole.epoch, hole.lane, hole.last): hole for hole in found.holes()}
        #: header of the first batch that was sealed again
        self.first: Header | None = None
        #: readings sealed again; batches that do not fit any more with their loss record
        self.readings = self.too_large = 0

    def seal(self, keys: Keys) -> Iterator[Sealed]:
        """Yields the batches in order.

        Raises:
            SpoolError: the file changed since it was looked at.
        """
        for lane, seq in self._made.batches:
            proved = self._found.chains[self._made.source, lane][seq]
            row = self._pages.read(proved.place)
            if row is None or row.digest != proved.digest:
                raise SpoolError("the file changed while it was read")
            try:
                sealed = self._seal_one(row, proved, open_envelope(row.envelope, lane.type, keys).body)
            except TooLargeError:
                self.too_large += 1
                continue
            self.readings += sealed.readings
            yield sealed

    def _seal_one(self, row: BatchRow, proved: Proved, body: bytes) -> Sealed:
        raw: Any = unpack(body)
        old = Header.from_wire(raw[0])
        lane = old.lane
        before = self._heads[lane]
        header = Header(
            gateway=old.gateway,
            epoch=self._made.epoch,
            lane=lane,
            seq=before.seq + 1,
            previous=before.digest,
            other=self._heads[Lane(1 - lane)],
            boot_id=old.boot_id,
            boot_counter=old.boot_counter,
            sealed_us=old.sealed_us,
            anchors=old.anchors,
            catalogue=old.catalogue,
            origin=Origin.THINNED if old.origin is Origin.THINNED else Origin.RECOVERED,
            readings=old.readings,
            genesis=Genesis(version=self._version, reason=SALVAGE, parent=None) if before.seq == 0 else None,
        )
        losses = [loss.to_wire() for loss in self._losses(old, proved, header)]
        sections = [list(section) for section in raw[1]]
        held = next((section for section in sections if section[0] == Section.LOSSES), None)
        if held is None:
            sections.append([int(Section.LOSSES), losses])
        else:
            held[1] = [*held[1], *losses]
        envelope, digest = seal(lane.type, pack([header.to_wire(), sections]), self._signer)
        self._heads[lane] = Head(seq=header.seq, digest=digest)
        self.first = self.first or header
        first_us, last_us = row.first_us, row.last_us
        if first_us is None or last_us is None or not first_us <= last_us <= old.sealed_us:
            first_us = last_us = old.sealed_us
        return Sealed(
            epoch=header.epoch,
            lane=lane,
            seq=header.seq,
            digest=digest,
            previous=before.digest,
            envelope=envelope,
            readings=old.readings,
            first_us=first_us,
            last_us=last_us,
            catalogue=header.catalogue,
        )

    def _losses(self, old: Header, proved: Proved, new: Header) -> Iterator[LossRecord]:
        hole = self._holes.get((old.epoch, old.lane, old.seq - 1))
        if hole is not None and self._found.settled is not None:
            # How many readings were in them nobody can say any more.
            yield LossRecord(
                epoch=old.epoch,
                lane=old.lane,
                first=hole.first,
                last=hole.last,
                digest=old.previous,
                readings=0,
                cause=CAUSE,
            )
        yield LossRecord(
            epoch=old.epoch,
            lane=old.lane,
            first=old.seq,
            last=old.seq,
            digest=proved.digest,
            readings=old.readings,
            cause=CAUSE,
            thinned_into=(new.epoch, new.seq),
        )
