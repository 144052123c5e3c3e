"""The spool: sealed batches on disk until the collector has signed for them.

The promise
-----------
* Durable when :meth:`Spool.commit` returns: the sealed batches, the alarm state and the
  delivery state of that call, all together or not at all.  SQLite in WAL mode with
  ``synchronous=FULL`` syncs the log before a commit returns.  Nothing is sent before that,
  except in a volatile epoch, which says so in its batches.
* A power cut costs what was not yet sealed: at most one seal interval of ordinary readings.
  An alarm is sealed at once.
* Nothing is released without a receipt that fits byte for byte: the digest in the receipt must be
  the digest of what lies here.
* When full: delivered history goes first (oldest first), then the oldest data, each range
  with a signed loss record in the same transaction.  Data stop growing at quota minus
  reserve, so that alarms go on; alarm batches go last of all.
* A file that is damaged is put aside and kept; the next epoch names the loss.  Nothing is deleted
  because it could not be read.
* Bytes that were sealed are never rewritten.

One thread uses one connection (see ``spool_thread.py``).  The connection comes from outside, so
that the crash tests hand in one on a file system of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import apsw

from contracts.batch import Head, Lane, LossRecord
from edge_agent.errors import SpoolError
from edge_agent.ranges import Ranges
from edge_agent.seal import Sealed

_LOG = logging.getLogger(__name__)

SCHEMA_VERSION = 1
#: small pages write less per small commit
_PAGE_BYTES = 1024
_LANE_BIT = 1 << 33
_EPOCH_SHIFT = 34
_SEQ_MASK = (1 << 33) - 1
#: rows removed in one transaction when making room
_PRUNE_ROWS = 500


def batch_id(epoch_no: int, lane: Lane, seq: int) -> int:
    """Returns the row id of a batch."""
    return (epoch_no << _EPOCH_SHIFT) | (int(lane) << 33) | seq


def split_id(row: int) -> tuple[int, Lane, int]:
    """Returns epoch number, lane and seq of a row id."""
    return row >> _EPOCH_SHIFT, Lane((row >> 33) & 1), row & _SEQ_MASK


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """A batch as it lies in the spool."""

    id: int
    digest: bytes
    readings: int
    envelope: bytes

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
    #: removed with a loss record
    lost: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the spool found when it was opened."""

    epochs: tuple[EpochRow, ...]
    lanes: dict[tuple[int, Lane], LaneView]
    state: dict[str, bytes]
    catalogues: frozenset[bytes]
    #: sentence about a file that was put aside, or None
    put_aside: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Everything that becomes durable together."""

    epoch_no: int
    batches: Sequence[Sealed] = ()
    #: small state by key
    state: dict[str, bytes] = field(default_factory=dict)
    #: whole replacement of the delivered ranges of a lane
    delivered: dict[tuple[int, Lane], tuple[tuple[int, int], ...]] = field(default_factory=dict)
    #: (hash, envelope)
    catalogue: tuple[bytes, bytes] | None = None
    #: ranges to remove because a loss record in ``batches`` now stands for them
    drop: Sequence[tuple[int, LossRecord]] = ()


class Spool:
    """Sealed batches in one SQLite file.  Not thread-safe: one thread owns it."""

    def __init__(self, connect: Callable[[], apsw.Connection], *, quota_bytes: int, reserve_bytes: int) -> None:
        """Remembers how to connect; opens nothing.

        Args:
            connect: opens the database; called again after an I/O error.
            quota_bytes: the most that batches may take.
            reserve_bytes: the part of it that only alarms may use.
        """
        self._connect = connect
        self._quota = quota_bytes
        self._reserve = reserve_bytes
        self._db: apsw.Connection | None = None
        self._used = 0

    # -- opening ---------------------------------------------------------------------

    def open(self) -> Opened:
        """Opens the file, applies the schema, reads what a new epoch must know.

        Raises:
            SpoolError: the file cannot be opened, is damaged, or is of another version.
        """
        try:
            db = self._connect()
            self._db = db
            db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            mode = db.execute("PRAGMA journal_mode=WAL").get
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA journal_size_limit=-1")
            db.execute("PRAGMA wal_autocheckpoint=2000")
            db.execute("PRAGMA mmap_size=0")
            if mode != "wal" or db.execute("PRAGMA synchronous").get != 2:
                raise SpoolError(f"the spool's journal mode is {mode!r}: WAL with FULL is needed to keep the promise")
            version = db.execute("PRAGMA user_version").get
            if version == 0:
                with db:
                    db.execute(files("edge_agent").joinpath("spool_schema.sql").read_text())
                    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise SpoolError(f"the spool has version {version}, this program knows {SCHEMA_VERSION}")
            return self._read_all(db)
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"the spool cannot be opened: {error}") from error

    def inventory(self) -> Opened:
        """Returns what lies in the spool now.

        Raises:
            SpoolError: the file cannot be read.
        """
        try:
            return self._read_all(self._open)
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"the spool could not be read: {error}") from error

    def _read_all(self, db: apsw.Connection) -> Opened:
        rows: list[Any] = db.execute(
            "SELECT no, epoch, reason, boot_id, boot_counter, started_us, started_uptime_s, is_volatile"
            " FROM epoch ORDER BY no"
        ).fetchall()
        epochs = tuple(
            EpochRow(
                no=no,
                epoch=epoch,
                reason=reason,
                boot_id=boot_id,
                boot_counter=counter,
                started_us=started,
                started_uptime_s=uptime,
                is_volatile=bool(volatile),
            )
            for no, epoch, reason, boot_id, counter, started, uptime, volatile in rows
        )
        lanes: dict[tuple[int, Lane], LaneView] = {}
        for row in epochs:
            for lane in Lane:
                lanes[row.no, lane] = LaneView(head=self._head(db, row.no, lane), delivered=Ranges())
        for no, lane, first, last in db.execute("SELECT epoch_no, lane, first, last FROM delivered"):
            lanes[no, Lane(lane)].delivered.add(first, last)
        for no, lane, first, last, cause in db.execute("SELECT epoch_no, lane, first, last, cause FROM gone"):
            if cause != "released":
                lanes[no, Lane(lane)].lost.add(first, last)
        self._used = db.execute("SELECT coalesce(sum(length(envelope)), 0) FROM batch").get
        state: dict[str, Any] = dict(db.execute("SELECT key, value FROM state").fetchall())  # type: ignore[arg-type]
        return Opened(
            epochs=epochs,
            lanes=lanes,
            state=state,
            catalogues=frozenset(hash for (hash,) in db.execute("SELECT hash FROM catalogue")),
            put_aside=None,
        )

    def _head(self, db: apsw.Connection, epoch_no: int, lane: Lane) -> Head:
        row = db.execute(
            "SELECT id, digest FROM batch WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (batch_id(epoch_no, lane, 1), batch_id(epoch_no, lane, _SEQ_MASK)),
        ).fetchone()
        gone = db.execute(
            "SELECT last, digest FROM gone WHERE epoch_no=? AND lane=? ORDER BY first DESC LIMIT 1",
            (epoch_no, int(lane)),
        ).fetchone()
        seq, digest = (split_id(row[0])[2], row[1]) if row else (0, b"")
        if gone and gone[0] > seq:
            seq, digest = gone
        return Head(seq=seq, digest=digest)

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        if self._db is not None:
            try:
                self._db.close(True)
            except apsw.Error as error:
                _LOG.warning("closing the spool: %s", error)
            self._db = None

    @property
    def _open(self) -> apsw.Connection:
        if self._db is None:
            self.open()
        assert self._db is not None
        return self._db

    # -- writing ---------------------------------------------------------------------

    def begin_epoch(self, row: EpochRow) -> None:
        """Writes a new epoch; an epoch already known by its bytes is left as it is.

        Raises:
            SpoolError: it is not durable.
        """
        self._write(lambda db: self._insert_epoch(db, row))

    @staticmethod
    def _insert_epoch(db: apsw.Connection, row: EpochRow) -> None:
        db.execute(
            "INSERT INTO epoch (no, epoch, reason, boot_id, boot_counter, started_us, started_uptime_s, is_volatile)"
            " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (epoch) DO NOTHING",
            (
                row.no,
                row.epoch,
                row.reason,
                row.boot_id,
                row.boot_counter,
                row.started_us,
                row.started_uptime_s,
                int(row.is_volatile),
            ),
        )

    def commit(self, commit: Commit) -> None:
        """Makes everything in ``commit`` durable together.

        Raises:
            SpoolError: nothing of it is durable; the connection was dropped and the same
                call may be made again.
        """

        def write(db: apsw.Connection) -> None:
            for epoch_no, loss in commit.drop:
                self._drop(db, epoch_no, loss)
            for sealed in commit.batches:
                self._insert_batch(db, commit.epoch_no, sealed)
            for key, value in commit.state.items():
                db.execute("INSERT OR REPLACE INTO state (key, value) VALUES (?,?)", (key, value))
            for (epoch_no, lane), ranges in commit.delivered.items():
                db.execute("DELETE FROM delivered WHERE epoch_no=? AND lane=?", (epoch_no, int(lane)))
                db.executemany(
                    "INSERT INTO delivered (epoch_no, lane, first, last) VALUES (?,?,?,?)",
                    [(epoch_no, int(lane), first, last) for first, last in ranges],
                )
            if commit.catalogue is not None:
                db.execute("INSERT OR IGNORE INTO catalogue (hash, envelope) VALUES (?,?)", commit.catalogue)

        self._write(write)
        self._used += sum(len(sealed.envelope) for sealed in commit.batches)

    @staticmethod
    def _insert_batch(db: apsw.Connection, epoch_no: int, sealed: Sealed) -> None:
        id = batch_id(epoch_no, sealed.lane, sealed.seq)
        try:
            db.execute(
                "INSERT INTO batch (id, digest, readings, first_us, last_us, envelope) VALUES (?,?,?,?,?,?)",
                (id, sealed.digest, sealed.readings, sealed.first_us, sealed.last_us, sealed.envelope),
            )
        except apsw.ConstraintError:
            # A commit that was durable although it returned an error is made again.
            if db.execute("SELECT digest FROM batch WHERE id=?", (id,)).get != sealed.digest:
                raise

    def _drop(self, db: apsw.Connection, epoch_no: int, loss: LossRecord) -> None:
        first, last = batch_id(epoch_no, loss.lane, loss.first), batch_id(epoch_no, loss.lane, loss.last)
        size = db.execute(
            "SELECT coalesce(sum(length(envelope)), 0) FROM batch WHERE id BETWEEN ? AND ?", (first, last)
        ).get
        db.execute("DELETE FROM batch WHERE id BETWEEN ? AND ?", (first, last))
        db.execute(
            "INSERT OR REPLACE INTO gone (epoch_no, lane, first, last, digest, readings, cause) VALUES (?,?,?,?,?,?,?)",
            (epoch_no, int(loss.lane), loss.first, loss.last, loss.digest, loss.readings, loss.cause),
        )
        self._used -= size

    def release(self, epoch_no: int, lane: Lane, first: int, last: int) -> int:
        """Removes receipted batches; their place stays provable.  Returns the rows removed.

        Raises:
            SpoolError: nothing was removed.
        """
        removed = 0

        def write(db: apsw.Connection) -> None:
            nonlocal removed
            low, high = batch_id(epoch_no, lane, first), batch_id(epoch_no, lane, last)
            rows: Any = db.execute(
                "SELECT count(*), coalesce(sum(length(envelope)), 0), coalesce(sum(readings), 0)"
                " FROM batch WHERE id BETWEEN ? AND ?",
                (low, high),
            ).fetchone()
            digest = db.execute("SELECT digest FROM batch WHERE id=?", (high,)).get
            if digest is None:
                return
            removed, size, readings = rows
            db.execute("DELETE FROM batch WHERE id BETWEEN ? AND ?", (low, high))
            before = db.execute(
                "SELECT first, readings FROM gone WHERE epoch_no=? AND lane=? AND last=? AND cause='released'",
                (epoch_no, int(lane), first - 1),
            ).fetchone()
            start, total = (before[0], before[1] + readings) if before else (first, readings)
            db.execute(
                "INSERT OR REPLACE INTO gone (epoch_no, lane, first, last, digest, readings, cause)"
                " VALUES (?,?,?,?,?,?,'released')",
                (epoch_no, int(lane), start, last, digest, total),
            )
            self._used -= size

        self._write(write)
        return removed

    def _write(self, work: Callable[[apsw.Connection], None]) -> None:
        try:
            db = self._open
            with db:
                work(db)
        except (apsw.Error, OSError) as error:
            # After a failed sync the same handle proves nothing: close it, open a new one.
            self.close()
            raise SpoolError(f"the spool could not be written: {error}") from error

    # -- reading ---------------------------------------------------------------------

    def read(
        self, epoch_no: int, lane: Lane, ranges: Iterable[tuple[int, int]], *, limit_bytes: int, limit_rows: int = 64
    ) -> list[StoredBatch]:
        """Returns batches of the given seq ranges in order, up to a size.

        Raises:
            SpoolError: the file cannot be read.
        """
        found: list[StoredBatch] = []
        size = 0
        try:
            for first, last in ranges:
                for id, digest, readings, envelope in self._open.execute(
                    "SELECT id, digest, readings, envelope FROM batch WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                    (batch_id(epoch_no, lane, first), batch_id(epoch_no, lane, last), limit_rows - len(found)),
                ):
                    found.append(StoredBatch(id=id, digest=digest, readings=readings, envelope=envelope))
                    size += len(envelope)
                    if size >= limit_bytes or len(found) >= limit_rows:
                        return found
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"the spool could not be read: {error}") from error
        return found

    def digest(self, epoch_no: int, lane: Lane, seq: int) -> bytes | None:
        """Returns the digest of a batch that is or was here, or None.

        Raises:
            SpoolError: the file cannot be read.
        """
        try:
            here = self._open.execute("SELECT digest FROM batch WHERE id=?", (batch_id(epoch_no, lane, seq),)).get
            if here is not None:
                return bytes(here)
            gone = self._open.execute(
                "SELECT digest FROM gone WHERE epoch_no=? AND lane=? AND last=?", (epoch_no, int(lane), seq)
            ).get
            return None if gone is None else bytes(gone)
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"the spool could not be read: {error}") from error

    def catalogue(self, hash: bytes) -> bytes | None:
        """Returns the signed envelope of a catalogue, or None."""
        try:
            envelope = self._open.execute("SELECT envelope FROM catalogue WHERE hash=?", (hash,)).get
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"the spool could not be read: {error}") from error
        return None if envelope is None else bytes(envelope)

    # -- room ------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Bytes of all sealed batches here."""
        return self._used

    def excess(self, lane: Lane) -> int:
        """Returns by how many bytes the spool is beyond what ``lane`` may use (<= 0: none)."""
        allowed = self._quota if lane is Lane.ALARM else self._quota - self._reserve
        return self._used - allowed

    def oldest(
        self,
        epoch_no: int,
        lane: Lane,
        ranges: Iterable[tuple[int, int]],
        *,
        want_bytes: int,
        keep_after_us: int | None,
    ) -> tuple[int, int, bytes, int] | None:
        """Returns the oldest run of neighbouring batches in ``ranges`` to remove.

        Args:
            ranges: seqs that may go, ascending.
            want_bytes: stop when this much would be freed.
            keep_after_us: rows whose newest sample is later stay; None: no such bound.

        Returns:
            (first, last, digest of last, readings), or None.
        """
        for first, last in ranges:
            start = end = 0
            digest, readings, size = b"", 0, 0
            for id, row_digest, row_readings, row_size, last_us in self._open.execute(
                "SELECT id, digest, readings, length(envelope), last_us FROM batch"
                " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (batch_id(epoch_no, lane, first), batch_id(epoch_no, lane, last), _PRUNE_ROWS),
            ):
                seq = split_id(id)[2]
                if end and seq != end + 1:
                    break
                if keep_after_us is not None and last_us is not None and last_us > keep_after_us:
                    break
                start = start or seq
                end, digest, readings, size = seq, row_digest, readings + row_readings, size + row_size
                if size >= want_bytes:
                    break
            if end:
                return start, end, digest, readings
        return None

    def check(self) -> str:
        """Returns ``ok`` or what SQLite's full check found."""
        rows = self._open.execute("PRAGMA integrity_check(20)").fetchall()
        return "\n".join(str(text) for (text,) in rows)
