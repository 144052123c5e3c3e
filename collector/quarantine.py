"""What arrived and was not accepted, kept with the reason.

A repetition only counts.  The number of rows is bounded, the oldest go first, so that nobody
who can reach the broker can fill the disk.  Refused batches are listed too; their bytes are
in the evidence.
"""

from __future__ import annotations

import sqlite3

from collector.ingest import Quarantined

#: quarantined messages kept; older ones go first
MAX_QUARANTINED = 10_000
#: of something that is not even an envelope no more than this is kept (bytes)
_KEEP_BYTES = 4096


def keep_aside(db: sqlite3.Connection, verdict: Quarantined, arrived_us: int) -> None:
    """Keeps one message, inside the caller's transaction."""
    kept, size = verdict.payload[:_KEEP_BYTES], len(verdict.payload)
    db.execute(_KEEP, (arrived_us, verdict.topic[:200], verdict.code, verdict.reason[:500], size, verdict.digest, kept))
    db.execute("DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (MAX_QUARANTINED,))


def list_refused(
    db: sqlite3.Connection, *, arrived_us: int, topic: str, code: str, reason: str, digest: bytes, size: int
) -> None:
    """Lists a refused batch."""
    db.execute(_KEEP, (arrived_us, topic[:200], code, reason[:500], size, digest, b""))


_KEEP = """
INSERT INTO quarantine(arrived_us, topic, code, reason, size, digest, bytes, times) VALUES(?,?,?,?,?,?,?,1)
ON CONFLICT(digest) DO UPDATE SET times=times+1, arrived_us=excluded.arrived_us
"""
