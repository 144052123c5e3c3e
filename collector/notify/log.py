"""The record of who was told what: append only, one row before each attempt and one for its answer.

An attempt without an answer may have arrived: the collector was killed in between, or its disk took nothing.
Rows are written by the collector's one writer, in the order in which they are handed over; what is read is
what alarms are now, and what each target was told of them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from collector.database import read_meta, write_meta
from collector.measurement import Reason
from collector.notify.plan import UNTOLD, Attempt, Key, Kind, Source, Subject, Told, take

Run = Callable[[Callable[[sqlite3.Connection], Any]], "Future[Any]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of an attempt."""

    #: ``sent`` (the other side took it), ``failed`` or ``given_up``
    outcome: str
    #: in few words and without secrets; empty where there is nothing to say
    detail: str = ""

    @property
    def is_sent(self) -> bool:
        """Returns whether the other side took it."""
        return self.outcome == "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One attempt as it is recorded."""

    id: int
    target: str
    kind: Kind
    at_us: int
    is_possible_repeat: bool
    #: who asked, of a test; empty else
    by: str = ""
    #: alarms and the severity that each is told with
    alarms: tuple[tuple[Key, str], ...] = ()


class NoticeLog:
    """Writes attempts and answers; safe to call from any thread."""

    def __init__(self, run: Run) -> None:
        """Takes the writer's way to run a job."""
        self._run = run
        self._lock = threading.Lock()
        self._newest = 0

    def open(self, db: sqlite3.Connection) -> None:
        """Learns the newest number that is taken; ``db`` may be a reader's."""
        self._newest = db.execute("SELECT coalesce(max(id), 0) FROM notice").fetchone()[0]

    def number(self) -> int:
        """Returns the number of a new attempt."""
        with self._lock:
            self._newest += 1
            return self._newest

    def begin(self, notice: Notice) -> Future[Any]:
        """Records that something is about to be tried; done when it is on the disk."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO notice(id, target, kind, at_us, is_possible_repeat, by, alarms) VALUES(?,?,?,?,?,?,?)",
                (
                    notice.id, notice.target, notice.kind.value, notice.at_us, int(notice.is_possible_repeat),
                    notice.by[:80], len(notice.alarms),
                ),
            )  # fmt: skip
            db.executemany(
                "INSERT INTO notice_alarm(alarm_id, notice_id, gateway_no, severity) VALUES(?,?,?,?)",
                [(id, notice.id, gateway_no, severity) for (gateway_no, id), severity in notice.alarms],
            )

        return self._run(write)

    def end(self, notice: Notice, answer: Answer, at_us: int) -> Future[Any]:
        """Records the answer; done when it is on the disk."""
        row = (notice.id, at_us, answer.outcome, answer.detail[:200])
        sql = "INSERT INTO notice_answer(notice_id, at_us, outcome, detail) VALUES(?,?,?,?)"
        return self._run(lambda db: db.execute(sql, row))

    def clear_from(self, target: str, *, is_told: bool = True) -> Future[Any]:
        """Records that from the next attempt on a target is told that alarms are over, or that it is not told."""
        newest = self._newest if is_told else None
        return self._run(lambda db: write_meta(db, f"notify_clear/{target}", newest))

    def read_on(self, target: str, decision_id: int) -> Future[Any]:
        """Records up to which decision nothing is owed to a target but repetitions."""
        return self._run(lambda db: write_meta(db, _mark(target), decision_id))


def _mark(target: str) -> str:
    return f"notify_read/{target}"


# ---- reading ---------------------------------------------------------------------------------


def read_mark(db: sqlite3.Connection, target: str) -> int | None:
    """Returns the decision up to which nothing is owed; None for a target that was never served."""
    found: int | None = read_meta(db, _mark(target))
    return found


def newest_decision(db: sqlite3.Connection) -> int:
    """Returns the number of the newest decision, 0 where there is none."""
    number: int = db.execute("SELECT coalesce(max(id), 0) FROM decision").fetchone()[0]
    return number


def read_subjects(db: sqlite3.Connection, after: int) -> list[Subject]:
    """Returns every alarm that stands and pages, and every one with a decision after the number given."""
    db.execute("BEGIN")  # one view of the tables: what is decided in between is after everything that is read
    try:
        rows = db.execute(f"{_SUBJECTS} WHERE a.is_over=0 AND d.decision='page'").fetchall()
        rows += db.execute(_OWN_SUBJECTS).fetchall()
        rows += db.execute(
            f"{_SUBJECTS} WHERE (a.is_over=1 OR d.decision<>'page')"
            " AND (a.gateway_no, a.id) IN (SELECT n.gateway_no, n.alarm_id FROM decision n WHERE n.id>?)",
            (after,),
        ).fetchall()
    finally:
        db.execute("ROLLBACK")
    return [_subject(row) for row in rows]


def _subject(row: tuple[Any, ...]) -> Subject:
    no, gateway, id, point, rule_id, severity, is_over, number, decision, reason, decided_us, said = row
    return Subject(
        key=(no, id), gateway=gateway, point=point, rule_id=rule_id, severity=severity, is_over=bool(is_over),
        decision_id=number, is_page=decision == "page", decided_us=decided_us, is_acknowledged=said == "acknowledge",
        is_urged=reason == Reason.DESK,
    )  # fmt: skip


def read_over(db: sqlite3.Connection, keys: Iterable[Key]) -> list[Subject]:
    """Returns those of some alarms that are over."""
    found = []
    for key in sorted(keys):
        row = db.execute(f"{_SUBJECTS} WHERE a.gateway_no=? AND a.id=? AND a.is_over=1", key).fetchone()
        if row is not None:
            found.append(_subject(row))
    return found


def read_awaiting(db: sqlite3.Connection, target: str, after: int) -> set[Key]:
    """Returns alarms that a target was told of as standing, that are over, and of which it was not told that.

    Args:
        db: a reader's connection.
        target: name of the address.
        after: attempts up to this one are from before it was told at all that alarms are over.
    """
    return set(db.execute(_AWAITING, (target, after, target)).fetchall())


def read_clear_from(db: sqlite3.Connection, target: str) -> int | None:
    """Returns after which attempt a target is told that alarms are over; None where it was not, as last served."""
    found: int | None = read_meta(db, f"notify_clear/{target}")
    return found


def read_told(db: sqlite3.Connection, target: str, key: Key) -> Told:
    """Returns what a target was told of an alarm, by the record."""
    told = UNTOLD
    for at_us, severity, outcome, kind in db.execute(_ATTEMPTS, (key[1], key[0], target)):
        told = take(told, Attempt(at_us=at_us, severity=severity, outcome=outcome, kind=kind))
    return told


def read_quiet(db: sqlite3.Connection, target: str, since_us: int) -> dict[Source, int]:
    """Returns when a target was last told of each source, of what it was told since a time (UTC us)."""
    rows = db.execute(_QUIET, (target, since_us)).fetchall()
    return {(no, point, rule_id): at_us for no, point, rule_id, at_us in rows}


#: (id, target, kind, at us, is possible repeat, by, alarms, answered us, outcome, detail)
Row = tuple[int, str, str, int, int, str, int, int | None, str | None, str | None]


def read_notices(db: sqlite3.Connection, limit: int) -> list[Row]:
    """Returns the newest attempts, newest first."""
    return db.execute(f"{_NOTICES} ORDER BY n.id DESC LIMIT ?", (limit,)).fetchall()


def read_by_number(db: sqlite3.Connection, ids: Iterable[int]) -> list[Row]:
    """Returns attempts by their numbers, in the order given; those that are not there are left out."""
    found = [db.execute(f"{_NOTICES} WHERE n.id=?", (id,)).fetchone() for id in ids]
    return [row for row in found if row is not None]


def read_of_alarm(db: sqlite3.Connection, gateway_no: int, id: bytes) -> Sequence[tuple[Any, ...]]:
    """Returns what was tried about an alarm, oldest first, as ``AlarmView.notices`` has it."""
    return db.execute(_OF_ALARM, (id, gateway_no)).fetchall()


_SUBJECTS = """
SELECT a.gateway_no, g.id, a.id, a.point, a.rule_id, a.severity, a.is_over, d.id, d.decision, d.reason, d.arrived_us,
  (SELECT k.action FROM acknowledgement k WHERE k.alarm_id=a.id AND k.action<>'warn' ORDER BY k.id DESC LIMIT 1)
FROM alarm a JOIN gateway g ON g.no=a.gateway_no
JOIN decision d ON d.id=(SELECT max(e.id) FROM decision e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id)
"""

_OWN_SUBJECTS = """
SELECT a.gateway_no, g.id, a.id, '', a.rule_id, a.severity, 0, d.id, d.decision, d.reason, d.arrived_us,
  (SELECT k.action FROM acknowledgement k WHERE k.alarm_id=a.id AND k.action<>'warn' ORDER BY k.id DESC LIMIT 1)
FROM own_alarm a JOIN gateway g ON g.no=a.gateway_no
JOIN decision d ON d.id=(SELECT max(e.id) FROM decision e WHERE e.gateway_no=a.gateway_no AND e.alarm_id=a.id)
"""

# Who was told after word came that it is over was told so then.
_AWAITING = """
SELECT DISTINCT w.gateway_no, w.alarm_id FROM notice n JOIN notice_answer s ON s.notice_id=n.id AND s.outcome='sent'
JOIN notice_alarm w ON w.notice_id=n.id JOIN alarm a ON a.gateway_no=w.gateway_no AND a.id=w.alarm_id AND a.is_over=1
JOIN alarm_event v ON v.gateway_no=a.gateway_no AND v.id=a.event_id LEFT JOIN evidence b ON b.id=v.evidence_id
WHERE n.target=? AND n.id>? AND n.kind<>'cleared' AND n.at_us<coalesce(b.arrived_us, v.judged_us) AND NOT EXISTS (
  SELECT 1 FROM notice_alarm x JOIN notice m ON m.id=x.notice_id LEFT JOIN notice_answer t ON t.notice_id=m.id
  WHERE x.alarm_id=w.alarm_id AND x.gateway_no=w.gateway_no AND m.target=? AND m.id>n.id
  AND m.kind IN ('cleared', 'given_up') AND t.outcome IN ('sent', 'given_up'))
"""

_ATTEMPTS = """
SELECT n.at_us, w.severity, s.outcome, n.kind FROM notice_alarm w JOIN notice n ON n.id=w.notice_id
LEFT JOIN notice_answer s ON s.notice_id=n.id
WHERE w.alarm_id=? AND w.gateway_no=? AND n.target=? ORDER BY n.id
"""

_QUIET = """
SELECT a.gateway_no, a.point, a.rule_id, max(n.at_us) FROM notice n INDEXED BY ix_notice_at_us
JOIN notice_answer s ON s.notice_id=n.id AND s.outcome='sent'
JOIN notice_alarm w ON w.notice_id=n.id JOIN alarm a ON a.gateway_no=w.gateway_no AND a.id=w.alarm_id
WHERE n.target=? AND n.at_us>=? GROUP BY 1, 2, 3
"""

_NOTICES = """
SELECT n.id, n.target, n.kind, n.at_us, n.is_possible_repeat, n.by, n.alarms, s.at_us, s.outcome, s.detail
FROM notice n LEFT JOIN notice_answer s ON s.notice_id=n.id
"""

_OF_ALARM = """
SELECT n.at_us, n.target, n.kind, n.is_possible_repeat, s.at_us, s.outcome, s.detail
FROM notice_alarm w JOIN notice n ON n.id=w.notice_id LEFT JOIN notice_answer s ON s.notice_id=n.id
WHERE w.alarm_id=? AND w.gateway_no=? ORDER BY n.id
"""
