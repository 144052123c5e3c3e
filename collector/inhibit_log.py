"""Inhibits: kept as the gateways signed them, of each point the newest statement, and read as they hold now.

The newest is the one of the later boot, then of the later sealing; of two in one batch the one that begins later
(an inhibit that ended and the one after it may be stated together).  Whether it still holds is ``inhibit_views``'s.
"""

from __future__ import annotations

import sqlite3

from collector.inhibit_views import Heard, InhibitView, Stated, show_inhibit
from contracts.inhibit import Inhibit

#: (boot rank, boot, monotonic us of the sealing)
Order = tuple[int, int, int]


def apply_inhibit(db: sqlite3.Connection, said: Inhibit, *, gateway_no: int, order: Order, evidence_id: int) -> bool:
    """Keeps a statement inside the caller's transaction; returns False where a newer one of its point is known."""
    row = (gateway_no, said.point, *order, said.since_us, said.until_us, said.reason, said.by, evidence_id)
    return db.execute(_INHIBIT, row).rowcount > 0


def read_inhibits(db: sqlite3.Connection, gateway_no: int, now_us: int) -> dict[str, InhibitView]:
    """Returns the points of a gateway that somebody works on now.

    Args:
        db: a reader's connection.
        gateway_no: whose points.
        now_us: UTC, our clock.
    """
    boot = db.execute(_NEWEST_BOOT, (gateway_no,)).fetchone()
    stated = [] if boot is None else db.execute(_STATED, (gateway_no, boot[0])).fetchall()
    if not stated:
        return {}
    boot_no, bound_us = boot
    sealed_us, arrived_us = db.execute(_NEWEST_SEAL, (gateway_no, boot_no)).fetchone() or (None, None)
    heard = Heard(boot_no=boot_no, sealed_us=sealed_us, arrived_us=arrived_us, bound_us=bound_us)
    found: dict[str, InhibitView] = {}
    for point, since_us, until_us, offset_us, reason, by in stated:
        said = Stated(
            boot_no=boot_no, since_us=since_us, until_us=until_us, offset_us=offset_us, reason=reason, by=by
        )  # fmt: skip
        view = show_inhibit(said, heard, now_us)
        if view is not None:
            found[point] = view
    return found


_INHIBIT = """
INSERT INTO inhibit(gateway_no, point, rank, boot_no, mono_us, since_us, until_us, reason, by, evidence_id)
VALUES(?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, point) DO UPDATE SET rank=excluded.rank, boot_no=excluded.boot_no, mono_us=excluded.mono_us,
  since_us=excluded.since_us, until_us=excluded.until_us, reason=excluded.reason, by=excluded.by,
  evidence_id=excluded.evidence_id
WHERE (excluded.rank, excluded.boot_no, excluded.mono_us, excluded.since_us, excluded.until_us, excluded.reason,
       excluded.by)
    > (inhibit.rank, inhibit.boot_no, inhibit.mono_us, inhibit.since_us, inhibit.until_us, inhibit.reason, inhibit.by)
"""

_NEWEST_BOOT = "SELECT no, bound_us FROM boot WHERE gateway_no=? ORDER BY rank DESC, no DESC LIMIT 1"

# One that ended where it began says only that nobody works there.  Where its batch was dropped, the boot's clock is
# asked.
_STATED = """
SELECT i.point, i.since_us, i.until_us, coalesce(e.wall_us-e.first_us, b.offset_us, b.bound_us), i.reason, i.by
FROM inhibit i JOIN boot b ON b.no=i.boot_no LEFT JOIN evidence e ON e.id=i.evidence_id
WHERE i.gateway_no=? AND i.boot_no=? AND i.until_us>i.since_us
"""

# Of each lane of the epochs of a boot the newest batch, in which the sealing is the newest, too.
_NEWEST_SEAL = """
SELECT e.sealed_us, e.arrived_us FROM epoch_name n JOIN epoch p ON p.epoch_no=n.no AND p.boot_no=?2
JOIN (SELECT 0 AS lane UNION ALL SELECT 1) l
JOIN evidence e ON e.epoch_no=p.epoch_no AND e.lane=l.lane AND e.boot_no=p.boot_no
  AND e.seq=(SELECT max(x.seq) FROM evidence x WHERE x.epoch_no=p.epoch_no AND x.lane=l.lane)
WHERE n.gateway_no=?1 ORDER BY e.sealed_us DESC LIMIT 1
"""
