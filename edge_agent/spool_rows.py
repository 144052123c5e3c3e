"""The spool's rows: the statements that write and remove them.  No transaction begins or ends here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from contracts.batch import Lane, LossRecord
from edge_agent.seal import Sealed
from edge_agent.spool_records import (
    DELIVERED_SUM,
    EpochRow,
    Gone,
    batch_id,
    row_checksum,
    with_place,
)


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
