"""What each alarm asks for, decided in the transaction that first tells of it, and kept.

The thin part around ``collector.measurement``: reads what is known of an alarm at the end of a
transaction, so that an alarm whose end came in the same group is over when it is judged, and
appends the verdict.  A fact: it is made once, from what was known then, and is not made again by
``rebuild``.  It may rise (an alarm thought over that its gateway says stands, by a newer event or by
naming it in a newer statement), and never falls.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from collector.measurement import LATE_US, TRIAL, Decision, decide, is_test, measure, rises
from collector.statements import Stated, read_statement
from contracts.batch import AlarmEvent
from contracts.fields import unpack


def keep_decisions(db: sqlite3.Connection, alarms: Iterable[tuple[int, bytes]], arrived: Mapping[int, int]) -> int:
    """Decides about every alarm that a transaction touched, inside it.

    Args:
        db: the writer's connection.
        alarms: (gateway, id).
        arrived: per gateway the newest arrival of the transaction, UTC us.

    Returns:
        How many decisions were added.
    """
    statements: dict[int, Stated | None] = {}
    added = 0
    for gateway_no, id in sorted(alarms):
        if gateway_no not in statements:
            statements[gateway_no] = read_statement(db, gateway_no)
        stated = statements[gateway_no]
        row = db.execute(_KNOWN, (gateway_no, id)).fetchone()
        if row is None:
            continue
        severity, rank, boot_no, mono_us, newest_raw, judged_us, trust, held = row
        newest = AlarmEvent.from_wire(unpack(newest_raw))
        verdict = decide(
            # Whether the source is silent now changes nothing here, and costs a look at every point.
            measure(newest.state, is_source_silent=False),
            # Of a boot without a clock nothing ever came by itself: a later boot tells of it.
            is_late=not trust or arrived[gateway_no] - judged_us > LATE_US,
            is_unstated=stated is not None and stated.is_missing(id, (rank, boot_no, mono_us), severity),
            is_trial=TRIAL in newest.marks,
            is_tested=is_test(newest.rule_id, newest.cause, newest.marks),
        )
        if rises(held, verdict.decision):
            db.execute(
                "INSERT INTO decision(gateway_no, alarm_id, decision, reason, arrived_us) VALUES(?,?,?,?,?)",
                (gateway_no, id, verdict.decision.value, verdict.reason.value, arrived[gateway_no]),
            )
            db.execute("DELETE FROM review WHERE alarm_id=?", (id,))
            if verdict.decision is Decision.REVIEW:
                ask_for_review(db, id)
            added += 1
    return added


def named_after_all(db: sqlite3.Connection, gateways: Iterable[int]) -> set[tuple[int, bytes]]:
    """Returns alarms that gateways name in their newest statements and that were put to review: to be decided again.

    One that had not been named, and was taken for over, may turn out to stand.
    """
    found: set[tuple[int, bytes]] = set()
    for gateway_no in gateways:
        stated = read_statement(db, gateway_no)
        for id in stated.ids if stated is not None else ():
            if db.execute(_DECIDED, (gateway_no, id)).fetchone() == (Decision.REVIEW.value,):
                found.add((gateway_no, id))
    return found


def ask_for_review(db: sqlite3.Connection, id: bytes) -> None:
    """Puts an alarm among those to review, where that is what was last decided of it and nobody has acknowledged it."""
    db.execute(_TO_REVIEW, (id,))


_TO_REVIEW = """
INSERT INTO review(alarm_id, gateway_no, arrived_us)
SELECT d.alarm_id, d.gateway_no, d.arrived_us FROM alarm a
JOIN decision d ON d.id=(SELECT max(e.id) FROM decision e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id)
WHERE a.id=? AND d.decision='review' AND coalesce(
  (SELECT k.action FROM acknowledgement k WHERE k.alarm_id=a.id AND k.action<>'warn' ORDER BY k.id DESC LIMIT 1),
  '')<>'acknowledge'
ON CONFLICT DO NOTHING
"""

_DECIDED = "SELECT decision FROM decision WHERE gateway_no=? AND alarm_id=? ORDER BY id DESC LIMIT 1"

_KNOWN = """
SELECT a.severity, a.rank, a.boot_no, a.mono_us, n.event, coalesce(f.judged_us, n.judged_us),
  (SELECT b.trust FROM boot b WHERE b.no=a.boot_no),
  (SELECT d.decision FROM decision d WHERE d.gateway_no=a.gateway_no AND d.alarm_id=a.id ORDER BY d.id DESC LIMIT 1)
FROM alarm a JOIN alarm_event n ON n.gateway_no=a.gateway_no AND n.id=a.event_id
LEFT JOIN alarm_event f ON f.gateway_no=a.gateway_no AND f.id=a.id
WHERE a.gateway_no=? AND a.id=?
"""
