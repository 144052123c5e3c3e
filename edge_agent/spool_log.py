"""The spool's log, where SQLite does not look: after an error of the disk, and behind what it can read.

SQLite reads its log up to the first frame that does not fit the one before it, and takes that for the place where
the power was cut.  A bit that has changed in the middle looks the same to it: it goes on as if what comes behind
had never been there.  Nothing of the log is used or changed here but by SQLite's own rules
(fileformat2.html, section 4: the log's header, its frames, their checksums).
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from io import FileIO
from pathlib import Path

import apsw

_HEADER_BYTES, _FRAME_HEAD_BYTES = 32, 24
_MAGIC = 0x377F0682
#: the log is written over itself in pieces of this size
_PIECE_BYTES = 64 * 1024
_MASK = 0xFFFFFFFF


def write_log_again(db: apsw.Connection) -> int:
    """Writes what SQLite would use of the log over itself and syncs it; returns how many bytes that were.

    Called before anything is read, after an I/O error and when a process opens the spool: the one before may have
    ended after such an error.  A sync that failed is not made good by the next one.  The kernel has forgotten what
    was to be written, and goes on showing it to whoever reads (fsync(2), section Errors; Rebello et al., "Can
    Applications Recover from fsync Failures?", USENIX ATC 2020).  SQLite would take such commits in the log for
    durable and write the next ones behind them, where nobody finds them after a power cut.

    Raises:
        OSError: the disk does not take it.
    """
    log = Path(db.filename_wal)
    if not log.exists():
        return 0
    with log.open("r+b", buffering=0) as file:
        size = _used_bytes(file)
        for at in range(0, size, _PIECE_BYTES):
            piece = os.pread(file.fileno(), min(_PIECE_BYTES, size - at), at)
            if os.pwrite(file.fileno(), piece, at) != len(piece):
                raise OSError(errno.EIO, "the log was written in part")
        os.fsync(file.fileno())
    return size


def _used_bytes(log: FileIO) -> int:
    """Returns where the newest run of the log ends: its header, and the frames that carry the header's salts."""
    whole = os.fstat(log.fileno()).st_size
    head = os.pread(log.fileno(), _HEADER_BYTES, 0)
    if len(head) < _HEADER_BYTES:
        return whole
    magic, _, page, _ = struct.unpack_from(">4I", head)
    if magic & ~1 != _MAGIC or not 512 <= page <= 65536:
        return whole
    at, salts = _HEADER_BYTES, head[16:24]
    while os.pread(log.fileno(), 8, at + 8) == salts:
        at += _FRAME_HEAD_BYTES + page
    return min(at, whole)


def empty_log(db: apsw.Connection) -> None:
    """Moves the log into the file and begins it anew: what is left of it brings nothing old back when a bit changes.

    Raises:
        apsw.Error: somebody reads the file just now, or the disk does not take it; the log stays as it is.
    """
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
    version = db.execute("PRAGMA user_version").get
    # SQLite begins the log anew with the next thing that it writes, whatever that is.
    db.execute(f"PRAGMA user_version={version}")
    # Closing would move that page too, but apsw holds Python's interpreter lock meanwhile (``transaction.py``).
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def look_at_log(db: apsw.Connection) -> None:
    """Looks for damage in the log; called when something has been read, so that SQLite knows its log's end.

    A power cut leaves at most one commit behind that end: the one that was not synced.  Where one commit
    follows another there, the first of them had been synced, and something before it has changed since.

    Raises:
        ValueError: the log is damaged: commits in it are out of SQLite's reach.
    """
    # NOOP: it only tells how many frames there are.
    end = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]
    path = Path(db.filename_wal)
    if not path.exists():
        return
    with path.open("rb", buffering=0) as log:
        if os.fstat(log.fileno()).st_size <= _HEADER_BYTES:
            return
        head = os.pread(log.fileno(), _HEADER_BYTES, 0)
        magic, _, page, _ = struct.unpack_from(">4I", head)
        order = ">" if magic & 1 else "<"
        if magic & ~1 != _MAGIC or _sums(head[:24], order, (0, 0)) != struct.unpack_from(">2I", head, 24):
            raise ValueError("the beginning of its log is not what was written")
        if _has_two_commits(log, max(end, 0), page + _FRAME_HEAD_BYTES, order):
            raise ValueError("its log is damaged: commits lie behind a frame that is not what was written")


def _has_two_commits(log: FileIO, end: int, size: int, order: str) -> bool:
    """Returns whether behind frame ``end`` one commit of this log follows another, with all that is between them.

    Frame by frame: a log that was once long stays so, and may be longer than what memory there is.
    """
    salts = os.pread(log.fileno(), 8, 16)
    first = _HEADER_BYTES + end * size
    commits: list[int] = []
    for at in range(first, os.fstat(log.fileno()).st_size - size + 1, size):
        head = os.pread(log.fileno(), 16, at)
        if head[8:16] == salts and head[4:8] != bytes(4):
            commits.append(at)
    return any(
        all(_fits(log, at, size, order) for at in range(one, next_one + size, size))
        for one, next_one in itertools.pairwise(commits)
    )


def _fits(log: FileIO, at: int, size: int, order: str) -> bool:
    """Returns whether a frame is what was written after the one before it, whatever that looks like now."""
    before = os.pread(log.fileno(), 8, 24 if at == _HEADER_BYTES else at - size + 16)
    salts = os.pread(log.fileno(), 8, 16)
    frame = os.pread(log.fileno(), size, at)
    sums = _sums(frame[:8] + frame[_FRAME_HEAD_BYTES:], order, struct.unpack(">2I", before))
    return frame[8:16] == salts and sums == struct.unpack_from(">2I", frame, 16)


def _sums(data: bytes, order: str, sums: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the log's two running checksums after some more words."""
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & _MASK
        two = (two + odd + one) & _MASK
    return one, two
