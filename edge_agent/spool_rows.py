"""The spool's rows: the statements that write, find and remove them.  No transaction begins or ends here."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import apsw

from contracts.batch import Lane, LossRecord
from edge_agent.seal import Sealed
from edge_agent.spool_records import (
    DELIVERED_SUM,
    Candidate,
    EpochRow,
    Gone,
    batch_id,
    row_checksum,
    split_id,
    with_place,
)

#: rows removed in one transaction when making room
_PRUNE_ROWS = 500
#: runs of neighbours that go together, each with a record of its own
_MOST_RUNS = 20


def insert_epoch(db: apsw.Connection, row: EpochRow) -> None:
    """Writes an epoch, unless its bytes are known."""
    db.execute(
        "INSERT INTO epoch (no, epoch, reason, boot_id, boot_counter, started_us, started_uptime_s, is_volatile)"
        " SELECT ?,?,?,?,?,?,?,? WHERE NOT EXISTS (SELECT 1 FROM epoch WHERE epoch=?)",
        (
            row.no,
            row.epoch,
            row.reason,
            row.boot_id,
            row.boot_counter,
            row.started_us,
            row.started_uptime_s,
            int(row.is_volatile),
            row.epoch,
        ),
    )


def insert_batch(db: apsw.Connection, epoch_no: int, sealed: Sealed) -> None:
    """Writes a batch; the same batch again is harmless, another one in its place is an error."""
    id = batch_id(epoch_no, sealed.lane, sealed.seq)
    checksum = with_place(
        row_checksum(sealed.digest, sealed.envelope), id, sealed.readings, sealed.first_us, sealed.last_us
    )
    try:
        db.execute(
            "INSERT INTO batch (id, digest, readings, first_us, last_us, checksum, envelope) VALUES (?,?,?,?,?,?,?)",
            (id, sealed.digest, sealed.readings, sealed.first_us, sealed.last_us, checksum, sealed.envelope),
        )
    except apsw.ConstraintError:
        # A commit that was durable although it returned an error is made again.
        if db.execute("SELECT digest FROM batch WHERE id=?", (id,)).get != sealed.digest:
            raise


def insert_gone(db: apsw.Connection, gone: Gone) -> None:
    """Remembers a range that is not here."""
    db.execute(
        "INSERT OR REPLACE INTO gone (epoch_no, lane, first, last, digest, readings, cause) VALUES (?,?,?,?,?,?,?)",
        (gone.epoch_no, int(gone.lane), gone.first, gone.last, gone.digest, gone.readings, gone.cause),
    )


def write_delivered(db: apsw.Connection, delivered: Mapping[tuple[int, Lane], Sequence[tuple[int, int]]]) -> None:
    """Replaces the receipted ranges of some lanes."""
    for (epoch_no, lane), ranges in delivered.items():
        db.execute("DELETE FROM delivered WHERE epoch_no=? AND lane=?", (epoch_no, int(lane)))
        db.executemany(
            "INSERT INTO delivered (epoch_no, lane, first, last) VALUES (?,?,?,?)",
            [(epoch_no, int(lane), first, last) for first, last in ranges],
        )
    if delivered:
        note_delivered(db)


def forget_delivered(db: apsw.Connection) -> None:
    """Forgets what was receipted: what is here is sent again, which costs nothing but the link."""
    db.execute("DELETE FROM delivered")
    note_delivered(db)


def note_delivered(db: apsw.Connection) -> None:
    """Remembers the sum of what was receipted: a bit there would let batches go that nobody has."""
    db.execute("INSERT OR REPLACE INTO state (key, value) VALUES (?,?)", (DELIVERED_SUM, _delivered_sum(db)))


def is_delivered_whole(db: apsw.Connection) -> bool:
    """Returns whether what was receipted is what was written; where no sum was ever kept it is taken for that."""
    kept = db.execute("SELECT value FROM state WHERE key=?", (DELIVERED_SUM,)).get
    return kept is None or kept == _delivered_sum(db)


def _delivered_sum(db: apsw.Connection) -> bytes:
    rows = db.execute("SELECT epoch_no, lane, first, last FROM delivered ORDER BY epoch_no, lane, first").fetchall()
    return zlib.crc32(repr(rows).encode()).to_bytes(4, "big")


def note_records(db: apsw.Connection, epoch_no: int, sealed: Sealed) -> None:
    """Remembers which batch carries a loss record."""
    for loss in sealed.losses:
        db.execute(
            "UPDATE gone SET record_id=? WHERE epoch_no=(SELECT no FROM epoch WHERE epoch=?)"
            " AND lane=? AND first=? AND last=?",
            (batch_id(epoch_no, sealed.lane, sealed.seq), loss.epoch, int(loss.lane), loss.first, loss.last),
        )


def drop(db: apsw.Connection, epoch_no: int, loss: LossRecord) -> None:
    """Removes the batches that a loss record stands for; it takes the place of records of parts of its range."""
    remove(db, batch_id(epoch_no, loss.lane, loss.first), batch_id(epoch_no, loss.lane, loss.last))
    db.execute(
        "DELETE FROM gone WHERE epoch_no=? AND lane=? AND first BETWEEN ? AND ?",
        (epoch_no, int(loss.lane), loss.first, loss.last),
    )
    insert_gone(
        db,
        Gone(
            epoch_no=epoch_no,
            lane=loss.lane,
            first=loss.first,
            last=loss.last,
            digest=loss.digest,
            readings=loss.readings,
            cause=loss.cause,
        ),
    )


def remove(db: apsw.Connection, low: int, high: int) -> tuple[int, int]:
    """Removes rows; returns how many, and their readings."""
    rows: Any = db.execute(
        "SELECT count(*), coalesce(sum(readings), 0) FROM batch WHERE id BETWEEN ? AND ?", (low, high)
    ).fetchone()
    db.execute("DELETE FROM batch WHERE id BETWEEN ? AND ?", (low, high))
    return int(rows[0]), int(rows[1])


def oldest_run(db: apsw.Connection, candidate: Candidate, want_bytes: int) -> Gone | None:
    """Returns the first run of neighbours that may go, at most ``_PRUNE_ROWS`` or some ``want_bytes``."""
    return next(_runs(db, candidate, want_bytes), None)


def oldest_runs(db: apsw.Connection, candidate: Candidate, want_bytes: int, least_bytes: int) -> list[Gone]:
    """Returns the first runs that together free some ``want_bytes``; none where all free less than ``least_bytes``."""
    found: list[Gone] = []
    size = rows = 0
    for run in _runs(db, candidate, want_bytes):
        found.append(run)
        size += run.size
        rows += run.last - run.first + 1
        if size >= want_bytes or rows >= _PRUNE_ROWS or len(found) >= _MOST_RUNS:
            if size >= least_bytes:
                break
            # What frees next to nothing is passed over: its records would cost as much.
            found, size, rows = [], 0, 0
    return found if size >= least_bytes else []


def _runs(db: apsw.Connection, candidate: Candidate, want_bytes: int) -> Iterator[Gone]:
    no, lane = candidate.epoch_no, candidate.lane
    run: Gone | None = None
    for low, high in candidate.ranges:
        rows: Any = db.execute(
            "SELECT id, digest, readings, length(envelope), first_us, last_us FROM batch"
            " WHERE id BETWEEN ? AND ? ORDER BY id",
            (batch_id(no, lane, low), batch_id(no, lane, high)),
        )
        for id, digest, readings, size, first_us, last_us in rows:
            if candidate.keep_after_us is not None and last_us is not None and last_us > candidate.keep_after_us:
                break
            if last_us is not None and touches(candidate.spared, first_us, last_us):
                continue
            seq = split_id(id)[2]
            one = Gone(
                epoch_no=no,
                lane=lane,
                first=seq,
                last=seq,
                digest=digest,
                readings=readings,
                cause="released",
                size=size,
            )
            longer = None if run is None else _joined(run, one)
            if run is not None and longer is None:
                yield run
            run = longer or one
            if run.size >= want_bytes or run.last - run.first + 1 >= _PRUNE_ROWS:
                yield run
                run = None
    if run is not None:
        yield run


def _joined(run: Gone, one: Gone) -> Gone | None:
    if one.first != run.last + 1:
        return None
    return replace(one, first=run.first, readings=run.readings + one.readings, size=run.size + one.size)


def touches(spans: Sequence[tuple[int, int]], first_us: int, last_us: int) -> bool:
    """Returns whether one of the spans (ascending, apart) has a moment from ``first_us`` to ``last_us``."""
    place = bisect_right(spans, last_us, key=lambda span: span[0]) - 1
    return place >= 0 and spans[place][1] >= first_us
