"""A trial alarm becomes a real warning, because a named person at the desk said so.

What a gateway raises by limits that nobody has confirmed is held back from leaving the room.  One
action of the desk lets one such alarm out: who, when, from where and why are kept beside what
people said about it (table ``acknowledgement``, append only), and a decision to page is added to those
that were made, so that everything that reads decisions (notification, journal) follows.  Nothing takes
it back: a decision never falls.

An alarm that is over by now may be made one too, and pages marked as over: a person has said so.
Only alarms held back for trial are meant; what waits for review, or pages already, is refused.
"""

from __future__ import annotations

import sqlite3

from collector.errors import NotOnTrialError
from collector.measurement import Decision, Reason

#: word of it among what people said about an alarm
ACTION = "warn"


def make_real(db: sqlite3.Connection, id: bytes, *, by: str, at_us: int, note: str, source: str) -> None:
    """Writes both rows inside the caller's transaction.

    Args:
        db: the writer's connection.
        id: of the alarm.
        by: the name that was typed in, 1 to 80 characters.
        at_us: UTC us.
        note: at most 500 characters.
        source: where from.

    Raises:
        NotOnTrialError: what was decided of it last is not that it is on trial, with a sentence.
    """
    row = db.execute(_NEWEST, (id,)).fetchone()
    if row is None or row[1:] != (Decision.NOTHING.value, Reason.TRIAL.value):
        was = "nothing was decided about it yet" if row is None else f"it was decided: {row[1]}, because {row[2]}"
        raise NotOnTrialError(f"only an alarm held back for trial can be made a real warning; {was}")
    db.execute(
        "INSERT INTO acknowledgement(alarm_id, by, at_us, note, source, action) VALUES(?,?,?,?,?,?)",
        (id, by, at_us, note, source, ACTION),
    )
    db.execute(
        "INSERT INTO decision(gateway_no, alarm_id, decision, reason, arrived_us) VALUES(?,?,?,?,?)",
        (row[0], id, Decision.PAGE.value, Reason.DESK.value, at_us),
    )


_NEWEST = """
SELECT d.gateway_no, d.decision, d.reason FROM alarm a
JOIN decision d ON d.id=(SELECT max(e.id) FROM decision e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id)
WHERE a.id=?
"""
