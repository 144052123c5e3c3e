"""The proof, read from the tables: what of each chain is verified, missing, lost, refused."""

from __future__ import annotations

import sqlite3

from collector.chain import Ledger
from collector.projector import lane_name
from collector.views import ChainView


def read_chains(db: sqlite3.Connection, gateway: str | None = None) -> list[ChainView]:
    """Returns every chain, newest epoch first."""
    rows = db.execute(_CHAINS, (gateway, gateway)).fetchall()
    parents = _parent_heads(db)
    views = []
    for row in rows:
        (id, epoch_no, epoch, lane, newest, known, readings, first_us, last_us) = row[:9]
        ranges, forks, breaks, serial, issued_us, ask_alarm, ask_data, ask_epoch_no = row[9:]
        ledger = Ledger.from_text(ranges, forks, breaks)
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
                newest=max(newest, heard),
                readings=readings,
                missing=ledger.missing(heard),
                lost=[(first, last, cause, count) for first, last, cause, count in lost],
                refused=[(seq, code or "") for seq, code in refused],
                last_receipt_us=issued_us,
                last_receipt_serial=serial,
                first_sample_us=first_us,
                last_sample_us=last_us,
            )
        )
    return views


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
  c.ranges, c.forks, c.breaks, r.serial, r.issued_us, l.alarm_seq, l.data_seq, l.epoch_no
FROM chain c JOIN epoch_name n ON n.no=c.epoch_no JOIN gateway g ON g.no=n.gateway_no
LEFT JOIN receipt r ON r.epoch_no=c.epoch_no AND r.lane=c.lane
LEFT JOIN link l ON l.gateway_no=g.no
LEFT JOIN epoch p ON p.epoch_no=c.epoch_no
WHERE (? IS NULL OR g.id=?) ORDER BY g.id, p.last_arrived_us DESC, c.epoch_no DESC, c.lane
"""
