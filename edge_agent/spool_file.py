"""The spool file, read by a person's command: in its own process, read-only, with sqlite-utils.

Never in the daemon: two SQLite libraries on one file in one process lose locks
(sqlite.org/howtocorrupt.html, section 2.2.1).  Reading beside the running agent is safe; WAL lets it.
What is here is checked and decoded, nothing is changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from contracts.batch import Anchor, Batch, Lane, decode_batch
from contracts.catalogue import Catalogue
from contracts.columns import block_number, decode_block
from contracts.envelope import Type, open_envelope
from contracts.errors import CatalogueMissingError, ContractError
from contracts.keys import Verifier
from contracts.quality import CODES, GOOD, quality_of
from edge_agent.errors import SpoolError
from edge_agent.open_store import read_collector
from edge_agent.ranges import Ranges

_LANE_SHIFT = 33
_EPOCH_SHIFT = 34
_SEQ_MASK = (1 << 33) - 1

Keys = Mapping[bytes, Verifier]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A range of batches that is no longer here."""

    first: int
    last: int
    #: of batch ``last``
    digest: bytes
    readings: int
    #: ``released`` after a receipt, else the cause of a signed loss record
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSummary:
    """One lane of one epoch, counted."""

    epoch_no: int
    epoch: bytes
    reason: str
    lane: Lane
    #: 0 where no batch is here
    first: int
    last: int
    batches: int
    readings: int
    bytes: int
    delivered: tuple[tuple[int, int], ...]
    gone: tuple[Gone, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneVerdict:
    """Whether what is here of one lane is whole and signed."""

    epoch_no: int
    epoch: bytes
    lane: Lane
    verified: int
    released: int
    #: replaced by a thinned form, with signed loss records
    thinned: int
    lost: int
    #: one sentence each
    problems: tuple[str, ...]


@contextmanager
def open_spool(path: Path) -> Iterator[SpoolFile]:
    """Opens a spool to read.

    Raises:
        SpoolError: there is none, or SQLite cannot read it.
    """
    if not path.is_file():
        raise SpoolError(f"{path}: there is no spool; the agent makes it at its first start")
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        yield SpoolFile(Database(connection))
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: cannot be read: {error}") from error
    finally:
        if connection is not None:
            connection.close()


class SpoolFile:
    """Reads, counts, decodes and checks one spool."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def collector(self) -> tuple[int, bytes] | None:
        """Returns since when (UTC us) and which collector epoch receipted last; None where none is known."""
        row = next(self._db.query("SELECT value FROM state WHERE key='collector'"), None)
        try:
            return None if row is None else read_collector(row["value"])
        except ValueError:
            return None

    def lanes(self) -> list[LaneSummary]:
        """Returns every lane that has or had a batch, oldest epoch first."""
        found = []
        for epoch in self._db.query("SELECT no, epoch, reason FROM epoch ORDER BY no"):
            for lane in Lane:
                summary = self._lane(epoch, lane)
                if summary.batches or summary.gone:
                    found.append(summary)
        return found

    def _lane(self, epoch: Mapping[str, Any], lane: Lane) -> LaneSummary:
        low, high = _rows(epoch["no"], lane)
        row = next(
            self._db.query(
                "SELECT count(*) AS batches, min(id) AS first, max(id) AS last, total(readings) AS readings,"
                " total(length(envelope)) AS bytes FROM batch WHERE id BETWEEN ? AND ?",
                (low, high),
            )
        )
        place = (epoch["no"], int(lane))
        delivered = Ranges(
            (item["first"], item["last"])
            for item in self._db.query("SELECT first, last FROM delivered WHERE epoch_no=? AND lane=?", place)
        )
        gone = self._db.query(
            "SELECT first, last, digest, readings, cause FROM gone WHERE epoch_no=? AND lane=? ORDER BY first", place
        )
        return LaneSummary(
            epoch_no=epoch["no"],
            epoch=epoch["epoch"],
            reason=epoch["reason"],
            lane=lane,
            first=(row["first"] or 0) & _SEQ_MASK,
            last=(row["last"] or 0) & _SEQ_MASK,
            batches=row["batches"],
            readings=int(row["readings"]),
            bytes=int(row["bytes"]),
            delivered=tuple(delivered),
            gone=tuple(Gone(**item) for item in gone),
        )

    def catalogues(self, keys: Keys) -> dict[bytes, Catalogue]:
        """Returns the stored catalogues that this gateway signed, by hash; others are left out."""
        found: dict[bytes, Catalogue] = {}
        for row in self._db.query("SELECT hash, envelope FROM catalogue"):
            try:
                body = open_envelope(row["envelope"], Type.CATALOGUE, keys).body
                document = Catalogue.from_body(body)
            except ContractError:
                continue
            if document.hash == row["hash"]:
                found[document.hash] = document
        return found

    def records(self, keys: Keys) -> Iterator[dict[str, Any]]:
        """Yields every sample and every alarm event as plain values, in the order of sealing.

        Wall times come from the batch's own anchor and carry the state of the clock then.

        Raises:
            SpoolError: a batch does not verify or cannot be decoded; what came before it was good.
        """
        catalogues = self.catalogues(keys)
        for row in self._db.query("SELECT id, digest, envelope FROM batch ORDER BY id"):
            lane = Lane(row["id"] >> _LANE_SHIFT & 1)
            where = f"epoch {row['id'] >> _EPOCH_SHIFT}, {lane.name.lower()} batch {row['id'] & _SEQ_MASK}"
            try:
                batch = decode_batch(open_envelope(row["envelope"], lane.type, keys).body, lane.type)
                yield from _records(batch, catalogues)
            except ContractError as error:
                raise SpoolError(f"{where}: {error}") from error

    def verify(self, keys: Keys, gateway: str) -> Iterator[LaneVerdict]:
        """Yields the verdict on each lane: every signature, every link, every hole."""
        for lane in self.lanes():
            yield self._verify_lane(lane, keys, gateway)

    def _verify_lane(self, lane: LaneSummary, keys: Keys, gateway: str) -> LaneVerdict:
        problems: list[str] = []
        #: digest of the batch before a seq, where it is known
        before: dict[int, bytes] = {1: b""}
        here = Ranges()
        for item in lane.gone:
            here.add(item.first, item.last)
            before[item.last + 1] = item.digest
        verified = 0
        rows = self._db.query(
            "SELECT id, digest, envelope FROM batch WHERE id BETWEEN ? AND ? ORDER BY id",
            _rows(lane.epoch_no, lane.lane),
        )
        top = max([0, *(item.last for item in lane.gone)])
        for row in rows:
            seq = row["id"] & _SEQ_MASK
            top = max(top, seq)
            here.add(seq, seq)
            try:
                opened = open_envelope(row["envelope"], lane.lane.type, keys)
                header = decode_batch(opened.body, lane.lane.type).header
            except ContractError as error:
                problems.append(f"batch {seq}: {error}")
                continue
            before[seq + 1] = opened.digest
            if opened.digest != row["digest"]:
                problems.append(f"batch {seq}: the stored digest is not that of its bytes")
            if (header.gateway, header.epoch, header.seq) != (gateway, lane.epoch, seq):
                problems.append(f"batch {seq}: it says that it is batch {header.seq} of another place")
            elif seq in before and header.previous != before[seq]:
                problems.append(f"batch {seq}: it does not follow the batch before it")
            else:
                verified += 1
            before.pop(seq, None)
        problems += [f"batches {first} to {last}: missing, no record says why" for first, last in here.missing(top)]
        went = dict.fromkeys(("released", "thinned", "lost"), 0)
        for item in lane.gone:
            went[item.cause if item.cause in went else "lost"] += item.last - item.first + 1
        return LaneVerdict(
            epoch_no=lane.epoch_no,
            epoch=lane.epoch,
            lane=lane.lane,
            verified=verified,
            released=went["released"],
            thinned=went["thinned"],
            lost=went["lost"],
            problems=tuple(problems),
        )


def _rows(epoch_no: int, lane: Lane) -> tuple[int, int]:
    low = (epoch_no << _EPOCH_SHIFT) | (int(lane) << _LANE_SHIFT)
    return low, low | _SEQ_MASK


def _records(batch: Batch, catalogues: Mapping[bytes, Catalogue]) -> Iterator[dict[str, Any]]:
    header = batch.header
    place = {"epoch": header.epoch.hex(), "lane": header.lane.name.lower(), "seq": header.seq}
    anchor = header.anchors[0] if header.anchors else None
    for event in batch.events:
        yield {
            "kind": "event",
            **place,
            "boot": event.boot_id.hex(),
            **_times(event.sampled_us, anchor if event.boot_id == header.boot_id else None),
            "point": event.point,
            "rule": event.rule_id,
            "state": event.state,
            "severity": event.severity,
            "scheme": event.scheme,
            "cause": event.cause,
            "value": event.value,
            "unit": event.unit,
            "limit": event.limit,
            "quality": quality_of(event.code).value,
        }
    if not batch.blocks:
        return
    document = catalogues.get(header.catalogue)
    if document is None:
        raise CatalogueMissingError("the catalogue that explains it is not in this spool")
    for raw in batch.blocks:
        number = block_number(raw)
        if number >= len(document.blocks):
            raise ContractError(f"block {number} is not in its catalogue")
        columns = decode_block(raw, document.kinds[number], header.sealed_us)
        for tick, sampled_us in enumerate(columns.times):
            for index, point_number in enumerate(document.blocks[number].points):
                point = document.points[point_number]
                code = GOOD if columns.codes is None else columns.codes[index][tick]
                value = columns.values[index][tick]
                yield {
                    "kind": "reading",
                    **place,
                    "boot": header.boot_id.hex(),
                    **_times(sampled_us, anchor),
                    "point": point.key,
                    "value": _engineering(value, point.kind, point.resolution),
                    "unit": point.unit,
                    "quality": quality_of(code).value,
                    "reason": CODES[code].reason,
                }


def _times(mono_us: int, anchor: Anchor | None) -> dict[str, Any]:
    if anchor is None:
        return {"mono_us": mono_us, "wall_us": None, "clock": None}
    return {"mono_us": mono_us, "wall_us": anchor.wall_us + mono_us - anchor.mono_us, "clock": anchor.state.value}


def _engineering(value: Any, kind: str, resolution: Fraction) -> float | None:
    if value is None:
        return None
    return float(value * resolution) if kind == "int" else float(value)
