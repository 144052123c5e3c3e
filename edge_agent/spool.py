"""The spool: sealed batches on disk until the collector has signed for them.

The promise
-----------
* Durable when :meth:`Spool.commit` returns: the sealed batches, the alarm state and the
  delivery state of that call, all together or not at all.  SQLite in WAL mode with
  ``synchronous=FULL`` syncs the log before a commit returns.  Nothing is sent before that,
  except in a volatile epoch, which says so in its batches.
* After an I/O error, and whenever a process opens the file, the log is written over itself and synced before
  anything is written behind it (``spool_log.py``): a sync that failed is not made good by the next one.
* A power cut costs what was not yet sealed: at most one seal interval of ordinary readings.
  An alarm is sealed at once.
* Nothing is released without a receipt that fits byte for byte: the digest in the receipt must be
  the digest of what lies here.
* When full: delivered history goes first (oldest first).  Then quiet data are thinned: a new batch
  with some of their samples takes the place of whole ranges.  Then the oldest data away from any
  alarm go, then data within 60 s of an alarm.  Each range goes with a signed loss record in the
  same transaction.  Data stop growing at quota minus reserve, so that alarms go on; alarm batches
  go last of all.  The quota is of the file's pages in use; SQLite's log of some 2 MB lies
  beside it.
* A row whose bytes are no longer those that were written is never sent; a signed loss record names it
  and the row stays.  A file that is damaged is renamed and kept (``put_aside.py``), service goes on in a new
  one with a new epoch, and ``edge-agent spool salvage`` brings back what its signatures still prove.
  Nothing is deleted because it could not be read.
* Bytes that were sealed are never rewritten.

``docs/durability.md`` says the same for people, with the test that shows each sentence.

One thread uses one connection (see ``spool_thread.py``).  The connection comes from outside, so
that the crash tests hand in one on a file system of their own.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import apsw

from contracts.batch import Lane
from edge_agent.errors import SpoolError
from edge_agent.spool_log import empty_log, write_log_again
from edge_agent.spool_open import file_bytes, grow_log, is_log_long, look_over, prepare, read_all, used_bytes
from edge_agent.spool_records import (
    SEQ_MASK,
    Candidate,
    Commit,
    EpochRow,
    Gone,
    LaneView,
    Opened,
    StoredBatch,
    batch_id,
    is_whole_row,
    split_id,
)
from edge_agent.spool_rows import (
    drop,
    forget_delivered,
    insert_batch,
    insert_epoch,
    insert_gone,
    is_delivered_whole,
    note_delivered,
    note_records,
    remove,
    write_delivered,
)
from edge_agent.transaction import transaction

__all__ = [
    "Candidate",
    "Commit",
    "EpochRow",
    "Gone",
    "LaneView",
    "Opened",
    "Spool",
    "StoredBatch",
    "batch_id",
    "split_id",
]

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Spool:
    """Sealed batches in one SQLite file.  Not thread-safe: one thread owns it."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        """Remembers how to connect; opens nothing.

        Args:
            connect: opens the database; called again after an I/O error.
        """
        self._connect = connect
        self._db: apsw.Connection | None = None
        self._used = 0
        #: whether the disk may have failed to write or sync: what its log shows need not be on it.  Of the process
        #: that had the file before nobody knows
        self._is_doubtful = True
        #: pages in the log, as of the last commit
        self._log_pages = 0
        #: how often in a row the disk has failed while the log was moved
        self._failed_moves = 0
        #: whether an epoch lies in the file, as of the last successful call
        self.has_epochs = False

    # -- opening ---------------------------------------------------------------------

    def open(self) -> Opened:
        """Opens the file, applies the schema, reads what a new epoch must know.

        Raises:
            SpoolError: the file cannot be opened, is damaged, or is of another version.
        """
        self.close()
        try:
            db = self._db = self._connect()
            if self._is_doubtful:
                self._write_log_again(db)
            prepare(db)
            db.set_wal_hook(self._note_log)
            look_over(db)
            if not is_delivered_whole(db):
                _LOG.error("what was receipted is no longer what was written here: all of it is sent again")
                with transaction(db):
                    forget_delivered(db)
            self._used = used_bytes(db)
            opened = read_all(db)
            self.has_epochs = bool(opened.epochs)
            return opened
        except SpoolError:
            self.leave()
            raise
        except (apsw.Error, OSError, ValueError, KeyError, TypeError) as error:
            # ValueError, KeyError and TypeError: rows that no version of this program wrote.
            self._fail(error)
            raise SpoolError(f"the spool cannot be opened: {error}") from error

    def _write_log_again(self, db: apsw.Connection) -> int:
        size = write_log_again(db)
        self._is_doubtful = False
        return size

    def inventory(self) -> Opened:
        """Returns what lies in the spool now.

        Raises:
            SpoolError: the file cannot be read.
        """
        return self.ask(read_all)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._db is not None

    def close(self) -> None:
        """Closes the file with nothing left in its log; safe to call twice."""
        if self._db is not None:
            try:
                empty_log(self._db)
            except apsw.IOError as error:
                self._fail(error)
            except apsw.Error:
                pass
        self._shut()

    def _shut(self) -> None:
        if self._db is not None:
            try:
                self._db.close(True)
            except apsw.Error as error:
                _LOG.warning("closing the spool: %s", error)
            self._db = None

    def leave(self) -> None:
        """Closes the file after an error; its log is not moved into it, in case one of them is damaged."""
        if self._db is not None:
            with contextlib.suppress(apsw.Error):
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._shut()

    def _fail(self, error: Exception) -> None:
        self._is_doubtful = self._is_doubtful or isinstance(error, apsw.IOError)
        self.leave()

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
        self._write(lambda db: insert_epoch(db, row))
        self.has_epochs = True

    def commit(self, commit: Commit) -> None:
        """Makes everything in ``commit`` durable together.

        Raises:
            SpoolError: nothing of it is durable; the connection was dropped and the same
                call may be made again.
        """

        def write(db: apsw.Connection) -> None:
            for row in commit.epochs:
                insert_epoch(db, row)
            for epoch_no, loss in commit.drop:
                drop(db, epoch_no, loss)
            for sealed in commit.batches:
                insert_batch(db, commit.epoch_no, sealed)
            for gone in commit.gone:
                insert_gone(db, gone)
            for sealed in commit.batches:
                note_records(db, commit.epoch_no, sealed)
            for key, value in commit.state.items():
                db.execute("INSERT OR REPLACE INTO state (key, value) VALUES (?,?)", (key, value))
            write_delivered(db, commit.delivered)
            if commit.catalogue is not None:
                db.execute("INSERT OR IGNORE INTO catalogue (hash, envelope) VALUES (?,?)", commit.catalogue)

        self._write(write)
        self.has_epochs = self.has_epochs or bool(commit.epochs)

    def release(self, epoch_no: int, lane: Lane, first: int, last: int) -> int:
        """Removes receipted batches; their place stays provable.  Returns the rows removed.

        Raises:
            SpoolError: nothing was removed.
        """

        def write(db: apsw.Connection) -> int:
            low, high = batch_id(epoch_no, lane, first), batch_id(epoch_no, lane, last)
            digest: Any = db.execute("SELECT digest FROM batch WHERE id=?", (high,)).get
            if digest is None:
                return 0
            removed, readings = remove(db, low, high)
            before: Any = db.execute(
                "SELECT first, readings FROM gone WHERE epoch_no=? AND lane=? AND last=? AND cause='released'",
                (epoch_no, int(lane), first - 1),
            ).fetchone()
            start, total = (before[0], before[1] + readings) if before else (first, readings)
            # Ranges inside (a damaged row that is receipted now) are part of this one from here on.
            db.execute(
                "DELETE FROM gone WHERE epoch_no=? AND lane=? AND first BETWEEN ? AND ?",
                (epoch_no, int(lane), first, last),
            )
            insert_gone(
                db,
                Gone(
                    epoch_no=epoch_no,
                    lane=lane,
                    first=start,
                    last=last,
                    digest=digest,
                    readings=total,
                    cause="released",
                ),
            )
            return removed

        return self._write(write)

    def forget(self, epoch_nos: Sequence[int]) -> None:
        """Removes epochs of which no batch is left here.

        Raises:
            SpoolError: nothing was removed.
        """

        def write(db: apsw.Connection) -> None:
            for no in epoch_nos:
                bounds = (batch_id(no, Lane.ALARM, 0), batch_id(no, Lane.DATA, SEQ_MASK))
                if db.execute("SELECT 1 FROM batch WHERE id BETWEEN ? AND ? LIMIT 1", bounds).get is None:
                    db.execute("DELETE FROM delivered WHERE epoch_no=?", (no,))
                    db.execute("DELETE FROM gone WHERE epoch_no=?", (no,))
                    db.execute("DELETE FROM epoch WHERE no=?", (no,))
            note_delivered(db)

        self._write(write)

    def checkpoint(self) -> None:
        """Moves the log into the file, so that the log's own space can be used again.

        Raises:
            SpoolError: there is no room for that either.
        """
        self.ask(lambda db: db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART))

    def take_pages(self) -> None:
        """Takes some 2 MB of the disk as free pages of the file, so that nobody else can have them.

        Raises:
            SpoolError: there is no room for that.
        """
        self.ask(grow_log)

    def settle_growth(self, held_bytes: int) -> None:
        """Moves the log into the file where that makes it longer than ``held_bytes``: later it may find no room.

        Raises:
            SpoolError: there is none now.
        """
        if self.ask(file_bytes) > held_bytes:
            self.checkpoint()

    def _write(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            db = self._open
            with transaction(db):
                answer = work(db)
            self._used = used_bytes(db)
            self._move_log(db)
            return answer
        except (apsw.Error, OSError) as error:
            # After a failed sync the same handle proves nothing: close it, open a new one.
            self._fail(error)
            raise SpoolError(f"the spool could not be written: {error}") from error

    def _note_log(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _move_log(self, db: apsw.Connection) -> None:
        """Moves a long log into the file; what was committed is durable whatever becomes of that.

        SQLite would do it by itself, and keep to itself that a sync failed.  Where the disk fails it is tried again
        with a log of twice the length: each time the whole log is written again.
        """
        if not is_log_long(db, self._log_pages >> self._failed_moves):
            return
        try:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._failed_moves = 0
        except apsw.IOError as error:
            self._failed_moves += 1
            _LOG.error("the spool's log could not be moved into its file (%s): it is opened anew", error)
            self._fail(error)
        except apsw.Error as error:
            # Somebody reads, or the file cannot grow: the log goes on, and so do commits as long as it can.
            _LOG.debug("the spool's log was not moved into its file: %s", error)

    # -- reading ---------------------------------------------------------------------

    def ask(self, work: Callable[[apsw.Connection], T]) -> T:
        """Returns what ``work`` finds in the file; it writes nothing that must be durable.

        Raises:
            SpoolError: the file cannot be read.
        """
        try:
            return work(self._open)
        except (apsw.Error, OSError, ValueError) as error:
            # ValueError: as in ``open``.
            self._fail(error)
            raise SpoolError(f"the spool could not be read: {error}") from error

    def read(
        self, epoch_no: int, lane: Lane, ranges: Iterable[tuple[int, int]], *, limit_bytes: int, limit_rows: int = 64
    ) -> list[StoredBatch]:
        """Returns batches of the given seq ranges in order, up to a size.

        Raises:
            SpoolError: the file cannot be read.
        """

        def read(db: apsw.Connection) -> list[StoredBatch]:
            found: list[StoredBatch] = []
            size = 0
            for first, last in ranges:
                rows: Any = db.execute(
                    "SELECT id, digest, readings, checksum, envelope FROM batch"
                    " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                    (batch_id(epoch_no, lane, first), batch_id(epoch_no, lane, last), limit_rows - len(found)),
                )
                for id, digest, readings, checksum, envelope in rows:
                    is_whole = is_whole_row(digest, checksum, envelope)
                    found.append(
                        StoredBatch(id=id, digest=digest, readings=readings, envelope=envelope, is_whole=is_whole)
                    )
                    size += len(envelope)
                    if size >= limit_bytes or len(found) >= limit_rows:
                        return found
            return found

        return self.ask(read)

    def digest(self, epoch_no: int, lane: Lane, seq: int) -> bytes | None:
        """Returns the digest of a batch that is here or is the last of a range that was, or None.

        Raises:
            SpoolError: the file cannot be read.
        """

        def read(db: apsw.Connection) -> bytes | None:
            here: Any = db.execute("SELECT digest FROM batch WHERE id=?", (batch_id(epoch_no, lane, seq),)).get
            if here is None:
                here = db.execute(
                    "SELECT digest FROM gone WHERE epoch_no=? AND lane=? AND last=?", (epoch_no, int(lane), seq)
                ).get
            return None if here is None else bytes(here)

        return self.ask(read)

    def catalogue(self, hash: bytes) -> bytes | None:
        """Returns the signed envelope of a catalogue, or None.

        Raises:
            SpoolError: the file cannot be read.
        """
        envelope: Any = self.ask(lambda db: db.execute("SELECT envelope FROM catalogue WHERE hash=?", (hash,)).get)
        return None if envelope is None else bytes(envelope)

    def catalogues(self) -> list[bytes]:
        """Returns the hashes of the catalogues here.

        Raises:
            SpoolError: the file cannot be read.
        """
        return self.ask(lambda db: [bytes(hash) for (hash,) in db.execute("SELECT hash FROM catalogue")])

    def forget_catalogues(self, hashes: Iterable[bytes]) -> None:
        """Removes catalogues that no batch here uses.

        Raises:
            SpoolError: nothing was removed.
        """
        rows = [(hash,) for hash in hashes]
        self._write(lambda db: db.executemany("DELETE FROM catalogue WHERE hash=?", rows))

    # -- room ------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Bytes of the file's pages that are in use."""
        return self._used

    def carried(self, gone: Gone) -> list[Gone]:
        """Returns the ranges whose loss record lies in a range of batches: it must be sealed anew before they go.

        Raises:
            SpoolError: the file cannot be read.
        """
        low = batch_id(gone.epoch_no, gone.lane, gone.first)
        rows: Any = self.ask(
            lambda db: db.execute(
                "SELECT epoch_no, lane, first, last, digest, readings, cause FROM gone"
                " WHERE record_id BETWEEN ? AND ? AND cause<>'released' AND length(digest)>0",
                (low, low + gone.last - gone.first),
            ).fetchall()
        )
        return [
            Gone(
                epoch_no=no,
                lane=Lane(lane),
                first=first,
                last=last,
                digest=digest,
                readings=readings,
                cause=cause,
            )
            for no, lane, first, last, digest, readings, cause in rows
        ]

    def check(self) -> str:
        """Returns ``ok`` or what SQLite's full check found.

        Raises:
            SpoolError: the file cannot be read.
        """
        rows: Any = self.ask(lambda db: db.execute("PRAGMA integrity_check(20)").fetchall())
        return "\n".join(str(text) for (text,) in rows)
