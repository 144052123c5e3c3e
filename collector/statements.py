"""What each gateway last stated of its alarms, beside what the centre holds.

A gateway states all its alarms in full on every connect and every minute: signed state, of which
only the newest counts.  What it states becomes alarms like any event (``alarm_log``).  Here it is
kept which ones it named, so that the two lists can be laid beside each other:

    unstated     stands here, and the gateway has stated all its alarms since without it
    stated_over  over here by a newer event, and the gateway names it as standing after that event

A gateway with very many alarms states the gravest that fit.  An alarm that may have been left out
for that is never called unstated.  A fact, not a projection: it says what was said last.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from collector.identities import Boot
from collector.measurement import TEST
from collector.views import StatementView
from contracts.batch import EVENT_ID_BYTES, Statement

#: (boot rank, boot, monotonic us)
Order = tuple[int, int, int]

#: a statement that did not fit is halved until it does; of an envelope's 256 kB no event takes more than 4 kB, so
#: one of fewer alarms than this is whole
WHOLE_BELOW = 32

_SEVERITIES = ("red", "orange", "yellow", "blue", "info")


def gravity(severity: str) -> int:
    """Returns the rank of a severity, gravest 0."""
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """The newest statement of one gateway."""

    order: Order
    #: UTC us of its arrival
    arrived_us: int
    least: str
    ids: frozenset[bytes]

    def is_missing(self, id: bytes, order: Order, severity: str) -> bool:
        """Returns whether it speaks of a time after ``order`` and proves that the alarm did not stand then."""
        if id in self.ids or order >= self.order:
            return False
        return len(self.ids) < WHOLE_BELOW or gravity(severity) < gravity(self.least)

    def contradicts(self, id: bytes, order: Order) -> bool:
        """Returns whether it names an alarm that had been cleared before, at ``order``."""
        return id in self.ids and order < self.order


def keep_statement(db: sqlite3.Connection, gateway_no: int, boot: Boot, statement: Statement, arrived_us: int) -> bool:
    """Keeps a statement inside the caller's transaction; returns False, and keeps nothing, where a newer is known."""
    held = read_order(db, gateway_no)
    if held is not None and held >= (boot.rank, boot.no, statement.mono_us):
        return False
    least = max((event.severity for event in statement.events), key=gravity, default="")
    ids = b"".join(event.raised_by for event in statement.events)
    db.execute(
        "INSERT INTO stated(gateway_no, boot_no, mono_us, arrived_us, least, ids) VALUES(?,?,?,?,?,?)"
        " ON CONFLICT(gateway_no) DO UPDATE SET boot_no=excluded.boot_no, mono_us=excluded.mono_us,"
        " arrived_us=excluded.arrived_us, least=excluded.least, ids=excluded.ids",
        (gateway_no, boot.no, statement.mono_us, arrived_us, least, ids),
    )
    return True


def read_order(db: sqlite3.Connection, gateway_no: int) -> Order | None:
    """Returns as of when the newest statement of a gateway is; None without one."""
    row: Order | None = db.execute(
        "SELECT b.rank, b.no, s.mono_us FROM stated s JOIN boot b ON b.no=s.boot_no WHERE s.gateway_no=?", (gateway_no,)
    ).fetchone()
    return row


def read_statement(db: sqlite3.Connection, gateway_no: int) -> Stated | None:
    """Returns the newest statement of a gateway; None without one."""
    row = db.execute(
        "SELECT b.rank, b.no, s.mono_us, s.arrived_us, s.least, s.ids FROM stated s JOIN boot b ON b.no=s.boot_no"
        " WHERE s.gateway_no=?",
        (gateway_no,),
    ).fetchone()
    if row is None:
        return None
    ids = row[5]
    return Stated(
        order=(row[0], row[1], row[2]),
        arrived_us=row[3],
        least=row[4],
        ids=frozenset(ids[at : at + EVENT_ID_BYTES] for at in range(0, len(ids), EVENT_ID_BYTES)),
    )


def compare_statements(db: sqlite3.Connection, gateway: str | None = None) -> list[StatementView]:
    """Returns for each gateway what it stated last and where that differs from the alarms held here."""
    found = []
    rows = db.execute("SELECT no, id FROM gateway WHERE ? IS NULL OR id=? ORDER BY id", (gateway, gateway)).fetchall()
    for no, id in rows:
        stated = read_statement(db, no)
        if stated is None:
            continue
        standing = db.execute(_STANDING, (no,)).fetchall()
        unstated = [alarm for alarm, severity, *order in standing if stated.is_missing(alarm, _order(order), severity)]
        held = {row[0] for row in standing}
        over, tests = [], 0
        for alarm in sorted(stated.ids - held):
            row = db.execute(_ONE, (no, alarm)).fetchone()
            if row is not None and row[3] == TEST:
                tests += 1  # comes and goes between two statements, and is nothing to agree about
            elif row is not None and stated.contradicts(alarm, row[:3]):
                over.append(alarm)
        found.append(
            StatementView(
                gateway=id,
                stated_us=stated.arrived_us,
                stated=len(stated.ids) - tests,
                is_surely_whole=len(stated.ids) < WHOLE_BELOW,
                standing=len(standing),
                unstated=[alarm.hex() for alarm in unstated],
                stated_over=[alarm.hex() for alarm in over],
            )
        )
    return found


def _order(parts: list[int]) -> Order:
    rank, boot_no, mono_us = parts
    return rank, boot_no, mono_us


_STANDING = (
    f"SELECT id, severity, rank, boot_no, mono_us FROM alarm WHERE gateway_no=? AND is_over=0 AND rule_id<>'{TEST}'"
)
_ONE = "SELECT rank, boot_no, mono_us, rule_id FROM alarm WHERE gateway_no=? AND id=?"
