"""The proof, read from the tables: what of each chain is verified, missing, lost, refused."""

from __future__ import annotations

import sqlite3
from typing import Any

from collector.chain import Ledger, with_seqs
from collector.projector import lane_name
from collector.views import ChainView


def read_chains(db: sqlite3.Connection, gateway: str | None = None) -> list[ChainView]:
    """Returns every chain, newest epoch first."""
    rows = db.execute(_CHAINS, (gateway, gateway)).fetchall()
    parents = _parent_heads(db)
    waiting = _waiting(db)
    views = []
    for row in [*rows, *_only_waiting(db, gateway, waiting, {row[1] for row in rows if row[3] == 1})]:
        (id, epoch_no, epoch, lane, newest, known, readings, first_us, last_us) = row[:9]
        ranges, forks, breaks, serial, issued_us, ask_alarm, ask_data, ask_epoch_no = row[9:17]
        parent, parent_alarm, parent_data, is_volatile = row[17:]
        ledger = Ledger.from_text(ranges, forks, breaks)
        here = waiting.get(epoch_no, []) if lane else []
        held = with_seqs(ledger, here)
        heard = max(known, parents.get((id, epoch, lane), 0))
        if ask_epoch_no == epoch_no:
            heard = max(heard, (ask_data if lane else ask_alarm) or 0)
        lost = db.execute(
            "SELECT first, last, cause, readings FROM loss WHERE epoch_no=? AND lane=? AND cause<>'recovered'"
            " ORDER BY first",
            (epoch_no, lane),
        ).fetchall()
        refused = db.execute(
            "SELECT seq, code FROM evidence WHERE epoch_no=? AND lane=? AND state=2 ORDER BY seq", (epoch_no, lane)
        ).fetchall()
        views.append(
            ChainView(
                gateway=id,
                epoch=epoch.hex(),
                lane=lane_name(lane),
                verified_to=ledger.contiguous,
                newest=max(newest, heard, held.newest),
                readings=readings,
                missing=held.missing(heard),
                lost=[(first, last, cause, count) for first, last, cause, count in lost],
                refused=[(seq, code or "") for seq, code in refused],
                waiting=len(here),
                forks=ledger.forks,
                breaks=ledger.breaks,
                rolled_back=0 if is_volatile else _behind(db, id, parent, lane, parent_data if lane else parent_alarm),
                last_receipt_us=issued_us,
                last_receipt_serial=serial,
                first_sample_us=first_us,
                last_sample_us=last_us,
            )
        )
    return views


def _waiting(db: sqlite3.Connection) -> dict[int, list[int]]:
    """Returns the seqs of each epoch's data lane that wait for their catalogue."""
    found: dict[int, list[int]] = {}
    for epoch_no, seq in db.execute(_WAITING):
        found.setdefault(epoch_no, []).append(seq)
    return found


def _only_waiting(
    db: sqlite3.Connection, gateway: str | None, waiting: dict[int, list[int]], known: set[int]
) -> list[tuple[Any, ...]]:
    """Returns rows like those of ``_CHAINS`` for epochs of whose data nothing but waiting batches is here."""
    rows = [db.execute(_EPOCH, (epoch_no, gateway, gateway)).fetchone() for epoch_no in sorted(waiting.keys() - known)]
    return [row for row in rows if row is not None]


def _behind(db: sqlite3.Connection, gateway: str, parent: bytes | None, lane: int, stated: int | None) -> int:
    """Returns how many batches of a parent are here beyond the one that its child knew as the newest."""
    if parent is None:
        return 0
    row = db.execute(_NEWEST, (gateway, parent, lane)).fetchone()
    return 0 if row is None else max(0, row[0] - (stated or 0))


def _parent_heads(db: sqlite3.Connection) -> dict[tuple[str, bytes, int], int]:
    """Returns the heads that later epochs state for their parents."""
    found: dict[tuple[str, bytes, int], int] = {}
    rows = db.execute(
        "SELECT g.id, p.parent, p.parent_alarm_seq, p.parent_data_seq FROM epoch p JOIN epoch_name n ON n.no=p.epoch_no"
        " JOIN gateway g ON g.no=n.gateway_no WHERE p.parent IS NOT NULL"
    )
    for id, parent, alarm, data in rows:
        for lane, seq in ((0, alarm), (1, data)):
            found[id, parent, lane] = max(seq or 0, found.get((id, parent, lane), 0))
    return found


_CHAINS = """
SELECT g.id, c.epoch_no, n.epoch, c.lane, c.newest, c.known, c.readings, c.first_sample_us, c.last_sample_us,
  c.ranges, c.forks, c.breaks, r.serial, r.issued_us, l.alarm_seq, l.data_seq, l.epoch_no,
  p.parent, p.parent_alarm_seq, p.parent_data_seq, coalesce(p.is_volatile, 0)
FROM chain c JOIN epoch_name n ON n.no=c.epoch_no JOIN gateway g ON g.no=n.gateway_no
LEFT JOIN receipt r ON r.epoch_no=c.epoch_no AND r.lane=c.lane
LEFT JOIN link l ON l.gateway_no=g.no
LEFT JOIN epoch p ON p.epoch_no=c.epoch_no
WHERE (? IS NULL OR g.id=?) ORDER BY g.id, p.last_arrived_us DESC, c.epoch_no DESC, c.lane
"""

_WAITING = "SELECT w.epoch_no, e.seq FROM waiting w JOIN evidence e ON e.id=w.evidence_id ORDER BY e.seq"

_EPOCH = """
SELECT g.id, n.no, n.epoch, 1, 0, 0, 0, NULL, NULL, '[]', '[]', '[]', r.serial, r.issued_us,
  l.alarm_seq, l.data_seq, l.epoch_no, p.parent, p.parent_alarm_seq, p.parent_data_seq, coalesce(p.is_volatile, 0)
FROM epoch_name n JOIN gateway g ON g.no=n.gateway_no
LEFT JOIN receipt r ON r.epoch_no=n.no AND r.lane=1
LEFT JOIN link l ON l.gateway_no=g.no
LEFT JOIN epoch p ON p.epoch_no=n.no
WHERE n.no=? AND (? IS NULL OR g.id=?)
"""

_NEWEST = """
SELECT c.newest FROM chain c JOIN epoch_name n ON n.no=c.epoch_no JOIN gateway g ON g.no=n.gateway_no
WHERE g.id=? AND n.epoch=? AND c.lane=?
"""
