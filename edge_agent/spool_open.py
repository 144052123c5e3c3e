"""Opening the spool: pragmas of the promise, schema, and what a new epoch must know.

Nothing here writes a batch.  The pragmas follow SQLite's own documents (wal.html, pragma.html):
WAL with ``synchronous=FULL`` syncs the log before a commit returns; the log file is kept and
checkpoints are rare, which wears flash less.  The log gets its full size once, with the schema: a
sync that makes a file longer writes the file system's journal too, which doubles what a commit of
one batch costs the disk (``benchmarks/wear.py``).
"""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from typing import Any

import apsw

from contracts.batch import Head, Lane
from edge_agent.errors import SpoolError
from edge_agent.ranges import Ranges
from edge_agent.spool_log import look_at_log
from edge_agent.spool_records import (
    DELIVERED_SUM,
    SEQ_MASK,
    EpochRow,
    LaneView,
    Opened,
    batch_id,
    is_whole_row,
    split_id,
)
from edge_agent.transaction import transaction

SCHEMA_VERSION = 1
#: small pages write less per small commit: with 1024 bytes a seal each second costs a fifth more (benchmarks)
PAGE_BYTES = 512
#: the log is written back into the file when it holds so many pages, or as many bytes in larger ones
_LOG_PAGES = 3500
#: where a file has its ``application_id`` (fileformat2.html, section 1.3)
_ID_PLACE = 68
#: of the columns of an epoch, as ``_epochs`` asks for them
_EPOCH_TYPES = [int, bytes, str, bytes, int, int, int, int]
_SCHEMA = Path(__file__).with_name("spool_schema.sql")


def prepare(db: apsw.Connection) -> None:
    """Sets and checks the pragmas, and applies the schema to an empty file.

    Raises:
        SpoolError: the promise cannot be kept on this file, or it is of another version.
        apsw.Error: SQLite cannot use the file.
    """
    db.execute(f"PRAGMA page_size={PAGE_BYTES}")
    mode = db.execute("PRAGMA journal_mode=WAL").get
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA journal_size_limit=-1")
    # Not by SQLite: it tells nobody when the disk fails while it moves the log (``Spool._move_log``).
    db.execute("PRAGMA wal_autocheckpoint=0")
    is_on = array("i", [1])
    db.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, is_on.buffer_info()[0])
    db.execute("PRAGMA mmap_size=0")
    if mode != "wal" or db.execute("PRAGMA synchronous").get != 2:
        raise SpoolError(f"the spool's journal mode is {mode!r}: WAL with FULL is needed to keep the promise")
    version = db.execute("PRAGMA user_version").get
    if version == 0:
        with transaction(db):
            db.execute(_SCHEMA.read_text(encoding="utf-8"))
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            # Which file this is: a log of another one shows by it (see ``look_over``).
            db.execute(f"PRAGMA application_id={int.from_bytes(os.urandom(4), 'big', signed=True) or 1}")
        grow_log(db)
    elif version != SCHEMA_VERSION:
        raise SpoolError(f"the spool has version {version}, this program knows {SCHEMA_VERSION}")


def grow_log(db: apsw.Connection) -> None:
    """Gives log and file their size; the pages are free again afterwards."""
    with transaction(db):
        db.execute("CREATE TABLE room (bytes BLOB)")
        db.execute("INSERT INTO room VALUES (zeroblob(?))", (_LOG_PAGES * PAGE_BYTES,))
    with transaction(db):
        db.execute("DROP TABLE room")
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)


def is_log_long(db: apsw.Connection, pages: int) -> bool:
    """Returns whether a log of so many pages is to be moved into the file."""
    return pages * _page_bytes(db) >= _LOG_PAGES * PAGE_BYTES


def look_over(db: apsw.Connection) -> None:
    """Looks for damage that shows at once; its cost does not grow with the file.

    The full check is in ``spool_check.py``, and comes when polling has begun.

    Raises:
        ValueError: the log is that of another file or is damaged, or the newest batch is not what was written.
    """
    # By SQLite's own handle: closing another one of the same file would drop SQLite's lock on it (fcntl(2)), and
    # whoever closed the file next would take himself for the last one and remove the log.
    is_there, own = db.read("main", 0, _ID_PLACE, 4)
    seen: Any = db.execute("PRAGMA application_id").get
    if is_there and int.from_bytes(own, "big", signed=True) not in (0, seen):
        raise ValueError("its log belongs to another file")
    look_at_log(db)
    newest: Any = db.execute("SELECT digest, checksum, envelope FROM batch ORDER BY id DESC LIMIT 1").fetchone()
    if newest is not None and not is_whole_row(*newest):
        raise ValueError("its newest batch is not what was written")


def file_bytes(db: apsw.Connection) -> int:
    """Returns how long the file is when the log has been moved into it."""
    pages: Any = db.execute("PRAGMA page_count").get
    return int(pages) * _page_bytes(db)


def _page_bytes(db: apsw.Connection) -> int:
    # Of an old file it stays what it was when that was made.
    size: Any = db.execute("PRAGMA page_size").get
    return int(size)


def used_bytes(db: apsw.Connection) -> int:
    """Returns how much of the file is in use; free pages inside it will be used again."""
    pages: Any = db.execute("PRAGMA page_count").get
    free: Any = db.execute("PRAGMA freelist_count").get
    return int(pages - free) * _page_bytes(db)


def read_all(db: apsw.Connection) -> Opened:
    """Returns what lies in the spool; its cost grows with epochs, not with batches."""
    epochs = _epochs(db)
    lanes = {
        (row.no, lane): LaneView(head=_head(db, row.no, lane), delivered=Ranges()) for row in epochs for lane in Lane
    }
    for no, lane, first, last in db.execute("SELECT epoch_no, lane, first, last FROM delivered"):
        view = lanes.get((no, Lane(lane)))
        if view is not None:
            view.delivered.add(first, last)
            view.settled.add(first, last)
    for no, lane, first, last, cause in db.execute("SELECT epoch_no, lane, first, last, cause FROM gone"):
        view = lanes.get((no, Lane(lane)))
        if view is not None:
            (view.released if cause == "released" else view.lost).add(first, last)
            view.settled.add(first, last)
    state: dict[str, Any] = dict(db.execute("SELECT key, value FROM state").fetchall())  # type: ignore[arg-type]
    state.pop(DELIVERED_SUM, None)
    if not all(type(key) is str and type(value) is bytes for key, value in state.items()):
        raise ValueError("a row of its table state is not what was written")
    return Opened(
        epochs=epochs,
        lanes=lanes,
        state=state,
        catalogues=frozenset(hash for (hash,) in db.execute("SELECT hash FROM catalogue")),
        put_aside=None,
    )


def _epochs(db: apsw.Connection) -> tuple[EpochRow, ...]:
    rows: list[Any] = db.execute(
        "SELECT no, epoch, reason, boot_id, boot_counter, started_us, started_uptime_s, is_volatile"
        " FROM epoch ORDER BY no"
    ).fetchall()
    # Where a page holds something else SQLite gives what it finds there, whatever the table says.
    if any([type(value) for value in row] != _EPOCH_TYPES for row in rows):
        raise ValueError("a row of its table epoch is not what was written")
    return tuple(
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


def _head(db: apsw.Connection, epoch_no: int, lane: Lane) -> Head:
    row: Any = db.execute(
        "SELECT id, digest FROM batch WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
        (batch_id(epoch_no, lane, 1), batch_id(epoch_no, lane, SEQ_MASK)),
    ).fetchone()
    gone: Any = db.execute(
        "SELECT last, digest FROM gone WHERE epoch_no=? AND lane=? ORDER BY last DESC LIMIT 1",
        (epoch_no, int(lane)),
    ).fetchone()
    seq, digest = (split_id(row[0])[2], row[1]) if row else (0, b"")
    if gone and gone[0] > seq:
        seq, digest = gone
    if type(digest) is not bytes:
        raise ValueError(f"the head of a lane of epoch {epoch_no} is not what was written")
    return Head(seq=seq, digest=digest)
